"""Priors as folders: what is saved comes back, and whatever is wrong with a folder is said in one sentence."""

import hashlib
import json
import os
import struct

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from mrrecon.errors import PriorError, PriorFileError
from mrrecon.priors.base import SlicePrior
from mrrecon.priors.classical import TikhonovPrior, TotalVariationPrior
from mrrecon.priors.diffusion import DiffusionPrior
from mrrecon.priors.schedule import NoiseSchedule
from mrrecon.priors.storage import load_prior, read_config, tensor_shapes

NETWORK = {"type": "unet", "channels": [8, 8], "blocks": 1, "attention": False, "embedding": 8, "groups": 4}


def small_prior(seed=0, **options):
    torch.manual_seed(seed)
    prior = DiffusionPrior(NETWORK, "small", NoiseSchedule("cosine", 50), 2.0, (0.5, 1.5), **options)
    for parameter in prior.network.parameters():  # zero-initialised layers would hide mistakes
        parameter.data += 0.1 * torch.randn_like(parameter)
    return prior


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return small_prior().save(tmp_path_factory.mktemp("priors") / "small", "# Small\n")


@pytest.fixture
def folder(saved, tmp_path):
    """A copy to break."""
    for file in saved.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def change(folder, **entries):
    config = json.loads((folder / "config.json").read_text())
    config.update(entries)
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v != "remove"}))


def change_weights(folder, change_state):
    """Replace the weights as their owner would, with the right checksum."""
    state = change_state(load_file(folder / "model.safetensors"))
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "model.safetensors")
    change(folder, weights_sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest())


