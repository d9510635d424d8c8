"""The trained prior: a network that predicts the noise in complex slices, with its schedule and its units."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import nn

from mrrecon.errors import PriorInputError
from mrrecon.priors import networks
from mrrecon.priors.base import NoisePredictor, moved
from mrrecon.priors.condition import Condition
from mrrecon.priors.padding import pad_to_multiple
from mrrecon.priors.schedule import NoiseSchedule

__all__ = ["DiffusionPrior", "Precision", "autocast_for", "noise_from_output"]

Precision = Literal["auto", "fp32", "bf16"]
Target = Literal["noise", "velocity"]
SMALLEST_LEVEL = 1e-3  # below this noise level networks are told this level; the noise is beyond what they can see
SMALLEST_SIDE = 16
CHUNK_PIXELS = {"cpu": 2**18, "cuda": 2**24}  # of one pass through the network: about what caches and memory like


class DiffusionPrior(NoisePredictor):
    """A 2D diffusion model on complex slices.

    Parameters
    ----------
    network
        Settings of the network, as :func:`mrrecon.priors.networks.build` takes them, or the network itself: a module
        called with ``(B, 2, H, W)`` and the logarithm of the noise level ``(B,)``. A network with a true attribute
        ``takes_relative_size`` is also told how many times finer the pixels (:attr:`Condition.voxel_size`) are than
        those it was trained on.
    name, schedule, data_scale, voxel_sizes
        See :class:`SlicePrior`.
    target
        What the network's output is: the noise, or the velocity ``alpha n - sigma x_0`` (Salimans and Ho), from which
        the noise is ``sigma x_t + alpha v``.
    precision
        ``"bf16"``: bfloat16 where it is safe (autocast); ``"auto"``: where the processor has it in hardware.
    training
        What the model card says in machine-readable form: data, steps, hardware.

    References
    ----------
    J. Ho, A. Jain, P. Abbeel, Denoising Diffusion Probabilistic Models, 2020.
    T. Salimans, J. Ho, Progressive Distillation for Fast Sampling of Diffusion Models, 2022, appendix D.
    """

    def __init__(
        self,
        network: dict[str, Any] | nn.Module,
        name: str = "diffusion",
        schedule: NoiseSchedule | dict[str, Any] | None = None,
        data_scale: float = 2.0,
        voxel_sizes: tuple[float, float] | None = None,
        target: Target = "noise",
        precision: Precision = "auto",
        training: dict[str, Any] | None = None,
    ) -> None:
        if target not in ("noise", "velocity"):
            raise PriorInputError(f"target must be 'noise' or 'velocity', got {target!r}.")
        if not data_scale > 0:
            raise PriorInputError(f"data_scale must be positive, got {data_scale!r}.")
        self._network_config = dict(network) if isinstance(network, dict) else None
        module = networks.build(network) if isinstance(network, dict) else network
        self.network = module.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.name = name
        self.schedule = NoiseSchedule(**schedule) if isinstance(schedule, dict) else schedule or NoiseSchedule()
        self.data_scale = float(data_scale)
        self.voxel_sizes = None if voxel_sizes is None else (float(voxel_sizes[0]), float(voxel_sizes[1]))
        self.target = target
        self.training = dict(training or {})
        self.precision = precision

    @property
    def precision(self) -> Precision:
        """Arithmetic of the network: ``"auto"``, ``"fp32"`` or ``"bf16"``."""
        return self._precision

    @precision.setter
    def precision(self, value: Precision) -> None:
        if value not in ("auto", "fp32", "bf16"):
            raise PriorInputError(f"precision must be 'auto', 'fp32' or 'bf16', got {value!r}.")
        self._precision = value

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        parameter = next(self.network.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    def to(self, device: str | torch.device) -> DiffusionPrior:
        """Move the weights; ``"auto"`` means a GPU if there is one. Returns the prior itself."""
        moved(self.name, self.network.to, device)
        return self

    def parameters(self) -> int:
        """Return the number of weights."""
        return sum(p.numel() for p in self.network.parameters())

    def _predict_noise(self, state: torch.Tensor, t: torch.Tensor, condition: Condition | None) -> torch.Tensor:
        pixels = state.shape[-1] * state.shape[-2]
        chunk = max(1, CHUNK_PIXELS.get(state.device.type, CHUNK_PIXELS["cpu"]) // pixels)
        sizes = self._relative_size(condition)
        parts = [self._chunk(state[i : i + chunk], t[i : i + chunk], sizes) for i in range(0, len(state), chunk)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _relative_size(self, condition: Condition | None) -> dict[str, float]:
        """What networks whose kernels depend on the voxel size are told of it."""
        if not getattr(self.network, "takes_relative_size", False):
            return {}
        if self.voxel_sizes is None or condition is None or condition.voxel_size is None:
            return {"relative_size": 1.0}
        trained, here = (math.sqrt(a * b) for a, b in (self.voxel_sizes, condition.voxel_size))
        return {"relative_size": trained / here}

    def _chunk(self, state: torch.Tensor, t: torch.Tensor, sizes: dict[str, float]) -> torch.Tensor:
        x = torch.view_as_real(state).permute(0, 3, 1, 2)
        padded, crop = pad_to_multiple(x, getattr(self.network, "size_multiple", 1), SMALLEST_SIDE)
        level = self.schedule.noise_level(t).clamp_min(SMALLEST_LEVEL).log().flatten().float()
        with autocast_for(state.device.type, self._precision):
            output = crop(self.network(padded.contiguous(memory_format=torch.channels_last), level, **sizes)).float()
        noise = noise_from_output(self.target, self.schedule, output, x, t[..., None])
        return torch.view_as_complex(noise.permute(0, 2, 3, 1).contiguous())

    def config(self) -> dict[str, Any]:
        """Settings from which :meth:`from_config` makes this prior again, with the weights."""
        if self._network_config is None:
            raise PriorInputError(f"The prior {self.name!r} was made from a module; make it from settings to save it.")
        return {
            "kind": "diffusion",
            "name": self.name,
            "network": self._network_config,
            "schedule": self.schedule.to_dict(),
            "data_scale": self.data_scale,
            "voxel_sizes": None if self.voxel_sizes is None else list(self.voxel_sizes),
            "target": self.target,
            "training": self.training,
        }

    def state(self) -> dict[str, torch.Tensor]:
        """Weights of the network, as they are."""
        return {name: tensor.detach().contiguous() for name, tensor in self.network.state_dict().items()}

    @classmethod
    def from_config(cls, config: dict[str, Any], state: dict[str, torch.Tensor]) -> DiffusionPrior:
        """Make the prior from its settings and weights; half-precision weights are computed with in single."""
        prior = cls(**{name: value for name, value in config.items() if name != "kind"})
        prior.network.load_state_dict(state)
        return prior


def noise_from_output(
    target: Target, schedule: NoiseSchedule, output: torch.Tensor, state: torch.Tensor, t: torch.Tensor
) -> torch.Tensor:
    """Noise that a network's output means, for states ``(B, 2, H, W)`` at times that broadcast to them."""
    if target == "noise":
        return output
    return schedule.sigma(t).float() * state + schedule.alpha(t).float() * output


def autocast_for(device: str, precision: Precision) -> AbstractContextManager[Any]:
    """Context in which a network computes with a precision on a kind of device, ``"cpu"`` or ``"cuda"``.

    ``"auto"`` is bfloat16 where the hardware multiplies it, else single precision.
    """
    if precision == "bf16" or (precision == "auto" and _has_bf16(device)):
        return torch.autocast(device, torch.bfloat16)
    return nullcontext()


def _has_bf16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    return device == "cpu" and bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
