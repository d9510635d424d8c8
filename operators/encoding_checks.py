"""What the operands of the encoding must be, each refusal saying what was expected, what was got, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from mrrecon.errors import DataError, MaskError, ShapeError
from mrrecon.operators.backend import as_array, get_array_module, to_numpy, writeable_view

__all__ = ["checked_mask", "checked_out", "operand"]

AXES = ("x", "y", "z")


def operand(a: Any, name: str, xp: ModuleType, expected: tuple[int, ...] | None = None) -> Any:
    """View or convert an operand for the kernels: its shape, device and dtype checked, complex64, contiguous.

    Parameters
    ----------
    a
        NumPy or CuPy array.
    name
        ``"maps"``, ``"image"`` or ``"kspace"``.
    xp
        Module of the maps.
    expected
        Shape; any when not given.

    Raises
    ------
    ShapeError, DataError
        If it does not fit.
    """
    if get_array_module(a) is not xp:
        here, there = ("a GPU", "the CPU") if xp is np else ("the CPU", "a GPU")
        raise DataError(
            f"Sense: {name} is on {here}, the maps are on {there}; move one of them with operators.backend.to_device."
        )
    if expected is not None and a.shape != expected:
        raise ShapeError(
            f"Sense: {name} has shape {a.shape}, maps expect {expected} "
            f"[{' '.join(_axes(expected, name))}]{_shape_hint(a.shape, expected, name)}"
        )
    if a.dtype.kind not in "fc":
        raise DataError(
            f"Sense: {name} must be complex (or real floating-point) numbers, got dtype {a.dtype}; "
            f"convert with {name}.astype(numpy.complex64)."
        )
    a = xp.ascontiguousarray(a, dtype=np.complex64)
    return writeable_view(a) if xp is np else a


def checked_mask(mask: Any, volume: Sequence[int], xp: ModuleType) -> Any:
    """Copy of a mask ``(y, z)`` or ``(x, y, z)`` in module `xp` for a volume of that shape: bool, ``(1 or x, y, z)``.

    Raises
    ------
    MaskError
        If it has another shape, or values other than 0 and 1.
    """
    m = to_numpy(mask) if xp is np else xp.asarray(as_array(mask))
    volume, plane = tuple(volume), tuple(volume[1:])
    if m.shape not in (plane, volume):
        hint = "; transpose it?" if m.shape in (plane[::-1], volume[::-1]) else ""
        raise MaskError(
            f"Sense: mask has shape {m.shape}, maps expect (y, z) = {plane} or (x, y, z) = {volume}{hint or '.'}"
        )
    if m.dtype != bool and not bool(((m == 0) | (m == 1)).all()):
        raise MaskError(
            f"Sense: mask must be bool (or hold only 0 and 1), got {m.dtype} with other values; "
            "use mask = values > 0, and put weights into the k-space."
        )
    return xp.array(m, dtype=bool, order="C").reshape(-1, *plane)


def checked_out(out: Any, image: Any, shape: tuple[int, ...], xp: ModuleType) -> Any:
    """Array of the shape of `image` for the result of a normal operator on it: `out`, viewed, or a new one.

    Parameters
    ----------
    out
        What the caller gave, or None.
    image
        The operand, NumPy or CuPy, perhaps with an axis for a single set.
    shape
        That `out` must have.
    xp
        Module of the maps.

    Raises
    ------
    ShapeError, DataError
        If `out` does not fit, is not contiguous or shares memory with the image.
    """
    if out is None:
        return xp.empty(image.shape, dtype=np.complex64)
    o = as_array(out)
    if get_array_module(o) is not xp or o.shape != shape or o.dtype != np.complex64:
        raise ShapeError(
            f"Sense: out must be a {xp.__name__} complex64 array of shape {shape}, "
            f"got {get_array_module(o).__name__}, {o.dtype}, {o.shape}."
        )
    if not o.flags.c_contiguous or xp.may_share_memory(o, image):
        raise DataError("Sense: out must be contiguous and separate from the image; pass a fresh array or out=None.")
    return o.reshape(image.shape)


def _axes(shape: Sequence[int], name: str) -> tuple[str, ...]:
    return (("coils",) if name == "kspace" else ("sets",))[: len(shape) - 3] + AXES


def _shape_hint(got: tuple[int, ...], expected: tuple[int, ...], name: str) -> str:
    n = len(expected)
    if len(got) == n:
        for i in range(n - 1, -1, -1):
            for j in range(i - 1, -1, -1):
                swapped = list(got)
                swapped[i], swapped[j] = got[j], got[i]
                if tuple(swapped) == expected:
                    which = "the last two axes" if (j, i) == (n - 2, n - 1) else f"axes {j} and {i}"
                    return f"; transpose {which}?"
        if sorted(got) == sorted(expected):
            return "; transpose the axes?"
    if len(got) == n - 1 and got == expected[1:]:
        return f"; add the axis of {_axes(expected, name)[0]} with {name}[None]?"
    return f"; give {name} on the grid of the maps."
