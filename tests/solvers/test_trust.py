"""What a result says about itself: does it explain the data, and which part of it do the data not determine?"""

from __future__ import annotations

import numpy as np
import pytest
from solver_scans import centred_fft, make_scan, nrmse

from mrrecon import Reconstruction
from mrrecon.solvers import CGSense, Variational
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
