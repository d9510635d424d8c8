"""Noise schedules in one place: how much signal and noise a diffusion state has at each time.

A state is ``x_t = alpha_t x_0 + sigma_t n`` with ``alpha_t^2 + sigma_t^2 = 1``. Complex slices get complex noise whose
real and imaginary parts are each N(0, 1); everything here multiplies by real factors only and is safe for complex
numbers. The *noise level* ``sigma_t / alpha_t`` is the standard deviation, per real component, of the noise on
``x_t / alpha_t = x_0 + (sigma_t / alpha_t) n``: the view of a Gaussian denoiser.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
import torch

from mrrecon.errors import PriorInputError

__all__ = ["NoiseSchedule", "Spacing", "complex_noise"]

Spacing = Literal["noise-level", "time"]
SPACINGS = ("noise-level", "time")
KINDS = ("linear", "scaled-linear", "cosine", "table")
COSINE_OFFSET = 0.008
LARGEST_BETA = 0.999
NO_SIGNAL = 1e-12  # alpha_t^2 of a table up to which there is nothing left to denoise
ROUNDING = 1e-6  # by which a table may be above one, or rise where it should fall


@dataclass(frozen=True)
class NoiseSchedule:
    r"""A variance-preserving schedule of `steps` times t = 0 … steps - 1, continuous in between.

    Parameters
    ----------
    kind
        ``"linear"``: beta rises linearly from `beta_start` to `beta_end` (DDPM). ``"scaled-linear"``: its square
        root does (latent diffusion). ``"cosine"``: after Nichol and Dhariwal. ``"table"``: given by `alpha_bar`.
    steps
        Number of times T.
    beta_start, beta_end
        First and last variance of a step, for the linear kinds.
    alpha_bar
        For ``"table"``: ``alpha_t^2`` at t = 0, 1, …, from at most one down, as schedulers of other packages have it
        (``alphas_cumprod``); `steps` is then its length. It may begin with ones, and stay the same for some times, as
        tables in half precision do. Last times without signal (zero terminal SNR) are left out: they have no noise
        level. For other tables there are :meth:`from_betas` and :meth:`from_noise_levels`.

    Notes
    -----
    ``alpha_t^2`` is the product of ``1 - beta_s`` over s = 0 … t, hence sigma is 0.01, not 0, at t = 0 of the default
    schedule; t = -1 stands for no noise at all. Between whole times ``log(alpha_t^2)`` is linear in t, so every noise
    level up to the largest has exactly one time, and :meth:`time` is the exact inverse of :meth:`noise_level`. Only
    where a table stays the same several times have one level, of which the last is meant.

    References
    ----------
    J. Ho, A. Jain, P. Abbeel, Denoising Diffusion Probabilistic Models, 2020, eq. (4).
    A. Nichol, P. Dhariwal, Improved Denoising Diffusion Probabilistic Models, 2021, eq. (17).
    """

    kind: str = "linear"
    steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    alpha_bar: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PriorInputError(f"There is no noise schedule {self.kind!r}; choose one of {', '.join(KINDS)}.")
        if (self.kind == "table") != (self.alpha_bar is not None):
            raise PriorInputError("alpha_bar must be given for a schedule of kind 'table', and only for it.")
        if self.alpha_bar is not None:
            table = _checked_table(self.alpha_bar)
            object.__setattr__(self, "alpha_bar", tuple(float(a) for a in table))
            object.__setattr__(self, "steps", int(table.size))
        if not (isinstance(self.steps, Integral) and self.steps >= 2):
            raise PriorInputError(f"steps must be a whole number of at least 2, got {self.steps!r}.")
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise PriorInputError(
                f"beta_start and beta_end must be 0 < beta_start <= beta_end < 1, got {self.beta_start} and "
                f"{self.beta_end}."
            )

    @classmethod
    def from_betas(cls, betas: Any) -> NoiseSchedule:
        """Schedule of a table of variances of single steps, ``alpha_t^2`` being the product of ``1 - beta``.

        Parameters
        ----------
        betas
            At t = 0, 1, …, from 0 to 1: list, NumPy or torch.

        Raises
        ------
        PriorInputError
            If they are not such numbers.
        """
        values = _numbers(betas, "betas")
        if not np.all((values >= 0) & (values <= 1)):
            raise PriorInputError("betas must be numbers from 0 to 1.")
        return cls(kind="table", alpha_bar=tuple(np.cumprod(1 - values)))

    @classmethod
    def from_noise_levels(cls, levels: Any) -> NoiseSchedule:
        """Schedule of a table of noise levels ``sigma_t / alpha_t``, as samplers keep them (``sigmas``).

        Parameters
        ----------
        levels
            One for each time, from the least to the largest or the other way round: list, NumPy or torch. The zero that
            samplers append to a falling table is no time and is left out.

        Raises
        ------
        PriorInputError
            If they are not such numbers.
        """
        values = _numbers(levels, "levels")
        if values.size > 1 and values[0] > values[-1]:
            values = (values[:-1] if values[-1] == 0 else values)[::-1]
        if not np.all(values >= 0):
            raise PriorInputError("levels must be noise levels, numbers of at least 0.")
        return cls(kind="table", alpha_bar=tuple(1 / (1 + values**2)))

    @cached_property
    def _decay(self) -> np.ndarray:
        """``-log(alpha_t^2)`` at t = -1, 0, …, steps - 1: rising from zero."""
        if self.alpha_bar is not None:
            return np.concatenate([[0.0], -np.log(np.asarray(self.alpha_bar))])
        if self.kind == "cosine":
            f = [math.cos((u / self.steps + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2) ** 2
                 for u in range(self.steps + 1)]  # fmt: skip
            betas = np.minimum(1 - np.array(f[1:]) / np.array(f[:-1]), LARGEST_BETA)
        elif self.kind == "scaled-linear":
            betas = np.linspace(self.beta_start**0.5, self.beta_end**0.5, self.steps) ** 2
        else:
            betas = np.linspace(self.beta_start, self.beta_end, self.steps)
        return np.concatenate([[0.0], -np.cumsum(np.log1p(-betas))])

    @property
    def first_time(self) -> float:
        """First whole time that has noise: 0, unless a table begins with ones."""
        return float(np.argmax(self._decay > 0) - 1)

    @property
    def max_noise_level(self) -> float:
        """Largest ``sigma_t / alpha_t``, that of the last time."""
        return math.sqrt(math.expm1(self._decay[-1]))

    def alpha(self, t: Any) -> Any:
        """Factor of the signal at time(s) `t` (number, array or tensor; returns the same kind)."""
        return _each(t, lambda t: np.exp(-0.5 * self._decay_at(t)))

    def sigma(self, t: Any) -> Any:
        """Factor of the noise at time(s) `t`."""
        return _each(t, lambda t: np.sqrt(-np.expm1(-self._decay_at(t))))

    def noise_level(self, t: Any) -> Any:
        """``sigma_t / alpha_t`` at time(s) `t`."""
        return _each(t, lambda t: np.sqrt(np.expm1(self._decay_at(t))))

    def time(self, noise_level: Any) -> Any:
        """Time(s), not whole in general, whose noise level this is; the inverse of :meth:`noise_level`.

        Levels above the largest have the last time, those below zero are refused.

        Raises
        ------
        PriorInputError
            If a level is negative or not a number.
        """

        def of(level: np.ndarray) -> np.ndarray:
            if not (level >= 0).all():
                raise PriorInputError("Noise levels must be zero or larger, and numbers.")
            return np.interp(np.log1p(level**2), self._decay, np.arange(-1.0, self.steps))

        return _each(noise_level, of)

    def levels(
        self, steps: int | None = None, first: float | None = None, spacing: Spacing = "noise-level"
    ) -> list[float]:
        """Noise levels that a sampler comes down, falling; see :meth:`mrrecon.priors.SlicePrior.levels`.

        Raises
        ------
        PriorInputError
            If a setting is not usable.
        """
        if spacing not in SPACINGS:
            raise PriorInputError(f"spacing must be one of {', '.join(SPACINGS)}, got {spacing!r}.")
        start, least = float(self.steps - 1), self.first_time
        if first is not None:
            if not (isinstance(first, Real) and math.isfinite(first) and first > self.noise_level(least)):
                raise PriorInputError(f"first must be above {self.noise_level(least):.3g}, the last noise level.")
            start = self.time(float(first))
        if steps is None:
            return [self.noise_level(t) for t in np.arange(math.floor(start), least - 1, -1.0).tolist()]
        if not (isinstance(steps, Integral) and steps >= 1):
            raise PriorInputError(f"steps must be a whole number of at least 1, got {steps!r}.")
        if spacing == "time":
            return [self.noise_level(t) for t in self.times(steps, start)]
        return np.geomspace(self.noise_level(start), self.noise_level(least), steps).tolist()

    def times(self, number: int, first: float | None = None, last: float | None = None) -> list[float]:
        """`number` whole or broken times, evenly spaced, from `first` down to `last`.

        By default they are the last time, T - 1, and :attr:`first_time`.
        """
        if number < 1:
            raise PriorInputError(f"The number of times must be at least 1, got {number}.")
        ends = self.steps - 1 if first is None else first, self.first_time if last is None else last
        return [float(t) for t in np.linspace(*ends, number)]

    def add_noise(self, clean: Any, noise: Any, t: Any) -> Any:
        """State ``alpha_t clean + sigma_t noise``, slices ``(batch, ...)``, one `t` or one per slice."""
        return self._column(self.alpha(t), clean) * clean + self._column(self.sigma(t), clean) * noise

    def clean(self, state: Any, noise: Any, t: Any) -> Any:
        """Tweedie estimate ``(state - sigma_t noise) / alpha_t`` of the clean slices from the predicted noise."""
        return (state - self._column(self.sigma(t), state) * noise) / self._column(self.alpha(t), state)

    def noise(self, state: Any, clean: Any, t: Any) -> Any:
        """Noise ``(state - alpha_t clean) / sigma_t`` that a clean estimate means; the inverse of :meth:`clean`."""
        return (state - self._column(self.alpha(t), state) * clean) / self._column(self.sigma(t), state)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON types; ``NoiseSchedule(**d)`` is the way back."""
        if self.alpha_bar is not None:
            return {"kind": self.kind, "alpha_bar": list(self.alpha_bar)}
        if self.kind == "cosine":
            return {"kind": self.kind, "steps": self.steps}
        return {"kind": self.kind, "steps": self.steps, "beta_start": self.beta_start, "beta_end": self.beta_end}

    def _decay_at(self, t: np.ndarray) -> np.ndarray:
        return np.interp(t, np.arange(-1.0, self.steps), self._decay)

    @staticmethod
    def _column(factor: Any, slices: Any) -> Any:
        """Bring one factor per slice into a shape that multiplies ``(batch, ...)``; a single factor stays."""
        if np.ndim(factor) == 0:
            return factor if isinstance(slices, torch.Tensor) else float(factor)
        if len(factor) != slices.shape[0]:
            raise PriorInputError(f"There are {len(factor)} times for {slices.shape[0]} slices; give one, or one each.")
        column = factor.reshape([-1] + [1] * (slices.ndim - 1))
        if isinstance(slices, torch.Tensor):
            real = slices.real.dtype if slices.is_complex() else slices.dtype
            return torch.as_tensor(column, dtype=real, device=slices.device)
        return np.asarray(column, dtype=slices.real.dtype)


