"""K-space in a bare array of numbers, as in BART and NumPy files: its axes, its samples, its mask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mrrecon.acquisition import Acquisition, Domain, Step
from mrrecon.io.axes import find_layout
from mrrecon.io.file_arrays import ArrangedArray, MemmapArray
from mrrecon.io.masks import read_fitting_mask
from mrrecon.io.measured import nonzero, sampling_pattern

__all__ = ["bare_acquisition"]


def bare_acquisition(
    source: MemmapArray,
    expected: str,
    format_name: str,
    *,
    mask: str | Path | None,
    voxel_size: tuple[float, float, float],
    axes: str | None,
    hybrid: bool | None,
    readout: Literal["x", "y", "z"],
    recentre: bool,
) -> Acquisition:
    """Make an acquisition of a flat file of numbers.

    Parameters
    ----------
    source
        How the file holds its array; the axes that it gives to (coils, x, y, z) are replaced.
    expected
        A letter for each stored axis, as the format has them; see :class:`mrrecon.io.axes.Layout`.
    format_name
        For the provenance.
    mask, voxel_size, axes, hybrid, readout, recentre
        Options of the readers.
    """
    path = source.path
    stored = np.memmap(path, np.dtype(source.source_dtype), "r", source.offset, source.source_shape, source.order)
    if readout != "x":
        hybrid = True if hybrid is None else hybrid  # x counts slices
    layout = find_layout(stored, expected, path, axes=axes, hybrid=hybrid, recentre=recentre)
    shape = layout.shape(stored.shape)
    raw = replace(source, shape=shape, axes=layout.order)
    taken = nonzero(stored, layout.order[0])
    left = [letter for letter in layout.axes if letter != "c"]
    taken = taken.transpose([left.index(letter) for letter in "xyz" if letter in left])
    taken = taken.reshape(shape[1:])
    for axis, roll in enumerate(layout.roll):
        if roll:
            taken = np.roll(taken, shape[1 + axis] // 2, axis)
    pattern = sampling_pattern(taken, path, hybrid=layout.hybrid, readout=readout)
    if mask is not None:
        pattern = read_fitting_mask(mask, pattern, shape[1:], readout)
    arranged = mask is not None or any(layout.roll) or any(layout.chop)
    kspace = ArrangedArray(path, shape, raw, layout.roll, layout.chop, pattern) if arranged else raw
    first: Domain = "image" if layout.hybrid else "kspace"
    settings: dict[str, Any] = {
        "format": format_name,
        "path": str(path),
        "axes": layout.axes,
        "hybrid": layout.hybrid,
        "mask": str(mask) if mask else "non-zero samples",
        "rolled": list(layout.roll),
        "chopped": list(layout.chop),
    }
    return Acquisition(
        kspace=kspace,
        mask=pattern,
        voxel_size=voxel_size,
        domains=(first, "kspace", "kspace"),
        readout=readout,
        provenance=(Step("read", settings),),
    )
