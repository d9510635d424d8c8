"""The vector updates of conjugate gradients and of proximal gradient methods, each in one pass over memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrrecon.errors import ShapeError
from mrrecon.operators.backend import get_array_module, num_threads
from mrrecon.operators.parallel import ScratchPool, run_slabs

__all__ = [
    "average",
    "cg_curvature",
    "cg_direction",
    "cg_update",
    "extrapolate",
    "gradient_step",
    "real_dot",
]

CHUNK = 1 << 15  # elements per pass: results do not depend on the number of threads
_nothing: ScratchPool[None] = ScratchPool(lambda: None)


# ---- conjugate gradients -----------------------------------------------------------------------------------


def real_dot(a: Any, b: Any) -> float:
    """Real part of the inner product <a, b> of two arrays of one shape, NumPy or CuPy."""
    flat = _flat(a=a, b=b)
    if flat is None:
        return float(get_array_module(a, b).vdot(a, b).real)
    return _over_chunks("real_dot", flat)[0]


def cg_curvature(p: Any, q: Any, ridge: float = 0.0) -> float:
    """Add the ridge to the matrix times the direction, ``q += ridge p``; return the real part of <p, q>."""
    if not ridge:
        return real_dot(p, q)
    flat = _flat(p=p, q=q)
    if flat is None:
        q += q.real.dtype.type(ridge) * p
        return real_dot(p, q)
    return _over_chunks("curvature", flat, float(ridge))[0]


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
    flat = _flat(x=x, r=r, p=p, q=q)
    if flat is None:
        step = x.real.dtype.type(alpha)
        x += step * p
        r -= step * q
        return float(get_array_module(x).vdot(r, r).real)
    return _over_chunks("update", flat, float(alpha))[0]


def cg_direction(p: Any, r: Any, beta: float) -> None:
    """Turn the direction of conjugate gradients, in place: ``p = r + beta p``."""
    flat = _flat(p=p, r=r)
    if flat is None:
        p *= p.real.dtype.type(beta)
        p += r
        return
    _over_chunks("direction", flat, float(beta))


# ---- accelerated proximal gradients ------------------------------------------------------------------------


def gradient_step(point: Any, normal: Any, target: Any, step: float) -> None:
    """Descend along the gradient of ``|A x - y|^2 / 2``, in place: ``point -= step * (normal - target)``.

    Parameters
    ----------
    point
        Where the gradient was taken, updated in place.
    normal
        Normal operator times `point`.
    target
        ``A^H y``.
    step
        Step size.
    """
    flat = _flat(point=point, normal=normal, target=target)
    if flat is None:
        point -= np.float32(step) * (normal - target)
        return
    _over_chunks("gradient_step", _reals(flat), np.float32(step))


def extrapolate(point: Any, new: Any, old: Any, beta: float) -> tuple[float, float]:
    """Move on with momentum: ``point = new + beta (new - old)``, and return ``|new - old|`` and ``|new|``.

    Parameters
    ----------
    point
        Overwritten with the extrapolated point.
    new, old
        The last two iterates.
    beta
        Momentum.
    """
    flat = _flat(point=point, new=new, old=old)
    if flat is None:
        step, norm = new - old, get_array_module(new).linalg.norm
        point[...] = new + np.float32(beta) * step
        return float(norm(step)), float(norm(new))
    moved, size = _over_chunks("extrapolate", _reals(flat), np.float32(beta))
    return moved**0.5, size**0.5


def average(mean: Any, new: Any, weight: float) -> tuple[float, float]:
    """Take `new` into a running mean, in place, and return how far the mean moved and its norm.

    Parameters
    ----------
    mean
        Updated to ``mean + weight (new - mean)``.
    new
        The new iterate.
    weight
        ``1 / n`` for the n-th one gives the plain mean.
    """
    flat = _flat(mean=mean, new=new)
    if flat is None:
        step, norm = np.float32(weight) * (new - mean), get_array_module(new).linalg.norm
        mean += step
        return float(norm(step)), float(norm(mean))
    moved, size = _over_chunks("average", _reals(flat), np.float32(weight))
    return weight * moved**0.5, size**0.5


# ---- how it is done ----------------------------------------------------------------------------------------


def _flat(**arrays: Any) -> list[np.ndarray] | None:
    """Flat views for the kernels, or None where they do not apply (CuPy, other dtypes, strided arrays)."""
    shapes = {name: tuple(a.shape) for name, a in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ShapeError(f"These arrays must have one shape, got {shapes}.")
    if all(isinstance(a, np.ndarray) and a.dtype == np.complex64 and a.flags.carray for a in arrays.values()):
        return [a.reshape(-1) for a in arrays.values()]
    return None


def _reals(flat: list[np.ndarray]) -> list[np.ndarray]:
    return [a.view(np.float32) for a in flat]


def _over_chunks(kernel: str, arrays: list[np.ndarray], *scalars: Any) -> tuple[float, float]:
    """Call a kernel of the name on parts of flat arrays, on threads, and add up the one or two sums that it returns."""
    from mrrecon.operators.kernels import vectors_cpu

    function, size = getattr(vectors_cpu, kernel), arrays[0].size
    sums = np.zeros((-(-size // CHUNK), 2))

    def body(i: int, _: None) -> None:
        part = function(*(a[i * CHUNK : (i + 1) * CHUNK] for a in arrays), *scalars)
        if part is not None:
            sums[i] = part

    run_slabs(len(sums), body, _nothing, num_threads())
    first, second = sums.sum(axis=0)
    return float(first), float(second)
