"""``mrrecon recon`` with priors: choosing them, stopping in time, going on, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from solver_scans import make_scan

import mrrecon as mr
from mrrecon.cli import main


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """File of a small undersampled scan with maps and reference."""
    return mr.write(make_scan(), tmp_path_factory.mktemp("recon") / "scan.h5")


def recon(scan, out, *words):
    return main(["recon", str(scan), "-o", str(out), *map(str, words)])


@pytest.mark.parametrize("solver", ["variational", "ensemble", "dds", "tpdm", "diffusion-mbir"])
def test_any_prior_with_any_solver(solver, scan, tmp_path, capsys):
    out = tmp_path / "v.h5"
    words = ["--solver", solver, "--solver.max_iter", 3]
    assert recon(scan, out, *words, "--prior", "total-variation") == 0
    result = mr.Reconstruction.load(out)
    assert result.solver == solver and result.settings["prior"] == "total-variation"
    assert result.extras["prior_influence"].shape == result.volume.shape and result.metrics["chi_squared"] > 0
    assert "chi^2" in capsys.readouterr().out


def test_a_prior_for_each_axis(scan, tmp_path):
    out = tmp_path / "v.h5"
    priors = ["tikhonov", "wavelet", "total-variation"]
    assert recon(scan, out, "--solver", "variational", "--solver.max_iter", 3, "--prior", *priors) == 0
    assert mr.Reconstruction.load(out).settings["prior"] == priors


def test_stopped_runs_go_on(scan, tmp_path, capsys):
    out = tmp_path / "v.h5"
    words = ["--solver", "cg-sense", "--solver.tolerance", 0, "--solver.max_iter", 40]
    assert recon(scan, out, *words, "--time-budget", 1e-6) == 0
    assert "--resume goes on" in capsys.readouterr().out
    assert len(mr.Reconstruction.load(out).history) == 1
    assert recon(scan, out, *words, "--resume") == 0
    assert len(mr.Reconstruction.load(out).history) == 40
    assert [path.name for path in tmp_path.iterdir()] == ["v.h5"]
    assert recon(scan, tmp_path / "w.h5", *words) == 0
    a, b = (mr.Reconstruction.load(tmp_path / name).volume for name in ("v.h5", "w.h5"))
    assert np.linalg.norm(a - b) < 1e-3 * np.linalg.norm(b)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prior", "wavelet"], "cg-sense has no prior"),
        (["--time-budget=-1"], "positive number of seconds"),
        (["--solver", "variational", "--prior", "no-such-prior"], "no-such-prior"),
        (["--solver", "variational", "--prior", "wavelet", "wavelet"], "one prior or three"),
        (["--solver", "variationl"], "no solver 'variationl'; did you mean 'variational'?"),
        (["--solver", "tv", "--effort", "best"], "tv has no prior, which effort could be spent on"),
        (["--solver", "magic"], "no solver 'magic'; choose one of zero-filled, "),
        (
            ["--solver", "dds", "--solver.maxiter=3"],
            "The solver dds: DDS has no setting 'maxiter'; did you mean",
        ),
        (["--solver=dds", "--solver.max_iter", "[1"], "'max_iter' of DDS must be a whole number or null, got '[1'"),
        (["--solver=dds", "--solver.max_iter", "few"], "'max_iter' of DDS must be a whole number or null, got 'few'"),
        (
            ["--solver", "dds", "--solver.renoise", "magic"],
            "must be 'posterior' or 'predicted' or null, got 'magic'",
        ),
    ],
)
def test_refusals(words, message, scan, tmp_path, capsys):
    assert recon(scan, tmp_path / "v.h5", *words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        ("magic", "no solver 'magic'"),
        ({"class_path": "dds", "init_args": {"max_iter": "few"}}, "'max_iter' of DDS must be a whole number or null"),
        ({"class_path": "cgsense"}, "did you mean 'cg-sense'?"),
    ],
)
def test_refusals_in_a_settings_file(solver, message, scan, tmp_path, capsys):
    (tmp_path / "recon.yaml").write_text(yaml.safe_dump({"solver": solver}))
    assert recon(scan, tmp_path / "v.h5", "--config", tmp_path / "recon.yaml") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_numbers_as_people_write_them(scan, tmp_path):
    settings = ["--solver.lam", "1e-3", "--solver.max_iter=2", "--solver.init_args.tolerance=0"]
    assert recon(scan, tmp_path / "v.h5", "--solver", "cg-sense", *settings) == 0
    assert mr.Reconstruction.load(tmp_path / "v.h5").settings["lam"] == 1e-3


def test_maps_are_estimated_jointly_where_asked(tmp_path, capsys):
    scan = mr.simulate(np.abs(make_scan().reference), snr=40.0, keep_maps=True)
    file, given = (mr.write(s, tmp_path / n) for s, n in ((scan.evolve("no maps", maps=None), "a.h5"), (scan, "b.h5")))
    words = ["--accel", 4, "--calibration", 6]

    def steps(file, *more):
        assert recon(file, tmp_path / "v.h5", *words, *more) == 0
        said, result = capsys.readouterr().out, mr.Reconstruction.load(tmp_path / "v.h5")
        last = result.provenance[-1]
        assert ("coil maps and image jointly: chi^2 of CG-SENSE" in said) == (last.name == "joint maps")
        return last, result

    (auto, _), (never, plain), (always, better) = (steps(file, "--joint", how) for how in ("auto", "never", "always"))
    assert always.settings["rounds"] >= 1 and never.name == auto.name == "calibrate"  # CG-SENSE gains little
    assert steps(file, "--solver", "tv", "--solver.max_iter", 2)[0] == always
    before, after = always.settings["chi_squared"]
    assert [r.metrics["chi_squared"] for r in (plain, better)] == pytest.approx([before, after], rel=1e-3)
    assert steps(given)[0].name == "undersample" and steps(given, "--joint", "always")[0].name == "joint maps"
    assert steps(file, "--solver", "zero-filled")[0].name == "calibrate"
    assert steps(file, "--solver", "tv", "--solver.max_iter", 2, "--map_sets", 2)[0].name == "calibrate"
    more = ["--joint", "always", "--solver.tolerance", 0]
    whole = steps(file, *more)[1].volume
    assert len(steps(file, *more, "--time-budget", 1e-6)[1].history) == 1
    _, gone_on = steps(file, *more, "--resume")
    assert len(gone_on.history) == 30 and np.linalg.norm(gone_on.volume - whole) < 1e-3 * np.linalg.norm(whole)
