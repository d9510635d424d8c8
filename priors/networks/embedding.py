"""How networks are told the noise level."""

from __future__ import annotations

import math

import torch

__all__ = ["level_embedding"]

LOWEST, HIGHEST = 0.25, 64.0  # radians per unit of log noise level


def level_embedding(level: torch.Tensor, dim: int) -> torch.Tensor:
    """Sines and cosines ``(B, dim)``, float32, of the logarithm ``(B,)`` of the noise level, log(sigma_t / alpha_t).

    Half are sines, half cosines, their frequencies geometrically spaced; `dim` is even.

    References
    ----------
    J. Ho, A. Jain, P. Abbeel, Denoising Diffusion Probabilistic Models, 2020, appendix B (of the time instead).
    """
    exponents = torch.linspace(math.log(LOWEST), math.log(HIGHEST), dim // 2, device=level.device)
    angles = level.float()[:, None] * torch.exp(exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=1)
