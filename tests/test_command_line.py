"""What the command line says: help, words that are not understood, time, records, extracts, chi^2."""

from __future__ import annotations

import re
import time

import nibabel
import numpy as np
import pytest
from solver_scans import make_scan

import mrrecon as mr
from mrrecon import progress, solvers
from mrrecon.acquisition import Step
from mrrecon.cli import COMMANDS, main
from mrrecon.commands.results import chi_squared_note, chi_squared_text
from mrrecon.errors import DataError
from mrrecon.reconstruction import Reconstruction


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    return mr.write(make_scan(), tmp_path_factory.mktemp("line") / "scan.h5")


def says(capsys, *words):
    """Run a command that must be refused in one sentence; return it."""
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("mrrecon: ") and said.err.count("\n") == 1, said.err
    return said.err


def test_alone_it_prints_help(capsys):
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 0
    said = capsys.readouterr()
    assert not said.err and all(re.search(rf"^\s+{name}\s", said.out, re.M) for name in COMMANDS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recno"], "There is no command 'recno'; did you mean 'recon'?"),
        (["reconstruct"], "There is no command 'reconstruct'; did you mean 'recon'?"),
        (["qqq"], "choose one of info, recon"),
        (["prior", "lst"], "mrrecon prior has no 'lst'; did you mean 'list'?"),
        (["prior"], "mrrecon prior needs one of list, show, evaluate"),
        (["recon", "s.h5", "-o", "v.h5", "--acel", "3"], "no option --acel; did you mean --accel?"),
        (["recon", "s.h5", "-o", "v.h5", "--time-budgte=3"], "no option --time-budgte; did you mean --time_budget?"),
        (["prior", "evaluate", "wavelet", "--tims", "3"], "mrrecon prior evaluate has no option --tims"),
        (["recon", "s.h5", "v.h5", "-o", "w.h5"], "does not know what to do with 'v.h5'"),
        (["recon"], "mrrecon recon needs file and --output"),
        (["recon", "s.h5"], "mrrecon recon needs --output"),
        (["recon", "s.h5", "-o", "v.h5", "--accel", "many"], "--accel must be a number, got many"),
        (["recon", "s.h5", "-o", "v.h5", "--device", "tpu"], "--device must be 'cpu' or 'cuda', got tpu"),
        (["mask", "[20]", "2", "-o", "m.npy"], "shape"),
    ],
    ids=" ".join,
)
def test_words_that_are_not_understood(words, message, capsys):
    assert message in says(capsys, *words)


@pytest.mark.parametrize("command", ["recon", "bench", "train"])
def test_malformed_yaml_is_one_sentence_with_file_and_line(command, tmp_path, capsys):
    path = tmp_path / "settings.yaml"
    path.write_text("name: x\nsolvers: [a,\n  b: c\nfiles: 3\n")
    words = [path] if command != "recon" else ["--config", path]
    said = says(capsys, command, *words)
    assert f"{path} is not valid YAML, line " in said and "unicode string" not in said
    line = int(re.search(r"line (\d)", said)[1])
    assert line in (3, 4)


def test_settings_files_that_are_none(tmp_path, capsys):
    assert "cannot be read" in says(capsys, "recon", "--config", tmp_path / "nothing.yaml")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    assert "has no settings" in says(capsys, "recon", "--config", tmp_path / "list.yaml")
    (tmp_path / "odd.yaml").write_text("acel: 3\n")
    said = says(capsys, "recon", "s.h5", "-o", "v.h5", "--config", tmp_path / "odd.yaml")
    assert "no setting 'acel'" in said and "did you mean 'accel'?" in said


def test_the_voxel_size_has_one_name(capsys):
    for words in (["simulate"], ["demo"], ["prior", "evaluate"]):
        with pytest.raises(SystemExit):
            main([*words, "--help"])
        assert re.findall(r"--voxel\w*", capsys.readouterr().out)[0] == "--voxel_size"


# ---- time ----------------------------------------------------------------------------------------------------

SLOW = {
    "cg-sense": {},
    "l1-wavelet": {},
    "tv": {},
    "variational": {"prior": "slow"},
    "ensemble": {"prior": "slow"},
    "red-diff": {"prior": "slow"},
    "published": {"prior": "slow"},
    "dds": {"prior": "slow"},
    "tpdm": {"prior": "slow"},
    "diffusion-mbir": {"prior": "slow"},
    "dps": {"prior": "slow"},
}


