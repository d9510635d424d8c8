"""Conjugate gradients on the normal equations: all of CG-SENSE, and the data step of the solvers with a prior."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from mrrecon.operators.vectors import cg_direction, cg_update, real_dot
from mrrecon.solvers.parts.loop import Iteration
from mrrecon.solvers.parts.problem import Problem

__all__ = ["conjugate_gradients", "data_step", "sense_start"]

START_STEPS, START_RIDGE = 8, 0.35  # of the CG-SENSE image that a cold start begins with; half the ridge of CGSense


def conjugate_gradients(problem: Problem, ridge: float, b: Any, x: Any, warm: bool = True) -> Iterator[Iteration]:
    """Solve ``(A^H A + ridge) x = b`` in place, from `x`, zero unless `warm`; the residual is relative to ``|b|``.

    References
    ----------
    Hestenes, Stiefel 1952, J Res Nat Bur Stand 49:409, section 3.
    """
    size = math.sqrt(real_dot(b, b))
    r = b.copy()
    if warm:
        r -= problem.encoding.normal(x) + np.float32(ridge) * x
    p, q = r.copy(), r * 0
    energy = real_dot(r, r)
    while energy != 0:  # what is not a number goes in, and is told
        _, curvature = problem.encoding.normal_energy(p, out=q, ridge=ridge)
        if curvature <= 0:  # solved: nothing but rounding is left
            return
        alpha = energy / curvature
        if not (math.isfinite(alpha) and math.isfinite(energy)):
            yield Iteration(x, math.nan)
            return
        before, energy = energy, cg_update(x, r, p, q, alpha)
        yield Iteration(x, math.sqrt(energy) / size)
        cg_direction(p, r, energy / before)


def data_step(problem: Problem, target: Any, weight: float, steps: int, x: Any = None) -> Any:
    """Minimise ``|A x - y|^2 + weight |x - target|^2`` by a few conjugate gradients and return x.

    The first iterate is overwritten; by default it is a copy of `target`.

    Raises
    ------
    FloatingPointError
        If numbers overflow.

    References
    ----------
    Chung, Lee, Ye, Decomposed Diffusion Sampler, 2024, section on proximal data consistency (there with
    ``gamma = 1 / weight``).
    """
    x = target.copy() if x is None else x
    b = problem.backprojection + np.float32(weight) * target
    for _, step in zip(range(steps), conjugate_gradients(problem, weight, b, x), strict=False):
        if not math.isfinite(step.residual):
            raise FloatingPointError("numbers that are not finite in a data step")
    return x


def sense_start(problem: Problem, image: Any) -> Any:
    """Do a few iterations of CG-SENSE in place, from an image of zeros; without ridge where the noise is unknown."""
    ridge = START_RIDGE * (problem.known_noise or 0.0) / problem.power**0.5 * problem.lipschitz
    iterations = conjugate_gradients(problem, ridge, problem.backprojection, image, warm=False)
    for _ in islice(iterations, START_STEPS):
        pass
    return image
