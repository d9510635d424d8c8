"""``mrrecon bench``: a grid of reconstructions, each of them a row of numbers."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from mrrecon.commands.files import Reads, Writes, check_folder
from mrrecon.errors import DataError

if TYPE_CHECKING:
    from mrrecon.studies.runs import Run

__all__ = ["bench"]

FAILED, INTERRUPTED = 1, 130


def _files(file: str) -> Iterator[str | Path]:
    """What a study reads: anatomies, scans, masks of the brain, and priors that are folders."""
    from mrrecon.priors import names
    from mrrecon.studies import Study

    study = Study.from_yaml(file)
    for one in study.files:
        yield from (path for path in (one.path, one.brain) if path is not None)
    for prior in (*study.priors, *(prior for method in study.solvers for prior in method.priors)):
        chosen = prior if isinstance(prior, list) else [prior]
        yield from (name for name in chosen if name not in names())


def _default(options: Mapping[str, Any]) -> str:
    from mrrecon.studies import Study

    return f"runs/{Study.from_yaml(options['file']).name}"


STUDY = Reads(also=_files)
ROWS = Writes(check_folder, parts=("study.json", "rows.jsonl", "rows", "locks", "planes"), default=_default)


def bench(
    file: Annotated[str, STUDY],
    output: list[Annotated[str, ROWS]] | None = None,
    workers: int = 1,
    retry: bool = False,
) -> int:
    """Run a study: files x accelerations x solvers x priors x seeds; what is done already is left out.

    Parameters
    ----------
    file
        YAML file of the study; see docs/studies.md.
    output
        Folder for the rows (default: runs/NAME). The same command goes on with what it has, also while others work on
        it.
    workers
        Number of processes (more than one: on Ray, pip install 'mrrecon[cluster]'), each with a GPU of its own if there
        are any.
    retry
        Do the runs that failed again.
    """
    from mrrecon import studies

    study = studies.Study.from_yaml(file)
    if output is not None and len(output) != 1:
        raise DataError(f"mrrecon bench writes into one folder, got {len(output)}: {', '.join(output)}.")
    folder = Path(output[0] if output else _default({"file": file}))
    runs = studies.expand(study)
    rows = studies.Results(folder).rows()
    done = sum(run.id in rows and not (retry and "error" in rows[run.id]) for run in runs)
    print(f"{study.name}: {len(runs)} runs, {done} of them done; rows in {folder}")
    try:
        with _Progress(done, len(runs)) as progress:
            rows = studies.perform(study, folder, workers=workers, retry=retry, report=progress)
    except KeyboardInterrupt:
        print("mrrecon: interrupted; the same command goes on with what is left.", file=sys.stderr)
        return INTERRUPTED
    failed = [row for row in rows.values() if "error" in row]
    if len(rows) < len(runs):
        print(f"{len(runs) - len(rows)} runs are being done by other processes")
    print(f"wrote {folder / 'rows.jsonl'}; mrrecon report {folder} makes tables and pictures of it")
    if failed:
        print(
            f"mrrecon: {len(failed)} of {len(runs)} runs failed, the first ({_spell(failed[0])}) with: "
            f"{failed[0]['error']} (--retry does them again)",
            file=sys.stderr,
        )
    return FAILED if failed else 0


class _Progress:
    """A line for each run and, on a terminal, a bar with the time left."""

    def __init__(self, done: int, total: int) -> None:
        from tqdm.auto import tqdm

        self._bar = tqdm(total=total, initial=done, unit="run", leave=False, disable=None)
        self._done, self._total = done, total

    def __call__(self, run: Run, row: dict[str, Any] | None) -> None:
        if row is None:
            self._bar.set_description_str(_spell(run.entry()))
            return
        outcome = f"failed: {row['error']}" if "error" in row else _quality(row)
        self._done += 1
        self._bar.write(f"[{self._done}/{self._total}] {_spell(row)}: {outcome}")
        self._bar.update()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()


def _spell(entry: Mapping[str, Any]) -> str:
    prior = f", {entry['prior']}" if entry["prior"] else ""
    return (
        f"{entry['file']}, R = {entry['acceleration']:g}, seed {entry['seed']}, {entry['method']} ({entry['variant']})"
        f"{prior}"
    )


def _quality(row: Mapping[str, Any]) -> str:
    return f"{row['metrics']['psnr']:.2f} dB, SSIM {row['metrics']['ssim']:.4f}, {row['seconds']:.1f} s"
