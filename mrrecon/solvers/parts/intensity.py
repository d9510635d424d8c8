"""What a regularisation takes of the image's brightness, put back where the data know better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mrrecon.operators.backend import get_array_module

if TYPE_CHECKING:
    from mrrecon.solvers.parts.problem import Problem

__all__ = ["restored"]

WIDTH = 0.4  # of all frequencies of an axis that the window has at most: 2 % of the noise, of complete data
FLAT = 0.5  # share of the window that has full weight


def restored(problem: Problem, image: Any) -> Any:
    """Return ``x + W A^H (y - A x) / L``, W being a low-pass filter: the image with its low frequencies as measured.

    The image is ``(sets, x, y, z)``, at unit scale.

    Every regularisation pulls the image towards something, zero or smooth or typical, and what it pulls at low spatial
    frequencies is the mean intensity of tissue: some per cent, more for small objects and weak echoes. There, in the
    fully sampled centre of k-space, the data need no help, and hardly any noise comes with them. With unit-norm maps
    ``A^H A`` is the identity on them, so that one step is enough.

    References
    ----------
    Osher, Burger, Goldfarb, Xu, Yin 2005, Multiscale Model Simul 4:460 (adding the residual back, there at all
    frequencies and before solving again).
    """
    xp = get_array_module(image)
    step = problem.backprojection - problem.encoding.normal(image)
    shape = image.shape[-3:]
    for axis, n in enumerate(shape):
        block = problem.complete[axis]
        if block is not None:
            centre, width = block.start + len(block) // 2 - n // 2, min(len(block), max(1, round(WIDTH * n)))
            step = _low_pass(step, axis - 3, centre, width)
    return image + xp.where(problem.seen, step, 0) * np.float32(1 / problem.lipschitz)


def _low_pass(a: Any, axis: int, centre: int, width: int) -> Any:
    """Filter along one axis: full weight around a frequency, falling like a cosine to none over half the width."""
    xp, n = get_array_module(a), a.shape[axis]
    frequency = centre + np.arange(width) - width // 2
    distance = np.abs(frequency - centre) / (width / 2)
    weight = 0.5 - 0.5 * np.cos(np.pi * np.clip((1 - distance) / (1 - FLAT), 0, 1))
    waves = xp.asarray(np.exp(2j * np.pi * np.outer(np.arange(n), frequency) / n), np.complex64)
    found = xp.tensordot(waves.conj() * xp.asarray(weight / n, np.float32), a, axes=(0, axis))
    return xp.moveaxis(xp.tensordot(waves, found, axes=(1, 0)), 0, axis)
