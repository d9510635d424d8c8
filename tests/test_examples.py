"""The examples run as they stand, as their readers would run them."""

from __future__ import annotations

import re
import subprocess
import sys

import nibabel
import numpy as np
from helpers import REPOSITORY

import mrrecon as mr


def run(name, *arguments, cwd):
    script = REPOSITORY / "examples" / name
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_quickstart(tmp_path):
    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in (32, 64, 64)), indexing="ij")
    anatomy = 100.0 * (sum((g / 0.8) ** 2 for g in grids) < 1) - 50.0 * (np.hypot(grids[1], grids[2]) < 0.3)
    nibabel.save(nibabel.Nifti1Image(anatomy.clip(0).astype(np.float32), np.eye(4)), tmp_path / "head.nii.gz")
    printed = run("quickstart.py", tmp_path / "head.nii.gz", cwd=tmp_path)
    cg, wavelet = (float(number) for number in re.findall(r"PSNR ([\d.]+) dB", printed))
    assert wavelet > cg > 25
    assert (tmp_path / "cg-sense.nii.gz").is_file() and (tmp_path / "l1-wavelet.nii.gz").is_file()


def test_your_own_arrays(tmp_path):
    printed = run("your_own_arrays.py", cwd=tmp_path)
    assert float(re.search(r"sigpy's: ([\d.]+)", printed).group(1)) < 0.05


def test_train_tiny_prior(tmp_path):
    printed = run("train_tiny_prior.py", 80, cwd=tmp_path)
    noisy, denoised = (float(number) for number in re.findall(r"(?:noisy|denoised) ([\d.]+) dB", printed))
    assert denoised > noisy + 1.1  # a network of zeros, which only shrinks the slice, gains 0.5 dB; all 1200 steps 8 dB
    assert (tmp_path / "tiny_prior" / "denoised.png").is_file()
    assert "ICBM 152" in (tmp_path / "tiny_prior" / "run" / "prior" / "README.md").read_text()


def test_priors(tmp_path):
    printed = run("priors.py", tmp_path / "priors.png", cwd=tmp_path)
    psnr = {name: float(number) for name, number in re.findall(r"([\w-]+) +PSNR +([\d.-]+) dB", printed)}
    assert psnr["brain-diverse"] > psnr["wavelet"] > psnr["noisy"] and psnr["mine"] != psnr["noisy"]
    assert "brain-infinite" in printed and (tmp_path / "priors.png").stat().st_size > 10_000


def test_swap(tmp_path):
    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in (16, 48, 48)), indexing="ij")
    anatomy = 1.0 * (sum((g / 0.8) ** 2 for g in grids) < 1) - 0.5 * (np.hypot(grids[1], grids[2]) < 0.3)
    mr.write(
        mr.simulate(anatomy.clip(0), mr.Grid(anatomy.shape, (2, 2, 2)), n_coils=4, snr=30, seed=0), tmp_path / "scan.h5"
    )
    printed = run("swap.py", tmp_path / "scan.h5", 2.5, cwd=tmp_path)
    found = re.findall(r"^(\w+), (.+): [\d.]+ s, PSNR ([\d.]+) dB$", printed, re.M)
    assert [solver for solver, _, _ in found] == ["variational"] * 4 + ["dds", "tpdm"]
    assert [prior for _, prior, _ in found[:4]] == [
        "brain-small", "total-variation", "['brain-small', 'wavelet', 'wavelet']", "soft"
    ]  # fmt: skip
    assert min(float(psnr) for _, _, psnr in found[:3]) > 29 and min(float(psnr) for _, _, psnr in found[4:]) > 10
