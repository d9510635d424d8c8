"""Posterior samplers: mean and deviation against the exact posterior of a Gaussian prior, and what they share."""

from __future__ import annotations

import os
import signal
from itertools import islice

import numpy as np
import pytest
from gaussian_scans import NOISE, encoding_matrix, exact_posterior, gaussian_scan, measured, true_priors
from solver_scans import make_scan, nrmse

from mrrecon import Reconstruction, priors
from mrrecon.errors import DataError, PriorInputError, SolverError
from mrrecon.grid import Grid
from mrrecon.solvers import DDS, DPS, TPDM, CGSense, DiffusionMBIR, get
from mrrecon.solvers.parts.plane_priors import PlanePriors
from mrrecon.solvers.parts.posterior_steps import WhiteNoise
from mrrecon.solvers.parts.problem import Problem

SAMPLERS = ("dds", "tpdm", "diffusion-mbir", "dps")
SMALL = (12, 20, 16)


class Pixelwise(priors.SlicePrior):
    """Independent pixels, N(0, variance) per real component; notes which planes it is asked about, and may break."""

    name = "pixelwise"

    def __init__(self, variance: float = 0.25, breaks_at: int = 0) -> None:
        self.variance, self.breaks_at = variance, breaks_at
        self.planes: list[int] = []

    def _denoise(self, noisy, sigma, condition):
        self.planes.append(condition.plane)
        broken = float("nan") if len(self.planes) == self.breaks_at else 1.0
        return broken * noisy * self.variance / (self.variance + sigma**2)


@pytest.fixture(scope="module")
def gaussian():
    """A scan of a Gaussian volume, its exact posterior mean and deviation, and its priors."""
    scan = gaussian_scan()
    return scan, *exact_posterior(scan), true_priors(scan)


def stop_at(iteration):
    return lambda status: status.iteration == iteration


# ---- the distribution --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "steps"), [("dds", 2), ("dds", 12), ("tpdm", 12), ("dps", 6)])
def test_mean_and_deviation_are_those_of_the_posterior(gaussian, name, steps):
    scan, mean, deviation, prior = gaussian
    samples = 24
    result = get(name)(prior=prior, max_iter=steps, samples=samples, first_level="highest", cg_steps=12)(scan)
    expected = 2 * deviation**2 / samples  # mean square of the error of a mean of so many samples
    assert np.mean(np.abs(result.volume - mean) ** 2 / expected) == pytest.approx(1, abs=0.3)
    found = result.extras["deviation"]
    assert found.dtype == np.float32
    slabs = [np.sqrt([np.mean(volume[x : x + 3] ** 2) for x in (0, 3, 6)]) for volume in (found, deviation)]
    assert slabs[1][0] > 1.3 * slabs[1][2]  # the maps fade along x
    np.testing.assert_allclose(slabs[0], slabs[1], rtol=0.08)


def test_two_sets_of_maps_are_sampled_together():
    scan = gaussian_scan((8, 8, 8), sets=2)
    mean, deviation = exact_posterior(scan)
    result = TPDM(prior=true_priors(scan), max_iter=9, samples=16, first_level="highest", cg_steps=15)(scan)
    assert result.volume.shape == scan.shape
    assert np.mean(np.abs(result.volume - mean) ** 2 / (2 * deviation**2 / 16)) == pytest.approx(1, abs=0.3)
    found = np.sqrt(np.mean(result.extras["deviation"] ** 2))
    assert found == pytest.approx(np.sqrt(np.mean(deviation**2)), rel=0.08)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sample_explains_the_data_up_to_their_noise(gaussian, name):
    scan, _, _, prior = gaussian
    result = get(name)(prior=prior, max_iter=10, cg_steps=10, **({"tv": 0.01} if name == "diffusion-mbir" else {}))(
        scan
    )
    assert result.metrics["chi_squared"] == pytest.approx(1, abs=0.12)


