"""Ramp-sampled readouts: positions against the integral of the gradient, resampling against analytic signals."""

import numpy as np
import pytest

from mrrecon.errors import DataError
from mrrecon.io.regridding import RampSampling, noise_gain, positions, resampling_matrix

LOBES = [
    RampSampling("trapezoid", 160, 240, 160, 32, 496),  # of an ep2d_bold
    RampSampling("sinusoid", 160, 240, 160, 32, 496),
    RampSampling("trapezoid", 240, 0, 240, 10, 460),
    RampSampling("sinusoid", 300, 100, 300, 20, 660),
    RampSampling("trapezoid", 100, 300, 200, 40, 500),  # neither the gradient nor the sampling symmetric
]


def gradient(lobe, time):
    """Strength of the gradient, of unit height, from its definition."""
    end = lobe.up + lobe.flat + lobe.down
    fraction = np.minimum(1, np.minimum(time / lobe.up, (end - time) / lobe.down))
    return fraction if lobe.ramps == "trapezoid" else np.sin(np.pi / 2 * fraction)


@pytest.mark.parametrize("lobe", LOBES)
def test_positions_are_the_integral_of_the_gradient(lobe):
    n, fine = 128, 200_000
    end = lobe.up + lobe.flat + lobe.down
    time = (np.arange(fine) + 0.5) * end / fine
    area = np.cumsum(gradient(lobe, time)) * end / fine
    at = np.interp(lobe.delay + (np.arange(n) + 0.5) * lobe.duration / n, time, area) - area[-1] / 2
    sampled = np.diff(np.interp([lobe.delay, lobe.delay + lobe.duration], time, area))[0]
    np.testing.assert_allclose(positions(lobe, n), at * n / sampled, atol=2e-3)


@pytest.mark.parametrize("lobe", LOBES)
def test_resampled_points_and_boxes_are_those_of_equal_steps(lobe, rng):
    """Points and a box anywhere in the middle half of the field of view, to 0.1 % of their signal's size."""
    n = 160
    at = positions(lobe, n)
    center = round(n / 2 - (at[0] + at[-1]) / 2)
    where = rng.uniform(-0.25, 0.25, 30)
    weight = rng.standard_normal(30) + 1j * rng.standard_normal(30)

    def signal(k):
        return np.exp(-2j * np.pi * np.outer(k, where)) @ weight + 20 * np.sinc(0.3 * k) * np.exp(0.3j * k)

    found = resampling_matrix(lobe, n, center) @ signal(at)
    expected = signal(np.arange(n) - center)
    error = np.abs(found - expected) / np.sqrt((np.abs(expected) ** 2).mean())
    assert error.max() < 1e-2 and np.sqrt((error**2).mean()) < 1e-3
    linear = np.interp(np.arange(n) - center, at, signal(at))
    assert np.abs(linear - expected).max() > 20 * np.abs(found - expected).max()  # what others do


def test_noise_gain_is_that_of_simulated_noise(rng, make):
    lobe, n, kept = LOBES[0], 160, 80
    matrix = resampling_matrix(lobe, n, 80)
    noise = (rng.standard_normal((2000, n)) + 1j * rng.standard_normal((2000, n))) / np.sqrt(2)
    image = make.ifft(noise @ matrix.T, (1,))[:, n // 4 : n // 4 + kept]
    assert noise_gain(matrix, kept) == pytest.approx((np.abs(image) ** 2).mean(), rel=0.02)
    assert 1.05 < noise_gain(matrix, kept) < 1.2


def test_without_ramps_nothing_changes():
    matrix = resampling_matrix(RampSampling("trapezoid", 100, 500, 100, 100, 500), 64, 31.5)
    np.testing.assert_allclose(matrix, np.eye(64), atol=1e-3)


def test_sampling_outside_the_gradient_is_refused():
    with pytest.raises(DataError, match=r"600 us that starts after 32 us does not lie in a gradient"):
        RampSampling("trapezoid", 160, 240, 160, 32, 600)
