"""Finite differences of 3D volumes and the pieces of isotropic total variation.

The gradient of a volume ``(x, y, z)`` is ``(3, x, y, z)``: forward differences along x, y and z, zero at the
last index of each axis (the volume is continued by its edge, so opposite faces do not touch).

References
----------
L. Rudin, S. Osher, E. Fatemi 1992, Physica D 60:259 (total variation); A. Chambolle 2004, J Math Imaging Vis
20:89, section 2 (discrete gradient, divergence and the dual problem).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from mrrecon.errors import ShapeError
from mrrecon.operators.backend import as_array, as_kind, get_array_module, num_threads, writeable_view
from mrrecon.operators.parallel import run_ranges

__all__ = ["GRADIENT_NORM_SQUARED", "dual_step", "gradient", "gradient_adjoint", "tv_norm"]

SMALL = 30_000  # voxels, below which threads cost more than they bring
GRADIENT_NORM_SQUARED = 12.0  # bound of the largest eigenvalue of gradient_adjoint(gradient(.)): 4 an axis


def gradient(volume: Any, out: Any = None) -> Any:
    """Return the forward differences ``(3, x, y, z)`` of a complex volume ``(x, y, z)``.

    Parameters
    ----------
    volume
        ``(x, y, z)``; NumPy, CuPy or torch.
    out
        Array of the same kind for the result.

    Raises
    ------
    ShapeError
        If the volume does not have three axes.
    """
    array = _complex(volume, 3, "volume")
    xp = get_array_module(array)
    target = xp.empty((3, *array.shape), np.complex64) if out is None else as_array(out)
    if xp is np:
        from mrrecon.operators.kernels import total_variation_cpu as cpu

        source, result = array.view(np.float32), target.view(np.float32)
        _in_threads(array.shape[0], array.size, partial(cpu.gradient_planes, source, result))
    else:
        for axis in range(3):
            last = xp.take(array, xp.asarray([-1]), axis=axis)
            target[axis] = xp.diff(array, axis=axis, append=last)
    return as_kind(target, volume) if out is None else out


def gradient_adjoint(field: Any, out: Any = None) -> Any:
    """Return the adjoint of :func:`gradient` (minus the divergence): ``(3, x, y, z)`` to ``(x, y, z)``."""
    array = _complex(field, 4, "field")
    if array.shape[0] != 3:
        raise ShapeError(f"field has shape {array.shape}, expected (3, x, y, z) as gradient() returns it.")
    xp = get_array_module(array)
    target = xp.empty(array.shape[1:], np.complex64) if out is None else as_array(out)
    if xp is np:
        from mrrecon.operators.kernels import total_variation_cpu as cpu

        source, result = array.view(np.float32), target.view(np.float32)
        _in_threads(target.shape[0], target.size, partial(cpu.gradient_adjoint_planes, source, result))
    else:
        target[...] = 0
        for axis in range(3):
            inner = xp.moveaxis(array[axis], axis, 0)[:-1]
            along = xp.moveaxis(target, axis, 0)
            along[:-1] -= inner
            along[1:] += inner
    return as_kind(target, field) if out is None else out


def dual_step(dual: Any, volume: Any, step: float, radius: float) -> Any:
    """Ascend in the dual of total variation, in place: ``dual = P(dual + step * gradient(volume))``.

    P projects the vector of the three complex differences at each voxel on the ball of this `radius`, which
    is the proximal map of the conjugate of ``radius * tv_norm``.

    Parameters
    ----------
    dual
        ``(3, x, y, z)`` complex64, C-contiguous; overwritten and returned.
    volume
        ``(x, y, z)``.
    step
        Step size, at most the inverse of :data:`GRADIENT_NORM_SQUARED` for a plain dual ascent.
    radius
        Weight of the total variation, above zero.
    """
    array, field = _complex(volume, 3, "volume"), as_array(dual)
    if field.shape != (3, *array.shape):
        raise ShapeError(f"dual has shape {field.shape}, expected (3, x, y, z) = {(3, *array.shape)}.")
    xp = get_array_module(array)
    if xp is np:
        from mrrecon.operators.kernels import total_variation_cpu as cpu

        source, result = array.view(np.float32), field.view(np.float32)
        s, r = np.float32(step), np.float32(radius)
        _in_threads(array.shape[0], array.size, partial(cpu.dual_step_planes, result, source, s, r))
    else:
        field += step * gradient(array)
        field *= radius / xp.maximum(_length(field, xp), radius)
    return dual


def tv_norm(volume: Any) -> float:
    """Isotropic total variation of a complex volume: sum over voxels of the length of the gradient."""
    field = gradient(as_array(volume))
    xp = get_array_module(field)
    return float(_length(field, xp).sum(dtype=np.float64))


def _length(field: Any, xp: Any) -> Any:
    return xp.sqrt((field.real**2 + field.imag**2).sum(axis=0))


def _complex(x: Any, ndim: int, what: str) -> Any:
    array = as_array(x)
    if array.ndim != ndim:
        axes = "(x, y, z)" if ndim == 3 else "(3, x, y, z)"
        raise ShapeError(f"{what} has shape {array.shape}, expected the axes {axes}.")
    xp = get_array_module(array)
    array = xp.ascontiguousarray(array, dtype=np.complex64)
    return writeable_view(array) if xp is np else array


def _in_threads(planes: int, size: int, part: Callable[[int, int], None]) -> None:
    run_ranges(planes, part, num_threads() if size > SMALL else 1)
