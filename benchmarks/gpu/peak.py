"""What the scripts about networks share: the measured bf16 peak of a device, and the arithmetic of a network."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

SIDE = {"cuda": 8192, "cpu": 512}  # of the matrices whose product is the peak
REPEAT = {"cuda": (3, 15), "cpu": (1, 3)}  # calls to warm up, calls to measure


def median_seconds(device: torch.device, function: Callable[[], Any]) -> float:
    """Median time of one call after some to warm up, with the GPU's own clock on a GPU."""
    warm, repeat = REPEAT[device.type]
    for _ in range(warm):
        function()
    times = []
    for _ in range(repeat):
        if device.type == "cuda":
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            function()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) / 1000)
        else:
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def peak_flops(device: torch.device) -> float:
    """Floating-point operations per second of a large matrix product in bf16; on a CPU in fp32 where that is faster."""
    side = SIDE[device.type]

    def speed(dtype: torch.dtype) -> float:
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        return 2 * side**3 / median_seconds(device, lambda: a @ b)

    return max(map(speed, [torch.bfloat16] + [torch.float32] * (device.type == "cpu")))


def flops_per_pixel(network: torch.nn.Module, device: torch.device, side: int = 112) -> float:
    """Floating-point operations of one forward pass, per pixel of slices of this side."""
    x, level = torch.zeros(1, 2, side, side, device=device), torch.zeros(1, device=device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x, level)
    return counter.get_total_flops() / side**2


def device_record(device: torch.device) -> dict[str, Any]:
    """Name of the hardware and versions of what runs on it."""
    record: dict[str, Any] = {"device": "CPU", "torch": str(torch.__version__)}
    if device.type == "cuda":
        record.update(device=torch.cuda.get_device_name(device), cuda=torch.version.cuda)
        record["cudnn"] = torch.backends.cudnn.version()
    return record
