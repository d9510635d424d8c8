"""Moving the centre of k-space to the middle, wherever it was measured; functions of arrays."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from mrrecon.errors import DataError
from mrrecon.lazy import RolledKspace, is_lazy
from mrrecon.operators.backend import get_array_module
from mrrecon.operators.centre import SHORT, KspaceCentre
from mrrecon.operators.fourier import roll_phase

__all__ = ["roll_kspace", "roll_to_middle", "shift_phase", "trusted_centre"]


def trusted_centre(
    found: KspaceCentre, shape: Sequence[int], domains: Sequence[str], readout: str = "x", what: str = "kspace"
) -> tuple[int, int, int]:
    """Sample (x, y, z) where the energy of k-space peaks; of x in the image domain, the one its transform would have.

    The slices of a 2D scan are no k-space and count as centred, as does an axis without a peak.

    Parameters
    ----------
    found
        What the samples say.
    shape, domains, readout
        Matrix size (x, y, z), domain of each axis, and readout axis of the scan.
    what
        Name of the data in messages.

    Raises
    ------
    DataError
        If the peak lies far from the middle, and is as broad as an image.
    """
    axes = (0, 1, 2) if readout == "x" else (1, 2)
    index = list(found.index)
    for axis, (name, n) in enumerate(zip("xyz", shape, strict=True)):
        if not found.clear[axis] and axis in axes and n >= SHORT and domains[axis] == "kspace":
            warnings.warn(
                f"{what}: k-space energy has no clear peak along {name}; if this is not noise, the axis may already be "
                "in the image domain.",
                stacklevel=4,
            )
        if found.sharp[axis]:
            continue
        if abs(index[axis] - n // 2) > max(2, n // 12):
            raise DataError(
                f"{what}: k-space energy along {name} peaks at index {index[axis]} of {n}, expected {n // 2}, and as "
                "broadly as an image; the axes are transposed, or this axis is not in the k-space domain (if it is, "
                "center=(x, y, z) says where its centre lies)."
            )
        index[axis] = n // 2
    return index[0], index[1], index[2]


def roll_to_middle(center: Sequence[int], shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Roll by which a sample (x, y, z) of a matrix gets to ``n // 2``.

    Raises
    ------
    DataError
        If there is no such sample.
    """
    index = tuple(int(i) for i in center)
    if len(index) != 3 or not all(0 <= i < n for i, n in zip(index, shape, strict=True)):
        raise DataError(f"center must be a sample (x, y, z) of the matrix {shape}, counted from 0, got {center}.")
    x, y, z = (n // 2 - i for i, n in zip(index, shape, strict=True))
    return x, y, z


def roll_kspace(kspace: Any, roll: tuple[int, int, int], hybrid: bool) -> Any:
    """K-space ``(coils, x, y, z)`` rolled by so many samples along (x, y, z); an array on disk stays there.

    Where x is in the image domain (`hybrid`), it gets the linear phase that the roll of its transform is.
    """
    if is_lazy(kspace):
        return RolledKspace(kspace, roll, hybrid)
    if hybrid and roll[0]:
        kspace = kspace * get_array_module(kspace).asarray(roll_phase(kspace.shape[1], roll[0]))[:, None, None]
    return get_array_module(kspace).roll(kspace, (0 if hybrid else roll[0], *roll[1:]), (1, 2, 3))


def shift_phase(volume: Any, roll: tuple[int, int, int]) -> Any:
    """Volume ``(x, y, z)`` with the linear phase that a roll of its k-space is; real ones are magnitudes and stay."""
    if not bool(volume.imag.any()):
        return volume
    xp = get_array_module(volume)
    x, y, z = (xp.asarray(roll_phase(n, r)) for n, r in zip(volume.shape, roll, strict=True))
    return volume * x[:, None, None] * y[:, None] * z
