"""No command changes what it reads, what cannot be written is refused before the work, and no result is lost."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import yaml
from solver_scans import make_scan
from tiny_study import write_study

import mrrecon as mr
from mrrecon import cli, io, priors
from mrrecon.cli import main
from mrrecon.commands import files
from mrrecon.errors import OutputError
from mrrecon.io import arrays, plain_files


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder, the present one, with a scan in two formats, maps, a mask, a reference and a prior."""
    monkeypatch.chdir(tmp_path)
    scan = make_scan()
    mr.write(scan, "scan.h5")
    mr.write(scan, "scan.cfl")
    io.write_maps(scan.maps, "maps.cfl")
    io.write_mask(scan.mask, "mask.npy")
    plain_files.write_cfl(scan.reference, "truth.cfl")
    priors.WaveletPrior().save(tmp_path / "prior")
    os.symlink("scan.h5", "link.h5")
    os.link("scan.h5", "hard.h5")
    os.symlink(tmp_path, "here")
    return tmp_path


def contents(folder):
    """Every file with its bytes."""
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def refused(capsys, *words):
    """Run a command that must be refused before it reads anything; return what it says."""
    before = contents(".")
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("mrrecon: ") and said.err.count("\n") == 1 and not said.out
    assert contents(".") == before
    return said.err


RECON = ["recon", "scan.h5", "-o"]
INPUTS = [
    [*RECON, "scan.h5"],
    [*RECON, "./scan.h5"],
    [*RECON, "link.h5"],
    [*RECON, "hard.h5"],
    [*RECON, "here/scan.h5"],
    [*RECON, "v.nii.gz", "scan.h5"],
    ["recon", "link.h5", "-o", "scan.h5"],
    ["recon", "scan.cfl", "-o", "scan.cfl"],
    ["recon", "scan.cfl", "-o", "scan.hdr"],
    ["recon", "scan.hdr", "-o", "here/scan.cfl"],
    ["recon", "scan", "-o", "scan.cfl"],
    ["calibrate", "scan.h5", "-o", "scan.h5"],
    ["calibrate", "scan", "-o", "scan.cfl"],
    [*RECON, "maps.cfl", "--maps", "maps.cfl"],
    [*RECON, "maps.hdr", "--maps", "maps.cfl"],
    [*RECON, "truth.cfl", "--reference", "truth.cfl"],
    [*RECON, "prior/v.h5", "--solver", "variational", "--prior", "prior"],
    [*RECON, "here/prior/v.h5", "--solver", "variational", "--solver.prior", "prior"],
    [*RECON, "prior", "--solver", "variational", "--prior", "prior"],
    ["recon", "scan.cfl", "-o", "pattern.cfl", "--read.mask", "pattern.cfl"],
    ["simulate", "head.img", "-o", "head.cfl"],
    ["prior", "evaluate", "prior", "-o", "prior/config.json"],
    ["prior", "evaluate", "tikhonov", "-o", "t.json", "--samples", "prior/p.png", "--data", "prior/p.png"],
]


@pytest.mark.parametrize("words", INPUTS, ids=" ".join)
def test_no_output_is_an_input(folder, words, capsys):
    if "pattern.cfl" in words:
        plain_files.write_cfl(np.ones((32, 28)), "pattern.cfl")
    if "head.img" in words:
        nibabel.save(nibabel.Nifti1Pair(np.random.default_rng(0).random((9, 9, 9)), np.eye(4)), "head.img")
    if "prior/p.png" in words:
        Path("prior/p.png").write_bytes(b"picture")
    assert "must not be changed; write to another name" in refused(capsys, *words)


def test_a_mask_is_not_written_over_its_settings(folder, capsys):
    Path("settings.npy").write_text("{kind: gaussian}")
    said = refused(capsys, "mask", "[20,20]", "2", "-o", "settings.npy", "--config", "settings.npy")
    assert "settings.npy is the input itself" in said


def test_a_scan_of_the_name_of_a_checkpoint_stays(folder, capsys):
    shutil.copy("scan.h5", "v.h5.checkpoint")
    assert "which is the input v.h5.checkpoint" in refused(capsys, "recon", "v.h5.checkpoint", "-o", "v.h5")


