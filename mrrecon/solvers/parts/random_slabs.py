"""Random slices, noise levels and noise for the methods that see only a few slices in each iteration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mrrecon.solvers.parts.plane_priors import PlanePriors

if TYPE_CHECKING:
    import torch

__all__ = ["Drawn", "draw_slabs", "random_levels", "slice_errors"]

SLAB = 5  # neighbouring slices that are drawn together


@dataclass(frozen=True)
class Drawn:
    """What a prior finds wrong with some slices of a volume.

    Parameters
    ----------
    chosen
        Indices of the slices.
    error
        Predicted minus added noise of unit variance, ``(slices, ...)``, complex64, of the kind of the volume.
    level
        Noise level of each slice times the value that the prior sees for an image value of one: sigma over alpha.
    """

    chosen: np.ndarray
    error: Any
    level: np.ndarray

    @property
    def alpha(self) -> np.ndarray:
        """Signal factor of the variance-preserving diffusion states of these levels, float32."""
        return (1 / np.hypot(1, self.level)).astype(np.float32)


def draw_slabs(count: int, wanted: int, rng: np.random.Generator, width: int = SLAB) -> list[np.ndarray]:
    """Indices of about `wanted` of `count` slices, in slabs of neighbours: all equally likely, none twice."""
    offset = int(rng.integers(width))
    starts = np.arange(-offset, count, width)
    chosen = rng.permutation(starts)[: max(1, round(wanted / width))]
    slabs = (np.arange(max(start, 0), min(start + width, count)) for start in np.sort(chosen))
    return [slab for slab in slabs if slab.size]


def random_levels(
    prior: PlanePriors, plane: int, time_limit: float, number: int, rng: np.random.Generator, whole: bool = False
) -> np.ndarray:
    """Noise levels at times drawn uniformly from the second of the prior's schedule to a share `time_limit` of it.

    With `whole`, among the times of the schedule, not in between.
    """
    rising = np.array(prior.priors[plane].levels())[::-1]
    least = min(1, len(rising) - 1)
    if whole:
        return rising[rng.integers(least, max(least + 1, round(time_limit * len(rising))), number)]
    times = rng.uniform(least, max(least, time_limit * len(rising)), number)
    return np.interp(times, np.arange(len(rising)), rising)


def slice_errors(
    prior: PlanePriors, volume: Any, plane: int, slabs: list[np.ndarray], levels: np.ndarray, generator: torch.Generator
) -> Iterator[Drawn]:
    """Add noise to slices of a volume at unit signal and have the prior take it out again.

    Parameters
    ----------
    prior
        What denoises: all slices at once, or one slab after the other where it looks at neighbours.
    volume
        ``(x, y, z)``, complex64.
    plane, slabs
        Which slices.
    levels
        Noise level of each slice; a prior that looks at neighbours has that of the first for all of a slab.
    generator
        Of the noise; on the CPU, so that a seed means the same on every device.
    """
    import torch

    from mrrecon.operators.backend import as_array
    from mrrecon.priors import complex_noise

    model = prior.priors[plane]
    groups = slabs if model.window > 1 else [np.concatenate(slabs)]
    ends = np.cumsum([len(group) for group in groups])
    for group, end in zip(groups, ends, strict=True):
        level = levels[end - len(group) : end]
        if model.window > 1:
            level = np.full(len(group), level[0])
        slices = torch.from_dlpack(prior.slices(volume, plane, group))
        noise = complex_noise(slices.shape, generator).to(slices.device)
        scale = torch.from_numpy(level.astype(np.float32)).to(slices.device)[:, None, None]
        clean = prior.denoise_slices(slices + scale * noise, plane, level, group)
        yield Drawn(group, as_array((slices - clean) / scale), level * model.data_scale)
