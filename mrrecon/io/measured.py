"""Which samples were measured: zeros are no measurements, whatever a header or a mask says.

A sample that is zero in all coils was not taken. Found per sample, not per line: ends that were filled with zeros and
partial echoes are as unmeasured as the lines left out between. Single zeros within measured lines are another matter
(integer samples of one coil hold them) and are no gaps.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrrecon.errors import FileFormatError, MaskError

__all__ = ["SampledAlike", "agree", "nonzero", "sampling_pattern"]

SPORADIC = 0.02  # of the samples of measured lines: more zeros than that are a pattern
FEW = 0.25  # of the samples may be zero in a slice while another has them all: noiseless objects have such zeros


def nonzero(stored: Any, coils: int | None, rows: Sequence[int] | None = None) -> np.ndarray:
    """Where an array on disk is not zero in all coils, read once and in the order of the file.

    Parameters
    ----------
    stored
        Memory map or HDF5 dataset.
    coils
        Its coil axis, or ``None``.
    rows
        Positions along its first axis to look at, which must not be that of the coils; by default all.

    Returns
    -------
    numpy.ndarray
        Bool, with the axes of `stored` but for the coils.
    """
    flags = getattr(stored, "flags", None)
    if flags is not None and flags.f_contiguous and not flags.c_contiguous and stored.ndim > 1:
        back = None if coils is None else stored.ndim - 1 - coils
        return np.ascontiguousarray(nonzero(stored.T, back).T)
    rows = range(stored.shape[0]) if rows is None else rows
    if coils == 0:
        found = np.zeros(stored.shape[1:], bool)
        for at in rows:
            found |= np.asarray(stored[at]) != 0
        return found
    parts = [np.asarray(stored[at]) != 0 for at in rows]
    return np.stack([part if coils is None else part.any(axis=coils - 1) for part in parts])


def sampling_pattern(taken: np.ndarray, path: Path, *, hybrid: bool, readout: str = "x") -> np.ndarray:
    """Sampling mask from where samples are not zero.

    Parameters
    ----------
    taken
        ``(x, y, z)``, bool.
    path
        For messages.
    hybrid
        Whether x is in the image domain; then all x that hold anything must have been sampled alike.
    readout
        Axis of the measured lines, within which single zeros count as measured: ``"x"``, ``"y"`` or ``"z"``.

    Returns
    -------
    numpy.ndarray
        Bool, ``(y, z)``, or ``(x, y, z)`` where x is in k-space and not sampled alike everywhere.

    Raises
    ------
    FileFormatError
        If there is no sample at all.
    MaskError
        If slices were sampled differently.
    """
    if not taken.any():
        raise FileFormatError(f"{path} holds only zeros; there is no sample to reconstruct from.")
    if not hybrid:
        whole = _whole_lines(taken, 0)
        return np.asarray(whole[0]) if (whole == whole[:1]).all() else whole
    held = taken.any(axis=(1, 2))
    if not held.all():
        count = int((~held).sum())
        warnings.warn(
            f"{path}: {count} of the {held.size} positions along x hold nothing but zeros; the image is zero there.",
            stacklevel=2,
        )
    pattern = np.asarray(taken[held].any(axis=0))
    if readout != "x":
        pattern = _whole_lines(pattern, "yz".index(readout))
    lacking = [_differ(plane, pattern, readout) for plane in taken[held]]
    if max(lacking) > FEW or min(lacking) > SPORADIC:
        raise MaskError(_different_slices(path))
    if max(lacking) > SPORADIC:
        warnings.warn(
            f"{path}: up to {max(lacking):.0%} of the samples that some slices hold are zero in others, where they are "
            "taken as measured all the same.",
            stacklevel=2,
        )
    return pattern


@dataclass(frozen=True)
class SampledAlike:
    """Refuse planes ``(coils, x, y, z)`` that were sampled with another (y, z) mask than those looked at; picklable."""

    path: Path
    pattern: np.ndarray
    readout: str = "x"

    def __call__(self, planes: np.ndarray) -> np.ndarray:
        """Return the planes as they are.

        Raises
        ------
        MaskError
            If one of them that holds anything was sampled differently.
        """
        taken = (planes != 0).any(axis=0)
        if any(plane.any() and _differ(plane, self.pattern, self.readout) > FEW for plane in taken):
            raise MaskError(_different_slices(self.path))
        return planes


def _different_slices(path: Path) -> str:
    """Sentence for slices that were sampled with masks of their own."""
    return (
        f"{path}: its slices were sampled with different masks, and one reconstruction has one mask; read slices with "
        "the same mask on their own, of fastMRI files with slices=(FIRST, STOP)."
    )


def _differ(plane: np.ndarray, pattern: np.ndarray, readout: str = "x") -> float:
    """How many samples of a pattern one (y, z) plane lacks, or has besides, as a share of the pattern's."""
    if readout != "x":
        plane = _whole_lines(plane, "yz".index(readout))
    return float((plane != pattern).sum() / pattern.sum())


def _whole_lines(taken: np.ndarray, axis: int) -> np.ndarray:
    """Fill single zeros within lines along `axis`; gaps that many lines share stay."""
    lines = taken.any(axis=axis, keepdims=True)
    positions = taken.any(axis=tuple(a for a in range(taken.ndim) if a != axis), keepdims=True)
    expected = lines & positions
    missing = int((expected & ~taken).sum())
    return np.asarray(expected if missing <= SPORADIC * expected.sum() else taken)


def agree(mask: np.ndarray, measured: np.ndarray, path: Path, source: str, *, tolerated: float = 1.0) -> np.ndarray:
    """Samples that both a given mask and the data have, with a note on those that only one of them has.

    Parameters
    ----------
    mask
        What a file or the user says, ``(y, z)`` or ``(x, y, z)``.
    measured
        What the data hold, likewise.
    path
        For messages.
    source
        What says it, for messages.
    tolerated
        Largest share of the samples of `mask` that may hold nothing.

    Raises
    ------
    MaskError
        If more of them hold nothing, or all.
    """
    empty, left = mask & ~measured, measured & ~mask
    kept = np.asarray(mask & measured)
    size = int(np.broadcast_to(mask, empty.shape).sum())
    what = "positions" if empty.ndim == 2 else "samples"
    if empty.sum() > tolerated * size or not kept.any():
        raise MaskError(
            f"{path}: {int(empty.sum())} of the {size} {what} of {source} hold no data in the k-space; "
            "the mask is transposed, shifted or belongs to another scan."
        )
    if empty.any():
        warnings.warn(
            f"{path}: {int(empty.sum())} of the {size} {what} of {source} hold nothing but zeros and count as not "
            "measured.",
            stacklevel=3,
        )
    if left.any():
        warnings.warn(
            f"{path}: {int(left.sum())} measured {what} lie outside {source} and are left out.",
            stacklevel=3,
        )
    return kept
