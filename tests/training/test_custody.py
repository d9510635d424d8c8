"""What weights were ever trained on is known for ever, and nothing of it is called held out."""

from __future__ import annotations

import json
import shutil
import warnings

import nibabel
import numpy as np
import pytest
import torch
import yaml
from tiny_training import NETWORK, make

from mrrecon import priors
from mrrecon.cli import main
from mrrecon.training.checkpoint import load_checkpoint, save_checkpoint
from mrrecon.training.custody import Custody, Seen


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def volume(name, subject="", picture=None):
    return Seen(name, subject, name if picture is None else picture)


def data(training, validation=(), sources=""):
    seen = [[one if isinstance(one, Seen) else volume(one) for one in part] for part in (training, validation)]
    return {"training": seen[0], "validation": seen[1], "sources": sources}


def train(folder, steps, given, said=0, **changes):
    """Train up to a step with some data; returns the card and the sentences that were said."""
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        trainer = make(
            folder, {"steps": steps, "validate_every": 1, **changes}, data=given, validate=lambda _: {"2": 1.0}
        )
        trainer.run()
    sentences = [str(note.message) for note in notes if note.category is UserWarning]
    assert len(sentences) == said, sentences
    return (folder / "prior" / "README.md").read_text(), sentences


def lines(card, *starts):
    return [line for line in card.splitlines() if line.startswith(starts)]


def test_a_training_that_goes_on_with_the_same_data_says_nothing(tmp_path):
    for steps in (1, 2, 3):
        card, _ = train(tmp_path, steps, data(["a", "b"], ["c"], "Somewhere."))
    assert lines(card, "Trained on") == ["Trained on (2): a, b."]
    assert lines(card, "Never trained on") == ["Never trained on, used for the table below (1): c."]
    assert card.count("Somewhere.") == 1 and "Rows up to" not in card


def test_all_that_was_ever_trained_on_is_named(tmp_path):
    train(tmp_path, 1, data(["a", "b"], sources="First place."))
    card, said = train(tmp_path, 2, data(["b", "c"], sources="Second place."), said=1)
    assert said == ["The training goes on with other data, with c and without a; its card names all of them."]
    assert lines(card, "Trained on") == ["Trained on (3): b, c; earlier a."]
    assert "First place." in card and "Second place." in card
    card, _ = train(tmp_path, 3, data(["b", "c"], sources="Second place."))
    assert lines(card, "Trained on") == ["Trained on (3): b, c; earlier a."]
    card, said = train(tmp_path, 4, data(["a"], sources="First place."), said=1)
    assert lines(card, "Trained on") == ["Trained on (3): a; earlier b, c."]
    assert priors.load(tmp_path / "prior").training["data"]["earlier"] == ["b", "c"]


@pytest.mark.parametrize(
    "spoilt",
    [
        volume("a"),
        volume("a", picture="resampled to other voxels"),
        volume("renamed", picture="a"),
        volume("another visit", subject="07"),
    ],
)
def test_what_was_trained_on_is_never_called_held_out(tmp_path, spoilt):
    train(tmp_path, 1, data([volume("a", "07")], ["v"]))
    card, said = train(tmp_path, 2, data(["b"], [spoilt, "w"]), said=3)
    assert "goes on with other data, with b and without a" in said[0]
    assert f"validated with {spoilt.name}, w from here on, and was with v" in said[1]
    assert said[2].startswith(f"Of the validation data, {spoilt.name} (or the same subject) was trained on earlier")
    assert lines(card, "Never") == ["Never trained on, used for the table below (1): w."]
    assert f"the numbers are too good (1): {spoilt.name}." in card
    assert "Rows up to step 1 are of other volumes." in card


def test_another_picture_of_the_same_name_is_other_data(tmp_path):
    train(tmp_path, 1, data([volume("scan", picture="1")]))
    card, said = train(tmp_path, 2, data([volume("scan", picture="2")]), said=1)
    assert "with scan and without scan" in said[0] and lines(card, "Trained") == ["Trained on (2): scan; earlier scan."]


def test_a_run_without_a_step_trains_on_nothing(tmp_path):
    before, _ = train(tmp_path, 1, data(["a"], ["c"]))
    after, _ = train(tmp_path, 1, data(["b"], ["c"]), said=1)
    assert lines(after, "Trained", "Never") == lines(before, "Trained", "Never")
    assert load_checkpoint(tmp_path / "checkpoint.safetensors")[2]["data"]["training"] == ["a"]


