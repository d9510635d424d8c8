"""The kernels of the encoding engine for the CPU, by numba; the calls of
:mod:`mrrecon.operators.kernels.reference`.

One pass over the slab each, no temporaries, the GIL released. All arrays are C-contiguous (no strided views),
so that each kernel is compiled once.
"""

from __future__ import annotations

import numpy as np

from mrrecon.operators.kernels.compiled import compiled

__all__ = ["combine", "expand", "load", "store", "weigh"]


@compiled
def _expand_row(row: np.ndarray, m: np.ndarray, v: np.ndarray, add: bool) -> None:
    """Write (or add) m v."""
    if add:
        for i in range(row.size):
            row[i] += m[i] * v[i]
    else:
        for i in range(row.size):
            row[i] = m[i] * v[i]


@compiled
def _combine_row(v: np.ndarray, m: np.ndarray, row: np.ndarray, add: bool) -> None:
    """Write (or add) the conjugate of m row."""
    if add:
        for i in range(v.size):
            v[i] += (m[i] * row[i]).conjugate()
    else:
        for i in range(v.size):
            v[i] = (m[i] * row[i]).conjugate()


@compiled
def expand(maps: np.ndarray, image: np.ndarray, buffer: np.ndarray, c: int, x: int, shift: bool) -> None:
    """Write coil images; see reference."""
    sets, _, _, ny, nz = maps.shape
    hy, cut = (ny // 2, nz - nz // 2) if shift else (0, nz)
    for i in range(buffer.shape[0]):
        for j in range(buffer.shape[1]):
            for y in range(ny):
                yy = y + hy if y + hy < ny else y + hy - ny
                row = buffer[i, j, y, :nz]
                for s in range(sets):
                    m, v = maps[s, c + i, x + j, yy], image[s, x + j, yy]
                    if shift:
                        _expand_row(row[:cut], m[nz - cut :], v[nz - cut :], s > 0)
                        _expand_row(row[cut:], m[: nz - cut], v[: nz - cut], s > 0)
                    else:
                        _expand_row(row, m, v, s > 0)


@compiled
def combine(maps: np.ndarray, buffer: np.ndarray, image: np.ndarray, c: int, x: int, shift: bool) -> None:
    """Combine coil images; see reference."""
    sets, _, _, ny, nz = maps.shape
    hy, cut = (ny // 2, nz - nz // 2) if shift else (0, nz)
    for i in range(buffer.shape[0]):
        for j in range(buffer.shape[1]):
            for y in range(ny):
                yy = y + hy if y + hy < ny else y + hy - ny
                row = buffer[i, j, y, :nz]
                for s in range(sets):
                    m, v = maps[s, c + i, x + j, yy], image[s, x + j, yy]
                    if shift:
                        _combine_row(v[nz - cut :], m[nz - cut :], row[:cut], c + i > 0)
                        _combine_row(v[: nz - cut], m[: nz - cut], row[cut:], c + i > 0)
                    else:
                        _combine_row(v, m, row, c + i > 0)


@compiled
def weigh(buffer: np.ndarray, weights: np.ndarray, x: int) -> None:
    """Multiply by weights and conjugate; see reference."""
    ny, nz = weights.shape[1:]
    for i in range(buffer.shape[0]):
        for j in range(buffer.shape[1]):
            plane = weights[0 if weights.shape[0] == 1 else x + j]
            for y in range(ny):
                row, w = buffer[i, j, y], plane[y]
                for z in range(nz):
                    row[z] = row[z].conjugate() * w[z]


@compiled
def _store_row(out: np.ndarray, row: np.ndarray, keep: np.ndarray, factor: np.float32) -> None:
    for i in range(out.size):
        re, im = row[i].real * factor, row[i].imag * factor  # computed always, so that the loop vectorises
        out[i] = complex(re if keep[i] else np.float32(0), im if keep[i] else np.float32(0))


@compiled
def store(buffer: np.ndarray, mask: np.ndarray, kspace: np.ndarray, c: int, x: int, scale: float) -> None:
    """Write to centred k-space; see reference."""
    ny, nz = mask.shape[1:]
    hy, cut, factor = ny // 2, nz - nz // 2, np.float32(scale)
    for i in range(buffer.shape[0]):
        for j in range(buffer.shape[1]):
            plane = mask[0 if mask.shape[0] == 1 else x + j]
            for y in range(ny):
                yy = y + hy if y + hy < ny else y + hy - ny
                row, keep, out = buffer[i, j, y, :nz], plane[yy], kspace[c + i, x + j, yy]
                _store_row(out[nz - cut :], row[:cut], keep[nz - cut :], factor)
                _store_row(out[: nz - cut], row[cut:], keep[: nz - cut], factor)


@compiled
def _load_row(row: np.ndarray, data: np.ndarray, keep: np.ndarray, factor: np.float32) -> None:
    for i in range(row.size):
        re, im = data[i].real * factor, data[i].imag * -factor  # computed always, so that the loop vectorises
        row[i] = complex(re if keep[i] else np.float32(0), im if keep[i] else np.float32(0))


@compiled
def load(kspace: np.ndarray, mask: np.ndarray, buffer: np.ndarray, c: int, x: int, scale: float) -> None:
    """Read from centred k-space, conjugated; see reference."""
    ny, nz = mask.shape[1:]
    hy, cut, factor = ny // 2, nz - nz // 2, np.float32(scale)
    for i in range(buffer.shape[0]):
        for j in range(buffer.shape[1]):
            plane = mask[0 if mask.shape[0] == 1 else x + j]
            for y in range(ny):
                yy = y + hy if y + hy < ny else y + hy - ny
                row, keep, data = buffer[i, j, y, :nz], plane[yy], kspace[c + i, x + j, yy]
                _load_row(row[:cut], data[nz - cut :], keep[nz - cut :], factor)
                _load_row(row[cut:], data[: nz - cut], keep[: nz - cut], factor)
