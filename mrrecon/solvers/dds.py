"""Decomposed diffusion sampling of volumes: 2D denoising and conjugate gradients, on one plane or on all in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, cycle
from typing import ClassVar

import numpy as np

from mrrecon.solvers.parts.plane_priors import PlanePriors
from mrrecon.solvers.parts.posterior import DataConsistency, SinglePlaneSampler
from mrrecon.solvers.parts.posterior_steps import WarmDataStep
from mrrecon.solvers.parts.problem import Problem

__all__ = ["DDS", "TPDM"]


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

    def data_consistency(self, problem: Problem, prior: PlanePriors) -> DataConsistency:
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

    def cycle(self, prior: PlanePriors, number: int) -> Iterator[int]:
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
