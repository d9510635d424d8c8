"""``mrrecon bench`` and ``mrrecon report`` as their users meet them: what they print, write and return."""

from __future__ import annotations

import csv
import json

import pytest
from tiny_study import write_study

from mrrecon.cli import main
from mrrecon.errors import DataError
from mrrecon.solvers import CGSense, ZeroFilled


def run(capsys, *words):
    """Exit code, standard output and standard error of a command."""
    code = main([str(word) for word in words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_study_is_run_gone_on_with_and_reported(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = write_study(tmp_path, solvers=["zero-filled", "cg-sense", "l1-wavelet"], baseline="zero-filled")
    code, out, err = run(capsys, "bench", study)
    assert (code, err) == (0, "")
    assert "tiny: 3 runs, 0 of them done; rows in runs/tiny" in out
    assert "[3/3] head, R = 3, seed 0, l1-wavelet (default): " in out and "mrrecon report runs/tiny" in out
    rows = [json.loads(line) for line in (tmp_path / "runs" / "tiny" / "rows.jsonl").read_text().splitlines()]
    assert [row["method"] for row in rows] == ["zero-filled", "cg-sense", "l1-wavelet"]

    code, out, err = run(capsys, "bench", study)
    assert code == 0 and "3 runs, 3 of them done" in out and "[" not in out

    code, out, err = run(capsys, "report", "runs/tiny")
    assert (code, err, out) == (0, "", "wrote runs/tiny/report/report.md\n")
    folder = tmp_path / "runs" / "tiny" / "report"
    names = {"report.md", "means.csv", "files.csv", "runs.csv", "quality.png", "seconds.png", "montage_head_R3.png"}
    assert {path.name for path in folder.iterdir()} == names
    (record,) = (r for r in csv.DictReader((folder / "means.csv").open()) if r["method"] == "cg-sense")
    assert float(record["psnr"]) == rows[1]["metrics"]["psnr"]
    assert run(capsys, "report", "runs/tiny", "-o", tmp_path / "elsewhere")[0] == 0
    assert (tmp_path / "elsewhere" / "report.md").is_file()


def test_failures_give_exit_code_1_until_they_are_retried(tmp_path, capsys, monkeypatch):
    study = write_study(tmp_path)

    def fail(self, acquisition, callback=None):
        raise DataError("The data are bad.")

    with monkeypatch.context() as patch:
        patch.setattr(ZeroFilled, "__call__", fail)
        code, out, err = run(capsys, "bench", study, "-o", tmp_path / "runs")
    assert code == 1 and "zero-filled (default): failed: The data are bad." in out and "[2/2]" in out
    assert "1 of 2 runs failed" in err and "--retry" in err and len(err.splitlines()) == 1
    assert run(capsys, "bench", study, "-o", tmp_path / "runs")[0] == 1
    code, out, err = run(capsys, "bench", study, "-o", tmp_path / "runs", "--retry")
    assert (code, err) == (0, "") and "1 of them done" in out and "[2/2] head, R = 3, seed 0, zero-filled" in out


def test_interruption_gives_exit_code_130_and_keeps_what_is_done(tmp_path, capsys, monkeypatch):
    study = write_study(tmp_path)

    def press(self, acquisition, callback=None):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CGSense, "__call__", press)
        code, _, err = run(capsys, "bench", study, "-o", tmp_path / "runs")
    assert code == 130 and "goes on with what is left" in err
    assert len((tmp_path / "runs" / "rows.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bench", "{}/nothing.yaml"], "nothing.yaml cannot be read"),
        (["bench", "{}/study.yaml", "-o", "{}/a", "{}/b"], "writes into one folder, got 2"),
        (["bench", "{}/study.yaml", "-o", "{}/head.nii.gz"], "head.nii.gz cannot be written"),
        (["bench", "{}/study.yaml", "-o", "{}/a", "--workers", "0"], "number of workers must be at least 1"),
        (["report", "{}"], "is not the folder of a study"),
        (["report", "{}", "-o", "{}/a", "{}/b"], "writes into one folder, got 2"),
    ],
    ids=str,
)
def test_what_cannot_work_gives_exit_code_2_and_one_sentence(tmp_path, capsys, words, said):
    write_study(tmp_path)
    code, _, err = run(capsys, *(word.format(tmp_path) for word in words))
    assert code == 2 and said in err and err.startswith("mrrecon: ") and len(err.splitlines()) == 1


def test_mistake_in_a_study_gives_exit_code_2_and_the_name_of_the_setting(tmp_path, capsys):
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace("accelerations", "accelleration"))
    code, _, err = run(capsys, "bench", path)
    assert code == 2 and "did you mean 'accelerations'" in err and len(err.splitlines()) == 1
