"""Readouts sampled while the gradient ramps: from equal times to equal steps of k-space.

Echo-planar scans sample on the ramps of the readout gradient, so that samples at equal times are unequally
spaced in k-space. Samples at equal steps are the best linear estimate from the measured ones, for an object
anywhere within the field of view that the largest step resolves: samples k apart of such an object correlate
as sinc(extent k), so that the estimate is one matrix for all readouts, C(even, measured) C(measured,
measured)^-1 (generalised sampling: Yen, IRE Trans Circuit Theory 3:251, 1956; uniform resampling: Rosenfeld,
Magn Reson Med 40:14, 1998). Dense samples on the ramps share their weight by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from mrrecon.errors import DataError
from mrrecon.operators.fourier import ifft

__all__ = ["RampSampling", "noise_gain", "positions", "resampling_matrix"]

_NOISE = 1e-5  # of the signal's power: below that of any readout's end, and enough to keep the inverse stable


@dataclass(frozen=True)
class RampSampling:
    """How a readout was sampled on one lobe of the gradient; times in microseconds.

    Parameters
    ----------
    ramps
        Shape of the ramps: straight (``"trapezoid"``) or a quarter of a sine (``"sinusoid"``).
    up, flat, down
        Durations of the ramp up, the flat top, the ramp down.
    delay
        From the start of the ramp up to the start of sampling.
    duration
        Of sampling.
    """

    ramps: Literal["trapezoid", "sinusoid"]
    up: float
    flat: float
    down: float
    delay: float
    duration: float

    def __post_init__(self) -> None:
        times = (self.up, self.flat, self.down, self.delay, self.duration)
        end = self.up + self.flat + self.down
        if not all(np.isfinite(times)) or min(times) < 0 or self.duration <= 0 or self.delay + self.duration > end:
            raise DataError(
                f"Sampling of {self.duration:g} us that starts after {self.delay:g} us does not lie in a gradient of "
                f"{self.up:g} us up, {self.flat:g} us flat, {self.down:g} us down."
            )

    def moment(self, time: np.ndarray) -> np.ndarray:
        """Area under the gradient, of unit height, from its start to `time`."""
        time = np.asarray(time, np.float64)
        rising, falling = np.clip(time, 0, self.up), np.clip(self.up + self.flat + self.down - time, 0, self.down)
        top = np.clip(time - self.up, 0, self.flat)
        return self._ramp(rising, self.up) + top + self._ramp(self.down, self.down) - self._ramp(falling, self.down)

    def _ramp(self, time: np.ndarray | float, length: float) -> np.ndarray:
        """Area under a ramp up of this length."""
        if length == 0:
            return np.zeros_like(np.asarray(time, np.float64))
        if self.ramps == "trapezoid":
            return np.square(time) / (2 * length)
        return 2 * length / np.pi * (1 - np.cos(np.pi / 2 * np.asarray(time) / length))


def positions(sampling: RampSampling, n: int) -> np.ndarray:
    """Positions in k-space of `n` samples, zero where half of the gradient's area has passed.

    The unit is the mean step: the samples' intervals cover n units in all, which is how the strength of the
    gradient is chosen for a field of view and a matrix.
    """
    times = sampling.delay + (np.arange(n) + 0.5) * sampling.duration / n
    whole = sampling.moment(np.array(sampling.up + sampling.flat + sampling.down))
    first, last = sampling.moment(np.array([sampling.delay, sampling.delay + sampling.duration]))
    return (sampling.moment(times) - whole / 2) * n / float(last - first)


@lru_cache(maxsize=64)
def resampling_matrix(sampling: RampSampling, n: int, center: float) -> np.ndarray:
    """Matrix from `n` samples at equal times to `n` samples at equal steps, ``(n, n)``, float32.

    Parameters
    ----------
    sampling
        How the samples were taken.
    n
        Number of samples.
    center
        Index of the result that lies at zero frequency.
    """
    at, even = positions(sampling, n), np.arange(n) - center
    extent = min(1.0, 1.0 / np.diff(at).max())  # of the encoded field of view: what the largest step resolves

    def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sinc(extent * (a[:, None] - b))

    matrix = np.linalg.solve(correlation(at, at) + _NOISE * np.eye(n), correlation(at, even))
    return matrix.T.astype(np.float32)


def noise_gain(matrix: np.ndarray, kept: int) -> float:
    """Variance of white noise in the middle `kept` pixels of a resampled line, over that without resampling."""
    image = ifft(matrix, axes=(0,))
    begin = len(matrix) // 2 - kept // 2
    return float((np.abs(image[begin : begin + kept]) ** 2).sum(axis=1).mean())
