"""Reconstruction with priors on a GPU: seconds, peak memory, where the time goes, quality beside the CPU's result.

    python benchmarks/gpu/reconstruction.py            # on a GPU: 192x224x192 at R = 8, 12, 16, 24, and 256x320x320
    python benchmarks/gpu/reconstruction.py --small    # anywhere: a toy size, on the GPU if there is one, else the CPU

Scans are simulated of a real head with 8 coils, maps estimated from the undersampled data. `network_share` is the time
in the prior's network as a share of the solver's, each call waited for. `copies` are transfers between host and GPU in
two iterations more (four against two, by torch's profiler): what a loop that stays on the GPU has none of, but for
numbers such as a residual. Results go to benchmarks/results/gpu/reconstruction.json (not with --small).

The studies at 1 mm are benchmarks/gpu/acceleration.yaml and resolution_*.yaml, for `mrrecon bench`; where
../shared/data is not, put a copy of its validation folder beside and name its parent in MRRECON_DATA.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import head, save
from peak import device_record

from mrrecon import metrics, priors
from mrrecon.acquisition import Acquisition
from mrrecon.operators import make_mask
from mrrecon.operators.backend import has_cupy, to_numpy
from mrrecon.simulation import simulate
from mrrecon.solvers import DDS, TPDM, CGSense, L1Wavelet, Solver, Variational

HEAD, LARGE, SMALL = (192, 224, 192), (256, 320, 320), (24, 32, 28)
GOALS = {"seconds_of_256x320x320": 60, "network_share": 0.8}


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prior", default="brain-diverse")
    parser.add_argument("--no-cpu", action="store_true", help="leave out the same reconstruction on the CPU")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    if not has_cupy() and not options.small:
        sys.exit("No GPU found by CuPy; use --small to try the script on the CPU.")
    device = "cuda" if has_cupy() else "cpu"
    result: dict[str, Any] = {**device_record(torch.device(device)), "prior": options.prior, "goals": GOALS}
    shape, large, accelerations = (SMALL, SMALL, [4]) if options.small else (HEAD, LARGE, [8, 12, 16, 24])
    few = {"max_iter": 3} if options.small else {}
    for acceleration in accelerations:
        scan = scan_of(shape, acceleration)
        with_priors = [solver(prior=options.prior, **few) for solver in (Variational, DDS, TPDM)]
        runs = {solver.name: measure(solver, scan, device) for solver in (CGSense(), L1Wavelet(), *with_priors)}
        result[f"{named(shape)}, R = {acceleration}"] = runs
        if acceleration == accelerations[0]:
            result["copies"] = copies(scan, device, options.prior)
            if device != "cpu" and not options.no_cpu:
                runs["variational, on the CPU"] = measure(with_priors[0], scan, "cpu")
        print(result, flush=True)
    solver = Variational(prior=options.prior, **few)
    result[f"{named(large)}, variational"] = measure(solver, scan_of(large, accelerations[0]), device)
    if options.small:
        print(result)
    else:
        save("gpu/reconstruction", result)


def named(shape: tuple[int, int, int]) -> str:
    """Matrix size in words."""
    return "x".join(map(str, shape))


def scan_of(shape: tuple[int, int, int], acceleration: float) -> Acquisition:
    """A head of this size, 8 coils, SNR 40, 1 mm, maps estimated; in the memory of the host."""
    mask = make_mask("poisson", shape[1:], acceleration, calibration=min(24, shape[1] // 3))
    return simulate(head(shape), n_coils=8, snr=40, mask=mask, seed=1).calibrate()


class Stopwatch:
    """Seconds in the network of a prior."""

    def __init__(self, network: torch.nn.Module, device: str) -> None:
        self.device, self.seconds = device, 0.0
        self._hooks = [network.register_forward_pre_hook(self._begin), network.register_forward_hook(self._end)]

    def _now(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def _begin(self, *call: Any) -> None:
        self._began = self._now()

    def _end(self, *call: Any) -> None:
        self.seconds += self._now() - self._began

    def close(self) -> None:
        """Let go of the network."""
        for hook in self._hooks:
            hook.remove()


def measure(solver: Solver, scan: Acquisition, device: str) -> dict[str, Any]:
    """Reconstruct twice, the first time to warm up on a GPU."""
    moved = scan.to(device)
    watch = None
    if hasattr(solver, "prior"):
        prior = priors.load(solver.prior)
        solver = replace(solver, prior=prior)  # type: ignore[type-var]  # solvers are dataclasses
    if device == "cuda":
        solver(moved)
        reset_peak()
    if hasattr(solver, "prior"):
        watch = Stopwatch(prior.network, device)
    began = time.perf_counter()
    result = solver(moved)
    volume = to_numpy(result.volume)
    seconds = time.perf_counter() - began
    found = metrics.evaluate(volume, scan.reference)
    entry = {"seconds": seconds, "psnr": found["psnr"], "ssim": found["ssim"], "peak_bytes": peak_bytes(device)}
    if watch is not None:
        watch.close()
        entry["network_share"] = watch.seconds / seconds
        entry["evaluations"] = result.history[-1]["evaluations"]
    return entry


def reset_peak() -> None:
    """Begin to count memory."""
    import cupy

    cupy.get_default_memory_pool().free_all_blocks()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def peak_bytes(device: str) -> int | None:
    """Most that torch and CuPy together can have held: their peaks need not have been at one time."""
    if device != "cuda":
        return None
    import cupy

    return int(torch.cuda.max_memory_reserved() + cupy.get_default_memory_pool().total_bytes())


def copies(scan: Acquisition, device: str, prior: str) -> dict[str, float]:
    """Transfers between host and GPU, by kind, that two more iterations of the variational solver make."""
    from torch.profiler import ProfilerActivity, profile

    moved, model = scan.to(device), priors.load(prior)
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]

    def counted(iterations: int) -> dict[str, int]:
        solver = Variational(prior=model, max_iter=iterations)
        solver(moved)
        with profile(activities=kinds) as seen:
            solver(moved)
        events = seen.key_averages()
        return {kind: sum(e.count for e in events if kind in e.key) for kind in ("Memcpy HtoD", "Memcpy DtoH")}

    two, four = counted(2), counted(4)
    return {kind: four[kind] - two[kind] for kind in two}


if __name__ == "__main__":
    main()
