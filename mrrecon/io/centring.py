"""Do zero frequency and the object lie where the toolkit expects them, at index n // 2 of every axis?

Files disagree in two independent ways. Zero frequency may lie at index 0 (FFT order) instead of n // 2; and
the samples may carry a factor (-1)^k, which shifts the image by half the field of view, so that the object
wraps around the edges. Both are undone exactly by a roll or by a change of sign.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrrecon.errors import DataError

__all__ = ["Recentre", "find_recentring", "is_wrapped", "zero_frequency"]


def zero_frequency(energy: np.ndarray, axis: int, name: str, path: Path) -> bool:
    """Whether zero frequency lies at index 0 (True) or at n // 2 (False), from k-space energy.

    Without a clear peak (the data are noise, or an image) nothing can be told: a warning says so.

    Raises
    ------
    DataError
        When the energy clearly peaks anywhere else: the axes are not what the format says.
    """
    profile = energy.sum(axis=tuple(a for a in range(energy.ndim) if a != axis))
    n = profile.size
    peak = int(profile.argmax())
    tolerance = max(2, n // 12)
    sampled = profile[profile > 0]
    if n < 8 or profile[peak] < 4 * np.median(sampled):
        if n >= 8:
            warnings.warn(
                f"{path}: k-space energy has no clear peak along {name}; if this is not noise, the axis may "
                "already "
                "be in the image domain.",
                stacklevel=2,
            )
        return False
    if abs(peak - n // 2) <= tolerance:
        return False
    if min(peak, n - peak) <= tolerance:
        return True
    raise DataError(
        f"{path}: k-space energy along {name} peaks at index {peak} of {n}, expected {n // 2} (centred) or 0 "
        "(FFT order); the axes are transposed, or this axis is not in the k-space domain."
    )


def is_wrapped(profile: np.ndarray, contrast: float = 0.5) -> bool:
    """Whether an object wraps around the edges of the field of view, from its energy along one image axis.

    The emptiest stretch (an eighth of the field of view) lies in the middle instead of at the edges. Only a
    clear case counts: that stretch must hold less than `contrast` of the energy at the edges.
    """
    n = profile.size
    width = max(1, n // 8)
    window = np.zeros(n)
    window[:width] = 1.0
    sums = np.fft.ifft(np.fft.fft(profile) * np.fft.fft(window)).real  # circular moving sum ending at each index
    sums = np.roll(sums, -(width // 2))
    gap = int(sums.argmin())
    near_middle = abs(gap - n // 2) <= n // 6
    edges = float(sums[0])
    return bool(near_middle and sums[gap] < contrast * edges)


@dataclass(frozen=True)
class Recentre:
    """Bring planes ``(coils, x, y, z)`` to the toolkit's centring; picklable, works on any slab.

    Parameters
    ----------
    roll
        Which of (y, z) are in FFT order and must be rolled by n // 2.
    chop
        Which of (y, z) carry the factor (-1)^k.
    """

    roll: tuple[bool, bool] = (False, False)
    chop: tuple[bool, bool] = (False, False)

    def __call__(self, planes: np.ndarray) -> np.ndarray:
        """Return the planes recentred."""
        for axis, (roll, chop) in enumerate(zip(self.roll, self.chop, strict=True), start=2):
            n = planes.shape[axis]
            if roll:
                planes = np.roll(planes, n // 2, axis)
            if chop:
                signs = np.where((np.arange(n) - n // 2) % 2, -1, 1).astype(np.float32)
                planes = planes * signs.reshape([-1 if a == axis else 1 for a in range(4)])
        return planes

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """Apply the rolls to a (y, z) mask."""
        for axis, roll in enumerate(self.roll):
            if roll:
                mask = np.roll(mask, mask.shape[axis] // 2, axis)
        return mask


def find_recentring(planes: np.ndarray, path: Path, names: Sequence[str] = ("y", "z")) -> Recentre:
    """Find out how some planes ``(coils, x, y, z)``, k-space along y and z, must be recentred."""
    energy = (planes.real**2 + planes.imag**2).sum(axis=(0, 1), dtype=np.float64)
    if not np.isfinite(energy).all() or not energy.any():
        return Recentre()  # the acquisition's own checks explain NaN and empty data better
    roll = tuple(bool(zero_frequency(energy, axis, names[axis], path)) for axis in (0, 1))
    centred = Recentre(roll=(roll[0], roll[1]))(planes)
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(centred, axes=(2, 3)), axes=(2, 3)), axes=(2, 3))
    power = (np.abs(image) ** 2).sum(axis=(0, 1))
    chop = tuple(is_wrapped(power.sum(axis=1 - axis)) for axis in (0, 1))
    return Recentre(roll=(roll[0], roll[1]), chop=(chop[0], chop[1]))
