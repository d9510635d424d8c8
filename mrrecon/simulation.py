"""Scans with a known answer: anatomy, coil sensitivities, phase, noise and sampling, made an Acquisition.

What the numbers mean
---------------------
- The k-space is the centred orthonormal FFT of (sensitivity × image), plus noise.
- The reference of the acquisition is the image weighted by the combined sensitivity of the whitened coils, ``x sqrt(s2
  S^H Psi^-1 S)`` with Psi the noise covariance and s2 its mean variance (for independent noise ``x sqrt(sum_c
  |S_c|**2)``): what a solver with unit-norm maps (such as those of ESPIRiT) gives from complete, noiseless, whitened
  data. Maps that were estimated fix their phase on a coil, so that such a volume differs from the reference by a
  smooth phase; compare magnitudes (the default of :func:`mrrecon.metrics.evaluate`), or complex values when
  `keep_maps` was set.
- SNR is the mean over the object of the voxel-wise signal-to-noise ratio of the fully sampled, optimally combined
  magnitude image, ``|reference| / sqrt(s2 / 2)`` (half the variance, because only the noise component along the
  signal changes the magnitude).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mrrecon.acquisition import Acquisition, Step
from mrrecon.coil_models import CoilModel, coil_maps, combined_sensitivity
from mrrecon.errors import DataError, MaskError, ShapeError
from mrrecon.grid import Grid
from mrrecon.metrics import object_region
from mrrecon.operators.backend import to_numpy
from mrrecon.progress import tracked

__all__ = ["object_phase", "simulate"]


def simulate(
    anatomy: Any,
    grid: Grid | None = None,
    *,
    n_coils: int = 8,
    snr: float | None = None,
    noise_variance: float | None = None,
    noise_correlation: float = 0.0,
    coil_model: CoilModel = "loops",
    phase: bool | None = None,
    mask: Any = None,
    partial_fourier: tuple[float, float] = (1.0, 1.0),
    keep_maps: bool = False,
    seed: int = 0,
) -> Acquisition:
    """Simulate the scan of an anatomy with an array of coils.

    Parameters
    ----------
    anatomy
        Volume ``(x, y, z)``, real (a magnitude image) or complex; x is the readout.
    grid
        Where its voxels lie, which decides how the coils lie around the object; by default voxels of 1 mm along the
        axes of the scanner.
    n_coils
        Number of receive coils.
    snr
        Signal-to-noise ratio, as defined above. Without `snr` and `noise_variance` the scan has no noise.
    noise_variance
        Mean variance over coils of one complex k-space sample, instead of `snr`.
    noise_correlation
        From 0 (independent noise of equal variance in every coil) towards 1 (noise correlated like the
        sensitivities overlap in the object).
    coil_model
        ``"loops"`` or ``"birdcage"``, see :func:`mrrecon.coil_models.coil_maps`.
    phase
        Whether to give the object the smooth phase of :func:`object_phase`; by default when `anatomy` is
        real.
    mask
        Sampling pattern, bool ``(y, z)`` or ``(x, y, z)``; complete by default.
    partial_fourier
        Fractions of k-space acquired along (y, z), above 0.5 and up to 1; the low-index side is left out.
    keep_maps
        Put the true maps, scaled so that maps times reference is the truth, into the acquisition. Else a solver has
        to calibrate first.
    seed
        Seed of coils, phase and noise; each has a random generator of its own.

    Returns
    -------
    Acquisition
        With the reference, the noise covariance (``None`` without noise), and this call in its provenance.

    Raises
    ------
    ShapeError, DataError, MaskError
        If the anatomy is not a finite, non-zero 3D volume, or if a setting is out of its range or does not
        fit.
    """
    image = _check_anatomy(anatomy)
    grid = grid or Grid(image.shape)
    grid.require(image, "anatomy")
    if snr is not None and noise_variance is not None:
        raise DataError("Give snr or noise_variance, not both.")
    for name, value in (("snr", snr), ("noise_variance", noise_variance)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise DataError(f"{name} must be a positive number, got {value}; leave it out for a scan without noise.")
    if not 0 <= noise_correlation < 1:
        raise DataError(f"noise_correlation must be at least 0 and below 1, got {noise_correlation}.")
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise DataError(f"seed must be a whole number from 0, got {seed!r}.")
    sampled = _sampling(image.shape, mask, partial_fourier)

    settings = {
        "n_coils": n_coils,
        "coil_model": coil_model,
        "snr": snr,
        "noise_variance": noise_variance,
        "noise_correlation": noise_correlation,
        "phase": phase,
        "partial_fourier": list(partial_fourier),
        "seed": int(seed),
    }
    region = object_region(np.abs(image))
    maps = coil_maps(grid, n_coils, region=region, model=coil_model, seed=seed)
    if phase or (phase is None and image.dtype.kind == "f"):
        image = image * np.exp(1j * object_phase(image.shape, seed))
    image = image.astype(np.complex64, copy=False)

    noisy = snr is not None or noise_variance is not None
    matrix = _correlation_matrix(maps, region, noise_correlation if noisy else 0.0)
    combined = combined_sensitivity(maps)
    if noisy and noise_correlation > 0:
        whitening = np.linalg.inv(np.linalg.cholesky(matrix)).astype(np.complex64)
        combined = combined_sensitivity(np.tensordot(whitening, maps, axes=1))
    if snr is not None:
        signal = np.mean(np.abs(image[region]) * combined[region], dtype=np.float64)
        noise_variance = 2 * (float(signal) / snr) ** 2
    covariance = None if noise_variance is None else noise_variance * matrix
    kspace = _measure(image, maps, sampled, covariance, np.random.default_rng((seed, 3)))
    if keep_maps:
        maps /= np.maximum(combined, np.finfo(np.float32).tiny)
    return Acquisition(
        kspace=kspace,
        mask=sampled,
        maps=maps if keep_maps else None,
        noise_covariance=covariance,
        voxel_size=grid.voxel_size,
        affine=grid.affine,
        reference=image * combined,
        provenance=(Step("simulate", settings),),
    )


def object_phase(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Smooth phase of an object: a quadratic background and a few local bumps, as near air-filled cavities.

    Parameters
    ----------
    shape
        Matrix size (x, y, z).
    seed
        Seed of the random generator.

    Returns
    -------
    numpy.ndarray
        Phase ``(x, y, z)``, radians, ``float32``; it varies by a few radians over the volume.
    """
    rng = np.random.default_rng((seed, 2))
    axes = [
        np.linspace(-1, 1, n, dtype=np.float32).reshape([-1 if i == j else 1 for j in range(3)])
        for i, n in enumerate(shape)
    ]
    phase = np.full(shape, rng.uniform(-np.pi, np.pi), np.float32)
    for x, linear, square in zip(axes, rng.uniform(-1, 1, 3), rng.uniform(-1.2, 1.2, 3), strict=True):
        phase += np.float32(linear) * x + np.float32(square) * x * x
    for i, j in ((0, 1), (0, 2), (1, 2)):
        phase += np.float32(rng.uniform(-0.6, 0.6)) * axes[i] * axes[j]
    for _ in range(4):
        height, width = rng.uniform(-1.2, 1.2), rng.uniform(0.12, 0.3)
        centre = rng.uniform(-0.5, 0.5, 3)
        x, y, z = (np.exp(-((x - c) ** 2) / (2 * width**2)) for x, c in zip(axes, centre, strict=True))
        phase += np.float32(height) * x * y * z
    return phase


