"""``mrrecon bench``: a grid of reconstructions, each of them a row of numbers."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from mrrecon.commands.files import Reads, Writes, check_folder, one_folder
from mrrecon.progress import ProgressBar
from mrrecon.studies.row import Row, row_name

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
    file: Annotated[str, STUDY], output: list[Annotated[str, ROWS]] | None = None, workers: int = 1, retry: bool = False
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
    folder = one_folder("bench", output, f"runs/{study.name}")
    runs = studies.expand(study)
    rows = studies.Results(folder).rows()
    done = sum(run.id in rows and not (retry and "error" in rows[run.id]) for run in runs)
    print(f"{study.name}: {len(runs)} runs, {done} of them done; rows in {folder}")
    try:
        with ProgressBar(len(runs), unit="run", done=done) as bar:

            def show(run: Run, row: Row | None) -> None:
                """Name a run that begins, and print a line for one that is done."""
                nonlocal done
                if row is None:
                    bar.at(done, row_name(run.place()))
                    return
                done += 1
                outcome = f"failed: {row['error']}" if "error" in row else _quality(row)
                bar.say(f"[{done}/{len(runs)}] {row_name(row)}: {outcome}")
                bar.at(done)

            rows = studies.perform(study, folder, workers=workers, retry=retry, callback=show)
    except KeyboardInterrupt:
        print("mrrecon: interrupted; the same command goes on with what is left.", file=sys.stderr)
        return INTERRUPTED
    failed = [row for row in rows.values() if "error" in row]
    if len(rows) < len(runs):
        print(f"{len(runs) - len(rows)} runs are being done by other processes")
    print(f"wrote {folder / 'rows.jsonl'}; mrrecon report {folder} makes tables and pictures of it")
    if failed:
        print(
            f"mrrecon: {len(failed)} of {len(runs)} runs failed, the first ({row_name(failed[0])}) with: "
            f"{failed[0]['error']} (--retry does them again)",
            file=sys.stderr,
        )
    return FAILED if failed else 0


def _quality(row: Row) -> str:
    return f"{row['metrics']['psnr']:.2f} dB, SSIM {row['metrics']['ssim']:.4f}, {row['seconds']:.1f} s"
