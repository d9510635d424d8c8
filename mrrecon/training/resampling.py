"""A slice at another pixel size, turned, and placed on a canvas. Edges of the grids stay aligned (half-pixel rule)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

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
    shape = [max(2, math.floor(n * f + 0.5)) for n, f in zip(image.shape, factors, strict=True)]
    if list(image.shape) == shape:
        return image
    if kernel == "k-space":
        return _fourier(image, shape)
    mode = {"linear": "bilinear", "cubic": "bicubic"}[kernel]
    channels = torch.view_as_real(image).permute(2, 0, 1) if image.is_complex() else image[None]
    result = F.interpolate(channels[None], size=shape, mode=mode, align_corners=False, antialias=True)[0]
    return torch.view_as_complex(result.permute(1, 2, 0).contiguous()) if image.is_complex() else result[0]


def _fourier(image: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Band-limited resampling; the phase ramp keeps the edges, not the first pixels, of both grids together."""
    spectrum = image
    for axis, n in enumerate(shape):
        old = image.shape[axis]
        if n == old:
            continue
        spectrum = torch.fft.fft(spectrum, dim=axis)
        kept = min(n, old)
        low = kept // 2  # frequencies -low ... kept - low - 1; the unpaired one of an even number is dropped
        index = torch.arange(-low, kept - low)
        shift = 0.5 * (1 / n - 1 / old)
        ramp = torch.polar(torch.full((kept,), n / old), 2 * math.pi * shift * index)
        if kept % 2 == 0:
            ramp[0] = 0
        ramp = ramp.view(-1, 1) if axis == 0 else ramp
        part = spectrum.index_select(axis, index % old) * ramp
        size = list(spectrum.shape)
        size[axis] = n
        spectrum = torch.zeros(size, dtype=part.dtype).index_copy(axis, index % n, part)
        spectrum = torch.fft.ifft(spectrum, dim=axis)
    return spectrum if image.is_complex() else spectrum.real


def rotate(image: torch.Tensor, edges: Sequence[float], angle: float) -> torch.Tensor:
    """Turn about the centre by `angle` degrees, cubic interpolation, zero outside; pixels may be oblong.

    Parameters
    ----------
    image
        ``(height, width)``, real or complex.
    edges
        Pixel edges along both axes, mm.
    angle
        Degrees.
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