# ---- checks ----------------------------------------------------------------------------------------------


def _check_anatomy(anatomy: Any) -> np.ndarray:
    image = to_numpy(anatomy)
    if image.ndim != 3 or image.size == 0:
        raise ShapeError(f"anatomy must have the three axes (x, y, z), got shape {image.shape}.")
    if image.dtype.kind not in "biufc":
        raise DataError(f"anatomy must be numbers, got dtype {image.dtype}.")
    image = image.astype(np.complex64 if image.dtype.kind == "c" else np.float32)
    if not np.isfinite(image).all():
        raise DataError("anatomy has NaN or Inf values; replace them first, for example with numpy.nan_to_num.")
    if not image.any():
        raise DataError("anatomy is zero everywhere: there is nothing to scan.")
    return image


def _sampling(shape: tuple[int, ...], mask: Any, partial_fourier: tuple[float, float]) -> np.ndarray:
    sampled = np.ones(shape[1:], bool) if mask is None else np.array(to_numpy(mask)).astype(bool)
    if sampled.shape not in (shape, shape[1:]):
        raise MaskError(f"mask has shape {sampled.shape}, the anatomy needs (y, z) {shape[1:]} or (x, y, z) {shape}.")
    for axis, fraction in zip((-2, -1), partial_fourier, strict=True):
        if not 0.5 < fraction <= 1:
            raise DataError(
                f"partial_fourier must be fractions above 0.5 and up to 1 of (y, z), got {partial_fourier}."
            )
        missing = math.floor((1 - fraction) * sampled.shape[axis])
        np.moveaxis(sampled, axis, 0)[:missing] = False
    return sampled


# ---- physics ---------------------------------------------------------------------------------------------


def _correlation_matrix(maps: np.ndarray, region: np.ndarray, correlation: float) -> np.ndarray:
    """Noise correlation ``(coils, coils)``, unit diagonal, from independent to that of the coils' overlap."""
    matrix = np.eye(len(maps), dtype=np.complex128)
    if correlation > 0:
        inside = maps[:, region]
        overlap = (inside @ inside.conj().T).astype(np.complex128)
        level = np.sqrt(np.diag(overlap).real)
        matrix = (1 - correlation) * matrix + correlation * overlap / np.outer(level, level)
    return matrix


def _measure(
    image: np.ndarray, maps: np.ndarray, mask: np.ndarray, covariance: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray:
    """K-space ``(coils, x, y, z)`` of the sensitivity-weighted images, with noise, zero where not sampled."""
    from mrrecon.operators.fourier import fft

    coils, planes, *plane = maps.shape
    kspace = np.empty((coils, planes, *plane), np.complex64)
    for c in tracked(range(coils), "simulating coils"):
        kspace[c] = fft(maps[c] * image)
    if covariance is not None:
        mix = np.linalg.cholesky(covariance / 2).astype(np.complex64)  # / 2: real and imaginary part each
        for x in tracked(range(planes), "simulating noise"):
            real, imaginary = (rng.standard_normal((coils, *plane), dtype=np.float32) for _ in range(2))
            kspace[:, x] += np.tensordot(mix, real + 1j * imaginary, axes=1)
    kspace *= mask
    return kspace
