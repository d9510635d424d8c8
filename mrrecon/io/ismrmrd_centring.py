"""Does the k-space of an ISMRMRD file really have its centre where the header says?"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from mrrecon.errors import DataError
from mrrecon.io.centring import is_wrapped, zero_frequency
from mrrecon.io.ismrmrd_lines import Layout, Source
from mrrecon.operators.fourier import ifft

__all__ = ["verified"]


def verified(source: Source, layout: Layout, path: Path) -> Layout:
    """Check the centring on the two central planes of k-space (one for 2D) and return the layout, corrected.

    Zero frequency at index 0 of a phase encoding is moved to n // 2; anywhere else it is an error. An
    object that seems to wrap around the field of view is only reported, since it may be two objects: the
    reader's option ``wrapped`` undoes it.

    Raises
    ------
    DataError
        If the energy clearly peaks away from the centre.
    """
    if layout.volumetric:
        pairs = [("y", "first", "second", layout.shape[2]), ("z", "second", "first", layout.shape[3])]
    else:
        pairs = [("z", "second", "first", layout.shape[3])]
    for axis, along, across, n in pairs:
        if zero_frequency(_energy(_plane(source, layout, along, across, n)), 0, axis, path):
            layout = replace(layout, **{along: (getattr(layout, along) + n // 2) % n})
    wrapped = ""
    readout = "x" if layout.volumetric else "y"
    for axis, along, across, n in pairs:
        lines = _plane(source, layout, along, across, n)
        if axis == pairs[0][0] and zero_frequency(_energy(lines), 1, f"{readout} (the readout)", path):
            raise DataError(
                f"{path}: the echo lies at the first sample, not at the centre that the header states; "
                "read with recentre=False to take the header's word."
            )
        power = _energy(ifft(lines, axes=(0, 2)))
        for name, profile in ((axis, power.sum(axis=1)), (readout, power.sum(axis=0))):
            if name not in layout.wrapped + wrapped and is_wrapped(profile):
                wrapped += name
    if wrapped:
        warnings.warn(
            f"{path}: the object seems to wrap around the field of view along {' and '.join(wrapped)}; "
            f"if the image shows it, read with wrapped={wrapped!r}.",
            stacklevel=4,
        )
    return layout


def _energy(lines: np.ndarray) -> np.ndarray:
    """Energy over the coils of ``(n, coils, readout)``."""
    return (np.abs(lines) ** 2).sum(axis=1)


def _plane(source: Source, layout: Layout, along: str, across: str, n: int) -> np.ndarray:
    """Readouts of the central position of `across`, ``(n, coils, readout)``, zero where unsampled."""
    position, other = getattr(layout, along), getattr(layout, across)
    values = np.unique(other)
    middle = layout.shape[{"first": 2 if layout.volumetric else 1, "second": 3}[across]] // 2
    best = values[np.abs(values - middle).argmin()]
    chosen = np.flatnonzero(other == best)
    _, unique = np.unique(position[chosen], return_index=True)
    chosen = chosen[unique]
    plane = np.zeros((n, layout.coils, layout.readout), np.complex64)
    rows = layout.rows[chosen]
    ordered = np.argsort(rows)
    chosen = chosen[ordered]
    lines = layout.straight(source.lines(rows[ordered]), chosen)
    used = lines[:, :, layout.skip : layout.skip + layout.used]
    plane[position[chosen], :, layout.start : layout.start + layout.used] = used
    signs = layout.plane_signs[:, 0] if along == "first" else layout.plane_signs[0]
    return plane * (signs * signs[n // 2])[:, None, None] * layout.readout_signs
