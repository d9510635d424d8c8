"""Do zero frequency and the object lie where the toolkit expects them, at index n // 2 of every axis?

Files disagree in two independent ways. Zero frequency may lie at index 0 (FFT order) or anywhere else instead of
n // 2; that is found on the data and undone for every format by :func:`centred`. And the samples may carry a factor
(-1)^k, which shifts the image by half the field of view, so that the object wraps around the edges. Both are undone
exactly by a roll or by a change of sign.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrrecon.acquisition import Acquisition
from mrrecon.io.file_arrays import along, alternating
from mrrecon.io.format import Center
from mrrecon.operators.centre import kspace_centre
from mrrecon.recentring import trusted_centre

__all__ = ["Recentre", "centred", "find_recentring", "is_wrapped"]

MENTIONED = 2  # samples: a centre that is moved by more is mentioned


def centred(acquisition: Acquisition, path: Path, center: Center) -> Acquisition:
    """Move the centre of the k-space that was read to index n // 2 of every axis, with a note of what was moved.

    Parameters
    ----------
    acquisition
        What a reader made of the file.
    path
        The file, for messages.
    center
        Sample (x, y, z) where the centre is; ``None``: where the energy peaks; ``"keep"``: leave it.

    Raises
    ------
    DataError
        If the energy peaks far from the middle, and not as sharply as k-space does: the axes are not what the format
        says. Or if `center` lies outside the matrix.
    """
    if center == "keep":
        return acquisition
    if center is None:
        scan = acquisition
        center = trusted_centre(scan.centre, scan.shape, scan.domains, scan.readout, str(path))
    moved = acquisition.recentre(center)
    if len(moved.provenance) > len(acquisition.provenance):
        settings = moved.provenance[-1].settings
        far = [
            f"{index} of {n} along {axis}"
            for axis, index, n in zip("xyz", settings["center"], moved.shape, strict=True)
            if abs(index - n // 2) > MENTIONED
        ]
        if far:
            warnings.warn(
                f"{path}: k-space has its centre at index {', '.join(far)}; it is moved to the middle, which changes "
                "no magnitude (center='keep' leaves it, center=(x, y, z) says where it is).",
                stacklevel=3,
            )
    return moved


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
        Number of samples by which (y, z) must be rolled.
    chop
        Which of (y, z) carry the factor (-1)^k.
    """

    roll: tuple[int, int] = (0, 0)
    chop: tuple[bool, bool] = (False, False)

    def __call__(self, planes: np.ndarray) -> np.ndarray:
        """Return the planes recentred."""
        if any(self.roll):
            planes = np.roll(planes, self.roll, (2, 3))
        for axis, chop in enumerate(self.chop, start=2):
            if chop:
                planes = planes * along(alternating(planes.shape[axis]), axis)
        return planes

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """Apply the rolls to a (y, z) mask."""
        return np.roll(mask, self.roll, (0, 1)) if any(self.roll) else mask


def find_recentring(planes: np.ndarray) -> Recentre:
    """Find out how some planes ``(coils, x, y, z)``, k-space along y and z, must be recentred."""
    if not np.isfinite(planes).all() or not planes.any():
        return Recentre()  # the acquisition's own checks explain NaN and empty data better
    found = kspace_centre(planes, readout_domain="image", axes=(1, 2)).index[1:]
    roll = (planes.shape[2] // 2 - found[0], planes.shape[3] // 2 - found[1])
    centred = Recentre(roll=roll)(planes)
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(centred, axes=(2, 3)), axes=(2, 3)), axes=(2, 3))
    power = (np.abs(image) ** 2).sum(axis=(0, 1))
    chop = tuple(is_wrapped(power.sum(axis=1 - axis)) for axis in (0, 1))
    return Recentre(roll=roll, chop=(chop[0], chop[1]))
