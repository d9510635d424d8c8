"""The report of a study: tables, pictures, and report.md that shows them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mrrecon.atomic import make_folder, write_text
from mrrecon.errors import DataError
from mrrecon.pictures.montage import Style, draw_planes
from mrrecon.pictures.planes import Planes
from mrrecon.pictures.tables import write_csv
from mrrecon.report.plots import draw_cost, draw_quality, draw_settings
from mrrecon.report.summary import BEST, MEASURES, Summary, gains
from mrrecon.report.tables import file_tables, mean_table
from mrrecon.studies.results import Results
from mrrecon.studies.row import Row, row_name

__all__ = ["write_report"]

PLACE = ("run", "file", "acceleration", "achieved", "method", "variant", "prior", "seed")
KIND = ("line", "method", "prior", "setting")
MEANS = (*KIND, "acceleration", "files", "variants", "psnr", "psnr_deviation", *MEASURES[1:])
PER_FILE = (*KIND, "variant", "file", "acceleration", "achieved", "seeds", *MEASURES)
NUMBERS = ("psnr", "psnr_complex", "psnr_component", "ssim", "nmse", "nrmse", "nmse_complex")
PER_RUN = (*PLACE, *NUMBERS, "policy", "seconds", "evaluations", "iterations", "stopped", "device", "threads", "error")
MONTAGE = Style(column=1.9, head=0.75, font=7)
LISTED = 10  # failures and notes


def write_report(runs: str | Path, folder: str | Path) -> Path:
    """Write tables, plots and montages of a study, finished or not, and report.md.

    Parameters
    ----------
    runs
        Folder that ``mrrecon bench`` wrote.
    folder
        Where to write; files of an earlier report are replaced.

    Returns
    -------
    path
        Of report.md.

    Raises
    ------
    FileFormatError
        If `runs` is not the folder of a study.
    DataError
        If no run has a result yet.
    OutputError
        If the folder cannot be written.
    """
    results = Results(runs)
    summary = Summary.read(results)
    if not summary.rows:
        failed = (
            f"; the first of {len(summary.failed)} failures: {summary.failed[0]['error']}" if summary.failed else ""
        )
        raise DataError(f"No run of {runs} has a result yet{failed}")
    folder = make_folder(folder)
    _write_tables(summary, folder)
    parts = [
        _head(summary),
        _tables(summary),
        _pictures(summary, folder),
        f"## Single files\n\nPSNR in dB / SSIM, mean over seeds.\n\n{file_tables(summary, summary.by_file())}",
        _montages(summary, results, folder),
        _troubles(summary),
    ]
    return write_text(folder / "report.md", "\n\n".join(filter(None, parts)) + "\n")


def _write_tables(summary: Summary, folder: Path) -> None:
    write_csv(summary.means(), MEANS, folder / "means.csv")
    write_csv(summary.by_file(), PER_FILE, folder / "files.csv")
    write_csv([_flat(row) for row in (*summary.rows, *summary.failed)], PER_RUN, folder / "runs.csv")


def _flat(row: Row) -> dict[str, Any]:
    metrics = row.get("metrics", {})
    policy = _policy(metrics["policy"]) if metrics else ""
    return {**{name: metrics.get(name) for name in NUMBERS}, **row, "policy": policy}


def _head(summary: Summary) -> str:
    study, row = summary.study, summary.rows[0]
    simulation = ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in study["simulation"].items())
    sampling = ", ".join(f"{k} {v}" for k, v in study["sampling"].items())
    voxels = " to ".join(f"{v:.2f}" for v in _range([max(r["voxel_size"]) for r in summary.rows]))
    counts = f"{len(summary.rows)} runs of {len(summary.grid)} have a result"
    counts += f", {len(summary.failed)} failed" if summary.failed else ""
    counts += f", {summary.missing} are not done" if summary.missing else ""
    counts += f"; {summary.others} rows of earlier settings are left out" if summary.others else ""
    used = sorted({(r["device"], r["threads"], r["machine"]["workers"]) for r in summary.rows})
    machines = "; ".join(f"{device}, {threads} threads, {workers} worker(s)" for device, threads, workers in used)
    deviation = max(abs(r["achieved"] / r["acceleration"] - 1) for r in summary.rows)
    return "\n".join(
        [
            f"# {study['name']}",
            "",
            f"{counts}.",
            "",
            f"- Files: {', '.join(summary.files)}; longest voxel edge {voxels} mm",
            f"- Seeds: {', '.join(map(str, study['seeds']))}",
            f"- Simulation of anatomies: {simulation}",
            f"- Sampling: {sampling}; achieved R within {100 * deviation:.1f} % of the request",
            f"- Maps: {study['maps']}",
            f"- Metrics: {_policy(row['metrics']['policy'])}",
            f"- Times: wall time of the solver alone, on {machines}; machines may have been shared",
            f"- *{BEST}*: the setting of the method's grid with the highest PSNR, chosen for each file, R and "
            "seed knowing the truth; *default* does not see it",
            "",
            "Numbers of single runs are in runs.csv, of single files in files.csv, means in means.csv.",
        ]
    )


def _policy(policy: Mapping[str, Any]) -> str:
    return (
        f"magnitudes; data range {policy['data_range']}, region {policy['region']}, scaling {policy['scaling']}, SSIM "
        f"across {policy['slice_axis']} with {policy['ssim']}"
    )


def _tables(summary: Summary) -> str:
    means, baseline = summary.means(), summary.study["baseline"]
    parts = [f"## PSNR in dB, mean over files\n\n{mean_table(summary, means, 'psnr')}"]
    if baseline:
        by_file = summary.by_file()
        text = f"Against {baseline} at its best, for each file and R"
        parts.append(f"## Gain in PSNR (dB)\n\n{text}.\n\n{mean_table(summary, gains(by_file, baseline), 'gain')}")
    parts.append(f"## SSIM, mean over files\n\n{mean_table(summary, means, 'ssim')}")
    if baseline:
        of_ssim = mean_table(summary, gains(by_file, baseline, "ssim"), "gain", "ssim_gain")
        parts.append(f"## Gain in SSIM\n\n{text} (the best by PSNR).\n\n{of_ssim}")
    parts.append(f"## Seconds, median over files\n\n{mean_table(summary, means, 'seconds')}")
    if any(r["evaluations"] is not None for r in means):
        parts.append(f"## Network evaluations (slices), mean\n\n{mean_table(summary, means, 'evaluations')}")
    return "\n\n".join(parts)


def _pictures(summary: Summary, folder: Path) -> str:
    drawn = {
        "PSNR and SSIM against R": draw_quality(summary, folder / "quality.png"),
        "PSNR against network evaluations": draw_cost(summary, "evaluations", folder / "evaluations.png"),
        "PSNR against seconds": draw_cost(summary, "seconds", folder / "seconds.png"),
        "PSNR against settings": draw_settings(summary, folder / "settings.png"),
    }
    return "\n\n".join(f"## {title}\n\n![{title}]({path.name})" for title, path in drawn.items() if path is not None)


def _montages(summary: Summary, results: Results, folder: Path) -> str:
    """One montage for each file and R of the first seed; each method at its best."""
    parts = []
    rows = {row["run"]: row for row in summary.rows}
    chosen: dict[tuple[str, float], dict[str, Row]] = {}
    for record in summary.by_file():  # the best comes after the default, and takes its place
        place = chosen.setdefault((record["file"], record["acceleration"]), {})
        place[record["line"]] = rows[record["runs"][0]]
    for (file, acceleration), shown in chosen.items():
        columns: dict[str, Planes] = {}
        for line in (line for line in summary.lines if line in shown):
            row = shown[line]
            planes, truth = _planes(results, row["run"]), _planes(results, row["truth"])
            if planes is not None and truth is not None:
                quality = f"{row['metrics']['psnr']:.2f} dB, SSIM {row['metrics']['ssim']:.3f}"
                columns |= {"truth": truth, f"{line}\n{row['variant']}\n{quality}": planes}
        if columns:
            name = f"montage_{re.sub(r'[^A-Za-z0-9_.-]+', '_', file)}_R{acceleration:g}.png"
            draw_planes(columns, folder / name, MONTAGE, title=f"{file}, R = {acceleration:g}")
            parts.append(f"![{file}, R = {acceleration:g}]({name})")
    if not parts:
        return ""
    return (
        "## Montages\n\nMiddle slices of the object, all at the window of the truth; errors times five; first seed.\n\n"
        + "\n\n".join(parts)
    )


def _planes(results: Results, name: str) -> Planes | None:
    try:
        with np.load(results.planes(name)) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError):
        return None


def _troubles(summary: Summary) -> str:
    """What a reader should know before believing the numbers."""
    lines = [
        f"- {line}: the best value is at an end of its grid at R = {', '.join(f'{r:g}' for r in accelerations)} in at "
        "least one run; a wider grid may give better."
        for line, accelerations in summary.at_the_end().items()
    ]
    for row in summary.failed[:LISTED]:
        lines.append(f"- failed: {row_name(row)}: {row['error']}")
    if len(summary.failed) > LISTED:
        lines.append(f"- and {len(summary.failed) - LISTED} more failures; see runs.csv")
    odd = [r for r in summary.rows if r["stopped"] not in (None, "converged", "max_iter")]
    lines += [f"- stopped early: {row_name(row)}: {row['stopped']}" for row in odd[:LISTED]]
    lines += [f"- note: {note}" for note in dict.fromkeys(n for r in summary.rows for n in r["notes"])][:LISTED]
    return "## To be noted\n\n" + "\n".join(lines) if lines else ""


def _range(values: list[float]) -> list[float]:
    low, high = min(values), max(values)
    return [low] if f"{low:.2f}" == f"{high:.2f}" else [low, high]
