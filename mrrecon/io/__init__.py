"""Reading k-space files and writing results; one module per format, chosen by content.

>>> from mrrecon import io
>>> scan = io.read("scan.h5", lazy=True)     # doctest: +SKIP
>>> io.write(scan, "copy.h5")                # doctest: +SKIP
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
