"""Reconstruction methods by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrrecon import solvers

if TYPE_CHECKING:
    from mrrecon.solvers.base import Solver

__all__ = ["class_paths", "get", "names"]

_METHODS = {  # name on the command line -> module and class
    "zero-filled": "zero_filled.ZeroFilled",
    "cg-sense": "cg_sense.CGSense",
    "l1-wavelet": "l1_wavelet.L1Wavelet",
    "tv": "tv.TotalVariation",
    "variational": "variational.Variational",
    "ensemble": "ensemble.Ensemble",
    "red-diff": "red_diff.RedDiff",
    "published": "published.Published",
    "dds": "dds.DDS",
    "tpdm": "dds.TPDM",
    "diffusion-mbir": "diffusion_mbir.DiffusionMBIR",
    "dps": "dps.DPS",
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
    return getattr(solvers, _METHODS[name].partition(".")[2])


def class_paths() -> dict[str, str]:
    """Map the names to the class paths that configurations use, without importing the methods."""
    return {name: f"{solvers.__name__}.{path}" for name, path in _METHODS.items()}
