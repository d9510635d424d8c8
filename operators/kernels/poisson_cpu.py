"""Variable-density Poisson-disc sampling of a grid, to an exact number of samples (compiled with numba).

Integer and plain IEEE double arithmetic only, in a fixed order: the pattern is the same on every machine.
"""

from __future__ import annotations

import math

import numba
import numpy as np

__all__ = ["SUBPIXEL", "find_slope", "throw_darts"]

SUBPIXEL = 64  # candidate positions are integers in units of 1/SUBPIXEL of a grid step

_FIRST_SCALE = 2.0  # the first pass keeps twice the spacing that is expected to fit
_SHRINK = 0.95  # every later pass accepts a little less
_LAST_SCALE = 1e-3  # below any distance on the grid: the last pass fills what is left


@numba.njit(cache=True, nogil=True)
def _expected_count(distance: np.ndarray, slope: float, packing: float) -> float:
    """Samples expected at spacing ``1 + slope * distance``: all at 1, packing / spacing^2 of them far off."""
    total = 0.0
    for d in distance:
        spacing = 1.0 + slope * d
        total += 1.0 / (1.0 + (spacing * spacing - 1.0) / packing)
    return total


@numba.njit(cache=True, nogil=True)
def find_slope(distance: np.ndarray, count: int, packing: float) -> float:
    """Find the slope for which about `count` samples of spacing ``1 + slope * distance`` fit.

    Parameters
    ----------
    distance
        Distance of every free position from the calibration block, float64, one axis.
    count
        Wanted number of samples.
    packing
        Samples per unit area times spacing squared of a random packing of discs.
    """
    low, high = 0.0, 1.0
    for _ in range(40):
        if _expected_count(distance, high, packing) <= count:
            break
        high *= 2.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        if _expected_count(distance, middle, packing) > count:
            low = middle
        else:
            high = middle
    return high


@numba.njit(cache=True, nogil=True)
def _claim(
    closeness: np.ndarray,
    py: np.ndarray,
    pz: np.ndarray,
    spacing: np.ndarray,
    growth: float,
    scale: float,
    y: int,
    z: int,
) -> None:
    """Record the sample (y, z): the squared relative distance of the positions that it is closest to."""
    ny, nz = closeness.shape
    r = spacing[y, z]
    reach = scale * r * (scale * growth + math.sqrt(scale * scale * growth * growth + 4.0)) / 2.0
    window = int(min(reach, ny + nz)) + 2  # + 2: both positions may lie off their grid point by half a step
    for b in range(max(0, y - window), min(ny, y + window + 1)):
        for c in range(max(0, z - window), min(nz, z + window + 1)):
            dy = py[b, c] - py[y, z]
            dz = pz[b, c] - pz[y, z]
            relative = (dy * dy + dz * dz) / (r * spacing[b, c])
            if relative < closeness[b, c]:
                closeness[b, c] = relative


@numba.njit(cache=True, nogil=True)
def throw_darts(
    mask: np.ndarray,
    order: np.ndarray,
    py: np.ndarray,
    pz: np.ndarray,
    spacing: np.ndarray,
    growth: float,
    count: int,
) -> None:
    """Add `count` samples to `mask`, in place, each as far from the others as its local spacing asks.

    Dart throwing with a shrinking disc (McCool and Fiume, "Hierarchical Poisson disk sampling distributions",
    Graphics Interface 1992): every pass visits the free positions in a random order and accepts those whose
    distance from each sample is at least ``scale`` times the geometric mean of their two spacings; then the
    scale shrinks. It stops at exactly `count` samples, and always ends, because the last scale accepts all.

    Parameters
    ----------
    mask
        Bool ``(y, z)``, the samples present at the start (they keep others away too). Changed in place.
    order
        Flat indices of the free positions in the order of visit, int64, at least `count`.
    py, pz
        Positions of the candidates ``(y, z)``, int64, in units of 1/SUBPIXEL of a grid step.
    spacing
        Wanted distance to the next sample at every position ``(y, z)``, grid steps.
    growth
        Largest change of `spacing` per grid step.
    count
        Number of samples to add.
    """
    ny, nz = mask.shape
    closeness = np.full((ny, nz), np.inf)
    for y in range(ny):
        for z in range(nz):
            if mask[y, z]:
                _claim(closeness, py, pz, spacing, growth, _FIRST_SCALE, y, z)
    waiting = order.copy()
    n_waiting = waiting.size
    placed = 0
    scale = _FIRST_SCALE
    while placed < count:
        limit = scale * scale * SUBPIXEL * SUBPIXEL if scale > _LAST_SCALE else -1.0
        kept = 0
        for i in range(n_waiting):
            flat = waiting[i]
            y, z = flat // nz, flat % nz
            if placed < count and closeness[y, z] >= limit:
                mask[y, z] = True
                placed += 1
                _claim(closeness, py, pz, spacing, growth, scale, y, z)
            else:
                waiting[kept] = flat
                kept += 1
        n_waiting = kept
        scale *= _SHRINK
