"""Tables of a study as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mrrecon.pictures.tables import markdown_table
from mrrecon.report.summary import BEST, Summary
from mrrecon.studies.method import DEFAULT

__all__ = ["file_tables", "mean_table"]

FORMATS: dict[str, Callable[[float], str]] = {
    "psnr": "{:.2f}".format,
    "ssim": "{:.4f}".format,
    "seconds": "{:.1f}".format,
    "evaluations": "{:.0f}".format,
    "gain": "{:+.2f}".format,
    "ssim_gain": "{:+.4f}".format,
}
HIGHER_IS_BETTER = ("psnr", "ssim", "gain", "ssim_gain")


def mean_table(
    summary: Summary, records: Sequence[Mapping[str, Any]], measure: str, spelling: str | None = None
) -> str:
    """Markdown table: one row per method and setting, one column per R; the highest of a column is bold.

    Parameters
    ----------
    summary
        Says which methods, R and files there are.
    records
        From :meth:`Summary.means` or :func:`~mrrecon.report.summary.gains`. Of fewer files than the study has, the
        number is given.
    measure
        Which value of the records.
    spelling
        How to write it, a key of `FORMATS`; by default that of the measure.
    """
    write, bold = FORMATS[spelling or measure], (spelling or measure) in HIGHER_IS_BETTER
    found = {(r["line"], r["setting"], r["acceleration"]): r for r in records if r.get(measure) is not None}
    settings = [(line, s) for line in summary.lines for s in (DEFAULT, BEST) if any(k[:2] == (line, s) for k in found)]
    tops = {r: max((found[k][measure] for k in found if k[2] == r), default=None) for r in summary.accelerations}
    body = []
    for line, setting in settings:
        cells = []
        for acceleration in summary.accelerations:
            record = found.get((line, setting, acceleration))
            text = "" if record is None else write(record[measure])
            if record is not None and bold and record[measure] == tops[acceleration]:
                text = f"**{text}**"
            if record is not None and record["files"] < len(summary.files):
                text += f" ({record['files']} of {len(summary.files)} files)"
            cells.append(text)
        body.append([line, setting, *cells])
    return markdown_table(_head(summary), body, texts=2)


def file_tables(summary: Summary, records: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, for each file: PSNR and SSIM of each method, with the setting that was best."""
    parts = []
    for file in summary.files:
        body = []
        of_file = [r for r in records if r["file"] == file]
        for line in summary.lines:
            for setting in (DEFAULT, BEST):
                of_line = {r["acceleration"]: r for r in of_file if (r["line"], r["setting"]) == (line, setting)}
                if of_line:
                    cells = [_file_cell(of_line.get(r)) for r in summary.accelerations]
                    body.append([line, setting, *cells])
        table = markdown_table(_head(summary), body, texts=2)
        parts.append(f"### {file}\n\n{table}")
    return "\n\n".join(parts)


def _head(summary: Summary) -> list[str]:
    return ["method", "setting", *(f"R = {r:g}" for r in summary.accelerations)]


def _file_cell(record: Mapping[str, Any] | None) -> str:
    if record is None:
        return ""
    chosen = f" ({record['variant']})" if record["setting"] == BEST else ""
    return f"{record['psnr']:.2f} / {record['ssim']:.4f}{chosen}"
