"""Slices drawn from a prior alone: the steps of DDIM, from white noise to clean slices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from mrrecon.errors import PriorInputError
from mrrecon.priors.base import Condition, SlicePrior
from mrrecon.priors.schedule import NoiseSchedule, complex_noise

__all__ = ["SPACINGS", "SamplingStatus", "ddim_step", "sample", "sampling_times"]

SPACINGS = ("time", "noise-level")


@dataclass(frozen=True)
class SamplingStatus:
    """What a callback gets to see after each step.

    Parameters
    ----------
    iteration, total
        Number of this step, from 1, and of the last one.
    noise_level
        Standard deviation per real component, at unit signal, of the noise that this step's estimate was made from.
    image
        Call it for the current estimate of the clean slices, NumPy ``complex64``, at unit signal.
    """

    iteration: int
    total: int
    noise_level: float
    image: Callable[[], np.ndarray]


def sample(
    prior: SlicePrior,
    shape: Sequence[int],
    seed: int,
    *,
    steps: int = 50,
    eta: float = 0.0,
    first: float | None = None,
    spacing: str = "noise-level",
    condition: Condition | None = None,
    batch: int | None = None,
    callback: Callable[[SamplingStatus], Any] | None = None,
) -> np.ndarray:
    """Draw slices from a prior with DDIM.

    Parameters
    ----------
    prior
        Any prior with any schedule.
    shape
        ``(B, H, W)``, or ``(H, W)`` for one slice.
    seed
        The same seed gives the same slices, however they are split into batches.
    steps
        Number of evaluations of the prior.
    eta
        Share of fresh noise in each step, 0 (deterministic given the start) to 1 (as much as DDPM).
    first
        Time to start at, where the state is taken to be white noise; by default the schedule's last.
    spacing
        See :func:`sampling_times`.
    condition
        What is known about the slices.
    batch
        Number of slices that the prior sees at a time; by default all.
    callback
        Called after each step.

    Returns
    -------
    slices
        Of `shape`, NumPy ``complex64``, at unit signal.

    Raises
    ------
    PriorInputError
        If a setting is not usable.

    References
    ----------
    J. Song, C. Meng, S. Ermon, Denoising Diffusion Implicit Models, 2021, eq. (12) and (16).
    """
    sizes = tuple(shape)
    if len(sizes) not in (2, 3) or not all(isinstance(n, Integral) and n > 0 for n in sizes):
        raise PriorInputError(f"shape must be (batch, height, width) or (height, width), got {sizes!r}.")
    if not (isinstance(seed, Integral) and 0 <= seed < 2**63):
        raise PriorInputError(f"seed must be a whole number of at least 0, got {seed!r}.")
    if not (isinstance(eta, Real) and 0 <= eta <= 1):
        raise PriorInputError(f"eta must be between 0 and 1, got {eta!r}.")
    if batch is not None and not (isinstance(batch, Integral) and batch > 0):
        raise PriorInputError(f"batch must be a whole number of at least 1, got {batch!r}.")
    schedule = prior.schedule
    times = sampling_times(schedule, steps, first, spacing)
    generator = torch.Generator().manual_seed(int(seed))  # on the CPU: a seed means the same for every device

    def white() -> torch.Tensor:
        return complex_noise((*(1,) * (3 - len(sizes)), *sizes), generator).to(prior.device)

    state = white()
    for number, (t, following) in enumerate(pairwise(times), start=1):
        noise = torch.cat(list(_predictions(prior, state, t, condition, batch)))
        clean = schedule.clean(state, noise, t)
        fresh = white() if eta > 0 and following > -1 else None
        state = ddim_step(schedule, clean, noise, t, following, eta, fresh)
        if callback is not None:
            level = schedule.noise_level(t) / prior.data_scale
            callback(SamplingStatus(number, steps, level, partial(_image, clean, prior, sizes)))
    return _image(state, prior, sizes)


def sampling_times(
    schedule: NoiseSchedule, steps: int, first: float | None = None, spacing: str = "noise-level"
) -> list[float]:
    """Return the `steps` times at which a sampler evaluates its prior, falling, and then -1: clean.

    Parameters
    ----------
    schedule
        Of the prior.
    steps
        Number of evaluations.
    first
        Time of the first one; by default the schedule's last.
    spacing
        ``"noise-level"``: uniform in the logarithm of the noise level, which keeps fine detail with few steps.
        ``"time"``: uniform from `first` to the first time that has noise, 0 of most schedules.

    Raises
    ------
    PriorInputError
        If a setting is not usable.
    """
    start = schedule.steps - 1 if first is None else first
    if not (isinstance(steps, Integral) and steps >= 1):
        raise PriorInputError(f"steps must be a whole number of at least 1, got {steps!r}.")
    least = schedule.first_time
    if not (isinstance(start, Real) and least < start <= schedule.steps - 1):
        raise PriorInputError(f"first must be a time above {least:g} and up to {schedule.steps - 1}, got {first!r}.")
    if spacing not in SPACINGS:
        raise PriorInputError(f"spacing must be one of {', '.join(SPACINGS)}, got {spacing!r}.")
    if spacing == "time":
        return [*schedule.times(steps, start), -1.0]
    levels = np.geomspace(schedule.noise_level(float(start)), schedule.noise_level(least), steps)
    return [*map(float, schedule.time(levels)), -1.0]


def ddim_step(
    schedule: NoiseSchedule, clean: Any, noise: Any, t: float, following: float, eta: float = 0.0, fresh: Any = None
) -> Any:
    r"""State at the time `following` from what was predicted at the time `t`.

    .. math::
        x_{t'} = \alpha_{t'} \hat x + \sqrt{\sigma_{t'}^2 - \eta^2 \tilde\beta^2} \hat\epsilon + \eta \tilde\beta n,
        \quad \tilde\beta = (\sigma_{t'} / \sigma_t) \sqrt{1 - \alpha_t^2 / \alpha_{t'}^2}

    Parameters
    ----------
    schedule
        Of the prior.
    clean
        Estimate of the clean slices, times the prior's `data_scale`; data-consistent in a posterior sampler.
    noise
        The noise that the prior predicted.
    t, following
        Times, ``following < t``; -1 is clean.
    eta
        Share of fresh noise, 0 to 1.
    fresh
        White noise of :func:`~mrrecon.priors.schedule.complex_noise`; needed if eta > 0 and `following` is not clean.

    References
    ----------
    J. Song, C. Meng, S. Ermon, Denoising Diffusion Implicit Models, 2021, eq. (12) and (16).
    """
    alpha, sigma = schedule.alpha(following), schedule.sigma(following)
    spread = eta * sigma / schedule.sigma(t) * math.sqrt(max(1 - (schedule.alpha(t) / alpha) ** 2, 0.0))
    state = alpha * clean + math.sqrt(max(sigma**2 - spread**2, 0.0)) * noise
    return state if spread == 0 else state + spread * fresh


def _predictions(
    prior: SlicePrior, state: torch.Tensor, t: float, condition: Condition | None, batch: int | None
) -> Any:
    size = len(state) if batch is None else batch
    for start in range(0, len(state), size):
        chosen = slice(start, start + size)
        yield prior.predict_noise(state[chosen], t, None if condition is None else condition.part(chosen))


def _image(slices: torch.Tensor, prior: SlicePrior, shape: tuple[int, ...]) -> np.ndarray:
    return (slices / prior.data_scale).reshape(shape).cpu().numpy()
