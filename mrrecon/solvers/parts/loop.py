"""The loop that every iterative method runs in: count, watch, report, and stop without losing anything."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from mrrecon.errors import MRReconError, PriorFailure
from mrrecon.interrupts import asked_to_stop
from mrrecon.solvers.base import Callback, Status

if TYPE_CHECKING:
    import numpy as np

    from mrrecon.solvers.parts.checkpoint import Checkpoint, Saved

__all__ = ["FINISHED", "Iteration", "Outcome", "Start", "iterate"]

FINISHED = ("converged", "max_iter")  # why a run stopped that there is nothing to go on with


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
    state
        What :attr:`Iteration.state` gave then, NumPy.
    began
        Reading of :func:`time.perf_counter` when the solver was called, which a time budget counts from.
    """

    image: Any
    warm: bool = False
    done: int = 0
    state: Mapping[str, np.ndarray] = field(default_factory=dict)
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
    state
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
    state: Callable[[], Mapping[str, Any] | None] = dict
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
    checkpoint: Checkpoint | None = None,
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
    checkpoint
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
    with asked_to_stop(signal.SIGINT) as pressed:  # no iteration is cut in half
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
                    stopped, failure = f"{_sentence(error)} in iteration {number}", error
                    break
                if step is None:
                    break
                image, extras = step.image, step.extras
                last, now = now, time.perf_counter()
                elapsed = now - began
                history.append({"iteration": number, "residual": step.residual, "seconds": elapsed, **step.more})
                if checkpoint is not None and number < total:  # from the last there is nothing to go on with
                    checkpoint.offer(number, step, history)
                status = Status(number, total, step.residual, elapsed, partial(to_volume, image))
                if callback is not None and callback(status):
                    stopped = "callback"
                elif pressed.is_set() and number < total:
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
    if checkpoint is not None:
        checkpoint.close(finished=stopped in FINISHED)
    return Outcome(image, history, stopped, extras() if failure is None else {}, failure)


def _is_refusal(error: Exception) -> bool:
    """Whether it says that data, settings or machine do not allow the method, rather than that it failed."""
    return isinstance(error, (MRReconError, MemoryError)) and not isinstance(error, PriorFailure)


def _sentence(error: Exception) -> str:
    """First line of what an error says; its type too, where that is not one of ours or the loop's own."""
    said = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    ours = isinstance(error, (MRReconError, FloatingPointError))
    return said if said and ours else f"{type(error).__name__}: {said}".rstrip(": ")
