"""The vector updates of proximal gradient methods on the CPU, fused, on flat float32 arrays.

The plain references are the expressions for CuPy in :mod:`mrrecon.operators.proximal`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

__all__ = ["average", "extrapolate", "gradient_step"]

_options: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "fastmath": {"contract", "nsz", "reassoc"},
    "error_model": "numpy",
}


@numba.njit(**_options)
def gradient_step(point: np.ndarray, normal: np.ndarray, target: np.ndarray, step: float) -> None:
    """``point -= step * (normal - target)`` in place."""
    for i in range(point.size):
        point[i] -= step * (normal[i] - target[i])


@numba.njit(**_options)
def extrapolate(point: np.ndarray, new: np.ndarray, old: np.ndarray, beta: float, sums: np.ndarray) -> None:
    """``point = new + beta (new - old)`` in place; writes ``|new - old|^2`` and ``|new|^2`` to `sums`."""
    moved, size = 0.0, 0.0
    for i in range(point.size):
        n = new[i]
        d = n - old[i]
        moved += d * d
        size += n * n
        point[i] = n + beta * d
    sums[0], sums[1] = moved, size


@numba.njit(**_options)
def average(mean: np.ndarray, new: np.ndarray, weight: float, sums: np.ndarray) -> None:
    """``mean += weight (new - mean)`` in place; writes ``|new - mean|^2`` and ``|mean|^2`` to `sums`."""
    moved, size = 0.0, 0.0
    for i in range(mean.size):
        d = new[i] - mean[i]
        m = mean[i] + weight * d
        moved += d * d
        size += m * m
        mean[i] = m
    sums[0], sums[1] = moved, size
