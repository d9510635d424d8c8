"""Diffusion posterior sampling of volumes: the data reach the noisy volume through the derivative of the prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mrrecon.errors import DataError
from mrrecon.operators.backend import as_array, get_array_module
from mrrecon.operators.vectors import real_dot
from mrrecon.solvers.dds import SinglePlaneSampler
from mrrecon.solvers.parts.data_step import data_step
from mrrecon.solvers.parts.plane_priors import SlicedPrior
from mrrecon.solvers.parts.posterior import DataConsistency
from mrrecon.solvers.parts.posterior_steps import Guess
from mrrecon.solvers.parts.problem import Problem

__all__ = ["DPS", "noise_derivative_adjoint"]

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

    def check_prior(self, prior: SlicedPrior, shape: tuple[int, int, int]) -> None:
        """See :class:`~mrrecon.solvers.parts.with_prior.PriorSolver`: it must be differentiable too.

        Raises
        ------
        DataError
            If it is not.
        """
        super().check_prior(prior, shape)
        _require_derivative(prior, self.primary(prior), shape)

    def data_consistency(self, problem: Problem, prior: SlicedPrior) -> DataConsistency:
        """See :class:`~mrrecon.solvers.parts.posterior.PosteriorSampler`.

        Raises
        ------
        DataError
            If the prior cannot be differentiated.
        """
        _require_derivative(prior, self.primary(prior), problem.encoding.ishape[-3:])

        def guided(guess: Guess) -> Any:
            pull = data_step(problem, guess.clean, guess.weight, self.cg_steps) - guess.clean
            pull -= np.float32(guess.level) * noise_derivative_adjoint(prior, guess, pull)
            pull *= np.float32(_best_step(problem, guess, pull))
            return guess.clean + pull

        return guided


def _require_derivative(prior: SlicedPrior, plane: int, shape: tuple[int, ...]) -> None:
    """Try what a prior has learned, not what is computed from that: a denoiser's noise always has a derivative."""
    import torch

    from mrrecon.priors.base import Condition, NoisePredictor

    model = prior.priors[plane]
    sides = (n for axis, n in enumerate(shape) if axis != plane)
    probe = torch.zeros(1, *sides, dtype=torch.complex64, requires_grad=True)
    condition = Condition(plane=plane, depth=0.0, voxel_size=prior.edges(plane))
    try:
        with torch.enable_grad():
            if isinstance(model, NoisePredictor):
                result = model.predict_noise(probe, model.schedule.time(1.0), condition)
            else:
                result = model.denoise(probe, 1.0, condition)
        (gradient,) = torch.autograd.grad(torch.view_as_real(result).sum(), probe, allow_unused=True)
    except RuntimeError as error:
        if "grad" not in str(error):
            raise
        gradient = None
    if gradient is None:
        raise DataError(
            f"dps needs a prior that can be differentiated and {model.name} cannot; use dds or tpdm, which need not."
        )


def _best_step(problem: Problem, guess: Guess, direction: Any) -> float:
    """Multiple z of a direction d that minimises ``|A (x + z d) - y|^2 + weight |z d|^2``, x being the clean guess."""
    downhill = problem.backprojection - problem.encoding.normal(guess.clean)
    _, curvature = problem.encoding.normal_energy(direction, ridge=guess.weight)
    return real_dot(direction, downhill) / curvature if curvature > 0 else 0.0


def noise_derivative_adjoint(prior: SlicedPrior, guess: Guess, direction: Any) -> Any:
    """Adjoint of the derivative of the predicted noise in the state, times a volume ``(..., x, y, z)``."""
    xp, plane = get_array_module(direction), guess.plane
    cubes = (a.reshape(-1, *a.shape[-3:]) for a in (guess.state, direction))
    results = [
        prior.volume(
            _slices_adjoint(prior, prior.slices(state, plane), prior.slices(along, plane), plane, guess.level), plane
        )
        for state, along in zip(*cubes, strict=True)
    ]
    return (results[0] if len(results) == 1 else xp.stack(results)).reshape(direction.shape)


def _slices_adjoint(prior: SlicedPrior, states: Any, along: Any, plane: int, level: float) -> Any:
    import torch

    model, number = prior.priors[plane], len(states)
    t = model.schedule.time(level * model.data_scale)
    factor = model.schedule.alpha(t) * model.data_scale
    size = max(1, GRADIENT_PIXELS // (states.shape[1] * states.shape[2]))
    result = get_array_module(states).empty_like(states)
    for first in range(0, number, size):
        part = slice(first, min(first + size, number))
        state = _tensor(states[part]).requires_grad_()
        with torch.enable_grad():
            noise = prior.predict_noise(factor * state, plane, t, number, range(part.start, part.stop))
        (gradient,) = torch.autograd.grad(noise, state, _tensor(along[part]))
        result[part] = as_array(gradient)
    return result


def _tensor(array: Any) -> Any:
    """View of a NumPy or CuPy array as a tensor."""
    import torch

    return torch.from_numpy(array) if get_array_module(array) is np else torch.from_dlpack(array)
