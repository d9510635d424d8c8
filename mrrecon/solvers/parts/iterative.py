"""What iterative methods share: pose the problem, run the loop, record the result."""

from __future__ import annotations

import math
import signal
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any

from mrrecon.errors import MRReconError, SolverError
from mrrecon.operators.vectors import real_dot
from mrrecon.solvers.base import Callback, Solver, Status
from mrrecon.solvers.parts.checkpoint import Checkpoint, Saved, digest, fingerprint
from mrrecon.solvers.parts.intensity import restored
from mrrecon.solvers.parts.problem import Problem, pose

if TYPE_CHECKING:
    import os

    import numpy as np

    from mrrecon.acquisition import Acquisition
    from mrrecon.reconstruction import Reconstruction

__all__ = ["FINISHED", "Iteration", "IterativeSolver", "Outcome", "Start", "iterate"]

FINISHED = ("converged", "max_iter")  # why a run stopped that there is nothing to go on with

LARGEST = 1e3  # root mean square of an image, relative to that of the signal, beyond which it is none


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
    true_intensity
        Whether to put back, at the end, what the regularisation took of the lowest spatial frequencies, and with them
        of the mean intensity of tissue; see :func:`~mrrecon.solvers.parts.intensity.restored`. Without it, the result
        is the minimiser itself.
    time_budget
        Seconds after which the result must be there, about: what there is by then.

    Raises
    ------
    ValueError
        If the strength or the tolerance is negative, the budget not positive, or there are no iterations.
    """

    lam: float | None = None
    max_iter: int = 100
    tolerance: float = 1e-3
    true_intensity: bool = field(default=True, kw_only=True)
    time_budget: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.lam is not None and not self.lam >= 0:
            raise ValueError(f"lam must not be negative, got {self.lam}; 0 means no regularisation.")
        if self.max_iter < 1:
            raise ValueError(f"max_iter must be at least 1, got {self.max_iter}.")
        if not self.tolerance >= 0:
            raise ValueError(f"tolerance must not be negative, got {self.tolerance}; 0 means to do all iterations.")
        if self.time_budget is not None and not self.time_budget > 0:
            raise ValueError(f"time_budget must be a positive number of seconds, got {self.time_budget}.")

    @abstractmethod
    def default_strength(self, problem: Problem) -> float:
        """Return the value of `lam` for this problem when none is given."""

    @abstractmethod
    def iterations(self, problem: Problem, lam: float, start: Start) -> Iterator[Iteration]:
        """Yield the iterates, for ever or until solved.

        Parameters
        ----------
        problem
            What to solve, at unit signal scale.
        lam
            Strength.
        start
            First iterate, and what is known of iterations before it.
        """

    def settings(self) -> dict[str, Any]:
        """All settings, JSON-able, for the record; a time budget where there is one."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return values if self.time_budget is not None else {k: v for k, v in values.items() if k != "time_budget"}

    @property
    def paces_itself(self) -> bool:
        """Whether the method plans its iterations so that it ends within the time budget by itself."""
        return False

    @property
    def restores_intensity(self) -> bool:
        """Whether the result is :func:`~mrrecon.solvers.parts.intensity.restored`."""
        return self.true_intensity

    def identity(self) -> dict[str, str]:
        """What tells runs of the solver on the same data from each other, by name; they may go on in another time."""
        return {"solver or setting": digest([self.name, {**self.settings(), "time_budget": None}])}

    @property
    def total(self) -> int:
        """Most iterations that :meth:`iterations` is asked for."""
        return self.max_iter

    def __call__(
        self,
        acquisition: Acquisition,
        callback: Callback | None = None,
        initial: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        keep_checkpoint: bool = False,
    ) -> Reconstruction:
        """Reconstruct; see :class:`~mrrecon.solvers.base.Solver`.

        Parameters
        ----------
        acquisition
            Scan with maps.
        callback
            Called after each iteration; the class says what its residual is.
        initial
            Volume ``(x, y, z)``, or a reconstruction, to start from (warm start), in the scale of the data.
        checkpoint
            File that keeps, once a minute and when it is stopped, how far the run is; if it is there, the run goes on
            from it. It is removed at the end, unless `keep_checkpoint`. Variational reconstruction with the proximal
            or the gradient optimiser goes on exactly, samplers with the sample that was being drawn, other methods as
            from a warm start.
        keep_checkpoint
            Leave the checkpoint where it is, for the caller to remove when the result is safe.

        Raises
        ------
        DataError, ShapeError
            If the checkpoint is of other data, of another prior or of other settings; if `initial` is of another shape
            than the volume, or has NaN or Inf.
        FileFormatError
            If the checkpoint cannot be read.
        SolverError
            If the method goes wrong while it runs: its prior fails, or its image is not finite or grows beyond all
            bounds. What was good before is the error's `partial`.
        """
        from mrrecon.reconstruction import Reconstruction

        began = time.perf_counter()
        scan = acquisition.load()
        problem = pose(scan, self.name)
        start, keeper, saved = Start(problem.start(initial), initial is not None, began=began), None, None
        if checkpoint is not None:
            warm = None if initial is None else start.image
            keeper = Checkpoint(checkpoint, {**self.identity(), **fingerprint(scan, warm)}, keep_checkpoint)
            saved = keeper.load()
        del scan  # what was read for this is not needed any more
        if saved is not None:
            start = Start(problem.on_device(saved.image), True, saved.done, saved.carried, began)
        lam = self.default_strength(problem) if self.lam is None else self.lam
        steps = self.iterations(problem, lam, start)

        def finished(image: Any) -> Any:
            return restored(problem, image) if self.restores_intensity else image

        def to_volume(image: Any) -> np.ndarray:
            return problem.volume(finished(image))

        until = None if self.time_budget is None or self.paces_itself else began + self.time_budget
        end = iterate(steps, start.image, self.total, self.tolerance, callback, to_volume, keeper, saved, until=until)
        image = finished(end.image)
        settings = {
            **self.settings(),
            "lam": lam,
            "noise": problem.known_noise,
            "warm_start": initial is not None,
            "stopped": end.stopped,
        }

        def result() -> Reconstruction:
            return Reconstruction.from_solver(
                acquisition,
                problem.volume(image),
                self.name,
                settings,
                scale=problem.scale,
                extras=end.extras,
                history=end.history,
                metrics={"chi_squared": problem.chi_squared(image)} if problem.known_noise is not None else {},
                seconds=time.perf_counter() - began,
            )

        wrong = _what_is_wrong(problem, end.image)
        if end.failure is not None:
            raise SolverError(
                f"{self.name} failed: {end.stopped}.", result() if end.history and not wrong else None
            ) from end.failure
        if wrong:
            raise SolverError(f"{self.name} failed: after iteration {len(end.history)} its image {wrong}.")
        return result()


