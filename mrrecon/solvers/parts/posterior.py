"""Posterior sampling with 2D diffusion priors: what all samplers share, from white noise to a volume."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import Any, Literal

from mrrecon.errors import DataError
from mrrecon.operators.vectors import real_dot
from mrrecon.solvers.parts.data_step import sense_start
from mrrecon.solvers.parts.descent import DataConsistency, Descent
from mrrecon.solvers.parts.loop import Iteration, Start
from mrrecon.solvers.parts.plane_priors import PlanePriors
from mrrecon.solvers.parts.posterior_steps import Samples, WhiteNoise
from mrrecon.solvers.parts.problem import Problem
from mrrecon.solvers.parts.with_prior import PriorSolver

__all__ = ["PosteriorSampler", "SinglePlaneSampler"]

FIRST_LEVEL = (0.1, 0.3)  # for one sample, for several


@dataclass(frozen=True)
class PosteriorSampler(PriorSolver):
    """A method that draws volumes from their distribution given the data.

    A volume with much white noise loses it step by step. In each step the prior estimates the clean slices of one
    plane, the estimate is made to agree with the data, and what is left of the noise is scaled down to the next level,
    a share of it drawn afresh. The residual is the relative change of the estimate. The result is the last estimate or,
    of several samples, their mean, with the standard deviation over the samples, per real component, in
    ``extras["deviation"]``.

    Parameters
    ----------
    lam
        How far the prior is trusted: factor of the weight that follows from the noise of the data and the error of the
        prior's estimates; by default 1, which is exact for a Gaussian prior of independent pixels of one variance.
    max_iter
        Number of steps of each sample. The prior sees every slice of one plane in each.
    tolerance
        Must be 0: a sampler that stops early ends among the noise.
    prior
        See :class:`~mrrecon.solvers.parts.with_prior.PriorSolver`.
    seed
        Of all noise that is drawn.
    true_intensity
        As for other methods, but off: samples are of the posterior distribution as they are drawn.
    samples
        Number of volumes to draw, one after the other.
    eta
        Share of fresh noise in each step, 0 to 1.
    cg_steps
        Conjugate gradients in each data step.
    gamma
        Weight of the data in each step as published, ``min gamma/2 |A x - y|^2 + 1/2 |x - clean|^2`` with the largest
        eigenvalue of ``A^H A`` at one, instead of what follows from the noise.
    renoise
        ``"posterior"``: the next state belongs to a volume that is drawn around the estimate, as uncertain as data and
        prior leave it, and to the noise which that volume means. With such a Gaussian prior the deviations are then
        right for any number of steps. ``"predicted"``: it belongs to the estimate and to the noise that the prior
        predicted, as published; images are better, but deviations far too small in what was measured. By default
        predicted for one sample, posterior for several.
    first_level
        Noise level to begin at, per real component at unit signal: so much noise is added to the initial volume, by
        default that of CG-SENSE, whose errors it drowns. By default 0.1 for one sample, which is then nearer to the
        truth, and 0.3 for several, which then differ more as they should. ``"highest"``: as published, nothing but
        noise of the highest level that the prior knows.
    spacing
        Of the noise levels; see :meth:`mrrecon.priors.SlicePrior.levels`.

    Notes
    -----
    At the noise level l the prior's estimate x0 has an error c, and the data have the noise s, per real component. The
    expected volume given both is the minimum of ``|A x - y|^2 / s^2 + |x - x0|^2 / c^2``. The error c is not l but what
    is left of it after denoising; it is measured in each step, as ``|A x0 - y|^2`` is ``2 m s^2 + 2 c^2 tr(A^H A)`` on
    average, m being the number of samples.

    References
    ----------
    Beginning at a moderate level: Chung, Sim, Ye, Come-Closer-Diffuse-Faster: Accelerating Conditional Diffusion Models
    for Inverse Problems through Stochastic Contraction, 2022.
    """

    true_intensity: bool = field(default=False, kw_only=True)
    seed: int = 0
    samples: int = 1
    eta: float = 0.85
    cg_steps: int = 5
    gamma: float | None = None
    renoise: Literal["posterior", "predicted"] | None = None
    first_level: float | Literal["highest"] | None = None
    spacing: Literal["noise-level", "time"] = "noise-level"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tolerance != 0:
            raise ValueError(
                f"tolerance must be 0 for a sampler, which would end among the noise, got {self.tolerance}; "
                "choose a smaller max_iter to be done sooner."
            )
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}.")
        for name in ("samples", "cg_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must be between 0 and 1, got {self.eta}.")
        if self.gamma is not None and not self.gamma > 0:
            raise ValueError(f"gamma must be positive, got {self.gamma}; leave it out for what fits the noise.")
        if isinstance(self.first_level, str):
            if self.first_level != "highest":
                raise ValueError(f"first_level must be a number or highest, got {self.first_level!r}.")
        elif self.first_level is not None and not self.first_level > 0:
            raise ValueError(f"first_level must be positive, got {self.first_level}.")
        if self.renoise not in ("posterior", "predicted", None):
            raise ValueError(f"renoise must be posterior or predicted, got {self.renoise!r}.")
        if self.spacing not in ("noise-level", "time"):
            raise ValueError(f"spacing must be noise-level or time, got {self.spacing!r}.")

    @property
    def total(self) -> int:
        """See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`."""
        return self.count * self.samples

    def default_strength(self, problem: Problem) -> float:
        """See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`."""
        return 1.0

    @abstractmethod
    def cycle(self, prior: PlanePriors, number: int) -> Iterator[int]:
        """Yield the plane of each step of a sample, for ever."""

    @abstractmethod
    def data_consistency(self, problem: Problem, prior: PlanePriors) -> DataConsistency:
        """Return what makes the estimates of one sample agree with the data; it may remember earlier steps."""

    def check_prior(self, prior: PlanePriors) -> None:
        """See :class:`~mrrecon.solvers.parts.with_prior.PriorSolver`: its levels must reach down from the first one."""
        prior.levels(self.count, self._first_level(), self.spacing)

    def steps(self, problem: Problem, prior: PlanePriors, lam: float, start: Start) -> Iterator[Iteration]:
        """See :class:`~mrrecon.solvers.parts.with_prior.PriorSolver`."""
        image = self._initial(problem, start)
        levels = [*prior.levels(self.count, self._first_level(), self.spacing), 0.0]
        posterior = self.samples > 1 if self.renoise is None else self.renoise == "posterior"
        descend = Descent(problem, prior, lam, self.eta, self.cg_steps, self.gamma, posterior)
        samples, before = Samples(problem, start.state), image
        for number in range(samples.number, self.samples):
            white, consistent = WhiteNoise(self.seed, number, image), self.data_consistency(problem, prior)
            for guess, estimate, state in descend(image, levels, self.cycle(prior, number), white, consistent):
                change = estimate - before
                moved = math.sqrt(real_dot(change, change) / max(real_dot(estimate, estimate), 1e-30))
                if not math.isfinite(moved):
                    yield Iteration(samples.mean(before), math.nan, extras=samples.extras)
                    return
                before = estimate
                if state is not None:
                    samples.add(estimate, state)
                more = {"sample": number + 1, "level": guess.level, "error": guess.error}
                kept = _nothing if state is None else partial(samples.state, image)
                yield Iteration(samples.mean(estimate), moved, more, kept, samples.extras)

    def _first_level(self) -> float | None:
        """Where the noise levels begin; None for the highest."""
        if isinstance(self.first_level, str):
            return None
        return self.first_level or FIRST_LEVEL[self.samples > 1]

    def _initial(self, problem: Problem, start: Start) -> Any:
        """What noise is added to, for every sample: as given, of CG-SENSE, or nothing."""
        if "initial" in start.state:
            return problem.on_device(start.state["initial"])
        if start.warm or self.first_level == "highest":
            return start.image
        return sense_start(problem, start.image)


@dataclass(frozen=True)
class SinglePlaneSampler(PosteriorSampler):
    """A sampler that sees slices of one plane only; see :class:`PosteriorSampler`.

    Parameters
    ----------
    plane
        Axis that the slices are perpendicular to; by default the one whose slices have the most nearly square pixels.
    """

    plane: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.plane not in (None, 0, 1, 2):
            raise ValueError(f"plane must be 0, 1 or 2, got {self.plane!r}.")

    def primary(self, prior: PlanePriors) -> int:
        """The plane as told, or the best one.

        Raises
        ------
        DataError
            If slices of the plane told are nothing for a 2D prior.
        """
        if self.plane is None:
            return min(
                prior.planes, key=lambda plane: max(prior.grid.slice_edges(plane)) / min(prior.grid.slice_edges(plane))
            )
        if self.plane not in prior.planes:
            usable = " or ".join(map(str, prior.planes))
            raise DataError(f"Slices perpendicular to axis {self.plane} do not suit a 2D prior; choose plane {usable}.")
        return self.plane

    def cycle(self, prior: PlanePriors, number: int) -> Iterator[int]:
        """See :class:`PosteriorSampler`."""
        return cycle([self.primary(prior)])


def _nothing() -> None:
    """Amid a sample a run cannot be gone on with."""
