"""Where the object is in the low-resolution image of the calibration block, and whether the maps are right there.

A strong local phase (air, metal) takes the signal of part of an object out of the calibration block: the eigenvalues of
ESPIRiT fall there, and cropping by them leaves holes in the maps. The eigenvectors are still the best maps there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mrrecon.errors import ShapeError
from mrrecon.operators.backend import get_array_module, to_numpy
from mrrecon.operators.calibration_data import SMALLEST, read_calibration
from mrrecon.operators.centre import crop_or_pad, from_centre, hann_windowed, largest_near
from mrrecon.operators.coils import view_or_lazy
from mrrecon.operators.fourier import ifft

__all__ = ["MapCoverage", "map_coverage"]

GRID = 48  # samples along an axis of the coarse grid on which support is decided: twice the usual block
SIGNAL = 0.1  # of the bright tissue, above which there is signal in the low-resolution image
EDGE = 0.3  # of the largest within a voxel of the low resolution; an edge has about half where it lies
BRIGHT = 99.0  # percentile that is bright tissue
BLOCK = 24  # width of the block that maps are compared with


@dataclass(frozen=True)
class MapCoverage:
    """How well maps describe the calibration data, both from 0 to 1.

    Parameters
    ----------
    unexplained
        Share of the energy of the low-resolution coil images, where there is signal, that is not the maps times an
        image.
    uncovered
        Share of the voxels with signal where all maps are zero.
    """

    unexplained: float
    uncovered: float


def map_coverage(
    maps: Any,
    kspace: Any,
    mask: Any = None,
    readout_domain: Literal["kspace", "image"] = "kspace",
    *,
    centre: Sequence[int] | None = None,
) -> MapCoverage:
    """Measure how much signal of the calibration block the maps leave out.

    Parameters
    ----------
    maps
        ``(coils, x, y, z)`` or ``(sets, coils, x, y, z)``, NumPy or CuPy.
    kspace
        ``(coils, x, y, z)``; only its centre is read.
    mask
        Sampled positions, ``(y, z)`` or ``(x, y, z)``; by default those where the k-space is not zero.
    readout_domain
        Domain of axis x.
    centre
        Index (x, y, z) of the centre of k-space; by default it is located.

    Raises
    ------
    CalibrationError
        If the centre of k-space is not fully sampled, so that there is nothing to compare the maps with.
    ShapeError
        If the maps do not fit the k-space.

    Notes
    -----
    The low-resolution image of a coil is not exactly its map times a low-resolution image: right maps leave 0.1 % (a
    block of 24 samples) to 1.1 % (9 samples) unexplained, maps of other coils or of noise more than 80 %.
    """
    data = view_or_lazy(kspace)
    shape = tuple(int(n) for n in data.shape[1:])
    if tuple(maps.shape[-4:]) != tuple(data.shape):
        raise ShapeError(f"maps have shape {tuple(maps.shape)}, expected ([sets,] coils, x, y, z) = {data.shape}.")
    block = read_calibration(data, BLOCK, [min(SMALLEST, n) for n in shape], mask, readout_domain, centre)
    grid = coarse_grid(shape, block.shape[1:])
    images = to_numpy(low_resolution(block, grid))
    level = np.sqrt((np.abs(images) ** 2).sum(axis=0))
    signal = _signal(level, block.shape[1:])
    if not signal.any():
        return MapCoverage(0.0, 0.0)
    xp = get_array_module(maps)
    nearest = np.ix_(*(_nearest(m, n) for m, n in zip(grid, shape, strict=True)))
    sets = to_numpy(maps[(..., *map(xp.asarray, nearest))]).reshape(-1, len(images), *grid)[:, :, signal]
    there, images = np.abs(sets).any(axis=(0, 1)), images[:, signal]
    if len(sets) == 1:
        power = np.maximum((np.abs(sets[0]) ** 2).sum(axis=0), np.finfo(np.float32).tiny)
        explained = np.abs((sets[0].conj() * images).sum(axis=0)) ** 2 / power
    else:
        basis = np.linalg.svd(sets.transpose(2, 1, 0), full_matrices=False)[0]  # (voxels, coils, sets), orthonormal
        explained = (np.abs(np.einsum("vcs,cv->vs", basis.conj(), images)) ** 2).sum(axis=1) * there
    share = float(explained.sum() / (np.abs(images) ** 2).sum())
    return MapCoverage(max(0.0, 1.0 - share), float(1.0 - there.mean()))


def coarse_grid(shape: Sequence[int], block: Sequence[int]) -> tuple[int, int, int]:
    """Size of the coarse grid over the same field of view: finer than the block resolves."""
    x, y, z = (min(n, max(GRID, b)) for n, b in zip(shape, block, strict=True))
    return x, y, z


def low_resolution(block: Any, grid: Sequence[int]) -> Any:
    """Coil images ``(coils, *grid)`` of a block ``(coils, lx, ly, lz)`` under a Hann window."""
    return ifft(crop_or_pad(hann_windowed(block), grid), axes=(1, 2, 3))


def covered(
    values: np.ndarray, images: np.ndarray, block: Sequence[int], crop: float, shape: Sequence[int]
) -> np.ndarray:
    """Voxels ``(x, y, z)`` that the maps must cover, bool.

    Where the eigenvalue is high or there is signal, and what lies between such voxels along two of the axes.

    Parameters
    ----------
    values
        Largest eigenvalue on the coarse grid.
    images
        Low-resolution coil images on that grid.
    block
        Size of the block of k-space that they are of.
    crop
        Threshold on the eigenvalue.
    shape
        Size of the result.
    """
    level = np.sqrt((np.abs(images) ** 2).sum(axis=0))
    kept = _filled((values > crop) | _signal(level, block)).astype(np.float32)
    for axis, n in enumerate(shape):
        kept = np.moveaxis(np.tensordot(_interpolation(kept.shape[axis], n), kept, axes=(1, axis)), 0, axis)
    return kept >= 0.5


def _signal(level: np.ndarray, block: Sequence[int]) -> np.ndarray:
    """Where there is signal in the low-resolution image of a block of k-space of this size.

    Low resolution carries signal into the air around an object: it must be well above what leaks from the largest in
    reach.
    """
    largest = level
    for axis, (n, width) in enumerate(zip(level.shape, block, strict=True)):
        reach = min(n // 2, round(n / width)) if n > 1 else 0
        largest = largest_near(largest, axis, range(-reach, reach + 1))
    return np.asarray((level > SIGNAL * np.percentile(level, BRIGHT)) & (level > EDGE * largest))


def _filled(mask: np.ndarray) -> np.ndarray:
    """The mask and all voxels between two of it along at least two axes (along one, where there is only one)."""
    axes = [axis for axis, n in enumerate(mask.shape) if n > 1]
    between = np.zeros(mask.shape, np.int8)
    for axis in axes:
        before = np.maximum.accumulate(mask, axis)
        after = np.flip(np.maximum.accumulate(np.flip(mask, axis), axis), axis)
        between += before & after
    return mask | (between >= min(2, max(1, len(axes))))


def _places(m: int, n: int) -> np.ndarray:
    """Positions of the voxels of an axis of n on the coarse axis of m over the same field of view."""
    return from_centre(n) * (m / n) + m // 2


def _nearest(m: int, n: int) -> np.ndarray:
    """Voxels of an axis of n that are nearest to those of the coarse axis of m."""
    return np.rint(_places(n, m)).astype(int) % n


def _interpolation(m: int, n: int) -> np.ndarray:
    """Matrix ``(n, m)`` of linear interpolation on a circular axis."""
    place = _places(m, n)
    low = np.floor(place).astype(int)
    matrix = np.zeros((n, m), np.float32)
    np.add.at(matrix, (np.arange(n), low % m), 1 - (place - low))
    np.add.at(matrix, (np.arange(n), (low + 1) % m), place - low)
    return matrix
