"""Noise between coils: from a noise scan, or from the imaging scan itself.

Without a noise scan there are two places where noise shows without signal. The signal in patches of the fully sampled
centre of k-space takes few directions (what ESPIRiT lives on), so that the others, their null space, hold noise only.
And the outermost samples hold little signal, unless it reaches the edge of k-space, as it does at high acceleration and
for coarse voxels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mrrecon.errors import DataError, ShapeError
from mrrecon.operators.backend import to_numpy
from mrrecon.operators.coils import SLAB_BYTES, view_or_lazy
from mrrecon.operators.null_space import EMPTY, PLANES, Found, central_planes, less_uneven, noise_level, null_space

__all__ = [
    "NoiseEstimate",
    "estimate_noise",
    "estimate_noise_covariance",
    "noise_covariance",
    "outermost_level",
    "usable_covariance",
]

Domain = Literal["kspace", "image"]

PERIPHERY = {2: (0.1, 0.2), 3: (0.01, 1.0)}  # share of the sampled positions, the outermost, taken, by mask axes
ENOUGH = 100  # samples for each coil: a larger share is taken, up to the second number, where there are fewer
QUIET_PLANES = 0.125  # share of the x positions, those with the least energy, that count as noise
MAX_LINES = 4096  # peripheral readouts looked at: enough for 1 % on 64 coils
SPIKE = 25.0  # times the median energy: noise gets there once in 3e7 samples of one coil, in fewer of more coils
SINGULAR, MENDED = 1e-9, 0.05  # least eigenvalue of the correlations: below the first, raised to the second
SLIGHT = 0.05  # scatter of the noise between coils that whitening gains nothing from, but signal at the edge may cause
LEAST_VARIANCE = 1e-9  # of the mean, in a covariance of few samples
LOUD = 2.0  # median energy of all planes over that of the quiet ones, beyond one, in standard errors: noise shows 1.65
FAR = 4.0  # ratio of two estimates that signal at the edge of k-space does not explain
AGREE = 0.2  # relative difference of two estimates that is no disagreement


@dataclass(frozen=True, eq=False)
class NoiseEstimate:
    """Noise of a scan as estimated from the scan itself.

    Parameters
    ----------
    covariance
        ``(coils, coils)`` Hermitian ``complex128`` of one complex sample, positive definite.
    method
        ``"null space of the calibration block"`` or ``"outermost samples"``: what `covariance` is from.
    uncertainty
        Relative standard error of the noise level, systematic part included, about.
    null_space, outermost
        Noise level by each of the two (standard deviation of one complex sample, root mean square over coils), where
        there is one.
    note
        One sentence where the two disagree or the data are not what the estimate needs, else empty.
    """

    covariance: np.ndarray
    method: str
    uncertainty: float
    null_space: float | None = None
    outermost: float | None = None
    note: str = ""

    @property
    def level(self) -> float:
        """Standard deviation of the noise of one complex sample, root mean square over coils."""
        return noise_level(self.covariance)

    @property
    def agree(self) -> bool | None:
        """Whether the two estimates agree; None where there is only one."""
        if self.null_space is None or self.outermost is None:
            return None
        return abs(math.log(self.null_space / self.outermost)) <= AGREE + 2 * self.uncertainty

    def settings(self) -> dict[str, Any]:
        """What to record of it, JSON-able."""
        return {
            "source": self.method,
            "uncertainty": round(self.uncertainty, 3),
            "null_space": self.null_space,
            "outermost": self.outermost,
        }


def noise_covariance(samples: Any, bandwidth_scale: float = 1.0) -> np.ndarray:
    """Noise covariance between coils from a noise scan (no excitation).

    Parameters
    ----------
    samples
        Complex noise samples ``(coils, n)``; further axes are flattened into n. At least as many as coils.
    bandwidth_scale
        Factor on the covariance when the imaging scan was sampled otherwise than the noise scan: noise dwell
        time over imaging dwell time, times the ratio of the effective to the nominal receiver bandwidth (0.79
        for Siemens' noise adjustment).

    Returns
    -------
    numpy.ndarray
        ``(coils, coils)`` Hermitian ``complex128``, ``E[n n^H]`` of one complex sample (the diagonal is the
        variance of the real plus that of the imaginary part), in squared units of the samples.

    Raises
    ------
    ShapeError
        With fewer samples than coils.
    DataError
        If the samples hold NaN or Inf, or a coil is zero.
    """
    n = to_numpy(samples)
    n = n.reshape(n.shape[0], -1).astype(np.complex128)
    if n.shape[1] < n.shape[0]:
        raise ShapeError(
            f"noise samples have shape (coils, n) = {n.shape}: a covariance needs at least as many samples "
            "as coils; give a longer noise scan, or samples.T if the axes are swapped."
        )
    cov = (n @ n.conj().T) * (bandwidth_scale / n.shape[1])
    diagonal = cov.diagonal().real
    if not np.isfinite(cov).all() or (diagonal <= 0).any():
        raise DataError(
            f"noise samples are unusable: the variances of the coils are {diagonal}; all must be finite and "
            "above zero, so drop dead channels and NaN or Inf samples."
        )
    return cov


def usable_covariance(covariance: Any) -> tuple[np.ndarray, str]:
    """Return a covariance that can be whitened with, and what had to be changed for it, a sentence or nothing.

    A singular covariance (a dead or doubled channel, fewer noise samples than coils) is drawn towards its diagonal, and
    a coil without noise gets the smallest variance of the others: whitening then changes that coil little.

    Raises
    ------
    ShapeError
        If it is not square.
    DataError
        If it is not finite, or has no variance above zero.
    """
    cov = np.asarray(to_numpy(covariance), dtype=np.complex128)
    if cov.ndim != 2 or cov.shape[0] != cov.shape[1]:
        raise ShapeError(f"noise covariance must be square (coils, coils), got shape {cov.shape}.")
    variances = np.diag(cov).real
    if not np.isfinite(cov).all() or not (variances > 0).any():
        raise DataError(
            f"noise covariance is unusable, its variances are {variances}: all must be finite and some above zero; "
            "leave it out, and the noise is estimated from the scan."
        )
    cov = (cov + cov.conj().T) / 2
    scale = np.sqrt(np.where(variances > 0, variances, variances[variances > 0].min()))
    correlation = cov / np.outer(scale, scale)
    correlation[np.diag_indices(len(cov))] = 1
    least = float(np.linalg.eigvalsh(correlation)[0])
    if least > SINGULAR and (variances > 0).all():
        return cov, ""
    share = min(1.0, (MENDED - least) / (1 - least)) if least < MENDED else 0.0
    correlation = (1 - share) * correlation + share * np.eye(len(cov))
    return correlation * np.outer(scale, scale), (
        f"the noise covariance is singular (a dead or doubled coil, or too few noise samples): its correlations are "
        f"reduced by {share:.0%} so that it can be used"
    )


def estimate_noise_covariance(kspace: Any, mask: Any, readout_domain: Domain = "kspace") -> np.ndarray:
    """Noise covariance ``(coils, coils)`` of a scan without a noise scan: that of :func:`estimate_noise`."""
    return estimate_noise(kspace, mask, readout_domain).covariance


def estimate_noise(
    kspace: Any, mask: Any, readout_domain: Domain = "kspace", *, centre: Sequence[int] | None = None
) -> NoiseEstimate:
    """Estimate the noise from the scan itself, when there is no noise scan.

    From the null space of the patches of the calibration block, and from the outermost samples. Signal makes both too
    high. Where the outermost samples hold as much energy in all planes of x, they hold no signal, and count; else the
    lower of the two counts where they agree, and the null space where not: it depends least on where the signal is.
    The outermost samples count alone where there is no fully sampled block, or where the noise is not white (a
    background that was set to zero) or none at all, so that the null space has no floor.

    Parameters
    ----------
    kspace
        ``(coils, x, y, z)``; NumPy, CuPy, torch, or an array on disk (read slab by slab).
    mask
        Sampled positions, ``(y, z)`` or ``(x, y, z)``. Positions that are zero in all coils do not count
        either.
    readout_domain
        Domain of axis x.
    centre
        Index (x, y, z) of the centre of k-space; by default it is located.

    Raises
    ------
    DataError
        If there is not one sample but zeros.

    Notes
    -----
    Assumes noise that is white over k-space: no apodisation or interpolation of the data (zero filling is
    fine, as zeros do not count). Single bad samples (spikes) do not matter.
    """
    kspace = view_or_lazy(kspace)
    mask = to_numpy(mask).astype(bool)
    outer = _outermost(kspace, mask, readout_domain)
    planes = central_planes(kspace, mask, readout_domain, centre)
    inner = None if planes is None else null_space(planes, outer)
    if outer is None and (inner is None or not inner.sound):
        raise DataError(
            f"kspace of shape {tuple(kspace.shape)} has no samples to estimate the noise from: all of them are zero; "
            "check the mask, or give a noise covariance."
        )
    return _judged(inner, outer)


def outermost_level(kspace: Any, mask: Any, readout_domain: Domain = "kspace") -> float | None:
    """Level of the outermost samples, noise and what signal is there: no noise is above it. None if all are zero."""
    found = _outermost(view_or_lazy(kspace), to_numpy(mask).astype(bool), readout_domain)
    return None if found is None else noise_level(found.covariance)


# ---- one verdict from two estimates ------------------------------------------------------------------------


def _judged(inner: Found | None, outer: Found | None) -> NoiseEstimate:
    central = None if inner is None or not inner.sound else noise_level(inner.covariance)
    outermost = None if outer is None else noise_level(outer.covariance)
    if central is not None and outer is not None and outermost is not None and outermost > FAR * central:
        note = (
            f"two estimates of the noise are far apart: {central:.3g} in the calibration block, {outermost:.3g} in the "
            "outermost samples, as where the background of the image was set to zero, so that the noise is not white; "
            "the second is used, and a noise scan would be better"
        )
        return NoiseEstimate(outer.covariance, "outermost samples", outer.uncertainty, central, outermost, note)
    if central is None and outer is not None:
        note = (
            "" if inner is None else f"{inner.why}; the noise level is that of the outermost samples, {outermost:.3g}"
        )
        return NoiseEstimate(outer.covariance, "outermost samples", outer.uncertainty, None, outermost, note)
    assert inner is not None
    method = "null space of the calibration block"
    found = NoiseEstimate(inner.covariance, method, inner.uncertainty, central, outermost)
    higher = outermost is not None and central is not None and outermost >= central
    if found.agree and outer is not None and (outer.clean or not higher):
        return NoiseEstimate(outer.covariance, "outermost samples", outer.uncertainty, central, outermost)
    if found.agree is not False or central is None or outermost is None:
        return found
    if outermost > central:
        meaning = "signal reaches the edge of k-space (usual at high acceleration and for large voxels)"
    else:
        meaning = "the outer samples were filtered, or more than noise is left in the centre"
    note = (
        f"two estimates of the noise disagree: {central:.3g} in the calibration block, {outermost:.3g} in the "
        f"outermost samples, so {meaning}; the first is used, and a noise scan would be better"
    )
    return NoiseEstimate(inner.covariance, method, inner.uncertainty, central, outermost, note)


def _shrunk(covariance: np.ndarray, samples: int) -> np.ndarray:
    """Covariance of few samples without what chance alone puts into it; positive definite, however few they are.

    Noise that is alike in all coils looks uneven and correlated in a finite sample: the logarithms of the variances
    scatter by 1/n, and the squared correlations are 1/n, on average. Only what goes beyond that is kept.

    References
    ----------
    Positive-part shrinkage: James, Stein 1961; of covariances: Ledoit, Wolf 2004, J Multivar Anal 88:365.
    """
    coils = len(covariance)
    variances = np.diag(covariance).real
    level = variances.mean()
    scale = np.sqrt(np.maximum(variances, LEAST_VARIANCE * level))
    correlations = covariance / np.outer(scale, scale)
    correlations[np.diag_indices(coils)] = 0
    by_chance = coils * (coils - 1) / samples
    kept = _beyond_chance(float((np.abs(correlations) ** 2).sum()), by_chance)
    correlations *= min(kept, samples / (samples + coils))
    correlations[np.diag_indices(coils)] = 1
    logarithms = 2 * np.log(scale)
    scatter = float(((logarithms - logarithms.mean()) ** 2).sum())
    spread = _beyond_chance(scatter, (coils - 1) * (1 / samples + 1 / (2 * samples**2)))
    scale = np.exp((spread * logarithms + (1 - spread) * logarithms.mean()) / 2)
    mixed = correlations * np.outer(scale, scale)
    return np.asarray(mixed * (level * coils / np.trace(mixed).real))


def _beyond_chance(found: float, by_chance: float) -> float:
    """Share of a sum of squares that is more than chance."""
    return max(0.0, 1 - by_chance / found) if found > 0 else 0.0


# ---- the outermost samples ---------------------------------------------------------------------------------


def _outermost(kspace: Any, mask: np.ndarray, readout_domain: Domain) -> Found | None:
    """Covariance where there is least signal: the outermost sampled positions and, of those, the quietest x.

    Planes of x (image domain) are ranked on one half of the readouts and measured on the other, and the reverse, so
    that picking quiet planes does not bias the result low. Signal counts as noise.
    """
    coils, nx = int(kspace.shape[0]), int(kspace.shape[1])
    if mask.ndim == 3 and (mask == mask[:1]).all():
        mask = mask[0]
    noise = _peripheral(kspace, mask)
    clean = False
    if noise.ndim == 2:
        samples = noise[:, np.abs(noise).any(axis=0)]
    else:
        noise = noise[:, :, np.abs(noise).any(axis=(0, 1))]
        if readout_domain == "kspace":  # without shifts: they only permute planes and turn all coils' phase alike
            noise = np.fft.ifft(noise, axis=1, norm="ortho")
        energy = np.abs(noise) ** 2
        planes = energy.sum(axis=(0, 2))
        filled = planes > EMPTY * planes.max(initial=0)
        noise, energy = noise[:, filled], energy[:, filled]
        gain = np.maximum(energy.sum(axis=(1, 2), keepdims=True), np.finfo(np.float32).tiny)
        count = max(1, round(QUIET_PLANES * nx))
        planes = np.sort((energy / gain).sum(axis=(0, 2)))
        loud = 1 + LOUD / math.sqrt(coils * max(1, energy.shape[2]))
        clean = planes.size >= PLANES and bool(np.median(planes) < loud * planes[:count].mean())
        halves = [slice(0, None, 2), slice(1, None, 2)]
        quiet = [np.argsort((energy[:, :, half] / gain).sum(axis=(0, 2)))[:count] for half in halves]
        groups = [noise[:, quiet[1], halves[0]], noise[:, quiet[0], halves[1]]]
        samples = np.concatenate([g.reshape(coils, -1) for g in groups], axis=1)
    if not samples.any():
        return None
    samples = _without_spikes(samples.astype(np.complex128))
    covariance = samples @ samples.conj().T / samples.shape[1]
    covariance = (covariance + covariance.conj().T) / 2
    covariance = less_uneven(_shrunk(covariance, samples.shape[1]), SLIGHT)
    return Found(covariance, 0.5 / math.sqrt(coils * samples.shape[1]), clean=clean)


def _peripheral(kspace: Any, mask: np.ndarray) -> np.ndarray:
    """Read the outermost sampled positions: ``(coils, x, positions)``, or ``(coils, samples)`` of a 3D mask."""
    nx = int(kspace.shape[1])
    position = np.nonzero(mask)
    radius = sum(((p - n // 2) / n) ** 2 for p, n in zip(position, mask.shape, strict=True))
    least, most = (max(1, round(share * radius.size)) for share in PERIPHERY[mask.ndim])
    planes = 1 if mask.ndim == 3 else max(1, round(QUIET_PLANES * nx))
    keep = min(max(least, -(-ENOUGH * int(kspace.shape[0]) // planes)), most)
    outer = np.argsort(radius, kind="stable")[radius.size - keep :]
    outer = np.sort(outer[:: -(-outer.size // (MAX_LINES if mask.ndim == 2 else MAX_LINES * nx))])
    index = tuple(p[outer] for p in position)
    step = max(1, SLAB_BYTES // max(1, 8 * int(np.prod(kspace.shape)) // nx))
    parts = []
    for start in range(0, nx, step):
        slab = kspace[:, start : start + step]
        if mask.ndim == 2:
            parts.append(to_numpy(slab[:, :, index[0], index[1]]))
        else:
            here = (index[0] >= start) & (index[0] < start + step)
            parts.append(to_numpy(slab[:, index[0][here] - start, index[1][here], index[2][here]]))
    return np.concatenate(parts, axis=1)


def _without_spikes(samples: np.ndarray) -> np.ndarray:
    """Leave out samples that in some coil are far stronger than most."""
    energy = np.abs(samples) ** 2
    typical = np.median(energy, axis=1, keepdims=True)
    good = (energy <= SPIKE * np.where(typical > 0, typical, np.inf)).all(axis=0)
    return samples[:, good] if good.mean() > 0.5 else samples
