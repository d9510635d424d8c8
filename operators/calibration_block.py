"""The fully sampled centre of k-space: find it, check it, read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mrrecon.operators.backend import get_array_module, to_numpy
from mrrecon.operators.coils import view_or_lazy
from mrrecon.operators.errors import CalibrationError, ShapeError

__all__ = ["calibration_region", "read_calibration"]

AUTOMATIC = 32  # width at most when no width is asked for: wider blocks cost time and add little


def calibration_region(samples: Any) -> tuple[int, ...]:
    """Widths of the largest centred, fully sampled block.

    The block grows from the centre ``n // 2`` along all axes in turn, narrowest first, so that it stays as
    near to a cube as the sampling allows; along an axis of n samples, a block of width w starts at ``n // 2 -
    w // 2``.

    Parameters
    ----------
    samples
        Mask, bool, ``(y, z)`` or ``(x, y, z)``; or k-space ``(coils, x, y, z)``, sampled where any coil is
        not zero.

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
    elif len(samples.shape) in (2, 3):
        mask = to_numpy(samples).astype(bool)
    else:
        raise ShapeError(
            "Expected a mask (y, z) or (x, y, z), or k-space (coils, x, y, z), "
            f"got an array of shape {tuple(samples.shape)}."
        )
    centre = [n // 2 for n in mask.shape]
    if not mask[tuple(centre)]:
        return (0,) * mask.ndim
    width = [1] * mask.ndim
    growing = set(range(mask.ndim))
    while growing:
        axis = min(growing, key=lambda a: (width[a], a))
        new = width[axis] + 1
        index: list[Any] = [slice(c - w // 2, c - w // 2 + w) for c, w in zip(centre, width, strict=True)]
        index[axis] = centre[axis] + (new // 2 if new % 2 else -(new // 2))  # the layer to be added
        if new <= mask.shape[axis] and mask[tuple(index)].all():
            width[axis] = new
        else:
            growing.remove(axis)
    return tuple(width)


def read_calibration(
    kspace: Any,
    limit: int | Sequence[int] | None,
    kernel: Sequence[int],
    mask: Any,
    readout_domain: Literal["kspace", "image"],
) -> Any:
    """Read the largest fully sampled, centred block within `limit`: ``(coils, lx, ly, lz)`` complex64.

    Parameters
    ----------
    kspace
        ``(coils, x, y, z)``, NumPy, CuPy or an array on disk, of which only the block is read.
    limit
        Width at most, along (x, y, z) or one for all; ``None`` for 32.
    kernel
        Width along (x, y, z) that the block must have at least.
    mask
        Sampled positions, ``(y, z)`` or ``(x, y, z)``, or ``None``: where the k-space is not zero.
    readout_domain
        Domain of axis x; from the image domain, the central k-space along x is computed.

    Raises
    ------
    CalibrationError
        If there is no such block, or it is smaller than the kernel.
    ShapeError
        If `limit` or `mask` does not fit.
    """
    shape = tuple(int(n) for n in kspace.shape[1:])
    limit = AUTOMATIC if limit is None else limit
    limits = (limit,) * 3 if isinstance(limit, int) else tuple(limit)
    if len(limits) != 3 or min(limits) < 1:
        raise ShapeError(f"calibration must be one or three positive widths, or None, got {limit}.")
    widths = tuple(min(int(w), n) for w, n in zip(limits, shape, strict=True))
    window = [slice(n // 2 - w // 2, n // 2 - w // 2 + w) for n, w in zip(shape, widths, strict=True)]
    hybrid = readout_domain == "image"
    block = kspace[(slice(None), slice(None) if hybrid else window[0], *window[1:])]
    xp = get_array_module(block)
    block = xp.asarray(block, dtype=np.complex64)
    if mask is None:
        sampled = to_numpy((block != 0).any(axis=(0, 1) if hybrid else 0))
    else:
        mask = to_numpy(mask).astype(bool)
        if mask.shape not in (shape, shape[1:]):
            raise ShapeError(f"mask has shape {mask.shape}, expected (y, z) = {shape[1:]} or (x, y, z) = {shape}.")
        sampled = mask[tuple(window[3 - mask.ndim :])]
        if hybrid and mask.ndim == 3:
            sampled = sampled.all(axis=0)
    found = calibration_region(sampled)
    found = (widths[0],) * (3 - len(found)) + found
    if any(f < k for f, k in zip(found, kernel, strict=True)):
        raise CalibrationError(
            f"The fully sampled centre of k-space is {'x'.join(map(str, found))} (x, y, z), smaller than the "
            f"kernel {'x'.join(map(str, kernel))}: sample a calibration block of at least that size (better "
            "24 wide) around the zero frequency at index n // 2, use a smaller kernel, or give maps."
        )
    if hybrid:
        n = shape[0]
        turns = np.outer(np.arange(found[0]) - found[0] // 2, np.arange(n) - n // 2) / n
        transform = xp.asarray(np.exp(-2j * np.pi * turns) / np.sqrt(n), dtype=np.complex64)
        block = xp.moveaxis(xp.tensordot(transform, block, axes=(1, 1)), 0, 1)
    cut = [
        slice(None) if hybrid and axis == 0 else slice(w // 2 - f // 2, w // 2 - f // 2 + f)
        for axis, (w, f) in enumerate(zip(widths, found, strict=True))
    ]
    return xp.ascontiguousarray(block[(slice(None), *cut)])