@pytest.mark.parametrize("method", SLOW)
def test_every_iterative_method_keeps_to_the_time_budget(method, monkeypatch):
    """An iteration takes 0.1 s of a clock that only iterations move: a budget of a second is ten of them, about."""
    from mrrecon.priors import GaussianPrior, WaveletPrior

    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    settings = {name: WaveletPrior() if name == "prior" else value for name, value in SLOW[method].items()}
    if method == "dps":
        settings |= {"prior": GaussianPrior(np.zeros((32, 28)), variance=0.5), "plane": 0}  # can be differentiated
    long = {} if "tolerance" in settings else {"tolerance": 0.0}
    solver = solvers.get(method.split()[0])(max_iter=60, time_budget=1.0, **settings, **long)
    plain = solver.iterations

    def slow(self, *given):
        for step in plain(*given):
            now[0] += 0.1
            yield step

    monkeypatch.setattr(type(solver), "iterations", slow)
    result = solver(make_scan())
    assert 9 <= len(result.history) <= 11 and result.settings["time_budget"] == 1.0
    if not solver.paces_itself:
        assert result.stopped == "time budget"
    assert np.isfinite(result.volume).all()


def test_what_is_spent_before_the_first_iteration_is_of_the_budget(monkeypatch):
    """Loading takes 0.6 s of a clock that only loading and denoising move: of a budget of a second, 0.4 s are left."""
    from mrrecon.priors import WaveletPrior
    from mrrecon.solvers.parts.plane_priors import PlanePriors
    from mrrecon.solvers.parts.problem import Problem

    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def slow(seconds, call):
        def slowed(*given):
            now[0] += seconds
            return call(*given)

        return slowed

    monkeypatch.setattr(Problem, "of", slow(0.6, Problem.of))
    monkeypatch.setattr(PlanePriors, "denoise", slow(0.1, PlanePriors.denoise))
    result = solvers.Variational(prior=WaveletPrior(), max_iter=60, time_budget=1.0)(make_scan())
    assert 3 <= len(result.history) <= 5 and now[0] == pytest.approx(1.0, abs=0.11)
    assert result.stopped == "max_iter"
    full = solvers.Variational(prior=WaveletPrior(), max_iter=4)(make_scan())
    assert result.history[-1]["level"] == pytest.approx(full.history[-1]["level"])


def test_a_budget_that_is_enough_changes_nothing():
    scan = make_scan()
    a, b = (solvers.CGSense(time_budget=budget)(scan) for budget in (None, 1e6))
    np.testing.assert_array_equal(a.volume, b.volume)
    assert a.stopped == b.stopped and "time_budget" not in a.settings


def test_nothing_to_resume_is_a_note(scan, tmp_path, capsys):
    assert main(["recon", str(scan), "-o", str(tmp_path / "v.h5"), "--resume"]) == 0
    assert "there is nothing to resume" in capsys.readouterr().err
    assert (tmp_path / "v.h5").exists() and not (tmp_path / "v.h5.checkpoint").exists()


def test_the_seconds_are_those_that_were_waited(tmp_path, monkeypatch, capsys):
    mr.write(make_scan().evolve("no maps", maps=None), tmp_path / "s.h5")
    plain = mr.Acquisition.calibrate

    def slow(self, **settings):
        time.sleep(1.2)
        return plain(self, **settings)

    monkeypatch.setattr(mr.Acquisition, "calibrate", slow)
    monkeypatch.setattr(progress, "PATIENCE", 0.5)
    began = time.perf_counter()
    assert main(["recon", str(tmp_path / "s.h5"), "-o", str(tmp_path / "v.h5")]) == 0
    waited = time.perf_counter() - began
    said = capsys.readouterr()
    whole, calibration = re.search(r"^([\d.]+) s in all \(.*calibration ([\d.]+)", said.out, re.M).groups()
    assert float(whole) == pytest.approx(waited, abs=0.2) and 1.1 < float(calibration) < float(whole)
    assert "coil maps (ESPIRiT)" in said.err


# ---- records and extracts ------------------------------------------------------------------------------------


@pytest.fixture
def result(tmp_path):
    rng = np.random.default_rng(0)
    volume = (rng.standard_normal((12, 14, 10)) + 1j * rng.standard_normal((12, 14, 10))).astype(np.complex64)
    influence = (0.1 * volume[::-1]).astype(np.complex64)
    deviation = rng.random((12, 14, 10)).astype(np.float32)
    affine = np.array([[0, 2.0, 0, -30], [3.0, 0, 0, 10], [0, 0, 1.5, 7], [0, 0, 0, 1]])
    made = Reconstruction(
        volume,
        (3.0, 2.0, 1.5),
        affine,
        "tpdm",
        {"lam": 0.25, "prior": "brain-diverse", "seed": 7},
        acceleration=8.25,
        seconds=12.5,
        history=({"iteration": 1, "residual": 0.125},),
        extras={"prior_influence": influence, "deviation": deviation},
        metrics={"chi_squared": 0.875, "psnr": 31.25, "policy": {"region": "all"}},
        provenance=(Step("undersample", {"mask": "poisson", "seed": 3}),),
        versions={"mrrecon": "9.8.7"},
    )
    return made.save(tmp_path / "r.h5"), made