def complaint(folder):
    with pytest.raises(PriorFileError) as caught:
        load_prior(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith("."), sentence
    return sentence


def test_what_is_saved_comes_back(saved, rng):
    before, after = small_prior(), load_prior(saved)
    assert after.config() == before.config()
    assert (after.name, after.voxel_sizes, after.schedule) == ("small", (0.5, 1.5), NoiseSchedule("cosine", 50))
    x = (rng.standard_normal((2, 9, 7)) + 1j * rng.standard_normal((2, 9, 7))).astype(np.complex64)
    np.testing.assert_array_equal(after.denoise(x, 0.3), before.denoise(x, 0.3))
    assert sorted(p.name for p in saved.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert (saved / "README.md").read_text() == "# Small\n"
    assert (tensor_shapes(saved / "model.safetensors")) == {n: tuple(t.shape) for n, t in before.state().items()}


def test_priors_without_weights(tmp_path):
    folder = TotalVariationPrior(strength=0.7, iterations=9).save(tmp_path / "tv")
    again = load_prior(folder)
    assert isinstance(again, TotalVariationPrior)
    assert again.config() == {"kind": "total-variation", "strength": 0.7, "iterations": 9}
    assert not (folder / "model.safetensors").exists()


def test_half_precision_weights_are_computed_with_in_single(folder):
    change_weights(folder, lambda state: {n: t.half() for n, t in state.items()})
    prior = load_prior(folder)
    assert {p.dtype for p in prior.network.parameters()} == {torch.float32}
    for name, tensor in small_prior().state().items():
        torch.testing.assert_close(prior.state()[name], tensor.half().float())


def test_saving_replaces_a_prior_and_nothing_else(saved, folder):
    (folder / "notes.txt").write_text("mine")
    TikhonovPrior().save(folder)
    assert load_prior(folder).name == "tikhonov"
    assert (folder / "notes.txt").read_text() == "mine"
    assert not (folder / "model.safetensors").exists()
    assert not [p for p in folder.parent.iterdir() if p.name.startswith(f".{folder.name}")]
    (folder / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(PriorError, match="not replaced"):
        TikhonovPrior().save(folder)


@pytest.mark.parametrize("survivors", [0, 1, 2, 3])
def test_a_crash_while_saving_never_leaves_a_mixed_prior(folder, monkeypatch, survivors):
    replace, moved = os.replace, []

    def crash(source, target):
        if len(moved) == survivors:
            raise KeyboardInterrupt
        moved.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", crash)
    other = small_prior(seed=1)
    if survivors < 3:
        with pytest.raises(KeyboardInterrupt):
            other.save(folder)
    else:
        other.save(folder)
    expected = {0: small_prior(), 1: small_prior(), 3: other}.get(survivors)  # the card goes first
    if expected is None:
        assert "checksum" in complaint(folder)
    else:
        assert all(torch.equal(t, expected.state()[n]) for n, t in load_prior(folder).state().items())


def test_what_cannot_be_saved(tmp_path):
    class Custom(SlicePrior):
        def _denoise(self, noisy, sigma, condition):
            return noisy

    with pytest.raises(PriorError, match="cannot be saved"):
        Custom().save(tmp_path / "custom")
    with pytest.raises(PriorError, match="plain JSON"):
        small_prior(training={"volumes": {1, 2}}).save(tmp_path / "set")
    with pytest.raises(PriorError, match="plain JSON"):
        small_prior(training={"loss": float("nan")}).save(tmp_path / "nan")
    (tmp_path / "file").write_text("")
    with pytest.raises(PriorError, match="cannot be written"):
        TikhonovPrior().save(tmp_path / "file" / "prior")
    with pytest.raises(PriorError, match="cannot be written"):
        TikhonovPrior().save(tmp_path / "file")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_places_that_are_not_priors(tmp_path, saved):
    assert "There is no folder" in complaint(tmp_path / "nowhere")
    assert "no config.json" in complaint(tmp_path)
    assert "is a file" in complaint(saved / "model.safetensors")
    for name in ("model.pt", "epoch=3.CKPT", "weights.pth"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 whatever")
        assert "pickle" in complaint(tmp_path / name) and "prior.save" in complaint(tmp_path / name)


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("9" * 10_000, "not valid JSON"),
        ("\xff", "not valid JSON"),
        ('{"format": "mrrecon-prior", "format_version": 1, "x": NaN}', "not finite"),
        ('{"format": "mrrecon-prior", "format_version": 1, "x": 1e999}', "not finite"),
        ("[]", "not the configuration of a prior"),
        ("null", "not the configuration of a prior"),
        ('{"_class_name": "UNet2DModel"}', "not the configuration of a prior"),
        ('{"format": "mrrecon-prior"}', "format_version"),
        ('{"format": "mrrecon-prior", "format_version": true}', "format_version"),
        ('{"format": "mrrecon-prior", "format_version": 1}', "which kind"),
    ],
    ids=range(13),
)
def test_configurations_that_are_none(folder, text, said):
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    assert said in complaint(folder)


@pytest.mark.parametrize(
    "entries, said",
    [
        ({"format_version": 2}, "newer version of mrrecon"),
        ({"kind": "flow"}, "no kind of prior 'flow'"),
        ({"kind": 3}, "kind must be text"),
        ({"kind": "wavelet"}, "no setting"),
        ({"network": "remove"}, "needs the setting 'network'"),
        ({"colour": "blue"}, "no setting 'colour'"),
        ({"data_scales": 1.0}, "did you mean 'data_scale'"),
        ({"data_scale": "two"}, "'data_scale' of DiffusionPrior must be a number, got 'two'"),
        ({"data_scale": True}, "'data_scale' of DiffusionPrior must be a number"),
        ({"data_scale": -1}, "data_scale must be positive"),
        ({"voxel_sizes": [0.5]}, "must be a list of a number, a number or null, got [0.5]"),
        ({"voxel_sizes": ["a", "b"]}, "'voxel_sizes'"),
        ({"target": "score"}, "must be 'noise' or 'velocity', got 'score'"),
        ({"name": 5}, "name must be text"),
        ({"network": "unet"}, "must be an object, got 'unet'"),
        ({"network": {"type": "transformer"}}, "no network of type"),
        ({"network": {**NETWORK, "depth": 2}}, "depth"),
        ({"network": {**NETWORK, "channels": "many"}}, "does not describe"),
        ({"schedule": {"kind": "linear", "steps": 1}}, "steps must be"),
        ({"schedule": {"colour": 1}}, "does not describe"),
        ({"weights_sha256": 7}, "weights_sha256 must be text"),
        ({"weights_sha256": "remove"}, "does not belong to the prior"),
        ({"weights_sha256": "0" * 64}, "does not belong to its config.json"),
        ({"network": {**NETWORK, "channels": [8, 16]}}, "of another shape: "),
        ({"network": {**NETWORK, "channels": [8, 8, 8]}}, "missing: "),
        ({"network": {**NETWORK, "channels": [8]}}, "unexpected: "),
    ],
    ids=str,
)
def test_settings_that_cannot_be_right(folder, entries, said):
    change(folder, **entries)
    assert said in complaint(folder)


def test_a_huge_network_is_refused_before_memory_is_asked_for(folder):
    change(folder, network={**NETWORK, "channels": [2**22, 2**22]})  # 10^15 bytes
    assert "another architecture" in complaint(folder)


def test_weights_that_cannot_be_right(folder):
    change_weights(folder, lambda state: {n.replace("stem.weight", "renamed"): t for n, t in state.items()})
    assert "missing: stem.weight; unexpected: renamed" in complaint(folder)


def test_weights_that_are_not_numbers(folder):
    change_weights(folder, lambda state: {**state, "stem.weight": state["stem.weight"] * float("nan")})
    assert "NaN or infinite weights: stem.weight" in complaint(folder)


def test_missing_weights(folder):
    (folder / "model.safetensors").unlink()
    assert "weights are missing" in complaint(folder)


def test_a_pickle_under_a_false_name(folder):
    torch.save({"a": torch.zeros(3)}, folder / "model.safetensors")
    assert "truncated or not a safetensors file" in complaint(folder)


def test_headers_are_checked_before_they_are_believed(folder):
    path = folder / "model.safetensors"
    for length in (2**63, 10**8 + 1, 2**20):
        path.write_bytes(struct.pack("<Q", length) + b"{}")
        assert "truncated or not" in complaint(folder)
    for header in (b"[]", b"{", b"\xff\xfe", b'{"a": 1}', b'{"a": {"shape": "x"}}', b"[" * 50_000):
        path.write_bytes(struct.pack("<Q", len(header)) + header)
        assert "header" in complaint(folder) or "another architecture" in complaint(folder)


def test_truncated_weights_everywhere(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for length in {*range(40), *np.linspace(40, len(whole) - 1, 60).astype(int)}:
        path.write_bytes(whole[:length])
        complaint(folder)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_of_weights_are_noticed(folder, saved, data):
    whole = bytearray((saved / "model.safetensors").read_bytes())
    header = 8 + int.from_bytes(whole[:8], "little")
    place = data.draw(st.one_of(st.integers(0, header), st.integers(0, len(whole) - 1)))
    whole[place] ^= data.draw(st.integers(1, 255))
    (folder / "model.safetensors").write_bytes(whole)
    complaint(folder)


@settings(deadline=None, max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_configurations_load_or_are_refused(folder, saved, data):
    text = bytearray((saved / "config.json").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text) - 1))
        stop = data.draw(st.integers(start, min(len(text), start + 12)))
        text[start:stop] = data.draw(st.one_of(st.binary(max_size=4), st.sampled_from([b"0", b"null", b"[", b'"'])))
    (folder / "config.json").write_bytes(text)
    try:
        prior = load_prior(folder)
    except PriorFileError:
        return
    assert isinstance(prior, SlicePrior)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 2000) | st.floats(-2, 2) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = ["format", "format_version", "kind", "name", "network", "schedule", "data_scale", "voxel_sizes", "target",
        "training", "weights_sha256"]  # fmt: skip


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(KEYS), inner=st.sampled_from([None, "type", "channels", "kind", "steps", "blocks"]), value=plain
)
def test_any_value_anywhere_loads_or_is_refused(folder, saved, key, inner, value):
    config = json.loads((saved / "config.json").read_text())
    if inner is not None and isinstance(config[key], dict):
        config[key][inner] = value
    else:
        config[key] = value
    (folder / "config.json").write_text(json.dumps(config))
    try:
        load_prior(folder)
    except PriorFileError:
        return
    assert read_config(folder)["format"] == "mrrecon-prior"
