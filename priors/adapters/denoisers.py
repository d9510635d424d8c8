"""Gaussian denoisers of real pictures, such as those of deepinv, as priors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch

from mrrecon.errors import PriorInputError
from mrrecon.priors.adapters.pictures import Channels, ModelPrior
from mrrecon.priors.base import SlicePrior
from mrrecon.priors.condition import Condition

__all__ = ["from_denoiser"]


def from_denoiser(
    model: Callable[..., Any],
    channels: Channels = "complex-as-2",
    *,
    levels: Literal["one", "per-slice"] = "one",
    name: str = "denoiser",
    data_scale: float | tuple[float, float] = 1.0,
    voxel_sizes: tuple[float, float] | None = None,
    size_multiple: int = 1,
) -> SlicePrior:
    """Make a prior of a denoiser ``model(x, sigma)`` of real pictures ``(B, C, H, W)``, such as those of deepinv.

    Parameters
    ----------
    model
        Returns the pictures without noise. A module is put into evaluation mode.
    channels
        ``"complex-as-2"``: real and imaginary part are two channels. ``"real-and-imaginary"``: the model knows one
        channel and gets both parts one after the other. ``"magnitude"``: see Notes.
    levels
        How the model takes noise levels: ``"one"``, a tensor without axes for the whole batch (slices of different
        levels then go one level after the other); ``"per-slice"``, a tensor ``(B,)``.
    name, voxel_sizes
        See :class:`SlicePrior`.
    data_scale
        Value of bright tissue in the model's pictures, 1 for pictures in [0, 1]; or ``(shift, scale)``, where the model
        sees ``shift + scale * value``: ``(-1, 2)`` for pictures in [-1, 1].
    size_multiple
        What the sides of the model's pictures must be divisible by; they are reflected to that size and cropped back.

    Raises
    ------
    PriorInputError
        If a setting is not usable; when called, if the model returns something else than such pictures.

    Notes
    -----
    ``"magnitude"`` denoises the magnitude and puts back the phase that the slice came with. The magnitude's noise is
    not Gaussian but Rician: where the noise is of the size of the signal or larger, it lifts the magnitude by up to
    1.25 times its standard deviation, which the model takes for signal. Use it at low noise levels, and rather a
    complex model where there is one.
    """
    if levels not in ("one", "per-slice"):
        raise PriorInputError(f"levels must be 'one' or 'per-slice', got {levels!r}.")
    return DenoiserPrior(levels == "per-slice", model, channels, name, data_scale, voxel_sizes, size_multiple)


class DenoiserPrior(ModelPrior):
    """A denoiser of real pictures; made by :func:`from_denoiser`."""

    def __init__(self, per_slice: bool, *pictures: Any) -> None:
        super().__init__(*pictures)
        self._per_slice_levels = per_slice

    def _denoise(self, noisy: torch.Tensor, sigma: torch.Tensor, condition: Condition | None) -> torch.Tensor:
        x, back = self._pictures(noisy * self.data_scale)
        x = x + self._shift
        level = (sigma * self.data_scale).flatten().repeat(len(x) // len(noisy))
        if self._per_slice_levels:
            clean = self._run(self._model, x, level)
        else:
            clean = torch.empty_like(x)
            for one in level.unique():
                chosen = level == one
                clean[chosen] = self._run(self._model, x[chosen], one)
        return back((clean - self._shift) / self.data_scale)
