"""The pieces of posterior samplers: falling noise levels, white noise, what a prior and the data say, statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mrrecon.errors import DataError
from mrrecon.operators.backend import as_array, get_array_module, to_device
from mrrecon.operators.vectors import real_dot
from mrrecon.solvers.parts.data_step import data_step
from mrrecon.solvers.parts.plane_priors import SlicedPrior
from mrrecon.solvers.parts.problem import Problem

if TYPE_CHECKING:
    from mrrecon.priors.schedule import NoiseSchedule

__all__ = ["DataResidual", "Guess", "NoiseLadder", "Samples", "WhiteNoise", "perturbation", "predicted_noise"]


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


@dataclass(frozen=True)
class NoiseLadder:
    """The noise levels that a sampler comes down, as times of one schedule; the last one, -1, is clean.

    States are volumes plus noise, at unit signal: the same for priors of different schedules and data scales.

    Parameters
    ----------
    schedule, scale
        Schedule and data scale of the prior that gave the times.
    times
        Falling.
    """

    schedule: NoiseSchedule
    scale: float
    times: Sequence[float]

    @classmethod
    def of(cls, prior: SlicedPrior, steps: int, spacing: str, first: float | None = None) -> NoiseLadder:
        """As many steps as told, from the level `first` or the highest that all priors in use know, if that is lower.

        Raises
        ------
        DataError
            If the first level is not above the last one of the schedule.
        """
        from mrrecon.priors.sampling import sampling_times

        models = [prior.priors[plane] for plane in prior.planes]
        lowest = min(models, key=lambda model: model.schedule.max_noise_level / model.data_scale)
        start = None if first is None else lowest.schedule.time(first * lowest.data_scale)
        least = lowest.schedule.first_time
        if start is not None and not start > least:
            last = lowest.schedule.noise_level(least) / lowest.data_scale
            raise DataError(
                f"first_level must be above {last:.3g}, the last noise level of {lowest.name}, got {first:g}."
            )
        times = sampling_times(lowest.schedule, steps, start, spacing)
        return cls(lowest.schedule, lowest.data_scale, times)

    def level(self, t: float) -> float:
        """Noise level, at unit signal, of a time."""
        return self.schedule.noise_level(t) / self.scale

    def descend(self, clean: Any, noise: Any, t: float, following: float, eta: float, fresh: Any) -> Any:
        """State at the time `following`, of a clean volume and noise; see :func:`mrrecon.priors.ddim_step`."""
        from mrrecon.priors.sampling import ddim_step

        scaled = np.float32(self.scale) * clean
        state = ddim_step(self.schedule, scaled, noise, t, following, eta, fresh)
        state *= np.float32(1 / (self.schedule.alpha(following) * self.scale))
        return state


class WhiteNoise:
    """White complex noise, each real component of unit variance, from a seed and the number of a sample.

    What a sample starts from is drawn on the CPU and the same for every device; the rest is drawn where the volume is.

    Parameters
    ----------
    seed, number
        Which noise.
    like
        Array, NumPy or CuPy, on the device that the noise is for.
    """

    def __init__(self, seed: int, number: int, like: Any) -> None:
        import torch

        drawn = int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0]) >> 1
        self.shape = like.shape
        self.device = "cpu" if get_array_module(like) is np else "cuda"
        self._host = torch.Generator().manual_seed(drawn)
        self._here = self._host if self.device == "cpu" else torch.Generator(self.device).manual_seed(drawn)

    def start(self) -> Any:
        """Noise for the first state, of the shape of the volume."""
        from mrrecon.priors.schedule import complex_noise

        return to_device(complex_noise(self.shape, self._host), self.device)

    def draw(self, shape: Sequence[int] | None = None) -> Any:
        """More noise, by default of the shape of the volume."""
        from mrrecon.priors.schedule import complex_noise

        return as_array(complex_noise(self.shape if shape is None else shape, self._here))


def predicted_noise(prior: SlicedPrior, state: Any, level: float, plane: int) -> Any:
    """Noise of unit variance per component that a prior finds in a volume, in each set of maps.

    Parameters
    ----------
    prior
        What predicts.
    state
        Volume plus noise ``(..., x, y, z)``, at unit signal.
    level
        Standard deviation of the noise.
    plane
        Axis that the slices are perpendicular to.
    """
    xp, model = get_array_module(state), prior.priors[plane]
    t = model.schedule.time(level * model.data_scale)
    factor = np.float32(model.schedule.alpha(t) * model.data_scale)
    cubes = state.reshape(-1, *state.shape[-3:])
    noise = [
        prior.volume(prior.predict_noise(factor * prior.slices(cube, plane), plane, t, cube.shape[plane]), plane)
        for cube in cubes
    ]
    return (noise[0] if len(noise) == 1 else xp.stack(noise)).reshape(state.shape)


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
        maps = problem.encoding.maps
        self.problem = problem
        self.variance = problem.lipschitz * problem.noise**2 / 2
        self.trace = real_dot(maps, maps) * problem.samples / math.prod(problem.encoding.oshape)

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


class Samples:
    """Mean of the estimates that finished samples end with, and deviation of the volumes drawn around them.

    Parameters
    ----------
    problem
        Turns volumes into those that the caller gets.
    carried
        What :meth:`carry` gave in a run that is gone on with.

    Attributes
    ----------
    number : int
        Of samples so far.

    References
    ----------
    Welford 1962, Technometrics 4:419 (running mean and sum of squares).
    """

    def __init__(self, problem: Problem, carried: Mapping[str, Any] | None = None) -> None:
        self._problem = problem
        self.number = 0
        self._mean: Any = None
        self._centre: Any = None
        self._squares: Any = None
        if carried and "number" in carried:
            self.number = int(carried["number"])
            self._mean, self._centre, self._squares = (
                problem.on_device(carried[name]) for name in ("mean", "centre", "squares")
            )

    def carry(self, initial: Any) -> dict[str, Any]:
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
