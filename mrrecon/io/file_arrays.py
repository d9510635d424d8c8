"""Arrays in files as k-space that stays on disk: indexing reads just the x positions asked for.

Every array here is described by plain values (path, dataset name, axis order), opens its file for each read
and closes it again. So it can be pickled to other processes, used from several threads (HDF5 serialises
them), leaves no open handle behind, and notices when the file has been replaced meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mrrecon.errors import FileFormatError
from mrrecon.io.checks import array_bytes, reading, require_memory
from mrrecon.lazy import LazyPlanes
from mrrecon.operators.backend import num_threads

__all__ = ["ArrangedArray", "FileArray", "H5Array", "MemmapArray", "along", "alternating", "in_memory", "in_order"]

ROWS, PADDING = 4, 8  # y copied at once; samples, one cache line
Planes = Callable[[np.ndarray], np.ndarray]


def _stamp(path: Path) -> tuple[int, int]:
    info = os.stat(path)
    return info.st_size, info.st_mtime_ns


def in_memory(stored: np.ndarray, xs: Any = slice(None)) -> np.ndarray:
    """Copy an array ``(..., x, y, z)``, on disk in any order, to ``complex64`` in C order; some or all x of it.

    A few y of one volume after the other, so that the transpose stays in the cache; where x varies fastest, by way of
    rows of x that are padded, as those of the file often lie a multiple of the page size apart and share cache lines.
    """
    x, y, z = stored[..., xs, :, :].shape[-3:] if isinstance(xs, slice) else (len(xs), *stored.shape[-2:])
    out = np.empty((*stored.shape[:-3], x, y, z), np.complex64)
    x_first = abs(stored.strides[-3]) < abs(stored.strides[-1])

    def copy(volume: tuple[int, ...]) -> None:
        rows = np.empty((z, ROWS, x + PADDING), np.complex64)[..., :x].transpose(2, 1, 0)
        for start in range(0, y, ROWS):
            few = slice(start, start + ROWS)
            part = stored[volume][xs, few]
            if x_first:
                few_rows = rows[:, : part.shape[1]]
                few_rows[...] = part
                part = few_rows
            out[volume][:, few] = part

    with ThreadPoolExecutor(num_threads()) as pool:
        list(pool.map(copy, np.ndindex(stored.shape[:-3])))
    return out


def in_order(stored: np.ndarray, axes: Sequence[int | None]) -> np.ndarray:
    """View of an array with the axes (coils, x, y, z), given where it has each, ``None`` for one that is missing."""
    present = tuple(axis for axis in axes if axis is not None)
    return stored.transpose(present)[tuple(None if axis is None else slice(None) for axis in axes)]


def along(factors: np.ndarray, axis: int) -> np.ndarray:
    """Factors along one of the axes (coils, x, y, z), to multiply an array by."""
    return factors.reshape([-1 if a == axis else 1 for a in range(4)])


def alternating(n: int) -> np.ndarray:
    """Signs ``(n,)``, float32, by which an image is shifted by half the field of view, +1 in the middle of k-space."""
    return np.where((np.arange(n) - n // 2) % 2, -1, 1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class FileArray(LazyPlanes):
    """Base of the arrays on disk: ``(coils, x, y, z)``, ``complex64``, read in slabs of x.

    Subclasses implement :meth:`_planes`, which returns whole (y, z) planes of some coils and x positions.
    """

    path: Path
    shape: tuple[int, ...]
    stamp: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stamp", _stamp(self.path))

    def _planes(self, coils: slice, xs: slice) -> np.ndarray:
        raise NotImplementedError

    def _read(self, coils: slice, xs: slice) -> np.ndarray:
        part = (coils.stop - coils.start, xs.stop - xs.start, *self.shape[2:])
        require_memory(array_bytes(part), f"Reading k-space of shape {part} from {self.path}")
        with reading(self.path, "k-space"):
            if _stamp(self.path) != self.stamp:
                raise FileFormatError(f"{self.path} has changed since it was opened; read it again.")
            return np.asarray(self._planes(coils, xs)).astype(np.complex64, copy=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path.name}, {'x'.join(map(str, self.shape))})"


@dataclass(frozen=True, eq=False, repr=False)
class H5Array(FileArray):
    """A dataset of an HDF5 file as ``(coils, x, y, z)``.

    Parameters
    ----------
    dataset
        Name of the dataset.
    axes
        For each of (coils, x, y, z) the axis of the dataset that it is, ``None`` for one that is missing.
    interleaved
        Whether real and imaginary parts of the coils alternate along the dataset's coil axis.
    finish
        Picklable function of the planes ``(coils, x, y, z)``: masks, shifts, removes oversampling.
    """

    dataset: str = "kspace"
    axes: tuple[int | None, ...] = (0, 1, 2, 3)
    interleaved: bool = False
    finish: Planes | None = None

    def _planes(self, coils: slice, xs: slice) -> np.ndarray:
        import h5py

        wanted = {self.axes[0]: coils, self.axes[1]: xs}
        if self.interleaved:
            wanted[self.axes[0]] = slice(2 * coils.start, 2 * coils.stop)
        with h5py.File(self.path, "r") as file:
            data = file[self.dataset]
            part = data[tuple(wanted.get(axis, slice(None)) for axis in range(data.ndim))]
        if part.dtype.names:
            real, imag = part.dtype.names
            part = part[real] + 1j * part[imag]
        part = in_order(part, self.axes)
        part = part[coils if self.axes[0] is None else slice(None), xs if self.axes[1] is None else slice(None)]
        if self.interleaved:
            part = part[0::2] + np.complex64(1j) * part[1::2]
        return self.finish(part.astype(np.complex64, copy=False)) if self.finish else part


@dataclass(frozen=True, eq=False, repr=False)
class MemmapArray(FileArray):
    """A flat file of numbers as ``(coils, x, y, z)``.

    Parameters
    ----------
    offset, source_shape, order, source_dtype
        How the file holds its array: first byte, shape, ``"C"`` or ``"F"`` order, dtype.
    axes
        For each of (coils, x, y, z) the axis of the stored array, ``None`` for one that is missing.
    finish
        As in :class:`H5Array`.
    """

    offset: int = 0
    source_shape: tuple[int, ...] = ()
    order: Any = "C"
    source_dtype: str = "<c8"
    axes: tuple[int | None, ...] = (0, 1, 2, 3)
    finish: Planes | None = None

    def planes_at(self, xs: Sequence[int]) -> np.ndarray:
        """Planes of all coils at some x, ``(coils, len(xs), y, z)``: one pass over a file in which x varies fastest."""
        with reading(self.path, "k-space"):
            return self._planes(slice(None), np.asarray(xs))

    def _planes(self, coils: slice, xs: Any) -> np.ndarray:
        stored = np.memmap(self.path, np.dtype(self.source_dtype), "r", self.offset, self.source_shape, self.order)
        part = in_memory(in_order(stored, self.axes)[coils], xs)
        return self.finish(part) if self.finish else part


@dataclass(frozen=True, eq=False, repr=False)
class ArrangedArray(FileArray):
    """Another array on disk, its image shifted by half the field of view, cut to the samples of a mask.

    Parameters
    ----------
    source
        The array.
    chop
        Which of (x, y, z) carry the factor (-1)^k, which is taken off.
    mask
        Samples to keep, ``(y, z)`` or ``(x, y, z)``; ``None``: all.
    first
        Position along x of `source` that is the first here.
    finish
        As in :class:`H5Array`, applied last; may change the size along y, as `shape` says.
    """

    source: LazyPlanes
    chop: tuple[bool, bool, bool] = (False, False, False)
    mask: np.ndarray | None = None
    first: int = 0
    finish: Planes | None = None

    def _planes(self, coils: slice, xs: slice) -> np.ndarray:
        planes = self.source[coils, xs.start + self.first : xs.stop + self.first]
        for axis in (1, 2, 3):
            if self.chop[axis - 1]:
                planes = planes * along(alternating(self.source.shape[axis])[xs if axis == 1 else slice(None)], axis)
        if self.mask is not None:
            np.copyto(planes, 0, where=~(self.mask if self.mask.ndim == 2 else self.mask[xs]))
        return self.finish(planes) if self.finish else planes
