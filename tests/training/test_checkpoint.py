"""Checkpoints: what is read is what was written, and files that are not checkpoints are refused in a sentence."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from mrrecon.errors import FileFormatError, OutputError
from mrrecon.training.checkpoint import load_checkpoint, save_checkpoint

GROUPS = {
    "weights": {"stem.weight": torch.randn(3, 2, 3, 3).to(memory_format=torch.channels_last)},
    "optimizer": {"0.step": torch.tensor(7.0), "0.exp_avg": torch.randn(3, 2)},
}


def test_what_is_written_is_read_whatever_the_memory_layout(tmp_path):
    save_checkpoint(tmp_path / "c.safetensors", 7, GROUPS, {"slices": 3, "name": "é"})
    step, groups, settings = load_checkpoint(tmp_path / "c.safetensors")
    assert step == 7 and settings == {"slices": 3, "name": "é"}
    for group, named in GROUPS.items():
        assert groups[group].keys() == named.keys()
        assert all(torch.equal(groups[group][name], tensor) for name, tensor in named.items())


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, 7, GROUPS, {})
    whole = path.read_bytes()
    for length in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError, match=r"c\.safetensors cannot be read as a training checkpoint"):
            load_checkpoint(path)


def test_another_safetensors_file_is_refused(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "c.safetensors", {"format": "mrrecon-training-99"})
    with pytest.raises(FileFormatError, match="not a training checkpoint of this version"):
        load_checkpoint(tmp_path / "c.safetensors")


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    import safetensors.torch
    from safetensors import SafetensorError

    path = tmp_path / "c.safetensors"
    save_checkpoint(path, 7, GROUPS, {})
    before = path.read_bytes()

    def full(tensors, name, metadata):
        name.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OutputError, match="disk is full"):
        save_checkpoint(path, 8, GROUPS, {})
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]
    with pytest.raises(OutputError, match="does not exist"):
        save_checkpoint(tmp_path / "missing" / "c.safetensors", 8, GROUPS, {})
