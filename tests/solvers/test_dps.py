"""Diffusion posterior sampling: the derivative of the prior, the step that follows from it, priors that have none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gaussian_scans import gaussian_scan, true_priors, white
from solver_scans import make_scan, nrmse

from mrrecon import priors
from mrrecon.errors import DataError
from mrrecon.grid import Grid
from mrrecon.solvers import DDS, DPS, dps
from mrrecon.solvers.dps import derivative_adjoint
from mrrecon.solvers.parts.plane_priors import PlanePriors
from mrrecon.solvers.parts.posterior_steps import Guess
from mrrecon.solvers.parts.problem import Problem


def mixture(sides, rng):
    """A prior whose derivative depends on the state, couples pixels, and mixes real and imaginary parts."""
    means = np.stack([white(rng, *sides), white(rng, *sides)]) * 0.3
    model = priors.GaussianMixturePrior([0.4, 0.6], means, np.array([0.2, 0.6]))
    model.data_scale = 1.5
    return model


@pytest.mark.parametrize("plane", [0, 1, 2])
@pytest.mark.parametrize("sets", [1, 2])
def test_derivative_is_that_of_the_estimate(rng, plane, sets, monkeypatch):
    monkeypatch.setattr(dps, "GRADIENT_PIXELS", 200)  # several slices at a time, not all
    shape, level = (sets, 9, 8, 10), 2.0
    prior = PlanePriors(mixture([n for axis, n in enumerate(shape[-3:]) if axis != plane], rng), Grid(shape[1:]))
    state, direction, other = (white(rng, *shape).astype(np.complex64) for _ in range(3))
    guess = Guess(state, level, plane, None, None, 1.0, 1.0)
    adjoint = derivative_adjoint(prior, guess, other)
    assert adjoint.shape == shape and adjoint.dtype == np.complex64
    small = np.float32(0.05)
    ahead, behind = (prior.denoise(state + s * direction, plane, level) for s in (small, -small))
    slope = np.vdot(other, (ahead - behind) / (2 * small)).real
    assert np.vdot(adjoint, direction).real == pytest.approx(slope, rel=1e-2)


def test_independent_pixels_make_it_dds():
    scan = gaussian_scan()
    settings = {"prior": true_priors(scan), "max_iter": 4, "samples": 2, "cg_steps": 30}
    here, there = DPS(**settings)(scan), DDS(**settings)(scan)
    assert nrmse(here.volume, there.volume) < 2e-3
    assert nrmse(here.extras["deviation"], there.extras["deviation"]) < 1e-2


def test_one_conjugate_gradient_is_a_step_along_the_gradient_of_the_misfit(rng):
    # The oracle differentiates |A x0(state) - y|^2 numerically, with the voxels of a slice correlated.
    scan = make_scan(shape=(8, 9, 8), snr=10)
    problem = Problem.of(scan, "test")
    frequencies = np.abs(np.fft.fftfreq(9)[:, None]) + np.abs(np.fft.fftfreq(8))
    prior = PlanePriors(priors.GaussianPrior(np.zeros((9, 8)), spectrum=1 / (0.1 + frequencies) ** 2), problem.grid)
    state, level = white(rng, 1, *scan.shape).astype(np.complex64), 1.0

    def clean_of(noisy):
        return prior.denoise(noisy, 0, level)

    clean, weight = clean_of(state), 0.2 * problem.lipschitz
    guess = Guess(state, level, 0, None, clean, 0.5, weight)
    moved = DPS(cg_steps=1).data_consistency(problem, prior)(guess) - clean
    for direction in (moved, white(rng, 1, *scan.shape).astype(np.complex64)):
        small = np.float32(0.02 * np.linalg.norm(state) / np.linalg.norm(direction))
        misfits = [problem.misfit(clean_of(state + s * direction)) for s in (small, -small)]
        slope = (misfits[0] - misfits[1]) / (2 * small)
        if direction is moved:
            gradient_norm = -slope / np.linalg.norm(moved)  # if it is the steepest descent
        else:
            expected = -gradient_norm * np.vdot(moved, direction).real / np.linalg.norm(moved)
            assert slope == pytest.approx(expected, rel=0.02)
    values = [problem.misfit(clean + s * moved) + weight * np.linalg.norm(s * moved) ** 2 for s in (0.9, 1.0, 1.1)]
    assert values[1] < values[0] and values[1] < values[2]
    assert values[0] == pytest.approx(values[2], rel=1e-4)  # a parabola with its minimum where the step ends


class Opaque(priors.SlicePrior):
    """Computes with NumPy."""

    name = "opaque"

    def _denoise(self, noisy, sigma, condition):
        return torch.from_numpy(noisy.numpy() / (1 + sigma.numpy() ** 2))


@pytest.mark.parametrize(
    "prior",
    [Opaque(), priors.from_callable(lambda noisy, sigma: noisy.detach() * 0.5, "sigma", name="opaque"),
     priors.from_callable(lambda state, t: state.detach() * 0.5, "time", name="opaque")],
)  # fmt: skip
def test_a_prior_that_cannot_be_differentiated_is_an_error(prior):
    scan = make_scan(shape=(12, 20, 16))
    expected = "dps needs a prior that can be differentiated and opaque cannot; use dds or tpdm, which need not."
    with pytest.raises(DataError) as caught:
        DPS(prior=prior, max_iter=2)(scan)
    assert str(caught.value) == expected
    assert np.isfinite(DDS(prior=prior, max_iter=2)(scan).volume).all()


def test_other_errors_of_a_prior_are_not_hidden():
    def breaks(noisy, sigma):
        if noisy.requires_grad:
            raise RuntimeError("CUDA out of memory")
        return noisy

    with pytest.raises(RuntimeError, match="out of memory"):
        DPS(prior=priors.from_callable(breaks), max_iter=2)(make_scan(shape=(12, 20, 16)))
