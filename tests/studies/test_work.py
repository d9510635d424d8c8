"""Doing the runs of a study: what a row says, and that each run is done exactly once, whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from helpers import write_cfl
from tiny_study import SHAPE, make_study, write_head

from mrrecon import io, metrics, solvers
from mrrecon.errors import DataError, MissingDependencyError, OutputError
from mrrecon.operators import make_mask
from mrrecon.simulation import simulate
from mrrecon.solvers import CGSense, ZeroFilled
from mrrecon.studies import Results, Sampling, StudyFile, expand, perform

SCRIPT = """
import os, sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from tiny_study import make_study
from mrrecon.studies import perform

begun = []

def report(run, row):
    if row is None:
        begun.append(run.id)
    else:
        print(run.id, flush=True)
    if len(begun) == {crash_in_run}:
        os.kill(os.getpid(), 9)
    Path({folder!r}, "begun-%d" % os.getpid()).touch()
    while len(list(Path({folder!r}).glob("begun-*"))) < {processes}:  # until each has a run
        time.sleep(0.01)

perform(make_study(Path({folder!r}), **{changes!r}), {folder!r} + "/runs", callback=report)
"""
SIXTEEN = {"accelerations": [2, 3, 4, 5], "seeds": [0, 1]}


def start(folder, processes=1, crash_in_run=None):
    """A process of its own that performs 16 runs, with so many of its kind, and prints those that it has done."""
    tests = os.path.dirname(os.path.dirname(__file__))
    settings = {"tests": tests, "folder": str(folder), "changes": SIXTEEN, "processes": processes}
    code = SCRIPT.format(crash_in_run=crash_in_run, **settings)
    return subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


class Watch:
    """Remembers which runs were begun and done."""

    def __init__(self):
        self.begun, self.done = [], []

    def __call__(self, run, row):
        (self.begun if row is None else self.done).append(run.id)


# ---- rows ----------------------------------------------------------------------------------------------------


def test_row_tells_result_settings_seed_versions_achieved_acceleration_policy_and_costs(tmp_path):
    variational = {"name": "variational", "settings": {"max_iter": 2}}
    study = make_study(tmp_path, solvers=[variational], priors=["tikhonov"], seeds=[5], metrics={"region": "object"})
    perform(study, tmp_path / "runs")
    (line,) = (tmp_path / "runs" / "rows.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert (row["file"], row["method"], row["variant"], row["prior"], row["seed"]) == (
        "head", "variational", "default", "tikhonov", 5,
    )  # fmt: skip
    assert row["acceleration"] == 3 and row["achieved"] == pytest.approx(3, rel=0.02)
    assert row["evaluations"] == SHAPE[0] + SHAPE[1]  # one plane each iteration
    assert row["seconds"] > 0 and row["iterations"] == len(row["history"]) == 2
    assert row["used"]["max_iter"] == 2 and row["used"]["lam"] > 0
    assert row["given"]["simulation"]["coils"] == row["coils"] == 4 and row["given"]["sampling"]["calibration"] == 8
    assert row["metrics"]["policy"]["region"] == "object" and 15 < row["metrics"]["psnr"] < 60
    assert {"mrrecon", "numpy", "python"} <= set(row["versions"]) and row["device"] == "cpu"
    assert [name for name, _ in row["provenance"]] == ["simulate", "whiten", "undersample"]
    assert "error" not in row


def test_result_is_that_of_the_same_steps_by_hand(tmp_path):
    rows = perform(make_study(tmp_path, solvers=["cg-sense"], seeds=[2]), tmp_path / "runs")
    volume, grid = io.read_volume(tmp_path / "head.nii.gz")
    scan = simulate(volume, grid, n_coils=4, snr=40, keep_maps=True).whiten()
    side = Sampling(calibration=8).side(SHAPE[1:], 3)
    scan = scan.undersample(make_mask("poisson", SHAPE[1:], 3, calibration=side, seed=2))
    expected = metrics.evaluate(CGSense()(scan), scan.reference)
    (row,) = rows.values()
    assert row["metrics"]["psnr"] == pytest.approx(expected["psnr"], rel=1e-5)
    assert row["metrics"]["ssim"] == pytest.approx(expected["ssim"], rel=1e-5)


def test_anatomies_are_brought_to_the_voxel_size_and_to_even_matrices(tmp_path):
    study = make_study(tmp_path, simulation={"coils": 4, "voxel_size": 64 / 15}, solvers=["zero-filled"])
    (row,) = perform(study, tmp_path / "runs").values()
    assert row["shape"] == [16, 24, 22]  # 15x22.5x20.6 voxels of that size, at least
    assert row["voxel_size"] == pytest.approx([64 / 15] * 3, rel=0.05)


def test_all_but_the_brain_is_taken_out_of_the_anatomy(tmp_path):
    image = nibabel.load(write_head(tmp_path / "head.nii.gz"))
    brain = nibabel.Nifti1Image((np.asarray(image.dataobj) < 900).astype(np.uint8), image.affine)  # without the rim
    nibabel.save(brain, tmp_path / "brain.nii.gz")
    files = ["head.nii.gz", {"file": "head.nii.gz", "name": "brain", "brain": "brain.nii.gz"}]
    rows = perform(make_study(tmp_path, files=files, solvers=["zero-filled"]), tmp_path / "runs")
    truths = [np.load(Results(tmp_path / "runs").planes(row["truth"]))["axial"] for row in rows.values()]
    head, brain = ((truth > 0.01).sum() for truth in truths)
    assert 0.5 * head < brain < 0.8 * head


def test_scan_without_noise_is_left_as_it_is(tmp_path):
    (row,) = perform(make_study(tmp_path, simulation={"snr": None}, solvers=["cg-sense"]), tmp_path / "r").values()
    assert [name for name, _ in row["provenance"]] == ["simulate", "undersample"]


def test_maps_are_estimated_from_the_undersampled_data(tmp_path):
    write_head(tmp_path / "head.nii.gz", shape=(24, 32, 32))
    study = make_study(tmp_path, maps="estimated", sampling={"calibration": 16}, solvers=["cg-sense"])
    (row,) = perform(study, tmp_path / "runs").values()
    assert row["metrics"]["psnr"] > 20
    assert row["provenance"][-1][0] == "calibrate"


def test_maps_are_estimated_jointly_where_chi_squared_asks_for_it(tmp_path):
    write_head(tmp_path / "head.nii.gz", shape=(24, 32, 32))
    for side, last in ((6, "joint maps"), (24, "calibrate")):
        settings = {"sampling": {"calibration": side}, "solvers": ["cg-sense"], "accelerations": [2]}
        (row,) = perform(make_study(tmp_path, maps="joint", **settings), tmp_path / f"runs{side}").values()
        assert row["provenance"][-1][0] == last


def test_kspace_file_with_a_reference_is_taken_as_it_is(tmp_path):
    study = make_study(tmp_path)
    volume, grid = io.read_volume(tmp_path / "head.nii.gz")
    scan = simulate(volume, grid, n_coils=4, snr=40, keep_maps=True)
    io.write(scan, tmp_path / "scan.h5")
    io.write(scan.evolve("forget", reference=None), tmp_path / "measured.h5")
    files = ["head.nii.gz", "scan.h5", "measured.h5"]
    study = make_study(tmp_path, files=files, solvers=["cg-sense"], seeds=[2])
    simulated, read, measured = (row["metrics"]["psnr"] for row in perform(study, tmp_path / "runs").values())
    assert read == pytest.approx(simulated, abs=0.01)
    assert measured == pytest.approx(simulated, abs=1.5)  # its own noisy image is the truth
    gaps = scan.undersample(make_mask("poisson", SHAPE[1:], 2, calibration=8))
    io.write(gaps.evolve("forget", reference=None), tmp_path / "gaps.h5")
    (row,) = perform(make_study(tmp_path, files=["gaps.h5"], solvers=["cg-sense"]), tmp_path / "runs").values()
    assert "gaps.h5 is undersampled (R = 2" in row["error"]


def test_slices_are_kept_for_pictures(tmp_path):
    study = make_study(tmp_path, solvers=["zero-filled"])
    (row,) = perform(study, tmp_path / "runs").values()
    for name in (row["run"], row["truth"]):
        with np.load(Results(tmp_path / "runs").planes(name)) as planes:
            shapes = {plane: planes[plane].shape for plane in ("sagittal", "coronal", "axial")}
            assert shapes == {"sagittal": SHAPE[1:], "coronal": SHAPE[::2], "axial": SHAPE[:2]}
            assert float(planes["axial_edges"][0]) == 4


# ---- once and only once --------------------------------------------------------------------------------------


def test_rows_belong_to_the_version(tmp_path, monkeypatch):
    first, second = Watch(), Watch()
    perform(make_study(tmp_path), tmp_path / "runs", callback=first)
    monkeypatch.setattr("mrrecon.studies.runs.__version__", "another")
    perform(make_study(tmp_path), tmp_path / "runs", callback=second)
    assert len(second.done) == 2 and len(Results(tmp_path / "runs").rows()) == 4


def test_rows_belong_to_all_of_a_file(tmp_path):
    content = np.zeros(2**19, np.complex64)  # 4 MiB
    np.save(tmp_path / "k.npy", content)
    before = {run.id for run in expand(make_study(tmp_path, files=["k.npy"]))}
    content[2**18] = 1j  # in the middle: size, beginning and end stay as they are
    np.save(tmp_path / "k.npy", content)
    assert not before & {run.id for run in expand(make_study(tmp_path, files=["k.npy"]))}


def test_a_header_is_part_of_its_file(tmp_path):
    write_cfl(tmp_path / "k", np.ones((4, 6, 8, 2)))
    before = StudyFile(tmp_path / "k.cfl", "k").identity
    assert [name for name, *_ in before] == ["k.cfl", "k.hdr"]
    (tmp_path / "k.hdr").write_text("# Dimensions\n4 8 6 2\n")
    assert StudyFile(tmp_path / "k.cfl", "k").identity != before


def test_what_is_done_is_left_out(tmp_path):
    first, second, third = Watch(), Watch(), Watch()
    before = perform(make_study(tmp_path), tmp_path / "runs", callback=first)
    assert first.begun == first.done == list(before) and len(before) == 2
    again = perform(make_study(tmp_path), tmp_path / "runs", callback=second)
    assert second.begun == [] and again == before
    study = make_study(tmp_path, accelerations=[3, 4])
    assert len(perform(study, tmp_path / "runs", callback=third)) == 4
    assert len(third.done) == 2 and not set(third.done) & set(first.done)


def test_rows_alone_are_enough_to_go_on(tmp_path):
    before = perform(make_study(tmp_path), tmp_path / "runs")
    for path in (tmp_path / "runs" / "rows").iterdir():
        path.unlink()
    watch = Watch()
    assert perform(make_study(tmp_path), tmp_path / "runs", callback=watch) == before and watch.begun == []


def test_two_processes_at_once_do_each_run_exactly_once(tmp_path):
    make_study(tmp_path)
    both = [start(tmp_path, processes=2) for _ in range(2)]
    outputs = [process.communicate(timeout=250) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    done = [out.split() for out, _ in outputs]
    study = make_study(tmp_path, **SIXTEEN)
    assert sorted(done[0] + done[1]) == sorted(run.id for run in expand(study))
    assert done[0] and done[1]
    lines = (tmp_path / "runs" / "rows.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["run"] for line in lines) == sorted(done[0] + done[1])


def test_run_that_another_process_holds_is_left_to_it(tmp_path):
    study, watch = make_study(tmp_path), Watch()
    mine, theirs = expand(study)
    results = Results(tmp_path / "runs")
    results.create({"name": "tiny", "settings": {}, "runs": []})
    with results.claim(theirs.id) as held:
        assert held
        with Results(tmp_path / "runs").claim(theirs.id) as also:
            assert not also
        assert list(perform(study, tmp_path / "runs", callback=watch)) == [mine.id]
    assert list(perform(study, tmp_path / "runs", callback=watch)) == [mine.id, theirs.id]
    assert watch.done == [mine.id, theirs.id]


def test_run_that_a_crash_cut_short_is_done_again_and_no_other(tmp_path):
    make_study(tmp_path)
    process = start(tmp_path, crash_in_run=4)
    done = process.communicate(timeout=250)[0].split()
    assert process.returncode == -signal.SIGKILL and len(done) == 3
    watch = Watch()
    rows = perform(make_study(tmp_path, **SIXTEEN), tmp_path / "runs", callback=watch)
    assert len(rows) == 16 and not any("error" in row for row in rows.values())
    assert set(rows) - set(watch.done) == set(done)


def test_row_that_a_crash_has_torn_counts_as_not_done(tmp_path):
    study, watch = make_study(tmp_path), Watch()
    first, second = perform(study, tmp_path / "runs")
    path = tmp_path / "runs" / "rows" / f"{second}.json"
    path.write_text(path.read_text()[:100])
    lines = (tmp_path / "runs" / "rows.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "runs" / "rows.jsonl").write_text("".join(line for line in lines if first in line) + lines[0][:50])
    perform(study, tmp_path / "runs", callback=watch)
    assert watch.done == [second]
    assert len((tmp_path / "runs" / "rows.jsonl").read_text().splitlines()) == 2


# ---- what goes wrong -----------------------------------------------------------------------------------------


def failing(error):
    def call(self, acquisition, callback=None):
        raise error

    return call


def test_failed_run_is_recorded_and_repeated_only_when_asked_to(tmp_path, monkeypatch):
    study = make_study(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(ZeroFilled, "__call__", failing(DataError("The data are bad.")))
        bad, good = perform(study, tmp_path / "runs").values()
    assert bad["error"] == "The data are bad." and "traceback" not in bad and "metrics" not in bad
    assert bad["method"] == "zero-filled" and good["metrics"]["psnr"] > 15
    watch = Watch()
    assert perform(study, tmp_path / "runs", callback=watch)[bad["run"]] == bad and watch.begun == []
    rows = perform(study, tmp_path / "runs", retry=True, callback=watch)
    assert watch.done == [bad["run"]]
    assert "error" not in rows[bad["run"]] and rows[good["run"]] == good
    assert len((tmp_path / "runs" / "rows.jsonl").read_text().splitlines()) == 2


def test_run_that_fails_again_is_repeated_once(tmp_path, monkeypatch):
    study, watch = make_study(tmp_path, solvers=["zero-filled"]), Watch()
    monkeypatch.setattr(ZeroFilled, "__call__", failing(DataError("The data are bad.")))
    perform(study, tmp_path / "runs")
    perform(study, tmp_path / "runs", retry=True, callback=watch)
    assert len(watch.done) == 1


def test_mistake_in_the_code_is_recorded_with_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(ZeroFilled, "__call__", failing(KeyError("x")))
    bad, good = perform(make_study(tmp_path), tmp_path / "runs").values()
    assert bad["error"] == "KeyError: 'x'" and "in call" in bad["traceback"] and "metrics" in good


def test_unreadable_file_fails_its_runs_only(tmp_path):
    write_head(tmp_path / "cut.nii.gz")
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "cut.nii.gz").read_bytes()[:600])
    rows = perform(make_study(tmp_path, files=["cut.nii.gz", "head.nii.gz"]), tmp_path / "runs").values()
    assert [("cut.nii.gz" in row.get("error", ""), "metrics" in row) for row in rows] == 2 * [(True, False)] + 2 * [
        (False, True)
    ]


def test_centre_too_small_for_maps_is_said_for_all_methods_alike(tmp_path):
    rows = perform(make_study(tmp_path, maps="estimated", sampling={"calibration": 5}), tmp_path / "runs").values()
    assert all("smaller than the kernel 6x6x6" in row["error"] for row in rows) and len(rows) == 2


def test_warnings_of_a_run_are_in_its_row(tmp_path):
    solver = {"name": "variational", "settings": {"max_iter": 1}}
    study = make_study(tmp_path, solvers=[solver], priors=["brain-1x"])
    (row,) = perform(study, tmp_path / "runs").values()
    assert any("brain-1x was made for voxels of" in note for note in row["notes"])


@pytest.mark.parametrize("how", ["raised", "kept"])
def test_ctrl_c_ends_the_study_without_a_row(tmp_path, monkeypatch, how):
    def press(self, acquisition, callback=None):
        if how == "raised":
            raise KeyboardInterrupt
        return replace(ZeroFilled()(acquisition), stopped="interrupted")

    study = make_study(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(CGSense, "__call__", press)
        with pytest.raises(KeyboardInterrupt):
            perform(study, tmp_path / "runs")
    assert len(Results(tmp_path / "runs").rows()) == 1
    assert len(perform(study, tmp_path / "runs")) == 2


def test_folder_of_another_study_is_refused(tmp_path):
    perform(make_study(tmp_path), tmp_path / "runs")
    with pytest.raises(OutputError, match="holds the study 'tiny', not 'other'"):
        perform(make_study(tmp_path, name="other"), tmp_path / "runs")


def test_device_that_is_not_there_is_refused_before_any_run(tmp_path):
    from mrrecon.operators.backend import has_cupy

    if has_cupy():
        return
    with pytest.raises(MissingDependencyError):
        perform(make_study(tmp_path, device="cuda"), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", solvers.names())
def test_every_solver_can_be_part_of_a_study(tmp_path, name):
    solver = {"name": name, "settings": {} if name == "zero-filled" else {"max_iter": 1}}
    (row,) = perform(make_study(tmp_path, solvers=[solver], priors=["tikhonov"]), tmp_path / "runs").values()
    assert row["metrics"]["psnr"] > 5 and (row["evaluations"] is not None) == bool(row["given"]["priors"])
