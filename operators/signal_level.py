"""The signal scale of a scan, from the centre of k-space only: independent of the sampling mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mrrecon.errors import DataError
from mrrecon.operators.backend import get_array_module, to_numpy
from mrrecon.operators.calibration_data import central_samples
from mrrecon.operators.centre import hann_windowed
from mrrecon.operators.fourier import ifft

__all__ = ["SignalScale", "signal_scale"]

BLOCK = 16  # side of the central block: smaller than any calibration region, so that masks do not change it
STRESS, SHARE = 4, 0.9  # voxels count by this power of their brightness; bright tissue is brighter than this share


@dataclass(frozen=True)
class SignalScale:
    """Level of the signal in the image, combined over coils, in the units of the k-space.

    Parameters
    ----------
    level
        About what bright tissue has in the low-resolution root-sum-of-squares image.
    power
        Mean square of that image over the object.
    """

    level: float
    power: float


def signal_scale(
    kspace: Any,
    mask: np.ndarray,
    readout_domain: Literal["kspace", "image"] = "kspace",
    *,
    centre: Sequence[int] | None = None,
) -> SignalScale:
    """Measure the signal level in the low-resolution image that the central block of k-space gives.

    Parameters
    ----------
    kspace
        ``(coils, x, y, z)``, NumPy or CuPy.
    mask
        Sampled positions ``(y, z)`` or ``(x, y, z)``: the block around the centre of k-space, wherever that lies, is as
        large as is fully sampled, up to 16.
    readout_domain
        Domain of axis x.
    centre
        Index (x, y, z) of the centre of k-space; by default it is located.

    Raises
    ------
    DataError
        If there is no signal at all in the block.

    Notes
    -----
    With an orthonormal FFT, the block zero-filled to the full size has the amplitudes of the image; its
    transform on its own small grid has them up to the square root of the ratio of sizes. A Hann window
    suppresses ringing.

    Neither number depends on how much air there is around the object, nor on where an object would be said to end:
    voxels count by their brightness. The level is the brightness below which nine tenths of the sum of fourth powers
    lie, which in heads is within some per cent of the 99th percentile of all voxels; the power is the mean of the
    squares weighted by the squares.
    """
    shape = tuple(int(n) for n in kspace.shape[1:])
    block = hann_windowed(to_numpy(central_samples(kspace, mask, BLOCK, readout_domain, centre=centre)))
    image = np.sqrt((np.abs(ifft(block, axes=(1, 2, 3))) ** 2).sum(axis=0, dtype=np.float64))
    brightest = float(image.max())
    if not brightest > 0:
        xp = get_array_module(kspace)
        where = "anywhere" if not bool(xp.any(kspace)) else "in the centre of k-space"
        raise DataError(f"kspace has no signal {where}; check that the mask and the data belong together.")
    image = np.sort(image, axis=None) / brightest
    weight = np.cumsum(image**STRESS)
    level = image[np.searchsorted(weight, SHARE * weight[-1])]
    power = (image**4).sum() / (image**2).sum()
    amplitude = brightest * math.sqrt(image.size / math.prod(shape))
    return SignalScale(float(level * amplitude), float(power * amplitude**2))
