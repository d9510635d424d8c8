"""What the solvers with a slice prior share: which prior, which planes, how long."""

from __future__ import annotations

import math
import time
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from mrrecon.grid import Grid
from mrrecon.operators.backend import get_array_module
from mrrecon.solvers.parts.checkpoint import digest
from mrrecon.solvers.parts.error_map import STEPS, error_map
from mrrecon.solvers.parts.influence import prior_influence
from mrrecon.solvers.parts.iterative import IterativeSolver
from mrrecon.solvers.parts.loop import Iteration, Start
from mrrecon.solvers.parts.plane_priors import PlanePriors
from mrrecon.solvers.parts.problem import Problem

if TYPE_CHECKING:
    from mrrecon.acquisition import Acquisition

__all__ = ["PriorSolver"]

LEAST_SHARE = 0.5  # of the number of voxels, that should be measured


@dataclass(frozen=True)
class PriorSolver(IterativeSolver):
    """A method that asks a 2D prior how slices of the volume should look.

    Parameters
    ----------
    lam, tolerance
        See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`.
    max_iter
        Number of iterations; by default what `effort` says.
    prior
        Name or folder of a prior, or a :class:`~mrrecon.priors.SlicePrior`; or three of them, one for each axis of the
        volume that slices are perpendicular to.
    effort
        How much time a better image is worth: fast, normal or best. :attr:`efforts` has the iterations of each.

    Raises
    ------
    ValueError
        If there is no such effort.

    Notes
    -----
    ``extras`` of the result are ``"prior_influence"``, the part of the image that the data do not determine
    (:func:`~mrrecon.solvers.parts.influence.prior_influence`), and, where the noise is known and a time budget leaves
    time for it, ``"error"``, how wrong it probably is (:func:`~mrrecon.solvers.parts.error_map.error_map`).
    """

    lam: float | None = None
    max_iter: int | None = None  # type: ignore[assignment]
    tolerance: float = 0.0
    prior: Any = "brain-diverse"
    effort: Literal["fast", "normal", "best"] = field(default="normal", kw_only=True)

    efforts: ClassVar[Mapping[str, int]] = {"fast": 15, "normal": 30, "best": 90}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.effort not in self.efforts:
            raise ValueError(f"effort must be fast, normal or best, got {self.effort!r}.")

    @property
    def count(self) -> int:
        """Number of iterations, of each sample where several are drawn."""
        return self.max_iter or self.efforts[self.effort]

    @property
    def total(self) -> int:
        """See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`."""
        return self.count

    def settings(self) -> dict[str, Any]:
        """See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`; priors by their names."""
        values = super().settings()
        chosen = self.prior if isinstance(self.prior, (list, tuple)) else [self.prior]
        names = [prior if isinstance(prior, str) else prior.name for prior in chosen]
        return {**values, "prior": names[0] if len(names) == 1 else names}

    def check(self, acquisition: Acquisition, device: str = "cpu") -> None:
        """See :class:`~mrrecon.solvers.base.Solver`: the priors must be there, and some plane suit them."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said when it is solved
            grid = Grid(acquisition.shape, acquisition.voxel_size, acquisition.affine)
            self.check_prior(PlanePriors(self.prior, grid, device))

    def check_prior(self, prior: PlanePriors) -> None:
        """Refuse a prior that the method cannot use."""

    def identity(self) -> dict[str, str]:
        """See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`; priors by what they compute."""
        from mrrecon import priors

        chosen = self.prior if isinstance(self.prior, (list, tuple)) else [self.prior]
        same = digest([self.name, {**self.settings(), "time_budget": None, "prior": None}])
        return {"solver or setting": same, "prior": digest([priors.identity(prior) for prior in chosen])}

    def iterations(self, problem: Problem, lam: float, start: Start) -> Iterator[Iteration]:
        """See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`."""
        device = "cpu" if get_array_module(start.image).__name__ == "numpy" else "cuda"
        _warn_if_undetermined(problem)
        prior = PlanePriors(self.prior, problem.grid, device)
        prior.evaluations = int(start.state.get("evaluations", 0))
        until = math.inf if self.time_budget is None else start.began + self.time_budget
        began = time.perf_counter()
        for number, step in enumerate(self.steps(problem, prior, lam, start), 1):
            latest = until - STEPS * (time.perf_counter() - began) / number  # to begin with the error map
            more = {"evaluations": prior.evaluations, **step.more}
            state = partial(_state, step, prior.evaluations)
            yield replace(step, more=more, state=state, extras=partial(_extras, problem, prior, step, latest))

    @abstractmethod
    def steps(self, problem: Problem, prior: PlanePriors, lam: float, start: Start) -> Iterator[Iteration]:
        """Yield the iterates; as :meth:`iterations`, with the prior ready."""


def _warn_if_undetermined(problem: Problem) -> None:
    voxels = int(problem.seen.any(axis=0).sum())
    share = problem.samples / max(voxels, 1)
    if share < LEAST_SHARE:
        warnings.warn(
            f"The data have {share:.0%} as many numbers, all coils together, as the image has voxels: most of the "
            "picture will be the prior's, not the patient's; look at prior_influence, or measure more.",
            stacklevel=2,
        )


def _state(step: Iteration, evaluations: int) -> dict[str, Any] | None:
    """State of the method, and the count of evaluations."""
    state = step.state()
    return None if state is None else {**state, "evaluations": np.asarray(evaluations)}


def _extras(problem: Problem, prior: PlanePriors, step: Iteration, latest: float) -> dict[str, np.ndarray]:
    """What the method has beside its image, how wrong that probably is, and what in it the data do not determine."""
    found = dict(step.extras())
    if problem.known_noise is not None and time.perf_counter() <= latest:
        found["error"] = error_map(problem, prior, step.image)
    return {**found, "prior_influence": problem.volume(prior_influence(problem, step.image))}
