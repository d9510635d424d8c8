"""Random slices, noise levels and noise for the optimisers that see only a few slices in each iteration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mrrecon.solvers.parts.plane_priors import SlicedPrior

if TYPE_CHECKING:
    import torch

__all__ = ["NoiseError", "draw_slabs", "noise_error"]

SLAB = 5  # neighbouring slices that are drawn together


def draw_slabs(count: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of about `wanted` of `count` slices, in slabs of five: all equally likely, none twice."""
    offset = int(rng.integers(SLAB))
    slabs = np.arange(-offset, count, SLAB)
    chosen = rng.permutation(slabs)[: max(1, round(wanted / SLAB))]
    indices = np.concatenate([np.arange(start, start + SLAB) for start in np.sort(chosen)])
    return indices[(indices >= 0) & (indices < count)]


@dataclass(frozen=True)
class NoiseError:
    """How wrong a prior is about noise that was added to slices.

    Parameters
    ----------
    error
        Predicted minus added noise ``(slices, ...)``, complex64, of the kind of the volume.
    alpha, sigma
        Of the noise levels that were drawn, one per slice, NumPy.
    """

    error: Any
    alpha: np.ndarray
    sigma: np.ndarray


def noise_error(
    prior: SlicedPrior, volume: Any, plane: int, chosen: np.ndarray, times: np.ndarray, generator: torch.Generator
) -> NoiseError:
    """Add noise to slices of a volume at unit signal and have the prior predict it.

    Parameters
    ----------
    prior
        What predicts.
    volume
        ``(x, y, z)``, complex64.
    plane, chosen
        Which slices.
    times
        Noise level of each, as a time of the prior's schedule.
    generator
        Of the noise; on the CPU, so that a seed means the same on every device.
    """
    import torch

    from mrrecon.operators.backend import as_array
    from mrrecon.priors import complex_noise

    model = prior.priors[plane]
    alpha, sigma = (
        np.asarray(f(torch.as_tensor(times)), np.float32) for f in (model.schedule.alpha, model.schedule.sigma)
    )
    slices = torch.from_dlpack(prior.slices(volume, plane, chosen))
    noise = complex_noise(slices.shape, generator).to(slices.device)
    a, s = (torch.from_numpy(v).to(slices.device)[:, None, None] for v in (alpha * np.float32(model.data_scale), sigma))
    predicted = prior.predict_noise(a * slices + s * noise, plane, torch.as_tensor(times), volume.shape[plane], chosen)
    return NoiseError(as_array(predicted - noise), alpha, sigma)