@dataclass(frozen=True)
class Start:
    """Where a method begins.

    Parameters
    ----------
    image
        First iterate, the method's to overwrite.
    warm
        Whether it is anything but zero.
    done
        Number of iterations of an earlier run that it comes from.
    carried
        What :attr:`Iteration.carry` gave then, NumPy.
    began
        Reading of :func:`time.perf_counter` when the solver was called, which a time budget counts from.
    """

    image: Any
    warm: bool = False
    done: int = 0
    carried: Mapping[str, np.ndarray] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Iteration:
    """What a method yields after each iteration.

    Parameters
    ----------
    image
        Its iterate.
    residual
        How far it is.
    more
        What else the history should say.
    carry
        Call it for the arrays that the method needs beside the image to go on exactly, by name; None where it cannot be
        gone on with from here.
    extras
        Call it for further volumes of the result by name, as the caller gets them: NumPy ``(x, y, z)``, in the scale
        of the data where they have the unit of the image (:meth:`Problem.volume`). It is called once, for the last
        iterate, before the method goes on.
    """

    image: Any
    residual: float
    more: Mapping[str, float] = field(default_factory=dict)
    carry: Callable[[], Mapping[str, Any] | None] = dict
    extras: Callable[[], Mapping[str, np.ndarray]] = dict


