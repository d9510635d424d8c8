"""The runs of a study in one process: which are left, one after the other, each to its row."""

from __future__ import annotations

import math
import os
import platform
import socket
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mrrecon.errors import MRReconError
from mrrecon.pictures.planes import cut_planes
from mrrecon.studies.results import Results
from mrrecon.studies.row import Result, Row
from mrrecon.studies.runs import Run
from mrrecon.studies.scans import Scans
from mrrecon.studies.study import Study

if TYPE_CHECKING:
    from mrrecon.acquisition import Acquisition
    from mrrecon.reconstruction import Reconstruction

__all__ = ["RunCallback", "work"]

MERGE_EVERY = 60.0  # seconds
RunCallback = Callable[[Run, Row | None], None]
"""Called with a run before it starts and None, and afterwards with its row."""


def work(
    study: Study,
    runs: Sequence[Run],
    results: Results,
    *,
    first: int = 0,
    again: Mapping[str, str] | None = None,
    workers: int = 1,
    callback: RunCallback | None = None,
) -> None:
    """Do runs in this process, leaving out what is done or what others do; see :func:`~mrrecon.studies.perform`.

    Parameters
    ----------
    study, runs, results
        The study, its runs, and its folder.
    first
        Number of the run to start with, going round; several workers start at different places.
    again
        Failed runs to do again, by the end of the row that says so: once there is a newer row, it is done.
    workers
        How many share the machine, for the record.
    callback
        See :func:`~mrrecon.studies.perform`.
    """
    scans = Scans(study)
    order = [*runs[first:], *runs[:first]]
    again = again or {}

    def left(run: Run) -> bool:
        row = results.row(run.id)
        return row is None or row.get("ended") == again.get(run.id, "")

    merged, done = time.monotonic(), 1
    while done:  # again as long as there was something to do: what others held may have been abandoned
        done = 0
        for run in filter(left, order):
            with results.claim(run.id) as ours:
                if not ours or not left(run):  # another process is at it, or has done it since
                    continue
                if callback is not None:
                    callback(run, None)
                row = _perform_one(study, run, scans, results, workers)
                results.write(row)
            done += 1
            if callback is not None:
                callback(run, row)
            if time.monotonic() - merged > MERGE_EVERY:
                results.merge()
                merged = time.monotonic()


def _perform_one(study: Study, run: Run, scans: Scans, results: Results, workers: int) -> Row:
    """Row of a run, with what went wrong if something did."""
    began = _clock()
    row: Row = {**run.place(), "given": run.given}
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("default", UserWarning)
        try:
            row = {**row, **_result(study, run, scans.get(run), results)}
        except Exception as error:  # whatever it is, it is this run's, and the study goes on
            row["error"] = _error_text(error)
            if not isinstance(error, (MRReconError, MemoryError)):
                row["traceback"] = traceback.format_exc()
    said = dict.fromkeys(str(note.message) for note in notes if note.category is UserWarning)
    machine = {"host": socket.gethostname(), "system": platform.platform(), "process": os.getpid(), "workers": workers}
    return {**row, "notes": list(said), "machine": machine, "began": began, "ended": _clock()}


def _clock() -> str:
    return datetime.now().astimezone().isoformat(timespec="microseconds")


def _result(study: Study, run: Run, scan: Acquisition, results: Results) -> Result:
    """What a run adds to its row; its slices are saved."""
    from mrrecon import metrics
    from mrrecon.operators.backend import num_threads

    device = _device(study, run)
    result = run.solver(scan.to(device))
    if result.stopped == "interrupted":  # Ctrl-C: an image so far is no result of a study
        raise KeyboardInterrupt
    quality = metrics.evaluate(result, scan.reference, study.policy())
    _save_planes(run, scan, result, results)
    last = result.history[-1] if result.history else {}
    return {
        "achieved": scan.acceleration,
        "shape": list(scan.shape),
        "voxel_size": list(scan.voxel_size),
        "coils": scan.n_coils,
        "metrics": quality,
        "seconds": result.seconds,
        "evaluations": last.get("evaluations"),
        "iterations": len(result.history),
        "stopped": result.stopped or None,
        "used": _plain({**result.settings, **result.estimates}),
        "history": [{name: _rounded(value) for name, value in step.items()} for step in result.history],
        "provenance": [[step.name, _plain(step.settings)] for step in scan.provenance],
        "device": device,
        "threads": num_threads(),
        "versions": dict(result.versions),
    }


def _save_planes(run: Run, scan: Acquisition, result: Reconstruction, results: Results) -> None:
    import numpy as np

    truth = np.abs(scan.reference)
    peak = float(truth.max())
    if not results.planes(run.truth).exists():
        results.save_planes(run.truth, cut_planes(truth, scan.grid, truth, peak))
    results.save_planes(run.id, cut_planes(result.volume, scan.grid, truth, peak))


def _device(study: Study, run: Run) -> str:
    from mrrecon.operators.backend import has_cupy
    from mrrecon.studies.peers import PEERS

    if run.given["solver"] in PEERS or study.device == "cpu":
        return "cpu"
    return "cuda" if study.device == "cuda" or has_cupy() else "cpu"


def _error_text(error: BaseException) -> str:
    said = " ".join(str(error).split())
    return said if isinstance(error, MRReconError) and said else f"{type(error).__name__}: {said}".rstrip(": ")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None  # JSON has no other numbers
    return _plain(value)


def _plain(value: Any) -> Any:
    """JSON types for what settings hold."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return value.item() if hasattr(value, "item") and getattr(value, "size", 0) == 1 else str(value)
