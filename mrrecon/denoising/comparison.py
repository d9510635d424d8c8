"""Denoising PSNR of priors and of methods without training, on the same slices with the same noise."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mrrecon.denoising.slices import VoxelSlices
from mrrecon.errors import DataError
from mrrecon.priors.base import SlicePrior
from mrrecon.priors.schedule import NoiseSchedule, complex_noise

__all__ = ["POLICY", "TIMES", "Denoiser", "compare", "noise_levels", "noisy_slices", "of_prior", "reference_levels"]

TIMES = (50, 100, 200, 400)
SCALE = 2.0  # of the data in the states that the times refer to: bright tissue is two
POLICY = (
    "Complex PSNR = -10 log10(mean |estimate - truth|^2) in dB, one being the level of bright tissue (99th percentile "
    "at low resolution), mean over all pixels, background included, of the slices of one volume and plane; means are "
    "means of dB over volumes and planes. The noise is white, of standard deviation sigma per real component; t names "
    "the level sigma_t / (2 alpha_t) of the linear DDPM schedule (beta 1e-4 to 0.02, 1000 steps)."
)

Denoise = Callable[[torch.Tensor, float, VoxelSlices], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Denoiser:
    """A denoiser under a name, perhaps with a setting that is chosen knowing the truth.

    Parameters
    ----------
    name
        In tables and pictures.
    choices
        Setting to denoiser, which is called with noisy slices ``(B, H, W)``, the standard deviation of the noise per
        real component, and the case: its condition, and for oracles its clean slices. If there are several, the one of
        the highest mean PSNR is chosen for each voxel size and level.
    about
        What it is, for records.
    chosen_on
        The choice is made on every so many cases only.
    threads
        Number of cases that are denoised at the same time.
    """

    name: str
    choices: Mapping[str, Denoise]
    about: str = ""
    chosen_on: int = 1
    threads: int = 1


def of_prior(prior: SlicePrior, name: str | None = None) -> Denoiser:
    """Make a method of a prior; by default it has the prior's name."""

    def denoise(noisy: torch.Tensor, sigma: float, case: VoxelSlices) -> torch.Tensor:
        return prior.denoise(noisy, sigma, case.condition)

    return Denoiser(name or prior.name, {"": denoise}, type(prior).__name__)


def noise_levels(schedule: NoiseSchedule, data_scale: float, times: Sequence[float] = TIMES) -> dict[str, float]:
    """Noise at unit signal that diffusion times mean: name of the time to standard deviation."""
    return {f"{t:g}": schedule.noise_level(t) / data_scale for t in times}


def reference_levels(times: Sequence[float] = TIMES) -> dict[str, float]:
    """Levels that priors of any schedule and scale are compared at; see :data:`POLICY`.

    Raises
    ------
    DataError
        If a time is outside of the schedule.

    >>> {t: round(sigma, 3) for t, sigma in reference_levels().items()}
    {'50': 0.088, '100': 0.171, '200': 0.362, '400': 1.021}
    """
    schedule = NoiseSchedule()
    if not times or not all(0 <= t < schedule.steps for t in times):
        raise DataError(f"Times must be from 0 to {schedule.steps - 1}, got {', '.join(map(str, times)) or 'none'}.")
    return noise_levels(schedule, SCALE, sorted(set(times)))


def noisy_slices(case: VoxelSlices, sigma: float, seed: int) -> torch.Tensor:
    """Slices of a case with noise that depends on the seed, the slice and the level, and on nothing else."""
    noisy = []
    for position, clean in zip(case.positions, case.slices, strict=True):
        which = f"{case.volume} {case.plane} {case.voxel_size:g} {position} {sigma:.6g}"
        mixed = np.random.SeedSequence([seed, zlib.crc32(which.encode())]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(mixed >> np.uint64(1)))
        noisy.append(clean + sigma * complex_noise(clean.shape, generator))
    return torch.stack(noisy)


def compare(
    methods: Sequence[Denoiser],
    cases: Sequence[VoxelSlices],
    levels: Mapping[Any, float],
    seed: int = 0,
    progress: Callable[[str], Any] | None = None,
) -> list[dict[str, Any]]:
    """Denoise the same noisy slices with several methods.

    Parameters
    ----------
    methods
        See :func:`of_prior` and :func:`~mrrecon.denoising.baselines`.
    cases
        From :func:`~mrrecon.denoising.validation_slices`.
    levels
        Name of a level to standard deviation at unit signal.
    seed
        Of the noise, at least 0.
    progress
        Called with a name before each method starts at a voxel size and level; ``len(methods)`` times the number of
        voxel sizes times that of levels in all.

    Returns
    -------
    rows
        One per method, volume, plane, voxel size and level: ``method``, ``setting`` (the chosen one), ``volume``,
        ``plane``, ``voxel_size``, ``level``, ``sigma``, ``psnr`` in dB.

    Raises
    ------
    DataError
        If the seed is negative or two methods have one name.
    """
    if seed < 0:
        raise DataError(f"The seed must be at least 0, got {seed}.")
    names = [method.name for method in methods]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"Two methods are called {twice!r}; give each another name.")
    rows = []
    for edge in dict.fromkeys(case.voxel_size for case in cases):
        of_size = [case for case in cases if case.voxel_size == edge]
        for level, sigma in levels.items():
            noisy = [noisy_slices(case, sigma, seed) for case in of_size]
            for method in methods:
                if progress is not None:
                    progress(f"{method.name}, {edge:g} mm, t = {level}")
                setting, psnr = _best(method, list(zip(noisy, of_size, strict=True)), sigma)
                rows += [
                    {
                        "method": method.name,
                        "setting": setting,
                        "volume": case.volume,
                        "plane": case.plane,
                        "voxel_size": edge,
                        "level": level,
                        "sigma": sigma,
                        "psnr": value,
                    }
                    for case, value in zip(of_size, psnr, strict=True)
                ]
    return rows


def _best(method: Denoiser, pairs: Sequence[tuple[torch.Tensor, VoxelSlices]], sigma: float) -> tuple[str, list[float]]:
    """Chosen setting of a method, and its PSNR on every case."""
    known: dict[str, dict[int, float]] = {setting: {} for setting in method.choices}

    def measure(setting: str, indices: Sequence[int]) -> list[float]:
        def one(i: int) -> float:
            noisy, case = pairs[i]
            return _psnr(method.choices[setting](noisy, sigma, case), case.slices)

        missing = [i for i in indices if i not in known[setting]]
        if method.threads == 1:
            known[setting].update((i, one(i)) for i in missing)
        else:
            with ThreadPoolExecutor(method.threads) as pool:
                known[setting].update(zip(missing, pool.map(one, missing), strict=True))
        return [known[setting][i] for i in indices]

    best, *others = method.choices
    if others:
        trial = range(0, len(pairs), method.chosen_on)
        best = max(method.choices, key=lambda setting: sum(measure(setting, trial)))
    return best, measure(best, range(len(pairs)))


def _psnr(estimate: torch.Tensor, truth: torch.Tensor) -> float:
    mse = float(torch.view_as_real((estimate - truth).resolve_conj()).double().square().sum(-1).mean())
    return -10 * math.log10(max(mse, 1e-12))
