"""Diffusion model-based iterative reconstruction: 2D priors within slices, total variation across them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from mrrecon.operators.backend import get_array_module
from mrrecon.operators.vectors import cg_curvature
from mrrecon.solvers.parts.data_step import data_step
from mrrecon.solvers.parts.descent import DataConsistency
from mrrecon.solvers.parts.plane_priors import PlanePriors
from mrrecon.solvers.parts.posterior import SinglePlaneSampler
from mrrecon.solvers.parts.posterior_steps import Guess, WarmDataStep
from mrrecon.solvers.parts.problem import Problem

__all__ = ["DiffusionMBIR"]


@dataclass(frozen=True)
class DiffusionMBIR(SinglePlaneSampler):
    """As :class:`~mrrecon.solvers.dds.DDS`, with total variation across the slices, of which a 2D prior knows nothing.

    Each step minimises ``|A x - y|^2 / s^2 + |x - x0|^2 / c^2 + 2 tv / c sum |D x|`` by one pass of ADMM, whose split
    and dual variables are kept from step to step; D are the differences between neighbouring slices, s and c the noise
    of the data and the error of the prior's estimate x0. The volumes drawn around the estimate do not know of
    the total variation. Parameters, result and residual are those of
    :class:`~mrrecon.solvers.parts.posterior.PosteriorSampler`.

    Parameters
    ----------
    plane
        Axis that the slices are perpendicular to; by default the one whose slices have the most nearly square pixels.
    tv
        Strength of the total variation, in units of the error of the prior's estimate; 0 makes it the same as DDS.

    References
    ----------
    Chung, Ryu, McCann, Klasky, Ye, Solving 3D Inverse Problems using Pre-trained 2D Diffusion Models, 2023, algorithm 1
    (shared variables of ADMM); Boyd, Parikh, Chu, Peleato, Eckstein 2011, Found Trends Mach Learn 3:1, section 3.1.
    """

    tv: float = 0.1

    name: ClassVar[str] = "diffusion-mbir"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tv >= 0:
            raise ValueError(f"tv must not be negative, got {self.tv}; 0 means no total variation.")

    def data_consistency(self, problem: Problem, prior: PlanePriors) -> DataConsistency:
        """See :class:`~mrrecon.solvers.parts.posterior.PosteriorSampler`."""
        return _AcrossSlices(problem, self.cg_steps, self.tv) if self.tv > 0 else WarmDataStep(problem, self.cg_steps)


class _AcrossSlices:
    """The data step with one pass of ADMM, warm from the step before."""

    def __init__(self, problem: Problem, steps: int, tv: float) -> None:
        self._problem, self._steps, self._tv = problem, steps, tv
        self._correction: Any = None
        self._split: Any = None
        self._dual: Any = None  # in units of the error, which falls

    def __call__(self, guess: Guess) -> Any:
        axis, problem = guess.plane - 3, self._problem
        error, weight = np.float32(guess.error), np.float32(guess.weight)
        if self._correction is None:
            self._split = differences(guess.clean, axis)
            self._dual, self._correction = 0 * self._split, 0 * guess.clean
        pull = differences_adjoint(self._split - error * self._dual, axis)
        coupled = replace(
            problem,
            encoding=_WithDifferences(problem.encoding, axis, guess.weight),  # type: ignore[arg-type]
            backprojection=problem.backprojection + weight * pull,
        )
        estimate = data_step(coupled, guess.clean, guess.weight, self._steps, guess.clean + self._correction)
        self._correction = estimate - guess.clean
        field = differences(estimate, axis) + error * self._dual
        self._split = _soft(field, self._tv * guess.error)
        self._dual = (field - self._split) * np.float32(1 / guess.error)
        return estimate


class _WithDifferences:
    """``A^H A + weight D^H D``, as conjugate gradients use it."""

    def __init__(self, encoding: Any, axis: int, weight: float) -> None:
        self._encoding, self._axis, self._weight = encoding, axis, np.float32(weight)

    def normal(self, image: Any, out: Any = None) -> Any:
        result = self._encoding.normal(image, out=out)
        result += self._weight * differences_adjoint(differences(image, self._axis), self._axis)
        return result

    def normal_energy(self, image: Any, out: Any, ridge: float) -> tuple[Any, float]:
        result = self.normal(image, out)
        return result, cg_curvature(image, result, ridge)


def differences(volume: Any, axis: int) -> Any:
    """Differences between neighbours along an axis, one fewer than there are slices."""
    return get_array_module(volume).diff(volume, axis=axis)


def differences_adjoint(field: Any, axis: int) -> Any:
    """Adjoint of :func:`differences`."""
    xp = get_array_module(field)
    shape = list(field.shape)
    shape[axis] += 1
    volume = xp.zeros(shape, np.complex64)
    along, inner = xp.moveaxis(volume, axis, 0), xp.moveaxis(field, axis, 0)
    along[:-1] -= inner
    along[1:] += inner
    return volume


def _soft(field: Any, threshold: float) -> Any:
    """Complex soft threshold: magnitudes shrink, phases stay."""
    xp = get_array_module(field)
    size = xp.maximum(xp.abs(field), np.float32(1e-30))
    return field * xp.maximum(1 - np.float32(threshold) / size, np.float32(0))
