"""A slice at another pixel size, turned, and placed on a canvas. Edges of the grids stay aligned (half-pixel rule)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from mrrecon.operators.resampling import linear_weights

__all__ = ["cut_off", "fit_canvas", "resample", "rotate"]

RIM = 0.1  # mean magnitude of a border line above which the object is cut off there


def resample(image: torch.Tensor, factors: Sequence[float], kernel: str) -> torch.Tensor:
    """Change the number of pixels, intensities and field of view unchanged.

    Parameters
    ----------
    image
        ``(height, width)``, real or complex.
    factors
        New over old number of pixels along both axes.
    kernel
        ``"linear"`` or ``"cubic"`` interpolation, widened so that nothing aliases, or ``"k-space"``: crop or
        zero-pad the spectrum, which is sharp and rings like a scan of that resolution.
    """
    old = [int(n) for n in image.shape]
    new = [max(2, math.floor(n * f + 0.5)) for n, f in zip(old, factors, strict=True)]
    if old == new:
        return image
    rows, columns = (torch.from_numpy(_weights(*sizes, kernel)).to(image.dtype) for sizes in zip(old, new, strict=True))
    return rows @ image @ columns.T


@lru_cache(maxsize=64)
def _weights(old: int, new: int, kernel: str) -> np.ndarray:
    """Matrix ``(new, old)``, float32, that resamples one axis."""
    if kernel == "linear":
        return linear_weights(old, new)
    if kernel == "cubic":
        distance = np.abs(((np.arange(new) + 0.5) * old / new)[:, None] - np.arange(old) - 0.5) / max(1.0, old / new)
        near = 1 + distance**2 * (1.5 * distance - 2.5)  # Keys 1981, a = -1/2
        far = 2 + distance * (-4 + distance * (2.5 - 0.5 * distance))
        weights = np.where(distance < 1, near, np.where(distance < 2, far, 0))
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    if old == new:
        return np.eye(old, dtype=np.float32)
    paired = (
        2 * ((min(old, new) - 1) // 2) + 1
    )  # frequencies that both have; the unpaired one of an even number is dropped
    places = (np.arange(new)[:, None] + 0.5) / new - (np.arange(old) + 0.5) / old  # the edges of both grids together
    return (paired / old * np.sinc(paired * places) / np.sinc(places)).astype(np.float32)


def rotate(image: torch.Tensor, edges: Sequence[float], angle: float) -> torch.Tensor:
    """Turn a slice ``(height, width)`` about its centre by `angle` degrees, cubic interpolation, zero outside.

    Its pixels may be oblong, as their `edges` in mm along both axes say.
    """
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    ratio = image.shape[0] * edges[0] / (image.shape[1] * edges[1])
    theta = torch.tensor([[[c, -s * ratio, 0.0], [s / ratio, c, 0.0]]])
    channels = torch.view_as_real(image).permute(2, 0, 1) if image.is_complex() else image[None]
    grid = F.affine_grid(theta, [1, *channels.shape], align_corners=False)
    result = F.grid_sample(channels[None], grid, mode="bicubic", align_corners=False)[0]
    return torch.view_as_complex(result.permute(1, 2, 0).contiguous()) if image.is_complex() else result[0]


def cut_off(image: torch.Tensor, axis: int) -> tuple[bool, bool]:
    """Whether the object reaches the first, and the last, line along `axis` of a slice ``(height, width)``."""
    first, last = (float(image.select(axis, i).abs().mean()) > RIM for i in (0, -1))
    return first, last


def fit_canvas(image: torch.Tensor, shape: tuple[int, int], rng: np.random.Generator) -> torch.Tensor:
    """Crop, or pad with zeros, to `shape` at a random position near the middle.

    Where the object is cut off at one border of the slice (the neck, say), it is put against that border of the
    canvas: no scan has an object that ends in the middle of the picture.
    """
    result = torch.zeros(shape, dtype=image.dtype)
    source, target = [], []
    for axis, n in enumerate(shape):
        old = image.shape[axis]
        room = abs(n - old)
        offset = int(rng.integers(room + 1) + rng.integers(room + 1)) // 2
        if old < n:
            first, last = cut_off(image, axis)
            if first != last:
                offset = 0 if first else room
        source.append(slice(offset, offset + n) if old >= n else slice(0, old))
        target.append(slice(0, n) if old >= n else slice(offset, offset + old))
    result[tuple(target)] = image[tuple(source)]
    return result
