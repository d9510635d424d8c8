"""Compressed sensing with wavelets: sparse detail coefficients, found by accelerated proximal gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mrrecon.operators.backend import get_array_module
from mrrecon.operators.vectors import average, extrapolate, gradient_step
from mrrecon.operators.wavelet import WaveletTransform
from mrrecon.solvers.parts.iterative import IterativeSolver
from mrrecon.solvers.parts.loop import Iteration, Start
from mrrecon.solvers.parts.problem import Problem

__all__ = ["L1Wavelet"]

DEFAULT_LAM = 0.75
FAST, CALM = 0.9, 0.3  # momentum before and after the iterates stop settling
LOOK_BACK, STALLED = 4, 0.9  # settling has ended when they move this much of what they did so long ago


@dataclass(frozen=True)
class L1Wavelet(IterativeSolver):
    """Minimise ``|A x - y|^2 / 2 + lam s sum_i |w_i|``, w being the wavelet detail coefficients.

    The unit s of the strength is the noise of the zero-filled image: the standard deviation of the noise of a
    fully sampled image over the square root of the acceleration R. In this unit the best strength hardly
    depends on R, the noise or the anatomy, so the default needs no reference image. The
    noise comes from the noise covariance of the scan, or else from an estimate.

    The transform is rotated by a random shift in each iteration, and the result is the mean over the last
    iterates: that is nearly invariant to shifts, and free of blocks. Several sets of maps are regularised
    each on its own.

    Parameters
    ----------
    lam
        Strength, in units of the noise of the zero-filled image; by default 0.75.
    max_iter
        Most iterations to do.
    tolerance
        Stop when an iteration changes the result by less than this fraction of its norm; 0 for never.
    wavelet
        ``haar`` or ``db1`` to ``db10`` (Daubechies, by the number of vanishing moments).
    levels
        Most levels of decomposition.
    seed
        Seed of the random shifts.

    References
    ----------
    Lustig, Donoho, Pauly 2007, Magn Reson Med 58:1182, equation 3; Beck, Teboulle 2009, SIAM J Imaging Sci
    2:183 (proximal gradients with momentum); Coifman, Donoho 1995, Lect Notes Stat 103:125 (shifts);
    Figueiredo, Nowak 2003, IEEE Trans Image Process 12:906, section V (random shifts within the iteration).
    """

    lam: float | None = None
    max_iter: int = 100
    tolerance: float = 2e-3
    wavelet: str = "haar"
    levels: int = 3
    seed: int = 0

    name: ClassVar[str] = "l1-wavelet"

    def __post_init__(self) -> None:
        super().__post_init__()
        WaveletTransform((1, 1, 1), self.wavelet, self.levels)  # refuses names and levels that there are not

    def default_strength(self, problem: Problem) -> float:
        """See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`."""
        return DEFAULT_LAM

    def iterations(self, problem: Problem, lam: float, start: Start) -> Iterator[Iteration]:
        """See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`."""
        transform = WaveletTransform(start.image.shape[1:], self.wavelet, self.levels)
        threshold = lam * problem.zero_filled_noise if lam else 0.0
        return _proximal_gradient(problem, transform, threshold, start.image, self.seed)


def _proximal_gradient(
    problem: Problem, transform: WaveletTransform, threshold: float, x: Any, seed: int
) -> Iterator[Iteration]:
    """Proximal gradient steps with a random shift each: first with momentum, then with averaging.

    The momentum phase ends when the iterates move as far as they did four iterations before: what is left is
    the wandering that the random shifts cause. From there on the result is the mean over the iterates, which
    is an average over shifts too.
    """
    rng = np.random.default_rng(seed)
    xp = get_array_module(x)
    new, point, work = x.copy(), x.copy(), xp.empty_like(x)
    moves: list[float] = []
    mean, averaged = None, 0
    while True:
        problem.encoding.normal(point, out=work)
        gradient_step(point, work, problem.backprojection, 1 / problem.lipschitz)
        _denoise(point, new, work, transform, threshold, rng.integers(0, 1 << transform.levels, size=3).tolist())
        moved, size = extrapolate(point, new, x, FAST if mean is None else CALM)
        if not math.isfinite(moved):
            yield Iteration(x if mean is None else mean, math.nan)
            return
        x, new = new, x
        moves.append(moved)
        if mean is None:
            yield Iteration(x, moved / size if size else 0.0)
            if len(moves) > 2 * LOOK_BACK and moved > STALLED * moves[-1 - LOOK_BACK]:
                mean = xp.zeros_like(x)
        else:
            averaged += 1
            moved, size = average(mean, x, 1 / averaged)
            yield Iteration(mean, moved / size if size else 0.0)


def _denoise(point: Any, new: Any, work: Any, transform: WaveletTransform, threshold: float, shift: list[int]) -> None:
    """Write the proximal map of the penalty at `point` to `new`, for each set of maps."""
    for a, w, b in zip(point, work, new, strict=True):
        transform.forward(a, shift, out=w)
        transform.shrink(w, threshold)
        transform.inverse(w, shift, out=b)
