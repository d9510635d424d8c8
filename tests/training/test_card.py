"""Model cards say what is known, also when it is little."""

from __future__ import annotations

import re

from tiny_training import make

from mrrecon.priors.schedule import NoiseSchedule
from mrrecon.training.card import model_card


def test_the_card_of_a_training_has_data_limits_record_and_curve(tmp_path):
    curve = iter(range(30, 40))
    data = {"training": ["head_a", "head_b"], "validation": ["head_c"], "sources": "Somewhere, CC BY 4.0."}
    changes = {"slices": {"mode": "fixed", "voxel_size": 2.0}}
    make(tmp_path, changes, validate=lambda prior: {"2 mm, t = 50": next(curve) + 0.126}, data=data).run()
    card = (tmp_path / "prior" / "README.md").read_text()
    assert card.startswith("# tiny\n")
    for words in ("voxels of 2 mm", "Somewhere, CC BY 4.0.", "(2): head_a, head_b.", "(1): head_c.", "12 of 12"):
        assert words in card
    assert "not a medical device" in card and 'priors.load("tiny")' in card and "fp16" in card
    rows = re.findall(r"^\| +(\d+) \| +([\d.]+) \|$", card, re.M)
    assert rows == [("4", "30.13"), ("8", "31.13"), ("12", "32.13")]
    level = NoiseSchedule().noise_level(50) / 2.0
    assert f"{level:.3f} at t = 50" in card
    assert "nowhere.nii.gz" not in card  # paths of this machine are nobody's business


def test_a_long_curve_is_shortened_and_keeps_its_ends(tmp_path):
    config = make(tmp_path).prior().config()
    entries = [{"step": 100 * i, "validation": {"a": 20 + i / 100}} for i in range(1, 101)]
    entries[-1]["validation"]["b"] = 1.0  # measured from here on
    rows = re.findall(r"^\| +(\d+) \|.*", model_card(config, 1000, entries), re.M)
    assert len(rows) == 12 and rows[0] == "100" and rows[-1] == "10000"


def test_a_prior_without_a_record_says_so(tmp_path):
    config = {**make(tmp_path).prior().config(), "training": {}, "voxel_sizes": None}
    card = model_card(config, 1000)
    assert "Sources and licences were not stated." in card and "None was measured" in card and "any size" in card
