"""A progress bar with the time left, for any solver: ``solver(scan, callback=progress("CG-SENSE"))``."""

from __future__ import annotations

from mrrecon.progress import ProgressBar
from mrrecon.solvers.base import Callback, Status

__all__ = ["progress"]


def progress(description: str = "") -> Callback:
    """Return a callback that shows a bar on standard error, once the work has taken two seconds.

    Parameters
    ----------
    description
        What stands in front of the bar.
    """
    bar: ProgressBar | None = None

    def show(status: Status) -> None:
        nonlocal bar
        bar = bar or ProgressBar(status.total, description)
        bar.at(status.iteration, residual=f"{status.residual:.2g}")

    return show