def test_a_file_of_the_name_of_a_checkpoint_that_is_none_stays(folder, capsys):
    Path("v.h5.checkpoint").write_text("notes of a doctor")
    assert main(["recon", "scan.h5", "-o", "v.h5"]) == 2
    assert "is some other file" in capsys.readouterr().err
    assert Path("v.h5.checkpoint").read_text() == "notes of a doctor"


@pytest.mark.parametrize(
    "outputs", [["v.h5", "v.h5"], ["v.h5", "./v.h5"], ["v.cfl", "here/v.hdr"], ["dicom", "dicom/v.h5"]], ids=" ".join
)
def test_no_output_is_another_one(folder, outputs, capsys):
    assert "give different names" in refused(capsys, *RECON, *outputs)


def test_studies_and_trainings_keep_what_they_read(folder, capsys):
    study = write_study(folder)
    (folder / "rows").mkdir()
    shutil.copy("head.nii.gz", "rows/head.nii.gz")
    changed = {**yaml.safe_load(study.read_text()), "files": ["rows/head.nii.gz"]}
    study.write_text(yaml.safe_dump(changed))
    assert "must not be changed" in refused(capsys, "bench", "study.yaml", "-o", ".")
    Path("runs/again").mkdir(parents=True)
    shutil.copytree("prior", "runs/again/prior")
    Path("train.yaml").write_text("{name: again, data: head.nii.gz, start_from: runs/again/prior}")
    assert "must not be changed" in refused(capsys, "train", "train.yaml")
    assert "must not be changed" in refused(capsys, "train", "train.yaml", "-o", "here/runs/again")


def test_names_of_masks_and_priors_are_no_folders(folder, capsys):
    for name in ("poisson", "wavelet"):
        Path(name).mkdir()
    words = ["--solver", "variational", "--prior", "wavelet", "--solver.max_iter", "1"]
    assert main([*RECON, "poisson/a.h5", "wavelet/b.h5", "--mask", "poisson", *words]) == 0


def test_results_replace_results(folder):
    for _ in range(2):
        assert main([*RECON, "v.h5", "v.nii.gz", "--solver", "zero-filled"]) == 0


def test_every_argument_that_is_text_says_whether_it_names_a_file():
    for command in cli.COMMANDS:
        for action in cli.ACTIONS.get(command, [None]):
            parameters = inspect.signature(cli._command(command, action), eval_str=True).parameters
            assert not [name for name, one in parameters.items() if files.undeclared(one.annotation)]

    def forgetful(file: str) -> None: ...

    with pytest.raises(TypeError, match="say of file whether it names files"):
        cli._add_arguments(None, forgetful)


def test_a_reconstruction_never_replaces_its_scan_in_python(folder):
    scan = mr.read("scan.h5")
    result = mr.solvers.ZeroFilled()(scan)
    before = Path("scan.h5").read_bytes()
    for path in ("scan.h5", "link.h5", "here/scan.h5"):
        with pytest.raises(OutputError, match="k-space that this reconstruction was made from"):
            result.save(path)
    assert Path("scan.h5").read_bytes() == before
    with pytest.raises(OutputError, match="still being read"):
        mr.write(mr.read("scan.h5", lazy=True, coils=[0, 1]), "scan.h5")


# ---- before the work -----------------------------------------------------------------------------------------


@pytest.fixture
def no_work(monkeypatch):
    """Solvers and calibration fail the test."""

    def work(*given, **more):
        raise AssertionError("the work has begun")

    monkeypatch.setattr(mr.solvers.CGSense, "__call__", work)
    monkeypatch.setattr(mr.solvers.Variational, "__call__", work)
    monkeypatch.setattr(mr.Acquisition, "calibrate", work)


