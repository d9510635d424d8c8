"""Eigenvectors of the ESPIRiT operator at every voxel, on the CPU.

The plain counterpart, also the GPU's way, is ``voxel_eigenvectors`` in :mod:`mrrecon.operators.espirit_maps`.
A call works on some rows of one x without the interpreter lock, so that a thread pool runs many side by side.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["eigen_rows"]

LANES = 64  # voxels along z worked on together: their matrices fit the first-level cache
MIX = np.float32(0.05)  # share of a fresh start in every warm start, so that a new dominant vector can grow
TOLERANCE = np.float32(1e-7)  # squared change of a unit vector in an iteration, below which it has converged
ITERATIONS = 40


@numba.njit(cache=True, nogil=True, fastmath=True)
def eigen_rows(
    g: np.ndarray,
    ex: np.ndarray,
    ey: np.ndarray,
    cosz: np.ndarray,
    sinz: np.ndarray,
    reference: np.ndarray,
    crop: float,
    soft: bool,
    floor: float,
    keep: np.ndarray,
    x: int,
    y0: int,
    y1: int,
    maps: np.ndarray,
    values: np.ndarray,
) -> None:
    """Write maps and eigenvalues of the rows ``(x, y0:y1)``.

    Parameters
    ----------
    g
        ``(pairs, lx, ly, lz)`` complex64: Fourier coefficients of the coil-by-coil operator, for the pairs
        c <= c' in row-major order.
    ex, ey
        ``(x, lx)``, ``(y, ly)`` complex64: Fourier factors of the voxel positions.
    cosz, sinz
        ``(lz // 2 + 1, z)`` float32: the same along z, for the frequencies from zero.
    reference
        ``(coils,)`` complex64: the maps' inner product with it is made real and positive.
    crop, soft
        Threshold on the eigenvalue, and whether to weight smoothly.
    floor
        Eigenvalue below which a voxel need not converge, as its map is zero in any case.
    keep
        ``(x, y, z)`` bool: voxels where the first set is not cropped; empty: none.
    maps, values
        Outputs, ``(sets, coils, x, y, z)`` complex64 and ``(sets, x, y, z)`` float32 (empty: not wanted).
    """
    pairs, lx, ly, lz = g.shape
    sets, coils, nz = maps.shape[0], maps.shape[1], maps.shape[4]
    half = lz // 2
    hx = np.zeros((pairs, ly, lz), np.complex64)
    for p in range(pairs):
        for k in range(lx):
            for j in range(ly):
                for i in range(lz):
                    hx[p, j, i] += ex[x, k] * g[p, k, j, i]
    h = np.empty(lz, np.complex64)
    even = np.empty((pairs, half + 1), np.complex64)
    odd = np.empty((pairs, half + 1), np.complex64)
    gr = np.empty((pairs, LANES), np.float32)
    gi = np.empty((pairs, LANES), np.float32)
    vr = np.zeros((sets, coils, nz), np.float32)
    vi = np.zeros((sets, coils, nz), np.float32)
    ar = np.empty((coils, LANES), np.float32)
    ai = np.empty((coils, LANES), np.float32)
    br = np.empty((coils, LANES), np.float32)
    bi = np.empty((coils, LANES), np.float32)
    norm = np.empty(LANES, np.float32)
    change = np.empty(LANES, np.float32)
    for y in range(y0, y1):
        for p in range(pairs):
            h[:] = 0
            for j in range(ly):
                for i in range(lz):
                    h[i] += ey[y, j] * hx[p, j, i]
            even[p, 0] = h[half]
            for d in range(1, half + 1):
                even[p, d] = h[half + d] + h[half - d]
                odd[p, d] = h[half + d] - h[half - d]
        for z0 in range(0, nz, LANES):
            n = min(LANES, nz - z0)
            for p in range(pairs):
                for i in range(n):
                    gr[p, i] = even[p, 0].real
                    gi[p, i] = even[p, 0].imag
                for d in range(1, half + 1):
                    pr, pi, qr, qi = even[p, d].real, even[p, d].imag, odd[p, d].real, odd[p, d].imag
                    for i in range(n):
                        c, s = cosz[d, z0 + i], sinz[d, z0 + i]
                        gr[p, i] += pr * c - qi * s
                        gi[p, i] += pi * c + qr * s
            for s in range(sets):
                _start(gr, gi, vr[s], vi[s], z0, n, ar, ai)
                for iteration in range(ITERATIONS):
                    _step(gr, gi, ar, ai, br, bi, norm, change, n)
                    ar, br = br, ar
                    ai, bi = bi, ai
                    worst = np.float32(0)
                    for i in range(n):
                        if norm[i] > floor or (s == 0 and keep.size > 0 and keep[x, y, z0 + i]):
                            worst = max(worst, change[i])
                    if iteration > 1 and worst < TOLERANCE:
                        break
                _deflate(gr, gi, ar, ai, norm, n)
                for c in range(coils):
                    for i in range(n):
                        vr[s, c, z0 + i] = ar[c, i]
                        vi[s, c, z0 + i] = ai[c, i]
                for i in range(n):
                    turn = np.complex64(0)
                    for c in range(coils):
                        turn += reference[c] * complex(ar[c, i], -ai[c, i])
                    size = abs(turn)
                    if soft:
                        w = (np.sqrt(norm[i]) - crop) / (np.float32(1) - crop)
                        weight = np.float32(0.5) + w / (np.float32(1) + w * w)
                        if w <= -1:
                            weight = np.float32(0)
                        elif w >= 1:
                            weight = np.float32(1)
                    else:
                        weight = np.float32(1) if norm[i] > crop else np.float32(0)
                    if s == 0 and keep.size > 0 and keep[x, y, z0 + i]:
                        weight = np.float32(1)
                    turn = turn * (weight / size) if size > 0 else np.complex64(weight)
                    for c in range(coils):
                        if weight > 0:
                            maps[s, c, x, y, z0 + i] = turn * complex(ar[c, i], ai[c, i])
                        else:
                            maps[s, c, x, y, z0 + i] = 0  # and not -0
                    if values.size > 0:
                        values[s, x, y, z0 + i] = norm[i]


@numba.njit(cache=True, nogil=True, fastmath=True)
def _start(
    gr: np.ndarray, gi: np.ndarray, vr: np.ndarray, vi: np.ndarray, z0: int, n: int, ar: np.ndarray, ai: np.ndarray
) -> None:
    """Start from the previous row's vectors plus a little of the strongest column of each matrix."""
    coils = ar.shape[0]
    for i in range(n):
        best, top = 0, np.float32(-1)
        p = 0
        for c in range(coils):
            if gr[p, i] > top:
                best, top = c, gr[p, i]
            p += coils - c
        scale = MIX / max(top, np.float32(1e-20))
        for c in range(coils):
            low, high = min(c, best), max(c, best)
            p = low * coils - low * (low - 1) // 2 + high - low
            sign = np.float32(1) if c <= best else np.float32(-1)
            if c == best:
                sign = np.float32(0)
            ar[c, i] = vr[c, z0 + i] + scale * gr[p, i]
            ai[c, i] = vi[c, z0 + i] + scale * sign * gi[p, i]


@numba.njit(cache=True, nogil=True, fastmath=True)
def _step(
    gr: np.ndarray,
    gi: np.ndarray,
    ar: np.ndarray,
    ai: np.ndarray,
    br: np.ndarray,
    bi: np.ndarray,
    norm: np.ndarray,
    change: np.ndarray,
    n: int,
) -> None:
    """One power iteration on n matrices: b = G a / |G a|, norm = |G a|, change = |b - a|^2."""
    coils = ar.shape[0]
    p = 0
    for c in range(coils):
        for i in range(n):
            br[c, i] = 0
            bi[c, i] = 0
    for c in range(coils):
        for i in range(n):
            br[c, i] += gr[p, i] * ar[c, i]
            bi[c, i] += gr[p, i] * ai[c, i]
        p += 1
        for d in range(c + 1, coils):
            for i in range(n):
                mr, mi = gr[p, i], gi[p, i]
                br[c, i] += mr * ar[d, i] - mi * ai[d, i]
                bi[c, i] += mr * ai[d, i] + mi * ar[d, i]
                br[d, i] += mr * ar[c, i] + mi * ai[c, i]
                bi[d, i] += mr * ai[c, i] - mi * ar[c, i]
            p += 1
    for i in range(n):
        norm[i] = 0
        change[i] = 0
    for c in range(coils):
        for i in range(n):
            norm[i] += br[c, i] * br[c, i] + bi[c, i] * bi[c, i]
    for i in range(n):
        norm[i] = np.sqrt(norm[i])
    for c in range(coils):
        for i in range(n):
            scale = np.float32(1) / max(norm[i], np.float32(1e-20))
            br[c, i] *= scale
            bi[c, i] *= scale
            tr, ti = br[c, i] - ar[c, i], bi[c, i] - ai[c, i]
            change[i] += tr * tr + ti * ti


@numba.njit(cache=True, nogil=True, fastmath=True)
def _deflate(gr: np.ndarray, gi: np.ndarray, ar: np.ndarray, ai: np.ndarray, norm: np.ndarray, n: int) -> None:
    """Take the eigenpairs found out of the matrices: G -= norm a a^H."""
    coils = ar.shape[0]
    p = 0
    for c in range(coils):
        for d in range(c, coils):
            for i in range(n):
                gr[p, i] -= norm[i] * (ar[c, i] * ar[d, i] + ai[c, i] * ai[d, i])
                gi[p, i] -= norm[i] * (ai[c, i] * ar[d, i] - ar[c, i] * ai[d, i])
            p += 1
