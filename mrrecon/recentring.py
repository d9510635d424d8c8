"""The step that moves the centre of k-space to the middle, wherever it was measured."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mrrecon.errors import DataError
from mrrecon.operators.backend import get_array_module
from mrrecon.operators.centre import SHORT
from mrrecon.operators.fourier import roll_phase

if TYPE_CHECKING:
    from mrrecon.acquisition import Acquisition

__all__ = ["find_centre", "recentre"]


def find_centre(acquisition: Acquisition, what: str = "kspace") -> tuple[int, int, int]:
    """Sample (x, y, z) where the energy of k-space peaks; of x in the image domain, the one its transform would have.

    The slices of a 2D scan are no k-space and count as centred, as does an axis without a peak.

    Parameters
    ----------
    acquisition
        The scan; of an array on disk, a few planes are read.
    what
        Name of the data in messages.

    Raises
    ------
    DataError
        If the peak lies far from the middle, and is as broad as an image.
    """
    found = acquisition.centre
    axes = (0, 1, 2) if acquisition.readout == "x" else (1, 2)
    index = list(found.index)
    for axis, (name, n) in enumerate(zip("xyz", acquisition.shape, strict=True)):
        if not found.clear[axis] and axis in axes and n >= SHORT and acquisition.domains[axis] == "kspace":
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


def recentre(acquisition: Acquisition, center: Sequence[int] | None = None) -> Acquisition:
    """Roll the k-space so that its centre lies at ``n // 2`` of every axis, which the other steps and solvers expect.

    On the grid of the voxels, a roll of k-space is exactly a linear phase of the image: magnitudes stay as they are,
    and so do the maps. The mask is rolled along; a complex reference gets the phase. An axis x in the image domain gets
    the phase too, which moves the centre of its transform. An array on disk stays there.

    Parameters
    ----------
    acquisition
        The scan.
    center
        Sample (x, y, z) where the centre is; by default where the energy peaks, see :func:`find_centre`.

    Returns
    -------
    Acquisition
        Its centre is ``n // 2``, whatever the data look like. The same object where no center is given and nothing is
        to be moved: a peak one sample beside the middle is left there, since the phase of a real object does that.

    Raises
    ------
    DataError
        If `center` is not in the matrix, or where :func:`find_centre` does.
    """
    scan, shape = acquisition, acquisition.shape
    index = find_centre(scan) if center is None else tuple(int(i) for i in center)
    if len(index) != 3 or not all(0 <= i < n for i, n in zip(index, shape, strict=True)):
        raise DataError(f"center must be a sample (x, y, z) of the matrix {shape}, counted from 0, got {center}.")
    roll = tuple(n // 2 - i for i, n in zip(index, shape, strict=True))
    if not any(roll):
        return scan if center is None else scan.centred()
    in_kspace = (0 if scan.domains[0] == "image" else roll[0], *roll[1:])
    changes: dict[str, Any] = {
        "kspace": _rolled(scan, (roll[0], roll[1], roll[2])),
        "mask": np.roll(scan.mask, in_kspace[3 - scan.mask.ndim :], tuple(range(scan.mask.ndim))),
    }
    if scan.reference is not None and bool(scan.reference.imag.any()):
        xp = get_array_module(scan.reference)
        x, y, z = (xp.asarray(roll_phase(n, r)) for n, r in zip(shape, roll, strict=True))
        changes["reference"] = scan.reference * x[:, None, None] * y[:, None] * z
    return scan.evolve("recentre", {"center": list(index), "rolled": list(roll)}, **changes).centred()


def _rolled(scan: Acquisition, roll: tuple[int, int, int]) -> Any:
    """K-space rolled by so many samples along (x, y, z)."""
    from mrrecon.io.centring import RecentredArray
    from mrrecon.io.lazy import FileArray

    kspace, hybrid = scan.kspace, scan.domains[0] == "image"
    if isinstance(kspace, FileArray):
        return RecentredArray(kspace.path, kspace.shape, kspace, roll, hybrid)
    kspace = scan.load().kspace
    xp = get_array_module(kspace)
    if hybrid and roll[0]:
        kspace = kspace * xp.asarray(roll_phase(scan.shape[0], roll[0]))[:, None, None]
    return xp.roll(kspace, (0 if hybrid else roll[0], *roll[1:]), (1, 2, 3))
