"""Finite differences and the dual step of total variation on the CPU, fused, on x-planes ``start:stop``.

Complex arrays come as ``float32`` with real and imaginary parts side by side: volumes ``(x, y, 2 z)``,
gradients ``(3, x, y, 2 z)``. The plain references are ``gradient``, ``gradient_adjoint`` and ``project`` of
:mod:`mrrecon.operators.total_variation` for arrays that are not NumPy's.
"""

from __future__ import annotations

import numpy as np

from mrrecon.operators.kernels.compiled import compiled

__all__ = ["dual_step_planes", "gradient_adjoint_planes", "gradient_planes"]


@compiled
def gradient_planes(volume: np.ndarray, out: np.ndarray, start: int, stop: int) -> None:
    """Forward differences of `volume` along x, y, z into `out`; zero at the last index of each axis."""
    nx, ny, width = volume.shape
    for x in range(start, stop):
        for y in range(ny):
            here = volume[x, y]
            next_x, next_y = volume[min(x + 1, nx - 1), y], volume[x, min(y + 1, ny - 1)]
            a, b, c = out[0, x, y], out[1, x, y], out[2, x, y]
            for k in range(width):
                a[k] = next_x[k] - here[k]
            for k in range(width):
                b[k] = next_y[k] - here[k]
            for k in range(width - 2):
                c[k] = here[k + 2] - here[k]
            c[width - 2] = c[width - 1] = 0


@compiled
def gradient_adjoint_planes(gradient: np.ndarray, out: np.ndarray, start: int, stop: int) -> None:
    """Transpose of :func:`gradient_planes`: minus the divergence of `gradient`, into `out`."""
    _, nx, ny, width = gradient.shape
    for x in range(start, stop):
        for y in range(ny):
            o, c = out[x, y], gradient[2, x, y]
            for k in range(width - 2):
                o[k] = -c[k]
            o[width - 2] = o[width - 1] = 0
            for k in range(2, width):
                o[k] += c[k - 2]
            if x < nx - 1:
                a = gradient[0, x, y]
                for k in range(width):
                    o[k] -= a[k]
            if x > 0:
                a = gradient[0, x - 1, y]
                for k in range(width):
                    o[k] += a[k]
            if y < ny - 1:
                b = gradient[1, x, y]
                for k in range(width):
                    o[k] -= b[k]
            if y > 0:
                b = gradient[1, x, y - 1]
                for k in range(width):
                    o[k] += b[k]


@compiled
def dual_step_planes(dual: np.ndarray, volume: np.ndarray, step: float, radius: float, start: int, stop: int) -> None:
    """``dual = P(dual + step * gradient(volume))`` in place; P projects each vector on length `radius`."""
    nx, ny, width = volume.shape
    for x in range(start, stop):
        for y in range(ny):
            here = volume[x, y]
            next_x, next_y = volume[min(x + 1, nx - 1), y], volume[x, min(y + 1, ny - 1)]
            a, b, c = dual[0, x, y], dual[1, x, y], dual[2, x, y]
            for k in range(width):
                a[k] += step * (next_x[k] - here[k])
            for k in range(width):
                b[k] += step * (next_y[k] - here[k])
            for k in range(width - 2):
                c[k] += step * (here[k + 2] - here[k])
            for k in range(width // 2):
                i, j = 2 * k, 2 * k + 1
                squared = a[i] * a[i] + a[j] * a[j] + b[i] * b[i] + b[j] * b[j] + c[i] * c[i] + c[j] * c[j]
                factor = radius / max(np.sqrt(squared), radius)
                a[i] *= factor
                a[j] *= factor
                b[i] *= factor
                b[j] *= factor
                c[i] *= factor
                c[j] *= factor
