"""Noise schedules: the published table, the inverse, states of complex slices, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mrrecon.errors import PriorInputError
from mrrecon.priors.base import SlicePrior
from mrrecon.priors.sampling import sample
from mrrecon.priors.schedule import NoiseSchedule, complex_noise

SCHEDULES = {
    "linear": NoiseSchedule(),
    "short": NoiseSchedule(steps=40, beta_end=0.3),
    "scaled-linear": NoiseSchedule("scaled-linear", beta_start=0.00085, beta_end=0.012),
    "cosine": NoiseSchedule("cosine"),
    "table": NoiseSchedule("table", alpha_bar=(0.99, 0.7, 0.3, 0.02)),
}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


@pytest.mark.parametrize(
    ("t", "alpha", "sigma"),
    [(1, 0.9999, 0.0148), (100, 0.946, 0.324), (200, 0.810, 0.586), (300, 0.628, 0.779), (399, 0.442, 0.897)],
)
def test_default_schedule_has_the_published_table(t, alpha, sigma):
    schedule = NoiseSchedule()
    assert schedule.alpha(t) == pytest.approx(alpha, abs=6e-4)
    assert schedule.sigma(t) == pytest.approx(sigma, abs=6e-4)


@pytest.mark.parametrize("kind", ["linear", "scaled-linear"])
def test_alpha_is_the_product_of_the_steps(kind):
    schedule = NoiseSchedule(kind, steps=50, beta_start=0.01, beta_end=0.16)
    betas = np.linspace(0.01, 0.16, 50) if kind == "linear" else np.linspace(0.1, 0.4, 50) ** 2
    np.testing.assert_allclose(schedule.alpha(np.arange(50)) ** 2, np.cumprod(1 - betas), rtol=1e-12)


def test_cosine_follows_its_formula_until_the_largest_step():
    schedule, t = NoiseSchedule("cosine", steps=1000), np.arange(900)
    f = np.cos(((t + 1) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(schedule.alpha(t) ** 2, f / math.cos(0.008 / 1.008 * math.pi / 2) ** 2, rtol=1e-9)
    steps = 1 - (schedule.alpha(np.arange(1, 1000)) / schedule.alpha(np.arange(999))) ** 2
    assert steps.max() == pytest.approx(0.999)


def test_table_is_taken_as_it_is():
    schedule = SCHEDULES["table"]
    assert schedule.steps == 4
    np.testing.assert_allclose(schedule.alpha(np.arange(-1, 4)) ** 2, [1, 0.99, 0.7, 0.3, 0.02])


@every_schedule
def test_signal_and_noise_powers_add_up_to_one_and_noise_rises(schedule):
    t = np.linspace(-1, schedule.steps - 1, 301)
    np.testing.assert_allclose(schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2, 1)
    np.testing.assert_allclose(schedule.noise_level(t), schedule.sigma(t) / schedule.alpha(t), rtol=1e-9)
    assert np.all(np.diff(schedule.noise_level(t)) > 0)
    assert schedule.noise_level(schedule.steps - 1) == pytest.approx(schedule.max_noise_level)


@every_schedule
def test_time_is_the_inverse_of_noise_level_at_whole_and_broken_times(schedule):
    t = np.concatenate([np.arange(-1.0, schedule.steps), np.linspace(-1, schedule.steps - 1, 777)])
    np.testing.assert_allclose(schedule.time(schedule.noise_level(t)), t, atol=1e-8)


def test_no_noise_is_minus_one_and_too_much_is_the_last_time():
    schedule = NoiseSchedule()
    assert (schedule.alpha(-1), schedule.sigma(-1), schedule.noise_level(-1)) == (1, 0, 0)
    assert schedule.time(0.0) == -1
    assert schedule.time(1e6) == schedule.time(math.inf) == 999
    assert schedule.alpha(5000) == schedule.alpha(999)


@pytest.mark.parametrize("method", ["alpha", "sigma", "noise_level", "time"])
def test_numbers_arrays_and_tensors_agree_and_keep_their_kind(method):
    function, values = getattr(NoiseSchedule(), method), [0.0, 0.37, 1.0, 2.5]
    numbers = [function(v) for v in values]
    assert all(type(n) is float for n in numbers)
    array, tensor = function(np.array(values)), function(torch.tensor(values, dtype=torch.float64))
    assert isinstance(array, np.ndarray) and isinstance(tensor, torch.Tensor)
    np.testing.assert_allclose(array, numbers, rtol=1e-12)
    np.testing.assert_allclose(tensor.numpy(), numbers, rtol=1e-12)


def test_whole_times_of_any_integer_kind():
    schedule = NoiseSchedule()
    for t in (7, np.int64(7), np.asarray(7), torch.tensor(7), torch.tensor(7, dtype=torch.int32)):
        assert float(schedule.alpha(t)) == pytest.approx(schedule.alpha(7.0))


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("times", [11, np.int64(11), [3, 40, 0], np.array([3.5, 900.0, 0.0]), torch.tensor([3, 40, 0])])
def test_states_go_back_and_forth_with_one_time_per_slice(rng, kind, times):
    schedule = NoiseSchedule()
    clean, noise = (kind((rng.standard_normal((3, 4, 10)).view(complex)).astype(np.complex64)) for _ in range(2))
    state = schedule.add_noise(clean, noise, times)
    assert type(state) is type(clean) and state.dtype == clean.dtype
    for i, t in enumerate(np.broadcast_to(np.asarray(times), 3)):
        expected = schedule.alpha(float(t)) * clean[i] + schedule.sigma(float(t)) * noise[i]
        np.testing.assert_allclose(np.asarray(state[i]), np.asarray(expected), rtol=1e-5, atol=1e-6)
    back = schedule.clean(state, noise, times)
    np.testing.assert_allclose(np.asarray(back), np.asarray(clean), atol=1e-3)  # alpha is 0.02 at t = 900
    again = schedule.noise(state, clean, times)
    np.testing.assert_allclose(np.asarray(again), np.asarray(noise), atol=1e-4)


def test_double_precision_states_stay_double(rng):
    schedule, x = NoiseSchedule(), rng.standard_normal((2, 3, 8)).view(complex)
    state = schedule.add_noise(x, x[::-1], [10, 500])
    assert state.dtype == np.complex128
    np.testing.assert_allclose(schedule.clean(state, x[::-1], [10, 500]), x, rtol=1e-12)


def test_number_of_times_must_be_that_of_slices():
    with pytest.raises(PriorInputError, match="2 times for 3 slices"):
        NoiseSchedule().add_noise(np.zeros((3, 4, 4)), np.zeros((3, 4, 4)), [1, 2])


def test_times_are_evenly_spaced_and_fall():
    schedule = NoiseSchedule()
    assert schedule.times(3) == [999.0, 499.5, 0.0]
    assert schedule.times(4, first=30, last=15) == [30.0, 25.0, 20.0, 15.0]
    assert schedule.times(1, first=400) == [400.0]
    with pytest.raises(PriorInputError, match="at least 1"):
        schedule.times(0)


@every_schedule
def test_settings_make_an_equal_schedule(schedule):
    again = NoiseSchedule(**schedule.to_dict())
    assert again == schedule
    assert again.alpha(2.5) == schedule.alpha(2.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "quadratic"}, "no noise schedule 'quadratic'"),
        ({"steps": 1}, "at least 2"),
        ({"steps": 10.5}, "whole number"),
        ({"beta_start": 0.0}, "beta_start"),
        ({"beta_start": 0.03}, "beta_start"),
        ({"beta_end": 1.0}, "beta_end"),
        ({"beta_end": math.nan}, "beta_end"),
        ({"kind": "table"}, "alpha_bar must be given"),
        ({"alpha_bar": (0.9, 0.1)}, "alpha_bar must be given"),
        ({"kind": "table", "alpha_bar": ()}, "at least two different values"),
        ({"kind": "table", "alpha_bar": (0.9,)}, "at least two different values"),
        ({"kind": "table", "alpha_bar": (0.9, 0.9, 0.9)}, "at least two different values"),
        ({"kind": "table", "alpha_bar": (1.0, 0.5)}, "at least two different values"),
        ({"kind": "table", "alpha_bar": (0.5, 0.0)}, "at least two different values"),
        ({"kind": "table", "alpha_bar": (0.5, 0.9)}, "alpha_bar must fall.* turn round what rises"),
        ({"kind": "table", "alpha_bar": (0.9, 0.5, 0.6, 0.1)}, "alpha_bar must fall"),
        ({"kind": "table", "alpha_bar": (1.1, 0.5, 0.1)}, "alpha_bar must fall"),
        ({"kind": "table", "alpha_bar": (0.9, 0.5, -0.1)}, "alpha_bar must fall"),
        ({"kind": "table", "alpha_bar": (0.9, math.nan, 0.1)}, "alpha_bar must be a list of finite numbers"),
        ({"kind": "table", "alpha_bar": ((0.9, 0.5), (0.4, 0.1))}, r"finite numbers, got shape \(2, 2\)"),
        ({"kind": "table", "alpha_bar": "0.9"}, "alpha_bar must be a list of"),
        ({"kind": "table", "alpha_bar": (0.9, None)}, "alpha_bar must be a list of"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(PriorInputError, match=message):
        NoiseSchedule(**settings)


# ---- tables of other packages ----------------------------------------------------------------------------------

DDPM = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
TABLES = {  # usable, but with repeats, ones or zeros
    "ones first": np.concatenate([[1.0], DDPM[:-1]]),
    "many ones": np.concatenate([np.ones(7), DDPM]),
    "zero last": np.append(DDPM, 0.0),
    "zeros last": np.concatenate([DDPM, np.zeros(3)]),
    "half precision": np.cumprod((1 - np.linspace(1e-4, 0.02, 1000)).astype(np.float16), dtype=np.float16),
    "half precision, rounded": DDPM.astype(np.float16),
    "bfloat16": torch.from_numpy(DDPM).bfloat16(),
    "levels": np.array([0.9, 0.9, 0.5, 0.5, 0.5, 0.1, 0.1]),
    "single precision": DDPM.astype(np.float32),
    "rounding": np.array([1 + 1e-7, 0.9, 0.5, 0.5 + 1e-8, 0.1]),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_usable_tables_have_their_own_values_and_a_continuous_inverse(table):
    schedule = NoiseSchedule(kind="table", alpha_bar=table)
    values = np.asarray(table.double() if isinstance(table, torch.Tensor) else table, np.float64)
    values = values[values > 0]
    t = np.arange(len(values))
    assert schedule.steps == len(values)
    np.testing.assert_allclose(schedule.alpha(t) ** 2, values, rtol=2e-7)
    np.testing.assert_allclose(schedule.sigma(t) ** 2, 1 - values, atol=2e-7)
    assert schedule.max_noise_level == pytest.approx(math.sqrt(1 / values[-1] - 1))
    levels = np.concatenate([np.geomspace(1e-4, schedule.max_noise_level, 500), schedule.noise_level(t)])
    for kind in (np.asarray, torch.as_tensor):
        times = schedule.time(kind(levels))
        assert np.isfinite(np.asarray(times)).all()
        np.testing.assert_allclose(np.asarray(schedule.noise_level(times)), levels, rtol=1e-6, atol=1e-9)
    rising = np.asarray(schedule.time(np.sort(levels)))
    assert np.all(np.diff(rising) >= 0) and rising[-1] == schedule.steps - 1
    assert schedule.noise_level(schedule.time(0.0)) == 0
    first = schedule.first_time
    assert schedule.noise_level(first) > 0 and (first == 0 or schedule.noise_level(first - 1) == 0)
    assert NoiseSchedule(**schedule.to_dict()) == schedule


@pytest.mark.parametrize("spacing", ["noise-level", "time"])
@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_samplers_come_down_to_the_first_noise_of_any_table(table, spacing):
    schedule = NoiseSchedule(kind="table", alpha_bar=table)
    levels = schedule.levels(5, spacing=spacing)
    assert levels[0] == pytest.approx(schedule.max_noise_level)
    assert levels[-1] == pytest.approx(schedule.noise_level(schedule.first_time), rel=1e-6) and min(levels) > 0
    prior = Unit()
    prior.schedule = schedule
    drawn = sample(prior, (4, 40, 40), seed=0, steps=200, eta=1.0, spacing=spacing)
    assert np.abs(drawn).max() < 10
    for part in (drawn.real, drawn.imag):  # of N(0, 1), up to what 200 steps leave
        assert part.std() == pytest.approx(1, abs=0.15)


class Unit(SlicePrior):
    """Pixels N(0, 1) per real component."""

    def _denoise(self, noisy, sigma, condition):
        return noisy / (1 + sigma**2)


@pytest.mark.parametrize("kind", [list, np.asarray, torch.as_tensor])
def test_schedules_from_single_steps(kind):
    betas = np.linspace(1e-4, 0.02, 1000)
    schedule = NoiseSchedule.from_betas(kind(betas))
    np.testing.assert_allclose(schedule.noise_level(np.arange(1000)), NoiseSchedule().noise_level(np.arange(1000)))
    assert NoiseSchedule.from_betas([0.0, 0.5, 0.5, 1.0]).alpha_bar == (1.0, 0.5, 0.25)
    for bad in ([0.1, 1.2], [-0.1, 0.5, 0.5], [0.1, math.nan], "few", [[0.1, 0.2]]):
        with pytest.raises(PriorInputError, match="betas must be"):
            NoiseSchedule.from_betas(bad)


@pytest.mark.parametrize("kind", [list, np.asarray, torch.as_tensor])
def test_schedules_from_noise_levels_in_either_order(kind):
    levels = np.geomspace(0.01, 80, 20)
    for given in (levels, levels[::-1].copy(), np.append(levels[::-1], 0.0)):
        schedule = NoiseSchedule.from_noise_levels(kind(given))
        assert schedule.steps == 20
        np.testing.assert_allclose(schedule.noise_level(np.arange(20)), levels, rtol=1e-9)
        np.testing.assert_allclose(schedule.time(levels), np.arange(20), atol=1e-6)
    for bad in ([0.1, -1.0, 2.0], [2.0, math.inf], None, [3.0, 1.0, 2.0]):
        with pytest.raises(PriorInputError):
            NoiseSchedule.from_noise_levels(bad)


@pytest.mark.parametrize("level", [-0.1, math.nan, np.array([0.1, -1.0]), torch.tensor([math.nan])])
def test_impossible_noise_levels_are_refused(level):
    with pytest.raises(PriorInputError, match="Noise levels"):
        NoiseSchedule().time(level)


@pytest.mark.parametrize(("dtype", "real"), [(torch.complex64, torch.float32), (torch.complex128, torch.float64)])
def test_complex_noise_is_white_with_unit_variance_per_part(dtype, real):
    noise = complex_noise((8, 50, 100), torch.Generator().manual_seed(3), dtype)
    assert noise.shape == (8, 50, 100) and noise.dtype == dtype and noise.real.dtype == real
    re, im = noise.real.numpy().ravel(), noise.imag.numpy().ravel()
    spread = 5 / math.sqrt(re.size)  # five standard errors
    assert abs(re.mean()) < spread and abs(im.mean()) < spread
    assert abs(re.var() - 1) < spread * math.sqrt(2) and abs(im.var() - 1) < spread * math.sqrt(2)
    assert abs((re * im).mean()) < spread
    assert abs((re[1:] * re[:-1]).mean()) < spread
    assert torch.equal(noise, complex_noise((8, 50, 100), torch.Generator().manual_seed(3), dtype))
