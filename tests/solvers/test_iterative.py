"""What all solvers share: registry, scale, whitening, callbacks, interruption, stopping, bad input."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from solver_scans import centred_fft, make_scan, nrmse

from mrrecon import solvers
from mrrecon.acquisition import Acquisition
from mrrecon.errors import DataError, ShapeError
from mrrecon.operators.signal_level import signal_scale
from mrrecon.solvers import registry
from mrrecon.solvers.parts import iterative
from mrrecon.solvers.parts.loop import Iteration, iterate

CLASSICAL = ("cg-sense", "l1-wavelet", "tv")
SAMPLERS = ("dds", "tpdm", "diffusion-mbir", "dps")
OPTIMISERS = (*CLASSICAL, "variational")  # they end at a minimum, wherever they start
ITERATIVE = (*OPTIMISERS, "red-diff", "published", *SAMPLERS)


def few(name: str, **settings):
    chosen = {"max_iter": 6, "tolerance": 0}
    if name not in CLASSICAL:
        chosen["prior"] = "tikhonov"
    return solvers.get(name)(**(chosen | settings))


def solver_of(name: str, **settings):
    return solvers.get(name)() if name == "zero-filled" else few(name, **settings)


def without_chance(name: str) -> dict:
    """Settings with which a sampler draws nothing but the noise that it starts from, which is the same everywhere."""
    return {"renoise": "predicted", "eta": 0.0} if name in SAMPLERS else {}


def test_registry_names_the_methods():
    assert solvers.names() == ["zero-filled", *CLASSICAL, "variational", "ensemble", "red-diff", "published", *SAMPLERS]
    for name in solvers.names():
        assert solvers.get(name).name == name
        assert issubclass(solvers.get(name), solvers.Solver)
        assert dataclasses.is_dataclass(solvers.get(name))
        assert registry.class_paths()[name] == f"{solvers.get(name).__module__}.{solvers.get(name).__qualname__}"
    with pytest.raises(ValueError, match="choose one of zero-filled"):
        solvers.get("magic")


def test_import_is_light():
    code = "import sys; from mrrecon import solvers; [solvers.get(name) for name in solvers.names()]; "
    code += "print([m for m in ('numba', 'sigpy', 'torch', 'scipy.signal', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", solvers.names())
def test_scale_of_the_data_is_kept(name):
    scan, solver = make_scan(), solver_of(name)
    volume = solver(scan).volume
    louder = solver(scan.evolve("louder", kspace=scan.kspace * np.float32(1e6))).volume
    tolerance = 1e-2 if name == "published" else 2e-4  # Adam makes rounding large
    np.testing.assert_allclose(louder / 1e6, volume, atol=tolerance * np.abs(volume).max())


@pytest.mark.parametrize("name", ITERATIVE)
def test_record_of_a_reconstruction(name):
    scan = make_scan()
    result = few(name)(scan)
    assert result.solver == name and result.volume.shape == scan.shape
    assert result.estimates["lam"] > 0 and result.stopped == "max_iter"
    assert [h["iteration"] for h in result.history] == [1, 2, 3, 4, 5, 6]
    assert all(h["residual"] > 0 for h in result.history)
    assert result.acceleration == pytest.approx(scan.acceleration)
    assert 0 < result.history[-1]["seconds"] <= result.seconds
    again = few(name)(scan)
    np.testing.assert_array_equal(again.volume, result.volume)


@pytest.mark.parametrize("name", ITERATIVE)
def test_callback_sees_the_volume_and_stops(name):
    scan, seen = make_scan(), []

    def callback(status):
        seen.append((status.iteration, status.total, status.image()))
        return status.iteration == 3

    result = few(name)(scan, callback)
    assert [s[:2] for s in seen] == [(1, 6), (2, 6), (3, 6)]
    np.testing.assert_array_equal(seen[-1][2], result.volume)
    assert result.stopped == "callback" and len(result.history) == 3


@pytest.mark.parametrize("name", ITERATIVE)
def test_ctrl_c_keeps_what_there_is(name):
    def press(status):
        if status.iteration == 2:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    result = few(name)(make_scan(), press)
    assert result.stopped == "interrupted"
    assert 2 <= len(result.history) <= 3 and result.history[-1]["interrupted"] == 1
    assert np.abs(result.volume).max() > 0
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("name", OPTIMISERS)
def test_warm_start_begins_where_told(name):
    scan = make_scan()
    settled = few(name, max_iter=60)(scan)
    cold = few(name, max_iter=1)(scan)
    warm = few(name, max_iter=1)(scan, initial=settled)
    share = 1.0 if name == "variational" else 0.3  # it begins at its first noise level again
    assert nrmse(warm.volume, settled.volume) < share * nrmse(cold.volume, settled.volume)
    assert warm.settings["warm_start"] is True and cold.settings["warm_start"] is False


def test_red_diff_begins_where_told():
    scan = make_scan()
    cold, warm = few("red-diff", max_iter=1)(scan), few("red-diff", max_iter=1)(scan, initial=scan.reference)
    assert nrmse(warm.volume, scan.reference) < 0.4 * nrmse(cold.volume, scan.reference)


def test_published_begins_where_told_and_takes_the_first_step_of_adam():
    """Which is the learning rate for every component whose gradient is above Adam's epsilon."""
    scan = make_scan()
    step = few("published", lam=0, max_iter=1)(scan, initial=scan.reference).volume - scan.reference
    sizes = np.abs(np.concatenate([step.real.ravel(), step.imag.ravel()]))
    assert np.percentile(sizes, 99) == pytest.approx(np.median(sizes), rel=0.02) and sizes.max() > 0


