"""An image on another grid over the same field of view: linear interpolation with its adjoint, or a crop of k-space.

- Interpolation: linear, along one axis after the other, the kernel widened by the reduction so that nothing aliases.
  The edges of the field of view stay where they are (half-pixel alignment). No ringing, but a blur; noise becomes
  correlated.
- K-space crop: the centre of k-space, as a scanner acquires it with fewer phase-encoding steps (or padded with zeros).
  The voxel at index ``n // 2`` stays where it is. Sharp edges ring; noise stays white.

Both keep intensities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from mrrecon.errors import ShapeError
from mrrecon.operators.backend import as_array, as_kind, get_array_module
from mrrecon.operators.centre import crop_or_pad
from mrrecon.operators.fourier import fft, ifft

__all__ = ["Resampling", "kspace_crop", "linear_weights"]

Shape = tuple[int, ...]  # (x, y, z)


@dataclass(frozen=True)
class Resampling:
    """Antialiased linear interpolation from one matrix size to another over the same field of view.

    Parameters
    ----------
    old_shape, new_shape
        Matrix sizes (x, y, z): of what :meth:`forward` takes, and of what it returns.

    Raises
    ------
    ShapeError
        If a shape is not three sizes of at least 1; on use, if an image does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> Resampling((1, 1, 4), (1, 1, 2)).forward(np.array([[[0, 0, 7, 7]]])).round(3)
    array([[[1., 6.]]], dtype=float32)
    """

    old_shape: Shape
    new_shape: Shape

    def __post_init__(self) -> None:
        for name in ("old_shape", "new_shape"):
            object.__setattr__(self, name, _checked_shape(getattr(self, name), name))

    @property
    def ishape(self) -> Shape:
        """Shape of what :meth:`forward` takes."""
        return self.old_shape

    @property
    def oshape(self) -> Shape:
        """Shape of what :meth:`forward` returns."""
        return self.new_shape

    def forward(self, image: Any) -> Any:
        """Interpolate.

        Parameters
        ----------
        image
            ``(..., x, y, z)`` of the old shape; NumPy, CuPy or torch.

        Returns
        -------
        Image ``(..., x, y, z)`` of the new shape, of the kind of `image`; ``float32`` if that is real, else
        ``complex64``.
        """
        return _along_axes(image, self.old_shape, self.new_shape, forward_taps)

    def adjoint(self, image: Any) -> Any:
        """Apply the adjoint: ``(..., x, y, z)`` of the new shape to one of the old shape."""
        return _along_axes(image, self.new_shape, self.old_shape, adjoint_taps)

    def lipschitz(self) -> float:
        """Upper bound of the largest eigenvalue of the adjoint times the operator, axis by axis.

        The square of a spectral norm is at most the product of the largest sums over a row and over a column.
        """
        bound = 1.0
        for old, new in zip(self.old_shape, self.new_shape, strict=True):
            weights = linear_weights(old, new)
            bound *= float(weights.sum(axis=0).max() * weights.sum(axis=1).max())
        return bound


def kspace_crop(image: Any, new_shape: Sequence[int]) -> Any:
    """Keep the centre of the k-space of an image, or pad it with zeros.

    Parameters
    ----------
    image
        ``(..., x, y, z)``; NumPy, CuPy or torch.
    new_shape
        Matrix size (x, y, z) of the result.

    Returns
    -------
    Image ``(..., x, y, z)`` of that shape, of the kind of `image`; ``float32`` if that is real, else ``complex64``.

    Raises
    ------
    ShapeError
        If `image` has less than three axes, or `new_shape` is not three sizes of at least 1.
    """
    a, shape = _single(as_array(image)), _checked_shape(new_shape, "new_shape")
    axes = [axis for axis in (-3, -2, -1) if a.shape[axis] != shape[axis]]
    if not axes:
        return as_kind(a, image)
    scale = np.float32(math.sqrt(math.prod(shape) / math.prod(a.shape[-3:])))
    result = ifft(crop_or_pad(fft(a, axes), shape) * scale, axes)
    return as_kind(get_array_module(a).ascontiguousarray(result if a.dtype.kind == "c" else result.real), image)


def linear_weights(old: int, new: int) -> np.ndarray:
    """Weights ``(new, old)``, float32, of antialiased linear interpolation, the edges of both grids aligned."""
    factor = old / new
    centres = (np.arange(new) + 0.5) * factor - 0.5
    distance = np.abs(centres[:, None] - np.arange(old)[None, :]) / max(1.0, factor)
    weights = np.maximum(1.0 - distance, 0.0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


@lru_cache(maxsize=64)
def forward_taps(old: int, new: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sparse form of :func:`linear_weights`: ``out[i] = sum over (index, weight) of weight[i] * in[index[i]]``."""
    return _taps(linear_weights(old, new))


@lru_cache(maxsize=64)
def adjoint_taps(new: int, old: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sparse form of the transpose of ``linear_weights(old, new)``."""
    return _taps(linear_weights(old, new).T)


def _taps(weights: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    count = int((weights > 0).sum(axis=1).max())
    indices = np.argsort(weights == 0, axis=1, kind="stable")[:, :count]  # those above zero first, in order
    return list(zip(indices.T, np.take_along_axis(weights, indices, axis=1).T, strict=True))


def _along_axes(image: Any, old: Shape, new: Shape, taps: Callable[[int, int], Any]) -> Any:
    a = _single(as_array(image))
    if a.shape[-3:] != old:
        raise ShapeError(f"Resampling: image has shape {a.shape}, expected (..., x, y, z) with {old} at the end.")
    xp = get_array_module(a)
    for axis in range(3):
        if old[axis] == new[axis]:
            continue
        column = [-1 if i == axis else 1 for i in range(3)]
        result: Any = None
        for index, weight in taps(old[axis], new[axis]):
            part = xp.take(a, xp.asarray(index), axis=a.ndim - 3 + axis)
            part *= xp.asarray(weight.reshape(column))
            result = part if result is None else xp.add(result, part, out=result)
        a = result
    return as_kind(a, image)


def _single(a: Any) -> Any:
    """In single precision, real or complex, contiguous."""
    if a.ndim < 3:
        raise ShapeError(f"image must have the axes (..., x, y, z), got shape {a.shape}.")
    dtype = np.complex64 if a.dtype.kind == "c" else np.float32
    return get_array_module(a).ascontiguousarray(a, dtype=dtype)


def _checked_shape(shape: Sequence[int], name: str) -> Shape:
    sizes = tuple(int(n) for n in shape)
    if len(sizes) != 3 or min(sizes) < 1:
        raise ShapeError(f"{name} must be three sizes (x, y, z) of at least 1, got {tuple(shape)}.")
    return sizes