def test_info_shows_the_record_of_a_result(result, capsys):
    assert main(["info", str(result[0])]) == 0
    said = capsys.readouterr().out
    for text in (
        "12 x 14 x 10", "3 x 2 x 1.5 mm", "tpdm", "lam 0.25, prior brain-diverse, seed 7", "8.250", "12.5",
        "residual 0.125", "0.875", "psnr 31.25", "region all", "prior_influence (complex64)", "deviation (float32)",
        "undersample mask poisson, seed 3", "mrrecon 9.8.7",
    ):  # fmt: skip
        assert text in said


PARTS = {
    "magnitude": lambda made: np.abs(made.volume),
    "phase": lambda made: np.angle(made.volume),
    "real": lambda made: made.volume.real,
    "imag": lambda made: made.volume.imag,
    "complex": lambda made: made.volume,
    "prior_influence": lambda made: made.extras["prior_influence"],
    "deviation": lambda made: made.extras["deviation"],
}


@pytest.mark.parametrize("what", PARTS)
def test_extract(result, what, tmp_path):
    from mrrecon.io.plain_files import read_cfl

    path, made = result
    out = [tmp_path / f"x{suffix}" for suffix in (".nii.gz", ".nii", ".npy", ".cfl", ".png")]
    assert main(["extract", str(path), "--what", what, "-o", *map(str, out)]) == 0
    wanted = PARTS[what](made)
    shown = np.abs(wanted) if np.iscomplexobj(wanted) else wanted
    for image in map(nibabel.load, out[:2]):
        np.testing.assert_allclose(image.get_fdata(), shown, rtol=1e-6)
        np.testing.assert_allclose(image.affine, made.affine, atol=1e-5)
    np.testing.assert_array_equal(np.load(out[2]), wanted)
    np.testing.assert_array_equal(read_cfl(out[3]), wanted.astype(np.complex64))
    assert out[4].read_bytes()[:4] == b"\x89PNG"


def test_what_is_not_there_cannot_be_extracted(result, scan, tmp_path, capsys):
    said = says(capsys, "extract", result[0], "--what", "devation", "-o", tmp_path / "x.nii")
    assert "did you mean 'deviation'" in said and "prior_influence" in said
    assert "mrrecon.read" in says(capsys, "extract", scan, "-o", tmp_path / "x.nii")
    with pytest.raises(DataError, match="no 'xyz'; it has prior_influence, deviation, magnitude"):
        result[1].part("xyz")


# ---- chi^2 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unknowns", "message"),
    [
        (1.0, 0.1, None), (0.6, 0.1, None), (0.1, 0.95, None), (1.9, 0.5, None),
        (2.5, 0.1, "far above one"), (9000.0, 0.1, "far above one"), (1e5, 0.1, "no noise"), (np.inf, 0.1, "no noise"),
        (0.3, 0.1, "far below one"), (0.0, 0.5, "far below one"), (None, 0.1, None), (np.nan, 0.1, None),
    ],
)  # fmt: skip
def test_what_chi_squared_means(value, unknowns, message):
    note = chi_squared_note(value, lambda: unknowns)
    assert (note is None) if message is None else message in note
    if value is not None:
        assert len(chi_squared_text(value)) < 10


def test_chi_squared_on_the_command_line(tmp_path, capsys):
    """Maps of another scan, and data without noise, are told; what is right has no note."""
    good = make_scan(fraction=0.5, coils=8)
    cases = {
        "good": good.evolve("noise", noise_covariance=np.eye(8) / 30**2),
        "noise": good.evolve("noise", noise_covariance=np.eye(8) * (3 / 30) ** 2),
        "maps": good.evolve("maps", maps=good.maps[[1, 0, 2, 3, 4, 5, 6, 7]], noise_covariance=np.eye(8) / 30**2),
        "free": make_scan(snr=None, fraction=0.5).evolve("noise", noise_covariance=1e-18 * np.eye(4)),
    }
    said = {}
    for name, scan in cases.items():
        mr.write(scan, tmp_path / f"{name}.h5")
        words = ["recon", str(tmp_path / f"{name}.h5"), "-o", str(tmp_path / "v.h5"), "--solver.lam", "0.001"]
        assert main(words) == 0
        captured = capsys.readouterr()
        said[name] = captured.err
        assert max(map(len, captured.out.splitlines())) < 120
    assert "chi^2" not in said["good"] and "far below one" in said["noise"]
    assert "far above one" in said["maps"] and "no noise" in said["free"]
