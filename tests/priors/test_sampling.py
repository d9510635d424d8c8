"""DDIM against distributions that are known, its formula by hand, reproducibility, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mrrecon.errors import PriorInputError
from mrrecon.priors.analytic import GaussianMixturePrior, GaussianPrior
from mrrecon.priors.base import SlicePrior
from mrrecon.priors.classical import TikhonovPrior, TotalVariationPrior, WaveletPrior
from mrrecon.priors.condition import Condition
from mrrecon.priors.sampling import ddim_step, sample
from mrrecon.priors.schedule import NoiseSchedule, complex_noise

SCHEDULES = {
    "linear": NoiseSchedule(),
    "cosine": NoiseSchedule("cosine", steps=400),
    "table": NoiseSchedule("table", alpha_bar=tuple(np.geomspace(0.999, 1e-4, 120))),
}


@pytest.fixture
def gaussian():
    mean = np.array([[1 + 1j, 0, -0.5j]])
    return GaussianPrior(mean, variance=np.array([[0.02, 0.3, 1.5]]))


# ---- the formula ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("eta", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize(("t", "following"), [(948, 936), (24, 12), (500.5, 3.25)])
def test_step_is_the_published_formula(rng, eta, t, following, scale):
    schedule = NoiseSchedule()
    clean, noise, fresh = (rng.standard_normal((2, 3, 3, 2)) @ [1, 1j] for _ in range(3))
    now, then = schedule.alpha(t) ** 2, schedule.alpha(following) ** 2  # alpha bar, as published
    spread = math.sqrt((1 - then) / (1 - now)) * math.sqrt(1 - now / then)
    state = math.sqrt(then) * scale * clean + math.sqrt(1 - then - eta**2 * spread**2) * noise + eta * spread * fresh
    levels = (schedule.noise_level(t) / scale, schedule.noise_level(following) / scale)
    found = ddim_step(clean, noise, *levels, eta, fresh)
    np.testing.assert_allclose(found, state / (math.sqrt(then) * scale), rtol=1e-6)


def test_full_eta_is_the_posterior_variance_of_ddpm():
    schedule, zero, one = NoiseSchedule(), np.zeros((1, 1, 1)), np.ones((1, 1, 1))
    betas, t = np.linspace(1e-4, 0.02, 1000), 400
    bars = np.cumprod(1 - betas)
    expected = math.sqrt((1 - bars[t - 1]) / (1 - bars[t]) * betas[t] / bars[t - 1])
    levels = schedule.noise_level(t), schedule.noise_level(t - 1)
    assert ddim_step(zero, zero, *levels, 1.0, one).item() == pytest.approx(expected, rel=1e-6)


def test_last_step_is_the_estimate_itself(rng):
    clean, noise = rng.standard_normal((2, 1, 4, 4))
    np.testing.assert_array_equal(ddim_step(clean, noise, 0.1, 0.0, 1.0, None), clean)


def test_without_fresh_noise_a_perfect_prediction_stays_on_its_line(rng):
    clean, noise = (rng.standard_normal((2, 4, 4, 2)) @ [1, 1j] for _ in range(2))
    np.testing.assert_allclose(ddim_step(clean, noise, 20.0, 0.3), clean + 0.3 * noise, rtol=1e-6)


# ---- times ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", ["time", "noise-level"])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_levels_fall_from_the_highest_to_the_least(schedule, spacing):
    prior = TikhonovPrior()
    prior.schedule, prior.data_scale = schedule, 2.0
    levels = prior.levels(30, spacing=spacing)
    assert len(levels) == 30 and np.all(np.diff(levels) < 0)
    assert levels[0] == pytest.approx(schedule.max_noise_level / 2)
    assert levels[-1] == pytest.approx(schedule.noise_level(0) / 2)
    even = schedule.time(2 * np.array(levels)) if spacing == "time" else np.log(levels)
    np.testing.assert_allclose(np.diff(even), np.mean(np.diff(even)), rtol=1e-6)
    assert prior.levels(5, 0.2, spacing)[0] == pytest.approx(0.2)
    assert prior.levels(5, 1e6, spacing)[0] == pytest.approx(levels[0])
    assert len(prior.levels()) == schedule.steps and prior.levels()[-1] == pytest.approx(levels[-1])


# ---- distributions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", ["time", "noise-level"])
def test_deterministic_samples_of_a_gaussian_become_exact_as_steps_grow(gaussian, spacing):
    """Solution of the probability flow from the noise level l: ``m + sqrt(v / (v + l^2)) (z_T - m)``."""
    shape = (50, 1, 3)
    start = complex_noise(shape, torch.Generator().manual_seed(6)).numpy()
    level = gaussian.levels(1)[0]
    mean, variance = gaussian.mean.numpy(), np.diag(gaussian.covariance).real.reshape(1, 3)
    exact = mean + np.sqrt(variance / (variance + level**2)) * (level * start - mean)
    errors = [abs(sample(gaussian, shape, 6, steps=n, spacing=spacing) - exact).max() for n in (50, 200, 800)]
    assert errors[1] < errors[0] / 2.5 and errors[2] < errors[1] / 2.5  # first order in the step
    assert errors[2] < 0.05


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_samples_of_a_mixture_have_its_weights_means_and_variances(eta, schedule):
    means, weights = np.array([[[1.5 + 0.5j, -1]], [[-1, 1j]], [[0.5 - 1.5j, 1 + 1j]]]), [0.2, 0.5, 0.3]
    variances = np.array([[[0.04, 0.1]], [[0.09, 0.02]], [[0.05, 0.05]]])
    prior, number = GaussianMixturePrior(weights, means, variances), 3000
    prior.schedule, prior.data_scale = schedule, 0.8
    drawn = sample(prior, (number, 1, 2), 11, steps=200, eta=eta, spacing="noise-level")
    nearest = (abs(drawn[:, None] - means) ** 2).sum((2, 3)).argmin(1)
    for k, weight in enumerate(weights):
        mine = drawn[nearest == k].astype(complex)
        assert len(mine) / number == pytest.approx(weight, abs=5 * math.sqrt(weight * (1 - weight) / number))
        spread = 5 * np.sqrt(variances[k] / len(mine)) + 0.02
        assert np.all(abs((mine.mean(0) - means[k]).real) < spread) and np.all(
            abs((mine.mean(0) - means[k]).imag) < spread
        )
        away = (mine - mine.mean(0)).reshape(-1, 2) / np.sqrt(variances[k].ravel())
        covariance = away.T @ away.conj() / len(mine) / 2
        np.testing.assert_allclose(covariance, np.eye(2), atol=0.07 + 5 / math.sqrt(len(mine)))
        np.testing.assert_allclose(away.T @ away / len(mine) / 2, 0, atol=0.07 + 5 / math.sqrt(len(mine)))


def test_correlated_pixels_come_out_correlated():
    spectrum = 0.5 / (
        0.05 + 4 * np.sin(np.pi * np.fft.fftfreq(6))[:, None] ** 2 + 4 * np.sin(np.pi * np.fft.fftfreq(4)) ** 2
    )
    prior = GaussianPrior(np.zeros((6, 4)), spectrum=spectrum)
    drawn = sample(prior, (1500, 6, 4), 2, steps=150, eta=1.0, spacing="noise-level")
    power = (abs(np.fft.fft2(drawn, norm="ortho")) ** 2).mean(0) / 2
    np.testing.assert_allclose(power / spectrum, 1, atol=0.25)
    assert np.mean(power / spectrum) == pytest.approx(1, abs=0.1)


# ---- behaviour -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_the_seed_decides_and_batches_do_not(gaussian, eta):
    drawn = sample(gaussian, (5, 1, 3), 3, steps=8, eta=eta)
    assert isinstance(drawn, np.ndarray) and drawn.dtype == np.complex64 and drawn.shape == (5, 1, 3)
    np.testing.assert_array_equal(drawn, sample(gaussian, (5, 1, 3), 3, steps=8, eta=eta))
    np.testing.assert_allclose(drawn, sample(gaussian, (5, 1, 3), 3, steps=8, eta=eta, batch=2), rtol=1e-6)
    assert abs(drawn - sample(gaussian, (5, 1, 3), 4, steps=8, eta=eta)).min() > 0
    state = torch.get_rng_state()
    one = sample(gaussian, (1, 3), 3, steps=8, eta=eta)
    np.testing.assert_array_equal(one, sample(gaussian, (1, 1, 3), 3, steps=8, eta=eta)[0])
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("prior", [TotalVariationPrior(), WaveletPrior(), TikhonovPrior()], ids=lambda p: p.name)
@pytest.mark.parametrize("steps", [1, 6])
def test_classical_priors_can_be_sampled(prior, steps):
    drawn = sample(prior, (2, 9, 11), 0, steps=steps, eta=0.5)
    assert drawn.shape == (2, 9, 11) and np.isfinite(drawn).all()


def test_the_callback_sees_each_step_and_the_last_is_the_result(gaussian):
    seen, images = [], []

    def callback(status):
        seen.append((status.iteration, status.total, status.noise_level))
        images.append(status.image())

    gaussian.data_scale = 0.5
    drawn = sample(gaussian, (2, 1, 3), 0, steps=4, spacing="time", callback=callback)
    levels = [gaussian.schedule.noise_level(t) / 0.5 for t in (999.0, 666.0, 333.0, 0.0)]
    assert [s[:2] for s in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [s[2] for s in seen] == pytest.approx(levels)
    assert all(i.shape == drawn.shape and i.dtype == np.complex64 for i in images)
    np.testing.assert_array_equal(images[-1], drawn)


def test_each_batch_has_its_part_of_the_condition():
    class Remembers(SlicePrior):
        depths = ()

        def _denoise(self, noisy, sigma, condition):
            self.depths += (condition.depth.tolist(),)
            return noisy / (1 + sigma**2)

    prior = Remembers()
    sample(prior, (3, 2, 2), 0, steps=1, batch=2, condition=Condition(depth=np.array([-1.0, 0.0, 1.0])))
    assert prior.depths == ([-1.0, 0.0], [1.0])


def test_sampling_starts_where_it_is_told(gaussian):
    levels = []
    sample(gaussian, (1, 3), 0, steps=3, first=7.5, callback=lambda s: levels.append(s.noise_level))
    assert levels[0] == pytest.approx(7.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": (3,)}, "shape must be"),
        ({"shape": (2, 0, 3)}, "shape must be"),
        ({"shape": (2, 1.5, 3)}, "shape must be"),
        ({"seed": -1}, "seed must be"),
        ({"seed": None}, "seed must be"),
        ({"steps": 0}, "steps must be"),
        ({"steps": 2.5}, "steps must be"),
        ({"eta": -0.1}, "eta must be between 0 and 1"),
        ({"eta": 1.1}, "eta must be between 0 and 1"),
        ({"eta": math.nan}, "eta must be between 0 and 1"),
        ({"first": 0}, "The first noise level must be above 0.01, the last one of"),
        ({"first": math.nan}, "The first noise level must be above"),
        ({"spacing": "log"}, "spacing must be one of noise-level, time"),
        ({"batch": 0}, "batch must be"),
        ({"shape": (2, 4, 4)}, r"slices of \(1, 3\), got \(4, 4\)"),
    ],
)
def test_unusable_settings_are_refused(gaussian, settings, message):
    with pytest.raises(PriorInputError, match=message):
        sample(gaussian, **{"shape": (2, 1, 3), "seed": 0, "steps": 2, **settings})
