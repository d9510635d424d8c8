"""The kernels of the encoding engine for CuPy arrays: sense.cu, with the calls of :mod:`reference`.

Image, maps, k-space and buffer are contiguous ``complex64``, mask ``bool``, weights ``float32``, all on the
current device; the engine sees to that.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

__all__ = ["combine", "expand", "load", "store", "weigh"]

THREADS = 256
BLOCKS_PER_PROCESSOR = 16  # the kernels stride over the slab: enough blocks to fill the card, no more


@cache
def _kernel(name: str, device: int) -> tuple[Any, int]:
    """Compile sense.cu once per device; return the kernel and the most blocks worth launching."""
    import cupy

    source = (files("mrrecon.operators.kernels") / "sense.cu").read_text()
    module = cupy.RawModule(code=source, options=("--std=c++14",))
    processors = int(cupy.cuda.Device(device).attributes["MultiProcessorCount"])
    return module.get_function(name), processors * BLOCKS_PER_PROCESSOR


def _launch(name: str, buffer: Any, *arguments: Any) -> None:
    import cupy

    kernel, most = _kernel(name, cupy.cuda.runtime.getDevice())
    voxels = buffer[0].size
    kernel((max(1, min(most, -(-voxels // THREADS))),), (THREADS,), arguments)


def _sizes(volume: tuple[int, ...], buffer: Any, c: int, x: int, sets: int = 1, coils: int = 1) -> tuple[np.int32, ...]:
    """Sizes of a volume (x, y, z) and of a slab of it, in the order of SIZES in sense.cu."""
    return tuple(np.int32(n) for n in (sets, coils, *volume, *buffer.shape[:2], c, x))


def expand(maps: Any, image: Any, buffer: Any, c: int, x: int, shift: bool) -> None:
    """Write coil images: ``buffer[c] = sum_s maps[s, c] image[s]``."""
    sizes = _sizes(maps.shape[2:], buffer, c, x, *maps.shape[:2])
    _launch("expand", buffer, maps, image, buffer, *sizes, np.int32(shift))


def combine(maps: Any, buffer: Any, image: Any, c: int, x: int, shift: bool) -> None:
    """Combine ``v = conj(buffer)``: ``image[s] (+)= sum_c conj(maps[s, c]) v[c]``, adding unless c = 0."""
    sizes = _sizes(maps.shape[2:], buffer, c, x, *maps.shape[:2])
    _launch("combine", buffer, maps, buffer, image, *sizes, np.int32(shift))


def weigh(buffer: Any, weights: Any, x: int) -> None:
    """Conjugate the slab and multiply it by real weights in FFT order: the mask and the scale of the FFTs."""
    sizes = _sizes((weights.shape[0], *buffer.shape[2:]), buffer, 0, x)
    _launch("weigh", buffer, buffer, weights, *sizes, np.int32(weights.shape[0] > 1))


def store(buffer: Any, mask: Any, kspace: Any, c: int, x: int, scale: float) -> None:
    """Write the slab to centred k-space, scaled, zero where the mask is false."""
    sizes = _sizes(kspace.shape[1:], buffer, c, x)
    _launch("store", buffer, buffer, mask, kspace, *sizes, np.int32(mask.shape[0] > 1), np.float32(scale))


def load(kspace: Any, mask: Any, buffer: Any, c: int, x: int, scale: float) -> None:
    """Read the slab from centred k-space, scaled, zero where the mask is false, conjugated."""
    sizes = _sizes(kspace.shape[1:], buffer, c, x)
    _launch("load", buffer, kspace, mask, buffer, *sizes, np.int32(mask.shape[0] > 1), np.float32(scale))