def test_published_choices_are_the_published_algorithm(gaussian):
    # DDIM of a variance-preserving diffusion with gamma A^H A + I solved exactly, from the same noise, by NumPy.
    scan, _, _, prior = gaussian
    settings = {
        "gamma": 5.0,
        "renoise": "predicted",
        "first_level": "highest",
        "spacing": "time",
        "eta": 0.85,
        "seed": 3,
    }
    result = DDS(prior=prior, plane=0, max_iter=4, cg_steps=25, **settings)(scan)
    unit, noise = Problem.of(scan, "test").scale, WhiteNoise(3, 0, np.zeros(scan.shape, np.complex64))
    a, y = encoding_matrix(scan), measured(scan) / unit
    largest = (np.abs(scan.maps) ** 2).sum(0).max()
    system = 5.0 / largest * a.conj().T @ a + np.eye(a.shape[1])
    mean, variance = 1 / unit, float(prior[0].covariance[0, 0].real)
    alpha_bar = np.append(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)), 1.0)  # the last for -1: clean
    x = np.sqrt(1 - alpha_bar[999]) * noise.start().ravel()
    for t, following in ((999, 666), (666, 333), (333, 0), (0, -1)):
        now, then = alpha_bar[t], alpha_bar[following]
        level = (1 - now) / now
        clean = mean + variance / (variance + level) * (x / np.sqrt(now) - mean)
        predicted = (x - np.sqrt(now) * clean) / np.sqrt(1 - now)
        estimate = np.linalg.solve(system, 5.0 / largest * a.conj().T @ y + clean)
        spread = 0.85 * np.sqrt((1 - then) / (1 - now)) * np.sqrt(1 - now / then)
        x = np.sqrt(then) * estimate + np.sqrt(1 - then - spread**2) * predicted
        if following != -1:
            x += spread * noise.draw().ravel()
    assert nrmse(result.volume.ravel() / unit, estimate) < 1e-3


def test_first_estimate_with_gamma_is_that_of_cg_sense():
    scan = make_scan(shape=SMALL)
    believes_in_zero = Pixelwise(1e-12)
    result = DDS(prior=believes_in_zero, gamma=4.0, max_iter=1, cg_steps=50)(scan)
    exact = CGSense(lam=1 / 4.0, max_iter=60, tolerance=1e-6, true_intensity=False)(scan)
    assert nrmse(result.volume, exact.volume) < 1e-3


def test_lam_is_trust_in_the_prior(gaussian):
    scan, _, _, prior = gaussian
    results = [DDS(prior=prior, max_iter=4, lam=lam, cg_steps=20)(scan) for lam in (0.2, 1.0, 5.0)]
    chi = [result.metrics["chi_squared"] for result in results]
    assert chi[0] < chi[1] < chi[2] and [r.settings["lam"] for r in results] == [0.2, 1.0, 5.0]


def test_predicted_noise_leaves_too_little_deviation(gaussian):
    scan, _, deviation, prior = gaussian
    result = DDS(prior=prior, max_iter=10, samples=6, renoise="predicted", gamma=1.0, spacing="time")(scan)
    assert 0 < np.mean(result.extras["deviation"][-3:]) < 0.8 * np.mean(deviation[-3:])


# ---- seeds and samples -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLERS)
def test_seed_decides(gaussian, name):
    scan, _, _, prior = gaussian

    def run(seed):
        return get(name)(prior=prior, max_iter=3, seed=seed)(scan)

    one = run(1)
    np.testing.assert_array_equal(one.volume, run(1).volume)
    assert nrmse(run(2).volume, one.volume) > 0.05
    assert one.settings["seed"] == 1 and one.settings["prior"] == ["gaussian"] * 3


