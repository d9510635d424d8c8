"""One slice per plane of a volume, small enough to keep for every run, turned to the patient's axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrrecon.grid import Grid

__all__ = ["PLANES", "cut_planes"]

PLANES = ("axial", "coronal", "sagittal")
AXES = {"axial": 2, "coronal": 1, "sagittal": 0}  # that a plane is perpendicular to, in RAS order


def cut_planes(volume: Any, grid: Grid, truth: Any, peak: float) -> dict[str, np.ndarray]:
    """Cut the middle slice of the object out of a volume, in each plane.

    Parameters
    ----------
    volume
        ``(x, y, z)``; its magnitude is shown.
    grid
        Where its voxels lie.
    truth
        True volume ``(x, y, z)``: it says where the object is.
    peak
        What the magnitudes are divided by.

    Returns
    -------
    planes
        ``axial``, ``coronal`` and ``sagittal``, half precision, in the order (right, up); and for each the edges of its
        pixels in mm, ``axial_edges`` and so on.
    """
    import nibabel

    from mrrecon.metrics import object_region

    turned, region = (
        nibabel.as_closest_canonical(nibabel.Nifti1Image(a.astype(np.float32), grid.affine))
        for a in (np.abs(volume) / peak, object_region(truth))
    )
    edges = np.asarray(turned.header.get_zooms()[:3], np.float32)
    image, inside = np.asarray(turned.dataobj), np.asarray(region.dataobj) > 0
    found = {}
    for plane in PLANES:
        axis = AXES[plane]
        shown = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        found[plane] = np.take(image, int(shown[0] + shown[-1]) // 2, axis).astype(np.float16)
        found[f"{plane}_edges"] = np.delete(edges, axis)
    return found
