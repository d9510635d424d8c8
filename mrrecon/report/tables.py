"""Tables of a study as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mrrecon.pictures.tables import grouped, markdown_table
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
    known = [r for r in records if r.get(measure) is not None]
    tops = {r: max(one[measure] for one in of) for r, of in grouped(known, lambda one: one["acceleration"]).items()}

    def cell(record: Mapping[str, Any]) -> str:
        text = write(record[measure])
        if bold and record[measure] == tops[record["acceleration"]]:
            text = f"**{text}**"
        partly = record["files"] < len(summary.files)
        return f"{text} ({record['files']} of {len(summary.files)} files)" if partly else text

    return _table(summary, known, cell)


def file_tables(summary: Summary, records: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, for each file: PSNR and SSIM of each method, with the setting that was best."""

    def cell(record: Mapping[str, Any]) -> str:
        chosen = f" ({record['variant']})" if record["setting"] == BEST else ""
        return f"{record['psnr']:.2f} / {record['ssim']:.4f}{chosen}"

    of_files = grouped(records, lambda record: record["file"])
    return "\n\n".join(f"### {file}\n\n{_table(summary, of_files.get(file, []), cell)}" for file in summary.files)


def _table(summary: Summary, records: Sequence[Mapping[str, Any]], cell: Callable[[Mapping[str, Any]], str]) -> str:
    """One row per method and setting that there are records of, one column per R."""
    found = {(r["line"], r["setting"], r["acceleration"]): cell(r) for r in records}
    rows = [(line, s) for line in summary.lines for s in (DEFAULT, BEST) if any(k[:2] == (line, s) for k in found)]
    body = [[*row, *(found.get((*row, r), "") for r in summary.accelerations)] for row in rows]
    return markdown_table(["method", "setting", *(f"R = {r:g}" for r in summary.accelerations)], body, texts=2)
