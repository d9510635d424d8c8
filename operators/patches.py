"""Patches of the calibration block: their Gram matrix, and the space that signal spans among them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mrrecon.operators.backend import get_array_module, num_threads

__all__ = ["patch_gram", "signal_space"]

SMALL = 768  # order of a Gram matrix below which a full decomposition is quick enough
PATCH_BYTES = 64 << 20  # patches held at a time


def patch_gram(block: Any, kernel: Sequence[int]) -> Any:
    """Gram matrix of all patches of the block: ``sum_q p_q p_q^H``, p_q = block[:, q : q + kernel].

    Parameters
    ----------
    block
        ``(coils, lx, ly, lz)``, complex.
    kernel
        ``(kx, ky, kz)``.

    Returns
    -------
    Array ``(n, n)``, n = coils * kx * ky * kz, in that order, of the precision of `block`.
    """
    xp = get_array_module(block)
    coils = block.shape[0]
    size = coils * int(np.prod(kernel))
    fits = [n - k + 1 for n, k in zip(block.shape[1:], kernel, strict=True)]
    step = max(1, PATCH_BYTES // (8 * size * fits[1] * fits[2]))
    gram = xp.zeros((size, size), dtype=block.dtype)
    for first in range(0, fits[0], step):
        count = min(step, fits[0] - first)
        patches = xp.empty((coils, *kernel, count, *fits[1:]), dtype=block.dtype)
        for jx, jy, jz in np.ndindex(*kernel):
            x = first + jx
            patches[:, jx, jy, jz] = block[:, x : x + count, jy : jy + fits[1], jz : jz + fits[2]]
        patches = patches.reshape(size, -1)
        gram += _product(patches, patches.conj().T, lower=True)
    return xp.tril(gram) + xp.tril(gram, -1).conj().T


def _product(a: Any, b: Any, lower: bool = False) -> Any:
    """Product a @ b; with `lower`, at least its lower triangle. Blocks of rows on threads of our own.

    BLAS threads wait for one another at every step, which costs a factor of ten and more as soon as another
    process wants a core; blocks that know nothing of each other lose nothing.
    """
    if get_array_module(a) is not np:
        return a @ b
    out = np.zeros((a.shape[0], b.shape[1]), a.dtype)
    rows = -(-a.shape[0] // (8 * num_threads()))

    def block(i: int) -> None:
        columns = min(i + rows, b.shape[1]) if lower else b.shape[1]
        out[i : i + rows, :columns] = a[i : i + rows] @ b[:, :columns]

    with ThreadPoolExecutor(num_threads()) as pool:
        list(pool.map(block, reversed(range(0, a.shape[0], rows))))
    return out


def signal_space(gram: Any, threshold: float) -> Any:
    """Orthonormal eigenvectors ``(n, r)`` of `gram` whose eigenvalues exceed `threshold` times the largest.

    By subspace iteration with Rayleigh-Ritz on a third of the columns, which for the steep spectra of
    calibration data costs a fraction of a full decomposition; that follows for small matrices and
    if the signal space fills most of the third.

    References
    ----------
    Halko et al. 2011, SIAM Rev 53:217, algorithm 4.4 and section 5.3.
    """
    xp = get_array_module(gram)
    n = gram.shape[0]
    if n >= SMALL:
        width = n // 3
        basis = xp.linalg.qr(gram[:, (np.arange(width) * n) // width])[0]
        basis = xp.linalg.qr(_product(gram, basis))[0]
        small = basis.conj().T @ _product(gram, basis)
        values, vectors = xp.linalg.eigh((small + small.conj().T) / 2)
        rank = int((values > threshold * values[-1]).sum())
        if rank <= 0.75 * width:
            return basis @ vectors[:, width - rank :]
    values, vectors = xp.linalg.eigh(gram)
    return vectors[:, values > threshold * values[-1]]
