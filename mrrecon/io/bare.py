"""K-space in a bare array of numbers, as in BART and NumPy files: its axes, its samples, its mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mrrecon.acquisition import Acquisition, Domain, Step
from mrrecon.io.axes import AxisLayout, find_layout
from mrrecon.io.file_arrays import ArrangedArray, MemmapArray
from mrrecon.io.format import ReaderOptions
from mrrecon.io.masks import read_fitting_mask
from mrrecon.io.measured import nonzero, sampling_pattern

__all__ = ["ArrayOptions", "StoredOptions", "bare_acquisition", "samples_taken"]


@dataclass(frozen=True)
class StoredOptions(ReaderOptions):
    """Options for reading formats that store k-space as one array.

    Parameters
    ----------
    hybrid
        Whether x is in the image domain; by default found on the samples.
    recentre
        Find and undo FFT order and shifts by half the field of view; ``False`` takes the samples as they are.
    """

    hybrid: bool | None = None
    recentre: bool = True

    @property
    def keeps_centre(self) -> bool:
        """Whether the centre of k-space stays where the file has it."""
        return not self.recentre or super().keeps_centre


@dataclass(frozen=True)
class ArrayOptions(StoredOptions):
    """Options for reading formats that store k-space as one complex array, whose axes may have any order.

    Parameters
    ----------
    mask
        Sampling pattern file; by default a sample counts as measured where any coil is not zero, of fastMRI files if
        their own mask says so too.
    axes
        Letters of the axes in the order of the file, c for coils and x, y, z; by default those of the format ("xyzc"
        for BART, "cxyz" or "cyz" for NumPy, "xcyz" or "xyz" for fastMRI) unless the samples show another order.
    readout
        Axis that was read out: "x" by default; "y" or "z" of 2D slices, which x counts, whose masks are whole lines
        along it. Of fastMRI files by default as the sampling has it.
    """

    mask: str | Path | None = None
    axes: str | None = None
    readout: Literal["x", "y", "z"] | None = None


def samples_taken(stored: Any, layout: AxisLayout, rows: Sequence[int] | None = None) -> np.ndarray:
    """Where an array is not zero in all coils, ``(x, y, z)``, bool, FFT order undone; of some rows of its first axis.

    See :func:`mrrecon.io.measured.nonzero`.
    """
    taken = nonzero(stored, layout.order[0], rows)
    letters = [letter for letter in layout.axes if letter != "c"]
    taken = taken.transpose([letters.index(letter) for letter in "xyz" if letter in letters])
    taken = taken[tuple(slice(None) if letter in letters else None for letter in "xyz")]
    for axis, roll in enumerate(layout.roll):
        if roll:
            taken = np.roll(taken, taken.shape[axis] // 2, axis)
    return taken


def bare_acquisition(source: MemmapArray, expected: str, format_name: str, options: ArrayOptions) -> Acquisition:
    """Make an acquisition of a flat file of numbers.

    Parameters
    ----------
    source
        How the file holds its array; the axes that it gives to (coils, x, y, z) are replaced.
    expected
        A letter for each stored axis, as the format has them; see :class:`mrrecon.io.axes.AxisLayout`.
    format_name
        For the provenance.
    options
        What the user says.
    """
    path = source.path
    stored = np.memmap(path, np.dtype(source.source_dtype), "r", source.offset, source.source_shape, source.order)
    readout, mask, hybrid = options.readout or "x", options.mask, options.hybrid
    if readout != "x" and hybrid is None:
        hybrid = True  # x counts slices
    layout = find_layout(stored, expected, path, axes=options.axes, hybrid=hybrid, recentre=options.recentre)
    shape = layout.shape(stored.shape)
    raw = replace(source, shape=shape, axes=layout.order)
    pattern = sampling_pattern(samples_taken(stored, layout), path, hybrid=layout.hybrid, readout=readout)
    if mask is not None:
        pattern = read_fitting_mask(mask, pattern, shape[1:], readout)
    arranged = mask is not None or any(layout.roll) or any(layout.chop)
    kspace = ArrangedArray(path, shape, layout.centred(raw), layout.chop, pattern) if arranged else raw
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
        domains=(first, "kspace", "kspace"),
        readout=readout,
        provenance=(Step("read", settings),),
    )
