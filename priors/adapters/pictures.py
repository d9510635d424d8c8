"""Between complex slices and the real pictures that other packages' models know."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch

from mrrecon.errors import PriorInputError
from mrrecon.priors.base import SlicePrior, moved
from mrrecon.priors.diffusion import CHUNK_PIXELS
from mrrecon.priors.padding import pad_to_multiple

__all__ = ["Channels", "ModelPrior", "checked_output", "shift_and_scale"]

Channels = Literal["complex-as-2", "real-and-imaginary", "magnitude"]
CHANNELS = ("complex-as-2", "real-and-imaginary", "magnitude")
CONVOLUTIONS = tuple(
    getattr(torch.nn, f"Conv{kind}{axes}d") for kind in ("", "Transpose") for axes in (1, 2, 3)
)  # Lazy ones are among them


class ModelPrior(SlicePrior):
    """What priors made of models of real pictures have in common: channels, value range, sizes, device."""

    def __init__(
        self,
        model: Callable[..., Any],
        channels: Channels,
        name: str,
        data_scale: float | tuple[float, float],
        voxel_sizes: tuple[float, float] | None,
        size_multiple: int,
    ) -> None:
        if channels not in CHANNELS:
            raise PriorInputError(f"channels must be one of {', '.join(CHANNELS)}, got {channels!r}.")
        self._model, self._channels, self._multiple = model, channels, size_multiple
        self._shift, self.data_scale = shift_and_scale(data_scale)
        self.name, self.voxel_sizes = name, voxel_sizes
        if isinstance(model, torch.nn.Module):
            _require_pictures(model)
            model.eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        weight = self._weight()
        return torch.device("cpu") if weight is None else weight.device

    def to(self, device: str | torch.device) -> SlicePrior:
        """Move the model; ``"auto"`` means a GPU if there is one. Returns the prior itself."""
        moved(self.name, self._move, device)
        return self

    def _move(self, device: str | torch.device) -> None:
        if isinstance(self._model, torch.nn.Module):
            self._model.to(device)
        elif torch.device(device) != self.device:
            raise PriorInputError(f"The model of the prior {self.name!r} is not a module; it cannot be moved.")

    def _weight(self) -> torch.Tensor | None:
        return next(self._model.parameters(), None) if isinstance(self._model, torch.nn.Module) else None

    def _pictures(self, slices: torch.Tensor) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
        """Real pictures ``(B', C, H, W)`` of complex slices, B' a multiple of B, and the way back."""
        if self._channels == "complex-as-2":
            parts = torch.view_as_real(slices).permute(0, 3, 1, 2)
            return parts, lambda y: torch.complex(y[:, 0], y[:, 1])
        if self._channels == "real-and-imaginary":
            parts = torch.cat([slices.real, slices.imag])[:, None]
            return parts, lambda y: torch.complex(*y[:, 0].chunk(2))
        magnitude = slices.abs()
        phase = torch.where(magnitude > 0, torch.sgn(slices), 1).detach()
        return magnitude[:, None], lambda y: y[:, 0] * phase

    def _run(self, call: Callable[..., Any], x: torch.Tensor, level: torch.Tensor, smallest: int = 1) -> torch.Tensor:
        """Output of the model for pictures of any size, in the model's arithmetic, of the pictures' channels."""
        padded, crop = pad_to_multiple(x, self._multiple, smallest)
        weight = self._weight()
        own = padded if weight is None or not weight.is_floating_point() else padded.to(weight.dtype)
        number = max(1, CHUNK_PIXELS.get(x.device.type, CHUNK_PIXELS["cpu"]) // (own.shape[2] * own.shape[3]))
        outputs = []
        for i in range(0, len(own), number):
            part = own[i : i + number].contiguous()
            output = call(part, level[i : i + number] if level.ndim else level)
            if isinstance(output, torch.Tensor) and output.ndim == 4 and output.shape[1] == 2 * x.shape[1]:
                output = output[:, : x.shape[1]]  # the other half is the learned variance
            outputs.append(checked_output(output, part, self.name).float())
        return crop(torch.cat(outputs))


def _require_pictures(model: torch.nn.Module) -> None:
    """Refuse networks of volumes or of signals, by their convolutions."""
    axes = {len(part.kernel_size): part for part in model.modules() if isinstance(part, CONVOLUTIONS)}
    if 3 in axes or (axes and 2 not in axes):
        number, part = max(axes.items())
        raise PriorInputError(
            f"{type(model).__name__} is a network of {number} dimensions ({type(part).__name__}) and priors are of "
            "two-dimensional slices; give one that was made and trained for pictures (Conv2d, spatial_dims=2)."
        )


def shift_and_scale(data_scale: float | tuple[float, float]) -> tuple[float, float]:
    """Check a value range: what is added to, and what multiplies, image values."""
    given = tuple(data_scale) if isinstance(data_scale, (tuple, list)) else (0.0, data_scale)
    if len(given) != 2 or not all(map(math.isfinite, given)) or not given[1] > 0:
        raise PriorInputError(f"data_scale must be a positive number or (shift, positive scale), got {data_scale!r}.")
    return float(given[0]), float(given[1])


def checked_output(result: Any, given: torch.Tensor, name: str) -> torch.Tensor:
    """Refuse what a model returns unless it is a tensor of the shape of its input."""
    if not isinstance(result, torch.Tensor) or result.shape != given.shape:
        got = tuple(result.shape) if isinstance(result, torch.Tensor) else type(result).__name__
        raise PriorInputError(f"The model of the prior {name!r} must return shape {tuple(given.shape)}, got {got}.")
    return result
