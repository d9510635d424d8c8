"""The vector updates of accelerated proximal gradient methods, each in one pass over memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mrrecon.errors import ShapeError
from mrrecon.operators.backend import get_array_module, num_threads
from mrrecon.operators.parallel import ScratchPool, run_slabs

__all__ = ["average", "extrapolate", "gradient_step"]

CHUNK = 1 << 15  # real numbers per pass: results do not depend on the number of threads


def gradient_step(point: Any, normal: Any, target: Any, step: float) -> None:
    """Descend along the gradient of ``|A x - y|^2 / 2``, in place: ``point -= step * (normal - target)``.

    Parameters
    ----------
    point
        Where the gradient was taken, updated in place. All arrays are ``complex64``, NumPy or CuPy,
        contiguous.
    normal
        Normal operator times `point`.
    target
        ``A^H y``.
    step
        Step size.
    """
    _same_shape(point=point, normal=normal, target=target)
    if get_array_module(point) is not np:
        point -= np.float32(step) * (normal - target)
        return
    from mrrecon.operators.kernels import proximal_cpu

    flat = [_reals(a) for a in (point, normal, target)]
    s = np.float32(step)
    _chunks(flat[0].size, lambda i, part: proximal_cpu.gradient_step(*(a[part] for a in flat), s))


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
    _same_shape(point=point, new=new, old=old)
    xp = get_array_module(point)
    if xp is not np:
        step = new - old
        point[...] = new + np.float32(beta) * step
        return float(xp.linalg.norm(step)), float(xp.linalg.norm(new))
    from mrrecon.operators.kernels import proximal_cpu

    flat, b = [_reals(a) for a in (point, new, old)], np.float32(beta)
    return _norms(flat[0].size, lambda part, sums: proximal_cpu.extrapolate(*(a[part] for a in flat), b, sums))


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
    _same_shape(mean=mean, new=new)
    xp = get_array_module(mean)
    if xp is not np:
        step = np.float32(weight) * (new - mean)
        mean += step
        return float(xp.linalg.norm(step)), float(xp.linalg.norm(mean))
    from mrrecon.operators.kernels import proximal_cpu

    flat, w = [_reals(a) for a in (mean, new)], np.float32(weight)
    moved, size = _norms(flat[0].size, lambda part, sums: proximal_cpu.average(*(a[part] for a in flat), w, sums))
    return weight * moved, size


def _norms(size: int, one: Callable[[slice, np.ndarray], None]) -> tuple[float, float]:
    """Run `one` over chunks and return the square roots of the two sums that it gives."""
    sums = np.zeros((-(-size // CHUNK), 2))
    _chunks(size, lambda i, part: one(part, sums[i]))
    first, second = np.sqrt(sums.sum(axis=0))
    return float(first), float(second)


def _same_shape(**arrays: Any) -> None:
    shapes = {name: tuple(a.shape) for name, a in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ShapeError(f"These arrays must have one shape, got {shapes}.")


def _reals(a: np.ndarray) -> np.ndarray:
    return a.reshape(-1).view(np.float32)


def _chunks(size: int, one: Callable[[int, slice], None]) -> None:
    def body(i: int, _: None) -> None:
        one(i, slice(i * CHUNK, (i + 1) * CHUNK))

    run_slabs(-(-size // CHUNK), body, ScratchPool(lambda: None), num_threads())
