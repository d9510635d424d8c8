"""K-space that stays on disk: what such arrays can do, and views of them that leave it there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mrrecon.operators.fourier import roll_phase

__all__ = ["ChosenCoils", "LazyArray", "LazyPlanes", "RolledKspace", "is_lazy"]


class LazyArray(Protocol):
    """An array on disk: indexing with slices reads just that part and returns NumPy.

    ``complex64``, four axes ``(coils, x, y, z)``. The readers in :mod:`mrrecon.io` return such objects.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes (coils, x, y, z)."""

    @property
    def dtype(self) -> np.dtype:
        """Always complex64."""

    def __getitem__(self, key: Any) -> np.ndarray: ...


def is_lazy(array: Any) -> bool:
    """Whether an array is on disk, and neither NumPy nor CuPy."""
    return not hasattr(array, "flags") and not type(array).__module__.startswith("cupy")


class LazyPlanes:
    """Base of arrays on disk ``(coils, x, y, z)``, ``complex64``, of which whole (y, z) planes are read."""

    dtype = np.dtype(np.complex64)
    ndim = 4
    shape: tuple[int, ...]

    def _read(self, coils: slice, xs: slice) -> np.ndarray:
        """Read the planes of some coils and x positions."""
        raise NotImplementedError

    def __getitem__(self, key: Any) -> np.ndarray:
        (coils, xs, ys, zs), drop = _slices(key, self.shape)
        return np.ascontiguousarray(self._read(coils, xs)[:, :, ys, zs][drop], self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[...].astype(dtype or self.dtype, copy=False)

    def __len__(self) -> int:
        return self.shape[0]


def _slices(key: Any, shape: tuple[int, ...]) -> tuple[list[slice], tuple[Any, ...]]:
    """Split an index into one slice per axis and the index that drops the axes given as integers."""
    keys = list(key) if isinstance(key, tuple) else [key]
    if any(k is Ellipsis for k in keys):
        at = next(i for i, k in enumerate(keys) if k is Ellipsis)
        keys[at : at + 1] = [slice(None)] * (len(shape) - len(keys) + 1)
    keys += [slice(None)] * (len(shape) - len(keys))
    if len(keys) != len(shape):
        raise IndexError(f"{len(keys)} indices for the {len(shape)} axes (coils, x, y, z).")
    slices: list[slice] = []
    drop: list[Any] = []
    for axis, (k, n) in enumerate(zip(keys, shape, strict=True)):
        if isinstance(k, slice):
            if k.step not in (None, 1):
                raise IndexError("An array on disk takes slices of step 1; load it for anything else.")
            start, stop, _ = k.indices(n)
            slices.append(slice(start, max(start, stop)))
            drop.append(slice(None))
        elif isinstance(k, (int, np.integer)):
            if not -n <= k < n:
                raise IndexError(f"Index {k} is out of range for axis {axis} of length {n}.")
            slices.append(slice(int(k) % n, int(k) % n + 1))
            drop.append(0)
        else:
            raise IndexError("An array on disk takes integers and slices; load it for anything else.")
    return slices, tuple(drop)


@dataclass(frozen=True, eq=False)
class _View(LazyPlanes):
    """Another array on disk, seen differently."""

    source: Any

    @property
    def path(self) -> Path | None:
        """File that is read."""
        return getattr(self.source, "path", None)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Sizes (coils, x, y, z)."""
        return tuple(self.source.shape)


@dataclass(frozen=True, eq=False)
class ChosenCoils(_View):
    """Some coils of an array on disk, in the order of their indices.

    Parameters
    ----------
    source
        The array.
    keep
        The indices.
    """

    keep: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Sizes (coils, x, y, z)."""
        return (len(self.keep), *self.source.shape[1:])

    def _read(self, coils: slice, xs: slice) -> np.ndarray:
        return np.concatenate([self.source[c : c + 1, xs] for c in self.keep[coils]])


@dataclass(frozen=True, eq=False)
class RolledKspace(_View):
    """Another array on disk, its k-space rolled.

    Parameters
    ----------
    source
        The array.
    roll
        Number of samples by which (x, y, z) are rolled.
    hybrid
        Whether x is in the image domain, where a linear phase is the roll of its k-space.
    """

    roll: tuple[int, int, int]
    hybrid: bool

    def _read(self, coils: slice, xs: slice) -> np.ndarray:
        n = self.shape[1]
        if self.hybrid:
            planes = self.source[coils, xs] * roll_phase(n, self.roll[0])[xs, None, None]
        else:
            start = (xs.start - self.roll[0]) % n
            stop = start + xs.stop - xs.start
            pieces = [(start, n), (0, stop - n)] if stop > n else [(start, stop)]
            planes = np.concatenate([self.source[coils, first:last] for first, last in pieces], axis=1)
        return np.roll(planes, self.roll[1:], (2, 3))
