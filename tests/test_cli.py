"""The command line as its users meet it: whole commands on real files, and one clear sentence when they cannot work."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys

import h5py
import nibabel
import numpy as np
import pytest
import yaml
from helpers import write_cfl

import mrrecon as mr
from mrrecon import solvers
from mrrecon.cli import COMMANDS, main

HEAVY = ("torch", "sigpy", "numba", "matplotlib", "nibabel", "scipy.signal", "cupy", "ismrmrd")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder with a small anatomy and the scan that the command line makes of it."""
    folder = tmp_path_factory.mktemp("cli")
    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in (32, 44, 40)), indexing="ij")
    anatomy = 100.0 * (sum((g / 0.8) ** 2 for g in grids) < 1) - 40.0 * (np.hypot(grids[1], grids[2]) < 0.3)
    affine = np.diag([4.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = [-60, -70, -50]
    nibabel.save(nibabel.Nifti1Image(anatomy.clip(0).astype(np.int16), affine), folder / "head.nii.gz")
    command = ["simulate", folder / "head.nii.gz", "-o", folder / "scan.h5", "--coils", 6, "--snr", 50]
    assert main([str(word) for word in command]) == 0
    return folder


def run(*words, **environment):
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "mrrecon", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def refuses(*words):
    """Run a command that must fail with exit code 2 and, beside notes, one sentence; return the sentence."""
    done = run(*words)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.strip().splitlines() if line and not line.startswith("mrrecon: note: ")]
    assert len(lines) == 1 and lines[0].startswith("mrrecon: "), done.stderr
    return lines[0]


# ---- help ----------------------------------------------------------------------------------------------------


def list_modules(words):
    """Python code that runs the command line and prints what it loaded."""
    return f"import sys; from mrrecon.cli import main\ntry: main({words})\nexcept SystemExit: pass\nprint(*sys.modules)"


def test_help_names_every_command_and_loads_nothing_heavy():
    command = [sys.executable, "-X", "importtime", "-m", "mrrecon", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert all(re.search(rf"^\s+{name}\s", done.stdout, re.M) for name in COMMANDS)
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "mrrecon.cli" in loaded and not {*HEAVY, "scipy"} & loaded


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_loads_nothing_heavy(command):
    code = list_modules([command, "--help"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "usage: mrrecon" in done.stdout
    assert not set(HEAVY) & set(done.stdout.splitlines()[-1].split())


# ---- the main job --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["zero-filled", "cg-sense", "l1-wavelet", "tv"])
def test_recon_writes_volume_record_and_picture(folder, solver, tmp_path, capsys):
    out = [tmp_path / name for name in ("v.nii.gz", "v.h5", "v.png")]
    words = ["recon", folder / "scan.h5", "-o", *out, "--solver", solver, "--accel", 4, "--calibration", 16]
    assert main([str(w) for w in words]) == 0
    printed = capsys.readouterr().out
    assert "PSNR" in printed.upper()

    record = mr.Reconstruction.load(out[1])
    assert record.solver == solver
    assert record.acceleration == pytest.approx(4, rel=0.01)
    assert record.metrics["psnr"] > (18 if solver == "zero-filled" else 26)
    assert [s.name for s in record.provenance][-1] in ("calibrate", "whiten")
    image, anatomy = nibabel.load(out[0]), nibabel.load(folder / "head.nii.gz")
    np.testing.assert_allclose(image.affine, anatomy.affine, atol=1e-4)
    np.testing.assert_allclose(image.get_fdata(), record.magnitude, rtol=1e-4, atol=1e-3 * record.magnitude.max())
    assert out[2].read_bytes()[:4] == b"\x89PNG"


def test_solver_settings_and_config_file_give_the_same_result(folder, tmp_path):
    words = ["recon", folder / "scan.h5", "--solver", "cg-sense", "--solver.max_iter", 3, "--accel", 3, "--seed", 5]
    words = [*map(str, words), "--calibration", "16", "-o"]
    config = run(*words, tmp_path / "b.h5", "--print_config")
    assert config.returncode == 0, config.stderr
    (tmp_path / "recon.yaml").write_text(config.stdout)
    assert main([*words, str(tmp_path / "a.h5")]) == 0
    assert main(["recon", "--config", str(tmp_path / "recon.yaml")]) == 0
    a, b = (mr.Reconstruction.load(tmp_path / name) for name in ("a.h5", "b.h5"))
    assert a.settings == b.settings and a.settings["max_iter"] == 3
    np.testing.assert_array_equal(a.volume, b.volume)


@pytest.mark.parametrize("name", solvers.names())
def test_each_solver_has_its_own_defaults(folder, tmp_path, name):
    words = ["recon", folder / "scan.h5", "-o", tmp_path / "v.h5", "--solver", name, "--print_config"]
    done = run(*words)
    chosen = yaml.safe_load(done.stdout)["solver"]
    own = dataclasses.asdict(solvers.get(name)())
    assert chosen["class_path"].endswith(solvers.get(name).__name__)
    assert chosen.get("init_args", {}) == own


def test_settings_without_a_solver_are_those_of_cg_sense(folder, tmp_path):
    done = run("recon", folder / "scan.h5", "-o", tmp_path / "v.h5", "--solver.max_iter", 7, "--print_config")
    chosen = yaml.safe_load(done.stdout)["solver"]
    assert chosen["class_path"].endswith("CGSense") and chosen["init_args"]["max_iter"] == 7


def test_mask_file_made_by_the_command_is_used_as_it_is(folder, tmp_path):
    assert main(["mask", "[44,40]", "4", "-o", str(tmp_path / "m.npy"), "--calibration", "16"]) == 0
    words = ["recon", folder / "scan.h5", "-o", tmp_path / "v.h5", "--mask", tmp_path / "m.npy"]
    assert main([str(w) for w in words]) == 0
    mask = np.load(tmp_path / "m.npy")
    assert mr.Reconstruction.load(tmp_path / "v.h5").acceleration == pytest.approx(mask.size / mask.sum())


def test_maps_of_calibrate_give_the_reconstruction_that_recon_gives(folder, tmp_path):
    scan, maps = folder / "scan.h5", tmp_path / "maps.cfl"
    assert main(["calibrate", str(scan), "-o", str(maps), "--calibration", "24"]) == 0
    assert main(["recon", str(scan), "-o", str(tmp_path / "a.h5")]) == 0
    assert main(["recon", str(scan), "-o", str(tmp_path / "b.h5"), "--maps", str(maps)]) == 0
    a, b = (mr.Reconstruction.load(tmp_path / name).volume for name in ("a.h5", "b.h5"))
    assert np.linalg.norm(a - b) < 0.02 * np.linalg.norm(a)


def test_info_tells_matrix_sampling_and_history(folder, capsys):
    assert main(["info", str(folder / "scan.h5")]) == 0
    printed = capsys.readouterr().out
    assert "32 x 44 x 40" in printed and "R = 1.000" in printed and "simulate" in printed


def test_check_passes_here(capsys):
    assert main(["check", "--device", "cpu"]) == 0
    assert "all checks passed" in capsys.readouterr().out


def test_compressing_the_coils(folder, tmp_path, capsys):
    for method in ("svd", "geometric"):
        words = ["recon", folder / "scan.h5", "-o", tmp_path / "v.h5", "--coils", 4, "--compression", method]
        assert main([str(w) for w in words]) == 0
        assert "compressed to 4" in capsys.readouterr().out
        assert mr.Reconstruction.load(tmp_path / "v.h5").metrics["psnr"] > 25


# ---- what goes wrong -----------------------------------------------------------------------------------------


def test_missing_truncated_and_foreign_files_are_named(folder, tmp_path):
    assert "does not exist" in refuses("info", tmp_path / "nothing.h5")
    whole = (folder / "scan.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    assert "truncated" in refuses("recon", tmp_path / "cut.h5", "-o", tmp_path / "v.nii.gz")
    (tmp_path / "text.h5").write_text("this is not k-space\n" * 50)
    assert "text.h5" in refuses("recon", tmp_path / "text.h5", "-o", tmp_path / "v.nii.gz")
    assert not (tmp_path / "v.nii.gz").exists()


def test_nan_in_the_data_is_refused(folder, tmp_path):
    (tmp_path / "nan.h5").write_bytes((folder / "scan.h5").read_bytes())
    with h5py.File(tmp_path / "nan.h5", "r+") as file:
        name = next(k for k in file if "kspace" in k)
        file[name][1, 2, 3, 4] = np.nan
    assert "NaN" in refuses("recon", tmp_path / "nan.h5", "-o", tmp_path / "v.nii.gz")


def test_mask_of_another_shape_says_what_was_expected(folder, tmp_path):
    np.save(tmp_path / "m.npy", np.ones((40, 44), bool))
    sentence = refuses("recon", folder / "scan.h5", "-o", tmp_path / "v.nii.gz", "--mask", tmp_path / "m.npy")
    assert "(40, 44)" in sentence and "(44, 40)" in sentence and "transposed" in sentence


def test_data_without_a_calibration_region_say_so(tmp_path, rng):
    mask = rng.random((40, 36)) < 0.15
    kspace = (rng.standard_normal((4, 16, 40, 36)) + 0j) * mask
    write_cfl(tmp_path / "k", kspace.transpose(1, 2, 3, 0))
    sentence = refuses("recon", tmp_path / "k.cfl", "-o", tmp_path / "v.nii.gz")
    assert "calibration" in sentence


def test_impossible_acceleration_names_the_possible_range(folder, tmp_path):
    sentence = refuses("recon", folder / "scan.h5", "-o", tmp_path / "v.nii.gz", "--accel", 40)
    assert re.search(r"R.*(at most|from|up to)|calibration", sentence)


def test_unwritable_output_is_refused_before_the_work(folder, tmp_path):
    sentence = refuses("recon", folder / "scan.h5", "-o", tmp_path / "missing" / "v.nii.gz")
    assert "does not exist" in sentence and "mkdir" in sentence
    assert ".unknown" in refuses("recon", folder / "scan.h5", "-o", tmp_path / "v.unknown")


def test_unknown_settings_are_refused():
    assert "no solver 'magic'" in refuses("recon", "scan.h5", "-o", "v.nii.gz", "--solver", "magic")
    done = run("recon", "scan.h5", "-o", "v.nii.gz", "--unheard-of", 1)
    assert done.returncode == 2 and "Traceback" not in done.stderr
