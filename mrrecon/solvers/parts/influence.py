"""What in a reconstruction the data do not determine."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrrecon.solvers.parts.data_step import conjugate_gradients
from mrrecon.solvers.parts.problem import Problem

__all__ = ["prior_influence"]

STEPS = 12  # of conjugate gradients; more change the map by a few per cent


def prior_influence(problem: Problem, image: Any) -> Any:
    """The part of an image that the data do not determine: ``x - (A^H A + mu)^-1 A^H A x``.

    What is left of the image when it is measured without noise as it was and then reconstructed without any prior but
    the Wiener strength ``mu`` (noise over signal power; zero where the noise is unknown). Anatomy seen in this map has
    come from the prior. The image is ``(sets, x, y, z)``, complex64, at unit scale, and so is the result.
    """
    ridge = problem.lipschitz * (problem.known_noise or 0.0) ** 2 / problem.power
    b = problem.encoding.normal(image)
    determined = np.float32(1 / (1 + ridge / problem.lipschitz)) * b
    for _ in zip(range(STEPS), conjugate_gradients(problem, ridge, b, determined), strict=False):
        pass
    return image - determined
