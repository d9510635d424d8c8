"""Reconstruction methods, one module each; all have the contract ``solver(acquisition, callback=None)``.

>>> from mrrecon import solvers
>>> solvers.names()[:3]
['zero-filled', 'cg-sense', 'l1-wavelet']
>>> solvers.get("cg-sense")(max_iter=10)  # doctest: +SKIP
CGSense(lam=None, max_iter=10, tolerance=0.001)

Names are loaded on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
