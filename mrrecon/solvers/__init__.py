"""Reconstruction methods, one module each; all have the contract ``solver(acquisition, callback=None)``.

>>> from mrrecon import solvers
>>> solvers.names()[:3]
['zero-filled', 'cg-sense', 'l1-wavelet']
>>> solvers.get("cg-sense")(max_iter=10)  # doctest: +SKIP
CGSense(lam=None, max_iter=10, tolerance=0.001)

Names are loaded on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mrrecon.solvers.base import Solver as Solver

_METHODS = {  # name on the command line -> class
    "zero-filled": "ZeroFilled",
    "cg-sense": "CGSense",
    "l1-wavelet": "L1Wavelet",
    "tv": "TotalVariation",
    "variational": "Variational",
    "red-diff": "RedDiff",
    "published": "Published",
    "dds": "DDS",
    "tpdm": "TPDM",
    "diffusion-mbir": "DiffusionMBIR",
    "dps": "DPS",
}
_HOME = {  # public name -> module that defines it
    "CGSense": "cg_sense",
    "DDS": "dds",
    "DPS": "dps",
    "DiffusionMBIR": "diffusion_mbir",
    "L1Wavelet": "l1_wavelet",
    "Published": "published",
    "RedDiff": "red_diff",
    "Solver": "base",
    "Status": "base",
    "TPDM": "dds",
    "TotalVariation": "tv",
    "Variational": "variational",
    "Tuned": "tuning",
    "ZeroFilled": "zero_filled",
    "progress": "progress_bar",
    "tune": "tuning",
}

__all__ = [*_HOME, "get", "names"]


def names() -> list[str]:
    """Return the names of the methods, as the command line spells them."""
    return list(_METHODS)


def get(name: str) -> "type[Solver]":
    """Return the class of the method `name`.

    Raises
    ------
    ValueError
        If there is no such method; the message lists those there are.
    """
    if name not in _METHODS:
        raise ValueError(f"There is no solver {name!r}; choose one of {', '.join(_METHODS)}.")
    return __getattr__(_METHODS[name])


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"mrrecon.solvers.{_HOME[name]}"), name)
    raise AttributeError(f"module 'mrrecon.solvers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
