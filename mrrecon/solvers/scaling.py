"""The signal scale of a scan, from the centre of k-space only: independent of the sampling mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mrrecon.errors import DataError
from mrrecon.operators.backend import get_array_module, to_numpy
from mrrecon.operators.fourier import fft, ifft

__all__ = ["SignalScale", "signal_scale"]

BLOCK = 16  # side of the central block: smaller than any calibration region, so that masks do not change it
SMALLEST = 4  # a smaller block would be all one brightness
PERCENTILE = 99.0


@dataclass(frozen=True)
class SignalScale:
    """Level of the signal in the image, combined over coils, in the units of the k-space.

    Parameters
    ----------
    level
        High percentile of the low-resolution root-sum-of-squares image: about what bright tissue has.
    power
        Mean square of that image over the field of view.
    """

    level: float
    power: float


def signal_scale(kspace: Any, mask: np.ndarray, readout_domain: str = "kspace") -> SignalScale:
    """Measure the signal level in the low-resolution image that the central block of k-space gives.

    Parameters
    ----------
    kspace
        ``(coils, x, y, z)``, NumPy or CuPy.
    mask
        Sampled positions ``(y, z)`` or ``(x, y, z)``: the block is as large as is fully sampled, up to 16.
    readout_domain
        Domain of axis x.

    Raises
    ------
    DataError
        If there is no signal at all in the block.

    Notes
    -----
    With an orthonormal FFT, the block zero-filled to the full size has the amplitudes of the image; its
    transform on its own small grid has them up to the square root of the ratio of sizes. A Hann window
    suppresses ringing.
    """
    shape = tuple(int(n) for n in kspace.shape[1:])
    size = _fully_sampled(mask)
    y, z = _centre(shape[1], size), _centre(shape[2], size)
    block = to_numpy(kspace[:, :, y, z])
    if readout_domain == "image":
        block = fft(block, axes=1)
    block = np.ascontiguousarray(block[:, _centre(shape[0], size)])
    power = float(np.vdot(block, block).real) / np.prod(shape)
    for axis, n in enumerate(block.shape[1:], start=1):
        window = np.hanning(n + 2)[1:-1] if n > 2 else np.ones(n)
        block = block * window.reshape([-1 if i == axis else 1 for i in range(4)]).astype(np.float32)
    image = np.sqrt((np.abs(ifft(block, axes=(1, 2, 3))) ** 2).sum(axis=0))
    level = float(np.percentile(image, PERCENTILE) * np.sqrt(image.size / np.prod(shape)))
    if not level > 0:
        xp = get_array_module(kspace)
        where = "anywhere" if not bool(xp.any(kspace)) else "in the centre of k-space"
        raise DataError(
            f"kspace has no signal {where}; check that zero frequency is at index n // 2 of every axis "
            "and that the mask and the data belong together."
        )
    return SignalScale(level, power)


def _fully_sampled(mask: np.ndarray) -> int:
    """Side of the largest fully sampled central block, up to BLOCK; BLOCK where there is none to speak of."""
    for size in range(BLOCK, SMALLEST - 1, -1):
        if mask[tuple(_centre(n, size) for n in mask.shape)].all():
            return size
    return BLOCK


def _centre(n: int, size: int) -> slice:
    size = min(n, size)
    start = n // 2 - size // 2
    return slice(start, start + size)
