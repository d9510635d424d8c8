"""The variational objective by momentum gradient steps on random slices; the clean form of the published method."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from mrrecon.operators.backend import get_array_module
from mrrecon.operators.vectors import real_dot
from mrrecon.solvers.parts.iterative import Iteration, Start
from mrrecon.solvers.parts.plane_priors import SlicedPrior
from mrrecon.solvers.parts.problem import Problem
from mrrecon.solvers.parts.random_slabs import draw_slabs, noise_error

__all__ = ["gradient_steps"]

MOMENTUM, STEP = 0.9, 0.95  # the step is relative to 1 / lipschitz, where plain gradients are stable


def gradient_steps(
    problem: Problem, prior: SlicedPrior, lam: float, start: Start, *, slices: int, time_limit: float, seed: int
) -> Iterator[Iteration]:
    """Descend ``|A x - y|^2 / 2`` plus the prior's noise-prediction error, its network Jacobian taken as the identity.

    Parameters
    ----------
    problem, prior
        What to solve.
    lam
        Weight of the prior: the gradient on a slice is ``lam alpha_t (predicted - added noise)``, on average over the
        slices that are drawn.
    start
        First iterate and, of a run that is gone on with, its momentum.
    slices
        Slices of each plane per iteration.
    time_limit
        Times are drawn uniformly from one, or the first with noise, to this share of the prior's schedule.
    seed
        Of slices, times and noise.

    References
    ----------
    Resolution-Robust 3D MRI Reconstruction with 2D Diffusion Priors, 2024, section on the variational method; step and
    momentum as the published Adam, whose epsilon dwarfs the gradients, behaves at full size.
    """
    import torch

    x, count = start.image, start.done
    xp = get_array_module(x)
    mean = problem.on_device(start.carried["momentum"]) if "momentum" in start.carried else xp.zeros_like(x)
    while True:
        rng, generator = np.random.default_rng([seed, count]), torch.Generator().manual_seed(1_000_003 * seed + count)
        gradient = problem.encoding.normal(x) - problem.backprojection
        gradient *= np.float32(1 / problem.lipschitz)
        for cube, pull in zip(x.reshape(-1, *x.shape[-3:]), gradient.reshape(-1, *x.shape[-3:]), strict=True):
            for plane in prior.planes:
                total = cube.shape[plane]
                chosen = draw_slabs(total, slices, rng)
                schedule = prior.priors[plane].schedule
                least = max(1.0, schedule.first_time)
                times = rng.uniform(least, max(least, time_limit * schedule.steps), len(chosen))
                found = noise_error(prior, cube, plane, chosen, times, generator)
                weight = lam * total / (len(chosen) * len(prior.planes)) * found.alpha
                xp.moveaxis(pull, plane, 0)[xp.asarray(chosen)] += xp.asarray(weight)[:, None, None] * found.error
        count += 1
        mean = np.float32(MOMENTUM) * mean + np.float32(1 - MOMENTUM) * gradient
        change = np.float32(STEP / (1 - MOMENTUM**count)) * mean
        moved = math.sqrt(real_dot(change, change) / max(real_dot(x, x), 1e-30))
        if not math.isfinite(moved):
            yield Iteration(x, math.nan)
            return
        x = x - change
        yield Iteration(x, moved, carry=partial(dict, momentum=mean))
