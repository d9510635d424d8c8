"""The contract of a solver."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mrrecon.progress import ProgressBar

if TYPE_CHECKING:
    import numpy as np

    from mrrecon.acquisition import Acquisition
    from mrrecon.reconstruction import Reconstruction

__all__ = ["Callback", "Solver", "Status", "progress"]


@dataclass(frozen=True)
class Status:
    """What a callback gets to see after each iteration.

    Parameters
    ----------
    iteration, total
        Number of this iteration, from 1, and of the last one there can be.
    residual
        The quantity that the stopping rule looks at; each solver says which.
    elapsed
        Seconds since the solver started.
    image
        Call it for the current volume ``(x, y, z)``, NumPy ``complex64``, in the scale of the data.
    """

    iteration: int
    total: int
    residual: float
    elapsed: float
    image: Callable[[], np.ndarray]


Callback = Callable[[Status], "bool | None"]
"""Called after each iteration; returning True stops the solver, which then returns what it has."""


class Solver(ABC):
    """A reconstruction method with its settings: call it on an acquisition.

    Subclasses are frozen dataclasses of plain values, so that the command line and configuration files can
    make them.
    """

    name: ClassVar[str]

    def check(self, acquisition: Acquisition, device: str = "cpu") -> None:  # noqa: B027 (most have nothing to refuse)
        """Refuse what :meth:`__call__` would refuse later, as far as it can be known before any work.

        Parameters
        ----------
        acquisition
            The scan; only its size and geometry are looked at.
        device
            ``"cpu"`` or ``"cuda"``: where it will be solved.

        Raises
        ------
        MRReconError, PriorError
            If it would.
        """

    @abstractmethod
    def __call__(self, acquisition: Acquisition, callback: Callback | None = None) -> Reconstruction:
        """Reconstruct `acquisition`.

        Parameters
        ----------
        acquisition
            The scan; loaded, whitened and scaled here as needed. It is not changed.
        callback
            Called with a :class:`Status` after each iteration; return True to stop and keep what there is.
        """


def progress(description: str = "") -> Callback:
    """Return a callback that shows a bar on standard error, with the time left, once the work has taken two seconds.

    For any solver: ``solver(scan, callback=progress("CG-SENSE"))``.

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
