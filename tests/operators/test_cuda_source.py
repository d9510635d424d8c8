"""The CUDA kernels, run on the CPU: sense.cu compiled as C++ with a shim for the grid, thread by thread.

This proves the arithmetic, the indexing and the calls of the very source that runs on a GPU (cuda.py with its launch
replaced); speed and the real launch are for the tests marked ``gpu``.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import mrrecon.operators.kernels as kernels
from mrrecon.operators.kernels import cuda, reference

SHIM = r"""
#define __global__
#define __device__
#define __restrict__
#define __align__(n) alignas(n)
struct Index { int x; };
static Index blockIdx, blockDim, threadIdx, gridDim;
extern "C" void start_thread(int block, int thread, int blocks, int threads)
{ blockIdx.x = block; threadIdx.x = thread; gridDim.x = blocks; blockDim.x = threads; }
"""
BLOCKS, THREADS = 3, 16
SETS, COILS, SHAPE = 2, 5, (6, 7, 4)

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


@pytest.fixture(autouse=True)
def run_here(library, monkeypatch):
    """Replace the launch by a loop over the threads of a small grid."""

    def convert(a):
        if isinstance(a, np.ndarray):
            assert a.flags.c_contiguous
            return ctypes.c_void_p(a.ctypes.data)
        return {np.int32: ctypes.c_int, np.float32: ctypes.c_float}[type(a)](a)

    def launch(name, buffer, *arguments):
        converted = [convert(a) for a in arguments]
        for block in range(BLOCKS):
            for thread in range(THREADS):
                library.start_thread(block, thread, BLOCKS, THREADS)
                getattr(library, name)(*converted)

    monkeypatch.setattr(cuda, "_launch", launch)


def draw(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize(("coil", "count"), [(0, COILS), (2, 3), (4, 1)])
@pytest.mark.parametrize(("plane", "planes"), [(0, 6), (1, 4), (5, 1)])
def test_coil_kernels(rng, shift, coil, count, plane, planes):
    maps, image = draw(rng, SETS, COILS, *SHAPE), draw(rng, SETS, *SHAPE)
    buffers = [np.full((count, planes, *SHAPE[1:]), np.nan, np.complex64) for _ in range(2)]
    for kernel, buffer in zip((cuda, reference), buffers, strict=True):
        kernel.expand(maps, image, buffer, coil, plane, shift)
    np.testing.assert_allclose(*buffers, rtol=1e-4, atol=1e-5)
    images = [image.copy(), image.copy()]
    for kernel, out in zip((cuda, reference), images, strict=True):
        kernel.combine(maps, buffers[1], out, coil, plane, shift)
    np.testing.assert_allclose(*images, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("per_plane", [False, True])
@pytest.mark.parametrize(("coil", "count", "plane", "planes"), [(0, COILS, 0, 6), (3, 1, 2, 3)])
def test_kspace_kernels(rng, per_plane, coil, count, plane, planes):
    weights = rng.random((SHAPE[0] if per_plane else 1, *SHAPE[1:])).astype(np.float32)
    slab = draw(rng, count, planes, *SHAPE[1:])
    weighed = [slab.copy(), slab.copy()]
    for kernel, buffer in zip((cuda, reference), weighed, strict=True):
        kernel.weigh(buffer, weights, plane)
    np.testing.assert_allclose(*weighed, rtol=1e-5)

    mask, kspace = weights > 0.5, draw(rng, COILS, *SHAPE)
    stored, loaded = [kspace.copy(), kspace.copy()], [np.full_like(slab, np.nan) for _ in range(2)]
    for kernel, out, buffer in zip((cuda, reference), stored, loaded, strict=True):
        kernel.store(slab, mask, out, coil, plane, 0.25)
        kernel.load(kspace, mask, buffer, coil, plane, 0.25)
    np.testing.assert_allclose(*stored, rtol=1e-5)
    np.testing.assert_allclose(*loaded, rtol=1e-5)
