"""What a row of a study holds: its place in the grid, what decided the result, the result, and where it was made."""

from __future__ import annotations

from typing import Any, TypedDict

__all__ = ["Place", "Result", "Row", "line_name", "row_name"]


class Place(TypedDict):
    """Where a run is in the grid of a study; see :class:`mrrecon.studies.Run`."""

    run: str
    file: str
    acceleration: float
    method: str
    variant: str
    prior: str | None
    seed: int
    truth: str


class Result(TypedDict, total=False):
    """What a run gave."""

    achieved: float  # R
    shape: list[int]
    voxel_size: list[float]  # mm
    coils: int
    metrics: dict[str, Any]  # of mrrecon.metrics.evaluate
    seconds: float  # of the solver alone
    evaluations: int | None  # slices that networks were asked for
    iterations: int
    stopped: str | None  # why, where the solver says so
    used: dict[str, Any]  # settings of the solver, with what it found for those that were left open
    history: list[dict[str, Any]]  # of the iterations
    provenance: list[list[Any]]  # name and settings of each step that made the scan
    device: str
    threads: int
    versions: dict[str, str]


class Row(Place, Result, total=False):
    """A run that was done, with what it gave or what went wrong."""

    given: dict[str, Any]  # everything that decides the result
    error: str
    traceback: str  # of errors that are not ours
    notes: list[str]  # warnings
    machine: dict[str, Any]  # host, system, process, workers
    began: str  # time of the day, ISO 8601
    ended: str


def line_name(place: Place) -> str:
    """What a method is called in tables: its label, and its prior if it has one."""
    return f"{place['method']}, {place['prior']}" if place["prior"] else place["method"]


def row_name(place: Place) -> str:
    """What a run is called in lists."""
    return (
        f"{place['file']}, R = {place['acceleration']:g}, seed {place['seed']}, {line_name(place)} ({place['variant']})"
    )
