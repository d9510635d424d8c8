"""Another voxel size for the same field of view, by two named methods that do not give the same image.

- ``"kspace-crop"``: keep the centre of k-space, as a scanner does when it acquires fewer phase-encoding
  steps (or pad it with zeros). Sharp edges ring; noise stays white.
- ``"interpolation"``: resample the image, linearly, with the interpolation kernel widened by the reduction
  so that nothing aliases. No ringing, but a blur; noise becomes correlated.

Both keep intensities. Positions differ by less than a voxel: k-space keeps the centre voxel (index ``n //
2``) in place, interpolation the edges of the field of view. The returned affine says where the voxels are.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from mrrecon.acquisition import Acquisition
from mrrecon.errors import DataError, ShapeError
from mrrecon.operators.backend import as_kind, to_numpy
from mrrecon.operators.centre import crop_or_pad
from mrrecon.operators.fourier import fft, ifft
from mrrecon.operators.resampling import Resampling, kspace_crop

__all__ = ["ResolutionMethod", "change_resolution", "crop_kspace"]

ResolutionMethod = Literal["kspace-crop", "interpolation"]
Voxel = tuple[float, float, float]


def change_resolution(
    volume: Any,
    voxel_size: Voxel,
    affine: Any,
    new_voxel_size: Voxel,
    method: ResolutionMethod = "interpolation",
) -> tuple[np.ndarray, Voxel, np.ndarray]:
    """Bring a volume to another voxel size, field of view unchanged.

    Parameters
    ----------
    volume
        Image ``(x, y, z)``, real or complex.
    voxel_size
        Its voxel edges along (x, y, z), mm.
    affine
        Its 4×4 matrix from voxel indices to scanner coordinates.
    new_voxel_size
        Wanted voxel edges, mm. The matrix becomes the nearest whole numbers, hence the voxels only nearly
        this.
    method
        ``"kspace-crop"`` or ``"interpolation"``.

    Returns
    -------
    volume, voxel_size, affine
        Of the new grid; the voxel size is the exact one, field of view over matrix size. Real stays real.

    Raises
    ------
    ShapeError, DataError
        If the volume is not three-dimensional, or the voxel size or the method is not usable.
    """
    image = to_numpy(volume)
    if image.ndim != 3:
        raise ShapeError(f"volume must have the three axes (x, y, z), got shape {image.shape}.")
    if method not in ("kspace-crop", "interpolation"):
        raise DataError(f"There is no resolution method {method!r}; choose 'kspace-crop' or 'interpolation'.")
    shape = _new_shape(image.shape, voxel_size, new_voxel_size)
    if method == "interpolation":
        result, shift = Resampling(image.shape, shape).forward(image), 0.5
    else:
        result, shift = kspace_crop(image, shape), None
    return result, *_new_geometry(image.shape, shape, voxel_size, affine, shift)


def crop_kspace(acquisition: Acquisition, new_voxel_size: Voxel) -> Acquisition:
    """Keep the centre of k-space: the same scan with larger voxels (or, zero-padded, with smaller ones).

    Samples are scaled so that the image keeps its intensities: the noise falls as voxels grow. The mask, the
    noise covariance, the affine and the reference follow; coil maps are dropped, calibrate again.

    Parameters
    ----------
    acquisition
        The scan; the readout may be in either domain.
    new_voxel_size
        Wanted voxel edges along (x, y, z), mm; the matrix becomes the nearest whole numbers.

    Raises
    ------
    DataError
        If the voxel size is not usable.
    """
    scan = acquisition.load()
    shape = _new_shape(scan.shape, scan.voxel_size, new_voxel_size)
    scale = math.sqrt(math.prod(shape) / math.prod(scan.shape))
    kspace = to_numpy(scan.kspace)
    readout_in_image = scan.domains[0] == "image" and shape[0] != scan.shape[0]
    if readout_in_image:
        kspace = fft(kspace, axes=(1,))
    kspace, mask = crop_or_pad(kspace, shape), crop_or_pad(scan.mask, shape[-scan.mask.ndim :])
    if readout_in_image:
        kspace = ifft(kspace, axes=(1,))
    reference, covariance = scan.reference, scan.noise_covariance
    if reference is not None:
        reference = change_resolution(reference, scan.voxel_size, scan.affine, new_voxel_size, "kspace-crop")[0]
    voxel, affine = _new_geometry(scan.shape, shape, scan.voxel_size, scan.affine, None)
    return scan.evolve(
        "crop k-space",
        {"shape": list(shape), "from": list(scan.shape)},
        kspace=as_kind(kspace * np.float32(scale), scan.kspace),
        mask=mask,
        maps=None,
        noise_covariance=None if covariance is None else covariance * scale**2,
        voxel_size=voxel,
        affine=affine,
        reference=reference,
    )


def _new_shape(shape: tuple[int, ...], voxel: Voxel, wanted: Voxel) -> tuple[int, int, int]:
    edges = np.asarray(wanted, np.float64)
    if edges.shape != (3,) or not (np.isfinite(edges).all() and (edges > 0).all()):
        raise DataError(f"new_voxel_size must be three positive lengths in mm (x, y, z), got {wanted!r}.")
    x, y, z = (max(1, math.floor(n * v / w + 0.5)) for n, v, w in zip(shape, voxel, edges, strict=True))
    return x, y, z


def _new_geometry(
    old: tuple[int, ...], new: tuple[int, ...], voxel: Voxel, affine: Any, shift: float | None
) -> tuple[Voxel, np.ndarray]:
    """Voxel size and affine of the new grid: edges aligned (`shift` 0.5) or centre voxels (`shift` None)."""
    factors = np.asarray(old) / np.asarray(new)
    before = np.asarray(to_numpy(affine), np.float64)
    after = before.copy()
    after[:3, :3] = before[:3, :3] * factors
    here = np.asarray(old) // 2 if shift is None else np.full(3, -shift)
    there = np.asarray(new) // 2 if shift is None else np.full(3, -shift)
    after[:3, 3] = before[:3, :3] @ here + before[:3, 3] - after[:3, :3] @ there
    x, y, z = (float(v * f) for v, f in zip(voxel, factors, strict=True))
    return (x, y, z), after
