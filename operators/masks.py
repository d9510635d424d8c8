"""Undersampling masks of the phase-encoding plane (y, z): Poisson disc, Gaussian, uniform, equispaced lines.

A plane of which one size is 1 is the single phase encoding of a 2D scan: its masks are whole lines along the readout.

Every mask meets its acceleration by construction: R, the number of all (y, z) positions over the sampled ones (the
calibration block and any unsampled corners counted in), lies within 1 % of the request, of masks of lines within 5 %
(there are few of them), or :class:`MaskError` says what is possible. A mask depends on its arguments only: the same
seed gives the same mask on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrrecon.errors import MaskError
from mrrecon.operators.backend import to_numpy
from mrrecon.operators.centre import around, from_centre

__all__ = [
    "CALIBRATION",
    "MASK_KINDS",
    "acceleration",
    "acceleration_in_ellipse",
    "calibration_side",
    "equispaced",
    "gaussian",
    "make_mask",
    "poisson",
    "uniform",
]

TOLERANCE = 0.01  # largest relative deviation of R from the request
TOLERANCE_LINES = 0.05  # the same where one size is 1
Size = tuple[int, int]  # (y, z)
Calibration = int | Size
CALIBRATION = 24  # side of the calibration block where there are samples enough
CENTRE_SHARE = 0.25  # of the samples, that it takes at most
NARROWEST, LARGEST_SHARE = 6, 0.6  # side below which ESPIRiT's kernel does not fit; share of the samples for it


def poisson(
    shape: Size, accel: float, *, calibration: Calibration | None = None, elliptical: bool = False, seed: int = 0
) -> np.ndarray:
    """Variable-density Poisson-disc mask: no two samples close together, sparser away from the centre.

    The spacing is one grid step at the calibration block and grows linearly with the distance from it; the
    slope follows from the request. The samples come from dart throwing with a shrinking disc, which ends at
    exactly the wanted number.

    Parameters
    ----------
    shape
        Matrix size (y, z).
    accel
        Acceleration R, at least 1.
    calibration
        Fully sampled block at the centre: an edge length (cut to the matrix where that is smaller), or (y, z)
        lengths, or 0 for no block; zero frequency is sampled in any case. By default that of
        :func:`calibration_side`.
    elliptical
        Leave the corners outside the inscribed ellipse unsampled. R still counts them; see
        :func:`acceleration_in_ellipse`.
    seed
        Seed of the random generator.

    Returns
    -------
    numpy.ndarray
        Mask ``(y, z)``, bool.

    Raises
    ------
    MaskError
        If no mask of this size has an R within 1 % (lines: 5 %) of the request; the message names the possible range.

    References
    ----------
    McCool and Fiume, "Hierarchical Poisson disk sampling distributions", Graphics Interface 1992.
    Lustig and Pauly, "SPIRiT", Magn. Reson. Med. 64 (2010): Poisson-disc sampling for parallel imaging.
    """
    from mrrecon.operators.kernels.poisson_cpu import SUBPIXEL, find_slope, throw_darts

    plan = _plan(shape, accel, calibration, elliptical, seed)
    y, z = (
        np.maximum(np.abs(from_centre(n)) - edge // 2, 0).astype(np.float64)  # steps outside the block
        for n, edge in zip(plan.shape, plan.edges, strict=True)
    )
    reach_y, reach_z = max(float(y.max()), 1.0), max(float(z.max()), 1.0)
    distance = np.sqrt((y / reach_y)[:, None] ** 2 + (z / reach_z)[None, :] ** 2)
    slope = find_slope(distance.ravel()[plan.free], plan.remaining, 0.7)
    # A quarter step of jitter: on the bare grid the density would fall in steps, at spacing 1, sqrt(2), 2.
    jitter = plan.rng.integers(-(SUBPIXEL // 4), SUBPIXEL // 4 + 1, size=(2, *plan.shape))
    grid_y, grid_z = np.indices(plan.shape, dtype=np.int64) * SUBPIXEL + jitter
    growth = slope * math.sqrt(1.0 / reach_y**2 + 1.0 / reach_z**2)
    order = plan.rng.permutation(plan.free)
    throw_darts(plan.mask, order, grid_y, grid_z, 1.0 + slope * distance, growth, plan.remaining)
    return plan.mask


def gaussian(
    shape: Size,
    accel: float,
    *,
    calibration: Calibration | None = None,
    elliptical: bool = False,
    seed: int = 0,
    width: float = math.sqrt(12 / 320),
) -> np.ndarray:
    """Random mask of normal density: distinct positions drawn from a normal distribution around the centre.

    Parameters
    ----------
    shape, accel, calibration, elliptical, seed
        As in :func:`poisson`.
    width
        Standard deviation along each axis as a fraction of the axis; the default, 0.194, is that of the AHEAD
        experiments of Resolution-Robust 3D MRI (2024).

    Returns
    -------
    numpy.ndarray
        Mask ``(y, z)``, bool.

    Raises
    ------
    MaskError
        As in :func:`poisson`, or if `width` is not positive.
    """
    from mrrecon.operators.kernels.draw_cpu import draw_distinct

    if not width > 0:
        raise MaskError(f"width must be a positive fraction of the axis (0.194 is usual), got {width}.")
    plan = _plan(shape, accel, calibration, elliptical, seed)
    y, z = (_normal_weights(n, width * n) for n in plan.shape)
    weights = np.floor(np.outer(y, z).ravel()[plan.free] * 2.0**36).astype(np.int64) + 1
    return plan.with_samples(draw_distinct(weights, plan.rng.random(plan.remaining)))


def uniform(
    shape: Size, accel: float, *, calibration: Calibration | None = None, elliptical: bool = False, seed: int = 0
) -> np.ndarray:
    """Random mask of uniform density: every position outside the block is equally likely.

    Parameters, result and errors as in :func:`poisson`.
    """
    plan = _plan(shape, accel, calibration, elliptical, seed)
    return plan.with_samples(plan.rng.permutation(len(plan.free))[: plan.remaining])


def equispaced(
    shape: Size, accel: float, *, calibration: Calibration | None = None, elliptical: bool = False, seed: int = 0
) -> np.ndarray:
    """Lines at equal distances outside the calibration block, to the nearest grid step, as for GRAPPA.

    Parameters
    ----------
    shape
        Matrix size (y, z), one of the two being 1.
    accel, calibration, elliptical
        As in :func:`poisson`.
    seed
        Decides where the first line lies.

    Returns
    -------
    numpy.ndarray
        Mask ``(y, z)``, bool.

    Raises
    ------
    MaskError
        As in :func:`poisson`, or if both sizes are above 1.

    References
    ----------
    Zbontar et al., "fastMRI: An Open Dataset and Benchmarks for Accelerated MRI" (2018), section 4.9; here the spacing
    follows from R with the calibration lines counted in.
    """
    plan = _plan(shape, accel, calibration, elliptical, seed)
    if min(plan.shape) > 1:
        raise MaskError(
            f"An equispaced mask consists of whole lines, but both sizes of {plan.shape[0]}x{plan.shape[1]} are above "
            f"1; make one of shape (1, {plan.shape[1]}) or ({plan.shape[0]}, 1), which may be given as a mask file."
        )
    first = int(plan.rng.integers(max(1, len(plan.free))))
    return plan.with_samples((np.arange(plan.remaining) * len(plan.free) + first) // max(1, plan.remaining))


_MAKERS: dict[str, Callable[..., np.ndarray]] = {m.__name__: m for m in (poisson, gaussian, uniform, equispaced)}
MASK_KINDS = tuple(_MAKERS)


def make_mask(kind: str, shape: Size, accel: float, **settings: Any) -> np.ndarray:
    """Make the mask that `kind`, one of MASK_KINDS, names; `settings` as in the function of that name.

    Raises
    ------
    MaskError
        If there is no such kind, or as in :func:`poisson`.
    """
    if kind not in _MAKERS:
        raise MaskError(f"There is no mask kind {kind!r}; choose one of {', '.join(MASK_KINDS)}.")
    return _MAKERS[kind](shape, accel, **settings)


def calibration_side(shape: Size, accel: float, *, most: int = CALIBRATION, share: float = CENTRE_SHARE) -> int:
    """Side of a calibration block that leaves samples for the rest of k-space; it is cut to thinner matrices.

    A block of 24 is little of a large matrix at low R, and most of the samples of a small one at high R, where images
    are better with a smaller one.

    Parameters
    ----------
    shape
        Matrix size (y, z).
    accel
        Acceleration R.
    most
        Side where there are samples enough.
    share
        Share of the samples that the block takes at most; more than half of them where it would be too narrow for
        estimating coil maps otherwise.

    Returns
    -------
    int
        Side, at most `most`.

    >>> calibration_side((320, 256), 8), calibration_side((112, 96), 8), calibration_side((112, 96), 48)
    (24, 18, 7)
    """
    ny, nz = shape

    def taken(side: int) -> float:
        return min(side, ny) * min(side, nz) * accel / (ny * nz)

    side = next((side for side in range(most, 0, -1) if taken(side) <= share), 0)
    narrowest = min(NARROWEST, most)
    return narrowest if side < narrowest and taken(narrowest) <= LARGEST_SHARE else side


def acceleration(mask: Any) -> float:
    """Acceleration R of a mask ``(y, z)`` or ``(x, y, z)``: all positions over the sampled ones."""
    mask = np.asarray(to_numpy(mask)).astype(bool)
    if not mask.any():
        raise MaskError("mask is empty: no sample is acquired, so it has no acceleration.")
    return mask.size / int(np.count_nonzero(mask))


def acceleration_in_ellipse(mask: Any) -> float:
    """Acceleration of a ``(y, z)`` mask counting only positions inside the inscribed ellipse."""
    mask = np.asarray(to_numpy(mask)).astype(bool)
    if mask.ndim != 2:
        raise MaskError(f"mask must have the two axes (y, z), got shape {mask.shape}.")
    return acceleration(mask[_ellipse(*mask.shape)])


# ---- what a mask of a given size can be ------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    shape: Size
    edges: Size  # of the calibration block
    mask: np.ndarray  # bool (y, z): what is sampled from the start, and will be in the end
    free: np.ndarray  # flat indices of positions that may be sampled besides
    remaining: int  # samples to choose among them
    rng: np.random.Generator

    def with_samples(self, chosen: np.ndarray) -> np.ndarray:
        """The mask with some of the free positions sampled too."""
        self.mask.ravel()[self.free[chosen]] = True
        return self.mask


def _plan(shape: Size, accel: float, calibration: Calibration | None, elliptical: bool, seed: int) -> _Plan:
    """Check the request, and find the block, the free positions, and how many of them to take."""
    try:
        ny, nz = (int(n) for n in shape)
    except (TypeError, ValueError):
        raise MaskError(f"shape must be the matrix size (y, z), two whole numbers, got {shape!r}.") from None
    if ny < 1 or nz < 1:
        raise MaskError(f"shape must be the matrix size (y, z), two positive numbers, got {shape!r}.")
    if not (isinstance(accel, (int, float, np.number)) and math.isfinite(accel) and accel >= 1):
        raise MaskError(f"accel must be a number of at least 1 (1 samples everything), got {accel}.")
    edges = _block_edges(calibration_side((ny, nz), accel) if calibration is None else calibration, ny, nz)
    block = np.zeros((ny, nz), bool)
    block[np.ix_(*(around(n // 2, c, n) for n, c in zip((ny, nz), edges, strict=True)))] = True
    block[ny // 2, nz // 2] = True
    allowed = block | _ellipse(ny, nz) if elliptical else np.ones_like(block)

    size, fewest, most = ny * nz, int(block.sum()), int(allowed.sum())
    count = min(max(round(size / accel), fewest), most)
    tolerance = TOLERANCE_LINES if min(ny, nz) == 1 else TOLERANCE
    if abs(size / count / accel - 1) > tolerance:
        possible = f"R from {size / most:.4g} to {size / fewest:.4g} is possible"
        refused = f"No {ny}x{nz} mask has an R within {tolerance:.0%} of {accel:g}"
        if count == fewest and max(edges) > 0:
            raise MaskError(
                f"{refused}: the {edges[0]}x{edges[1]} calibration block alone gives {size / fewest:.4g}; "
                f"{possible}, or a smaller calibration."
            )
        if count == most and elliptical:
            raise MaskError(f"{refused}, its corners being unsampled; {possible}, or elliptical=False.")
        near = ", ".join(f"{size / c:.6g}" for c in (count + 1, count, count - 1) if fewest <= c <= most)
        raise MaskError(f"{refused}, having so few positions; {possible}, the nearest values are {near}.")
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise MaskError(f"seed must be a whole number from 0, got {seed!r}.")
    return _Plan((ny, nz), edges, block, np.flatnonzero(allowed & ~block), count - fewest, np.random.default_rng(seed))


def _block_edges(calibration: Calibration, ny: int, nz: int) -> Size:
    try:
        if isinstance(calibration, (int, np.integer)):
            cy, cz = min(int(calibration), ny), min(int(calibration), nz)
        else:
            cy, cz = (int(c) for c in calibration)
    except (TypeError, ValueError):
        raise MaskError(f"calibration must be an edge length or (y, z) lengths, got {calibration!r}.") from None
    if not (0 <= cy <= ny and 0 <= cz <= nz):
        raise MaskError(
            f"calibration {calibration!r} does not fit a {ny}x{nz} mask; give lengths from 0 to the matrix."
        )
    return (cy, cz) if min(cy, cz) > 0 else (0, 0)


def _ellipse(ny: int, nz: int) -> np.ndarray:
    """Positions inside the ellipse inscribed in the matrix, bool ``(y, z)``."""
    y, z = (from_centre(n) / (n / 2) for n in (ny, nz))
    return y[:, None] ** 2 + z[None, :] ** 2 <= 1


def _normal_weights(n: int, sigma: float) -> np.ndarray:
    """exp(-(i - n // 2)**2 / (2 sigma**2)) from sums and products alone: the same bits on every machine."""
    halvings = 20
    x = np.minimum(from_centre(n) ** 2 / (2.0 * sigma * sigma), 60.0) / 2.0**halvings
    value = 1.0 - x * (1.0 - x / 2.0 * (1.0 - x / 3.0))
    for _ in range(halvings):
        value = value * value
    return value
