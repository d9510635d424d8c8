"""Noise covariance from the noise readouts of a scan, however few or bad they are."""

from __future__ import annotations

import numpy as np

from mrrecon.io.ismrmrd_header import Header
from mrrecon.io.readout_layout import Source

__all__ = ["noise_covariance"]

_SPIKE = 25.0  # times the variance: less than one sample of noise in 10^10
_ABSURD = 1e3  # times the energy of the imaging samples, which hold the same noise
_SINGULAR = 1e-10  # smallest over largest eigenvalue of the correlation between coils


def noise_covariance(
    source: Source, heads: np.ndarray, rows: np.ndarray, imaging: np.ndarray, energy: np.ndarray, header: Header
) -> tuple[np.ndarray | None, str]:
    """Noise covariance of one imaging sample, or ``None``, and a note if there is something to say.

    Noise power is proportional to the receiver bandwidth, so the covariance is scaled by the ratio of the
    dwell times, and by the header's relative receiver noise bandwidth. Samples far above the others (spikes) are
    left out.

    Parameters
    ----------
    source, heads, header
        The scan.
    rows, imaging
        Noise readouts; those of the image.
    energy
        Mean energy of the image's samples in each coil, ``(coils,)``.
    """
    coils = int(heads["active_channels"][imaging[0]])
    fit = rows[(heads["active_channels"][rows] == coils) & (heads["number_of_samples"][rows] > 0)]
    if not fit.size:
        have = np.unique(heads["active_channels"][rows]).tolist()
        return None, f"its noise scan has {have} channels and the scan {coils}: the noise scan is not used"
    lengths = heads["number_of_samples"][fit]
    parts = [
        source.lines(fit[lengths == n][i : i + 256]).transpose(1, 0, 2).reshape(coils, -1)
        for n in np.unique(lengths)
        for i in range(0, np.count_nonzero(lengths == n), 256)
    ]
    samples = np.concatenate(parts, axis=1).astype(np.complex128)
    power = np.abs(samples) ** 2
    variance = np.nanmedian(np.where(np.isfinite(power), power, np.nan), axis=1) / np.log(2)
    with np.errstate(invalid="ignore"):
        good = np.isfinite(power).all(axis=0) & (power <= _SPIKE * variance[:, None]).all(axis=0)
    left_out = int((~good).sum())
    samples = samples[:, good]
    if samples.shape[1] < coils:
        return None, f"its noise scan has {samples.shape[1]} usable samples for {coils} coils: it is not used"
    covariance = samples @ samples.conj().T / samples.shape[1]
    deviation = np.sqrt(np.diag(covariance).real)
    if not deviation.min() > 0:
        dead = np.flatnonzero(deviation == 0).tolist()
        return None, f"its noise scan has nothing in channels {dead}: the noise scan is not used"
    eigenvalues = np.linalg.eigvalsh(covariance / np.outer(deviation, deviation))
    if not eigenvalues[0] > _SINGULAR * eigenvalues[-1]:
        return None, "channels of its noise scan are copies of each other: the noise scan is not used"
    noise_dwell, dwell = (float(np.median(heads["sample_time_us"][r])) for r in (fit, imaging))
    if noise_dwell > 0 and dwell > 0:
        covariance = covariance * noise_dwell / (dwell * header.relative_noise_bandwidth)
    if (np.diag(covariance).real > _ABSURD * energy).any() and (energy > 0).all():
        return None, "its noise scan is far stronger than the imaging samples: the noise scan is not used"
    note = f"{left_out} spikes or non-numbers are left out of its noise scan" if left_out else ""
    return covariance, note
