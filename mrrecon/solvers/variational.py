"""Variational reconstruction with a 2D prior: the volume whose slices, in all three planes, the prior believes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar, Literal

from mrrecon.operators.backend import get_array_module
from mrrecon.operators.vectors import real_dot
from mrrecon.solvers.parts.data_step import data_step, sense_start
from mrrecon.solvers.parts.iterative import Iteration, Start
from mrrecon.solvers.parts.plane_priors import SlicedPrior
from mrrecon.solvers.parts.problem import Problem
from mrrecon.solvers.parts.with_prior import PriorSolver

__all__ = ["Variational"]

SLICES = 50  # of each plane, where slices are drawn
MIRRORED = ((False, False), (True, True), (False, True), (True, False))  # axes of the slices, in turn
PROXIMAL_LAM, GRADIENT_LAM, PAPER_LAM = 0.25, 1.0, 0.01
LEAST_SHARE = 0.01  # of a time budget that the levels are given, whatever was spent before them
MUCH_DATA, MOST_LAM = 16.0, 1.0  # acceleration below which noise is more and more the matter: more lam, up to this


@dataclass(frozen=True)
class Variational(PriorSolver):
    """Minimise ``|A x - y|^2 / s^2 + R(x)``, R being what a slice prior says about slices of all three planes.

    The proximal optimiser alternates: the prior denoises the slices of one plane at a noise level l that falls from
    iteration to iteration, then a few conjugate gradients minimise ``|A x - y|^2 / s^2 + |x - denoised|^2 lam / l^2``.
    The noise s is known or measured, so that no strength has to be tuned. The residual is the relative change of the
    image.

    The gradient optimiser draws slices, noise and noise levels at random in every iteration, as published, and takes
    steps with momentum on the data term and the prior's noise-prediction error.

    Parameters
    ----------
    lam
        Strength of the prior. Proximal: relative to what the noise says, by default 0.25, and 4/R, but at most 1, at
        accelerations R below 16. Gradient: weight of the noise-prediction error, by default proportional to the noise.
    max_iter
        Number of outer iterations: of the falling noise level, if proximal.
    tolerance
        Stop when the image changes by less than this fraction; 0 for never.
    prior, seed
        See :class:`~mrrecon.solvers.parts.with_prior.PriorSolver`.
    optimizer
        ``"proximal"``, ``"gradient"``, or ``"paper"``: the published method with its published settings, Adam on a mean
        squared error included.
    first_level, last_level
        Noise levels of the proximal optimiser, per real component: the first at unit signal, the last relative to the
        noise of a fully sampled image.
    cg_steps
        Conjugate gradients in each data step.
    slices
        Slices drawn per plane and iteration; 0: all of one plane if proximal, 50 of each plane otherwise.
    mirror
        Mirror the slices along none, both or one of their axes in turn, so that what the prior does otherwise to the
        left than to the right averages out; False for priors that must see anatomy the right way round. Proximal only.
    time_limit
        Highest time T' of the random noise levels, as a share of the schedule; gradient and paper only.
    time_budget
        Seconds after which the result must be there, about; of the proximal optimiser, the noise level falls
        accordingly faster.

    References
    ----------
    Resolution-Robust 3D MRI Reconstruction with 2D Diffusion Priors, 2024, the objective and the section on slices;
    Mardani et al., A Variational Perspective on Solving Inverse Problems with Diffusion Models, 2023 (RED-diff).
    Proximal form: Zhang et al., Plug-and-Play Image Restoration with Deep Denoiser Prior, 2021, equations (6) to (9).
    Mirrored slices: Terris, Moreau, Pustelnik, Tachella, Equivariant Plug-and-Play Image Reconstruction, 2024.
    """

    lam: float | None = None
    max_iter: int = 16
    tolerance: float = 0.0
    prior: Any = "brain-diverse"
    seed: int = 0
    optimizer: Literal["proximal", "gradient", "paper"] = "proximal"
    first_level: float = 0.1
    last_level: float = 0.5
    cg_steps: int = 4
    slices: int = 0
    mirror: bool = True
    time_limit: float = 0.4

    name: ClassVar[str] = "variational"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.optimizer not in ("proximal", "gradient", "paper"):
            raise ValueError(f"optimizer must be proximal, gradient or paper, got {self.optimizer!r}.")
        for name in ("first_level", "last_level", "cg_steps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")
        if self.slices < 0:
            raise ValueError(f"slices must not be negative, got {self.slices}; 0 means the optimiser's own number.")
        if not 0 < self.time_limit <= 1:
            raise ValueError(f"time_limit must be above 0 and at most 1, got {self.time_limit}.")

    @property
    def paces_itself(self) -> bool:
        """See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`: the noise level falls as fast as it must."""
        return self.optimizer == "proximal"

    def settings(self) -> dict[str, Any]:
        """See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`; the budget, which levels depend on, always."""
        return {**super().settings(), "time_budget": self.time_budget}

    def default_strength(self, problem: Problem) -> float:
        """See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`."""
        if self.optimizer == "proximal":
            return min(PROXIMAL_LAM * max(1.0, MUCH_DATA / problem.acceleration), MOST_LAM)
        return PAPER_LAM if self.optimizer == "paper" else GRADIENT_LAM * problem.noise

    @property
    def restores_intensity(self) -> bool:
        """Not in the published method, which is kept as it was published."""
        return self.true_intensity and self.optimizer != "paper"

    def steps(self, problem: Problem, prior: SlicedPrior, lam: float, start: Start) -> Iterator[Iteration]:
        """See :class:`~mrrecon.solvers.parts.with_prior.PriorSolver`."""
        drawn: dict[str, Any] = {"slices": self.slices or SLICES, "time_limit": self.time_limit, "seed": self.seed}
        if self.optimizer == "paper":
            from mrrecon.solvers.published import published_steps

            return published_steps(problem, prior, lam, start.image, **drawn)
        image = start.image if start.warm else sense_start(problem, start.image)
        if self.optimizer == "gradient":
            from mrrecon.solvers.red_diff import gradient_steps

            return gradient_steps(problem, prior, lam, replace(start, image=image), **drawn)
        last = self.last_level * problem.noise / math.sqrt(2)
        seconds = self.time_budget
        if seconds is not None:  # what is left of it; at least two levels remain
            seconds = max(seconds - (time.perf_counter() - start.began), LEAST_SHARE * seconds)
        levels = falling_levels(max(self.first_level, last), last, self.max_iter, seconds)
        left = islice(enumerate(levels), start.done, None)
        return proximal_steps(problem, prior, lam, image, left, self.cg_steps, self.mirror)


def falling_levels(first: float, last: float, total: int, seconds: float | None = None) -> Iterator[float]:
    """Noise levels from `first` to `last`, evenly in their logarithm.

    Where `total` of them would take longer than `seconds`, at the pace so far, they fall faster and are fewer.
    """
    began = time.monotonic()
    for k in range(total):
        share = k / max(total - 1, 1)
        if seconds is not None and k > 0:
            elapsed = time.monotonic() - began
            share = max(share, (elapsed + elapsed / k) / seconds)  # when the iteration that now starts will end
        yield first * (last / first) ** min(share, 1.0)
        if share >= 1:
            return


def proximal_steps(
    problem: Problem,
    prior: SlicedPrior,
    lam: float,
    image: Any,
    levels: Iterable[tuple[int, float]],
    cg_steps: int,
    mirror: bool,
) -> Iterator[Iteration]:
    """Alternate denoised slices of one plane, at numbered levels, with data steps; see :class:`Variational`."""
    noise = problem.noise / math.sqrt(2)
    x = image
    for k, level in levels:
        turn, index = divmod(k, len(prior.planes))
        axes = MIRRORED[turn % len(MIRRORED)] if mirror else MIRRORED[0]
        z = denoised(prior, x, prior.planes[index], level, axes)
        weight = lam * problem.lipschitz * (noise / level) ** 2
        new = data_step(problem, z, weight, cg_steps)
        change = new - x
        moved = math.sqrt(real_dot(change, change) / max(real_dot(new, new), 1e-30))
        if not math.isfinite(moved):
            yield Iteration(x, math.nan)
            return
        x = new
        yield Iteration(x, moved, {"level": level})


def denoised(prior: SlicedPrior, x: Any, plane: int, level: float, mirrored: tuple[bool, bool]) -> Any:
    """The image, for each set of maps, with the slices of a plane denoised, mirrored along their axes as told."""
    xp, turns = get_array_module(x), list(mirrored)
    turns.insert(plane, False)
    reverse = (..., *(slice(None, None, -1 if turned else 1) for turned in turns))
    cubes = x[reverse].reshape(-1, *x.shape[-3:])
    clean = xp.stack([prior.volume(prior.denoise(cube, plane, level), plane) for cube in cubes]).reshape(x.shape)
    return xp.ascontiguousarray(clean[reverse])