def test_what_a_short_run_is_of_is_not_worked_out(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(iterative, "fingerprint", lambda *of: asked.append(of) or {})
    scan, path = make_scan(), tmp_path / "run.checkpoint"
    few("cg-sense")(scan, checkpoint=path)
    assert not asked and not path.exists()
    few("cg-sense")(scan, lambda status: status.iteration == 2, checkpoint=path)
    assert len(asked) == 1 and path.exists()


def test_published_goes_on_from_its_checkpoint(tmp_path):
    scan, path = make_scan(), tmp_path / "run.checkpoint"
    stopped = few("published", max_iter=40)(scan, lambda status: status.iteration == 30, checkpoint=path)
    rest = few("published", max_iter=40)(scan, checkpoint=path)
    assert len(stopped.history) == 30 and len(rest.history) == 40
    assert rest.history[29]["evaluations"] < rest.history[30]["evaluations"]


@pytest.mark.parametrize("name", solvers.names())
def test_maps_of_nothing_are_refused(name):
    scan = make_scan()
    with pytest.raises(DataError, match="maps are zero everywhere"):
        solver_of(name)(scan.evolve("no maps", maps=0 * scan.maps))


@pytest.mark.parametrize("name", solvers.names())
def test_voxels_that_no_coil_sees_are_zero(name):
    scan = make_scan()
    maps = scan.maps.copy()
    maps[:, :, :9] = 0
    seen = []
    cropped = scan.evolve("cropped maps", maps=maps)
    result = solver_of(name)(cropped, lambda status: seen.append(status.image()))
    for volume in (result.volume, *seen):
        assert not volume[:, :9].any() and volume[:, 9:].any()
    assert not np.any(result.extras.get("prior_influence", np.zeros(scan.shape))[:, :9])


@pytest.mark.parametrize("name", ITERATIVE)
def test_warm_start_of_the_wrong_size_is_refused(name):
    with pytest.raises(ShapeError, match="initial has shape"):
        few(name)(make_scan(), initial=np.zeros((2, 2, 2)))


@pytest.mark.parametrize("name", CLASSICAL)
def test_stopping_rule(name):
    result = solvers.get(name)(max_iter=200, tolerance=0.02)(make_scan())
    assert result.stopped == "converged"
    assert result.history[-1]["residual"] <= 0.02 < result.history[-2]["residual"]


@pytest.mark.parametrize("name", solvers.names())
def test_hybrid_space_gives_the_same(name):
    scan = make_scan()
    hybrid = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(scan.kspace, 1), axis=1, norm="ortho"), 1)
    same = Acquisition(hybrid, scan.mask, scan.maps, domains=("image", "kspace", "kspace"))
    solver = solver_of(name, lam=0.1, **without_chance(name))
    assert nrmse(solver(same).volume, solver(scan).volume) < 1e-4


@pytest.mark.parametrize("name", solvers.names())
def test_known_noise_covariance_is_whitened_once(name, rng):
    scan = make_scan()
    mix = np.eye(4) + 0.3 * (rng.standard_normal((4, 4)) + 1j * rng.standard_normal((4, 4)))
    covariance = mix @ mix.conj().T / 30**2
    coloured = Acquisition(scan.kspace, scan.mask, scan.maps, covariance)
    solver = solver_of(name)
    automatic = solver(coloured)
    by_hand = solver(coloured.whiten())
    assert nrmse(automatic.volume, by_hand.volume) < 1e-5
    if name != "zero-filled":  # the volume is in the units of the k-space as it came
        ratio = np.vdot(scan.reference, automatic.volume) / np.vdot(scan.reference, scan.reference)
        assert abs(ratio - 1) < 0.25


