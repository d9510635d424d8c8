"""The packaged priors: complete, small enough, honest about their data, and better than what needs no training."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers import REPOSITORY
from safetensors import safe_open

from mrrecon import priors

ZOO = REPOSITORY / "priors" / "zoo"
NAMES = ("brain-1x", "brain-2x", "brain-4x", "brain-diverse", "brain-infinite", "brain-small")
FIXED = {"brain-1x": 1.0, "brain-2x": 2.0, "brain-4x": 4.0}  # mm
MIB = 2**20
VALIDATION = ("brain_t1_uih1", "brain_t1_uih2", "brain_t1_ljmni26", "brain_t2_ljmni26", "brain_flair_ljmni26",
              "brain_t1_ixi015_2mm")  # fmt: skip


def slices(voxel_size: float) -> np.ndarray:
    """Slices of the MNI152 template, on which no prior was trained, with a smooth phase; bright tissue is one."""
    from nilearn.datasets import load_mni152_template

    from mrrecon.grid import Grid
    from mrrecon.resolution import change_resolution

    image = load_mni152_template(resolution=1)
    volume = np.asarray(image.get_fdata(), np.float32)
    volume, _ = change_resolution(volume, Grid(volume.shape), (voxel_size,) * 3)
    volume = volume / np.percentile(volume[volume > 0.1 * volume.max()], 99)
    third = volume.shape[2] // 2
    chosen = np.moveaxis(volume[:, :, third : third + 2], 2, 0)
    y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in chosen.shape[1:]), indexing="ij")
    return (chosen * np.exp(1j * (1 + y - 1.5 * z * z))).astype(np.complex64)


def gain(prior: priors.SlicePrior, voxel_size: float, sigma: float) -> float:
    """PSNR after minus PSNR before denoising, dB."""
    truth = slices(voxel_size)
    rng = np.random.default_rng(3)
    noise = rng.standard_normal(truth.shape) + 1j * rng.standard_normal(truth.shape)
    noisy = (truth + sigma * noise).astype(np.complex64)
    clean = prior.denoise(noisy, sigma, priors.Condition(voxel_size=(voxel_size, voxel_size)))
    return float(10 * np.log10(np.mean(np.abs(noisy - truth) ** 2) / np.mean(np.abs(clean - truth) ** 2)))


def test_all_are_there():
    packaged = [found["name"] for found in priors.describe_all() if found["source"] == "packaged"]
    assert tuple(packaged) == NAMES
    assert sum(file.stat().st_size for file in ZOO.rglob("*") if file.is_file()) < 64 * MIB


@pytest.mark.parametrize("name", NAMES)
def test_each_is_complete_and_small(name):
    weights = ZOO / name / "model.safetensors"
    assert weights.stat().st_size < 16 * MIB
    with safe_open(weights, framework="pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118
    prior = priors.load(name)
    assert prior.name == name and prior.voxel_sizes is not None and prior.parameters() > 5e5
    card = (ZOO / name / "README.md").read_text()
    for word in ("licence", "voxel", "limit", "steps"):
        assert word in card.lower(), f"the card of {name} does not mention {word}"


@pytest.mark.parametrize("name", NAMES)
def test_none_was_trained_on_validation_subjects(name):
    data = json.loads((ZOO / name / "config.json").read_text())["training"]["data"]
    assert len(data["training"]) > 30 and data["validation"]
    assert not set(data["training"]) & {*data["validation"], *VALIDATION}


@pytest.mark.parametrize("sigma", [0.03, 0.1, 0.3])
@pytest.mark.parametrize("name", ["brain-diverse", "brain-small"])
def test_trained_priors_beat_classical_ones(name, sigma):
    classical = max(gain(priors.load(other), 2.0, sigma) for other in ("wavelet", "total-variation"))
    assert gain(priors.load(name), 2.0, sigma) > classical + 0.4


@pytest.mark.parametrize(("name", "edge"), FIXED.items())
def test_priors_of_one_voxel_size_denoise_there_and_brain_diverse_as_well(name, edge):
    own = gain(priors.load(name), edge, 0.05)
    assert own > gain(priors.load("wavelet"), edge, 0.05) + 0.5
    assert gain(priors.load("brain-diverse"), edge, 0.05) > own - 0.3


@pytest.mark.parametrize("edge", [1.0, 2.0])
def test_a_prior_of_coarse_voxels_loses_at_fine_ones(edge):
    fitting = next(name for name, own in FIXED.items() if own == edge)
    assert gain(priors.load("brain-4x"), edge, 0.1) < gain(priors.load(fitting), edge, 0.1) - 0.5


def test_the_infinite_prior_follows_the_voxel_size():
    prior = priors.load("brain-infinite")
    assert gain(prior, 2.0, 0.1) > gain(priors.load("wavelet"), 2.0, 0.1) + 0.5
    assert gain(prior, 1.0, 0.05) > 7


@pytest.mark.parametrize("factor", [1e-4, 37.0])
def test_the_scale_of_the_image_does_not_matter(factor):
    truth, prior = slices(2.0), priors.load("brain-small", precision="fp32")
    noisy = truth + np.float32(0.1) * np.random.default_rng(0).standard_normal((*truth.shape, 2), np.float32).view(
        np.complex64
    ).squeeze(-1)
    ones = prior.denoise(noisy, 0.1)
    scaled = prior.denoise((noisy * factor).astype(np.complex64), 0.1 * factor, scale=factor)
    assert np.linalg.norm(scaled / factor - ones) < 1e-4 * np.linalg.norm(ones)
