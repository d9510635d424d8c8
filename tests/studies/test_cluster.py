"""Several workers on Ray."""

from __future__ import annotations

import os
import sys

import pytest
from tiny_study import make_study

from mrrecon.errors import MissingDependencyError
from mrrecon.studies import expand, perform


def test_two_workers_do_each_run_once_and_report_it(tmp_path):
    pytest.importorskip("ray")
    study = make_study(tmp_path, accelerations=[2, 3, 4], maps="given")
    before = perform(make_study(tmp_path, accelerations=[2]), tmp_path / "runs")
    reported = []
    rows = perform(study, tmp_path / "runs", workers=2, callback=lambda run, row: reported.append((run.id, row["run"])))
    runs = [run.id for run in expand(study)]
    assert list(rows) == runs and len(runs) == 6
    assert sorted(reported) == sorted((run, run) for run in runs if run not in before)
    new = [row for run, row in rows.items() if run not in before]
    assert all("metrics" in row and row["machine"]["workers"] == 2 for row in new)
    assert os.getpid() not in {row["machine"]["process"] for row in new}
    assert {row["threads"] for row in new} == {max(1, (len(os.sched_getaffinity(0))) // 2)}
    assert len((tmp_path / "runs" / "rows.jsonl").read_text().splitlines()) == 6


def test_missing_ray_is_said_with_what_to_do_instead(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'mrrecon\[cluster\]', or start the same command"):
        perform(make_study(tmp_path), tmp_path / "runs", workers=2)
