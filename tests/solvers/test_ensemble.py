"""An image with samples around it: whose image, which deviations, and what a run keeps."""

from __future__ import annotations

import numpy as np
import pretend_cupy
import pytest
from any_device import OnAnyDevice, send_noise
from gaussian_scans import exact_posterior, gaussian_scan, true_priors
from solver_scans import make_scan, nrmse

from mrrecon import Reconstruction
from mrrecon.solvers import Ensemble, Variational

SMALL = (12, 20, 16)
FEW = {"prior": "tikhonov", "max_iter": 3}


def samples_of(result):
    return np.stack([result.extras[name] for name in sorted(result.extras) if name.startswith("sample-")])


@pytest.fixture(scope="module")
def scan():
    return make_scan(shape=SMALL, snr=20)


@pytest.fixture(scope="module")
def result(scan):
    return Ensemble(**FEW)(scan)


@pytest.mark.parametrize("true_intensity", [True, False])
def test_image_is_the_variational_one_and_the_mean_of_the_samples(scan, true_intensity):
    found = Ensemble(**FEW, true_intensity=true_intensity)(scan)
    plain = Variational(prior="tikhonov", true_intensity=true_intensity)(scan)
    np.testing.assert_array_equal(found.volume, plain.volume)
    samples = samples_of(found)
    assert samples.shape == (4, *SMALL) and samples.dtype == np.complex64
    np.testing.assert_allclose(samples.mean(0), found.volume, atol=1e-6 * np.abs(found.volume).max())
    np.testing.assert_allclose(samples[0] - found.volume, found.volume - samples[1], atol=1e-6)
    assert nrmse(samples[2] - found.volume, samples[0] - found.volume) > 0.5
    assert len(found.history) == 12 + Variational().total == Ensemble(**FEW).total
    assert [entry["sample"] for entry in found.history[-12:]] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]


def test_deviation_is_that_of_the_samples_over_the_neighbourhood(result):
    apart = samples_of(result) - result.volume
    squares = np.mean(apart.real**2 + apart.imag**2, axis=0) / 2
    found = result.extras["deviation"]
    assert found.dtype == np.float32
    inner = (slice(4, -4),) * 3
    assert np.mean(found[inner] ** 2) == pytest.approx(np.mean(squares[inner]), rel=0.15)
    assert found.std() / found.mean() < 0.5 * np.sqrt(squares).std() / np.sqrt(squares).mean()


@pytest.mark.parametrize("steps", [4, 12])
def test_deviation_is_that_of_the_posterior_of_a_gaussian_prior(steps):
    scan = gaussian_scan()
    mean, deviation = exact_posterior(scan)
    solver = Ensemble(prior=true_priors(scan), max_iter=steps, samples=24, first_level=5.0, cg_steps=12)
    found = solver(scan, initial=mean).extras["deviation"]
    slabs = [np.sqrt([np.mean(volume[x : x + 3] ** 2) for x in (0, 3, 6)]) for volume in (found, deviation)]
    assert slabs[1][0] > 1.3 * slabs[1][2]  # the maps fade along x
    np.testing.assert_allclose(slabs[0], slabs[1], rtol=0.08)


def test_departures_of_a_gaussian_prior_do_not_depend_on_the_image():
    scan = gaussian_scan()
    mean, _ = exact_posterior(scan)
    solver = Ensemble(prior=true_priors(scan), max_iter=4, samples=2, first_level=1.0, true_intensity=False)
    apart = [samples_of(one) - one.volume for one in (solver(scan, initial=mean), solver(scan, initial=1.02 * mean))]
    assert nrmse(apart[1], apart[0]) < 0.02


def test_samples_begin_where_they_are_told_or_above_the_expected_error(scan, result):
    assert Ensemble(**FEW, first_level=0.3)(scan).history[-1]["level"] == pytest.approx(0.01, rel=0.1)
    levels = [entry["level"] for entry in result.history if entry.get("sample") == 1]
    weight = np.abs(result.volume)
    expected = np.sqrt((weight * result.extras["error"] ** 2).sum() / weight.sum()) / result.scale
    assert levels[0] == pytest.approx(max(1.85 * expected**0.75, 0.05), rel=0.02)


def test_seed_decides(scan, result):
    np.testing.assert_array_equal(samples_of(Ensemble(**FEW)(scan)), samples_of(result))
    other = Ensemble(**FEW, seed=1)(scan)
    np.testing.assert_array_equal(other.volume, result.volume)
    assert nrmse(samples_of(other) - other.volume, samples_of(result) - result.volume) > 0.5
    assert other.settings["seed"] == 1


def test_scale_of_the_data_is_that_of_samples_and_maps(scan, result):
    louder = Ensemble(**FEW)(scan.evolve("x", kspace=scan.kspace * 8))
    for name in ("deviation", "error", "sample-3"):
        assert nrmse(louder.extras[name], 8 * result.extras[name]) < 1e-3


def test_samples_survive_the_file(result, tmp_path):
    back = Reconstruction.load(result.save(tmp_path / "r.h5"))
    np.testing.assert_array_equal(samples_of(back), samples_of(result))
    np.testing.assert_array_equal(back.part("deviation"), result.extras["deviation"])


@pytest.mark.parametrize("stop", [7, Variational().total + 3, Variational().total + 8])
def test_goes_on_where_it_was(scan, result, stop, tmp_path):
    path = tmp_path / "run.checkpoint"
    Ensemble(**FEW)(scan, callback=lambda status: status.iteration == stop, checkpoint=path)
    rest = Ensemble(**FEW)(scan, checkpoint=path)
    np.testing.assert_allclose(rest.volume, result.volume, atol=1e-5 * np.abs(result.volume).max())
    assert nrmse(samples_of(rest), samples_of(result)) < 1e-5 and not path.exists()
    assert [entry["iteration"] for entry in rest.history] == [entry["iteration"] for entry in result.history]


def test_stopped_early_keeps_whole_pairs(scan, result):
    first = Variational().total
    none = Ensemble(**FEW)(scan, callback=lambda status: status.iteration == first + 5)
    two = Ensemble(**FEW)(scan, callback=lambda status: status.iteration == first + 8)
    assert "deviation" not in none.extras and "sample-1" not in none.extras
    np.testing.assert_array_equal(samples_of(two), samples_of(result)[:2])
    np.testing.assert_array_equal(two.volume, result.volume)


def test_warm_start_takes_the_place_of_the_image(scan):
    found = Ensemble(**FEW, true_intensity=False)(scan, initial=scan.reference)
    assert nrmse(found.volume, scan.reference) < 1e-6 and len(found.history) == 12


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("samples", 3), ("samples", 0), ("tolerance", 1e-3), ("seed", -1), ("cg_steps", 0), ("eta", 1.1),
        ("eta", float("nan")), ("first_level", 0.0),
    ],
)  # fmt: skip
def test_settings_out_of_range(setting, value):
    with pytest.raises(ValueError, match=rf"{setting} must"):
        Ensemble(**{setting: value})


def test_on_the_stand_in_for_a_gpu(scan, monkeypatch):
    pretend_cupy.install(monkeypatch)
    send_noise(monkeypatch)
    solver = Ensemble(prior=OnAnyDevice(), max_iter=3)
    here, there = solver(scan), solver(scan.to("cuda"))
    assert nrmse(there.volume, here.volume) < 1e-3
    for name in ("deviation", "error", "sample-4"):
        assert type(there.extras[name]) is np.ndarray and nrmse(there.extras[name], here.extras[name]) < 1e-2
