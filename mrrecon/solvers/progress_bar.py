"""A progress bar with the time left, for any solver: ``solver(scan, callback=progress("CG-SENSE"))``."""

from __future__ import annotations

from typing import Any

from mrrecon.solvers.base import Callback, Status

__all__ = ["progress"]

QUIET_SECONDS = 2.0


def progress(description: str = "") -> Callback:
    """Return a callback that shows a bar on standard error, once the work has taken two seconds.

    Parameters
    ----------
    description
        What stands in front of the bar.
    """
    bar: Any = None

    def show(status: Status) -> None:
        nonlocal bar
        if bar is None:
            from tqdm.auto import tqdm

            bar = tqdm(total=status.total, desc=description, delay=QUIET_SECONDS, leave=False)
        bar.set_postfix(residual=f"{status.residual:.2g}", refresh=False)
        bar.update(status.iteration - bar.n)
        if status.iteration == status.total:
            bar.close()

    return show
