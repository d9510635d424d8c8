"""The CUDA kernels, run on the CPU: sense.cu compiled as C++ with a shim for the grid, thread by thread.

This proves the arithmetic, the indexing and the calls of the very source that runs on a GPU (cuda.py with its launch
replaced); speed and the real launch are for the tests marked ``gpu``.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from cuda_on_cpu import compile_kernels, launcher

from mrrecon.operators.kernels import cuda, reference

SETS, COILS, SHAPE = 2, 5, (6, 7, 4)

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return compile_kernels(tmp_path_factory.mktemp("cuda"))


@pytest.fixture(autouse=True)
def run_here(library, monkeypatch):
    """Replace the launch by a loop over the threads of a small grid."""
    monkeypatch.setattr(cuda, "_launch", launcher(library))


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
