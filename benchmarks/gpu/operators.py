"""Operators, calibration and solvers on an NVIDIA GPU: time, bytes moved against the card's copy bandwidth, peers.

    python benchmarks/gpu/operators.py            # on a GPU: 256x320x320, 8 and 32 coils
    python benchmarks/gpu/operators.py --small    # anywhere: a toy size, on the GPU if there is one, else the CPU

Results go to benchmarks/results/gpu/operators.json (not with --small).
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import save

from mrrecon import operators, solvers
from mrrecon.acquisition import Acquisition
from mrrecon.operators.backend import has_cupy
from mrrecon.operators.encoding import CartesianEncoding


class Clock:
    """Seconds of work on the array module's device: device events on a GPU, the wall clock on a CPU."""

    def __init__(self, xp: Any) -> None:
        self.xp = xp

    def median(self, function: Callable[[], Any], repeat: int = 10) -> float:
        """Median time of one call after a warm-up."""
        function()
        return float(np.median([self._once(function) for _ in range(repeat)]))

    def _once(self, function: Callable[[], Any]) -> float:
        if self.xp is np:
            start = time.perf_counter()
            function()
            return time.perf_counter() - start
        begin, end = self.xp.cuda.Event(), self.xp.cuda.Event()
        begin.record()
        function()
        end.record()
        end.synchronize()
        return float(self.xp.cuda.get_elapsed_time(begin, end)) / 1000


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    if not has_cupy() and not small:
        sys.exit("No GPU found by CuPy; use --small to try the script on the CPU.")
    if has_cupy():
        import cupy as xp
    else:
        xp = np
    clock = Clock(xp)
    shape, coil_counts = ((16, 40, 48), (4,)) if small else ((256, 320, 320), (8, 32))
    result: dict[str, Any] = {"device": _device(xp), "shape": shape}
    result["copy_bytes_per_second"] = _copy_bandwidth(xp, clock, 1 << (22 if small else 30))
    for coils in coil_counts:
        result[f"normal_operator_{coils}_coils"] = _normal(xp, clock, shape, coils, result["copy_bytes_per_second"])
    result["solvers_8_coils"] = _solvers(xp, clock, shape)
    if small:
        print(result)
    else:
        save("gpu/operators", result)


def _device(xp: Any) -> str:
    if xp is np:
        return "CPU"
    properties = xp.cuda.runtime.getDeviceProperties(0)
    return f"{properties['name'].decode()}, driver {xp.cuda.runtime.driverGetVersion()}"


def _copy_bandwidth(xp: Any, clock: Clock, nbytes: int) -> float:
    a, b = xp.ones(nbytes // 4, np.float32), xp.empty(nbytes // 4, np.float32)
    return 2 * nbytes / clock.median(lambda: xp.copyto(b, a))


def _problem(xp: Any, shape: tuple[int, int, int], coils: int) -> tuple[Any, Any, Any]:
    """Random maps of unit norm, a Poisson mask and a random image, made on the device."""
    rng = xp.random.default_rng(0)

    def draw(*size: int) -> Any:
        return rng.standard_normal(size, dtype=np.float32) + 1j * rng.standard_normal(size, dtype=np.float32)

    maps = draw(coils, *shape)
    maps /= xp.sqrt((maps.real**2 + maps.imag**2).sum(axis=0))
    return maps, operators.make_mask("poisson", shape[1:], 8, calibration=min(24, shape[1] // 3), seed=0), draw(*shape)


def _normal(xp: Any, clock: Clock, shape: tuple[int, int, int], coils: int, bandwidth: float) -> dict[str, Any]:
    maps, mask, image = _problem(xp, shape, coils)
    encoding = CartesianEncoding(maps, mask)
    out = xp.empty_like(image)
    seconds = {"ours": clock.median(lambda: encoding.normal(image, out))}
    seconds["sigpy"] = _sigpy_seconds(clock, maps, xp.asarray(mask), image)
    seconds["torch"] = _torch_seconds(maps, mask, image)
    # The least that must move: maps, image and result once each.
    least = 8 * math.prod(shape) * (coils + 2)
    return {
        "seconds": seconds,
        "minimum_bytes": least,
        "share_of_copy_bandwidth": least / seconds["ours"] / bandwidth,
        "times_faster_than_sigpy": seconds["sigpy"] / seconds["ours"],
        "peak_bytes": None if xp is np else int(xp.get_default_memory_pool().total_bytes()),
    }


def _sigpy_seconds(clock: Clock, maps: Any, mask: Any, image: Any) -> float:
    import sigpy.mri

    peer = sigpy.mri.linop.Sense(maps, weights=mask)
    return clock.median(lambda: peer.N * image, repeat=3)


def _torch_seconds(maps: Any, mask: np.ndarray, image: Any) -> float | None:
    """The plain torch version: full 3D FFTs, no slabs."""
    try:
        import torch
    except ImportError:
        return None
    on_gpu = not isinstance(maps, np.ndarray)
    s, x = (torch.from_dlpack(a) if on_gpu else torch.from_numpy(a) for a in (maps, image))
    m = torch.from_numpy(np.fft.ifftshift(mask)).to(s.device)

    def normal() -> Any:
        k = torch.fft.fftn(s * x, dim=(1, 2, 3)) * m
        return (s.conj() * torch.fft.ifftn(k, dim=(1, 2, 3))).sum(0)

    times = []
    for _ in range(4):
        start = time.perf_counter()
        normal()
        if on_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def _solvers(xp: Any, clock: Clock, shape: tuple[int, int, int]) -> dict[str, float]:
    """Calibration and reconstruction of a smooth object, data on the device already."""
    grids = xp.meshgrid(*(xp.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij")
    image = (sum((g / 0.8) ** 2 for g in grids) < 1).astype(np.complex64)
    centres = [(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 8, endpoint=False)]
    maps = xp.stack([xp.exp(-((grids[1] - y) ** 2 + (grids[2] - z) ** 2 + 1j * y * grids[1])) for y, z in centres])
    mask = operators.make_mask("poisson", shape[1:], 8, calibration=min(24, shape[1] // 3), seed=0)
    kspace = operators.fft((maps * image).astype(np.complex64), axes=(1, 2, 3)) * xp.asarray(mask)
    scan = Acquisition(kspace, mask)
    seconds = {"espirit": clock.median(lambda: scan.calibrate(), repeat=2)}
    scan = scan.calibrate()
    for solver in (solvers.CGSense(max_iter=15), solvers.L1Wavelet()):
        seconds[solver.name] = clock.median(lambda solver=solver: solver(scan), repeat=1)
    return seconds


if __name__ == "__main__":
    main()
