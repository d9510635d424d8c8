"""Reconstruction methods by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrrecon import solvers

if TYPE_CHECKING:
    from mrrecon.solvers.base import Solver

__all__ = ["get", "names"]

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


def names() -> list[str]:
    """Return the names of the methods, as the command line spells them."""
    return list(_METHODS)


def get(name: str) -> type[Solver]:
    """Return the class of the method `name`.

    Raises
    ------
    ValueError
        If there is no such method; the message lists those there are.
    """
    if name not in _METHODS:
        raise ValueError(f"There is no solver {name!r}; choose one of {', '.join(_METHODS)}.")
    return getattr(solvers, _METHODS[name])
