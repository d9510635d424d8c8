"""Another voxel size for the same field of view, by two named methods that do not give the same image.

- ``"kspace-crop"``: keep the centre of k-space, as a scanner does when it acquires fewer phase-encoding
  steps (or pad it with zeros). Sharp edges ring; noise stays white.
- ``"interpolation"``: resample the image, linearly, with the interpolation kernel widened by the reduction
  so that nothing aliases. No ringing, but a blur; noise becomes correlated.

Both keep intensities. Positions differ by less than a voxel: k-space keeps the centre voxel (index ``n //
2``) in place, interpolation the edges of the field of view. The returned grid says where the voxels are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mrrecon.acquisition import Acquisition
from mrrecon.errors import DataError
from mrrecon.grid import Grid
from mrrecon.operators.backend import as_kind, to_numpy
from mrrecon.operators.centre import crop_or_pad
from mrrecon.operators.fourier import fft, ifft
from mrrecon.operators.resampling import Resampling, kspace_crop

__all__ = ["ResolutionMethod", "change_resolution", "crop_kspace"]

ResolutionMethod = Literal["kspace-crop", "interpolation"]


def change_resolution(
    volume: Any, grid: Grid, voxel_size: Sequence[float], method: ResolutionMethod = "interpolation"
) -> tuple[np.ndarray, Grid]:
    """Bring a volume to another voxel size, field of view unchanged.

    Parameters
    ----------
    volume
        Image ``(x, y, z)``, real or complex.
    grid
        Where its voxels lie.
    voxel_size
        Wanted voxel edges (x, y, z), mm. The matrix becomes the nearest whole numbers, hence the voxels only nearly
        this.
    method
        ``"kspace-crop"`` or ``"interpolation"``.

    Returns
    -------
    volume, grid
        Real stays real; the voxel size of the grid is the exact one, field of view over matrix size.

    Raises
    ------
    ShapeError, DataError
        If the volume is not of this grid, or the voxel size or the method is not usable.
    """
    image = to_numpy(volume)
    grid.require(image, "volume")
    if method == "interpolation":
        new = grid.resized(voxel_size)
        return Resampling(grid.shape, new.shape).forward(image), new
    if method == "kspace-crop":
        new = grid.resized(voxel_size, "centre")
        return kspace_crop(image, new.shape), new
    raise DataError(f"There is no resolution method {method!r}; choose 'kspace-crop' or 'interpolation'.")


def crop_kspace(acquisition: Acquisition, voxel_size: Sequence[float]) -> Acquisition:
    """Keep the centre of k-space: the same scan with larger voxels (or, zero-padded, with smaller ones).

    Samples are scaled so that the image keeps its intensities: the noise falls as voxels grow. The mask, the
    noise covariance, the grid and the reference follow; coil maps are dropped, calibrate again.

    Parameters
    ----------
    acquisition
        The scan; the readout may be in either domain.
    voxel_size
        Wanted voxel edges (x, y, z), mm; the matrix becomes the nearest whole numbers.

    Raises
    ------
    DataError
        If the voxel size is not usable.
    """
    scan = acquisition.load()
    grid = scan.grid.resized(voxel_size, "centre")
    scale = math.sqrt(math.prod(grid.shape) / math.prod(scan.shape))
    kspace = to_numpy(scan.kspace)
    readout_in_image = scan.domains[0] == "image" and grid.shape[0] != scan.shape[0]
    if readout_in_image:
        kspace = fft(kspace, axes=(1,))
    kspace = crop_or_pad(kspace, grid.shape)
    if readout_in_image:
        kspace = ifft(kspace, axes=(1,))
    covariance = scan.noise_covariance
    return scan.evolve(
        "crop k-space",
        {"shape": list(grid.shape), "from": list(scan.shape)},
        kspace=as_kind(kspace * np.float32(scale), scan.kspace),
        mask=crop_or_pad(scan.mask, grid.shape[-scan.mask.ndim :]),
        maps=None,
        noise_covariance=None if covariance is None else covariance * scale**2,
        voxel_size=grid.voxel_size,
        affine=grid.affine,
        reference=None if scan.reference is None else kspace_crop(scan.reference, grid.shape),
    )