def test_several_samples_give_their_mean_and_deviation_one_gives_none(gaussian, tmp_path):
    scan, _, _, prior = gaussian
    one = DDS(prior=prior, max_iter=3, renoise="posterior", first_level=0.3)(scan)
    assert "deviation" not in one.extras
    many = DDS(prior=prior, max_iter=3, samples=3)(scan)
    assert [h["sample"] for h in many.history] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert nrmse(many.volume, one.volume) > 0.01
    alone = DDS(prior=prior, max_iter=3, samples=3)(scan, stop_at(3))
    np.testing.assert_array_equal(alone.volume, one.volume)
    louder = DDS(prior=prior, max_iter=3, samples=3)(
        scan.evolve("x", kspace=scan.kspace * 8, noise_covariance=64 * scan.noise_covariance)
    )
    np.testing.assert_allclose(louder.extras["deviation"], 8 * many.extras["deviation"], rtol=1e-3)
    back = Reconstruction.load(many.save(tmp_path / "many.h5"))
    np.testing.assert_array_equal(back.extras["deviation"], many.extras["deviation"])


def test_stopped_early_keeps_the_mean_so_far(gaussian):
    scan, _, _, prior = gaussian
    whole = DDS(prior=prior, max_iter=3, samples=2)(scan)

    def press(status):
        if status.iteration == 8:  # in the middle of the third sample
            os.kill(os.getpid(), signal.SIGINT)

    seen = []
    four = DDS(prior=prior, max_iter=3, samples=4)
    interrupted = four(scan, press)
    stopped = four(scan, lambda s: seen.append((s.iteration, s.total)) or s.iteration == 8)
    assert interrupted.stopped == "interrupted" and stopped.stopped == "callback"
    for result in (interrupted, stopped):
        np.testing.assert_array_equal(result.volume, whole.volume)
        np.testing.assert_array_equal(result.extras["deviation"], whole.extras["deviation"])
    assert seen[-1] == (8, 12)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("breaks_in", ["first", "second"])
def test_broken_numbers_of_a_prior_are_a_failure_that_keeps_what_there_was(name, breaks_in):
    scan, steps, broken = make_scan(shape=SMALL), 4, 3 if breaks_in == "first" else 6
    question = broken if name != "dps" else 2 * broken - 1 + (1 if breaks_in == "first" else 2)  # one more a sample
    solver = get(name)(prior=Pixelwise(breaks_at=question), max_iter=steps, samples=2)
    said = f"the prior 'pixelwise' returned NaN or infinite values in iteration {broken}"
    with pytest.raises(SolverError, match=f"{name} failed: {said}") as caught:
        solver(scan)
    good = get(name)(prior=Pixelwise(), max_iter=steps, samples=2)(scan, stop_at(min(broken - 1, steps)))
    assert caught.value.partial.stopped == said
    np.testing.assert_array_equal(caught.value.partial.volume, good.volume)


@pytest.mark.parametrize("method", [*SAMPLERS, "variational", "red-diff", "published"])
def test_tables_that_begin_without_noise_and_end_without_signal(method):
    """Noise levels are what counts, not the times at which a table has them."""
    usual = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    tables = [usual, np.concatenate([[1, 1], usual, [0]]), usual.astype(np.float16)]
    settings = {"first_level": "highest"} if method in SAMPLERS else {}
    volumes = []
    for table in tables:
        prior = Pixelwise()
        prior.schedule = priors.NoiseSchedule(kind="table", alpha_bar=table)
        volumes.append(get(method)(prior=prior, max_iter=4, **settings)(make_scan(shape=SMALL)).volume)
    if method not in ("red-diff", "published"):  # which draw times, so that other levels belong to the same seed
        assert nrmse(volumes[1], volumes[0]) < 1e-3 and nrmse(volumes[2], volumes[0]) < 0.1


# ---- planes ------------------------------------------------------------------------------------------------


def planes_of(solver, voxel_size=(1.0, 1.0, 1.0), shape=(9, 9, 9), number=0, steps=12):
    return list(islice(solver.cycle(PlanePriors("tikhonov", Grid(shape, voxel_size)), number), steps))


def test_planes_take_turns():
    assert planes_of(TPDM(), steps=7) == [0, 1, 2, 0, 1, 2, 0]
    assert planes_of(TPDM(plane=2), steps=4) == [2, 0, 1, 2]
    assert planes_of(TPDM(period=2), steps=6) == [0, 1, 0, 2, 0, 1]
    assert planes_of(TPDM(period=3, plane=1), steps=7) == [1, 1, 0, 1, 1, 2, 1]
    assert planes_of(TPDM(period=2), shape=(9, 4, 9), steps=4) == [1] * 4
    assert planes_of(DDS(), steps=3) == [0] * 3 and planes_of(DDS(plane=2), steps=3) == [2] * 3