def complex_noise(
    shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype = torch.complex64
) -> torch.Tensor:
    """White complex noise, real and imaginary parts each N(0, 1), on the generator's device.

    ``torch.randn`` of a complex type would give each part the variance one half.
    """
    real = torch.float64 if dtype == torch.complex128 else torch.float32
    parts = torch.randn(*shape, 2, generator=generator, device=generator.device, dtype=real)
    return torch.view_as_complex(parts)


def _numbers(values: Any, what: str) -> np.ndarray:
    """A table of numbers of any kind, NumPy float64."""
    try:
        found = values.detach().cpu().double().numpy() if isinstance(values, torch.Tensor) else values
        table = np.asarray(found, np.float64)
    except (TypeError, ValueError) as error:
        raise PriorInputError(f"{what} must be a list of numbers, got {type(values).__name__}.") from error
    if table.ndim != 1 or not np.isfinite(table).all():
        raise PriorInputError(f"{what} must be a list of finite numbers, got shape {table.shape}.")
    return table


def _checked_table(alpha_bar: Any) -> np.ndarray:
    """A table of ``alpha_t^2`` without what rounding did to it and without last times that have no signal."""
    table = _numbers(alpha_bar, "alpha_bar")
    rises = bool(np.any(np.diff(table) > ROUNDING))
    if table.size and (rises or table.max() > 1 + ROUNDING or table.min() < -ROUNDING):
        raise PriorInputError(
            "alpha_bar must fall, or stay, from at most 1 to at least 0 with the time (alphas_cumprod of a scheduler); "
            "turn round what rises, and see NoiseSchedule.from_betas and from_noise_levels for other tables."
        )
    table = np.minimum.accumulate(np.clip(table, 0.0, 1.0)) if table.size else table
    table = table[table > NO_SIGNAL]
    if len(np.unique(table[table < 1])) < 2:
        raise PriorInputError("alpha_bar must have at least two different values below 1 and above 0.")
    return table


def _each(given: Any, function: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Values of a function, in double precision and of the kind given: number, array, or tensor on its device."""
    if isinstance(given, torch.Tensor):
        return torch.as_tensor(function(given.detach().cpu().double().numpy()), device=given.device)
    values = function(np.asarray(given, np.float64))
    return float(values) if isinstance(given, (int, float)) else values
