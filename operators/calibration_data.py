"""The fully sampled centre of k-space: find it, check it, read it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mrrecon.errors import CalibrationError, ShapeError
from mrrecon.operators.backend import get_array_module, to_numpy
from mrrecon.operators.centre import around, from_centre, kspace_centre, wrapped
from mrrecon.operators.coils import view_or_lazy

__all__ = [
    "block_index",
    "calibration_region",
    "central_samples",
    "located",
    "read_block",
    "read_calibration",
    "sampled_block",
]

AUTOMATIC = 32  # width at most when no width is asked for: wider blocks cost time and add little
SMALLEST = 4  # a block that is sampled less widely tells nothing of the image


def calibration_region(samples: Any) -> tuple[int, ...]:
    """Widths of the largest fully sampled block around the centre.

    Parameters
    ----------
    samples
        Mask, bool, ``(y, z)`` or ``(x, y, z)``, whose centre is ``n // 2``; or k-space ``(coils, x, y, z)``, sampled
        where any coil is not zero, whose centre is where its energy peaks.

    Returns
    -------
    tuple of int
        One width per axis of the mask, (x, y, z) for k-space; zeros if the centre itself is not sampled.
    """
    samples = view_or_lazy(samples)
    if len(samples.shape) == 4:
        mask = np.zeros(tuple(samples.shape[1:]), bool)
        for x in range(mask.shape[0]):
            mask[x] = to_numpy((samples[:, x : x + 1] != 0).any(axis=(0, 1)))
        return tuple(len(r) for r in sampled_block(mask, kspace_centre(samples, mask).index))
    if len(samples.shape) not in (2, 3):
        raise ShapeError(
            "Expected a mask (y, z) or (x, y, z), or k-space (coils, x, y, z), "
            f"got an array of shape {tuple(samples.shape)}."
        )
    return tuple(len(r) for r in sampled_block(to_numpy(samples).astype(bool)))


def sampled_block(
    mask: np.ndarray,
    centre: Sequence[int] | None = None,
    limit: int | Sequence[int] | None = None,
    symmetric: bool = False,
) -> tuple[range, ...]:
    """Largest fully sampled block around the centre.

    It grows along all axes in turn, narrowest first, so that it stays as near to a cube as the sampling allows, and
    alternately to both sides; where one side has come to its end, the other goes on (unless `symmetric`). K-space is
    taken as circular.

    Parameters
    ----------
    mask
        Sampled positions, bool, of any number of axes.
    centre
        Index along each axis; by default ``n // 2``.
    limit
        Width at most, along each axis or one for all; by default the size of the axis.
    symmetric
        End the growth along an axis as soon as one side has come to its end.

    Returns
    -------
    tuple of range
        Indices along each axis, modulo its size; empty ones if the centre itself is not sampled.
    """
    shape = mask.shape
    centre = [n // 2 for n in shape] if centre is None else list(centre)
    limits = [limit] * mask.ndim if limit is None or isinstance(limit, int) else list(limit)
    most = [n if most is None else min(n, most) for n, most in zip(shape, limits, strict=True)]
    if not mask[tuple(centre)]:
        return tuple(range(c, c) for c in centre)
    block = [range(c, c + 1) for c in centre]
    growing = set(range(mask.ndim))
    while growing:
        axis = min(growing, key=lambda a: (len(block[a]), a))
        here = block[axis]
        low, high = range(here.start - 1, here.stop), range(here.start, here.stop + 1)
        sides = [(low, low.start), (high, here.stop)]
        if centre[axis] - here.start > here.stop - 1 - centre[axis]:
            sides.reverse()
        for grown, added in sides[: 1 if symmetric else 2]:
            layer = [range(added, added + 1) if a == axis else r for a, r in enumerate(block)]
            if len(grown) <= most[axis] and mask[block_index(layer, shape)].all():
                block[axis] = grown
                break
        else:
            growing.remove(axis)
    return tuple(block)


def central_samples(
    kspace: Any,
    mask: Any,
    side: int,
    readout_domain: Literal["kspace", "image"] = "kspace",
    *,
    centre: Sequence[int] | None = None,
) -> Any:
    """Read the fully sampled samples right around the centre of k-space, wherever it lies: ``(coils, lx, ly, lz)``.

    Parameters
    ----------
    kspace
        ``(coils, x, y, z)``, NumPy, CuPy or an array on disk.
    mask
        Sampled positions, ``(y, z)`` or ``(x, y, z)``.
    side
        Width at most along each axis.
    readout_domain
        Domain of axis x; from the image domain, the central k-space along x is computed.
    centre
        Index (x, y, z) of the centre of k-space; by default it is located, see :func:`kspace_centre`.

    Returns
    -------
    Array ``complex64`` in k-space along all axes, the centre in its middle: at ``l // 2``. Where less than four samples
    side by side are there along an axis, it has the full `side` all the same, zero where unsampled.
    """
    shape, centre, pattern = located(kspace, mask, readout_domain, centre)
    block = sampled_block(pattern, centre[3 - pattern.ndim :], side, symmetric=True)
    if any(len(r) < min(SMALLEST, n, side) for r, n in zip(block, pattern.shape, strict=True)):
        block = tuple(around(c, side, n) for c, n in zip(centre[3 - pattern.ndim :], pattern.shape, strict=True))
    if pattern.ndim == 2:
        block = (around(centre[0], side, shape[0]), *block)
    return read_block(kspace, block, readout_domain)


def read_calibration(
    kspace: Any,
    limit: int | Sequence[int] | None,
    kernel: Sequence[int],
    mask: Any,
    readout_domain: Literal["kspace", "image"],
    centre: Sequence[int] | None = None,
) -> Any:
    """Read the largest fully sampled block around the centre within `limit`: ``(coils, lx, ly, lz)`` complex64.

    Parameters
    ----------
    kspace
        ``(coils, x, y, z)``, NumPy, CuPy or an array on disk, of which only the block is read, and a few planes that
        tell where the centre is.
    limit
        Width at most, along (x, y, z) or one for all; ``None`` for 32.
    kernel
        Width along (x, y, z) that the block must have at least.
    mask
        Sampled positions, ``(y, z)`` or ``(x, y, z)``, or ``None``: where the k-space is not zero.
    readout_domain
        Domain of axis x; from the image domain, the central k-space along x is computed.
    centre
        Index (x, y, z) of the centre of k-space; by default it is located, see :func:`kspace_centre`.

    Raises
    ------
    CalibrationError
        If there is no such block, or it is smaller than the kernel.
    ShapeError
        If `limit` or `mask` does not fit.
    """
    limit = AUTOMATIC if limit is None else limit
    limits = (limit,) * 3 if isinstance(limit, int) else tuple(limit)
    if len(limits) != 3 or min(limits) < 1:
        raise ShapeError(f"calibration must be one or three positive widths, or None, got {limit}.")
    shape, centre, pattern = located(kspace, mask, readout_domain, centre)
    widths = tuple(min(int(w), n) for w, n in zip(limits, shape, strict=True))
    window = tuple(around(c, w, n) for c, w, n in zip(centre, widths, shape, strict=True))
    if mask is None:  # only what is in the window has been asked for
        samples = read_block(kspace, (range(shape[0]), *window[1:]) if readout_domain == "image" else window)
        sampled = to_numpy((samples != 0).any(axis=(0, 1) if readout_domain == "image" else 0))
        block = sampled_block(sampled)
        block = tuple(
            range(w.start + b.start, w.start + b.stop) for w, b in zip(window[3 - sampled.ndim :], block, strict=True)
        )
    else:
        block = sampled_block(pattern, centre[3 - pattern.ndim :], widths[3 - pattern.ndim :])
    if len(block) == 2:
        block = (window[0], *block)
    if any(len(r) < k for r, k in zip(block, kernel, strict=True)):
        raise CalibrationError(
            f"The fully sampled centre of k-space is {'x'.join(str(len(r)) for r in block)} (x, y, z), smaller than "
            f"the kernel {'x'.join(map(str, kernel))}: sample a calibration block of at least that size (better "
            f"24 wide) around the centre of k-space, here at index {tuple(centre)}, use a smaller kernel, or give maps."
        )
    return read_block(kspace, block, readout_domain)


def located(
    kspace: Any, mask: Any, readout_domain: Literal["kspace", "image"], centre: Sequence[int] | None
) -> tuple[tuple[int, int, int], Sequence[int], np.ndarray]:
    """Matrix size, index of the centre, and mask, ``(y, z)`` if x is in the image domain; all sampled without one."""
    shape = (int(kspace.shape[1]), int(kspace.shape[2]), int(kspace.shape[3]))
    centre = kspace_centre(kspace, mask, readout_domain).index if centre is None else centre
    pattern = np.ones(shape[1:], bool) if mask is None else to_numpy(mask).astype(bool)
    if readout_domain == "image" and pattern.ndim == 3:
        pattern = np.all(pattern, axis=0)
    return shape, centre, pattern


def block_index(block: Sequence[range], shape: Sequence[int]) -> tuple[Any, ...]:
    """Index of a NumPy array of that shape which takes a block of indices modulo the shape."""
    return np.ix_(*(wrapped(r, n) for r, n in zip(block, shape, strict=True)))


def read_block(kspace: Any, block: Sequence[range], readout_domain: str = "kspace") -> Any:
    """Read a block, of indices along (x, y, z) modulo the size: ``(coils, lx, ly, lz)`` complex64, contiguous.

    The k-space is ``(coils, x, y, z)``, NumPy, CuPy or on disk; where x is in the image domain, it is transformed.
    """
    shape = tuple(int(n) for n in kspace.shape[1:])
    hybrid = readout_domain == "image"
    spans = [_spans(r, n) for r, n in zip((range(shape[0]) if hybrid else block[0], *block[1:]), shape, strict=True)]
    places = itertools.product(*(range(len(s)) for s in spans))
    pieces = zip(places, itertools.product(*spans), strict=True)
    parts: Any = {where: kspace[(slice(None), *index)] for where, index in pieces}
    xp = get_array_module(next(iter(parts.values())))
    for axis in (3, 2, 1):
        joined: dict[Any, list[Any]] = {}
        for where, part in parts.items():
            joined.setdefault(where[:-1], []).append(part)
        parts = {w: p[0] if len(p) == 1 else xp.concatenate(p, axis=axis) for w, p in joined.items()}
    samples = xp.asarray(parts[()], dtype=np.complex64)
    if hybrid:
        n = shape[0]
        turns = np.outer(np.arange(block[0].start, block[0].stop) - n // 2, from_centre(n)) / n
        transform = xp.asarray(np.exp(-2j * np.pi * turns) / np.sqrt(n), dtype=np.complex64)
        samples = xp.moveaxis(xp.tensordot(transform, samples, axes=(1, 1)), 0, 1)
    return xp.ascontiguousarray(samples)


def _spans(block: range, n: int) -> list[slice]:
    """Slices of an axis of n samples that a range of indices modulo n is made of."""
    start = block.start % n
    stop = start + len(block)
    return [slice(start, stop)] if stop <= n else [slice(start, n), slice(0, stop - n)]
