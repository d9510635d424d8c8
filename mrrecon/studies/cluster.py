"""Several workers on Ray: processes of this machine, or of a cluster whose machines share the study's folder."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from mrrecon.errors import MissingDependencyError, MRReconError
from mrrecon.operators.backend import num_threads
from mrrecon.studies.results import Results
from mrrecon.studies.runs import Run
from mrrecon.studies.study import Study
from mrrecon.studies.work import RunCallback, work

__all__ = ["work_on_ray"]

LOOK_EVERY = 1.0  # seconds
PATIENCE = 20.0  # seconds that workers get to abandon their runs


def work_on_ray(
    study: Study,
    runs: Sequence[Run],
    results: Results,
    workers: int,
    *,
    again: Mapping[str, str],
    callback: RunCallback | None = None,
) -> None:
    """Do runs in several processes; see :func:`mrrecon.studies.perform`.

    Each of them takes runs by claims, as processes do that were started by hand. With $RAY_ADDRESS they are part of
    that cluster, else of a Ray instance of their own that ends with them.

    Raises
    ------
    MissingDependencyError
        If Ray is not installed.
    MRReconError
        If a worker dies; the other ones end their work first.
    """
    ray = _import_ray()
    address = os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"address": address} if address else {"address": "local", "include_dashboard": False}
    if not address:
        options["num_cpus"] = max(workers, num_threads())
    ray.init(log_to_driver=False, logging_level="ERROR", **options)
    try:
        task, number = _task(ray, study, workers)
        folder = results.folder.absolute()
        starts = [len(runs) * i // number for i in range(number)]
        tasks = [task.remote(study, list(runs), folder, first, dict(again), number) for first in starts]
        try:
            _wait(ray, tasks, runs, results, again, callback)
        except KeyboardInterrupt:
            for one in tasks:
                ray.cancel(one, force=False)
            ray.wait(tasks, num_returns=len(tasks), timeout=PATIENCE)
            raise
    finally:
        ray.shutdown()


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before the import
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            "More than one worker needs the package ray: pip install 'mrrecon[cluster]', or start the same command "
            "several times with --workers 1."
        ) from error
    return ray


def _task(ray: Any, study: Study, workers: int) -> tuple[Any, int]:
    """What a worker is, and how many there can be."""
    gpus = 0 if study.device == "cpu" else int(ray.cluster_resources().get("GPU", 0))
    number = min(workers, gpus) if gpus else workers
    if number < workers:
        warnings.warn(f"There are {gpus} GPUs, hence {number} workers and not {workers}.", stacklevel=2)
    cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    share = max(1, min(sum(cores) // number, *filter(None, cores)))  # no more than any machine has
    threads = {"MRRECON_NUM_THREADS": str(share), "OMP_NUM_THREADS": str(share)}
    options = {"num_cpus": share, "num_gpus": min(gpus, 1), "max_retries": 0, "runtime_env": {"env_vars": threads}}
    return ray.remote(**options)(_worker), number


def _worker(study: Study, runs: list[Run], folder: Any, first: int, again: dict[str, str], workers: int) -> None:
    work(study, runs, Results(folder), first=first, again=again, workers=workers)


def _wait(
    ray: Any,
    tasks: Sequence[Any],
    runs: Sequence[Run],
    results: Results,
    again: Mapping[str, str],
    callback: RunCallback | None,
) -> None:
    """Pass rows on as they appear, until all workers have ended."""
    left, failures = list(tasks), []
    missing = {run.id: run for run in runs if run.id in again or results.row(run.id) is None}
    while left:
        ended, left = ray.wait(left, num_returns=1, timeout=LOOK_EVERY)
        for run in list(missing.values()):
            row = results.row(run.id)
            if row is not None and row.get("ended") != again.get(run.id):
                del missing[run.id]
                if callback is not None:
                    callback(run, row)
        for one in ended:
            try:
                ray.get(one)
            except ray.exceptions.RayError as error:
                failures.append(error)
    if failures:
        cause = getattr(failures[0], "cause", None)
        if isinstance(cause, MRReconError):
            raise cause
        said = " ".join(str(failures[0]).split())[:300]
        raise MRReconError(f"{len(failures)} of the workers died ({said}); the same command goes on with what is left.")
