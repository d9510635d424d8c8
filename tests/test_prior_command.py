"""``mrrecon prior`` as its users meet it."""

import csv
import hashlib
import json
import subprocess
import sys

import nibabel
import numpy as np
import pytest

from mrrecon import priors
from mrrecon.cli import main

NETWORK = {"type": "unet", "channels": [8, 16], "blocks": 1, "patch": 2, "attention": False, "embedding": 16}
NETWORK["groups"] = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny prior with random weights, and a head to evaluate it on."""
    import torch

    folder = tmp_path_factory.mktemp("prior")
    torch.manual_seed(0)
    training = {"steps": 3, "data": {"training": ["one", "two"]}}
    prior = priors.DiffusionPrior(NETWORK, name="tiny", voxel_sizes=(1.0, 4.0), training=training)
    prior.save(folder / "tiny", card="# tiny\n\nA prior that knows nothing.\n")
    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 48, 44)), indexing="ij")
    head = 100.0 * (sum((g / 0.8) ** 2 for g in grids) < 1) - 40.0 * (np.hypot(grids[1], grids[2]) < 0.3)
    nibabel.save(nibabel.Nifti1Image(head.clip(0).astype(np.int16), np.diag([2.0, 2, 2, 1])), folder / "head.nii.gz")
    return folder


def evaluate(folder, *words):
    settings = ["--data", folder / "head.nii.gz", "--voxel-size", 2, "--times", 50, 200, "--slices", 1]
    return main([str(w) for w in ["prior", "evaluate", *words, *settings]])


def refused(capsys, *words):
    """Run a command that must fail with exit code 2 and one sentence; return the sentence."""
    assert main([str(w) for w in words]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("mrrecon: ") and "\n" not in said
    return said


def test_list_names_every_prior_without_loading_torch():
    code = "import sys; from mrrecon.cli import main; main(['prior', 'list']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *table, loaded = done.stdout.splitlines()
    assert loaded == "False"
    assert table[0].split()[:2] == ["name", "kind"]
    assert [row.split()[0] for row in table[1:]] == priors.names()


def test_list_gives_voxels_and_size_of_packaged_priors(folder, monkeypatch, capsys):
    from mrrecon.priors import registry

    monkeypatch.setattr(registry, "_zoo", lambda: {"tiny": folder / "tiny"})
    assert main(["prior", "list"]) == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("tiny"))
    assert "diffusion" in row and "1 to 4" in row and "KiB" in row and row.endswith("packaged")


def test_show_has_settings_training_and_card(folder, capsys):
    assert main(["prior", "show", str(folder / "tiny")]) == 0
    shown = capsys.readouterr().out
    lines = {line.split("  ")[0].strip(): line.split("  ")[-1].strip() for line in shown.splitlines()}
    assert lines["network.channels"] == "8, 16"
    assert lines["training.steps"] == "3"
    assert lines["training.data.training"] == "one, two"
    assert lines["voxels (mm)"] == "1 to 4"
    assert shown.rstrip().endswith("A prior that knows nothing.")


def test_show_has_settings_of_priors_without_training(capsys):
    assert main(["prior", "show", "wavelet"]) == 0
    assert "db2" in capsys.readouterr().out


def test_evaluate_prints_and_writes_the_same_numbers(folder, tmp_path, capsys):
    names = [folder / "tiny", "wavelet"]
    out = [tmp_path / name for name in ("t.json", "t.csv", "t.md", "curves.png")]
    assert evaluate(folder, *names, "--baselines", "scaled-input", "-o", *out) == 0
    printed = capsys.readouterr()
    record = json.loads(out[0].read_text())
    assert [path.read_bytes()[:4] for path in out[3:]] == [b"\x89PNG"]
    with out[1].open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(record["rows"]) == 3 * 3 * 2  # methods, planes, levels
    assert {row["method"] for row in rows} == {"tiny", "wavelet", "scaled input"}
    for method, levels in record["psnr"]["2 mm"].items():
        for level, planes in levels.items():
            values = [float(r["psnr"]) for r in rows if (r["method"], r["level"]) == (method, level)]
            assert planes["all"] == pytest.approx(np.mean(values), abs=1e-3)
            assert {"sagittal", "coronal", "axial"} < set(planes)
            assert f"{planes['all']:.2f}" in printed.out
    assert out[2].read_text().strip() in printed.out
    assert "MNI152" not in printed.err


def test_record_says_what_was_measured_on_what(folder, tmp_path):
    assert evaluate(folder, folder / "tiny", "--baselines", "wavelet", "-o", tmp_path / "t.json", "--seed", 7) == 0
    record = json.loads((tmp_path / "t.json").read_text())
    digest = hashlib.sha256((folder / "tiny" / "model.safetensors").read_bytes()).hexdigest()
    assert record["priors"]["tiny"]["weights_sha256"] == digest
    assert record["priors"]["tiny"]["network"] == NETWORK
    assert record["settings"]["seed"] == 7
    assert record["levels"]["50"] == pytest.approx(0.088, abs=1e-3)
    assert record["data"][0]["name"] == "head.nii.gz"
    assert record["versions"]["torch"]
    assert "background included" in record["policy"]
    assert set(record["baselines"]) == {"wavelet", "wavelet, best strength"}


def test_the_seed_decides_the_numbers(folder, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert evaluate(folder, "tikhonov", "--baselines", "none", "-o", tmp_path / f"{name}.csv", "--seed", seed) == 0
    a, b, c = ((tmp_path / f"{name}.csv").read_text() for name in "abc")
    assert a == b != c


def test_what_a_prior_was_trained_on_is_no_measure_of_it(folder, tmp_path, capsys):
    two = tmp_path / "two.nii.gz"
    two.write_bytes((folder / "head.nii.gz").read_bytes())
    words = ["prior", "evaluate", folder / "tiny", "--voxel_size", 2, "--times", 50, "--slices", 1, "--data"]
    for data, said in (([folder / "head.nii.gz"], False), ([folder / "head.nii.gz", two], True)):
        assert main([str(w) for w in [*words, *data]]) == 0
        note = "mrrecon: note: The prior tiny was trained on two (or the same subject): its numbers are too good"
        assert (note in capsys.readouterr().err) is said


def test_pictures_and_samples(folder, tmp_path, capsys):
    pictures, samples = tmp_path / "pictures.png", tmp_path / "samples.png"
    words = [folder / "tiny", "--baselines", "wavelet", "--pictures", pictures, "--samples", samples, "--steps", 2]
    assert evaluate(folder, *words, "--shape", "[24,32]") == 0
    said = capsys.readouterr().out
    for path in (pictures, samples):
        assert path.read_bytes()[:4] == b"\x89PNG"
        assert f"wrote {path}" in said


def test_without_data_it_says_what_the_numbers_are_of(tmp_path, capsys):
    words = ["--voxel-size", "8", "--times", "200", "--slices", "1", "--baselines", "none"]
    assert main(["prior", "evaluate", "tikhonov", *words]) == 0
    said = capsys.readouterr()
    assert "8 mm" in said.out
    assert "not those of a validation set" in said.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tini"], "no prior 'tini'"),
        (["tikhonov", "--baselines", "bm4d"], "no baseline 'bm4d'"),
        (["tikhonov", "--times", "1000"], "0 to 999"),
        (["tikhonov", "--voxel-size", "0.1"], "0.1 mm"),
        (["tikhonov", "--slices", "0"], "at least 1"),
        (["tikhonov", "--seed", "-1"], "seed"),
        (["tikhonov", "-o", "table.xls"], "table.xls"),
        (["tikhonov", "-o", "nowhere/table.json"], "does not exist"),
        (["tikhonov", "--samples", "samples.jpg"], ".png"),
        (["tikhonov", "--data", "nowhere.nii.gz"], "nowhere.nii.gz"),
        (["tikhonov", "tikhonov"], "twice"),
        (["tikhonov", "--precision", "bf16"], "single precision"),
    ],
)
def test_bad_input_is_one_sentence(folder, words, message, capsys):
    data = [] if "--data" in words else ["--data", folder / "head.nii.gz"]
    assert message in refused(capsys, "prior", "evaluate", *words, *data)


def test_a_damaged_prior_is_one_sentence(folder, tmp_path, capsys):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(folder / "tiny", broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "truncated" in refused(capsys, "prior", "evaluate", broken, "--data", folder / "head.nii.gz")
    (broken / "config.json").write_text('{"format": "mrrecon-prior", "format_version": 99, "kind": "diffusion"}')
    assert "newer version" in refused(capsys, "prior", "show", broken)


def test_lists_are_words_and_actions_have_help(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["prior", "evaluate", "--help"])
    assert stopped.value.code == 0
    assert "--times TIMES [TIMES ...]" in capsys.readouterr().out
    assert main(["prior"]) == 2
    assert "mrrecon prior needs one of list, show, evaluate" in capsys.readouterr().err