def test_broken_period_draws_the_planes_with_the_published_probability():
    drawn = planes_of(TPDM(period=2.7), steps=3000)
    assert np.mean(np.array(drawn) == 0) == pytest.approx(1 - 1 / 2.7, abs=0.03)
    assert drawn.count(1) - drawn.count(2) in (0, 1)
    assert drawn == planes_of(TPDM(period=2.7), steps=3000)
    assert drawn[:50] != planes_of(TPDM(period=2.7, seed=1), steps=50)
    assert drawn[:50] != planes_of(TPDM(period=2.7), number=1, steps=50)


def test_plane_with_the_squarest_pixels_is_the_primary_one():
    assert planes_of(DDS(), (1.0, 1.0, 2.0), steps=1) == [2]
    assert planes_of(TPDM(), (2.0, 1.0, 1.2), steps=3) == [0, 1, 2]
    with pytest.raises(DataError, match="perpendicular to axis 0 do not suit a 2D prior; choose plane 1 or 2"):
        planes_of(DDS(plane=0), (2.0, 1.0, 3.0))


@pytest.mark.parametrize("name", SAMPLERS)
def test_thin_slabs_have_one_plane(name):
    scan, prior = make_scan(shape=(20, 24, 5), fraction=0.6), Pixelwise()
    result = get(name)(prior=prior, max_iter=4)(scan)
    assert set(prior.planes) == {2} and np.isfinite(result.volume).all()
    with pytest.raises(DataError, match="choose plane 2"):
        get(name)(prior=prior, max_iter=4, plane=0)(scan)


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_plane_may_have_its_own_prior(name):
    scan, three = make_scan(shape=SMALL), [Pixelwise(v) for v in (0.1, 0.2, 0.3)]
    result = get(name)(prior=three, max_iter=4, plane=1)(scan)
    assert [set(prior.planes) for prior in three] == ([{0}, {1}, {2}] if name == "tpdm" else [set(), {1}, set()])
    per_step = {"tpdm": [20, 32, 48, 68], "dps": [40, 80, 120, 160]}.get(name, [20, 40, 60, 80])
    assert [h["evaluations"] for h in result.history] == per_step


# ---- priors and starts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("prior", ["tikhonov", "total-variation", "wavelet", "callable"])
def test_any_prior_will_do(name, prior):
    scan = make_scan(shape=SMALL, fraction=0.4)
    if prior == "callable":
        prior = priors.from_callable(lambda noisy, sigma: noisy / (1 + 4 * sigma[:, None, None] ** 2), name="wiener")
    result = get(name)(prior=prior, max_iter=10)(scan)
    assert nrmse(result.volume, scan.reference) < 0.5 and result.metrics["chi_squared"] < 2
    assert result.settings["prior"] == getattr(prior, "name", prior)


@pytest.mark.parametrize("name", SAMPLERS)
def test_where_samples_begin(name):
    scan, knows_nothing = make_scan(shape=SMALL), Pixelwise(100.0)

    def sampled(initial=None, **settings):
        return get(name)(prior=knows_nothing, max_iter=4, **settings)(scan, initial=initial)

    noise, sense, truth = sampled(first_level="highest"), sampled(), sampled(scan.reference)
    near, several = sampled(scan.reference, first_level=0.02), sampled(samples=2)
    levels = [result.history[0]["level"] for result in (noise, sense, truth, near, several)]
    assert levels == pytest.approx([priors.NoiseSchedule().max_noise_level, 0.1, 0.1, 0.02, 0.3], rel=1e-6)
    errors = [nrmse(result.volume, scan.reference) for result in (noise, sense, truth, near)]
    assert errors[3] < 0.4 * errors[2] < 0.4 * errors[0] and errors[1] < 0.5 * errors[0]
    assert [r.settings["warm_start"] for r in (noise, sense, truth)] == [False, False, True]


