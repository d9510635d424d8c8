"""The vector updates of conjugate gradients and proximal gradient methods on the CPU, fused, on flat arrays.

The plain references are the expressions for CuPy in :mod:`mrrecon.operators.vectors`.
"""

from __future__ import annotations

import numpy as np

from mrrecon.operators.kernels.compiled import compiled

__all__ = ["average", "curvature", "direction", "extrapolate", "gradient_step", "real_dot", "update"]


@compiled
def real_dot(a: np.ndarray, b: np.ndarray) -> np.float32:
    """Real part of <a, b> over two flat arrays."""
    total = np.float32(0)
    for i in range(a.size):
        total += a[i].real * b[i].real + a[i].imag * b[i].imag
    return total


@compiled
def curvature(p: np.ndarray, q: np.ndarray, ridge: float) -> np.float32:
    """``q += ridge p`` over flat arrays; returns the real part of <p, q>."""
    factor, total = np.float32(ridge), np.float32(0)
    for i in range(p.size):
        new = q[i] + factor * p[i]
        q[i] = new
        total += p[i].real * new.real + p[i].imag * new.imag
    return total


@compiled
def update(x: np.ndarray, r: np.ndarray, p: np.ndarray, q: np.ndarray, alpha: float) -> np.float32:
    """``x += alpha p; r -= alpha q`` over flat arrays; returns the new ``|r|^2``."""
    step, total = np.float32(alpha), np.float32(0)
    for i in range(x.size):
        x[i] += step * p[i]
        new = r[i] - step * q[i]
        r[i] = new
        total += new.real * new.real + new.imag * new.imag
    return total


@compiled
def direction(p: np.ndarray, r: np.ndarray, beta: float) -> None:
    """``p = r + beta p`` over flat arrays."""
    factor = np.float32(beta)
    for i in range(p.size):
        p[i] = r[i] + factor * p[i]


@compiled
def gradient_step(point: np.ndarray, normal: np.ndarray, target: np.ndarray, step: float) -> None:
    """``point -= step * (normal - target)`` over flat float32 arrays."""
    for i in range(point.size):
        point[i] -= step * (normal[i] - target[i])


@compiled
def extrapolate(point: np.ndarray, new: np.ndarray, old: np.ndarray, beta: float) -> tuple[float, float]:
    """``point = new + beta (new - old)`` over flat float32 arrays; returns ``|new - old|^2`` and ``|new|^2``."""
    moved, size = 0.0, 0.0
    for i in range(point.size):
        n = new[i]
        d = n - old[i]
        moved += d * d
        size += n * n
        point[i] = n + beta * d
    return moved, size


@compiled
def average(mean: np.ndarray, new: np.ndarray, weight: float) -> tuple[float, float]:
    """``mean += weight (new - mean)`` over flat float32 arrays; returns ``|new - mean|^2`` and ``|mean|^2``."""
    moved, size = 0.0, 0.0
    for i in range(mean.size):
        d = new[i] - mean[i]
        m = mean[i] + weight * d
        moved += d * d
        size += m * m
        mean[i] = m
    return moved, size
