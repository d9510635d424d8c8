"""What iterative methods share: pose the problem, run the loop, record the result."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any

from mrrecon.errors import SolverError
from mrrecon.operators.vectors import real_dot
from mrrecon.solvers.base import Callback, Solver
from mrrecon.solvers.parts.checkpoint import Checkpoint, digest, fingerprint
from mrrecon.solvers.parts.intensity import restored
from mrrecon.solvers.parts.loop import Iteration, Start, iterate
from mrrecon.solvers.parts.problem import Problem

if TYPE_CHECKING:
    import os

    import numpy as np

    from mrrecon.acquisition import Acquisition
    from mrrecon.reconstruction import Reconstruction

__all__ = ["IterativeSolver"]

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
        if self.max_iter is not None and self.max_iter < 1:
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
            from it. It is removed at the end, unless `keep_checkpoint`. Methods that keep a state of their own
            (:attr:`Iteration.state`) go on exactly, samplers with the sample that was being drawn, others as from a
            warm start.
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
        problem = Problem.of(scan, self.name)
        start, kept, saved = Start(problem.start(initial), initial is not None, began=began), None, None
        if checkpoint is not None:
            warm = None if initial is None else start.image
            of = partial(fingerprint, scan, None if warm is None else warm.copy())
            kept = Checkpoint(checkpoint, lambda: {**self.identity(), **of()}, keep_checkpoint)
            saved = kept.load()
        del scan  # what was read for this is not needed any more, but for checkpoints
        if saved is not None:
            start = Start(problem.on_device(saved.image), True, saved.done, saved.state, began)
        lam = self.default_strength(problem) if self.lam is None else self.lam
        steps = self.iterations(problem, lam, start)

        def finished(image: Any) -> Any:
            return restored(problem, image) if self.true_intensity else image

        def to_volume(image: Any) -> np.ndarray:
            return problem.volume(finished(image))

        until = None if self.time_budget is None or self.paces_itself else began + self.time_budget
        end = iterate(steps, start.image, self.total, self.tolerance, callback, to_volume, kept, saved, until=until)
        image = finished(end.image)

        def result() -> Reconstruction:
            return Reconstruction.from_solver(
                acquisition,
                problem.volume(image),
                self.name,
                {**self.settings(), "warm_start": initial is not None},
                estimates={"lam": lam, "noise": problem.known_noise},
                stopped=end.stopped,
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


def _what_is_wrong(problem: Problem, image: Any) -> str | None:
    """Why an iterate is no image of these data, if it is none."""
    power = real_dot(image, image) / problem.backprojection.size
    if not math.isfinite(power):
        return "has numbers that are not finite"
    growth = math.sqrt(power / problem.power)
    return f"is {growth:.2g} times as large as the signal of the data" if growth > LARGEST else None
