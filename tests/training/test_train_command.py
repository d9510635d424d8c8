"""``mrrecon train`` as its users meet it: from files to a prior, interrupted, gone on with, and refused."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import nibabel
import numpy as np
import pytest
import yaml
from tiny_training import NETWORK

from mrrecon import priors, training
from mrrecon.cli import main

SETTINGS = {
    "name": "tiny",
    "data": ["heads/train"],
    "validation": "heads/validation/*.nii.gz",
    "sources": "heads/sources.md",
    "network": NETWORK,
    "slices": {"mode": "fixed", "voxel_size": 4.0, "canvas": 160.0, "pixels_per_batch": 4000},
    "steps": 6,
    "learning_rate": "1e-3",
    "log_every": 2,
    "save_every": 4,
    "validate_every": 3,
}


@pytest.fixture
def heads(tmp_path, monkeypatch, rng):
    """A folder with two volumes to train on and one to validate with, which is the current one."""
    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in (32, 40, 36)), indexing="ij")
    for name, radius in {"train/a": 0.7, "train/b": 0.8, "validation/c": 0.75}.items():
        path = tmp_path / "heads" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        head = (sum((g / radius) ** 2 for g in grids) < 1) * (800 + 100 * rng.standard_normal(grids[0].shape))
        nibabel.save(nibabel.Nifti1Image(head.clip(0).astype(np.int16), np.diag([4.0, 4.0, 4.0, 1.0])), path)
    (tmp_path / "heads" / "sources.md").write_text("Balls made of noise, no licence needed.")
    monkeypatch.chdir(tmp_path)
    write()
    return tmp_path


def write(**changes):
    """Settings file; numbers in the form that plain YAML takes for text."""
    text = yaml.safe_dump({**SETTINGS, **changes}).replace("'1e-3'", "1e-3")
    with open("tiny.yaml", "w") as file:
        file.write(text)


def refused(capsys, *words):
    """The sentence with which a command fails."""
    capsys.readouterr()
    assert main(["train", "tiny.yaml", *words]) == 2
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith("mrrecon: "), lines
    return lines[0]


def test_from_files_to_a_prior_that_loads(heads, capsys):
    assert main(["train", "tiny.yaml"]) == 0
    printed = capsys.readouterr().out
    assert "2 volumes, 1 for validation" in printed and re.search(r"step 6 of 6, loss \d", printed)
    prior = priors.load(heads / "runs" / "tiny" / "prior")
    assert prior.name == "tiny" and prior.voxel_sizes == (4, 4)
    assert prior.training["settings"]["learning_rate"] == 1e-3
    assert prior.training["data"]["training"] == ["a", "b"]
    card = (heads / "runs" / "tiny" / "prior" / "README.md").read_text()
    assert "Balls made of noise" in card and re.search(r"\| +6 \| +-?\d+\.\d\d \|", card)
    entries = [json.loads(line) for line in (heads / "runs" / "tiny" / "log.jsonl").read_text().splitlines()]
    curve = [e["validation"] for e in entries if "validation" in e]
    assert len(curve) == 2 and curve[0].keys() == {f"4 mm, t = {t}" for t in (50, 100, 200, 400)}


def test_flags_come_before_the_file_and_a_run_goes_on(heads, capsys):
    assert main(["train", "tiny.yaml", "--minutes", "1e-9", "-o", "a"]) == 0
    assert "the same command goes on" in capsys.readouterr().out
    assert main(["train", "tiny.yaml", "--steps", "3", "-o", "a"]) == 0
    printed = capsys.readouterr().out
    assert "going on after step 1 of 3" in printed and "step 3 of 3" in printed


def test_a_packed_file_gives_both_parts(heads, capsys):
    training.pack(
        training.read_volumes("heads/train"), "all.h5", 4.0, validation=training.read_volumes("heads/validation")
    )
    write(data="all.h5", validation="all.h5")
    assert main(["train", "tiny.yaml", "--steps", "1"]) == 0
    assert "2 volumes, 1 for validation" in capsys.readouterr().out


def test_ctrl_c_saves_and_says_how_to_go_on(heads):
    write(steps=100_000, save_every=1_000_000, validate_every=1_000_000, workers=2)
    command = [sys.executable, "-m", "mrrecon", "train", "tiny.yaml"]
    options = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True, "start_new_session": True}
    with subprocess.Popen(command, **options) as process:
        log = heads / "runs" / "tiny" / "log.jsonl"
        deadline = time.monotonic() + 60
        while not log.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # the workers get it too, as from a terminal
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert re.search(r"mrrecon: stopped after step \d+ of 100000 and saved; the same command goes on from there", said)
    assert "Traceback" not in said
    assert (heads / "runs" / "tiny" / "checkpoint.safetensors").is_file()


def test_validation_data_that_are_trained_on_are_refused(heads, capsys):
    write(validation="heads/train/b.nii.gz")
    assert "b of the validation data is the same picture as b" in refused(capsys)
    os.rename("heads/validation/c.nii.gz", "heads/validation/sub-07_ses-2.nii.gz")
    os.rename("heads/train/a.nii.gz", "heads/train/sub-07_ses-1.nii.gz")
    write()
    assert "Subject '07' is in the training data (sub-07_ses-1)" in refused(capsys)


def test_what_cannot_be_is_said_in_one_sentence(heads, capsys):
    write(stepz=3)
    assert "tiny.yaml: TrainingConfig has no setting 'stepz'; did you mean 'steps'" in refused(capsys)
    write(network={"type": "transformer"})
    assert "no network of type 'transformer'" in refused(capsys)
    write(network={**NETWORK, "chanels": 3})
    assert "chanels" in refused(capsys)
    write(data="nothing/here")
    assert "nothing/here" in refused(capsys)
    write(sources="absent.md")
    assert "absent.md" in refused(capsys)
    write(start_from="no-such-prior")
    assert "no-such-prior" in refused(capsys)
    write()
    assert "one folder" in refused(capsys, "-o", "a", "b")
    assert "--minutes must be positive" in refused(capsys, "--minutes", "0")
    (heads / "file").write_text("")
    assert "cannot be made" in refused(capsys, "-o", "file/run")
    (heads / "tiny.yaml").write_text("name: [")
    assert "not valid YAML" in refused(capsys)
    (heads / "tiny.yaml").write_text("just words")
    assert "has no settings" in refused(capsys)
    (heads / "tiny.yaml").unlink()
    assert "cannot be read" in refused(capsys)


def test_another_training_in_the_folder_is_not_continued(heads, capsys):
    assert main(["train", "tiny.yaml", "--steps", "1"]) == 0
    write(data_scale=1.0)
    assert "another data_scale (2.0, now 1.0); choose another output folder" in refused(capsys)
