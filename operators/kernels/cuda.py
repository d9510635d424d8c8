"""Launch the CUDA kernels of sense.cu through CuPy; the same arguments as the plain :mod:`reference`."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

__all__ = ["coil_combine", "coil_multiply", "mask_multiply"]

THREADS = 256
BLOCKS_PER_PROCESSOR = 16  # grid-stride loops: enough blocks to fill the card, no more


@cache
def _kernel(name: str, device: int) -> tuple[Any, int]:
    """Compile sense.cu once per device; return the kernel and the most blocks worth launching."""
    import cupy

    source = (files("mrrecon.operators.kernels") / "sense.cu").read_text()
    module = cupy.RawModule(code=source, options=("--std=c++14",))
    processors = cupy.cuda.Device(device).attributes["MultiProcessorCount"]
    return module.get_function(name), processors * BLOCKS_PER_PROCESSOR


def _launch(name: str, elements: int, *arguments: Any) -> None:
    import cupy

    kernel, most = _kernel(name, cupy.cuda.runtime.getDevice())
    blocks = max(1, min(most, -(-elements // THREADS)))
    kernel((blocks,), (THREADS,), arguments)


def _strides(image: Any, maps: Any, coil_images: Any) -> tuple[np.integer, ...]:
    """Check the layout that the kernels assume, and return voxels, coils, sets and strides in elements."""
    sets, coils = maps.shape[:2]
    voxels = int(np.prod(maps.shape[2:]))
    for array in (image[0], maps[0, 0], coil_images):
        if not array.flags.c_contiguous or array.dtype != np.complex64:
            raise ValueError(f"The CUDA kernels need contiguous complex64 slabs, got {array.dtype}, {array.strides}.")
    item = maps.dtype.itemsize
    return (
        np.int64(voxels),
        np.int32(coils),
        np.int32(sets),
        np.int64(image.strides[0] // item),
        np.int64(maps.strides[0] // item),
        np.int64(maps.strides[1] // item),
    )


def coil_multiply(image: Any, maps: Any, out: Any) -> None:
    """``out[c] = sum_s maps[s, c] * image[s]`` for a slab: image (sets, x, y, z), maps (sets, coils, x, y, z)."""
    sizes = _strides(image, maps, out)
    _launch("coil_multiply", int(sizes[0]), image, maps, out, *sizes)


def mask_multiply(kspace: Any, mask: Any) -> None:
    """``kspace *= mask`` in place: kspace (..., y, z), mask (y, z) float32 in FFT order, scale included."""
    _launch("mask_multiply", kspace.size, kspace, mask, np.int64(kspace.size), np.int64(mask.size))


def coil_combine(coil_images: Any, maps: Any, out: Any) -> None:
    """``out[s] = sum_c conj(maps[s, c]) * coil_images[c]`` for a slab; shapes as in :func:`coil_multiply`."""
    sizes = _strides(out, maps, coil_images)
    _launch("coil_combine", int(sizes[0]), coil_images, maps, out, *sizes)
