"""The log of a training."""

from __future__ import annotations

import json
import sys
import types

from mrrecon.training.log import TrainingLog


def test_entries_come_back_and_later_ones_are_forgotten(tmp_path):
    log = TrainingLog(tmp_path / "run")
    assert log.entries() == []
    for step in (5, 10, 15):
        log.add({"step": step, "loss": 1 / step})
    with log.path.open("a") as file:
        file.write('{"step": 20, "lo')
    assert [e["step"] for e in log.entries()] == [5, 10, 15]
    log.forget_after(10)
    assert [json.loads(line)["step"] for line in log.path.read_text().splitlines()] == [5, 10]
    log.add({"step": 15, "loss": 0.5})
    assert log.entries()[-1] == {"step": 15, "loss": 0.5}


def test_a_silent_log_writes_nothing(tmp_path):
    log = TrainingLog(tmp_path / "run", silent=True)
    log.add({"step": 1})
    log.forget_after(0)
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_every_number(tmp_path, monkeypatch):
    written = []

    class Writer:
        def __init__(self, folder):
            assert folder == str(tmp_path / "tensorboard")

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def flush(self):
            pass

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
    TrainingLog(tmp_path, tensorboard=True).add({"step": 3, "loss": 0.5, "validation": {"2 mm, t = 50": 31.0}})
    assert written == [("loss", 0.5, 3), ("validation/2 mm, t = 50", 31.0, 3)]
