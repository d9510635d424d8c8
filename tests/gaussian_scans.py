"""For the tests of posterior samplers: scans of Gaussian volumes, and their exact posterior by NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from solver_scans import centred_fft, coil_maps, random_mask

from mrrecon.acquisition import Acquisition
from mrrecon.priors import GaussianPrior
from mrrecon.solvers.parts.problem import Problem

SHAPE = (9, 8, 8)
AXES = (-3, -2, -1)
SPREAD = 0.3  # of every voxel, per real component, around a mean of one
NOISE = 0.1  # of every sample, per real component


def white(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Complex numbers whose two components have unit variance."""
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def gaussian_scan(
    shape: tuple[int, int, int] = SHAPE, sets: int = 1, coils: int = 4, fraction: float = 0.4, seed: int = 0
) -> Acquisition:
    """Independent voxels, seen through maps that fade along x, so that some are known far better than others."""
    rng = np.random.default_rng(seed)
    volumes = 1 + SPREAD * white(rng, sets, *shape)
    shade = np.linspace(0.25, 1, shape[0])[:, None, None]
    maps = np.stack([np.roll(shade * coil_maps(shape, coils), 2 * s, axis=0) for s in range(sets)])
    mask = random_mask(shape[1:], fraction, 4, rng)
    kspace = centred_fft((maps * volumes[:, None]).sum(0), AXES) + NOISE * white(rng, coils, *shape)
    covariance = 2 * NOISE**2 * np.eye(coils)
    maps = maps[0] if sets == 1 else maps
    return Acquisition((kspace * mask).astype(np.complex64), mask, maps.astype(np.complex64), covariance)


def encoding_matrix(scan: Acquisition) -> np.ndarray:
    """A as a matrix, samples by voxels, of the sampled positions."""
    shape = scan.shape
    unit = np.eye(np.prod(shape)).reshape(-1, *shape)
    maps = scan.maps.reshape(-1, *scan.maps.shape[-4:])
    sampled = np.broadcast_to(scan.mask, shape)
    blocks = [[centred_fft(coil * unit, AXES)[:, sampled].T for coil in one] for one in maps]
    return np.concatenate([np.concatenate(one) for one in blocks], axis=1)


def measured(scan: Acquisition) -> np.ndarray:
    """The samples, in the order of :func:`encoding_matrix`."""
    return scan.kspace[:, np.broadcast_to(scan.mask, scan.shape)].ravel()


def exact_posterior(scan: Acquisition) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation, per real component, of the first set, in the scale of the data."""
    a, y = encoding_matrix(scan), measured(scan)
    covariance = np.linalg.inv(a.conj().T @ a / NOISE**2 + np.eye(a.shape[1]) / SPREAD**2)
    mean = covariance @ (a.conj().T @ y / NOISE**2 + 1 / SPREAD**2)
    voxels = np.prod(scan.shape)
    deviation = np.sqrt(np.diag(covariance).real)
    return mean[:voxels].reshape(scan.shape), deviation[:voxels].reshape(scan.shape)


def true_priors(scan: Acquisition, scales: Sequence[float] = (1.0, 1.0, 1.0)) -> list[GaussianPrior]:
    """The distribution that the volume was drawn from, for slices of each plane, at the unit signal of the solvers."""
    unit = Problem.of(scan, "test").scale
    found = []
    for plane, scale in enumerate(scales):
        sides = [n for axis, n in enumerate(scan.shape) if axis != plane]
        found.append(GaussianPrior(np.full(sides, 1 / unit), variance=(SPREAD / unit) ** 2))
        found[-1].data_scale = scale
    return found
