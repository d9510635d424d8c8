"""RED-diff: the variational objective by momentum gradient steps on random slices."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mrrecon.operators.backend import get_array_module
from mrrecon.operators.vectors import real_dot
from mrrecon.solvers.parts.data_step import sense_start
from mrrecon.solvers.parts.loop import Iteration, Start
from mrrecon.solvers.parts.plane_priors import PlanePriors
from mrrecon.solvers.parts.problem import Problem
from mrrecon.solvers.parts.random_slabs import SLAB, Drawn, draw_slabs, random_levels, slice_errors
from mrrecon.solvers.parts.with_prior import PriorSolver

if TYPE_CHECKING:
    import torch

__all__ = ["RandomSliceSolver", "RedDiff"]

MOMENTUM, STEP = 0.9, 0.95  # the step is relative to 1 / lipschitz, where plain gradients are stable


@dataclass(frozen=True)
class RandomSliceSolver(PriorSolver):
    """A method that draws slices, noise levels and noise anew in each iteration.

    Parameters
    ----------
    lam, max_iter, tolerance, prior
        See :class:`~mrrecon.solvers.parts.with_prior.PriorSolver`.
    seed
        Of slices, noise levels and noise.
    slices
        Number of slices drawn per plane and iteration.
    time_limit
        Highest time T' of the random noise levels, as a share of the prior's schedule.
    """

    seed: int = 0
    slices: int = 50
    time_limit: float = 0.4

    whole_times: ClassVar[bool] = False  # whether noise levels are those of whole times of the schedule only

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.slices < 1:
            raise ValueError(f"slices must be at least 1, got {self.slices}.")
        if not 0 < self.time_limit <= 1:
            raise ValueError(f"time_limit must be above 0 and at most 1, got {self.time_limit}.")

    def draw_slabs(self, count: int, rng: np.random.Generator, width: int) -> list[np.ndarray]:
        """Slabs of neighbours among so many slices; see :func:`~mrrecon.solvers.parts.random_slabs.draw_slabs`."""
        return draw_slabs(count, self.slices, rng, width)

    def errors(
        self, prior: PlanePriors, image: Any, gradient: Any, rng: np.random.Generator, generator: torch.Generator
    ) -> Iterator[tuple[Drawn, int, Any]]:
        """What the prior finds wrong with random slices of all planes of an image ``(sets, x, y, z)``.

        With them come the number of slices drawn of that plane, and the gradient with its slices first, to add to.
        """
        for volume, pull in zip(image, gradient, strict=True):
            for plane in prior.planes:
                slabs = self.draw_slabs(volume.shape[plane], rng, max(SLAB, prior.priors[plane].window))
                number = sum(map(len, slabs))
                levels = random_levels(prior, plane, self.time_limit, number, rng, self.whole_times)
                for drawn in slice_errors(prior, volume, plane, slabs, levels, generator):
                    yield drawn, number, get_array_module(pull).moveaxis(pull, plane, 0)


@dataclass(frozen=True)
class RedDiff(RandomSliceSolver):
    """Minimise ``|A x - y|^2 / 2`` plus the error of the prior on random slices of all three planes.

    In each iteration noise of random levels is added to random slices, the prior takes it out again, and a step with
    momentum is made against the gradient of the data term plus ``lam alpha (predicted - added noise)`` on these
    slices, alpha being the signal factor of their diffusion states and the derivative of the prior taken as the
    identity. The residual is the relative change of the image.

    Parameters
    ----------
    lam
        Weight of the prior, on average over the slices that are drawn; by default the noise.
    tolerance
        Stop when the image changes by less than this fraction; 0 for never.
    max_iter, prior, effort
        See :class:`~mrrecon.solvers.parts.with_prior.PriorSolver`.
    seed, slices, time_limit
        See :class:`RandomSliceSolver`.

    References
    ----------
    Resolution-Robust 3D MRI Reconstruction with 2D Diffusion Priors, 2024, section on the variational method; step and
    momentum as the published Adam, whose epsilon dwarfs the gradients, behaves at full size. Mardani et al., A
    Variational Perspective on Solving Inverse Problems with Diffusion Models, 2023 (RED-diff).
    """

    name: ClassVar[str] = "red-diff"
    efforts: ClassVar[Mapping[str, int]] = {"fast": 50, "normal": 100, "best": 300}

    def default_strength(self, problem: Problem) -> float:
        """See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`."""
        return problem.noise

    def steps(self, problem: Problem, prior: PlanePriors, lam: float, start: Start) -> Iterator[Iteration]:
        """See :class:`~mrrecon.solvers.parts.with_prior.PriorSolver`."""
        import torch

        x, count = start.image if start.warm else sense_start(problem, start.image), start.done
        xp = get_array_module(x)
        mean = problem.on_device(start.state["momentum"]) if "momentum" in start.state else xp.zeros_like(x)
        while True:
            rng = np.random.default_rng([self.seed, count])
            generator = torch.Generator().manual_seed(1_000_003 * self.seed + count)
            gradient = problem.encoding.normal(x) - problem.backprojection
            gradient *= np.float32(1 / problem.lipschitz)
            for drawn, number, pull in self.errors(prior, x, gradient, rng, generator):
                weight = lam * len(pull) / (number * len(prior.planes)) * drawn.alpha
                pull[xp.asarray(drawn.chosen)] += xp.asarray(weight)[:, None, None] * drawn.error
            count += 1
            mean = np.float32(MOMENTUM) * mean + np.float32(1 - MOMENTUM) * gradient
            change = np.float32(STEP / (1 - MOMENTUM**count)) * mean
            moved = math.sqrt(real_dot(change, change) / max(real_dot(x, x), 1e-30))
            if not math.isfinite(moved):
                yield Iteration(x, math.nan)
                return
            x = x - change
            yield Iteration(x, moved, state=partial(dict, momentum=mean))
