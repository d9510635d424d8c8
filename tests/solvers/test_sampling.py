"""The pieces of posterior samplers, each against its definition."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pretend_cupy
import pytest
from any_device import OnAnyDevice, send_noise
from gaussian_scans import SPREAD, encoding_matrix, gaussian_scan, measured, true_priors, white
from solver_scans import make_scan, nrmse

from mrrecon import priors
from mrrecon.grid import Grid
from mrrecon.solvers import DDS, TPDM, DiffusionMBIR
from mrrecon.solvers.diffusion_mbir import differences, differences_adjoint
from mrrecon.solvers.parts.plane_priors import PlanePriors
from mrrecon.solvers.parts.posterior_steps import (
    DataResidual,
    Guess,
    Samples,
    WarmDataStep,
    WhiteNoise,
    perturbation,
)
from mrrecon.solvers.parts.problem import Problem

CUBE = Grid((9, 8, 10))


def guess_of(problem, clean, error, weight, plane=0):
    return Guess(None, 1.0, plane, None, clean, error, weight)


@pytest.fixture(scope="module")
def problem():
    return Problem.of(gaussian_scan(), "test")


@pytest.fixture(scope="module")
def normal(problem):
    """A^H A of the problem as a matrix."""
    a = encoding_matrix(gaussian_scan())
    gram = a.conj().T @ a
    return gram * problem.lipschitz / (np.abs(gaussian_scan().maps) ** 2).sum(0).max()


# ---- noise levels ------------------------------------------------------------------------------------------


def test_levels_start_at_the_highest_that_all_priors_know():
    three = [priors.load("tikhonov") for _ in range(3)]
    three[1].data_scale = 4.0
    prior = PlanePriors(three, CUBE)
    highest = priors.NoiseSchedule().max_noise_level
    for first, expected in ((None, highest / 4), (1e3, highest / 4), (2.0, 2.0)):
        levels = prior.levels(5, first)
        assert levels[0] == pytest.approx(expected)
        assert len(levels) == 5 and np.all(np.diff(levels) < 0)


def test_white_noise_has_unit_variance_per_component_and_a_seed_per_sample():
    like = np.zeros((2, 20, 30, 25), np.complex64)
    noise = WhiteNoise(5, 0, like)
    start = noise.start()
    assert start.shape == like.shape and start.dtype == np.complex64
    drawn = noise.draw((40, 30, 20))
    for values in (start, drawn):
        np.testing.assert_allclose([values.real.std(), values.imag.std()], 1, atol=0.02)
        assert abs(np.mean(values.real * values.imag)) < 0.02
    assert nrmse(noise.draw(), start) > 1
    np.testing.assert_array_equal(WhiteNoise(5, 0, like).start(), start)
    for other in ((5, 1), (6, 0)):
        assert nrmse(WhiteNoise(*other, like).start(), start) > 1


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_image_of_two_sets_is_denoised_plane_by_plane(rng, plane):
    state, level = 3 * white(rng, 2, 9, 8, 10).astype(np.complex64), 0.7
    sides = [n for axis, n in enumerate(state.shape[1:]) if axis != plane]
    variance = rng.uniform(0.1, 2, sides)
    model = priors.GaussianPrior(np.zeros(sides), variance=variance)
    model.data_scale = 2.0
    prior = PlanePriors(model, CUBE)
    found = prior.denoise(state, plane, level)
    variance = np.expand_dims(variance, plane)
    assert found.dtype == np.complex64 and prior.evaluations == 2 * CUBE.shape[plane]
    assert nrmse(found, state * variance / (variance + level**2)) < 1e-5


# ---- what the data say -------------------------------------------------------------------------------------


def test_error_of_estimates_is_measured_with_the_data():
    squares = []
    for seed in range(8):
        scan = gaussian_scan(seed=seed)
        problem = Problem.of(scan, "test")
        expected = np.full((1, *scan.shape), 1 / problem.scale, np.complex64)  # of the prior, hence wrong by SPREAD
        squares.append(DataResidual(problem).mean_square(expected) * problem.scale**2)
    assert np.mean(squares) == pytest.approx(SPREAD**2, rel=0.1)


def test_trace_counts_all_sets_of_maps():
    scan = gaussian_scan((8, 8, 8), sets=2)
    assert DataResidual(Problem.of(scan, "test")).trace == pytest.approx(
        np.linalg.norm(encoding_matrix(scan)) ** 2, rel=1e-4
    )


@pytest.mark.parametrize("weight_factor", [1.0, 4.0])
def test_perturbation_has_the_covariance_of_the_error(problem, normal, weight_factor):
    rng, variance, error = np.random.default_rng(0), DataResidual(problem).variance, 0.3
    weight = weight_factor * variance / error**2

    def draw(shape=problem.backprojection.shape):
        return white(rng, *shape).astype(np.complex64)

    guess = guess_of(problem, np.zeros(problem.encoding.ishape, np.complex64), error, weight)
    drawn = np.array([perturbation(problem, guess, 20, draw).ravel() for _ in range(120)])
    inverse = np.linalg.inv(normal + weight * np.eye(len(normal)))
    covariance = inverse @ (variance * normal + (weight * error) ** 2 * np.eye(len(normal))) @ inverse
    if weight_factor == 1:
        np.testing.assert_allclose(
            covariance, np.linalg.inv(normal / variance + np.eye(len(normal)) / error**2), atol=1e-8
        )
    basis = np.linalg.eigh(normal)[1]
    energies = np.mean(np.abs(drawn @ basis.conj()) ** 2, axis=0) / 2
    expected = np.sum(basis.conj() * (covariance @ basis), axis=0).real
    for part in np.array_split(np.arange(len(expected)), 4):  # by how well the data know the directions
        assert np.sum(energies[part]) == pytest.approx(np.sum(expected[part]), rel=0.035)


def test_data_step_starts_with_the_last_correction(problem, rng):
    clean = white(rng, *problem.encoding.ishape).astype(np.complex64)
    weight = 0.01 * problem.lipschitz
    converged = WarmDataStep(problem, 60)(guess_of(problem, clean, 0.1, weight))
    step = WarmDataStep(problem, 2)
    errors = [nrmse(step(guess_of(problem, clean, 0.1, weight)), converged) for _ in range(6)]
    assert np.all(np.diff(errors) < 0) and errors[-1] < 0.3 * errors[0]


# ---- statistics --------------------------------------------------------------------------------------------


def test_statistics_are_those_of_numpy(rng):
    estimates, volumes = (
        white(rng, 7, 2, 4, 5, 6).astype(np.complex64),
        3 + white(rng, 7, 2, 4, 5, 6).astype(np.complex64),
    )
    samples = Samples(SimpleNamespace(volume=lambda image: 2 * image[0]))
    assert samples.mean(estimates) is estimates and samples.extras() == {}
    for number, (estimate, volume) in enumerate(zip(estimates, volumes, strict=True), 1):
        samples.add(estimate, volume)
        np.testing.assert_allclose(samples.mean(None), estimates[:number].mean(0), atol=1e-6)
        assert (number < 2) == (samples.extras() == {})
    found = samples.extras()["deviation"]
    parts = np.stack([volumes[:, 0].real, volumes[:, 0].imag])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 2 * np.sqrt(parts.var(1, ddof=1).mean(0)), rtol=1e-4)


# ---- total variation across slices -------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [-3, -2, -1])
def test_differences_and_their_adjoint(rng, axis):
    volume = white(rng, 2, 4, 5, 6).astype(np.complex64)
    field = white(rng, *differences(volume, axis).shape).astype(np.complex64)
    np.testing.assert_array_equal(differences(volume, axis), np.diff(volume, axis=axis))
    left, right = np.vdot(field, differences(volume, axis)), np.vdot(differences_adjoint(field, axis), volume)
    assert left == pytest.approx(right, rel=1e-5)


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_mbir_data_step_ends_at_the_minimum(problem, normal, rng, plane):
    # Where |A x - y|^2 + w |x - x0|^2 + 2 w tv c sum |D x| is least, its smooth part has the gradient -w tv c D^H p
    # with |p| <= 1, and p = D x / |D x| where that is not zero.
    shape, tv, error = problem.encoding.ishape, 0.4, 0.5
    clean = (1 + 0.3 * white(rng, *shape)).astype(np.complex64)
    weight = 0.3 * problem.lipschitz
    step = DiffusionMBIR(tv=tv, cg_steps=8).data_consistency(problem, None)
    for _ in range(150):
        x = step(guess_of(problem, clean, error, weight, plane))
    gradient = (normal @ x.ravel()).reshape(shape) - problem.backprojection + weight * (x - clean)
    dual = np.cumsum(np.moveaxis(gradient[0], plane, 0), axis=0) / (weight * tv * error)
    assert np.abs(dual[-1]).max() < 1e-2
    across = np.diff(np.moveaxis(x[0], plane, 0), axis=0)
    assert np.abs(dual[:-1]).max() < 1.02
    apart = np.abs(across) > 0.05
    assert 0.1 < apart.mean() < 0.9  # some neighbours are fused, some are not
    assert nrmse(dual[:-1][apart], (across / np.maximum(np.abs(across), 1e-9))[apart]) < 0.03


# ---- GPU ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", [DDS, TPDM, DiffusionMBIR])
@pytest.mark.parametrize("sets", [1, 2])
def test_samplers_on_the_stand_in_for_a_gpu(monkeypatch, solver, sets):
    pretend_cupy.install(monkeypatch)
    send_noise(monkeypatch)
    scan = make_scan(shape=(12, 20, 16), fraction=0.4)
    if sets == 2:
        scan = scan.evolve("sets", maps=np.stack([scan.maps, 0.3 * scan.maps[::-1]]))
    sampler = solver(prior=OnAnyDevice(), max_iter=4, samples=2)
    here, there = sampler(scan), sampler(scan.to("cuda"))
    assert type(there.volume) is np.ndarray
    assert nrmse(there.volume, here.volume) < 1e-3
    assert nrmse(there.extras["deviation"], here.extras["deviation"]) < 1e-3


def test_measured_samples_are_in_the_order_of_the_matrix():
    scan = gaussian_scan()
    problem = Problem.of(scan, "test")
    a, y = encoding_matrix(scan), measured(scan)
    back = (a.conj().T @ y).reshape(scan.shape)
    assert nrmse(problem.backprojection / np.linalg.norm(problem.backprojection), back / np.linalg.norm(back)) < 1e-5
    assert len(true_priors(scan)) == 3 and problem.samples == len(y)
