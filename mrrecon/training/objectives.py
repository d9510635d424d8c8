"""What a network is trained for: to say what is noise in slices that were made noisy at random levels."""

from __future__ import annotations

import math

import torch
from torch import nn

from mrrecon.priors.diffusion import SMALLEST_LEVEL, autocast_for
from mrrecon.priors.schedule import NoiseSchedule
from mrrecon.training.config import TrainingConfig

__all__ = ["diffusion_loss"]


def diffusion_loss(
    network: nn.Module, slices: torch.Tensor, schedule: NoiseSchedule, config: TrainingConfig, seed: int
) -> torch.Tensor:
    """Mean squared error of what the network says of a noisy batch, a scalar with its graph.

    Parameters
    ----------
    network
        Called with states ``(B, 2, H, W)`` and the logarithm of their noise levels.
    slices
        Clean, complex64 ``(B, H, W)`` at unit signal, on the network's device.
    schedule, config
        Noise levels, and what is predicted.
    seed
        Of levels and noise.
    """
    device = slices.device
    clean = torch.view_as_real(slices).permute(0, 3, 1, 2) * config.data_scale
    generator = torch.Generator().manual_seed(seed)
    t = _times(len(clean), schedule, config, generator)
    if device.type != "cpu":  # a processor draws noise more slowly than a GPU trains
        generator = torch.Generator(device).manual_seed(seed)
    noise = torch.randn(clean.shape, generator=generator, device=device)
    factors = (f(t).float().to(device) for f in (schedule.alpha, schedule.sigma))
    alpha, sigma = (factor[:, None, None, None] for factor in factors)
    state = alpha * clean + sigma * noise
    aim = noise if config.target == "noise" else alpha * noise - sigma * clean
    level = schedule.noise_level(t).clamp_min(SMALLEST_LEVEL).log().float().to(device)
    with autocast_for(device.type, config.precision):
        output = network(state.contiguous(memory_format=torch.channels_last), level)
    return (output.float() - aim).square().mean()


def _times(number: int, schedule: NoiseSchedule, config: TrainingConfig, generator: torch.Generator) -> torch.Tensor:
    """Whole times drawn uniformly, a share of them replaced by those of log-uniform noise levels."""
    uniform = torch.randint(1, schedule.steps, (number,), generator=generator).double()
    low, high = (math.log(level) for level in config.low_noise_levels)
    levels = torch.exp(low + (high - low) * torch.rand(number, generator=generator, dtype=torch.float64))
    chosen = torch.rand(number, generator=generator) < config.low_noise
    return torch.where(chosen, schedule.time(levels), uniform)
