"""sense.cu compiled as C++ with a shim for the grid, and the launch that runs it on the CPU, thread by thread."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import mrrecon.operators.kernels as kernels

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


def compile_kernels(folder: Path) -> ctypes.CDLL:
    source = Path(next(iter(kernels.__path__)), "sense.cu").read_text()
    (folder / "sense.cpp").write_text(SHIM + source)
    subprocess.run(
        ["g++", "-std=c++14", "-O1", "-shared", "-fPIC", "-o", "sense.so", "sense.cpp"], cwd=folder, check=True
    )
    return ctypes.CDLL(str(folder / "sense.so"))


def launcher(library: ctypes.CDLL) -> Callable[..., None]:
    """Return what to put in the place of ``cuda._launch``; takes NumPy arrays and those of pretend_cupy."""

    def convert(a: Any) -> Any:
        a = getattr(a, "_host", a)
        if isinstance(a, np.ndarray):
            assert a.flags.c_contiguous
            return ctypes.c_void_p(a.ctypes.data)
        return {np.int32: ctypes.c_int, np.float32: ctypes.c_float}[type(a)](a)

    def launch(name: str, buffer: Any, *arguments: Any) -> None:
        converted = [convert(a) for a in arguments]
        for block in range(BLOCKS):
            for thread in range(THREADS):
                library.start_thread(block, thread, BLOCKS, THREADS)
                getattr(library, name)(*converted)

    return launch
