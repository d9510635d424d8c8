"""What a result says about itself: does it explain the data, and which part of it do the data not determine?"""

from __future__ import annotations

import numpy as np
import pytest
from solver_scans import centred_fft, make_scan, nrmse

from mrrecon import Reconstruction, io, metrics, operators, resolution
from mrrecon.priors import GaussianPrior
from mrrecon.simulation import simulate
from mrrecon.solvers import DDS, CGSense, Variational
from mrrecon.solvers.parts.error_map import mean_error, neighbourhood, with_misfit
from mrrecon.solvers.parts.influence import prior_influence
from mrrecon.solvers.parts.problem import Problem

AXES = (0, 1, 2)


def known_noise(snr):
    """A scan that knows its noise exactly, as whitened scans do."""
    scan = make_scan(snr=snr)
    return scan.evolve("noise known", noise_covariance=np.eye(scan.n_coils, dtype=np.complex64) / snr**2)


def test_chi_squared_of_the_truth_is_one():
    scan = known_noise(20)
    problem = Problem.of(scan, "test")
    truth = scan.reference[None] / np.float32(problem.scale)
    assert problem.chi_squared(truth) == pytest.approx(1, abs=0.02)
    assert problem.chi_squared(0.8 * truth) > 1.5


def test_chi_squared_is_recorded_and_tells_a_prior_that_overrules_the_data():
    scan = known_noise(20)
    plain = CGSense(max_iter=40)(scan)
    assert 0.5 < plain.metrics["chi_squared"] < 1.1
    assert CGSense(lam=10.0)(scan).metrics["chi_squared"] > 2 * plain.metrics["chi_squared"]


def test_chi_squared_survives_the_file(tmp_path):
    result = CGSense(max_iter=3)(make_scan())
    assert Reconstruction.load(result.save(tmp_path / "r.h5")).metrics == result.metrics


def test_prior_influence_is_what_was_not_measured():
    # With one coil of uniform sensitivity A^H A is a projection in k-space, and the map has a closed form.
    scan = make_scan(snr=30, coils=1)
    scan = scan.evolve("uniform", maps=np.ones_like(scan.maps))
    problem = Problem.of(scan, "test")
    image = scan.reference[None] / np.float32(problem.scale)
    ridge = problem.noise**2 / problem.power
    shares = np.where(scan.mask, ridge / (1 + ridge), 1.0)
    expected = np.fft.fftshift(
        np.fft.ifftn(np.fft.ifftshift(shares * centred_fft(image[0], AXES)), norm="ortho", axes=AXES)
    )
    assert nrmse(prior_influence(problem, image)[0], expected) < 1e-3


def test_prior_influence_grows_with_the_acceleration():
    def share(fraction):
        result = Variational(prior="tikhonov", max_iter=3)(make_scan(snr=100, fraction=fraction))
        return np.linalg.norm(result.extras["prior_influence"]) / np.linalg.norm(result.volume)

    full, half, tenth = share(1.0), share(0.5), share(0.1)
    assert full < 0.01 and half > 1.5 * full and tenth > 2 * half, (full, half, tenth)


# ---- error maps --------------------------------------------------------------------------------------------


def error_share(scan, prior="total-variation"):
    """Error map over signal, root mean squares in the object."""
    result = Variational(prior=prior, max_iter=6)(scan)
    inside = np.abs(scan.reference) > 0.2
    return np.sqrt(np.mean(result.extras["error"][inside] ** 2) / np.mean(np.abs(scan.reference[inside]) ** 2))


def test_error_map_grows_with_acceleration_and_noise():
    few, many = error_share(make_scan(snr=40, fraction=0.15)), error_share(make_scan(snr=40, fraction=0.6))
    loud = error_share(make_scan(snr=10, fraction=0.6))
    assert few > 1.7 * many and loud > 1.7 * many, (few, many, loud)


def test_error_map_is_of_the_image_whatever_the_method():
    scan = known_noise(20)
    maps = [solver(prior="tikhonov", max_iter=4)(scan).extras["error"] for solver in (Variational, DDS)]
    for found in maps:
        assert found.shape == scan.shape and found.dtype == np.float32 and (found >= 0).all() and found.any()
    assert "error" not in CGSense(max_iter=3)(scan).extras


