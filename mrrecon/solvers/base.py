"""The contract of a solver, and the loop that every iterative method runs in."""

from __future__ import annotations

import math
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import numpy as np

    from mrrecon.acquisition import Acquisition
    from mrrecon.reconstruction import Reconstruction

__all__ = ["Callback", "Iteration", "Outcome", "Solver", "Status", "check_settings", "iterate"]


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


def check_settings(lam: float | None, max_iter: int, tolerance: float) -> None:
    """Refuse settings that make no sense, before any work is done.

    Raises
    ------
    ValueError
        If the strength or the tolerance is negative, or there are no iterations.
    """
    if lam is not None and not lam >= 0:
        raise ValueError(f"lam must not be negative, got {lam}; 0 means no regularisation.")
    if max_iter < 1:
        raise ValueError(f"max_iter must be at least 1, got {max_iter}.")
    if not tolerance >= 0:
        raise ValueError(f"tolerance must not be negative, got {tolerance}; 0 means to do all iterations.")


@dataclass(frozen=True)
class Iteration:
    """What a method yields after each iteration: its iterate, and how far it is."""

    image: Any
    residual: float


@dataclass(frozen=True)
class Outcome:
    """Where the loop ended: the last good iterate, one record an iteration, and why it stopped."""

    image: Any
    history: list[dict[str, float]]
    stopped: str


def iterate(
    iterations: Iterable[Iteration],
    start: Any,
    total: int,
    tolerance: float,
    callback: Callback | None,
    to_volume: Callable[[Any], np.ndarray],
) -> Outcome:
    """Run a method to its end: count, watch for convergence, report, and keep the best if it goes wrong.

    A method that meets numbers that are not finite yields a residual that is not finite, with the last good
    iterate. Ctrl-C lets the iteration finish and then stops; a second one interrupts at once.

    Parameters
    ----------
    iterations
        The method, a generator.
    start
        The iterate before the first iteration, which is the result when there is none.
    total
        Number of iterations to stop at.
    tolerance
        Residual to stop at.
    callback
        See :class:`Solver`.
    to_volume
        Turns an iterate into the volume that the caller gets.
    """
    image, history, stopped = start, [], "max_iter"
    began = time.perf_counter()
    with _ctrl_c() as pressed:
        try:
            for number, step in zip(range(1, total + 1), iterations, strict=False):
                image = step.image
                if not math.isfinite(step.residual):
                    stopped = f"numbers that are not finite in iteration {number}: kept the one before"
                    break
                elapsed = time.perf_counter() - began
                history.append({"iteration": number, "residual": step.residual, "seconds": elapsed})
                status = Status(number, total, step.residual, elapsed, partial(to_volume, image))
                if callback is not None and callback(status):
                    stopped = "callback"
                elif pressed():
                    stopped = "interrupted"
                elif step.residual <= tolerance:
                    stopped = "converged"
                else:
                    continue
                break
        except KeyboardInterrupt:
            stopped = "interrupted"
    if stopped == "interrupted" and history:
        history[-1]["interrupted"] = 1
    return Outcome(image, history, stopped)


@contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """Note the first Ctrl-C instead of raising, so that no iteration is cut in half."""
    presses: list[int] = []

    def note(number: int, frame: Any) -> None:
        presses.append(number)
        if len(presses) > 1:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(presses)
    finally:
        signal.signal(signal.SIGINT, before)
