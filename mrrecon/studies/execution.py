"""Doing a study: what is left of it, in this process or in several."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrrecon.errors import DataError
from mrrecon.studies.cluster import work_on_ray
from mrrecon.studies.results import Results
from mrrecon.studies.row import Row
from mrrecon.studies.runs import expand, index
from mrrecon.studies.study import Study
from mrrecon.studies.work import RunCallback, work

__all__ = ["check_machine", "perform"]


def perform(
    study: Study, folder: str | Path, *, workers: int = 1, retry: bool = False, callback: RunCallback | None = None
) -> dict[str, Row]:
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
    callback
        Called with a run and None before it starts, and with its row afterwards; with several workers, only after it.

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
            work(study, runs, results, again=again, callback=callback)
        else:
            work_on_ray(study, runs, results, workers, again=again, callback=callback)
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
    from mrrecon.operators.backend import to_device
    from mrrecon.studies.peers import BartL1Wavelet, bart_version

    if any(method.name == BartL1Wavelet.name for method in study.solvers):
        bart_version()
    if study.device == "cuda":
        to_device(np.zeros(1), "cuda")