def test_the_prior_that_it_starts_from_hands_its_data_on(tmp_path):
    train(tmp_path / "one", 1, data(["a"], sources="First place."))
    train(tmp_path / "one", 2, data(["b"], sources="First place."), said=1)
    start = {"start_from": str(tmp_path / "one" / "prior")}
    train(tmp_path / "two", 1, data(["c"], ["v"], "Second place."), **start)
    again = {"start_from": str(tmp_path / "two" / "prior")}
    card, said = train(tmp_path / "three", 1, data(["d"], [volume("x", picture="b"), "v"]), said=1, **again)
    assert lines(card, "Trained on") == ["Trained on (4): d; earlier c, b, a."]
    assert "Of the validation data, x (or the same subject) was trained on earlier" in said[0]
    assert lines(card, "Never") == ["Never trained on, used for the table below (1): v."]
    assert "First place." in card and "Second place." in card
    card, _ = train(tmp_path / "three", 2, data(["d"], [volume("x", picture="b"), "v"]), said=1, **again)
    assert lines(card, "Trained on") == ["Trained on (4): d; earlier c, b, a."]


def test_where_the_data_of_the_start_are_not_recorded_nothing_is_claimed(tmp_path):
    train(tmp_path / "one", 1, data(["a"]))
    prior = priors.load(tmp_path / "one" / "prior")
    prior.training = {}
    prior.save(tmp_path / "bare")
    card, _ = train(tmp_path / "two", 1, data(["b"], ["v"]), start_from=str(tmp_path / "bare"))
    assert lines(card, "On top") == ["On top of the prior tiny, whose training data are not recorded."]
    assert not lines(card, "Never") and lines(
        card, "Not known to have been trained on, used for the table below (1): v."
    )
    packaged = priors.load("brain-1x").training
    inherited = Custody.of_prior("brain-1x", packaged)
    assert len(inherited.earlier) == len(packaged["data"]["training"])
    assert inherited.unknown == ("the prior that brain-1x started from",)


@pytest.mark.parametrize("kept", ["checkpoint and prior", "prior", "checkpoint"])
def test_checkpoints_from_before_the_data_were_recorded(tmp_path, kept):
    train(tmp_path / "a", 1, data(["a"]))
    path, config = tmp_path / "a" / "checkpoint.safetensors", tmp_path / "a" / "prior" / "config.json"
    step, groups, settings = load_checkpoint(path)
    del settings["data"]
    save_checkpoint(path, step, groups, settings)
    record = json.loads(config.read_text())
    record["training"]["data"] = {"training": ["a"], "validation": [], "sources": ""}
    config.write_text(json.dumps(record))
    if "checkpoint" not in kept:
        path.unlink()
    if "prior" not in kept:
        shutil.rmtree(tmp_path / "a" / "prior")
    card, _ = train(tmp_path / "a", 2, data(["b"], ["v"]), said=2 if "prior" in kept else 0)
    if "prior" in kept:
        assert lines(card, "Trained on") == ["Trained on (2): b; earlier a."]
    else:
        assert lines(card, "On top of the steps before this training was gone on with, whose training data are not")
        assert not lines(card, "Never")


def test_from_files_on_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in (32, 40, 36)), indexing="ij")
    for name, radius in {"sub-1_t1": 0.7, "sub-1_t2": 0.8, "sub-2_t1": 0.75}.items():
        head = (sum((g / radius) ** 2 for g in grids) < 1) * (800 + 100 * grids[0])
        nibabel.save(nibabel.Nifti1Image(head.astype(np.int16), np.diag([4.0, 4.0, 4.0, 1.0])), f"{name}.nii.gz")

    def command(steps, training, validation):
        settings = {"name": "t", "data": [training], "validation": [validation], "network": NETWORK, "steps": steps}
        settings["slices"] = {"mode": "fixed", "voxel_size": 4.0, "canvas": 160.0, "pixels_per_batch": 4000}
        (tmp_path / "t.yaml").write_text(yaml.safe_dump(settings))
        assert main(["train", "t.yaml", "-o", "out"]) == 0
        return capsys.readouterr().err

    command(1, "sub-1_t1.nii.gz", "sub-2_t1.nii.gz")
    said = command(2, "sub-2_t1.nii.gz", "sub-1_t2.nii.gz")
    assert "mrrecon: note: The training goes on with other data, with sub-2_t1 and without sub-1_t1;" in said
    assert "mrrecon: note: Of the validation data, sub-1_t2 (or the same subject) was trained on earlier" in said
    card = (tmp_path / "out" / "prior" / "README.md").read_text()
    assert lines(card, "Trained on") == ["Trained on (2): sub-2_t1; earlier sub-1_t1."] and not lines(card, "Never")
