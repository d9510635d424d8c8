"""Clean slices to evaluate priors on: cut from volumes at the voxel sizes that are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mrrecon.errors import DataError
from mrrecon.grid import Grid
from mrrecon.priors.condition import Condition

__all__ = ["VoxelSlices", "validation_slices"]

EMPTY = 0.05  # mean magnitude, in units of bright tissue, under which a slice shows nothing
COARSER = 1.1  # a volume whose voxels are coarser than asked for by more than this factor is left out
SAME = 0.02  # relative difference of voxel sizes under which nothing is resampled


@dataclass(frozen=True, eq=False)
class VoxelSlices:
    """Clean complex slices of one volume, plane and voxel size.

    Parameters
    ----------
    volume
        Name of the volume.
    plane
        Axis that the slices are perpendicular to.
    voxel_size
        Edge of the isotropic voxels, mm.
    slices
        ``(B, H, W)`` complex64 at unit signal.
    positions
        Index of each slice along the axis.
    """

    volume: str
    plane: int
    voxel_size: float
    slices: torch.Tensor
    positions: tuple[int, ...]

    @property
    def condition(self) -> Condition:
        """What a prior may know about the slices."""
        return Condition(plane=self.plane, voxel_size=(self.voxel_size, self.voxel_size))


def validation_slices(
    volumes: Iterable[Any], voxel_sizes: Sequence[float] = (2.0, 1.0), per_plane: int = 4, seed: int = 0
) -> list[VoxelSlices]:
    """Cut volumes into slices at several voxel sizes, with the smooth phase that scans have.

    Parameters
    ----------
    volumes
        :class:`~mrrecon.training.TrainingVolume` (or packed ones) of subjects that no prior was trained on. Stacks of
        thick slices, and volumes coarser than a voxel size by more than a tenth, are left out.
    voxel_sizes
        Isotropic voxel edges, mm. Voxels are brought to a size by cropping k-space, as a scan of that resolution would
        have them.
    per_plane
        Slices per volume and plane: the middles of equal parts of those that are not empty.
    seed
        Of the phase, which complex volumes do not need.

    Raises
    ------
    DataError
        If a setting is not usable, or no volume is fine enough for one of the voxel sizes.
    """
    sizes = tuple(dict.fromkeys(float(edge) for edge in voxel_sizes))
    if not sizes or not all(np.isfinite(sizes)) or min(sizes) <= 0:
        raise DataError(f"Voxel sizes must be positive numbers in mm, got {tuple(voxel_sizes)!r}.")
    if per_plane < 1:
        raise DataError(f"The number of slices per plane must be at least 1, got {per_plane}.")
    if seed < 0:
        raise DataError(f"The seed must be at least 0, got {seed}.")
    found: list[VoxelSlices] = []
    for number, volume in enumerate(volumes):
        fine_enough = [edge for edge in sizes if max(volume.grid.voxel_size) <= COARSER * edge]
        if len(volume.grid.planes()) < 3 or not fine_enough:
            continue
        image = volume.slab(0, 0, volume.grid.shape[0])
        for edge in fine_enough:
            scan = _as_scanned(image, volume.grid, edge, seed + number)
            for plane in range(3):
                stack = np.moveaxis(scan, plane, 0)
                chosen = _spread(np.abs(stack).mean(axis=(1, 2)), per_plane)
                if len(chosen):
                    slices = torch.from_numpy(np.ascontiguousarray(stack[chosen], np.complex64))
                    found.append(VoxelSlices(volume.name, plane, edge, slices, tuple(map(int, chosen))))
    lacking = [edge for edge in sizes if not any(case.voxel_size == edge for case in found)]
    if lacking:
        raise DataError(
            f"No volume has slices at {lacking[0]:g} mm: volumes must have voxels of that size or finer, must not be "
            "stacks of thick slices, and must show something."
        )
    return found


def _as_scanned(image: np.ndarray, grid: Grid, edge: float, seed: int) -> np.ndarray:
    """Complex volume at the voxel size `edge`."""
    from mrrecon.resolution import change_resolution
    from mrrecon.simulation import object_phase

    if max(abs(v - edge) for v in grid.voxel_size) > SAME * edge:
        image, _ = change_resolution(image, grid, (edge,) * 3, method="kspace-crop")
    if image.dtype.kind == "c":
        return image
    x, y, z = image.shape
    return np.maximum(image, 0) * np.exp(1j * object_phase((x, y, z), seed=seed))


def _spread(level: np.ndarray, number: int) -> np.ndarray:
    """Indices of slices, evenly spaced over those whose mean magnitude shows something."""
    shown = np.flatnonzero(level > EMPTY)
    if not len(shown):
        return shown
    middles = (np.arange(number) + 0.5) / number  # of equal parts: one slice is the middle one, none is at the rim
    return np.unique(shown[np.round(middles * (len(shown) - 1)).astype(int)])
