"""Runs that were stopped and go on: to the same image, or with a clear refusal."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from solver_scans import make_scan, nrmse

import mrrecon as mr
from mrrecon import priors
from mrrecon.errors import DataError, FileFormatError
from mrrecon.solvers import TPDM, CGSense, RedDiff, Variational
from mrrecon.solvers.parts import checkpoint

EXACT = [
    Variational(prior="tikhonov", max_iter=5),
    RedDiff(prior="tikhonov", max_iter=5, slices=5),
]


def stop_after(number):
    return lambda status: status.iteration == number


@pytest.mark.parametrize("solver", EXACT, ids=lambda solver: solver.name)
def test_goes_on_exactly(solver, tmp_path):
    scan, path = make_scan(), tmp_path / "run.checkpoint"
    whole = solver(scan)
    first = solver(scan, callback=stop_after(2), checkpoint=path)
    assert path.exists() and len(first.history) == 2
    rest = solver(scan, checkpoint=path)
    np.testing.assert_allclose(rest.volume, whole.volume, atol=1e-5 * np.abs(whole.volume).max())
    for key in ("iteration", "evaluations"):
        assert [entry[key] for entry in rest.history] == [entry[key] for entry in whole.history]
    seconds = [entry["seconds"] for entry in rest.history]
    assert seconds == sorted(seconds)
    assert not path.exists()  # a finished run leaves none


def test_samplers_go_on_with_the_sample_that_was_being_drawn(tmp_path):
    scan, path = make_scan(), tmp_path / "run.checkpoint"
    solver = TPDM(prior="tikhonov", max_iter=4, samples=3, seed=5)
    whole = solver(scan)
    solver(scan, callback=stop_after(10), checkpoint=path)  # amid the third sample
    rest = solver(scan, checkpoint=path)
    np.testing.assert_allclose(rest.volume, whole.volume, atol=1e-5 * np.abs(whole.volume).max())
    np.testing.assert_allclose(rest.extras["deviation"], whole.extras["deviation"], rtol=1e-3)
    assert [entry["sample"] for entry in rest.history] == [1] * 4 + [2] * 4 + [3] * 4


def test_nothing_is_kept_before_there_is_something_to_go_on_with(tmp_path):
    path = tmp_path / "run.checkpoint"
    TPDM(prior="tikhonov", max_iter=4, samples=2)(make_scan(), callback=stop_after(2), checkpoint=path)
    assert not path.exists()


def test_classical_methods_go_on_as_from_a_warm_start(tmp_path):
    scan, path = make_scan(), tmp_path / "run.checkpoint"
    CGSense(tolerance=0, max_iter=20)(scan, callback=stop_after(10), checkpoint=path)
    rest = CGSense(tolerance=0, max_iter=20)(scan, checkpoint=path)
    assert nrmse(rest.volume, CGSense(tolerance=0, max_iter=100)(scan).volume) < 1e-3
    assert [entry["iteration"] for entry in rest.history] == list(range(1, 21))


def test_once_a_minute_the_state_is_on_disk(tmp_path, monkeypatch):
    path, seen = tmp_path / "run.checkpoint", []
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    EXACT[0](make_scan(), callback=lambda status: seen.append(path.exists()), checkpoint=path)
    assert all(seen) and not path.exists()


def test_a_crash_after_the_last_iteration_loses_no_part_of_the_result(tmp_path, monkeypatch):
    def crash(self, finished):
        raise OSError("power cut")

    solver, scan, path = EXACT[0], make_scan(), tmp_path / "run.checkpoint"
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="power cut"):
        patch.setattr(checkpoint.Checkpoint, "close", crash)
        solver(scan, checkpoint=path)
    rest, whole = solver(scan, checkpoint=path), solver(scan)
    np.testing.assert_allclose(rest.volume, whole.volume, atol=1e-5 * np.abs(whole.volume).max())
    assert rest.extras.keys() == whole.extras.keys() == {"error", "prior_influence"}
    assert len(rest.history) == len(whole.history)


def test_ctrl_c_in_the_last_iteration_is_no_stop(tmp_path):
    def press(status):
        if status.iteration == status.total:
            os.kill(os.getpid(), signal.SIGINT)

    path = tmp_path / "run.checkpoint"
    result = EXACT[0](make_scan(), press, checkpoint=path)
    assert result.stopped == "max_iter" and not path.exists()


def rolled(values, axis):
    return np.ascontiguousarray(np.roll(values, 1, axis))


def one_line(kspace):
    """Another measurement of a single line at the edge of what was sampled: a few millionths of the energy."""
    other = kspace.copy()
    y, z = np.argwhere(np.abs(kspace[0, 0]) > 0)[0]
    other[:, :, y, z] = other[::-1, :, y, z]
    return other


COVARIANCE = np.diag([1.0, 1.0, 1.0, 1.0]) / 900
OTHER = {  # what changes -> how, and how the sentence calls it; none of these changes energy, scale or numbers
    "conjugated": (lambda s: {"kspace": s.kspace.conj()}, "k-space"),
    "readout reversed": (lambda s: {"kspace": s.kspace[:, ::-1]}, "k-space"),
    "coils in another order": (lambda s: {"kspace": s.kspace[[1, 0, 2, 3]]}, "k-space"),
    "one coil turned": (
        lambda s: {"kspace": s.kspace * np.array([1, 1, 1j, 1], np.complex64)[:, None, None, None]},
        "k-space",
    ),
    "one line": (lambda s: {"kspace": one_line(s.kspace)}, "k-space"),
    "mask": (lambda s: {"mask": rolled(s.mask, 1)}, "mask"),
    "maps of coils turned": (
        lambda s: {"maps": s.maps * np.exp(1j * np.arange(4)).astype(np.complex64)[:, None, None, None]},
        "maps",
    ),
    "maps in another order": (lambda s: {"maps": s.maps[::-1]}, "maps"),
    "a set of maps more": (lambda s: {"maps": np.stack([s.maps, 0 * s.maps])}, "maps"),
    "noise": (lambda s: {"noise_covariance": 1.1 * COVARIANCE}, "noise covariance"),
    "noise unknown": (lambda s: {"noise_covariance": None}, "noise covariance"),
    "domain": (lambda s: {"domains": ("image", "kspace", "kspace")}, "geometry"),
    "voxels": (lambda s: {"voxel_size": (1.0, 1.0, 2.0), "affine": None}, "geometry"),
    "place": (lambda s: {"affine": s.affine + np.eye(4, k=3)}, "geometry"),
}


@pytest.mark.parametrize("solver", [EXACT[0], CGSense(max_iter=5), TPDM(prior="tikhonov", max_iter=1, samples=4)])
@pytest.mark.parametrize("what", OTHER)
def test_of_other_data_is_refused_and_left_as_it_is(solver, what, tmp_path):
    path = tmp_path / "run.checkpoint"
    scan = make_scan().evolve("known noise", noise_covariance=COVARIANCE)
    solver(scan, callback=stop_after(2), checkpoint=path)
    before = path.read_bytes()
    change, name = OTHER[what]
    with pytest.raises(DataError, match=f"another {name}; remove it to begin anew"):
        solver(scan.evolve("other", **change(scan)), checkpoint=path)
    assert path.read_bytes() == before
    solver(scan, checkpoint=path)
    assert not path.exists()


def test_of_another_subject_is_refused(tmp_path):
    path = tmp_path / "run.checkpoint"
    EXACT[0](make_scan(), callback=stop_after(1), checkpoint=path)
    with pytest.raises(DataError, match="another mask and another k-space; remove it"):
        EXACT[0](make_scan(seed=1), checkpoint=path)
    with pytest.raises(DataError, match="another geometry and another mask and another k-space and another maps"):
        EXACT[0](make_scan(shape=(16, 20, 18)), checkpoint=path)


def test_of_another_setting_or_start_is_refused_but_time_may_differ(tmp_path):
    scan, path = make_scan(), tmp_path / "run.checkpoint"
    EXACT[0](scan, callback=stop_after(1), checkpoint=path)
    for other in (replace(EXACT[0], max_iter=6), replace(EXACT[0], mirror=False), EXACT[1]):
        with pytest.raises(DataError, match="another solver or setting; remove it"):
            other(scan, checkpoint=path)
    with pytest.raises(DataError, match="another warm start; remove it"):
        EXACT[0](scan, initial=scan.reference, checkpoint=path)
    assert len(replace(EXACT[0], time_budget=3600.0)(scan, checkpoint=path).history) == 5
    EXACT[0](scan, callback=stop_after(1), initial=scan.reference, checkpoint=path)
    for start in (None, scan.reference.conj()):
        with pytest.raises(DataError, match="another warm start"):
            EXACT[0](scan, initial=start, checkpoint=path)
    assert len(EXACT[0](scan, initial=scan.reference, checkpoint=path).history) == 5


def network(seed):
    torch.manual_seed(seed)
    settings = {"type": "unet", "channels": [8, 16], "blocks": 1, "patch": 2, "attention": False, "embedding": 16}
    return priors.DiffusionPrior({**settings, "groups": 4}, name="mine")


def test_of_a_prior_that_was_trained_meanwhile_is_refused(tmp_path):
    scan, path, folder = make_scan(shape=(16, 20, 18)), tmp_path / "run.checkpoint", tmp_path / "mine"
    network(0).save(folder)
    for given in (lambda: str(folder), lambda: priors.load(folder)):
        network(0).save(folder)
        solver = Variational(prior=given(), max_iter=3)
        solver(scan, callback=stop_after(1), checkpoint=path)
        network(1).save(folder)
        with pytest.raises(DataError, match="another prior; remove it"):
            Variational(prior=given(), max_iter=3)(scan, checkpoint=path)
        network(0).save(folder)
        assert len(Variational(prior=given(), max_iter=3)(scan, checkpoint=path).history) == 3
    three = [str(folder), "tikhonov", "wavelet"]
    Variational(prior=three, max_iter=3)(scan, callback=stop_after(1), checkpoint=path)
    with pytest.raises(DataError, match="another prior; remove it"):
        Variational(prior=[*three[1:], three[0]], max_iter=3)(scan, checkpoint=path)


def test_rounding_is_no_other_scan(tmp_path, rng):
    """Another number of threads or another FFT changes the last bits of k-space and of the maps made from it."""
    scan, path = make_scan(), tmp_path / "run.checkpoint"

    def jittered(values):
        return (values * (1 + 3e-7 * rng.standard_normal(values.shape))).astype(np.complex64)

    EXACT[0](scan, callback=stop_after(1), checkpoint=path)
    again = scan.evolve("again", kspace=jittered(scan.kspace), maps=jittered(scan.maps))
    assert len(EXACT[0](again, checkpoint=path).history) == 5


def test_what_is_told_apart_does_not_depend_on_the_scale(tmp_path):
    for size in (1e-18, 1e15):
        scan, path = make_scan(), tmp_path / "run.checkpoint"
        scan = scan.evolve("scaled", kspace=scan.kspace * np.float32(size))
        CGSense()(scan, callback=stop_after(1), checkpoint=path)
        with pytest.raises(DataError, match="another k-space"):
            CGSense()(scan.evolve("other", kspace=scan.kspace.conj()), checkpoint=path)
        assert CGSense()(scan, checkpoint=path).history


def test_of_another_version_of_the_format_is_refused(tmp_path):
    import h5py

    path = tmp_path / "run.checkpoint"
    EXACT[0](make_scan(), callback=stop_after(1), checkpoint=path)
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = "mrrecon checkpoint 1"
    before = path.read_bytes()
    with pytest.raises(FileFormatError, match=r"version 1 of the format, this one is 3\); remove it to begin anew"):
        EXACT[0](make_scan(), checkpoint=path)
    assert path.read_bytes() == before


def test_scans_on_disk_are_told_apart_too(tmp_path):
    path = tmp_path / "run.checkpoint"
    first, second = (mr.write(make_scan(seed=seed), tmp_path / f"{seed}.h5") for seed in (0, 1))
    CGSense()(mr.read(first, lazy=True), callback=stop_after(1), checkpoint=path)
    with pytest.raises(DataError, match="another k-space"):
        CGSense()(mr.read(second, lazy=True), checkpoint=path)
    assert CGSense()(mr.read(first), checkpoint=path).history


def test_damage_is_named(tmp_path):
    path = tmp_path / "run.checkpoint"
    path.write_bytes(b"nonsense")
    with pytest.raises(FileFormatError, match=r"is not a readable checkpoint .*; remove it to begin anew"):
        EXACT[0](make_scan(), checkpoint=path)
    EXACT[0](make_scan(), callback=stop_after(1), checkpoint=path.with_name("other"))
    path.write_bytes(path.with_name("other").read_bytes()[:3000])
    with pytest.raises(FileFormatError, match="is not a readable checkpoint"):
        EXACT[0](make_scan(), checkpoint=path)
