"""``mrrecon report``: tables, plots and montages of a study."""

from __future__ import annotations

from pathlib import Path

from mrrecon.errors import DataError

__all__ = ["report"]


def report(folder: str, output: list[str] | None = None) -> None:
    """Make tables (CSV, Markdown), plots and montages of a study, and report.md that shows them.

    Parameters
    ----------
    folder
        Folder of the rows that mrrecon bench wrote; it need not be finished.
    output
        Folder for the report (default: report inside the folder of the rows).
    """
    from mrrecon.report import write_report

    if output is not None and len(output) != 1:
        raise DataError(f"mrrecon report writes into one folder, got {len(output)}: {', '.join(output)}.")
    written = write_report(folder, Path(output[0]) if output else Path(folder) / "report")
    print(f"wrote {written}")
