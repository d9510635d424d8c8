"""Doing the runs of a study: which are left, one after the other, each to its row."""

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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrrecon.errors import DataError, MRReconError
from mrrecon.pictures.planes import cut_planes
from mrrecon.studies.results import Results
from mrrecon.studies.runs import Run, expand, index
from mrrecon.studies.scans import Scans
from mrrecon.studies.study import Study

if TYPE_CHECKING:
    from mrrecon.acquisition import Acquisition
    from mrrecon.reconstruction import Reconstruction

__all__ = ["Report", "check_machine", "perform", "work"]

MERGE_EVERY = 60.0  # seconds
Report = Callable[[Run, "dict[str, Any] | None"], None]
"""Called with a run before it starts and None, and afterwards with its row."""


def perform(
    study: Study,
    folder: str | Path,
    *,
    workers: int = 1,
    retry: bool = False,
    report: Report | None = None,
) -> dict[str, dict[str, Any]]:
    """Do the runs of a study that are not done yet.

    May be called by several processes at once, on several machines with a common folder; each run is done by one.

    Parameters
    ----------
    study
        The study.
    folder
        Where its rows are and will be.
    workers
        1: this process. More: that many processes on Ray, each with a GPU of its own if there are any and the study is
        not for the CPU.
    retry
        Do failed runs again.
    report
        Called before and after each run; with several workers, only after it.

    Returns
    -------
    rows
        Rows of the study by run. Runs that another process is doing at the end are not among them.

    Raises
    ------
    MRReconError
        If a tool or a device is missing that the study needs, or the folder cannot be written. What goes wrong within a
        run is written to its row.
    KeyboardInterrupt
        On Ctrl-C: the run is abandoned, and done when the study is started again.
    """
    if workers < 1:
        raise DataError(f"The number of workers must be at least 1, got {workers}.")
    check_machine(study)
    runs, results = expand(study), Results(folder)
    results.create(index(study, runs))
    rows = results.rows() if retry else {}
    again = {run.id: rows[run.id]["ended"] for run in runs if "error" in rows.get(run.id, {})}
    workers = min(workers, sum(run.id in again or results.row(run.id) is None for run in runs))
    try:
        if workers <= 1:
            work(study, runs, results, again=again, report=report)
        else:
            from mrrecon.studies.cluster import work_on_ray

            work_on_ray(study, runs, results, workers, again=again, report=report)
    finally:
        results.merge()
    rows = results.rows()
    return {run.id: rows[run.id] for run in runs if run.id in rows}


def check_machine(study: Study) -> None:
    """Refuse a study that this machine cannot do.

    Raises
    ------
    MissingDependencyError
        If BART is not there, or a GPU.
    """
    import numpy as np

    from mrrecon.operators.backend import to_device
    from mrrecon.studies.peers import BartL1Wavelet, bart_version

    if any(method.name == BartL1Wavelet.name for method in study.solvers):
        bart_version()
    if study.device == "cuda":
        to_device(np.zeros(1), "cuda")


def work(
    study: Study,
    runs: Sequence[Run],
    results: Results,
    *,
    first: int = 0,
    again: Mapping[str, str] | None = None,
    workers: int = 1,
    report: Report | None = None,
) -> None:
    """Do runs in this process, leaving out what is done or what others do; see :func:`perform`.

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
    report
        See :func:`perform`.
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
                if report is not None:
                    report(run, None)
                row = _perform_one(study, run, scans, results, workers)
                results.write(row)
            done += 1
            if report is not None:
                report(run, row)
            if time.monotonic() - merged > MERGE_EVERY:
                results.merge()
                merged = time.monotonic()


def _perform_one(study: Study, run: Run, scans: Scans, results: Results, workers: int) -> dict[str, Any]:
    """Row of a run, with what went wrong if something did."""
    began = _clock()
    row = {**run.entry(), "given": run.given}
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("default", UserWarning)
        try:
            row |= _measured(study, run, scans, results)
        except Exception as error:  # whatever it is, it is this run's, and the study goes on
            row["error"] = _spell(error)
            if not isinstance(error, (MRReconError, MemoryError)):
                row["traceback"] = traceback.format_exc()
    said = dict.fromkeys(str(note.message) for note in notes if note.category is UserWarning)
    machine = {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "process": os.getpid(),
        "workers": workers,
    }
    return {**row, "notes": list(said), "machine": machine, "began": began, "ended": _clock()}


def _clock() -> str:
    return datetime.now().astimezone().isoformat(timespec="microseconds")


def _measured(study: Study, run: Run, scans: Scans, results: Results) -> dict[str, Any]:
    """What a run adds to its row; its slices are saved."""
    from mrrecon import metrics
    from mrrecon.operators.backend import num_threads

    scan = scans.get(run)
    device = _device(study, run)
    result = run.solver(scan.to(device))
    if result.settings.get("stopped") == "interrupted":  # Ctrl-C: an image so far is no result of a study
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
        "stopped": result.settings.get("stopped"),
        "used": _plain(result.settings),
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


def _spell(error: BaseException) -> str:
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