@pytest.mark.parametrize(("budget", "there"), [(None, True), (1e6, True), (1e-6, False)])
def test_error_map_is_made_if_there_is_time(budget, there):
    result = Variational(prior="tikhonov", max_iter=3, time_budget=budget)(make_scan())
    assert ("error" in result.extras) == there


def test_error_map_asks_only_planes_that_the_method_asked():
    shapes = [[n for axis, n in enumerate((20, 32, 28)) if axis != plane] for plane in range(3)]
    prior = GaussianPrior(np.zeros(shapes[1]), variance=0.5)  # knows slices of one plane
    assert DDS(prior=prior, plane=1, max_iter=3)(make_scan()).extras["error"].any()


def test_error_map_is_larger_where_coils_see_less():
    scan = known_noise(20)
    faint = np.where(np.arange(scan.shape[0]) < scan.shape[0] // 2, 0.25, 1)[:, None, None]
    scan = scan.evolve("faint", maps=(scan.maps * faint).astype(np.complex64))
    found = Variational(prior="tikhonov", max_iter=4)(scan).extras["error"]
    assert np.mean(found[:6]) > 2 * np.mean(found[-6:])


def test_misfit_counts_as_noise_where_it_is_more():
    scan = known_noise(20)
    problem = Problem.of(scan, "test")
    truth = scan.reference[None] / np.float32(problem.scale)
    wrong = 0.8 * truth
    assert with_misfit(problem, truth).noise == pytest.approx(problem.noise, rel=0.02)
    assert with_misfit(problem, wrong).noise == pytest.approx(problem.noise * problem.chi_squared(wrong) ** 0.5)


def test_neighbourhood_keeps_what_is_even_and_averages_what_is_not(rng):
    inside = np.zeros((20, 24, 18), bool)
    inside[3:, 2:20, 4:] = True
    np.testing.assert_allclose(neighbourhood(np.float32(4) * inside), 2.0 * inside, rtol=1e-5)
    squares = (rng.exponential(2.0, (40, 40, 40))).astype(np.float32)
    found = neighbourhood(squares)
    assert np.mean(found**2) == pytest.approx(squares.mean(), rel=0.02)
    voxels = (4 * np.pi * 1.5**2) ** 1.5  # that a Gaussian window averages
    assert (found[8:-8, 8:-8, 8:-8] ** 2).std() == pytest.approx(squares.std() / voxels**0.5, rel=0.2)


def test_mean_error_is_that_of_the_bright():
    image, error = np.ones((1, 4, 4, 4), np.complex64), np.full((4, 4, 4), 2.0, np.float32)
    image[0, 2:], error[2:] = 1e-9, 100.0
    assert mean_error(error, image) == pytest.approx(2.0, rel=1e-3)
    assert mean_error(error, 0 * image) == 0


@pytest.mark.data
def test_error_map_is_right_on_a_head_that_nothing_was_fitted_to(data_dir):
    volume, grid = io.read_volume(data_dir / "validation" / "brain_t2_ljmni26.nii.gz")
    volume, grid = resolution.change_resolution(volume, grid, (5.0, 5.0, 5.0))
    mask = operators.make_mask("poisson", volume.shape[1:], 6)
    scan = simulate(np.maximum(volume, 0), grid, n_coils=8, snr=40, mask=mask, seed=3).whiten().calibrate()
    result = Variational(prior="brain-small")(scan)
    inside = metrics.object_region(np.abs(scan.reference))
    error = np.abs(np.abs(result.volume) - np.abs(scan.reference))[inside]
    expected = result.extras["error"][inside]
    assert np.sqrt(np.mean(expected**2) / np.mean(error**2)) == pytest.approx(1, abs=0.25)
    assert np.mean(error < 1.96 * expected) == pytest.approx(0.95, abs=0.07)
    fifths = np.array_split(np.argsort(expected), 5)
    ratios = [np.sqrt(np.mean(expected[part] ** 2) / np.mean(error[part] ** 2)) for part in fifths]
    assert min(ratios) > 0.7 and max(ratios) < 1.4, ratios
