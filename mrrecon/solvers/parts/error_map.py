"""How wrong a reconstruction is likely to be, voxel by voxel."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np

from mrrecon.operators.backend import to_numpy
from mrrecon.solvers.parts.descent import Descent
from mrrecon.solvers.parts.plane_priors import PlanePriors
from mrrecon.solvers.parts.posterior_steps import WarmDataStep, WhiteNoise
from mrrecon.solvers.parts.problem import Problem

__all__ = ["STEPS", "error_map", "mean_error", "neighbourhood", "trial", "with_misfit"]

STEPS, FALL = 3, 0.1**0.5  # of the trial: their number, and what each leaves of the noise level
ABOVE, LEAST, MOST = 2.0, 0.05, 0.5  # first level, in units of the noise of the zero-filled image; within these bounds
CG_STEPS, SEED = 5, 0
FACTOR, POWER = 2.29, 0.97  # error = factor * spread * (spread / first level)^power: benchmarks/trust.py --calibrate
WIDTH = 1.5  # voxels: standard deviation of the window that is the neighbourhood


def error_map(problem: Problem, prior: PlanePriors, image: Any) -> np.ndarray:
    """Standard deviation of the error of a reconstruction: of its magnitude, and of each real component alike.

    With the spread and the noise level of :func:`trial` it is ``factor * spread * (spread / level)^power``: how far one
    gets from the image depends on how far one went, and this makes up for it. The two constants were fitted once to
    the true errors of variational reconstructions of training volumes, at R = 4 to 24.

    Parameters
    ----------
    problem
        Has A, y and their noise.
    prior
        The prior that the image was made with; planes that were not asked are not asked now.
    image
        x, ``(sets, x, y, z)``, at unit scale.

    Returns
    -------
    numpy.ndarray
        ``(x, y, z)``, float32, of the first set, in the scale of the data; zero where no coil sees anything.
    """
    spread, level = trial(problem, prior, image)
    return np.float32(problem.scale * FACTOR) * spread * (spread / np.float32(level)) ** np.float32(POWER)


def trial(problem: Problem, prior: PlanePriors, image: Any) -> tuple[np.ndarray, float]:
    """Find out how much prior and data together leave open; parameters as for :func:`error_map`.

    Noise well above what the data's would be in an image of so few samples is added, and taken off again in three steps
    of a posterior sampler, to which the data come with other noise of their own. What the image leaves
    unexplained of the data counts as noise.

    Returns
    -------
    spread
        How far that ends from the image, root mean square over the neighbourhood, per real component: ``(x, y, z)``, at
        unit scale.
    level
        Noise level that was added, per real component.
    """
    noisier = with_misfit(problem, image)
    noise = noisier.noise * math.sqrt(problem.acceleration / 2)
    first = min(max(ABOVE * noise, LEAST), MOST)
    levels = [*(first * FALL**step for step in range(STEPS)), 0.0]
    white, consistent = WhiteNoise(SEED, 0, image), WarmDataStep(noisier, CG_STEPS)
    planes = cycle(sorted(prior.used) or prior.planes)
    steps = Descent(noisier, prior, cg_steps=CG_STEPS)(image, levels, planes, white, consistent)
    ((_, estimate, _),) = deque(steps, maxlen=1)
    apart = to_numpy((estimate - image)[0] * problem.seen[0])
    return neighbourhood((apart.real**2 + apart.imag**2) / 2), first


def mean_error(error: np.ndarray, image: Any) -> float:
    """Root mean square of an error map over the object: voxels count by their brightness."""
    weight = np.abs(to_numpy(image[0]))
    total = float(weight.sum(dtype=np.float64))
    return math.sqrt(float((weight * error**2).sum(dtype=np.float64)) / total) if total > 0 else 0.0


def with_misfit(problem: Problem, image: Any) -> Problem:
    """The problem with as much noise as an image leaves unexplained, if that is more: maps, motion and the like."""
    unexplained = math.sqrt(problem.misfit(image) / (problem.samples * problem.lipschitz))
    noise = max(problem.noise, unexplained)
    return replace(problem, measure_noise=lambda: noise)


def neighbourhood(squares: np.ndarray) -> np.ndarray:
    """Root of the mean of squares ``(x, y, z)`` over the neighbourhood; of those that are not zero."""
    from scipy.ndimage import gaussian_filter

    inside = squares > 0
    weight = gaussian_filter(inside.astype(np.float32), WIDTH, mode="constant")
    total = gaussian_filter(squares.astype(np.float32), WIDTH, mode="constant")
    return np.where(inside, np.sqrt(np.maximum(total, 0) / np.maximum(weight, np.float32(1e-6))), np.float32(0))
