"""Separable periodic wavelet filtering on the CPU, one decomposition level at a time.

Complex volumes are handled as ``float32`` with real and imaginary parts side by side along the last axis, so
that the filter taps, which are real, act on whole rows in vector registers. Each function works on a part of
the block (planes or rows ``start:stop``) and releases the GIL; :mod:`mrrecon.operators.wavelet` runs the
parts in threads. The plain reference is ``WaveletTransform._plain_analysis`` there.

Along an axis of length n, the first ``m = 2 * (n // 2)`` entries are split into ``m/2`` low and ``m/2`` high
coefficients by ``low[k] = sum_i h[i] a[(2k + i - taps/2 + 1) mod m]``; the last entry of an odd axis stays in
place.
"""

from __future__ import annotations

import numba
import numpy as np

from mrrecon.operators.kernels.compiled import compiled

__all__ = [
    "analyse_columns",
    "analyse_planes",
    "soft_threshold_rows",
    "synthesise_columns",
    "synthesise_planes",
]


@numba.njit(inline="always")
def _scale_row(out: np.ndarray, row: np.ndarray, factor: float, width: int) -> None:
    for k in range(width):
        out[k] = factor * row[k]


@numba.njit(inline="always")
def _add_row(out: np.ndarray, row: np.ndarray, factor: float, width: int) -> None:
    for k in range(width):
        out[k] += factor * row[k]


@compiled
def _analyse_rows(
    rows: np.ndarray, low: np.ndarray, high: np.ndarray, half: int, h: np.ndarray, g: np.ndarray, width: int
) -> None:
    """Filter along the first axis of `rows` into `low` and `high` (each a 2D array of rows)."""
    taps = h.size
    offset = taps // 2 - 1
    m = 2 * half
    for k in range(half):
        a, b = low[k], high[k]
        row = rows[(2 * k - offset) % m]
        _scale_row(a, row, h[0], width)
        _scale_row(b, row, g[0], width)
        for i in range(1, taps):
            row = rows[(2 * k + i - offset) % m]
            _add_row(a, row, h[i], width)
            _add_row(b, row, g[i], width)


