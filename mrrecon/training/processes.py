"""Where a training runs: one process on one device, or several that torchrun or accelerate started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from mrrecon.errors import DataError

__all__ = ["Place", "joined"]


@dataclass(frozen=True)
class Place:
    """One of the processes that train together.

    Parameters
    ----------
    device
        Where it computes.
    rank, world
        Its number, and how many there are. Only number 0 writes files.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    world: int = 1

    def describe(self) -> str:
        """Name of the hardware, for the model card."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"{_processor()}, {torch.get_num_threads()} threads"

    def any(self, flag: bool) -> bool:
        """Whether it is so in any of the processes; they all must ask."""
        return self.mean(float(flag)) > 0

    def mean(self, value: float) -> float:
        """Mean over the processes; they all must ask."""
        if self.world == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        return float(total) / self.world


@contextmanager
def joined(device: str = "auto") -> Iterator[Place]:
    """Join the processes that torchrun or accelerate started, if they did, and leave them at the end.

    Parameters
    ----------
    device
        ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"cuda"`` (the one of this process), ``"cuda:1"``.

    Raises
    ------
    DataError
        If there is no such device.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise DataError(f"There is no device {device!r}; choose auto, cpu or cuda.") from error
    if place.type == "cuda" and (not torch.cuda.is_available() or (place.index or 0) >= torch.cuda.device_count()):
        raise DataError(f"torch finds no GPU {device}; train on the CPU with --device cpu, or install torch for CUDA.")
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if world > 1:
        torch.distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Place(place, rank, world)
    finally:
        if world > 1:
            torch.distributed.destroy_process_group()


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            found = next((line for line in file if line.startswith("model name")), "")
    except OSError:
        found = ""
    return found.partition(":")[2].strip() or "CPU"
