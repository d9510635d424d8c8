"""Image quality against a reference, each number with the policy that it was computed under.

PSNR and SSIM of the same pair of images differ by decibels with the data range, the region, the scaling,
and with whether magnitudes or complex values are compared; :func:`evaluate` therefore returns them together
with the :class:`MetricPolicy`, and gives all three usual kinds of PSNR.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mrrecon.errors import DataError, ShapeError
from mrrecon.operators.backend import num_threads, to_numpy

__all__ = ["MetricPolicy", "evaluate", "nmse", "nrmse", "object_region", "psnr", "require_comparable", "ssim"]

WINDOW = 7  # SSIM: side of the uniform window; K1, K2 and the sample covariance as in Wang et al. and scikit-image
K1, K2 = 0.01, 0.03


@dataclass(frozen=True, eq=False)
class MetricPolicy:
    """How the numbers are computed.

    Parameters
    ----------
    data_range
        The peak of PSNR and the dynamic range of SSIM: ``"volume-max"``, the largest magnitude of the
        reference volume; ``"slice-max"``, that of each slice (then PSNR and SSIM are means over slices;
        slices with an empty reference are left out); or a number.
    region
        Voxels that count: ``"all"``; ``"object"``, see :func:`object_region`; or a bool array ``(x, y,
        z)``. For SSIM, voxels whose window lies within the slice and whose centre lies in the region.
    scaling
        ``"none"``: values as they are. ``"magnitude"``: the reconstruction is multiplied first by the real
        factor that fits its magnitude to that of the reference best, in least squares over the region.
        ``"complex"``: likewise by the complex factor that fits the complex values.
    slice_axis
        Axis across which slices are taken, for SSIM and for ``"slice-max"``: ``"x"`` is the (y, z) plane,
        in which the undersampling acts.
    """

    data_range: Literal["volume-max", "slice-max"] | float = "volume-max"
    region: Literal["all", "object"] | np.ndarray = "all"
    scaling: Literal["none", "magnitude", "complex"] = "none"
    slice_axis: Literal["x", "y", "z"] = "x"

    def __post_init__(self) -> None:
        peak = self.data_range
        if peak not in ("volume-max", "slice-max") and not (
            isinstance(peak, (int, float)) and math.isfinite(peak) and peak > 0
        ):
            raise DataError(f"data_range must be 'volume-max', 'slice-max' or a positive number, got {peak!r}.")
        if isinstance(self.region, str) and self.region not in ("all", "object"):
            raise DataError(f"region must be 'all', 'object' or a bool array (x, y, z), got {self.region!r}.")
        if self.scaling not in ("none", "magnitude", "complex"):
            raise DataError(f"scaling must be 'none', 'magnitude' or 'complex', got {self.scaling!r}.")
        if self.slice_axis not in ("x", "y", "z"):
            raise DataError(f"slice_axis must be 'x', 'y' or 'z', got {self.slice_axis!r}.")

    def record(self) -> dict[str, Any]:
        """Return the policy as JSON-able values; a mask is named by its size and digest."""
        if isinstance(self.region, str):
            region: str = self.region
        else:
            mask = np.asarray(to_numpy(self.region)).astype(bool)
            digest = hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()[:12]
            region = f"mask of {int(mask.sum())} voxels, sha256 {digest}"
        return {
            "data_range": self.data_range,
            "region": region,
            "scaling": self.scaling,
            "slice_axis": self.slice_axis,
            "ssim": f"window {WINDOW}x{WINDOW} uniform, K1 {K1}, K2 {K2}, sample covariance",
        }


def evaluate(reconstruction: Any, reference: Any, policy: MetricPolicy | None = None) -> dict[str, Any]:
    """Compare a reconstruction with a reference.

    Parameters
    ----------
    reconstruction, reference
        Volumes ``(x, y, z)``, real or complex; NumPy, CuPy or torch, or a
        :class:`~mrrecon.reconstruction.Reconstruction`.
    policy
        How to compute; the defaults of :class:`MetricPolicy` when not given.

    Returns
    -------
    dict
        ``psnr``, ``ssim``, ``nmse``, ``nrmse`` of the magnitudes; ``psnr_complex``, ``nmse_complex`` of the
        complex values (peak: largest magnitude; error: squared modulus); ``psnr_component`` of the real
        view (peak: largest signed component; mean over real and imaginary parts as separate entries);
        ``scale``, the factor that was applied, as [real, imaginary]; and ``policy``. PSNR is in dB,
        infinite for equal volumes.

    Raises
    ------
    ShapeError, DataError
        If the shapes differ or do not fit the policy, or if values are NaN or Inf, or the reference is zero.
    """
    policy = policy or MetricPolicy()
    image, truth = _volumes(reconstruction, reference)
    region = _region(policy, truth)
    scale = _scale(policy, image, truth, region)
    image = image * scale
    magnitude, true_magnitude = np.abs(image), np.abs(truth)
    error = magnitude - true_magnitude
    square, complex_square = error**2, _square(image - truth)
    energy = _energy(truth, region)
    component = max(float(truth.real.max()), float(truth.imag.max()) if truth.dtype.kind == "c" else 0.0)
    if isinstance(policy.data_range, (int, float)):
        component = policy.data_range
    parts = 2 if truth.dtype.kind == "c" or image.dtype.kind == "c" else 1
    return {
        "psnr": _psnr(square, true_magnitude, region, policy),
        "psnr_complex": _psnr(complex_square, true_magnitude, region, policy),
        "psnr_component": _decibels(component, _mean(complex_square, region) / parts),
        "ssim": _ssim(magnitude, true_magnitude, region, policy),
        "nmse": _mean(square, region) / energy,
        "nrmse": math.sqrt(_mean(square, region) / energy),
        "nmse_complex": _mean(complex_square, region) / energy,
        "scale": [float(np.real(scale)), float(np.imag(scale))],
        "policy": policy.record(),
    }


def require_comparable(reference: Any, policy: MetricPolicy | None = None) -> None:
    """Refuse a reference that :func:`evaluate` would refuse whatever it is compared with.

    Raises
    ------
    ShapeError, DataError
        If it is no volume, has NaN or Inf, is zero in the region, or its slices are too small for SSIM.
    """
    policy = policy or MetricPolicy()
    _, truth = _volumes(reference, reference)
    region = _region(policy, truth)
    _energy(truth, region)
    axis = "xyz".index(policy.slice_axis)
    _require_window([n for i, n in enumerate(truth.shape) if i != axis], policy)


def psnr(reconstruction: Any, reference: Any, policy: MetricPolicy | None = None) -> float:
    """Peak signal-to-noise ratio of the magnitudes, dB; arguments as in :func:`evaluate`."""
    policy = policy or MetricPolicy()
    image, truth, region = _magnitudes(reconstruction, reference, policy)
    return _psnr((image - truth) ** 2, truth, region, policy)


def ssim(reconstruction: Any, reference: Any, policy: MetricPolicy | None = None) -> float:
    """Structural similarity of the magnitudes, slice by slice; arguments as in :func:`evaluate`.

    References
    ----------
    Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE Trans. Image
    Process. 13 (2004).
    """
    policy = policy or MetricPolicy()
    return _ssim(*_magnitudes(reconstruction, reference, policy), policy)


def nmse(reconstruction: Any, reference: Any, policy: MetricPolicy | None = None) -> float:
    """Squared error of the magnitudes over the squared reference; arguments as in :func:`evaluate`."""
    image, truth, region = _magnitudes(reconstruction, reference, policy or MetricPolicy())
    return _mean((image - truth) ** 2, region) / _energy(truth, region)


def nrmse(reconstruction: Any, reference: Any, policy: MetricPolicy | None = None) -> float:
    """Root of :func:`nmse`."""
    return math.sqrt(nmse(reconstruction, reference, policy))


def object_region(volume: Any) -> np.ndarray:
    """Find the object in a volume: magnitudes over a tenth of their 99th percentile, with holes filled.

    Parameters
    ----------
    volume
        Volume ``(x, y, z)``, real or complex.

    Returns
    -------
    numpy.ndarray
        Region ``(x, y, z)``, bool.
    """
    from scipy import ndimage

    magnitude = np.abs(to_numpy(volume))
    bright = magnitude > 0.1 * np.percentile(magnitude, 99)
    if not bright.any():  # a small object in a large empty volume
        bright = magnitude > 0.1 * magnitude.max()
    dark, _ = ndimage.label(~bright)
    outside = np.zeros(int(dark.max()) + 1, bool)
    for axis in range(dark.ndim):
        for end in (0, -1):
            outside[np.unique(dark.take(end, axis=axis))] = True
    outside[0] = False  # label 0 is the bright part
    return ~outside[dark]


# ---- parts -----------------------------------------------------------------------------------------------


def _volumes(reconstruction: Any, reference: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both volumes in double precision, checked."""
    found = []
    for name, operand in (("reconstruction", reconstruction), ("reference", reference)):
        volume = to_numpy(getattr(operand, "volume", operand))
        if volume.ndim != 3:
            raise ShapeError(f"{name} must have the three axes (x, y, z), got shape {volume.shape}.")
        if volume.dtype.kind not in "biufc":
            raise DataError(f"{name} must be numbers, got dtype {volume.dtype}.")
        volume = volume.astype(np.complex128 if volume.dtype.kind == "c" else np.float64)
        if not np.isfinite(volume).all():
            raise DataError(f"{name} has {int((~np.isfinite(volume)).sum())} NaN or Inf values of {volume.size}.")
        found.append(volume)
    image, truth = found
    if image.shape != truth.shape:
        raise ShapeError(
            f"reconstruction {image.shape} and reference {truth.shape} differ in shape; bring them to "
            "the same grid with mrrecon.resolution.change_resolution."
        )
    return image, truth


