"""mrrecon: from a raw 3D k-space file to a volume.

>>> import mrrecon as mr
>>> scan = mr.read("scan.h5")            # doctest: +SKIP
>>> volume = mr.solvers.CGSense()(scan)  # doctest: +SKIP
>>> volume.save("volume.nii.gz")         # doctest: +SKIP

Names are loaded on first use, so that importing the package costs nothing; ``__init__.pyi`` lists them.
"""

from importlib.metadata import PackageNotFoundError, version

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

try:
    __version__ = version("mrrecon")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
