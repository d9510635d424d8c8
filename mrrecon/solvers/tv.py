"""Compressed sensing with total variation, primal-dual: one normal operator an iteration."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mrrecon.operators.backend import get_array_module
from mrrecon.operators.total_variation import GRADIENT_NORM_SQUARED, dual_step, gradient_adjoint
from mrrecon.operators.vectors import extrapolate, gradient_step
from mrrecon.solvers.parts.iterative import IterativeSolver
from mrrecon.solvers.parts.loop import Iteration, Start
from mrrecon.solvers.parts.problem import Problem

__all__ = ["TotalVariation"]

DEFAULT_LAM = 0.3


@dataclass(frozen=True)
class TotalVariation(IterativeSolver):
    """Minimise ``|A x - y|^2 / 2 + lam s TV(x)`` with the isotropic total variation of the complex 3D volume.

    The unit s of the strength is the noise of the zero-filled image: the standard deviation of the noise of a
    fully sampled image over the square root of the acceleration R. The noise comes from the noise covariance
    of the scan, or else from an estimate. Several sets of maps are regularised each on its own.

    Parameters
    ----------
    lam
        Strength, in units of the noise of the zero-filled image; by default 0.3.
    max_iter
        Most iterations to do.
    tolerance
        Stop when an iteration changes the image by less than this fraction of its norm; 0 for never.

    References
    ----------
    Condat 2013, J Optim Theory Appl 158:460, algorithm 3.1; Vu 2013, Adv Comput Math 38:667. Step sizes:
    primal 1 / L, dual L / 24, which meet Condat's condition (3.1) with 12 for the squared norm of the
    gradient.
    """

    lam: float | None = None
    max_iter: int = 200
    tolerance: float = 3e-4

    name: ClassVar[str] = "tv"

    def default_strength(self, problem: Problem) -> float:
        """See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`."""
        return DEFAULT_LAM

    def iterations(self, problem: Problem, lam: float, start: Start) -> Iterator[Iteration]:
        """See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`."""
        return _primal_dual(problem, lam * problem.zero_filled_noise if lam else 0.0, start.image)


def _primal_dual(problem: Problem, weight: float, x: Any) -> Iterator[Iteration]:
    """Condat's iteration in the units of an encoding with L = 1; `weight` multiplies the total variation."""
    xp = get_array_module(x)
    primal, dual_size = 1 / problem.lipschitz, problem.lipschitz / (2 * GRADIENT_NORM_SQUARED)
    radius = weight * problem.lipschitz
    new, work, target = x.copy(), xp.empty_like(x), xp.empty_like(x)
    dual = xp.zeros((len(x), 3, *x.shape[1:]), np.complex64)
    while True:
        for u, t in zip(dual, target, strict=True):
            gradient_adjoint(u, out=t)
        xp.subtract(problem.backprojection, target, out=target)
        problem.encoding.normal(x, out=work)
        new[...] = x
        gradient_step(new, work, target, primal)
        moved, size = extrapolate(work, new, x, 1.0)
        if not math.isfinite(moved):
            yield Iteration(x, math.nan)
            return
        if radius > 0:
            for u, v in zip(dual, work, strict=True):
                dual_step(u, v, dual_size, radius)
        x, new = new, x
        yield Iteration(x, moved / size if size else 0.0)
