"""The training loop: it learns, it goes on exactly where it stopped, and nothing that fails costs what was done."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from helpers import REPOSITORY
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_training import SETTINGS, batches, make

from mrrecon import priors
from mrrecon.errors import DataError, FileFormatError, MissingDependencyError, OutputError
from mrrecon.training.checkpoint import load_checkpoint
from mrrecon.training.config import TrainingConfig
from mrrecon.training.processes import Place, joined


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def losses(folder):
    """Steps and losses of the log."""
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(e["step"], e["loss"]) for e in entries if "loss" in e]


def assert_same_training(a, b):
    """Weights, averages, moments and losses of two folders agree to the last bit."""
    one, other = (load_checkpoint(f / "checkpoint.safetensors") for f in (a, b))
    assert one[0] == other[0] and one[1].keys() == other[1].keys() == {"weights", "average", "optimizer"}
    for group in one[1]:
        assert one[1][group].keys() == other[1][group].keys()
        for name, tensor in one[1][group].items():
            assert torch.equal(tensor, other[1][group][name]), (group, name)
    assert losses(a) == losses(b)


def failing(at, error):
    """Batches that stop with an error before a step."""

    def generate(first, rank):
        for step, slices in batches(first, rank):
            if step == at:
                raise error
            yield step, slices

    return generate


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder of a training that nothing interrupted."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("trainer") / "whole"
    make(folder, validate=lambda prior: {"level": 1.0}).run()
    torch.set_num_threads(before)
    return folder


# ---- learning ------------------------------------------------------------------------------------------------


def test_the_loss_falls_and_the_prior_denoises(tmp_path):
    changes = {"steps": 150, "learning_rate": 5e-3, "log_every": 15, "save_every": 1000, "target": "noise"}
    trainer = make(tmp_path, changes)
    trainer.run()
    curve = losses(tmp_path)
    assert curve[-1][1] < 0.7 * curve[0][1]
    prior = priors.load(tmp_path / "prior")
    _, clean = next(batches(9999, 0))
    noisy = clean + 0.3 * torch.view_as_complex(
        torch.randn(*clean.shape, 2, generator=torch.Generator().manual_seed(0))
    )
    assert (prior.denoise(noisy, 0.3) - clean).norm() < 0.8 * (noisy - clean).norm()


def test_the_saved_prior_is_the_average_in_half_precision(whole):
    _, groups, _ = load_checkpoint(whole / "checkpoint.safetensors")
    stored = load_file(whole / "prior" / "model.safetensors")
    assert all(torch.equal(stored[n], t.half()) for n, t in groups["average"].items())
    assert any(not torch.equal(t, groups["weights"][n]) for n, t in groups["average"].items())


def test_the_average_follows_its_definition(tmp_path):
    trainer = make(tmp_path)
    network, expected = trainer._parallel(), {n: t.clone() for n, t in trainer.average.items()}
    for step, slices in itertools.islice(batches(0, 0), 4):
        trainer._one_step(network, step, slices)
        decay = min(trainer.config.ema, (1 + step) / (10 + step))
        expected = {n: decay * t + (1 - decay) * trainer.network.state_dict()[n] for n, t in expected.items()}
    for name, tensor in expected.items():
        torch.testing.assert_close(trainer.average[name], tensor)


def test_learning_rate_warms_up_and_falls_to_zero(tmp_path):
    trainer = make(tmp_path, {"steps": 100, "warmup": 10, "learning_rate": 1.0})
    rates = [trainer._rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[9]
    assert rates[50] == pytest.approx(0.5) and rates[100] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("slices", "sizes"),
    [
        ({"mode": "fixed", "voxel_size": 2.0}, (2, 2)),
        ({"mode": "diverse", "voxel_size": 0.8, "min_factor": 0.2}, (0.8, 4)),
        ({}, (1, 10)),
    ],
)
def test_the_prior_knows_the_voxel_sizes_it_was_trained_on(tmp_path, slices, sizes):
    assert make(tmp_path, {"slices": slices}).prior().voxel_sizes == pytest.approx(sizes)


def test_gradients_are_clipped(tmp_path):
    trainer = make(tmp_path, {"clip": 1e-3})
    trainer._one_step(trainer._parallel(), *next(batches(0, 0)))
    squares = sum(float(p.grad.square().sum()) for p in trainer.network.parameters() if p.grad is not None)
    assert math.sqrt(squares) == pytest.approx(1e-3, rel=1e-3)


def test_bfloat16_trains_too(tmp_path):
    trainer = make(tmp_path, {"precision": "bf16", "steps": 2, "log_every": 1})
    assert math.isfinite(trainer.run()["loss"])
    assert all(t.dtype == torch.float32 for t in trainer.average.values())


def test_start_from_takes_the_weights_of_a_prior(whole, tmp_path):
    trainer = make(tmp_path, {"start_from": str(whole / "prior")})
    stored = load_file(whole / "prior" / "model.safetensors")
    assert trainer.step == 0 and all(torch.equal(trainer.average[n], t.float()) for n, t in stored.items())
    other = {**SETTINGS["network"], "channels": [8, 24]}
    with pytest.raises(DataError, match="another network"):
        make(tmp_path, {"start_from": str(whole / "prior"), "network": other})


# ---- going on ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 6, 7, 11])
def test_a_failed_training_goes_on_exactly(whole, tmp_path, at):
    with pytest.raises(RuntimeError, match="cable"):
        make(tmp_path, batches=failing(at, RuntimeError("cable")), validate=lambda prior: {"level": 1.0}).run()
    trainer = make(tmp_path, validate=lambda prior: {"level": 1.0})
    assert trainer.step == at
    trainer.run()
    assert_same_training(tmp_path, whole)
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [4, 5, 8, 10, 12, 12]


def test_a_killed_training_goes_on_exactly_from_its_last_checkpoint(whole, tmp_path):
    with pytest.raises(RuntimeError):
        make(tmp_path / "a", batches=failing(6, RuntimeError())).run()
    checkpoint = (tmp_path / "a" / "checkpoint.safetensors").read_bytes()
    with pytest.raises(RuntimeError):
        make(tmp_path / "a", batches=failing(11, RuntimeError())).run()
    (tmp_path / "a" / "checkpoint.safetensors").write_bytes(checkpoint)  # nothing was saved after step 6 ...
    with (tmp_path / "a" / "log.jsonl").open("a") as log:
        log.write('{"step": 11, "lo')  # ... but the log had gone on, until the power failed
    trainer = make(tmp_path / "a")
    assert trainer.step == 6 and losses(tmp_path / "a") == losses(whole)[:1]
    trainer.run()
    assert_same_training(tmp_path / "a", whole)


def test_going_on_without_the_checkpoint_takes_the_prior_and_warms_up_again(whole, tmp_path):
    shutil.copytree(whole / "prior", tmp_path / "prior")
    trainer = make(tmp_path, {"steps": 40})
    stored = load_file(tmp_path / "prior" / "model.safetensors")
    assert trainer.step == 12 and trainer.slices_seen == 30
    assert all(torch.equal(trainer.network.state_dict()[n], t.float()) for n, t in stored.items())
    assert trainer._rate(12) < trainer._rate(13) < trainer._rate(14) > trainer._rate(15)
    trainer.run()
    assert make(tmp_path, {"steps": 40})._warm_from == 12


def test_a_finished_training_stays_as_it_is(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "copy")
    entry = make(tmp_path / "copy", batches=failing(12, AssertionError("no slice is needed"))).run()
    assert entry["step"] == 12 and "loss" in entry
    assert_same_training(tmp_path / "copy", whole)


def test_other_settings_are_refused_by_name_but_steps_may_change(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "copy")
    for name, value in {"seed": 5, "data_scale": 1.0, "target": "noise", "slices": {"mode": "fixed"}}.items():
        with pytest.raises(DataError, match=f"another {name} "):
            make(tmp_path / "copy", {name: value})
    (tmp_path / "copy" / "checkpoint.safetensors").unlink()
    with pytest.raises(DataError, match="another seed"):
        make(tmp_path / "copy", {"seed": 5})
    assert make(tmp_path / "copy", {"steps": 14, "learning_rate": 1e-5}).run()["step"] == 14


def test_ctrl_c_waits_for_the_step_and_saves(whole, tmp_path):
    def press(step, entry):
        if step == 7:
            signal.raise_signal(signal.SIGINT)

    trainer = make(tmp_path, validate=lambda prior: {"level": 1.0})
    with pytest.raises(KeyboardInterrupt):
        trainer.run(progress=press)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    trainer = make(tmp_path, validate=lambda prior: {"level": 1.0})
    assert trainer.step == 8  # pressed after the seventh step: the eighth was going on when it was noticed
    trainer.run()
    assert_same_training(tmp_path, whole)


def test_stopping_after_a_time_saves_and_returns(tmp_path):
    trainer = make(tmp_path)
    trainer.run(stop_after=1e-9)
    assert trainer.step == 1 and make(tmp_path).step == 1


# ---- failing -------------------------------------------------------------------------------------------------


def poisoned(first, rank):
    """Batches with a NaN at the ninth step."""
    for step, slices in batches(first, rank):
        yield step, slices * math.nan if step == 8 else slices


def test_a_loss_that_is_not_finite_stops_and_keeps_the_good_checkpoint(tmp_path):
    for every in (3, 100):  # noticed when saving, and when logging
        folder = tmp_path / str(every)
        with pytest.raises(RuntimeError):
            make(folder, batches=failing(6, RuntimeError())).run()
        with pytest.raises(DataError, match=r"no longer finite at step (9|10): lower learning_rate"):
            make(folder, {"save_every": every}, batches=poisoned).run()
        step, groups, _ = load_checkpoint(folder / "checkpoint.safetensors")
        assert step == 6 and all(bool(t.isfinite().all()) for t in groups["average"].values())
        assert json.loads((folder / "prior" / "config.json").read_text())["training"]["steps"] == 6
        assert all(math.isfinite(loss) for _, loss in losses(folder))
        assert make(folder, {"learning_rate": 1e-5}).step == 6


def test_a_step_that_was_cut_in_two_is_not_saved(tmp_path):
    trainer = make(tmp_path, {"save_every": 2})
    take = trainer.optimizer.step

    def cut():
        take()
        if trainer.step == 4:
            raise MemoryError("between the weights and their average")

    trainer.optimizer.step = cut
    with pytest.raises(MemoryError):
        trainer.run()
    assert make(tmp_path).step == 4


def test_a_save_that_fails_does_not_hide_the_first_error(tmp_path, monkeypatch):
    trainer = make(tmp_path, {"save_every": 100}, batches=failing(5, RuntimeError("cable")))

    def full(*arguments):
        raise OutputError("the disk is full")

    monkeypatch.setattr("mrrecon.training.trainer.save_checkpoint", full)
    with pytest.raises(RuntimeError, match="cable") as caught:
        trainer.run()
    assert "the disk is full" in caught.value.__notes__[0]


def test_a_checkpoint_of_other_tensors_is_called_damaged(whole, tmp_path):
    from mrrecon.training.checkpoint import save_checkpoint

    step, groups, settings = load_checkpoint(whole / "checkpoint.safetensors")
    groups["weights"].popitem()
    save_checkpoint(tmp_path / "checkpoint.safetensors", step, groups, settings)
    with pytest.raises(FileFormatError, match="delete it"):
        make(tmp_path)


def test_checkpoints_from_before_there_were_these_settings_are_read(whole, tmp_path):
    from mrrecon.training.checkpoint import save_checkpoint

    step, groups, settings = load_checkpoint(whole / "checkpoint.safetensors")
    for name in ("sources", "workers", "tensorboard"):
        settings["config"].pop(name)
    kept = {name: settings[name] for name in ("config", "slices", "seconds")}
    save_checkpoint(tmp_path / "checkpoint.safetensors", step, groups, kept)
    trainer = make(tmp_path, {"steps": 13})
    assert trainer.step == 12 and trainer.run()["step"] == 13


def test_tensorboard_is_optional(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match="pip install tensorboard"):
        make(tmp_path, {"tensorboard": True})
    make(tmp_path)


def test_no_such_device_is_a_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "cuda:7", "abacus"):
        with pytest.raises(DataError, match=r"no GPU|no device"), joined(device):
            pass


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stepz": 4}, "did you mean 'steps'"),
        ({"steps": "many"}, "must be a whole number"),
        ({"steps": 0}, "steps must be positive"),
        ({"learning_rate": math.nan}, "learning_rate must be positive"),
        ({"low_noise_levels": [2.0, 1.0]}, "rising"),
        ({"slices": {"mood": "fixed"}}, "SliceSampler has no setting 'mood'"),
        ({"schedule": {"steps": "many"}}, "'steps' of NoiseSchedule"),
        ({"data": []}, "data is empty"),
        ({"name": "a/b"}, "without slashes"),
    ],
)
def test_settings_that_cannot_be_are_named(change, words):
    with pytest.raises(DataError, match=words):
        TrainingConfig.from_settings({**SETTINGS, **change})


# ---- several processes ---------------------------------------------------------------------------------------


def test_only_the_first_process_writes(tmp_path):
    trainer = make(tmp_path / "second", {"steps": 2, "log_every": 1}, place=Place(rank=1))
    trainer.run()
    assert trainer.step == 2 and not (tmp_path / "second").exists()


def test_two_processes_train_one_network(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = REPOSITORY / "tests" / "tiny_training.py"
    done = subprocess.run(
        [*command, str(script), str(tmp_path / "run")], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (tmp_path / f"run.{rank}.safetensors" for rank in (0, 1))
    for path in (first, second):
        with safe_open(path, framework="pt") as file:
            assert file.metadata()["step"] == "10"  # the next time that the processes ask each other
    one, other = load_file(first), load_file(second)
    assert all(torch.equal(one[name], other[name]) and one[name].isfinite().all() for name in one)
    step, _, settings = load_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    assert step == 10 and settings["slices"] == 2 * sum(2 + s % 2 for s in range(10))
    assert len(losses(tmp_path / "run")) == 1
    alone = make(tmp_path / "alone", {"steps": 22})
    alone.run(stop_after=None)
    assert any(not torch.equal(alone.average[n], one[n]) for n in one)