@pytest.mark.parametrize("name", OPTIMISERS)
def test_two_sets_of_maps_give_the_first_volume(name):
    scan = make_scan()
    second = np.roll(scan.maps, 5, axis=2) * np.float32(1e-3)
    soft = Acquisition(scan.kspace, scan.mask, np.stack([scan.maps, second]))
    one, two = few(name, lam=0.1)(scan), few(name, lam=0.1)(soft)
    assert two.volume.shape == scan.shape
    assert nrmse(two.volume, one.volume) < 0.05


@pytest.mark.parametrize("name", [name for name in ITERATIVE if name != "published"])  # too slow for few steps
def test_volume_mask(name):
    scan = make_scan(volume_mask=True, fraction=0.4)
    weak = {"lam": 0.25} if name == "variational" else {}  # for Tikhonov's prior, which takes away detail
    result = few(name, max_iter=20, **weak)(scan)
    start = solvers.ZeroFilled()(scan)
    if name in OPTIMISERS:
        assert nrmse(result.volume, scan.reference) < 0.8 * nrmse(start.volume, scan.reference)
    else:
        assert result.metrics["chi_squared"] == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("name", ITERATIVE)
def test_maps_are_required(name):
    scan = make_scan()
    with pytest.raises(DataError, match=rf"{name} needs coil sensitivity maps.*calibrate"):
        few(name)(Acquisition(scan.kspace, scan.mask))


@pytest.mark.parametrize("name", ITERATIVE)
@pytest.mark.parametrize("bad", [{"lam": -1.0}, {"max_iter": 0}, {"tolerance": -1.0}, {"lam": float("nan")}])
def test_senseless_settings_are_refused(name, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        solvers.get(name)(**bad)


def test_empty_centre_is_an_error():
    scan = make_scan()
    noise = np.random.default_rng(0).standard_normal((2, *scan.kspace.shape))
    kspace = ((noise[0] + 1j * noise[1]) * scan.mask).astype(np.complex64)  # nothing peaks anywhere
    kspace[:, :, 8:24, 6:22] = 0
    with pytest.raises(DataError, match="no signal in the centre"):
        few("cg-sense")(Acquisition(kspace, scan.mask, scan.maps))


def test_scale_does_not_depend_on_the_mask():
    dense, sparse = make_scan(fraction=0.9), make_scan(fraction=0.15)
    a, b = (signal_scale(s.kspace, s.mask) for s in (dense, sparse))
    assert a.level == pytest.approx(b.level, rel=0.15)  # blocks of 12 or more
    assert 0.4 < a.level < 1.2


def test_numbers_that_are_not_finite_keep_the_iterate_before():
    def method():
        yield Iteration(np.ones(1), 0.5)
        yield Iteration(np.ones(1), float("nan"))

    end = iterate(method(), np.zeros(1), 10, 0.0, None, lambda image: image)
    assert "not finite in iteration 2" in end.stopped and isinstance(end.failure, FloatingPointError)
    assert end.image[0] == 1 and len(end.history) == 1


def test_progress_bar_shows_only_long_work(capsys):
    bar = solvers.progress("test")
    for i in range(1, 4):
        assert not bar(solvers.Status(i, 3, 0.1, 0.01 * i, lambda: np.zeros((1, 1, 1))))
    assert capsys.readouterr().err == ""


@pytest.mark.gpu
@pytest.mark.parametrize("name", solvers.names())
def test_gpu_agrees_with_cpu(name):
    scan, solver = make_scan(), solver_of(name, **without_chance(name))
    assert nrmse(solver(scan.to("cuda")).volume, solver(scan).volume) < 1e-4


def test_zero_filled_is_the_adjoint():
    scan = make_scan()
    images = centred_fft(np.conj(scan.kspace), (1, 2, 3)).conj()  # the inverse transform, by conjugation
    expected = (scan.maps.conj() * images).sum(axis=0)
    assert nrmse(solvers.ZeroFilled()(scan).volume, expected) < 1e-5
    alone = solvers.ZeroFilled()(Acquisition(scan.kspace, scan.mask))
    assert nrmse(alone.volume, np.sqrt((np.abs(images) ** 2).sum(axis=0))) < 1e-5
    assert alone.settings["combination"] == "root-sum-of-squares"