@compiled
def _synthesise_rows(
    low: np.ndarray, high: np.ndarray, rows: np.ndarray, half: int, h: np.ndarray, g: np.ndarray, width: int
) -> None:
    """Transpose of :func:`_analyse_rows`."""
    taps = h.size
    offset = taps // 2 - 1
    for n in range(2 * half):
        out = rows[n]
        first = (n + offset) % 2
        for i in range(first, taps, 2):
            k = ((n + offset - i) // 2) % half
            if i == first:
                _scale_row(out, low[k], h[i], width)
            else:
                _add_row(out, low[k], h[i], width)
            _add_row(out, high[k], g[i], width)


@compiled
def analyse_planes(
    source: np.ndarray,
    target: np.ndarray,
    block: tuple[int, int, int],
    shift: tuple[int, int, int],
    split: tuple[bool, bool, bool],
    h: np.ndarray,
    g: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Filter x-planes ``start:stop`` along z and y, from `source` (rotated by `shift`) to `target`.

    `source` is ``(X, Y, Z)`` complex64, `target` ``(X, Y, 2 Z)`` float32; both may be the same memory when
    `shift` is zero. `block` is the part ``(x, y, z)`` that is processed; `split` says along which axes.
    """
    nx, ny, nz = block
    sx, sy, sz = shift
    width = 2 * nz
    half = nz // 2
    m = 2 * half
    halo = h.size
    even = np.empty(half + 2 * halo, np.complex64)
    odd = np.empty(half + 2 * halo, np.complex64)
    even_f, odd_f = even.view(np.float32), odd.view(np.float32)
    plane = np.empty((ny, width), np.float32)
    offset = h.size // 2 - 1
    for x in range(start, stop):
        from_plane = source[(x + sx) % nx]
        for y in range(ny):
            row = from_plane[(y + sy) % ny]
            out = plane[y].view(np.complex64)
            if not split[2]:
                for k in range(nz):
                    out[k] = row[(k + sz) % nz]
                continue
            if sz == 0:
                for k in range(half):
                    even[halo + k] = row[2 * k]
                    odd[halo + k] = row[2 * k + 1]
            else:
                for k in range(half):
                    a = 2 * k + sz
                    even[halo + k] = row[a - nz if a >= nz else a]
                    a += 1
                    odd[halo + k] = row[a - nz if a >= nz else a]
            for k in range(halo):
                even[k] = even[halo + (k - halo) % half]
                odd[k] = odd[halo + (k - halo) % half]
                even[halo + half + k] = even[halo + k % half]
                odd[halo + half + k] = odd[halo + k % half]
            low, high = plane[y, : 2 * half], plane[y, 2 * half : 4 * half]
            for i in range(h.size):
                q = (i - offset) // 2
                phase = odd_f if (i - offset) % 2 else even_f
                part = phase[2 * (halo + q) : 2 * (halo + q + half)]
                if i == 0:
                    _scale_row(low, part, h[i], 2 * half)
                    _scale_row(high, part, g[i], 2 * half)
                else:
                    _add_row(low, part, h[i], 2 * half)
                    _add_row(high, part, g[i], 2 * half)
            if m < nz:
                out[m] = row[(m + sz) % nz]
        to_plane = target[x]
        if split[1]:
            _analyse_rows(plane, to_plane, to_plane[ny // 2 :], ny // 2, h, g, width)
            if ny % 2:
                _scale_row(to_plane[ny - 1], plane[ny - 1], np.float32(1), width)
        else:
            for y in range(ny):
                _scale_row(to_plane[y], plane[y], np.float32(1), width)


@compiled
def synthesise_planes(
    source: np.ndarray,
    target: np.ndarray,
    block: tuple[int, int, int],
    shift: tuple[int, int, int],
    split: tuple[bool, bool, bool],
    h: np.ndarray,
    g: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Transpose of :func:`analyse_planes`: from coefficients `source` (float32) to `target` (complex64)."""
    nx, ny, nz = block
    sx, sy, sz = shift
    width = 2 * nz
    half = nz // 2
    m = 2 * half
    halo = h.size
    even = np.empty(half, np.complex64)
    odd = np.empty(half, np.complex64)
    even_f, odd_f = even.view(np.float32), odd.view(np.float32)
    lows = np.empty(half + 2 * halo, np.complex64)
    highs = np.empty(half + 2 * halo, np.complex64)
    lows_f, highs_f = lows.view(np.float32), highs.view(np.float32)
    plane = np.empty((ny, width), np.float32)
    offset = h.size // 2 - 1
    for x in range(start, stop):
        from_plane = source[x]
        if split[1]:
            _synthesise_rows(from_plane, from_plane[ny // 2 :], plane, ny // 2, h, g, width)
            if ny % 2:
                _scale_row(plane[ny - 1], from_plane[ny - 1], np.float32(1), width)
        else:
            for y in range(ny):
                _scale_row(plane[y], from_plane[y], np.float32(1), width)
        to_plane = target[(x + sx) % nx]
        for y in range(ny):
            row = plane[y].view(np.complex64)
            out = to_plane[(y + sy) % ny]
            if not split[2]:
                for k in range(nz):
                    out[(k + sz) % nz] = row[k]
                continue
            for k in range(half):
                lows[halo + k] = row[k]
                highs[halo + k] = row[half + k]
            for k in range(halo):
                lows[k] = lows[halo + (k - halo) % half]
                highs[k] = highs[halo + (k - halo) % half]
                lows[halo + half + k] = lows[halo + k % half]
                highs[halo + half + k] = highs[halo + k % half]
            for p in range(2):
                result = odd_f if p else even_f
                first = (p + offset) % 2
                for i in range(first, h.size, 2):
                    q = (i - offset - p) // 2
                    low = lows_f[2 * (halo - q) : 2 * (halo - q + half)]
                    high = highs_f[2 * (halo - q) : 2 * (halo - q + half)]
                    if i == first:
                        _scale_row(result, low, h[i], 2 * half)
                    else:
                        _add_row(result, low, h[i], 2 * half)
                    _add_row(result, high, g[i], 2 * half)
            for k in range(half):
                a = 2 * k + sz
                out[a - nz if a >= nz else a] = even[k]
                a += 1
                out[a - nz if a >= nz else a] = odd[k]
            if m < nz:
                out[(m + sz) % nz] = row[m]


@compiled
def analyse_columns(
    array: np.ndarray, block: tuple[int, int, int], h: np.ndarray, g: np.ndarray, start: int, stop: int
) -> None:
    """Filter rows y = ``start:stop`` of `array` ``(X, Y, 2 Z)`` float32 along x, in place."""
    nx, _, nz = block
    width = 2 * nz
    half = nx // 2
    rows = np.empty((nx, width), np.float32)
    for y in range(start, stop):
        column = array[:, y]
        for x in range(nx):
            _scale_row(rows[x], column[x], np.float32(1), width)
        _analyse_rows(rows, column, column[half:], half, h, g, width)


@compiled
def synthesise_columns(
    array: np.ndarray, block: tuple[int, int, int], h: np.ndarray, g: np.ndarray, start: int, stop: int
) -> None:
    """Transpose of :func:`analyse_columns`, in place."""
    nx, _, nz = block
    width = 2 * nz
    half = nx // 2
    rows = np.empty((nx, width), np.float32)
    for y in range(start, stop):
        column = array[:, y]
        for x in range(nx):
            _scale_row(rows[x], column[x], np.float32(1), width)
        _synthesise_rows(rows, rows[half:], column, half, h, g, width)


@compiled
def soft_threshold_rows(
    array: np.ndarray, exits_x: np.ndarray, exits_y: np.ndarray, table: np.ndarray, start: int, stop: int
) -> None:
    """Shrink the moduli of planes ``start:stop`` of `array` in place; see ``WaveletTransform.shrink``.

    `array` is ``(X, Y, 2 Z)`` float32. `exits_x`, `exits_y` are ``(X, 2)`` and ``(Y, 2)`` integers: the level
    that splits an index off, and whether into a detail band; ``table[level, detail]`` is the row of
    thresholds along z for that pair.
    """
    for x in range(start, stop):
        for y in range(array.shape[1]):
            level, detail = exits_x[x, 0], exits_x[x, 1]
            if exits_y[y, 0] < level:
                level, detail = exits_y[y, 0], exits_y[y, 1]
            elif exits_y[y, 0] == level:
                detail = max(detail, exits_y[y, 1])
            threshold = table[level, detail]
            row = array[x, y]
            for k in range(threshold.size):
                re, im = row[2 * k], row[2 * k + 1]
                size = np.sqrt(re * re + im * im)
                t = threshold[k]
                factor = np.float32(0) if size <= t else np.float32(1) - t / size
                if t == np.float32(0):
                    factor = np.float32(1)
                row[2 * k] = re * factor
                row[2 * k + 1] = im * factor
