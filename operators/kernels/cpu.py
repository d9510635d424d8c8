"""The kernels of the encoding engine for the CPU, by numba; same calls as :mod:`mrrecon.operators.kernels.reference`.

One pass over the slab each, no temporaries, the GIL released. All arrays are C-contiguous (no strided views), so
that each kernel is compiled once.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["combine", "direction", "expand", "load", "real_dot", "store", "update", "weigh"]

# Reordering sums is allowed (vector units); NaN and Inf keep their meaning.
_jit = numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"}, error_model="numpy")


@_jit
def _multiply(out, a, b):
    for i in range(out.size):
        out[i] = a[i] * b[i]


@_jit
def _multiply_add(out, a, b):
    for i in range(out.size):
        out[i] += a[i] * b[i]


@_jit
def _conj_multiply(out, a, b):
    for i in range(out.size):
        out[i] = a[i].conjugate() * b[i]


@_jit
def _conj_multiply_add(out, a, b):
    for i in range(out.size):
        out[i] += a[i].conjugate() * b[i]


@_jit
def expand(maps, image, buffer, c, x, shift):
    coils, planes, ny, nz = buffer.shape
    hy, hz = (ny // 2, nz // 2) if shift else (0, 0)
    cut = nz - hz
    for i in range(coils):
        for j in range(planes):
            for y in range(ny):
                yy = y + hy if y + hy < ny else y + hy - ny
                row = buffer[i, j, y]
                for s in range(maps.shape[0]):
                    m, v = maps[s, c + i, x + j, yy], image[s, x + j, yy]
                    if s == 0:
                        _multiply(row[:cut], m[hz:], v[hz:])
                        _multiply(row[cut:], m[:hz], v[:hz])
                    else:
                        _multiply_add(row[:cut], m[hz:], v[hz:])
                        _multiply_add(row[cut:], m[:hz], v[:hz])


@_jit
def combine(maps, buffer, image, c, x, shift):
    coils, planes, ny, nz = buffer.shape
    hy, hz = (ny // 2, nz // 2) if shift else (0, 0)
    cut = nz - hz
    for i in range(coils):
        for j in range(planes):
            for y in range(ny):
                yy = y + hy if y + hy < ny else y + hy - ny
                row = buffer[i, j, y]
                for s in range(maps.shape[0]):
                    m, v = maps[s, c + i, x + j, yy], image[s, x + j, yy]
                    if c + i == 0:
                        _conj_multiply(v[hz:], m[hz:], row[:cut])
                        _conj_multiply(v[:hz], m[:hz], row[cut:])
                    else:
                        _conj_multiply_add(v[hz:], m[hz:], row[:cut])
                        _conj_multiply_add(v[:hz], m[:hz], row[cut:])


@_jit
def weigh(buffer, weights, x):
    coils, planes, ny, nz = buffer.shape
    for i in range(coils):
        for j in range(planes):
            w = weights[0 if weights.shape[0] == 1 else x + j].reshape(-1)
            row = buffer[i, j].reshape(-1)
            for k in range(row.size):
                row[k] = row[k] * w[k]


@_jit
def store(buffer, mask, kspace, c, x, scale):
    coils, planes, ny, nz = buffer.shape
    hy, hz = ny // 2, nz // 2
    factor = np.float32(scale)
    for i in range(coils):
        for j in range(planes):
            p = 0 if mask.shape[0] == 1 else x + j
            for y in range(ny):
                yy = y + hy if y + hy < ny else y + hy - ny
                row, keep, out = buffer[i, j, y], mask[p, yy], kspace[c + i, x + j, yy]
                for z in range(nz - hz):
                    out[z + hz] = row[z] * factor if keep[z + hz] else 0
                for z in range(hz):
                    out[z] = row[z + nz - hz] * factor if keep[z] else 0


@_jit
def load(kspace, mask, buffer, c, x, scale):
    coils, planes, ny, nz = buffer.shape
    hy, hz = ny // 2, nz // 2
    factor = np.float32(scale)
    for i in range(coils):
        for j in range(planes):
            p = 0 if mask.shape[0] == 1 else x + j
            for y in range(ny):
                yy = y + hy if y + hy < ny else y + hy - ny
                row, keep, data = buffer[i, j, y], mask[p, yy], kspace[c + i, x + j, yy]
                for z in range(nz - hz):
                    row[z] = data[z + hz] * factor if keep[z + hz] else 0
                for z in range(hz):
                    row[z + nz - hz] = data[z] * factor if keep[z] else 0


@_jit
def real_dot(a, b):
    """Real part of <a, b> over two flat arrays."""
    total = np.float32(0)
    for i in range(a.size):
        total += a[i].real * b[i].real + a[i].imag * b[i].imag
    return total


@_jit
def update(x, r, p, q, alpha):
    """``x += alpha p; r -= alpha q`` over flat arrays; returns the new ``|r|^2``."""
    step = np.float32(alpha)
    total = np.float32(0)
    for i in range(x.size):
        x[i] += step * p[i]
        new = r[i] - step * q[i]
        r[i] = new
        total += new.real * new.real + new.imag * new.imag
    return total


@_jit
def direction(p, r, beta):
    """``p = r + beta p`` over flat arrays."""
    factor = np.float32(beta)
    for i in range(p.size):
        p[i] = r[i] + factor * p[i]
