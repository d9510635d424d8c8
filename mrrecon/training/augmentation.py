"""Variety for training slices: smooth phase, brightness, shading, contrast, noise. All on whole batches.

Every function takes its random numbers from the generator it is given, so that a batch is a function of the seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import torch

from mrrecon.errors import DataError

__all__ = ["Augmentation", "augment", "smooth_phase"]

FIELD = 224.0  # mm; smooth fields are laid out over this length, whatever part of it a slice shows
WAVES = ((1, 0), (0, 1), (1, 1), (1, -1), (2, 0), (0, 2))  # periods per FIELD of the Fourier part of the phase


@dataclass(frozen=True)
class Augmentation:
    """How often, and how strongly, slices are varied. Probabilities are per slice.

    Parameters
    ----------
    rotation, angle
        Probability of a rotation by up to ±`angle` degrees.
    scale
        Size changes by up to this fraction, along each axis nearly alike.
    intensity
        Brightness factor, log-uniform between these two.
    shading, shading_strength
        Probability of a smooth shading by a receive coil, and its standard deviation (natural logarithm).
    contrast, exponents
        Probability of a power law on the magnitude, and the range of its exponent.
    phase
        Largest standard deviation, over the field of view, of the smooth phase of a magnitude image, radians.
    local_phase
        Probability of a stronger phase at one place, as beside an air-filled cavity.
    noise, noise_level
        Probability of complex noise, and its largest standard deviation per component, of bright tissue.
    blur
        Probability of a mild blur.
    """

    rotation: float = 0.2
    angle: float = 10.0
    scale: float = 0.1
    intensity: tuple[float, float] = (0.6, 1.5)
    shading: float = 0.3
    shading_strength: float = 0.25
    contrast: float = 0.3
    exponents: tuple[float, float] = (0.7, 1.4)
    phase: float = 1.5
    local_phase: float = 0.15
    noise: float = 0.1
    noise_level: float = 0.015
    blur: float = 0.1

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Augmentation:
        """Build from plain settings, as a configuration file has them.

        Raises
        ------
        DataError
            If there is no setting of a name, or a probability is not between 0 and 1.
        """
        known = [f.name for f in fields(cls)]
        unknown = [name for name in settings if name not in known]
        if unknown:
            raise DataError(f"There is no augmentation setting {unknown[0]!r}; there are {', '.join(known)}.")
        pairs = {name: tuple(settings[name]) for name in ("intensity", "exponents") if name in settings}
        return cls(**{**settings, **pairs})

    def __post_init__(self) -> None:
        for name in ("rotation", "shading", "contrast", "local_phase", "noise", "blur"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(f"The augmentation {name} is a probability, from 0 to 1, got {getattr(self, name)!r}.")
        for name in ("intensity", "exponents"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise DataError(f"The augmentation {name} must be two rising positive numbers, got {low}, {high}.")


def augment(
    slices: torch.Tensor, has_phase: torch.Tensor, pixel: float, settings: Augmentation, generator: torch.Generator
) -> torch.Tensor:
    """Vary a batch of clean slices.

    Parameters
    ----------
    slices
        ``(batch, height, width)``, complex64 at unit signal; magnitude images have an imaginary part of zero.
    has_phase
        ``(batch,)`` bool: slices with a phase of their own, which get a constant phase only.
    pixel
        Pixel edge, mm.
    settings, generator
        What to do, and its random numbers.

    Returns
    -------
    torch.Tensor
        A new batch of the same kind.
    """
    batch, height, width = slices.shape

    def uniform(low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        return low + (high - low) * torch.rand(batch, 1, 1, generator=generator)

    def chosen(probability: float) -> torch.Tensor:
        return uniform() < probability

    gain = torch.exp(uniform(math.log(settings.intensity[0]), math.log(settings.intensity[1])))
    shaded = chosen(settings.shading) * settings.shading_strength
    basis = _basis(height, width, pixel)
    weights = torch.randn(batch, 5, generator=generator) / math.sqrt(5)
    shading = (weights @ basis[1:6]).view(batch, height, width)
    gain = gain * torch.exp((shaded * shading).clamp(-1.0, 1.0))

    exponent = torch.where(chosen(settings.contrast), uniform(*settings.exponents), torch.ones(batch, 1, 1))
    if bool((exponent != 1).any()):
        gain = gain * slices.abs().clamp_min(1e-4) ** (exponent - 1)
    slices = slices * gain

    blurred = chosen(settings.blur) * uniform(0.05, 0.2)
    if bool((blurred > 0).any()):
        slices = _blur(slices, blurred)

    phase = smooth_phase((batch, height, width), pixel, settings, generator)
    constant = uniform(0.0, 2 * math.pi)
    phase = torch.where(has_phase.view(-1, 1, 1), constant, constant + phase)
    slices = slices * torch.polar(torch.ones_like(phase), phase)

    level = chosen(settings.noise) * uniform(0.0, settings.noise_level)
    noise = torch.randn(batch, height, width, 2, generator=generator)
    return slices + level * torch.view_as_complex(noise)


def smooth_phase(
    shape: tuple[int, int, int], pixel: float, settings: Augmentation, generator: torch.Generator
) -> torch.Tensor:
    """Random smooth phases ``(batch, height, width)``, radians: polynomials, long waves, now and then a local bump.

    A coarser slice (`pixel` is the edge, mm) has the same phase in fewer pixels.
    """
    batch, height, width = shape
    basis = _basis(height, width, pixel)
    strength = settings.phase * torch.rand(batch, 1, generator=generator)
    weights = torch.randn(batch, len(basis) - 1, generator=generator) / math.sqrt(0.5 * (len(basis) - 1))
    phase = ((strength * weights) @ basis[1:]).view(batch, height, width)

    def draw(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(batch, 1, generator=generator)

    bump = (draw(0, 1) < settings.local_phase) * draw(-3.0, 3.0)
    size = draw(8.0, 30.0)
    y0, x0 = 0.5 * height * pixel * draw(-0.8, 0.8), 0.5 * width * pixel * draw(-0.8, 0.8)
    y = torch.exp(-0.5 * ((_positions(height, pixel) - y0) / size) ** 2)
    x = torch.exp(-0.5 * ((_positions(width, pixel) - x0) / size) ** 2)
    return phase + bump[:, :, None] * y[:, :, None] * x[:, None, :]


def _positions(n: int, pixel: float) -> torch.Tensor:
    return (torch.arange(n) - (n - 1) / 2) * pixel


@lru_cache(maxsize=4)
def _basis(height: int, width: int, pixel: float) -> torch.Tensor:
    """Fields of unit size ``(fields, height * width)``: a constant, polynomials, and long waves over FIELD."""
    y = (_positions(height, pixel) / (FIELD / 2))[:, None].expand(height, width)
    x = (_positions(width, pixel) / (FIELD / 2))[None, :].expand(height, width)
    fields = [torch.ones(height, width), 1.7 * x, 1.7 * y, 3 * x * y, 2.2 * (x * x - 1 / 3), 2.2 * (y * y - 1 / 3)]
    for p, q in WAVES:
        angle = math.pi * (p * x + q * y)
        fields += [math.sqrt(2) * torch.sin(angle), math.sqrt(2) * torch.cos(angle)]
    return torch.stack(fields).view(len(fields), height * width)


def _blur(slices: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Convolve with ``[w, 1 - 2w, w]`` along both axes, circularly (the rim is air or the edge of the scan)."""
    for axis in (1, 2):
        sides = torch.roll(slices, 1, axis) + torch.roll(slices, -1, axis)
        slices = (1 - 2 * weight) * slices + weight * sides
    return slices
