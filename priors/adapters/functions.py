"""Functions of complex slices as priors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch

from mrrecon.errors import PriorInputError
from mrrecon.priors.adapters.pictures import checked_output, shift_and_scale
from mrrecon.priors.base import NoisePredictor, SlicePrior
from mrrecon.priors.condition import Condition
from mrrecon.priors.schedule import NoiseSchedule

__all__ = ["from_callable"]


def from_callable(
    fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    sigma_or_time: Literal["sigma", "time"] = "sigma",
    *,
    name: str = "callable",
    schedule: NoiseSchedule | None = None,
    data_scale: float = 1.0,
    voxel_sizes: tuple[float, float] | None = None,
    device: str | torch.device = "cpu",
) -> SlicePrior:
    """Make a prior of any function of complex slices.

    Parameters
    ----------
    fn
        With ``"sigma"``: a denoiser ``fn(noisy, sigma)``, which gets slices and the standard deviation of the noise
        per real component and returns the slices without noise. With ``"time"``: a diffusion model ``fn(state, t)``,
        which gets states ``alpha_t image + sigma_t noise`` and returns the noise. Slices are ``(B, H, W)`` complex64,
        levels and times ``(B,)``; bright tissue in `fn`'s images has the value `data_scale`.
    sigma_or_time
        Which of the two.
    name, schedule, data_scale, voxel_sizes
        See :class:`SlicePrior`.
    device
        Where `fn` wants its slices.

    Raises
    ------
    PriorInputError
        If a setting is not usable; when called, if `fn` returns something else than such slices.

    >>> import numpy as np
    >>> prior = from_callable(lambda noisy, sigma: noisy / (1 + sigma[:, None, None] ** 2), name="wiener")
    >>> prior.denoise(np.full((2, 2), 2, np.complex64), sigma=1.0)[0, 0]
    np.complex64(1+0j)
    """
    if sigma_or_time not in ("sigma", "time"):
        raise PriorInputError(f"sigma_or_time must be 'sigma' or 'time', got {sigma_or_time!r}.")
    shift, scale = shift_and_scale(data_scale)
    if shift:
        raise PriorInputError(f"data_scale of a function of complex slices is one number, got {data_scale!r}.")
    kind = CallableDenoiser if sigma_or_time == "sigma" else CallableDiffusion
    prior = kind(fn, torch.device(device))
    prior.name, prior.voxel_sizes, prior.data_scale = name, voxel_sizes, scale
    prior.schedule = schedule or NoiseSchedule()
    return prior


class CallableDenoiser(SlicePrior):
    """A function of noisy slices and noise levels; made by :func:`from_callable`."""

    def __init__(self, fn: Callable[..., Any], device: torch.device) -> None:
        self._fn, self._device = fn, device

    @property
    def device(self) -> torch.device:
        """Where the function wants its slices."""
        return self._device

    def _denoise(self, noisy: torch.Tensor, sigma: torch.Tensor, condition: Condition | None) -> torch.Tensor:
        scale = self.data_scale
        return self._call(noisy * scale, (sigma * scale).flatten()) / scale

    def _call(self, slices: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        result = checked_output(self._fn(slices, level), slices, self.name)
        if not result.is_complex():
            raise PriorInputError(f"The function of the prior {self.name!r} must return complex slices.")
        return result


class CallableDiffusion(NoisePredictor, CallableDenoiser):
    """A function of diffusion states and times; made by :func:`from_callable`."""

    def _predict_noise(self, state: torch.Tensor, t: torch.Tensor, condition: Condition | None) -> torch.Tensor:
        return self._call(state, t.flatten().float())
