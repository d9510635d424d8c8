"""The CUDA kernels, run on the CPU: sense.cu compiled as C++ with a shim for the grid, thread by thread.

This proves the arithmetic and the indexing of the very source that runs on a GPU; speed and launch are for the tests
marked ``gpu``.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import mrrecon.operators.kernels as kernels

SHIM = r"""
#define __global__
#define __device__
#define __restrict__
#define __align__(n) alignas(n)
struct Index { int x; };
static Index blockIdx, blockDim, threadIdx, gridDim;
extern "C" void place(int block, int thread, int blocks, int threads)
{ blockIdx.x = block; threadIdx.x = thread; gridDim.x = blocks; blockDim.x = threads; }
"""
BLOCKS, THREADS = 3, 16

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    source = Path(next(iter(kernels.__path__)), "sense.cu").read_text()
    folder = tmp_path_factory.mktemp("cuda")
    (folder / "sense.cpp").write_text(SHIM + source)
    subprocess.run(
        ["g++", "-std=c++14", "-O1", "-shared", "-fPIC", "-o", "sense.so", "sense.cpp"], cwd=folder, check=True
    )
    return ctypes.CDLL(str(folder / "sense.so"))


def launch(library, name, *arguments):
    """Run every thread of a small grid in turn."""
    converted = [ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else a for a in arguments]
    for block in range(BLOCKS):
        for thread in range(THREADS):
            library.place(block, thread, BLOCKS, THREADS)
            getattr(library, name)(*converted)


def draw(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


@pytest.mark.parametrize("sets", [1, 2])
def test_coil_kernels_on_a_slab_of_a_larger_volume(library, rng, sets):
    coils, x, y, z = 3, 5, 7, 4
    maps, image = draw(rng, sets, coils, x, y, z), draw(rng, sets, x, y, z)
    slab = slice(1, 4)
    voxels = 3 * y * z
    sizes = (
        ctypes.c_longlong(voxels),
        ctypes.c_int(coils),
        ctypes.c_int(sets),
        *(ctypes.c_longlong(n) for n in (x * y * z, coils * x * y * z, x * y * z)),
    )
    out = np.full((coils, 3, y, z), np.nan, np.complex64)
    launch(library, "coil_multiply", image[:, slab], maps[:, :, slab], out, *sizes)
    np.testing.assert_allclose(out, np.einsum("scxyz,sxyz->cxyz", maps[:, :, slab], image[:, slab]), rtol=2e-5)

    combined = np.full_like(image, np.nan)
    launch(library, "coil_combine", out, maps[:, :, slab], combined[:, slab], *sizes)
    expected = np.einsum("scxyz,cxyz->sxyz", maps[:, :, slab].conj(), out)
    np.testing.assert_allclose(combined[:, slab], expected, rtol=1e-4, atol=1e-4)
    assert np.isnan(combined[:, [0, 4]]).all()  # nothing outside the slab was touched


def test_mask_kernel(library, rng):
    kspace, mask = draw(rng, 2, 3, 7, 4), rng.random((7, 4)).astype(np.float32)
    expected = kspace * mask
    launch(library, "mask_multiply", kspace, mask, ctypes.c_longlong(kspace.size), ctypes.c_longlong(mask.size))
    np.testing.assert_allclose(kspace, expected, rtol=1e-6)