LATE = [
    ([*RECON, "full"], "exists and is not an empty folder"),
    ([*RECON, "v.mrd"], "does not hold an image"),
    ([*RECON, "v.npy"], "does not hold an image"),
    ([*RECON, "folder.nii.gz"], "is a folder; give a file name inside it"),
    ([*RECON, "scan.cfl/v.h5"], "is not a folder"),
    ([*RECON, "x" * 300 + ".h5"], "the file name is too long"),
    ([*RECON, "v.h5", "--reference", "nothing.h5"], "nothing.h5 does not exist"),
    ([*RECON, "v.h5", "--reference", "other.cfl"], r"reference has shape \(20, 32, 27\), expected"),
    ([*RECON, "v.h5", "--reference", "nan.cfl"], "reference has NaN"),
    ([*RECON, "v.h5", "--reference", "zero.cfl"], "reference is zero everywhere"),
    ([*RECON, "v.h5", "--maps", "nothing.cfl"], "nothing.cfl does not exist"),
    ([*RECON, "v.h5", "--maps", "few.cfl"], r"maps has shape \(3, 20, 32, 28\)"),
    ([*RECON, "v.h5", "--mask", "nothing.npy"], "nothing.npy does not exist"),
    ([*RECON, "v.h5", "--solver", "variational", "--prior", "nothing"], "no prior 'nothing'"),
    ([*RECON, "v.h5", "--solver", "variational", "--prior", "full"], "full"),
    ([*RECON, "v.h5", "--solver", "variational", "--prior", "wavelet", "wavelet"], "one prior or three"),
    (["calibrate", "scan.h5", "-o", "m.nii.gz"], "does not hold coil maps"),
    (["calibrate", "scan.h5", "-o", "folder.nii.gz/m.mrd"], "does not hold coil maps"),
    (["simulate", "head.nii.gz", "-o", "v.png"], "does not hold k-space"),
    (["mask", "[20,20]", "2", "-o", "m.h5"], "does not hold a mask"),
    (["extract", "scan.h5", "-o", "x.mrd"], "does not hold a single volume"),
    (["prior", "evaluate", "tikhonov", "-o", "folder.json"], "is a folder"),
    (["report", "full", "-o", "mask.npy/report"], "the folder cannot be made, since .*mask.npy is a file"),
]


@pytest.mark.parametrize(("words", "message"), LATE, ids=[" ".join(words)[:60] for words, _ in LATE])
def test_what_cannot_work_is_refused_before_the_work(folder, no_work, words, message, capsys):
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    for name in ("folder.nii.gz", "folder.json"):
        Path(name).mkdir()
    plain_files.write_cfl(np.ones((20, 32, 27), np.complex64), "other.cfl")
    plain_files.write_cfl(np.full((20, 32, 28), np.nan, np.complex64), "nan.cfl")
    plain_files.write_cfl(np.zeros((20, 32, 28), np.complex64), "zero.cfl")
    plain_files.write_cfl(np.ones((3, 20, 32, 28), np.complex64), "few.cfl")
    assert main(words) == 2
    said = capsys.readouterr().err
    assert re.search(message, said) and said.count("\n") == 1
    assert not list(folder.glob("v.*"))


def test_dicom_without_pydicom_is_refused_before_the_work(folder, no_work, monkeypatch, capsys):
    for name in [n for n in sys.modules if n.split(".")[0] == "pydicom"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert main([*RECON, "dicom"]) == 2
    assert "needs pydicom" in capsys.readouterr().err


def test_a_full_disk_is_noticed_before_the_work(folder, no_work, monkeypatch, capsys):
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000))
    assert main([*RECON, "v.h5"]) == 2
    assert "9.8 KiB are free on its disk" in capsys.readouterr().err


def test_the_second_run_of_a_command_that_wrote_dicom_is_refused_at_once(folder, monkeypatch, capsys):
    pytest.importorskip("pydicom")
    assert main([*RECON, "dicom"]) == 0
    monkeypatch.setattr(mr.solvers.CGSense, "__call__", None)
    capsys.readouterr()
    assert "exists and is not an empty folder" in refused(capsys, *RECON, "dicom")


def test_an_embedded_reference_that_cannot_be_compared_with_does_not_stop_the_work(folder, capsys):
    scan = make_scan(shape=(20, 32, 28))
    mr.write(replace(scan, reference=0 * scan.reference), "zero.h5")
    assert main(["recon", "zero.h5", "-o", "v.h5"]) == 0
    said = capsys.readouterr()
    assert "will not be compared" in said.err and "psnr" not in said.out


# ---- at the end ----------------------------------------------------------------------------------------------


