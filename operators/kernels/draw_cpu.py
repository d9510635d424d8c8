"""Weighted drawing without replacement, exact and reproducible to the bit (compiled with numba)."""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["draw_distinct"]


@numba.njit(cache=True, nogil=True)
def draw_distinct(weights: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Draw distinct indices one after another, each in proportion to the weights of those that remain.

    This is what drawing with repeats and throwing repeats away gives, but it cannot stall: the weights are
    kept in a binary indexed tree (Fenwick, "A new data structure for cumulative frequency tables", Softw.
    Pract. Exp. 1994).

    Parameters
    ----------
    weights
        Positive integers, int64; their sum must stay below 2**62.
    uniforms
        One number in [0, 1) for each draw, at most as many as there are weights.

    Returns
    -------
    numpy.ndarray
        The drawn indices, int64, in the order of drawing.
    """
    n = weights.size
    tree = np.zeros(n + 1, np.int64)
    total = 0
    for i in range(n):
        total += weights[i]
        tree[i + 1] += weights[i]
        parent = (i + 1) + ((i + 1) & -(i + 1))
        if parent <= n:
            tree[parent] += tree[i + 1]
    top = 1
    while 2 * top <= n:
        top *= 2
    drawn = np.empty(uniforms.size, np.int64)
    for k in range(uniforms.size):
        target = min(int(uniforms[k] * total), total - 1)
        position, step = 0, top
        while step > 0:  # the last position whose cumulative weight does not exceed the target
            nxt = position + step
            if nxt <= n and tree[nxt] <= target:
                position = nxt
                target -= tree[nxt]
            step //= 2
        drawn[k] = position
        i = position + 1
        while i <= n:
            tree[i] -= weights[position]
            i += i & -i
        total -= weights[position]
    return drawn
