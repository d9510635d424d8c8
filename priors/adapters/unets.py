"""Diffusion U-Nets of diffusers and MONAI as priors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch

from mrrecon.errors import PriorInputError
from mrrecon.priors.adapters.pictures import CHANNELS, Channels, ModelPrior
from mrrecon.priors.base import NoisePredictor, SlicePrior
from mrrecon.priors.condition import Condition
from mrrecon.priors.diffusion import noise_from_output
from mrrecon.priors.schedule import NoiseSchedule

__all__ = ["from_diffusers", "from_monai"]

SMALLEST_SIDE = 16  # of what a U-Net is given: below, its lowest level has a pixel or none


def from_diffusers(
    unet: Callable[..., Any],
    scheduler: Any,
    channels: Channels | None = None,
    *,
    name: str = "diffusers",
    data_scale: float | tuple[float, float] = 1.0,
    voxel_sizes: tuple[float, float] | None = None,
    size_multiple: int | None = None,
) -> SlicePrior:
    """Make a prior of a ``UNet2DModel`` and a scheduler (DDPM, DDIM, …) of the package diffusers.

    Parameters
    ----------
    unet
        Unconditional, two-dimensional, with one or two channels. It is put into evaluation mode.
    scheduler
        Whose ``alphas_cumprod`` (or ``betas``) and ``prediction_type`` (epsilon, sample or v_prediction) the U-Net was
        trained with. Tables may begin with ones, be of half precision, and end without signal (zero terminal SNR): see
        :class:`~mrrecon.priors.NoiseSchedule`.
    channels
        As for :func:`from_denoiser`. Default: complex-as-2 for two channels, real-and-imaginary for one.
    name, voxel_sizes, data_scale
        As for :func:`from_denoiser`.
    size_multiple
        As for :func:`from_denoiser`. Default: what the U-Net's levels need.

    Raises
    ------
    PriorInputError
        If the U-Net or the scheduler is not of this kind.
    """
    config = getattr(unet, "config", None)
    if config is None or not hasattr(config, "in_channels"):
        raise PriorInputError(f"unet must be a UNet2DModel of diffusers, got {type(unet).__name__}.")
    if any(getattr(config, what, None) for what in ("num_class_embeds", "class_embed_type", "cross_attention_dim")):
        raise PriorInputError("unet is conditioned; only unconditional models can be priors of slices.")
    target = getattr(getattr(scheduler, "config", None), "prediction_type", None)
    pictures = unet, _channels(channels, config), name, data_scale, voxel_sizes
    size_multiple = size_multiple or 2 ** (len(config.block_out_channels) - 1)
    return DiffusionModelPrior(
        lambda x, t: unet(x, t, return_dict=False)[0], scheduler, target, *pictures, size_multiple
    )


def from_monai(
    unet: Callable[..., Any],
    scheduler: Any,
    channels: Channels | None = None,
    *,
    name: str = "monai",
    data_scale: float | tuple[float, float] = 1.0,
    voxel_sizes: tuple[float, float] | None = None,
    size_multiple: int | None = None,
) -> SlicePrior:
    """Make a prior of a two-dimensional ``DiffusionModelUNet`` and a scheduler of the package MONAI.

    Parameters
    ----------
    unet, scheduler, channels, name, data_scale, voxel_sizes, size_multiple
        As for :func:`from_diffusers`.

    Raises
    ------
    PriorInputError
        If the U-Net or the scheduler is not of this kind.
    """
    widths = getattr(unet, "block_out_channels", None)
    if widths is None or not hasattr(unet, "in_channels"):
        raise PriorInputError(f"unet must be a DiffusionModelUNet of MONAI, got {type(unet).__name__}.")
    if getattr(unet, "with_conditioning", False) or getattr(unet, "num_class_embeds", None):
        raise PriorInputError("unet is conditioned; only unconditional models can be priors of slices.")
    target = getattr(scheduler, "prediction_type", None)
    pictures = unet, _channels(channels, unet), name, data_scale, voxel_sizes
    return DiffusionModelPrior(unet, scheduler, target, *pictures, size_multiple or 2 ** (len(widths) - 1))


class DiffusionModelPrior(NoisePredictor, ModelPrior):
    """A U-Net called with states and times of a schedule; made by :func:`from_diffusers` and :func:`from_monai`."""

    def __init__(self, call: Callable[..., Any], scheduler: Any, target: str | None, *pictures: Any) -> None:
        super().__init__(*pictures)
        self._call, self._target, self.schedule = call, target, _schedule(scheduler)
        if target not in ("epsilon", "sample", "v_prediction"):
            raise PriorInputError(
                f"The scheduler's prediction_type must be epsilon, sample or v_prediction, got {target!r}."
            )

    def _predict_noise(self, state: torch.Tensor, t: torch.Tensor, condition: Condition | None) -> torch.Tensor:
        x, back = self._pictures(state)
        times = t.flatten().repeat(len(x) // len(state))
        alpha, sigma = (f(times)[:, None, None, None].float() for f in (self.schedule.alpha, self.schedule.sigma))
        x = x + alpha * self._shift
        known = times.clamp(0, self.schedule.steps - 1).float()  # the model was never told of less noise than at 0
        output = self._run(self._call, x, known, SMALLEST_SIDE)
        if self._target == "sample":
            return back((x - alpha * output) / sigma.clamp_min(1e-12))
        target: Literal["noise", "velocity"] = "noise" if self._target == "epsilon" else "velocity"
        return back(noise_from_output(target, self.schedule, output, x, times[:, None, None, None]))


def _schedule(scheduler: Any) -> NoiseSchedule:
    """The schedule that a network of times was trained with."""
    table, betas = (getattr(scheduler, name, None) for name in ("alphas_cumprod", "betas"))
    try:
        if table is not None:
            return NoiseSchedule(kind="table", alpha_bar=table)
        if betas is not None:
            return NoiseSchedule.from_betas(betas)
    except PriorInputError as error:
        raise PriorInputError(f"The scheduler ({type(scheduler).__name__}) cannot be used: {error}") from error
    raise PriorInputError(
        f"The scheduler ({type(scheduler).__name__}) has neither alphas_cumprod nor betas; only DDPM-like schedulers, "
        "which keep the variance, have."
    )


def _channels(wanted: Channels | None, described: Any) -> Channels:
    """How slices become pictures of as many channels as the U-Net takes and gives."""
    number = described.in_channels
    if number not in (1, 2):
        raise PriorInputError(f"unet must have 1 channel (magnitude or one part) or 2 (complex), got {number}.")
    given = getattr(described, "out_channels", number)
    if given not in (number, 2 * number):
        raise PriorInputError(
            f"unet must return as many channels as it takes, {number} (or {2 * number}, with the variance), got "
            f"{given}."
        )
    chosen: Channels = wanted or ("complex-as-2" if number == 2 else "real-and-imaginary")
    needed = 2 if chosen == "complex-as-2" else 1
    if chosen in CHANNELS and needed != number:
        raise PriorInputError(f"channels {chosen!r} needs a unet with in_channels={needed}, got {number}.")
    return chosen