@dataclass(frozen=True)
class Outcome:
    """Where the loop ended: the last good iterate with its extras, one record an iteration, and why it stopped.

    `failure` is what the method went wrong with, if it did.
    """

    image: Any
    history: list[dict[str, float]]
    stopped: str
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)
    failure: Exception | None = None


def iterate(
    iterations: Iterable[Iteration],
    start: Any,
    total: int,
    tolerance: float,
    callback: Callback | None,
    to_volume: Callable[[Any], np.ndarray],
    keeper: Checkpoint | None = None,
    saved: Saved | None = None,
    until: float | None = None,
) -> Outcome:
    """Run a method to its end: count, watch for convergence, report, and keep the best if it goes wrong.

    A method that meets numbers that are not finite yields a residual that is not finite, with the last good
    iterate. That ends it as a failure, and so does an error that it raises; only data or settings that it refuses
    in its first iteration are raised as they are. Ctrl-C lets the iteration finish and then stops, which in the last
    one is no stop; a second one interrupts at once.

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
    keeper
        Keeps how far the run is.
    saved
        The run that this one goes on with.
    until
        Reading of :func:`time.perf_counter` to stop at; at the iteration whose end is nearest to it, the next one taken
        to be as long as the last.
    """
    done, history = (0, []) if saved is None else (saved.done, [dict(entry) for entry in saved.history])
    image, stopped, failure = start, "max_iter", None
    extras: Callable[[], Mapping[str, np.ndarray]] = dict
    now = time.perf_counter()
    began = now - (history[-1]["seconds"] if history else 0.0)
    with _ctrl_c() as pressed:
        try:
            steps = iter(iterations)
            for number in range(done + 1, total + 1):
                try:
                    step = next(steps, None)
                    if step is not None and not math.isfinite(step.residual):
                        raise FloatingPointError("numbers that are not finite")
                except Exception as error:
                    if number == done + 1 and _is_refusal(error):
                        raise
                    stopped, failure = f"{_spell(error)} in iteration {number}", error
                    break
                if step is None:
                    break
                image, extras = step.image, step.extras
                last, now = now, time.perf_counter()
                elapsed = now - began
                history.append({"iteration": number, "residual": step.residual, "seconds": elapsed, **step.more})
                if keeper is not None and number < total:  # from the last there is nothing to go on with
                    keeper.offer(number, step, history)
                status = Status(number, total, step.residual, elapsed, partial(to_volume, image))
                if callback is not None and callback(status):
                    stopped = "callback"
                elif pressed() and number < total:
                    stopped = "interrupted"
                elif step.residual <= tolerance:
                    stopped = "converged"
                elif until is not None and now + (now - last) / 2 > until and number < total:
                    stopped = "time budget"
                else:
                    continue
                break
        except KeyboardInterrupt:
            stopped = "interrupted"
    if stopped == "interrupted" and history:
        history[-1]["interrupted"] = 1
    if keeper is not None:
        keeper.close(finished=stopped in FINISHED)
    return Outcome(image, history, stopped, extras() if failure is None else {}, failure)


def _is_refusal(error: Exception) -> bool:
    """Whether it says that data, settings or machine do not allow the method, rather than that it failed."""
    from mrrecon.errors import PriorError, PriorFailure

    return isinstance(error, (MRReconError, PriorError, MemoryError)) and not isinstance(error, PriorFailure)


def _spell(error: Exception) -> str:
    """First line of what an error says; its type too, where that is not one of ours or the loop's own."""
    from mrrecon.errors import PriorError

    said = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    ours = isinstance(error, (MRReconError, PriorError, FloatingPointError))
    return said if said and ours else f"{type(error).__name__}: {said}".rstrip(": ")


def _what_is_wrong(problem: Problem, image: Any) -> str | None:
    """Why an iterate is no image of these data, if it is none."""
    power = real_dot(image, image) / problem.seen.size
    if not math.isfinite(power):
        return "has numbers that are not finite"
    growth = math.sqrt(power / problem.power)
    return f"is {growth:.2g} times as large as the signal of the data" if growth > LARGEST else None


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
