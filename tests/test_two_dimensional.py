"""2D multi-slice scans: they lose whole lines along their readout, in every command, and reconstruct without wraps."""

from __future__ import annotations

import h5py
import nibabel
import numpy as np
import pytest

import mrrecon as mr
from mrrecon import Grid, io
from mrrecon.cli import main
from mrrecon.coil_models import coil_maps
from mrrecon.operators import MASK_KINDS, fft
from mrrecon.simulation import object_phase
from mrrecon.studies import Study, perform

SHAPE = (6, 96, 88)  # slice, readout, phase encoding


@pytest.fixture(scope="module")
def truth():
    """Slices of one head, thick enough to differ."""
    s, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    body = (y / 0.8) ** 2 + (z / (0.75 - 0.05 * s)) ** 2 < 1
    return body * (1 - 0.5 * (np.hypot(y - 0.2 * s, z) < 0.3) + 0.4 * (np.hypot(y + 0.4, z - 0.3) < 0.12))


@pytest.fixture(scope="module")
def scan(tmp_path_factory, truth):
    """FastMRI file of them: 6 coils, a little noise."""
    rng = np.random.default_rng(1)
    region = np.ones((3, *SHAPE[1:]), bool)
    maps = coil_maps(Grid(region.shape, (40, 2, 2)), 6, region=region, seed=1)[:, 1:2]
    maps = maps / np.linalg.norm(maps, axis=0)
    kspace = fft(maps * truth * np.exp(1j * object_phase(SHAPE, 2)), axes=(2, 3))
    kspace = kspace + 0.01 * (rng.standard_normal(kspace.shape) + 1j * rng.standard_normal(kspace.shape))
    path = tmp_path_factory.mktemp("flat") / "scan.h5"
    with h5py.File(path, "w") as f:
        f["kspace"] = kspace.transpose(1, 0, 2, 3).astype(np.complex64)
        f.attrs["acquisition"] = "AXT2"
    return path


def error_of(path, truth):
    volume = np.abs(mr.Reconstruction.load(path).volume)
    return np.linalg.norm(volume - truth) / np.linalg.norm(truth)


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_recon_undersamples_by_whole_lines(scan, truth, tmp_path, kind, capsys):
    out = tmp_path / "v.h5"
    words = ["--accel", "3", "--mask", kind, "--solver", "l1-wavelet", "--seed", "4"]
    assert main(["recon", str(scan), "-o", str(out), *words]) == 0
    assert "R = 3.0" in capsys.readouterr().out
    assert error_of(out, truth) < 0.12  # a wrapped image, or one without its lines, has 0.5 and more


def test_masks_of_lines_from_files(scan, truth, tmp_path, capsys):
    assert main(["mask", "[1,88]", "3", "-o", str(tmp_path / "lines.npy"), "--kind", "equispaced"]) == 0
    mask = io.read_mask(tmp_path / "lines.npy")
    assert mask.shape == (1, 88)
    np.save(tmp_path / "flat.npy", mask[0])
    np.save(tmp_path / "whole.npy", np.broadcast_to(mask, SHAPE[1:]))
    found = []
    for name in ("lines.npy", "flat.npy", "whole.npy"):
        out = tmp_path / f"{name}.h5"
        assert main(["recon", str(scan), "-o", str(out), "--mask", str(tmp_path / name), "--solver", "l1-wavelet"]) == 0
        found.append(mr.Reconstruction.load(out).volume)
    assert error_of(out, truth) < 0.12
    np.testing.assert_allclose(found[1], found[0])
    np.testing.assert_allclose(found[2], found[0])
    assert "along the readout" not in capsys.readouterr().err
    np.save(tmp_path / "points.npy", np.random.default_rng(0).random(SHAPE[1:]) < 0.7)
    main(["recon", str(scan), "-o", str(out), "--mask", str(tmp_path / "points.npy"), "--calibration", "4"])
    assert "leaves out single samples along the readout y of a 2D scan" in capsys.readouterr().err
    np.save(tmp_path / "lines.npy", np.ones(96))
    assert main(["recon", str(scan), "-o", str(out), "--mask", str(tmp_path / "lines.npy")]) == 2


def test_a_study_undersamples_by_whole_lines(scan, tmp_path):
    study = Study.from_settings(
        {
            "name": "flat",
            "files": [str(scan)],
            "accelerations": [3, 5],
            "sampling": {"mask": "equispaced"},
            "solvers": ["l1-wavelet"],
            "device": "cpu",
        },
        tmp_path,
    )
    rows = list(perform(study, tmp_path / "runs").values())
    assert [row["achieved"] for row in rows] == pytest.approx([3, 5], rel=0.03)
    assert [row.get("error") for row in rows] == [None, None]
    assert min(row["metrics"]["psnr"] for row in rows) > 20  # wrapped slices have 12 and less


def test_a_complex_anatomy_is_scanned_with_its_own_phase(tmp_path):
    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in (20, 24, 22)), indexing="ij")
    image = (sum((g / 0.8) ** 2 for g in grids) < 1) * np.exp(1j * (2 * grids[0] + grids[1] ** 2))
    nibabel.save(nibabel.Nifti1Image(image.astype(np.complex64), np.diag([2.0, 2, 2, 1])), tmp_path / "c.nii.gz")
    assert main(["simulate", str(tmp_path / "c.nii.gz"), "-o", str(tmp_path / "s.h5"), "--snr", "1000"]) == 0
    reference = mr.read(tmp_path / "s.h5").reference
    inside = image != 0
    np.testing.assert_allclose(np.angle(reference[inside] / image[inside]), 0, atol=1e-4)
