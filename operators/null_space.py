"""Noise in the null space of the calibration block: where patches of k-space hold noise and no signal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from mrrecon.errors import CalibrationError
from mrrecon.operators.backend import num_threads, to_numpy
from mrrecon.operators.calibration_data import read_calibration
from mrrecon.operators.patches import patch_gram

__all__ = ["EMPTY", "PLANES", "Found", "central_planes", "less_uneven", "noise_level", "null_space"]

BLOCK = 24  # side of the block that patches are taken from, at most
PLANES = 16  # fewer positions along x than these are too few to learn from: y makes up for it
ORDER = 240  # of the Gram matrix, at most
ROWS = 12_000  # patches, at most
FOLDS = 4  # parts of the planes, each measured in the null space of the others
AT_LEAST = 2500  # independent samples in the null space, at least
WHITENINGS = 2  # times that the coils are whitened by what was found
WIDE = 1.5  # times the noise: directions that hold less tell the covariance between coils
STEP, ERRORS, WINDOW = 0.15, 2.0, 0.06  # the null space ends where its next directions hold so much more
UNCERTAIN = 0.25  # scatter by signal alone: of the logarithms of variances, or of the correlations' eigenvalues
STEEP = 6  # power of the share of the scatter that signal explains
LEAST_EIGENVALUE = 1e-6  # of the mean, in a covariance: less is rounding
SYSTEMATIC = 0.05  # of the logarithm of the energies' ratio, inside to outside: uncertainty beside that of few samples
UNEVEN = 2.0  # energy of the null space's last third over its first from which on there is no floor
ROUNDING = 3e-7  # of the largest sample: noise below it is that of single precision
EMPTY = 1e-12  # of the largest energy along an axis: nothing was measured there


@dataclass(frozen=True)
class Found:
    """Covariance by one of the two ways; `sound` if it is that of white noise, and `why` not otherwise.

    `clean` if there is no sign of signal in it.
    """

    covariance: np.ndarray
    uncertainty: float
    sound: bool = True
    why: str = ""
    clean: bool = False


def noise_level(covariance: np.ndarray) -> float:
    """Standard deviation of one complex sample, root mean square over coils."""
    return float(np.sqrt(np.diag(covariance).real.mean()))


def central_planes(
    kspace: Any, mask: np.ndarray, readout_domain: Literal["kspace", "image"], centre: Sequence[int] | None = None
) -> np.ndarray | None:
    """Fully sampled centre of k-space as planes in the image domain, ``(coils, planes, y, z)``; None without any.

    The planes are those along x; where these are few (2D scans), y is transformed too and the planes are all lines of
    all slices, ``(coils, planes, 1, z)``.
    """
    nx, ny = int(kspace.shape[1]), int(kspace.shape[2])
    few = nx < PLANES
    limit = (nx, min(ny, -(-BLOCK * PLANES * 8 // nx)) if few else BLOCK, BLOCK)
    for _ in range(2):  # a second time if samples that the mask has are zero: then without them
        try:
            block = to_numpy(read_calibration(kspace, limit, (1, 1, 1), mask, readout_domain, centre))
        except CalibrationError:
            return None
        energy = np.abs(block.astype(np.complex128)) ** 2
        lines = energy.sum(axis=(0, 1)) > 0
        if lines.all():
            break
        full = mask if mask.ndim == 2 else mask.all(axis=0)
        mask = full & to_numpy((kspace[:, nx // 2] != 0).any(axis=0))
    along = energy.sum(axis=(0, 2, 3))
    measured = np.flatnonzero(along > EMPTY * along.max())
    if not lines.all() or measured.size == 0:
        return None
    block = block[:, measured[0] : measured[-1] + 1]
    planes = np.fft.ifft(block.astype(np.complex128), axis=1, norm="ortho")
    if few:
        planes = np.fft.ifft(planes, axis=2, norm="ortho")
        planes = planes.reshape(len(planes), -1, 1, planes.shape[3])
    energy = (np.abs(planes) ** 2).sum(axis=(0, 2, 3))
    return planes[:, energy > EMPTY * energy.max()]


def _kernel(coils: int, planes: int, y: int, z: int) -> tuple[int, int] | None:
    """Width of the patches along (y, z): as large as order and number of the patches allow; None if too few."""
    widths = [max(1, min(16, round(0.7 * n))) for n in (y, z)]
    while True:
        order = coils * widths[0] * widths[1]
        rows = planes * (y - widths[0] + 1) * (z - widths[1] + 1)
        if order <= ORDER and rows * (FOLDS - 1) / FOLDS >= 1.5 * order:
            return widths[0], widths[1]
        if max(widths) == 1:
            return None
        widths[int(np.argmax(widths))] -= 1


def null_space(planes: np.ndarray, start: Found | None) -> Found | None:
    """Covariance from the directions that no patch of the planes takes but by noise.

    Directions are found in some of the planes and their energy is measured both there (too low, as the null space fits
    that noise) and in the others (too high, as signal leaks into it by just as much): the geometric mean is free of
    that bias. The null space ends where further directions, in the other planes, hold more energy. As it
    depends on the noise of the coils, it is found again with coils whitened by what was found, as far as that
    cannot be signal.

    Parameters
    ----------
    planes
        ``(coils, planes, y, z)`` complex128, x in the image domain.
    start
        Covariance to start from; one that is clean is taken as it is, and only its level is found.

    References
    ----------
    Null space of calibration patches: Zhang, Liu, Ji 2011 (PRUNO); Uecker et al. 2014 (ESPIRiT). Noise in the small
    singular values: Veraart et al. 2016 (MP-PCA). Geometric mean of both errors: in least squares with r of m degrees
    of freedom fitted they are (1 - r/m) and about 1/(1 - r/m) times the variance.
    """
    coils, count, y, z = planes.shape
    kernel = _kernel(coils, count, y, z)
    if kernel is None or max(kernel) == 1 or count < 2 * FOLDS:
        return None
    fits = (y - kernel[0] + 1) * (z - kernel[1] + 1)
    used = planes[:, :: max(1, count * fits // ROWS)]
    peak = float(np.abs(used).max())
    folds = [used[:, fold::FOLDS] / peak for fold in range(FOLDS)]
    mixing = np.eye(coils, dtype=np.complex128)
    if start is not None:
        mixing = _inverse_root(start.covariance)
    with threadpool_limits(1, "blas"):
        found = _in_threads(lambda fold: patch_gram(fold, (1, *kernel)) / (fold.shape[1] * fits), folds)
        grams = np.array(found)
        independent = used.size / grams.shape[1]  # samples for each direction
        for _ in range(0 if start is not None and start.clean else WHITENINGS):
            white = _mixed(grams, mixing)
            _, outside, bases = _energies(white)
            wide = int((outside <= WIDE * outside[: _end(outside, independent)].mean()).sum())
            values, turn = np.linalg.eigh(_coil_covariance(white, [basis[:, :wide] for basis in bases], coils))
            values = np.clip(values / np.median(values), LEAST_EIGENVALUE, 1)  # the start has signal in it: only less
            mixing = (turn / np.sqrt(values)) @ turn.conj().T @ mixing
        back = np.linalg.inv(mixing)
        shape = back @ back.conj().T
        if start is None or not start.clean:
            shape = less_uneven(shape, UNCERTAIN)
        mixing = _inverse_root(shape)
        inside, outside, _ = _energies(_mixed(grams, mixing))
    end = _end(outside, independent)
    low, high = inside[:end].mean(), outside[:end].mean()
    covariance = math.sqrt(max(low, 0.0) * high) * peak**2 / np.diag(shape).real.mean() * shape
    third = max(1, end // 3)
    error = math.hypot(0.5 / math.sqrt(end * independent), SYSTEMATIC * math.log(max(high, 1e-300) / max(low, 1e-300)))
    why = ""
    if noise_level(covariance) < ROUNDING * peak:
        why = "the centre of k-space holds no noise above the rounding of its numbers"
    elif outside[end - third : end].mean() > UNEVEN * outside[:third].mean():
        why = "the noise in the centre of k-space is not white (as where the background was set to zero)"
    return Found(covariance, min(error, 1.0), not why, why)


def less_uneven(covariance: np.ndarray, uncertain: float) -> np.ndarray:
    """Covariance drawn towards noise alike in all coils, as far as what is uneven in it may be signal; same level.

    Signal left in an estimate makes the coils near the object look noisier and correlated: heads at 1 to 4 mm with
    noise alike in all coils show a scatter of up to `UNCERTAIN`. Up to a scatter of `uncertain` nothing is left of it,
    and soon above it nearly all, for the variances of the coils and for their correlations apart.
    """
    logarithms = np.log(np.diag(covariance).real)
    share = _uncertain_share(logarithms, uncertain)
    variances = np.exp((1 - share) * logarithms + share * logarithms.mean())
    variances *= np.diag(covariance).real.sum() / variances.sum()
    correlations = covariance / np.exp(np.add.outer(logarithms, logarithms) / 2)
    eigenvalues = np.maximum(np.linalg.eigvalsh(correlations), LEAST_EIGENVALUE)
    correlations = correlations * (1 - _uncertain_share(np.log(eigenvalues), uncertain))
    correlations[np.diag_indices(len(covariance))] = 1
    return correlations * np.sqrt(np.outer(variances, variances))


def _uncertain_share(logarithms: np.ndarray, uncertain: float) -> float:
    return float((uncertain / max(uncertain, logarithms.std())) ** STEEP)


def _energies(grams: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Mean energy along each direction, ascending, where directions are found and elsewhere; the directions by fold."""
    total = grams.sum(axis=0)

    def of_fold(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values, basis = np.linalg.eigh((total - gram) / (len(grams) - 1))
        return np.maximum(values, 0), (basis.conj() * (gram @ basis)).sum(axis=0).real, basis

    inside, outside, bases = zip(*_in_threads(of_fold, grams), strict=True)
    return np.mean(inside, axis=0), np.mean(outside, axis=0), list(bases)


def _in_threads(function: Callable[[Any], Any], folds: Sequence[Any] | np.ndarray) -> list[Any]:
    with ThreadPoolExecutor(num_threads()) as pool:
        return list(pool.map(function, folds))


def _end(energies: np.ndarray, independent: float) -> int:
    """Number of leading directions with noise only: until the next few hold clearly more than all before."""
    order = energies.size
    total = np.concatenate([[0.0], np.cumsum(energies)])
    half = max(2, order // 2)
    relative = np.diff(energies[:half]) / (total[1:half] / np.arange(1, half))
    scatter = float(np.median(np.abs(relative))) / 0.6745 / math.sqrt(2)
    end = min(max(3, math.ceil(AT_LEAST / independent)), max(1, order // 4))
    while end < order:
        next_ones = min(max(3, int(WINDOW * order)), order - end)
        before, after = total[end] / end, (total[end + next_ones] - total[end]) / next_ones
        if after > before * (1 + STEP + ERRORS * scatter * math.sqrt(1 / next_ones + 1 / end)):
            break
        end += 1
    return end


def _mixed(grams: np.ndarray, mixing: np.ndarray) -> np.ndarray:
    """Gram matrices of patches whose coils are mixed by a matrix."""
    coils, order = len(mixing), grams.shape[1]
    left = mixing @ grams.reshape(len(grams), coils, -1)
    right = left.reshape(len(grams), order, coils, -1).swapaxes(1, 2).reshape(len(grams), coils, -1)
    both = (mixing.conj() @ right).reshape(len(grams), coils, order, -1).swapaxes(1, 2)
    return both.reshape(grams.shape)


def _coil_covariance(grams: np.ndarray, bases: list[np.ndarray], coils: int) -> np.ndarray:
    """Covariance S between coils that explains best, P being the null space's projection, P gram P by P (S x 1) P.

    Least squares by one gradient step from noise that is alike in all coils: more would fit noise.

    Parameters
    ----------
    grams
        Mean outer product of the patches of each fold.
    bases
        Null space of each, found in the others.
    coils
        Number of coils.
    """
    order = grams.shape[1]
    projections = [basis @ basis.conj().T for basis in bases]

    def traced(left: np.ndarray, right: np.ndarray) -> np.ndarray:  # of left right^H, over the positions of a patch
        return left.reshape(coils, -1) @ right.reshape(coils, -1).conj().T

    def normal(shape: np.ndarray) -> np.ndarray:
        spread = [np.einsum("ncl,cd->ndl", p.reshape(order, coils, -1), shape, optimize=True) for p in projections]
        return np.sum([traced(m, p) for m, p in zip(spread, projections, strict=True)], axis=0)

    wanted = np.sum([traced(p @ gram, p) for p, gram in zip(projections, grams, strict=True)], axis=0)
    found = np.eye(coils) * (np.trace(wanted).real / np.trace(normal(np.eye(coils))).real)
    residual = wanted - normal(found)
    found = found + residual * (
        np.vdot(residual, residual).real / max(np.vdot(residual, normal(residual)).real, 1e-300)
    )
    return (found + found.conj().T) / 2


def _inverse_root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance / np.diag(covariance).real.mean())
    return (vectors / np.sqrt(np.maximum(values, LEAST_EIGENVALUE))) @ vectors.conj().T
