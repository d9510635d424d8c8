"""Decomposed diffusion sampling of volumes: 2D denoising and conjugate gradients, on one plane or on all in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, cycle
from typing import Any, ClassVar

import numpy as np

from mrrecon.errors import DataError
from mrrecon.solvers.parts.data_step import data_step
from mrrecon.solvers.parts.plane_priors import SlicedPrior
from mrrecon.solvers.parts.posterior import DataConsistency, PosteriorSampler
from mrrecon.solvers.parts.posterior_steps import Guess
from mrrecon.solvers.parts.problem import Problem

__all__ = ["DDS", "TPDM", "SinglePlaneSampler", "WarmDataStep"]


@dataclass(frozen=True)
class SinglePlaneSampler(PosteriorSampler):
    """A sampler that sees slices of one plane only; see :class:`~mrrecon.solvers.parts.posterior.PosteriorSampler`.

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

    def primary(self, prior: SlicedPrior) -> int:
        """The plane as told, or the best one.

        Raises
        ------
        DataError
            If slices of the plane told are nothing for a 2D prior.
        """
        if self.plane is None:
            return min(prior.planes, key=lambda plane: max(prior.edges(plane)) / min(prior.edges(plane)))
        if self.plane not in prior.planes:
            usable = " or ".join(map(str, prior.planes))
            raise DataError(f"Slices perpendicular to axis {self.plane} do not suit a 2D prior; choose plane {usable}.")
        return self.plane

    def cycle(self, prior: SlicedPrior, number: int) -> Iterator[int]:
        """See :class:`~mrrecon.solvers.parts.posterior.PosteriorSampler`."""
        return cycle([self.primary(prior)])


class WarmDataStep:
    """Conjugate gradients that begin with the correction which the data called for in the step before.

    Parameters
    ----------
    problem
        Has A and y.
    steps
        Number of conjugate gradients.
    """

    def __init__(self, problem: Problem, steps: int) -> None:
        self._problem, self._steps = problem, steps
        self._correction: Any = None

    def __call__(self, guess: Guess) -> Any:
        """Minimise ``|A x - y|^2 + weight |x - clean|^2``."""
        start = None if self._correction is None else guess.clean + self._correction
        estimate = data_step(self._problem, guess.clean, guess.weight, self._steps, start)
        self._correction = estimate - guess.clean
        return estimate


@dataclass(frozen=True)
class DDS(SinglePlaneSampler):
    """Decomposed diffusion sampling: slices of one plane are denoised, and a few conjugate gradients fit the data.

    Parameters, result and residual are those of :class:`~mrrecon.solvers.parts.posterior.PosteriorSampler`;
    ``gamma=1``, ``renoise="predicted"``, ``first_level=None`` and ``spacing="time"`` are the published choices.

    Parameters
    ----------
    plane
        Axis that the slices are perpendicular to; by default the one whose slices have the most nearly square pixels.

    References
    ----------
    Chung, Lee, Ye, Decomposed Diffusion Sampler for Accelerating Large-Scale Inverse Problems, 2024, algorithm 1.
    """

    name: ClassVar[str] = "dds"

    def data_consistency(self, problem: Problem, prior: SlicedPrior) -> DataConsistency:
        """See :class:`~mrrecon.solvers.parts.posterior.PosteriorSampler`."""
        return WarmDataStep(problem, self.cg_steps)


@dataclass(frozen=True)
class TPDM(DDS):
    """Sampling with perpendicular priors: as :class:`DDS`, but each step denoises the slices of another plane.

    One prior for all planes, or one for each. Over many steps the planes' scores average, each with its share of the
    steps: what the method takes for the score of the product of the priors' distributions, each to the power of its
    share.

    Parameters
    ----------
    plane
        The primary plane; see :class:`DDS`.
    period
        By default all planes that suit a 2D prior take turns. With a whole number K the primary plane does, except in
        steps i with ``i mod K = K - 1``; with a broken number K, it has a step with the probability ``1 - 1/K``. The
        other planes share the rest.

    References
    ----------
    Lee, Chung, Park, Park, Ryu, Ye, Improving 3D Imaging with Pre-Trained Perpendicular 2D Diffusion Models, 2023,
    algorithm 1 (``K``); with conjugate gradients: Resolution-Robust 3D MRI Reconstruction with 2D Diffusion Priors,
    2024.
    """

    period: float | None = None

    name: ClassVar[str] = "tpdm"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.period is not None and not self.period >= 1:
            raise ValueError(f"period must be at least 1, got {self.period}; leave it out for planes in turn.")

    def cycle(self, prior: SlicedPrior, number: int) -> Iterator[int]:
        """See :class:`~mrrecon.solvers.parts.posterior.PosteriorSampler`."""
        primary = self.primary(prior)
        others = [plane for plane in prior.planes if plane != primary]
        if self.period is None or not others:
            yield from cycle([primary, *others])
            return
        rng, auxiliary = np.random.default_rng([self.seed, number]), cycle(others)
        for step in count():
            if float(self.period).is_integer():
                turn = step % self.period == self.period - 1
            else:
                turn = rng.random() < 1 / self.period
            yield next(auxiliary) if turn else primary
