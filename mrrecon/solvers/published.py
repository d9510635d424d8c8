"""The variational method with its published settings: real Adam on a mean squared error, loss-driven learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from mrrecon.operators.backend import as_array
from mrrecon.operators.vectors import real_dot
from mrrecon.solvers.parts.loop import Iteration, Start
from mrrecon.solvers.parts.plane_priors import PlanePriors
from mrrecon.solvers.parts.problem import Problem
from mrrecon.solvers.red_diff import RandomSliceSolver

__all__ = ["Published"]

LEARNING_RATE, BETAS, PLATEAU, PATIENCE = 2.0, (0.9, 0.99), 0.5, 20
PRIOR_SCALE = 2.0  # value that the published prior sees for an image value of one


@dataclass(frozen=True)
class Published(RandomSliceSolver):
    """Adam on ``mean |A x - y|^2 + lam mean(w) mean |predicted - added noise|^2``, started from ``A^H y``.

    The data are scaled to ``|y|^2 = 2 N``, and means run over real and imaginary parts of all samples, unsampled ones
    too, because Adam's epsilon makes the result depend on it. The prior sees slices at its own scale, not at the
    published one, which is about twice too large. The residual is the loss. A run that is gone on with starts from its
    image, as from a warm start: the moments of Adam and the learning rate are not kept.

    Parameters
    ----------
    lam
        The published weight, by default 0.01.
    tolerance
        Loss to stop at; 0 for never.
    max_iter, prior, effort
        200 iterations, as published, are the normal effort. See :class:`~mrrecon.solvers.parts.with_prior.PriorSolver`.
    seed, slices, time_limit
        See :class:`~mrrecon.solvers.red_diff.RandomSliceSolver`.
    true_intensity
        As for other methods, but off: the result as it was published.

    References
    ----------
    Resolution-Robust 3D MRI Reconstruction with 2D Diffusion Priors, 2024, and its code.
    """

    lam: float | None = None
    true_intensity: bool = field(default=False, kw_only=True)

    name: ClassVar[str] = "published"
    efforts: ClassVar[Mapping[str, int]] = {"fast": 100, "normal": 200, "best": 400}
    whole_times: ClassVar[bool] = True

    def default_strength(self, problem: Problem) -> float:
        """See :class:`~mrrecon.solvers.parts.iterative.IterativeSolver`."""
        return 0.01

    def draw_slabs(self, count: int, rng: np.random.Generator, width: int) -> list[np.ndarray]:
        """Slabs of neighbours with centres uniform among those of whole slabs, overlapping as it happens."""
        half = width // 2
        centres = rng.integers(min(half, count // 2), max(count - half, count // 2 + 1), math.ceil(self.slices / width))
        return [np.arange(max(centre - half, 0), min(centre - half + width, count)) for centre in centres]

    def steps(self, problem: Problem, prior: PlanePriors, lam: float, start: Start) -> Iterator[Iteration]:
        """See :class:`~mrrecon.solvers.parts.with_prior.PriorSolver`."""
        import torch

        xp = problem.encoding.xp
        coils, *shape = problem.encoding.oshape
        voxels = math.prod(shape)
        factor = math.sqrt(2 * voxels / problem.energy)  # from unit signal to the published scale
        rng = np.random.default_rng([self.seed, start.done] if start.done else self.seed)
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * start.done)
        scaled = (start.image if start.warm else problem.backprojection) * np.float32(factor)
        parameter = torch.view_as_real(torch.from_dlpack(scaled)).clone().requires_grad_()
        adam = torch.optim.Adam([parameter], lr=LEARNING_RATE, betas=BETAS, eps=1e-8)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(adam, factor=PLATEAU, patience=PATIENCE)
        while True:
            x = as_array(torch.view_as_complex(parameter.detach())) / np.float32(factor)  # at unit signal
            gradient = problem.encoding.normal(x)
            residual = real_dot(x, gradient) - 2 * real_dot(x, problem.backprojection) + problem.energy
            loss = factor**2 * residual / (2 * coils * voxels)
            gradient = np.float32(factor / (coils * voxels)) * (gradient - problem.backprojection)
            for drawn, number, pull in self.errors(prior, x, gradient, rng, generator):
                weight = len(drawn.chosen) / number * lam * float(np.mean(drawn.level)) / len(prior.planes)
                entries = 2 * drawn.error.size
                loss += weight * real_dot(drawn.error, drawn.error) / entries
                step = xp.asarray(np.float32(2 * PRIOR_SCALE * weight / entries) * drawn.alpha)[:, None, None]
                xp.add.at(pull, xp.asarray(drawn.chosen), step * drawn.error)  # slabs may overlap
            if not math.isfinite(loss):
                yield Iteration(x, math.nan)
                return
            parameter.grad = torch.view_as_real(torch.from_dlpack(gradient))
            plateau.step(loss)
            adam.step()
            x = as_array(torch.view_as_complex(parameter.detach())) / np.float32(factor)
            yield Iteration(x, loss)
