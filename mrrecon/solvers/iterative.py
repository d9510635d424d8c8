"""What iterative methods share: pose the problem, run the loop, record the result."""

from __future__ import annotations

import math
import signal
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mrrecon.solvers.base import Callback, Solver, Status
from mrrecon.solvers.problem import Problem, pose

if TYPE_CHECKING:
    import numpy as np

    from mrrecon.acquisition import Acquisition
    from mrrecon.reconstruction import Reconstruction

__all__ = ["Iteration", "IterativeSolver", "Outcome", "iterate"]


@dataclass(frozen=True)
class IterativeSolver(Solver):
    """A method that improves the image step by step, with a strength that follows from the noise when not given.

    Parameters
    ----------
    lam
        Strength of the regularisation, in the units of the method; by default its own.
    max_iter
        Most iterations to do.
    tolerance
        Residual to stop at; 0 for never.

    Raises
    ------
    ValueError
        If the strength or the tolerance is negative, or there are no iterations.
    """

    lam: float | None = None
    max_iter: int = 100
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if self.lam is not None and not self.lam >= 0:
            raise ValueError(f"lam must not be negative, got {self.lam}; 0 means no regularisation.")
        if self.max_iter < 1:
            raise ValueError(f"max_iter must be at least 1, got {self.max_iter}.")
        if not self.tolerance >= 0:
            raise ValueError(f"tolerance must not be negative, got {self.tolerance}; 0 means to do all iterations.")

    @abstractmethod
    def default_strength(self, problem: Problem) -> float:
        """Return the value of `lam` for this problem when none is given."""

    @abstractmethod
    def iterations(self, problem: Problem, lam: float, image: Any, warm: bool) -> Iterator[Iteration]:
        """Yield the iterates, for ever or until solved.

        Parameters
        ----------
        problem
            What to solve, at unit signal scale.
        lam
            Strength.
        image
            First iterate; may be overwritten.
        warm
            Whether it is anything but zero.
        """

    def __call__(
        self, acquisition: Acquisition, callback: Callback | None = None, initial: Any = None
    ) -> Reconstruction:
        """Reconstruct; see :class:`~mrrecon.solvers.base.Solver`.

        Parameters
        ----------
        acquisition
            Scan with maps.
        callback
            Called after each iteration; the class says what its residual is.
        initial
            Volume ``(x, y, z)``, or a reconstruction, to start from (warm start).
        """
        from mrrecon.reconstruction import Reconstruction

        began = time.perf_counter()
        problem = pose(acquisition, self.name)
        lam = self.default_strength(problem) if self.lam is None else self.lam
        image = problem.start(initial)
        steps = self.iterations(problem, lam, image, initial is not None)
        end = iterate(steps, image, self.max_iter, self.tolerance, callback, problem.volume)
        settings = {
            **asdict(self),
            "lam": lam,
            "noise": problem.noise,
            "warm_start": initial is not None,
            "stopped": end.stopped,
        }
        return Reconstruction.from_solver(
            acquisition,
            problem.volume(end.image),
            self.name,
            settings,
            scale=problem.scale,
            history=end.history,
            seconds=time.perf_counter() - began,
        )


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
