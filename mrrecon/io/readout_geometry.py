"""Where slices and slabs lie: order, spacing and orientation from the readouts' positions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrrecon.errors import FileFormatError

__all__ = ["Stack", "directions_of", "stack_of"]

_ALIKE = 0.999  # cosine between directions that are the same
_UNEVEN = 0.05  # of the spacing


@dataclass(frozen=True)
class Stack:
    """Slices of one orientation, in the order of their places.

    Parameters
    ----------
    slices
        Slice counters, ascending along the normal.
    centres
        Of the slices, ``(slices, 3)``, mm, LPS+.
    note
        What is wrong with them, or nothing.
    """

    slices: np.ndarray
    centres: np.ndarray
    note: str = ""


def directions_of(head: np.ndarray, vendor: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions of the image's axes (readout, phase, slice) in LPS+.

    With Siemens data the image runs against the readout and phase directions (siemens_to_ismrmrd copies the columns
    of the slice's rotation; the images that the scanner makes run the other way).
    """
    sign = -1.0 if "siemens" in vendor.lower() else 1.0
    return sign * head["read_dir"], sign * head["phase_dir"], head["slice_dir"]


def stack_of(heads: np.ndarray, rows: np.ndarray, orientation: int | None, path: Path) -> Stack:
    """Sort the slices of a 2D scan by where they lie.

    Raises
    ------
    FileFormatError
        If there are several orientations and none is chosen, or not the one that is asked for.
    """
    slices, first = np.unique(heads["idx"]["slice"][rows], return_index=True)
    chosen = heads[rows[first]]
    turns = np.concatenate([chosen["read_dir"], chosen["phase_dir"], chosen["slice_dir"]], axis=1).astype(np.float64)
    group, examples = np.zeros(len(slices), np.int64), [turns[0]]
    for i, turn in enumerate(turns):
        same = [j for j, e in enumerate(examples) if _same(turn, e)]
        if not same:
            examples.append(turn)
        group[i] = same[0] if same else len(examples) - 1
    if orientation is None and len(examples) > 1:
        sizes = [slices[group == j].tolist() for j in range(len(examples))]
        raise FileFormatError(
            f"{path} has slices of {len(examples)} orientations, which are no volume: slices {sizes}; "
            "choose one with orientation=0, 1 ..."
        )
    if orientation is not None:
        if not 0 <= orientation < len(examples):
            raise FileFormatError(f"{path} has no orientation {orientation}; it has 0 to {len(examples) - 1}.")
        slices, chosen = slices[group == orientation], chosen[group == orientation]
    centres = chosen["position"].astype(np.float64)
    normal = chosen["slice_dir"][0].astype(np.float64)
    if len(slices) == 1 or not np.isfinite(centres).all():
        return Stack(slices, centres)
    if not (np.isfinite(normal).all() and np.linalg.norm(normal) > 0.5):
        normal = np.linalg.svd(centres - centres.mean(axis=0))[2][0]
        normal = normal * (1 if normal[np.abs(normal).argmax()] > 0 else -1)
    along = centres @ normal
    if np.ptp(along) < 1e-3:
        return Stack(
            slices,
            centres,
            f"its {len(slices)} slices all state one position: they are taken in the order of their counter",
        )
    order = np.argsort(along, kind="stable")
    steps = np.diff(along[order])
    note = ""
    if np.ptp(steps) > _UNEVEN * np.median(steps) + 0.05:
        note = (
            f"its slices are {steps.min():.3g} to {steps.max():.3g} mm apart: the voxel size and the places of the "
            "slices are those of even spacing (slice=[...] reads some of them)"
        )
    return Stack(slices[order], centres[order], note)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether three directions, ``(9,)``, are the same."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return bool(np.isfinite(a).all() == np.isfinite(b).all())
    return all(
        float(a[i : i + 3] @ b[i : i + 3])
        >= _ALIKE * float(np.linalg.norm(a[i : i + 3]) * np.linalg.norm(b[i : i + 3]))
        for i in (0, 3, 6)
    )
