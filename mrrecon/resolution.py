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
    if method not in ("kspace-crop", "interpolation"):
        raise DataError(f"There is no resolution method {method!r}; choose 'kspace-crop' or 'interpolation'.")
    new = grid.resized(voxel_size, "edges" if method == "interpolation" else "centre")
    real = image.dtype.kind != "c"
    if method == "interpolation":
        result = image.astype(np.float32 if real else np.complex64, copy=False)
        for axis, n in enumerate(new.shape):
            if n != result.shape[axis]:
                weights = _linear_weights(result.shape[axis], n)
                result = np.moveaxis(np.tensordot(result, weights, axes=(axis, 1)), -1, axis)
    else:
        result = image.astype(np.complex64, copy=False)
        for axis, n in enumerate(new.shape):
            if n != result.shape[axis]:
                result = _band_limit(result, axis, n)
        result = result.real if real else result
    return np.ascontiguousarray(result), new


def crop_kspace(acquisition: Acquisition, voxel_size: Sequence[float]) -> Acquisition:
    """Keep the centre of k-space: the same scan with larger voxels (or, zero-padded, with smaller ones).

    Samples are scaled so that the image keeps its intensities: the noise falls as voxels grow. The mask, the
    noise covariance, the affine and the reference follow; coil maps are dropped, calibrate again.

    Parameters
    ----------
    acquisition
        The scan; the readout may be in either domain.
    voxel_size
        Wanted voxel edges along (x, y, z), mm; the matrix becomes the nearest whole numbers.

    Raises
    ------
    DataError
        If the voxel size is not usable.
    """
    from mrrecon.operators.fourier import fft, ifft

    scan = acquisition.load()
    grid = scan.grid.resized(voxel_size, "centre")
    shape = grid.shape
    scale = math.sqrt(math.prod(shape) / math.prod(scan.shape))
    kspace = to_numpy(scan.kspace)
    readout_in_image = scan.domains[0] == "image" and shape[0] != scan.shape[0]
    if readout_in_image:
        kspace = fft(kspace, axes=(1,))
    mask = scan.mask
    for axis, n in enumerate(shape):
        kspace = _centre(kspace, axis + 1, n)
        if mask.ndim == 3 or axis > 0:
            mask = _centre(mask, axis if mask.ndim == 3 else axis - 1, n)
    if readout_in_image:
        kspace = ifft(kspace, axes=(1,))
    reference, covariance = scan.reference, scan.noise_covariance
    if reference is not None:
        reference, _ = change_resolution(reference, scan.grid, voxel_size, "kspace-crop")
    return scan.evolve(
        "crop k-space",
        {"shape": list(shape), "from": list(scan.shape)},
        kspace=as_kind(kspace * np.float32(scale), scan.kspace),
        mask=mask,
        maps=None,
        noise_covariance=None if covariance is None else covariance * scale**2,
        voxel_size=grid.voxel_size,
        affine=grid.affine,
        reference=reference,
    )


def _centre(a: np.ndarray, axis: int, n: int) -> np.ndarray:
    """Crop or zero-pad `axis` to length `n`, index ``n // 2`` staying the centre."""
    start = a.shape[axis] // 2 - n // 2
    if n <= a.shape[axis]:
        return a[(slice(None),) * axis + (slice(start, start + n),)]
    padding = [(0, 0)] * a.ndim
    padding[axis] = (-start, n - a.shape[axis] + start)
    return np.pad(a, padding)


def _band_limit(image: np.ndarray, axis: int, n: int) -> np.ndarray:
    from mrrecon.operators.fourier import fft, ifft

    scale = np.float32(math.sqrt(n / image.shape[axis]))
    return ifft(_centre(fft(image, axes=(axis,)), axis, n) * scale, axes=(axis,))


def _linear_weights(old: int, new: int) -> np.ndarray:
    """Weights ``(new, old)`` of antialiased linear interpolation, the edges of both grids aligned."""
    factor = old / new
    centres = (np.arange(new) + 0.5) * factor - 0.5
    distance = np.abs(centres[:, None] - np.arange(old)[None, :]) / max(1.0, factor)
    weights = np.maximum(1.0 - distance, 0.0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
