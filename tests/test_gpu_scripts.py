"""The scripts for GPUs run at toy size here, so that they work the day there is a GPU."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
import tarfile

import pytest
import torch
from helpers import REPOSITORY

from mrrecon import priors, studies
from mrrecon.priors import networks
from mrrecon.training.config import TrainingConfig

SCRIPTS = REPOSITORY / "benchmarks" / "gpu"
RECIPES = sorted((SCRIPTS / "recipes").glob("*.yaml"))
CPU_RECIPES = sorted((REPOSITORY / "benchmarks" / "zoo").glob("*.yaml"))


def run(script, *words, cwd):
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script), *map(str, words)], capture_output=True, text=True, check=False, cwd=cwd
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def parameters(recipe):
    """Number of weights of a recipe's network."""
    with torch.device("meta"):
        return sum(p.numel() for p in networks.build(TrainingConfig.from_yaml(recipe).network).parameters())


def test_training_all_priors_and_carrying_them_on(tmp_path):
    printed = run("train_priors.py", "--small", "--carry", tmp_path / "carry", cwd=tmp_path)
    assert "all are trained" in printed
    names = [path.stem for path in RECIPES]
    assert sorted(re.findall(r"^(\S+) 4/4: loss", printed, re.M)) == names
    for name in names:
        with tarfile.open(tmp_path / "carry" / f"{name}.tar") as tar:
            tar.extractall(tmp_path / name, filter="data")
        prior = priors.load(tmp_path / name / "prior")
        assert prior.name == name and prior.training["steps"] == 4
        assert "| 4 |" in " ".join((tmp_path / name / "prior" / "README.md").read_text().split())
    record = json.loads((tmp_path / "carry" / "training.json").read_text())
    assert all(record[name]["share_of_peak"] > 0 and record[name]["steps"] == 4 for name in names)
    again = run("train_priors.py", "--small", "--carry", tmp_path / "carry", cwd=tmp_path)
    assert "all are trained" in again and "4/4" not in again


def test_speed_of_the_networks(tmp_path):
    printed = run("prior_speed.py", "--small", cwd=tmp_path)
    assert printed.count("'slices_per_second'") == 2 * len(RECIPES)


def test_reconstruction(tmp_path):
    printed = run("reconstruction.py", "--small", "--prior", "brain-small", cwd=tmp_path)
    assert printed.count("'network_share'") >= 4 and "'Memcpy HtoD'" in printed
    found = ast.literal_eval(printed.strip().splitlines()[-1])
    runs = found["24x32x28, R = 4"]
    assert set(runs) == {"cg-sense", "l1-wavelet", "variational", "dds", "tpdm"}
    assert all(0 < run["network_share"] < 1 for run in runs.values() if "evaluations" in run)
    assert all(run["psnr"] > 15 and run["seconds"] > 0 for run in runs.values())


@pytest.mark.parametrize("study", sorted(SCRIPTS.glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.data
def test_studies_are_whole(study, data_dir, monkeypatch):
    monkeypatch.setenv("MRRECON_DATA", str(data_dir))
    found = studies.Study.from_yaml(study)
    assert found.device == "cuda" and len(studies.expand(found)) >= 12


@pytest.mark.parametrize("recipes", [RECIPES, CPU_RECIPES], ids=["gpu", "cpu"])
def test_the_zoo_has_six_priors_of_at_most_16_mib_and_64_together(recipes):
    sizes = {path.stem: 2 * parameters(path) / 2**20 for path in recipes}
    assert set(sizes) == {"brain-diverse", "brain-1x", "brain-2x", "brain-4x", "brain-infinite", "brain-small"}
    assert max(sizes.values()) < 15.5 and sum(sizes.values()) < 63
    for path in recipes:
        config = TrainingConfig.from_yaml(path)
        assert config.name == path.stem and (REPOSITORY / config.sources).is_file()
    by_size = {path.stem: TrainingConfig.from_yaml(path).voxel_sizes for path in recipes}
    assert [by_size[f"brain-{n}x"] for n in (1, 2, 4)] == [(1, 1), (2, 2), (4, 4)]
    assert by_size["brain-diverse"] == by_size["brain-small"] == (1, 10)


@pytest.mark.data
def test_the_data_file_knows_whose_every_volume_is(data_dir, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    script = importlib.import_module("train_priors")
    subjects = dict(script._subjects((data_dir / "MANIFEST.md").read_text()))
    files = {f"{part}/{p.name}" for part in ("train", "validation") for p in (data_dir / part).iterdir()}
    assert subjects.keys() == files and set(script.LEFT_OUT) <= files
    people = [{subjects[f] for f in files if f.startswith(part)} for part in ("train/", "validation/")]
    assert not people[0] & people[1]
