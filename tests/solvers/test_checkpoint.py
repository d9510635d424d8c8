"""Runs that were stopped and go on: to the same image, or with a clear refusal."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from solver_scans import make_scan, nrmse

from mrrecon.errors import DataError, FileFormatError
from mrrecon.solvers import TPDM, CGSense, Variational, checkpoint

EXACT = [
    Variational(prior="tikhonov", max_iter=5),
    Variational(prior="tikhonov", max_iter=5, optimizer="gradient", slices=5),
]


def stop_after(number):
    return lambda status: status.iteration == number


@pytest.mark.parametrize("solver", EXACT, ids=lambda solver: solver.optimizer)
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
    assert rest.extras.keys() == whole.extras.keys() == {"prior_influence"}
    assert len(rest.history) == len(whole.history)


def test_ctrl_c_in_the_last_iteration_is_no_stop(tmp_path):
    def press(status):
        if status.iteration == status.total:
            os.kill(os.getpid(), signal.SIGINT)

    path = tmp_path / "run.checkpoint"
    result = EXACT[0](make_scan(), press, checkpoint=path)
    assert result.settings["stopped"] == "max_iter" and not path.exists()


def test_of_another_scan_or_setting_is_refused(tmp_path):
    path = tmp_path / "run.checkpoint"
    EXACT[0](make_scan(), callback=stop_after(1), checkpoint=path)
    with pytest.raises(DataError, match="another scan; remove it"):
        EXACT[0](make_scan(seed=1), checkpoint=path)
    with pytest.raises(DataError, match="another solver or setting; remove it"):
        Variational(prior="tikhonov", max_iter=6)(make_scan(), checkpoint=path)


def test_damage_is_named(tmp_path):
    path = tmp_path / "run.checkpoint"
    path.write_bytes(b"nonsense")
    with pytest.raises(FileFormatError, match=r"is not a readable checkpoint .*; remove it to begin anew"):
        EXACT[0](make_scan(), checkpoint=path)
    EXACT[0](make_scan(), callback=stop_after(1), checkpoint=path.with_name("other"))
    path.write_bytes(path.with_name("other").read_bytes()[:3000])
    with pytest.raises(FileFormatError, match="is not a readable checkpoint"):
        EXACT[0](make_scan(), checkpoint=path)