def _magnitudes(
    reconstruction: Any, reference: Any, policy: MetricPolicy
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    image, truth = _volumes(reconstruction, reference)
    region = _region(policy, truth)
    return np.abs(image * _scale(policy, image, truth, region)), np.abs(truth), region


def _region(policy: MetricPolicy, truth: np.ndarray) -> np.ndarray | None:
    """Bool array of the voxels that count; ``None`` for all of them."""
    if isinstance(policy.region, str):
        return object_region(truth) if policy.region == "object" else None
    region = np.asarray(to_numpy(policy.region)).astype(bool)
    if region.shape != truth.shape:
        raise ShapeError(f"The policy's region has shape {region.shape}, the volumes have {truth.shape}.")
    if not region.any():
        raise DataError("The policy's region is empty: no voxel would count.")
    return region


def _scale(policy: MetricPolicy, image: np.ndarray, truth: np.ndarray, region: np.ndarray | None) -> Any:
    if policy.scaling == "none":
        return 1.0
    if region is not None:
        image, truth = image[region], truth[region]
    if policy.scaling == "magnitude":
        image, truth = np.abs(image), np.abs(truth)
    energy = np.vdot(image, image).real
    return np.vdot(image, truth) / energy if energy > 0 else 1.0


def _square(values: np.ndarray) -> np.ndarray:
    return values.real**2 + values.imag**2 if values.dtype.kind == "c" else values**2


def _mean(values: np.ndarray, region: np.ndarray | None) -> float:
    return float(values.mean() if region is None else values[region].mean())


def _energy(truth: np.ndarray, region: np.ndarray | None) -> float:
    """Mean square of the reference, which must not be zero."""
    energy = _mean(_square(truth), region)
    if energy == 0:
        raise DataError("The reference is zero everywhere in the region, so nothing can be compared with it.")
    return energy


def _decibels(peak: float, mean_square: float) -> float:
    return math.inf if mean_square == 0 else 10 * math.log10(peak**2 / mean_square) if peak > 0 else -math.inf


def _by_slice(
    policy: MetricPolicy, image: np.ndarray, truth: np.ndarray, region: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Views with the slices first; the region as a mask in any case."""
    whole = np.broadcast_to(True, truth.shape) if region is None else region
    first, second, third = (np.moveaxis(v, "xyz".index(policy.slice_axis), 0) for v in (image, truth, whole))
    return first, second, third


def _psnr(square: np.ndarray, truth: np.ndarray, region: np.ndarray | None, policy: MetricPolicy) -> float:
    if policy.data_range != "slice-max":
        peak = float(truth.max()) if policy.data_range == "volume-max" else float(policy.data_range)
        return _decibels(peak, _mean(square, region))
    values = [
        _decibels(float(one.max()), _mean(error, inside))
        for error, one, inside in zip(*_by_slice(policy, square, truth, region), strict=True)
        if one.any() and inside.any()
    ]
    return float(np.mean(values))


def _ssim(image: np.ndarray, truth: np.ndarray, region: np.ndarray | None, policy: MetricPolicy) -> float:
    images, slices, regions = _by_slice(policy, image, truth, region)
    _require_window(slices.shape[1:], policy)
    if policy.data_range == "slice-max":
        peaks = slices.max(axis=(1, 2))
    else:
        peaks = np.full(len(slices), truth.max() if policy.data_range == "volume-max" else policy.data_range)
    inner = (slice(WINDOW // 2, -(WINDOW // 2)),) * 2

    def one(i: int) -> tuple[float, int]:
        if peaks[i] == 0:
            return 0.0, 0
        similarity = _ssim_map(np.ascontiguousarray(images[i]), np.ascontiguousarray(slices[i]), peaks[i])[inner]
        similarity = similarity[regions[i][inner]]
        return float(similarity.sum()), similarity.size

    with ThreadPoolExecutor(num_threads()) as pool:
        sums, counts = zip(*pool.map(one, range(len(slices))), strict=True)
    if sum(counts) == 0:
        raise DataError("SSIM has no voxel to average: region or reference is empty away from the edges of the slices.")
    return sum(sums) / sum(counts)


def _require_window(shape: Sequence[int], policy: MetricPolicy) -> None:
    """Refuse slices that the window of SSIM does not fit into."""
    if min(shape) < WINDOW:
        raise ShapeError(
            f"SSIM across {policy.slice_axis} needs slices of at least {WINDOW}x{WINDOW} voxels, got "
            f"{shape[0]}x{shape[1]}; choose another slice_axis in the policy."
        )


def _ssim_map(a: np.ndarray, b: np.ndarray, peak: float) -> np.ndarray:
    """SSIM of every pixel of a slice; pixels nearer to the edge than half a window are not valid."""
    from scipy.ndimage import uniform_filter

    mean_a, mean_b, aa, bb, ab = (uniform_filter(v, WINDOW) for v in (a, b, a * a, b * b, a * b))
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    variance_a, variance_b = unbiased * (aa - mean_a**2), unbiased * (bb - mean_b**2)
    covariance = unbiased * (ab - mean_a * mean_b)
    c1, c2 = (K1 * peak) ** 2, (K2 * peak) ** 2
    return ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    )
