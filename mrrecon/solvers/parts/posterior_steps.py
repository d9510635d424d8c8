"""The pieces of posterior samplers: white noise, what a prior and the data say, statistics of samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mrrecon.operators.backend import as_array, get_array_module, to_device
from mrrecon.solvers.parts.data_step import data_step
from mrrecon.solvers.parts.problem import Problem

__all__ = ["DataResidual", "Guess", "Samples", "WarmDataStep", "WhiteNoise", "perturbation"]


@dataclass(frozen=True)
class Guess:
    """What a prior says about a noisy volume, and what that is worth beside the data.

    Parameters
    ----------
    state
        Volume plus white noise, at unit signal.
    level
        Standard deviation of that noise, per real component.
    plane
        Axis that the slices are perpendicular to.
    noise
        Noise that the prior finds, of unit variance per real component.
    clean
        Tweedie estimate, ``state - level noise``: the volume that the prior expects.
    error
        Standard deviation of what is wrong with it, per real component.
    weight
        Of ``|x - clean|^2`` beside ``|A x - y|^2``.
    """

    state: Any
    level: float
    plane: int
    noise: Any
    clean: Any
    error: float
    weight: float


class WhiteNoise:
    """White complex noise, each real component of unit variance, from a seed and the number of a sample.

    What a sample starts from is drawn on the CPU and the same for every device; the rest is drawn where the volume is.

    Parameters
    ----------
    seed, number
        Which noise.
    like
        Array, NumPy or CuPy, on the device that the noise is for.
    sign
        Factor of all of it, 1 or -1.
    """

    def __init__(self, seed: int, number: int, like: Any, sign: int = 1) -> None:
        import torch

        drawn = int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0]) >> 1
        self.shape, self.sign = like.shape, np.float32(sign)
        self.device = "cpu" if get_array_module(like) is np else "cuda"
        self._host = torch.Generator().manual_seed(drawn)
        self._here = self._host if self.device == "cpu" else torch.Generator(self.device).manual_seed(drawn)

    def start(self) -> Any:
        """Noise for the first state, of the shape of the volume."""
        from mrrecon.priors.schedule import complex_noise

        return self.sign * to_device(complex_noise(self.shape, self._host), self.device)

    def draw(self, shape: Sequence[int] | None = None) -> Any:
        """More noise, by default of the shape of the volume."""
        from mrrecon.priors.schedule import complex_noise

        return self.sign * as_array(complex_noise(self.shape if shape is None else shape, self._here))


class DataResidual:
    """How wrong estimates are, as far as the data can tell.

    The expected ``|A x - y|^2`` of an estimate x whose components are wrong by c each, independently of the noise of
    the data, s in each component of m samples, is ``2 m s^2 + 2 c^2 tr(A^H A)``.

    Parameters
    ----------
    problem
        Has A, y and s.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.variance = problem.lipschitz * problem.noise**2 / 2
        self.trace = problem.encoding.trace()

    def mean_square(self, estimate: Any) -> float:
        """c² per real component; negative if the estimate fits the data better than their noise allows."""
        misfit = self.problem.misfit(estimate)
        return (misfit / 2 - self.problem.samples * self.variance) / self.trace


def perturbation(problem: Problem, guess: Guess, steps: int, draw: Callable[..., Any]) -> Any:
    """Draw what a volume may differ by from the one that is expected given a guess and the data.

    Noise is added to data and guess, and the data step solved for it. The covariance per real component is that of the
    error of the data step; with the weight s^2 / c^2 it is ``(A^H A / s^2 + 1 / c^2)^-1``.

    Parameters
    ----------
    problem
        Has A and the noise of the data.
    guess
        Has its error c and weight.
    steps
        Number of conjugate gradients.
    draw
        White noise of a shape.

    References
    ----------
    Papandreou, Yuille 2010, Gaussian sampling by local perturbations (perturb and optimise).
    """
    noise = draw(problem.encoding.oshape)
    noise *= np.float32(problem.noise * math.sqrt(problem.lipschitz / 2))
    only_noise = replace(problem, backprojection=problem.encoding.adjoint(noise))
    return data_step(only_noise, np.float32(guess.error) * draw(), guess.weight, steps)


class WarmDataStep:
    """Conjugate gradients that begin with the correction which the data called for in the step before.

    Parameters
    ----------
    problem
        Has A and y.
    steps
        Number of conjugate gradients.
    """

    def __init__(self, problem: Problem, steps: int) -> None:
        self._problem, self._steps = problem, steps
        self._correction: Any = None

    def __call__(self, guess: Guess) -> Any:
        """Minimise ``|A x - y|^2 + weight |x - clean|^2``."""
        start = None if self._correction is None else guess.clean + self._correction
        estimate = data_step(self._problem, guess.clean, guess.weight, self._steps, start)
        self._correction = estimate - guess.clean
        return estimate


class Samples:
    """Mean of the estimates that finished samples end with, and deviation of the volumes drawn around them.

    Parameters
    ----------
    problem
        Turns volumes into those that the caller gets.
    state
        What :meth:`state` gave in a run that is gone on with.

    Attributes
    ----------
    number : int
        Of samples so far.

    References
    ----------
    Welford 1962, Technometrics 4:419 (running mean and sum of squares).
    """

    def __init__(self, problem: Problem, state: Mapping[str, Any] | None = None) -> None:
        self._problem = problem
        self.number = 0
        self._mean: Any = None
        self._centre: Any = None
        self._squares: Any = None
        if state and "number" in state:
            self.number = int(state["number"])
            self._mean, self._centre, self._squares = (
                problem.on_device(state[name]) for name in ("mean", "centre", "squares")
            )

    def state(self, initial: Any) -> dict[str, Any]:
        """Everything, and the volume that samples start from, as arrays."""
        kept = {"mean": self._mean, "centre": self._centre, "squares": self._squares}
        return {"number": np.asarray(self.number), "initial": initial, **kept}

    def add(self, estimate: Any, drawn: Any) -> None:
        """Count in a sample: the last estimate, and the volume that was drawn around it."""
        self.number += 1
        if self.number == 1:
            self._mean, self._centre = estimate.copy(), drawn.copy()
            self._squares = get_array_module(drawn).zeros_like(drawn.real)
            return
        share = np.float32(1 / self.number)
        self._mean = self._mean + share * (estimate - self._mean)
        away = drawn - self._centre
        self._centre = self._centre + share * away  # new arrays: a checkpoint may hold the old ones
        away_now = drawn - self._centre
        self._squares = self._squares + away.real * away_now.real + away.imag * away_now.imag

    def mean(self, estimate: Any) -> Any:
        """Mean of the finished samples or, where there is none yet, the estimate given."""
        return estimate if self.number == 0 else self._mean

    def extras(self) -> dict[str, np.ndarray]:
        """``deviation``, if there are two samples."""
        if self.number < 2:
            return {}
        xp = get_array_module(self._squares)
        deviation = xp.sqrt(self._squares / np.float32(2 * (self.number - 1)))
        return {"deviation": self._problem.volume(deviation)}
