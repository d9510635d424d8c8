"""One slice per plane of a volume, turned to the patient's axes: what montages show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrrecon.grid import Grid

__all__ = ["PLANES", "Planes", "cut_at", "cut_planes"]

PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}  # the axis that a plane is perpendicular to, in RAS order
Planes = dict[str, np.ndarray]
"""Slices ``axial``, ``coronal`` and ``sagittal`` in the order (right, up); and for each the edges of its pixels in mm,
``axial_edges`` and so on."""


def cut_at(turned: np.ndarray, grid: Grid, position: Sequence[int]) -> Planes:
    """Cut the three planes through a voxel out of a volume in RAS order, which lies on `grid`."""
    edges = np.asarray(grid.voxel_size, np.float32)
    slices = {plane: np.take(turned, position[axis], axis) for plane, axis in PLANES.items()}
    return slices | {f"{plane}_edges": np.delete(edges, axis) for plane, axis in PLANES.items()}


def cut_planes(volume: Any, grid: Grid, truth: Any, peak: float) -> Planes:
    """Cut the middle slice of the object out of a volume ``(x, y, z)``, in each plane, small enough to keep.

    Magnitudes over the peak, in half precision; the true volume, on the same grid, says where the object is.
    """
    from mrrecon.metrics import object_region

    image, turned = grid.turned((np.abs(volume) / peak).astype(np.float16))
    inside, _ = grid.turned(object_region(truth))
    shown = [np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    return cut_at(image, turned, [int(one[0] + one[-1]) // 2 for one in shown])