def test_a_result_that_cannot_be_written_is_kept_beside(folder, monkeypatch, capsys):
    def full(thing, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mrrecon.io.nifti.atomic_path", lambda path: full(None, path))
    assert main([*RECON, "v.nii.gz", "--solver.max_iter", "3"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "No space left" in said and f"The result is in {folder / 'v.kept.h5'}" in said
    assert main([*RECON, "w.h5", "--solver.max_iter", "3"]) == 0
    kept, wanted = (mr.Reconstruction.load(name) for name in ("v.kept.h5", "w.h5"))
    np.testing.assert_array_equal(kept.volume, wanted.volume)
    assert kept.metrics["psnr"] == wanted.metrics["psnr"]
    # the other outputs are written all the same, and the one with the full record is where the result is
    assert main([*RECON, "v.nii.gz", "x.h5", "--solver.max_iter", "3"]) == 2
    assert "The result is in x.h5" in capsys.readouterr().err
    assert not Path("v.kept-2.h5").exists() and Path("x.h5").exists()


def test_the_folder_for_temporary_files_is_the_last_resort(folder, tmp_path_factory, monkeypatch, capsys):
    from mrrecon.commands.outputs import write_all

    other = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(other))

    def write(path):
        if Path(path).parent != other:
            raise OSError("the disk is gone")
        Path(path).write_text("the result")
        return Path(path)

    with pytest.raises(OutputError, match="the disk is gone"):
        write_all(["v.nii.gz"], write, write, ".h5")
    assert (other / "v.kept.h5").read_text() == "the result"


def test_metrics_that_fail_do_not_lose_the_image(folder, monkeypatch, capsys):
    def fail(*given):
        raise MemoryError("too much")

    monkeypatch.setattr("mrrecon.metrics.evaluate", fail)
    assert main([*RECON, "v.h5"]) == 0
    assert "could not be compared with the reference: too much" in capsys.readouterr().err
    assert mr.Reconstruction.load("v.h5").volume.any()


def test_the_checkpoint_goes_when_all_is_written_and_not_before(folder, monkeypatch, capsys):
    words = [*RECON, "v.h5", "--solver.tolerance", "0", "--solver.max_iter", "12"]
    assert main([*words, "--time-budget", "1e-6"]) == 0
    assert Path("v.h5.checkpoint").exists()
    monkeypatch.setattr(mr.Reconstruction, "save", lambda *given: (_ for _ in ()).throw(OSError("no")))
    assert main([*words, "--resume"]) == 2
    assert Path("v.h5.checkpoint").exists()
    monkeypatch.undo()
    os.chdir(folder)
    assert main([*words, "--resume"]) == 0
    assert not Path("v.h5.checkpoint").exists()
    assert len(mr.Reconstruction.load("v.h5").history) == 12


def test_calibrations_are_kept_too(folder, monkeypatch, capsys):
    def fail(array, path):
        raise OSError("no")

    monkeypatch.setattr(arrays, "write_cfl", fail)
    assert main(["calibrate", "scan.h5", "-o", "m.cfl", "--calibration", "12"]) == 2
    assert "The result is in" in capsys.readouterr().err
    assert np.load("m.kept.npy").shape == (4, 20, 32, 28)


def test_write_protected_files_are_not_replaced(folder, monkeypatch, capsys):
    Path("v.h5").write_text("mine")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("v.h5") and access(path, mode))
    assert "write-protected" in refused(capsys, *RECON, "v.h5")


def test_the_record_says_how_the_scan_was_sampled(folder):
    mr.write(make_scan(fraction=1.0), "whole.h5")
    words = ["--accel", "3", "--mask", "gaussian", "--seed", "5", "--calibration", "10", "--elliptical"]
    assert main(["recon", "whole.h5", "-o", "v.h5", *words]) == 0
    with h5py.File("v.h5") as file:
        assert "gaussian" in bytes(file["record"][()]).decode()
    steps = {step.name: step.settings for step in mr.Reconstruction.load("v.h5").provenance}
    made = steps["undersample"]
    asked = {"mask": "gaussian", "accel": 3.0, "calibration": 10, "elliptical": True, "seed": 5}
    assert {name: made[name] for name in asked} == asked
    assert made["achieved"] == pytest.approx(mr.Reconstruction.load("v.h5").acceleration)
    assert steps["read"]["path"] == str(folder / "whole.h5")
