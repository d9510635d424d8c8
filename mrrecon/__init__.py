"""mrrecon: from a raw 3D k-space file to a volume.

>>> import mrrecon as mr
>>> scan = mr.read("scan.h5")            # doctest: +SKIP
>>> volume = mr.solvers.CGSense()(scan)  # doctest: +SKIP
>>> volume.save("volume.nii.gz")         # doctest: +SKIP

Names are loaded on first use, so that importing the package costs nothing.
"""

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

try:
    __version__ = version("mrrecon")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

_HOME = {  # public name -> module that defines it
    "Acquisition": "acquisition",
    "Grid": "grid",
    "Reconstruction": "reconstruction",
    "read": "io",
    "write": "io",
    "simulate": "simulation",
    "evaluate": "metrics",
}
_MODULES = ("errors", "io", "metrics", "operators", "priors", "simulation", "solvers")

__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"mrrecon.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"mrrecon.{name}")
    raise AttributeError(f"module 'mrrecon' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