def test_one_sample_is_of_the_predicted_noise_several_are_of_the_posterior(gaussian):
    scan, _, _, prior = gaussian
    for samples, renoise in ((1, "predicted"), (2, "posterior")):
        volumes = [
            TPDM(prior=prior, max_iter=4, samples=samples, renoise=how)(scan).volume
            for how in (None, renoise, "predicted" if samples == 2 else "posterior")
        ]
        np.testing.assert_array_equal(volumes[0], volumes[1])
        assert nrmse(volumes[2], volumes[0]) > 0.01


def test_levels_fall_as_spaced():
    scan, schedule = make_scan(shape=SMALL), priors.NoiseSchedule()
    by_level = DDS(prior="tikhonov", max_iter=4, first_level="highest")(scan)
    by_time = DDS(prior="tikhonov", max_iter=4, first_level="highest", spacing="time")(scan)
    ends = schedule.noise_level(999.0), schedule.noise_level(0.0)
    np.testing.assert_allclose([h["level"] for h in by_level.history], np.geomspace(*ends, 4), rtol=1e-6)
    times = schedule.noise_level(np.array([999.0, 666.0, 333.0, 0.0]))
    np.testing.assert_allclose([h["level"] for h in by_time.history], times, rtol=1e-6)


def test_first_level_below_the_schedule_is_an_error():
    with pytest.raises(PriorInputError, match=r"first noise level must be above 0\.01, the last one of tikhonov, got"):
        DDS(prior="tikhonov", first_level=1e-3)(make_scan(shape=SMALL))


@pytest.mark.parametrize(
    ("solver", "setting", "value"),
    [
        (DDS, "tolerance", 1e-3), (TPDM, "samples", 0), (DPS, "cg_steps", 0), (DDS, "eta", -0.1), (DDS, "eta", 1.1),
        (DDS, "eta", float("nan")), (DDS, "gamma", 0.0), (DDS, "first_level", 0.0),
        (DDS, "first_level", "magic"), (DDS, "renoise", "magic"), (DDS, "spacing", "magic"), (DDS, "seed", -1),
        (DPS, "plane", 3), (TPDM, "period", 0.5),
        (TPDM, "period", float("nan")), (DiffusionMBIR, "tv", -1.0), (DiffusionMBIR, "tv", float("nan")),
    ],
)  # fmt: skip
def test_settings_out_of_range(solver, setting, value):
    with pytest.raises(ValueError, match=rf"{setting} must"):
        solver(**{setting: value})


# ---- total variation across slices -------------------------------------------------------------------------


def test_mbir_without_total_variation_is_dds(gaussian):
    scan, _, _, prior = gaussian
    settings = {"prior": prior, "max_iter": 4, "samples": 2, "plane": 1}
    plain, same = DDS(**settings)(scan), DiffusionMBIR(tv=0.0, **settings)(scan)
    np.testing.assert_array_equal(same.volume, plain.volume)
    np.testing.assert_array_equal(same.extras["deviation"], plain.extras["deviation"])


@pytest.mark.parametrize("plane", [0, 2])
def test_mbir_makes_neighbouring_slices_more_alike(plane):
    scan = make_scan(shape=SMALL)

    def steps_across(tv):
        result = DiffusionMBIR(prior=Pixelwise(), tv=tv, max_iter=10, plane=plane, first_level=0.3)(scan)
        return np.abs(np.diff(result.volume, axis=plane)).sum()

    assert steps_across(1.0) < 0.8 * steps_across(0.1) < 0.8 * steps_across(0.0)


def test_noise_of_the_data_is_known_to_these_tests(gaussian):
    scan = gaussian[0]
    problem = Problem.of(scan, "test")
    assert problem.noise * problem.lipschitz**0.5 * problem.scale == pytest.approx(2**0.5 * NOISE, rel=1e-3)
    assert scan.noise_covariance[0, 0] == pytest.approx(2 * NOISE**2)
