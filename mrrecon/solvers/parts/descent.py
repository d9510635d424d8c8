"""Down the noise levels: from a volume plus white noise to a volume that prior and data agree on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from mrrecon.solvers.parts.plane_priors import PlanePriors
from mrrecon.solvers.parts.posterior_steps import DataResidual, Guess, WhiteNoise, perturbation
from mrrecon.solvers.parts.problem import Problem

__all__ = ["DataConsistency", "Descent"]

SMALLEST_ERROR = 0.05  # of an estimate that is ever believed, relative to the noise level or, above one, the signal

DataConsistency = Callable[[Guess], Any]
"""Turns what the prior expects into what prior and data expect together."""


@dataclass(frozen=True)
class Descent:
    """How a noisy volume loses its noise step by step; see :class:`~mrrecon.solvers.parts.posterior.PosteriorSampler`.

    Parameters
    ----------
    problem, prior
        What the data say, and what the prior.
    trust
        Factor of the prior's weight.
    eta
        Share of fresh noise in each step.
    cg_steps
        Of the draws around estimates.
    gamma
        Weight of the data as published, or None.
    drawn
        Whether the next state belongs to a volume that is drawn around the estimate, or to the estimate itself.
    """

    problem: Problem
    prior: PlanePriors
    trust: float = 1.0
    eta: float = 0.85
    cg_steps: int = 5
    gamma: float | None = None
    drawn: bool = True

    def __call__(
        self, image: Any, levels: Sequence[float], planes: Iterable[int], white: WhiteNoise, consistent: DataConsistency
    ) -> Iterator[tuple[Guess, Any, Any]]:
        """Yield, for each step, guess and estimate, and in the end the volume drawn around the estimate (else None).

        Parameters
        ----------
        image
            What the noise of the first level is added to.
        levels
            Falling, the last one zero.
        planes
            Of each step.
        white
            Where all noise comes from.
        consistent
            Makes the prior's estimates agree with the data.
        """
        from mrrecon.priors.sampling import ddim_step

        misfit = DataResidual(self.problem)
        state = image + np.float32(levels[0]) * white.start()
        for (level, following), plane in zip(pairwise(levels), planes, strict=False):
            guess = self._guess(misfit, state, level, plane)
            estimate = drawn = consistent(guess)
            noise = guess.noise
            if self.drawn:
                drawn = estimate + perturbation(self.problem, guess, self.cg_steps, white.draw)
                noise = (state - drawn) * np.float32(1 / level)
            fresh = white.draw() if self.eta > 0 and following > 0 else None
            state = ddim_step(drawn, noise, level, following, self.eta, fresh)
            yield guess, estimate, state if following == 0 else None

    def _guess(self, misfit: DataResidual, state: Any, level: float, plane: int) -> Guess:
        clean = self.prior.denoise(state, plane, level)
        noise = (state - clean) * np.float32(1 / level)
        smallest, largest = (SMALLEST_ERROR * min(level, 1.0)) ** 2, level**2
        error = min(max(misfit.mean_square(clean), smallest), largest)
        weight = self.trust * misfit.variance / error if self.gamma is None else self.problem.lipschitz / self.gamma
        return Guess(state, level, plane, noise, clean, math.sqrt(error), weight)
