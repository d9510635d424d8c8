"""The vector updates of conjugate gradients, each in one pass over memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mrrecon.errors import ShapeError
from mrrecon.operators.backend import get_array_module, num_threads
from mrrecon.operators.parallel import ScratchPool, run_slabs

__all__ = ["cg_curvature", "cg_direction", "cg_update", "real_dot"]

CHUNK = 1 << 15  # elements per pass: results do not depend on the number of threads
_nothing: ScratchPool[None] = ScratchPool(lambda: None)


def real_dot(a: Any, b: Any) -> float:
    """Real part of the inner product <a, b> of two arrays of one shape, NumPy or CuPy."""
    _same_shape(a=a, b=b)
    flat = _flat(a, b)
    if flat is None:
        return float(get_array_module(a, b).vdot(a, b).real)
    from mrrecon.operators.kernels import sense_cpu

    return _sum_chunks(lambda part: sense_cpu.real_dot(*(v[part] for v in flat)), a.size)


def cg_curvature(p: Any, q: Any, ridge: float = 0.0) -> float:
    """Add the ridge to the matrix times the direction, ``q += ridge p``; return the real part of <p, q>."""
    if not ridge:
        return real_dot(p, q)
    _same_shape(p=p, q=q)
    flat = _flat(p, q)
    if flat is None:
        q += q.real.dtype.type(ridge) * p
        return real_dot(p, q)
    from mrrecon.operators.kernels import sense_cpu

    return _sum_chunks(lambda part: sense_cpu.curvature(*(v[part] for v in flat), float(ridge)), p.size)


def cg_update(x: Any, r: Any, p: Any, q: Any, alpha: float) -> float:
    """Take a step of conjugate gradients, in place: ``x += alpha p``, ``r -= alpha q``.

    Parameters
    ----------
    x, r
        Iterate and residual, updated in place.
    p, q
        Direction, and the system matrix times it.
    alpha
        Step length, real.

    Returns
    -------
    float
        The new ``|r|^2``.
    """
    _same_shape(x=x, r=r, p=p, q=q)
    flat = _flat(x, r, p, q)
    if flat is None:
        step = x.real.dtype.type(alpha)
        x += step * p
        r -= step * q
        return float(get_array_module(x).vdot(r, r).real)
    from mrrecon.operators.kernels import sense_cpu

    return _sum_chunks(lambda part: sense_cpu.update(*(v[part] for v in flat), float(alpha)), x.size)


def cg_direction(p: Any, r: Any, beta: float) -> None:
    """Turn the direction of conjugate gradients, in place: ``p = r + beta p``."""
    _same_shape(p=p, r=r)
    flat = _flat(p, r)
    if flat is None:
        p *= p.real.dtype.type(beta)
        p += r
        return
    from mrrecon.operators.kernels import sense_cpu

    def one(part: slice) -> float:
        sense_cpu.direction(flat[0][part], flat[1][part], float(beta))
        return 0.0

    _sum_chunks(one, p.size)


def _same_shape(**arrays: Any) -> None:
    shapes = {name: tuple(a.shape) for name, a in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ShapeError(f"These arrays must have one shape, got {shapes}.")


def _flat(*arrays: Any) -> list[np.ndarray] | None:
    """Flat views for the kernels, or None where they do not apply (CuPy, other dtypes, strided arrays)."""
    if all(isinstance(a, np.ndarray) and a.dtype == np.complex64 and a.flags.carray for a in arrays):
        return [a.reshape(-1) for a in arrays]
    return None


def _sum_chunks(one: Callable[[slice], float], size: int) -> float:
    count = -(-size // CHUNK)
    sums = np.zeros(count)

    def body(i: int, _: None) -> None:
        sums[i] = one(slice(i * CHUNK, (i + 1) * CHUNK))

    run_slabs(count, body, _nothing, num_threads())
    return float(sums.sum())
