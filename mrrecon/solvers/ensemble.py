"""An image and how uncertain it is: samples of the posterior around the variational reconstruction."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, ClassVar

import numpy as np

from mrrecon.operators.backend import get_array_module
from mrrecon.operators.vectors import real_dot
from mrrecon.solvers.parts.descent import Descent
from mrrecon.solvers.parts.error_map import error_map, mean_error, neighbourhood, with_misfit
from mrrecon.solvers.parts.intensity import restored
from mrrecon.solvers.parts.loop import Iteration, Start
from mrrecon.solvers.parts.plane_priors import PlanePriors
from mrrecon.solvers.parts.posterior_steps import WarmDataStep, WhiteNoise
from mrrecon.solvers.parts.problem import Problem
from mrrecon.solvers.parts.with_prior import PriorSolver
from mrrecon.solvers.variational import Variational

__all__ = ["Ensemble"]

SPREAD, POWER, LEAST_LEVEL = 1.85, 0.75, 0.05  # first noise level: spread * (error of the image)^power, at least this
BUDGET = 0.5  # share of a time budget that goes into the image


@dataclass(frozen=True)
class Ensemble(PriorSolver):
    """The image of :class:`~mrrecon.solvers.variational.Variational`, and posterior samples around it.

    Noise that drowns the errors of the image is added to it, and taken off again as in a posterior sampler, the planes
    in turn: so two volumes are drawn, with the same noise of opposite sign everywhere. Half of their difference is how
    a sample departs from the expected volume; what the two have in common is the sampler's own, poorer, idea of that
    volume and is not used. The samples are the image plus and minus the departures, and their mean is the image.
    ``extras`` of the result are ``"sample-1"`` and so on, complex, and ``"deviation"``, their standard deviation per
    real component, root mean square over the neighbourhood. The residual is the relative change of the image, then of
    the sampler's estimate.

    Parameters
    ----------
    lam
        How far the samples trust the prior; by default 1. See
        :class:`~mrrecon.solvers.parts.posterior.PosteriorSampler`.
    tolerance
        Must be 0.
    max_iter
        Number of steps of each sample.
    prior, effort
        See :class:`~mrrecon.solvers.parts.with_prior.PriorSolver`.
    samples
        Number of samples, even.
    seed
        Of all noise that is drawn.
    eta
        Share of fresh noise in each step, 0 to 1.
    cg_steps
        Conjugate gradients in each data step.
    first_level
        Noise level to begin at, per real component at unit signal; by default 1.85 e^0.75, e being the error that the
        error map expects of the image: with three to five times e the samples differ about as much as it is wrong.

    Notes
    -----
    A warm start takes the place of the variational image. For a Gaussian prior of independent pixels of one variance
    the departures are exactly those of the posterior. What the image leaves unexplained of the data counts as
    noise.

    References
    ----------
    Antithetic pairs: Hammersley, Morton 1956, Proc Camb Phil Soc 52:449. Samples around a better estimate: member by
    member postprocessing of ensembles, Van Schaeybroeck, Vannitsem 2015, Q J R Meteorol Soc 141:807.
    """

    samples: int = 4
    seed: int = 0
    eta: float = 0.85
    cg_steps: int = 5
    first_level: float | None = None

    name: ClassVar[str] = "ensemble"
    efforts: ClassVar[Mapping[str, int]] = {"fast": 6, "normal": 8, "best": 16}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tolerance != 0:
            raise ValueError(
                f"tolerance must be 0 for a sampler, which would end among the noise, got {self.tolerance}."
            )
        if self.samples < 2 or self.samples % 2:
            raise ValueError(f"samples must be even, because they are drawn in pairs, got {self.samples}.")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}.")
        if self.cg_steps < 1:
            raise ValueError(f"cg_steps must be at least 1, got {self.cg_steps}.")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must be between 0 and 1, got {self.eta}.")
        if self.first_level is not None and not self.first_level > 0:
            raise ValueError(f"first_level must be positive, got {self.first_level}.")

    @property
    def best(self) -> Variational:
        """What makes the image."""
        budget = self.time_budget and BUDGET * self.time_budget
        return Variational(prior=self.prior, effort=self.effort, time_budget=budget)

    @property
    def total(self) -> int:
        """See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`."""
        return self.best.total + self.count * self.samples

    def default_strength(self, problem: Problem) -> float:
        """See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`."""
        return 1.0

    def steps(self, problem: Problem, prior: PlanePriors, lam: float, start: Start) -> Iterator[Iteration]:
        """See :class:`~mrrecon.solvers.parts.with_prior.PriorSolver`."""
        image, drawn = start.image, _Departures(self, problem, start)
        if not (drawn.found or (start.warm and start.done == 0)):
            best = self.best
            for step in best.steps(problem, prior, best.default_strength(problem), start):
                image = step.image
                yield step
        noisier = with_misfit(problem, image)
        expected = mean_error(error_map(problem, prior, image), image) / problem.scale
        first = self.first_level or max(SPREAD * expected**POWER, LEAST_LEVEL)
        levels, before = [*prior.levels(self.count, first), 0.0], image
        descend = Descent(noisier, prior, lam, self.eta, self.cg_steps)
        for pair in range(len(drawn.found), self.samples // 2):
            ends: list[Any] = []
            for sign in (1, -1):
                white, consistent = WhiteNoise(self.seed, pair, image, sign), WarmDataStep(noisier, self.cg_steps)
                planes = (prior.planes[step % len(prior.planes)] for step in count(pair))
                number = 2 * pair + len(ends) + 1
                for guess, estimate, end in descend(image, levels, planes, white, consistent):
                    change, before = estimate - before, estimate
                    moved = math.sqrt(real_dot(change, change) / max(real_dot(estimate, estimate), 1e-30))
                    if not math.isfinite(moved):
                        yield Iteration(image, math.nan, extras=drawn.extras(image))
                        return
                    ends += [] if end is None else [end]
                    if len(ends) == 2:
                        drawn.found.append((ends[0] - ends[1]) * np.float32(0.5))
                    more = {"sample": number, "level": guess.level, "error": guess.error}
                    yield Iteration(image, moved, more, drawn.state(whole=len(ends) == 2), drawn.extras(image))


class _Departures:
    """How samples depart from the image, one for each pair, so far."""

    def __init__(self, solver: Ensemble, problem: Problem, start: Start) -> None:
        self._solver, self._problem = solver, problem
        self.found = [problem.on_device(one) for one in start.state.get("departures", ())]

    def state(self, whole: bool) -> Any:
        """What a checkpoint needs; nothing amid a pair."""
        found = list(self.found)
        return (lambda: {"departures": get_array_module(found[0]).stack(found)}) if whole else _nothing

    def extras(self, image: Any) -> Any:
        """Samples and their deviation."""
        return partial(self._extras, image, list(self.found))

    def _extras(self, image: Any, found: list[Any]) -> dict[str, np.ndarray]:
        if not found:
            return {}
        centre = restored(self._problem, image) if self._solver.true_intensity else image
        samples = [centre + sign * one for one in found for sign in (np.float32(1), np.float32(-1))]
        squares = sum(one.real**2 + one.imag**2 for one in found) / np.float32(2 * len(found))
        scale = np.float32(self._problem.scale)
        deviation = scale * neighbourhood(self._problem.volume(squares) / scale)
        volumes = {f"sample-{k}": self._problem.volume(one) for k, one in enumerate(samples, 1)}
        return {"deviation": deviation, **volumes}


def _nothing() -> None:
    """Amid a pair a run cannot be gone on with."""
