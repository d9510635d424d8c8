"""Variational reconstruction with a 2D prior: the volume whose slices, in all three planes, the prior believes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from mrrecon.operators.vectors import real_dot
from mrrecon.solvers.parts.data_step import data_step, sense_start
from mrrecon.solvers.parts.loop import Iteration, Start
from mrrecon.solvers.parts.plane_priors import PlanePriors
from mrrecon.solvers.parts.problem import Problem
from mrrecon.solvers.parts.with_prior import PriorSolver

__all__ = ["Variational"]

MIRRORED = ((False, False), (True, True), (False, True), (True, False))  # axes of the slices, in turn
LAM = 0.25
LEAST_SHARE = 0.01  # of a time budget that the levels are given, whatever was spent before them
MUCH_DATA, MOST_LAM = 16.0, 1.0  # acceleration below which noise is more and more the matter: more lam, up to this


@dataclass(frozen=True)
class Variational(PriorSolver):
    """Minimise ``|A x - y|^2 / s^2 + R(x)``, R being what a slice prior says about slices of all three planes.

    The prior denoises the slices of one plane at a noise level l that falls from iteration to iteration, then a few
    conjugate gradients minimise ``|A x - y|^2 / s^2 + |x - denoised|^2 lam / l^2``. What is denoised lies ahead of the
    iterate, in the direction of its last change (momentum), which does for twice as many iterations. The noise s is
    known or measured, so that no strength has to be tuned. The residual is the relative change of the image.

    Parameters
    ----------
    lam
        Strength of the prior, relative to what the noise says: by default 0.25, and 4/R, but at most 1, at
        accelerations R below 16.
    tolerance
        Stop when the image changes by less than this fraction; 0 for never.
    max_iter, prior, effort
        The noise level falls through all iterations. See :class:`~mrrecon.solvers.parts.with_prior.PriorSolver`.
    first_level, last_level
        Noise levels, per real component: the first at unit signal, the last relative to the noise of a fully sampled
        image.
    momentum
        Share of the last change of the image that the prior is shown ahead of it, 0 to 1.
    cg_steps
        Conjugate gradients in each data step.
    mirror
        Mirror the slices along none, both or one of their axes in turn, so that what the prior does otherwise to the
        left than to the right averages out; False for priors that must see anatomy the right way round.
    time_budget
        Seconds after which the result must be there, about: the noise level falls accordingly faster.

    References
    ----------
    Resolution-Robust 3D MRI Reconstruction with 2D Diffusion Priors, 2024, the objective and the section on slices.
    Proximal form: Zhang et al., Plug-and-Play Image Restoration with Deep Denoiser Prior, 2021, equations (6) to (9).
    Momentum: Polyak 1964, USSR Comput Math Math Phys 4:1; Nesterov 1983, Soviet Math Dokl 27:372.
    Mirrored slices: Terris, Moreau, Pustelnik, Tachella, Equivariant Plug-and-Play Image Reconstruction, 2024.
    """

    first_level: float = 0.1
    last_level: float = 1.0
    momentum: float = 0.6
    cg_steps: int = 3
    mirror: bool = True

    name: ClassVar[str] = "variational"
    efforts: ClassVar[Mapping[str, int]] = {"fast": 10, "normal": 20, "best": 60}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("first_level", "last_level", "cg_steps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be from 0 to below 1, got {self.momentum}.")

    @property
    def paces_itself(self) -> bool:
        """See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`: the noise level falls as fast as it must."""
        return True

    def settings(self) -> dict[str, Any]:
        """See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`; the budget, which levels depend on, always."""
        return {**super().settings(), "time_budget": self.time_budget}

    def default_strength(self, problem: Problem) -> float:
        """See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`."""
        return min(LAM * max(1.0, MUCH_DATA / problem.acceleration), MOST_LAM)

    def steps(self, problem: Problem, prior: PlanePriors, lam: float, start: Start) -> Iterator[Iteration]:
        """See :class:`~mrrecon.solvers.parts.with_prior.PriorSolver`."""
        x = start.image if start.warm else sense_start(problem, start.image)
        before = problem.on_device(start.state["before"]) if "before" in start.state else x
        noise = problem.noise / math.sqrt(2)
        last, seconds = self.last_level * noise, self.time_budget
        if seconds is not None:  # what is left of it; at least two levels remain
            seconds = max(seconds - (time.perf_counter() - start.began), LEAST_SHARE * seconds)
        levels = falling_levels(max(self.first_level, last), last, self.count, seconds)
        for k, level in islice(enumerate(levels), start.done, None):
            turn, index = divmod(k, len(prior.planes))
            axes = MIRRORED[turn % len(MIRRORED)] if self.mirror else MIRRORED[0]
            ahead = x + np.float32(self.momentum) * (x - before)
            denoised = prior.denoise(ahead, prior.planes[index], level, axes)
            new = data_step(problem, denoised, lam * problem.lipschitz * (noise / level) ** 2, self.cg_steps)
            change = new - x
            moved = math.sqrt(real_dot(change, change) / max(real_dot(new, new), 1e-30))
            if not math.isfinite(moved):
                yield Iteration(x, math.nan)
                return
            before, x = x, new
            yield Iteration(x, moved, {"level": level}, partial(dict, before=before))


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
