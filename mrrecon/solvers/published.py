"""The variational method with its published settings: real Adam on a mean squared error, loss-driven learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from mrrecon.operators.backend import as_array, get_array_module
from mrrecon.operators.vectors import real_dot
from mrrecon.solvers.parts.iterative import Iteration
from mrrecon.solvers.parts.plane_priors import SlicedPrior
from mrrecon.solvers.parts.problem import Problem
from mrrecon.solvers.parts.random_slabs import SLAB, noise_error

__all__ = ["published_steps"]

LEARNING_RATE, BETAS, PLATEAU, PATIENCE = 2.0, (0.9, 0.99), 0.5, 20
PRIOR_SCALE = 2.0  # value that the published prior sees for an image value of one


def published_steps(
    problem: Problem, prior: SlicedPrior, lam: float, image: Any, *, slices: int, time_limit: float, seed: int
) -> Iterator[Iteration]:
    """Adam on ``mean |A x - y|^2 + lam mean(w) mean |predicted - added noise|^2``, started from ``A^H y``.

    The data are scaled to ``|y|^2 = 2 N``, and means run over real and imaginary parts of all samples, unsampled ones
    too, because Adam's epsilon makes the result depend on it. The prior sees slices at its own scale, not at the
    published one, which is about twice too large. The residual is the loss.

    Parameters
    ----------
    problem, prior, lam, slices, time_limit, seed
        See :func:`~mrrecon.solvers.red_diff.gradient_steps`; `lam` is the published one.
    image
        Of the shape of the volume; its values are not used.

    References
    ----------
    Resolution-Robust 3D MRI Reconstruction with 2D Diffusion Priors, 2024, and its code.
    """
    import torch

    xp, voxels = get_array_module(image), math.prod(image.shape[-3:])
    coils = problem.encoding.oshape[0]
    factor = math.sqrt(2 * voxels / problem.energy)  # from unit signal to the published scale
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    start = problem.backprojection * np.float32(factor)
    parameter = torch.view_as_real(torch.from_dlpack(start)).clone().requires_grad_()
    adam = torch.optim.Adam([parameter], lr=LEARNING_RATE, betas=BETAS, eps=1e-8)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(adam, factor=PLATEAU, patience=PATIENCE)
    while True:
        x = as_array(torch.view_as_complex(parameter.detach())) / np.float32(factor)  # at unit signal
        gradient = problem.encoding.normal(x)
        residual = real_dot(x, gradient) - 2 * real_dot(x, problem.backprojection) + problem.energy
        loss = factor**2 * residual / (2 * coils * voxels)
        gradient = np.float32(factor / (coils * voxels)) * (gradient - problem.backprojection)
        for cube, pull in zip(x.reshape(-1, *x.shape[-3:]), gradient.reshape(-1, *x.shape[-3:]), strict=True):
            for plane in prior.planes:
                chosen = _slabs(cube.shape[plane], slices, rng)
                schedule = prior.priors[plane].schedule
                least = max(1, round(schedule.first_time))
                last = max(least + 1, round(time_limit * schedule.steps))
                times = rng.integers(least, last, len(chosen)).astype(np.float64)
                found = noise_error(prior, cube, plane, chosen, times, generator)
                weight = lam * float(np.mean(found.sigma / found.alpha)) / len(prior.planes)
                entries = 2 * found.error.size
                loss += weight * real_dot(found.error, found.error) / entries
                slopes = np.float32(2 * PRIOR_SCALE * weight / entries) * found.alpha
                pulls = xp.asarray(slopes)[:, None, None] * found.error
                xp.add.at(xp.moveaxis(pull, plane, 0), xp.asarray(chosen), pulls)  # slabs may overlap
        if not math.isfinite(loss):
            yield Iteration(x, math.nan)
            return
        parameter.grad = torch.view_as_real(torch.from_dlpack(gradient))
        plateau.step(loss)
        adam.step()
        x = as_array(torch.view_as_complex(parameter.detach())) / np.float32(factor)
        yield Iteration(x, loss, carry=_nothing)


def _nothing() -> None:
    """The moments of Adam and the learning rate are not kept: a run cannot be gone on with."""


def _slabs(count: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Slabs of five with centres uniform from the third to the last but two, overlapping as it happens."""
    half = SLAB // 2
    centres = rng.integers(min(half, count // 2), max(count - half, count // 2 + 1), math.ceil(wanted / SLAB))
    indices = (centres[:, None] + np.arange(-half, half + 1)).ravel()
    return indices[(indices >= 0) & (indices < count)]
