"""Slices drawn from a prior alone: the steps of DDIM, from white noise to clean slices."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from mrrecon.errors import PriorInputError
from mrrecon.priors.base import SlicePrior
from mrrecon.priors.condition import Condition
from mrrecon.priors.schedule import Spacing, complex_noise

__all__ = ["SamplingStatus", "ddim_step", "sample"]


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
    spacing: Spacing = "noise-level",
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
    first, spacing
        Of the noise levels; see :meth:`mrrecon.priors.SlicePrior.levels`. The first is all that the state has.
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
    levels = [*prior.levels(steps, first, spacing), 0.0]
    generator = torch.Generator().manual_seed(int(seed))  # on the CPU: a seed means the same for every device

    def white() -> torch.Tensor:
        return complex_noise((*(1,) * (3 - len(sizes)), *sizes), generator).to(prior.device)

    state = levels[0] * white()
    for number, (level, following) in enumerate(pairwise(levels), start=1):
        clean = torch.cat(list(_estimates(prior, state, level, condition, batch)))
        fresh = white() if eta > 0 and following > 0 else None
        state = ddim_step(clean, (state - clean) / level, level, following, eta, fresh)
        if callback is not None:
            callback(SamplingStatus(number, steps, level, partial(_image, clean, sizes)))
    return _image(state, sizes)


def ddim_step(clean: Any, noise: Any, level: float, following: float, eta: float = 0.0, fresh: Any = None) -> Any:
    r"""Noisy slices at the noise level `following`, below `level`, from what was estimated there.

    With states :math:`z = x + l n`, that is :math:`x_t = \alpha_t z` with :math:`l = \sigma_t / \alpha_t` for any
    variance-preserving schedule, the published step is

    .. math::
        z' = \hat x + \sqrt{l'^2 - b^2} \hat n + b n, \quad b = \eta l' \sqrt{1 - l'^2 / l^2}

    Parameters
    ----------
    clean
        Estimate of the clean slices; data-consistent in a posterior sampler.
    noise
        Noise of unit variance that was found in the state.
    level, following
        Noise levels per real component; zero is clean.
    eta
        Share of fresh noise, 0 to 1.
    fresh
        White noise of :func:`~mrrecon.priors.schedule.complex_noise`; needed if `eta` and `following` are above 0.

    References
    ----------
    J. Song, C. Meng, S. Ermon, Denoising Diffusion Implicit Models, 2021, eq. (12) and (16).
    """
    spread = eta * following * math.sqrt(1 - (following / level) ** 2)
    kept = math.sqrt(following**2 - spread**2)
    state = clean + np.float32(kept) * noise if kept else clean
    return state if spread == 0 else state + np.float32(spread) * fresh


def _estimates(
    prior: SlicePrior, state: torch.Tensor, level: float, condition: Condition | None, batch: int | None
) -> Iterator[torch.Tensor]:
    size = len(state) if batch is None else batch
    for start in range(0, len(state), size):
        chosen = slice(start, start + size)
        yield prior.denoise(state[chosen], level, None if condition is None else condition.part(chosen))


def _image(slices: torch.Tensor, shape: tuple[int, ...]) -> np.ndarray:
    return slices.reshape(shape).cpu().numpy()
