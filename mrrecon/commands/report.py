"""``mrrecon report``: tables, plots and montages of a study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from mrrecon.commands.files import Reads, Writes, check_folder, one_folder

__all__ = ["report"]


def _default(options: Mapping[str, Any]) -> str:
    return str(Path(options["folder"]) / "report")


STUDY = Reads(parts=("study.json", "rows.jsonl", "rows", "planes"))
REPORT = Writes(check_folder, parts=("report.md", "means.csv", "files.csv", "runs.csv"), default=_default)


def report(folder: Annotated[str, STUDY], output: list[Annotated[str, REPORT]] | None = None) -> None:
    """Make tables (CSV, Markdown), plots and montages of a study, and report.md that shows them.

    Parameters
    ----------
    folder
        Folder of the rows that mrrecon bench wrote; it need not be finished.
    output
        Folder for the report (default: report inside the folder of the rows).
    """
    from mrrecon.report import write_report

    print(f"wrote {write_report(folder, one_folder('report', output, _default({'folder': folder})))}")
