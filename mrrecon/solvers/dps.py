"""Diffusion posterior sampling of volumes: the data reach the noisy volume through the derivative of the prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mrrecon.errors import DataError
from mrrecon.operators.backend import as_array, get_array_module
from mrrecon.operators.vectors import real_dot
from mrrecon.solvers.parts.data_step import data_step
from mrrecon.solvers.parts.descent import DataConsistency
from mrrecon.solvers.parts.plane_priors import PlanePriors
from mrrecon.solvers.parts.posterior import SinglePlaneSampler
from mrrecon.solvers.parts.posterior_steps import Guess
from mrrecon.solvers.parts.problem import Problem

__all__ = ["DPS", "derivative_adjoint"]

GRADIENT_PIXELS = 1 << 16  # of slices that are differentiated at once


@dataclass(frozen=True)
class DPS(SinglePlaneSampler):
    """Diffusion posterior sampling: the estimate moves against the gradient of its data misfit in the noisy volume.

    With x0 the prior's estimate, c its error, s the noise of the data and J the derivative of x0 in the noisy volume,
    the estimate given the data is ``x0 + z J^H (A^H A + s^2 / c^2)^-1 A^H (y - A x0)``, the inverse by a few conjugate
    gradients. With one (``cg_steps=1``) its direction is that of the gradient of ``|A x0 - y|^2``, as published; with
    more it is that of the pseudoinverse guidance of Song et al. The step length z needs no tuning: it minimises
    ``|A x - y|^2 / s^2 + |x - x0|^2 / c^2`` along the direction, hence is right wherever J is a multiple of the
    identity. The prior must be differentiable. Each step costs two evaluations of every slice, and a backward pass.
    Parameters, result and residual are those of :class:`~mrrecon.solvers.parts.posterior.PosteriorSampler`.

    Parameters
    ----------
    plane
        Axis that the slices are perpendicular to; by default the one whose slices have the most nearly square pixels.

    References
    ----------
    Chung, Kim, McCann, Klasky, Ye, Diffusion Posterior Sampling for General Noisy Inverse Problems, 2023, algorithm 1;
    J. Song, Vahdat, Mardani, Kautz, Pseudoinverse-Guided Diffusion Models for Inverse Problems, 2023, equation (7).
    """

    name: ClassVar[str] = "dps"

    def check_prior(self, prior: PlanePriors) -> None:
        """See :class:`~mrrecon.solvers.parts.with_prior.PriorSolver`: it must be differentiable too.

        Raises
        ------
        DataError
            If it is not.
        """
        super().check_prior(prior)
        _require_derivative(prior, self.primary(prior))

    def data_consistency(self, problem: Problem, prior: PlanePriors) -> DataConsistency:
        """See :class:`~mrrecon.solvers.parts.posterior.PosteriorSampler`.

        Raises
        ------
        DataError
            If the prior cannot be differentiated.
        """
        _require_derivative(prior, self.primary(prior))

        def guided(guess: Guess) -> Any:
            pull = data_step(problem, guess.clean, guess.weight, self.cg_steps) - guess.clean
            pull = derivative_adjoint(prior, guess, pull)
            pull *= np.float32(_best_step(problem, guess, pull))
            return guess.clean + pull

        return guided


def _require_derivative(prior: PlanePriors, plane: int) -> None:
    """Try it: where the noise that a prior finds has no derivative, that of its estimate is the identity."""
    import torch

    from mrrecon.priors.schedule import complex_noise

    model = prior.priors[plane]
    sides = [n for axis, n in enumerate(prior.grid.shape) if axis != plane]
    probe, along = complex_noise((2, 1, *sides), torch.Generator().manual_seed(0)).to(model.device)
    probe.requires_grad_()
    try:
        with torch.enable_grad():
            clean = model.denoise(probe, 1.0, prior.condition(plane, [prior.grid.shape[plane] // 2]))
        (gradient,) = torch.autograd.grad(clean, probe, along, allow_unused=True)
    except RuntimeError as error:
        if "grad" not in str(error):
            raise
        gradient = None
    if gradient is None or torch.equal(gradient, along):
        raise DataError(
            f"dps needs a prior that can be differentiated and {model.name} cannot; use dds or tpdm, which need not."
        )


def _best_step(problem: Problem, guess: Guess, direction: Any) -> float:
    """Multiple z of a direction d that minimises ``|A (x + z d) - y|^2 + weight |z d|^2``, x being the clean guess."""
    downhill = problem.backprojection - problem.encoding.normal(guess.clean)
    _, curvature = problem.encoding.normal_energy(direction, ridge=guess.weight)
    return real_dot(direction, downhill) / curvature if curvature > 0 else 0.0


def derivative_adjoint(prior: PlanePriors, guess: Guess, direction: Any) -> Any:
    """Adjoint of the derivative of the clean estimate in the state, times an image ``(sets, x, y, z)``."""
    xp, plane = get_array_module(direction), guess.plane
    results = []
    for state, along in zip(guess.state, direction, strict=True):
        slices = _slices_adjoint(prior, prior.slices(state, plane), prior.slices(along, plane), plane, guess.level)
        results.append(xp.moveaxis(slices, 0, plane))
    return xp.ascontiguousarray(xp.stack(results))


def _slices_adjoint(prior: PlanePriors, states: Any, along: Any, plane: int, level: float) -> Any:
    """The same for all slices of a plane; a few at a time, unless the prior looks at neighbours."""
    import torch

    number, result = len(states), get_array_module(states).empty_like(states)
    size = max(1, GRADIENT_PIXELS // (states.shape[1] * states.shape[2])) if prior.priors[plane].window == 1 else number
    for first in range(0, number, size):
        part = slice(first, min(first + size, number))
        state = _tensor(states[part]).requires_grad_()
        with torch.enable_grad():
            levels = np.full(part.stop - part.start, level)
            clean = prior.denoise_slices(state, plane, levels, np.arange(part.start, part.stop))
        (gradient,) = torch.autograd.grad(clean, state, _tensor(along[part]))
        result[part] = as_array(gradient)
    return result


def _tensor(array: Any) -> Any:
    """View of a NumPy or CuPy array as a tensor."""
    import torch

    return torch.from_numpy(array) if get_array_module(array) is np else torch.from_dlpack(array)
