"""Does the object of an ISMRMRD file seem to wrap around the field of view?"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from mrrecon.io.centring import is_wrapped
from mrrecon.io.readout_layout import ReadoutLayout, Source, in_batches
from mrrecon.operators.fourier import ifft

__all__ = ["mention_wrapped"]


def mention_wrapped(source: Source, layout: ReadoutLayout, path: Path) -> None:
    """Warn of an object that seems to wrap around the field of view, on two planes of k-space (one for 2D).

    It is only mentioned, since it may be two objects: the reader's option ``wrapped`` undoes it.
    """
    if layout.volumetric:
        pairs = [("y", "first", "second", layout.shape[2]), ("z", "second", "first", layout.shape[3])]
    else:
        pairs = [("z", "second", "first", layout.shape[3])]
    wrapped = ""
    readout = "x" if layout.volumetric else "y"
    for axis, along, across, n in pairs:
        image = ifft(_plane(source, layout, along, across, n), axes=(0, 2))
        power = (np.abs(image) ** 2).sum(axis=1)
        for name, profile in ((axis, power.sum(axis=1)), (readout, power.sum(axis=0))):
            if name not in layout.wrapped + wrapped and is_wrapped(profile):
                wrapped += name
    if wrapped:
        warnings.warn(
            f"{path}: the object seems to wrap around the field of view along {' and '.join(wrapped)}; "
            f"if the image shows it, read with wrapped={wrapped!r}.",
            stacklevel=5,
        )


def _plane(source: Source, layout: ReadoutLayout, along: str, across: str, n: int) -> np.ndarray:
    """Readouts of the central position of `across`, ``(n, coils, readout)``, zero where unsampled."""
    position, other = getattr(layout, along), getattr(layout, across)
    values = np.unique(other)
    middle = layout.shape[{"first": 2 if layout.volumetric else 1, "second": 3}[across]] // 2
    best = values[np.abs(values - middle).argmin()]
    chosen = np.flatnonzero(other == best)
    _, unique = np.unique(position[chosen], return_index=True)
    plane = np.zeros((n, layout.coils, layout.readout), np.complex64)
    for part in in_batches(layout, np.sort(chosen[unique])):
        plane[position[part]] = layout.placed(source.lines(layout.rows[part]), part)
    signs = layout.plane_signs[:, 0] if along == "first" else layout.plane_signs[0]
    return plane * (signs * signs[n // 2])[:, None, None]
