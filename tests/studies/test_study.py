"""Studies as their authors write them: which runs they mean, what identifies a run, and what is refused."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
import yaml
from helpers import REPOSITORY
from tiny_study import make_study, settings, write_head

from mrrecon import priors
from mrrecon.errors import DataError, FileFormatError
from mrrecon.solvers import CGSense
from mrrecon.studies import Method, Sampling, Study, expand

BENCHMARKS = REPOSITORY / "benchmarks"
STUDIES = [*sorted(BENCHMARKS.glob("*.yaml")), *sorted((BENCHMARKS / "ablations").glob("*.yaml"))]


def ids(study):
    return {run.id for run in expand(study)}


# ---- the grid ------------------------------------------------------------------------------------------------


def test_grid_is_the_product_of_files_accelerations_seeds_and_methods_with_their_priors_and_variants(tmp_path):
    write_head(tmp_path / "other.nii.gz")
    solvers = [
        "zero-filled",
        {"name": "cg-sense", "grid": {"max_iter": [5, 10], "lam": [0.1, 0.2]}},
        {"name": "variational", "grid": {"max_iter": [3]}},
        {"name": "variational", "label": "own", "priors": "wavelet"},
    ]
    study = make_study(
        tmp_path,
        files=["head.nii.gz", "other.nii.gz"],
        accelerations=[4, 8, 12],
        seeds=[0, 1],
        priors=["tikhonov", "total-variation"],
        solvers=solvers,
    )
    runs = expand(study)
    scans = 2 * 3 * 2
    found = Counter((run.method, run.prior) for run in runs)
    assert found == {
        ("zero-filled", None): scans,
        ("cg-sense", None): scans * 5,
        ("variational", "tikhonov"): scans * 2,
        ("variational", "total-variation"): scans * 2,
        ("own", "wavelet"): scans,
    }
    assert len({run.id for run in runs}) == len(runs)
    of_cg = {run.variant: (run.solver.max_iter, run.solver.lam) for run in runs if run.method == "cg-sense"}
    assert (
        of_cg["default"] == (CGSense().max_iter, None)
        and of_cg["max_iter=10, lam=0.2"] == (10, 0.2)
        and len(of_cg) == 5
    )
    order = [(run.file, run.acceleration, run.seed) for run in runs]
    assert sum(a != b for a, b in pairwise(order)) == scans - 1  # each scan is made once


def test_seed_of_a_run_is_that_of_its_solver_too(tmp_path):
    study = make_study(tmp_path, seeds=[3, 7], solvers=["red-diff"], priors="tikhonov")
    assert [run.solver.seed for run in expand(study)] == [3, 7]


def test_value_of_a_grid_that_is_the_default_is_run_once(tmp_path):
    study = make_study(
        tmp_path, solvers=[{"name": "cg-sense", "settings": {"max_iter": 9}, "grid": {"max_iter": [5, 9]}}]
    )
    assert [run.variant for run in expand(study)] == ["default", "max_iter=5"]


def test_methods_that_are_the_same_under_two_labels_are_refused(tmp_path):
    study = make_study(tmp_path, solvers=["cg-sense", {"name": "cg-sense", "label": "again"}])
    with pytest.raises(DataError, match=r"cg-sense \(default\) and again \(default\) are the same solver"):
        expand(study)


def test_solver_without_priors_in_the_study_takes_its_own(tmp_path):
    (run,) = expand(make_study(tmp_path, solvers=["variational"]))
    assert run.solver.prior == "brain-diverse" and run.prior is None
    assert run.given["priors"][0][0] == "brain-diverse"


def test_three_priors_are_one_for_each_axis(tmp_path):
    three = ["tikhonov", "wavelet", "tikhonov"]
    (run,) = expand(make_study(tmp_path, solvers=["variational"], priors=[three]))
    assert run.solver.prior == three and run.prior == "tikhonov + wavelet"


# ---- what identifies a run -----------------------------------------------------------------------------------


def test_run_is_the_same_wherever_the_files_lie_and_whatever_it_is_called(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    here = make_study(tmp_path, solvers=["cg-sense"])
    there = make_study(tmp_path / "elsewhere", solvers=[{"name": "cg-sense", "label": "renamed"}], name="renamed")
    assert ids(here) == ids(there)
    assert ids(here) < ids(
        make_study(tmp_path, solvers=["zero-filled", "cg-sense"])
    )  # further methods do not change it


@pytest.mark.parametrize(
    "change",
    [
        {"accelerations": [4]},
        {"seeds": [1]},
        {"maps": "estimated"},
        {"simulation": {"coils": 5}},
        {"sampling": {"calibration": 9}},
        {"metrics": {"region": "object"}},
        {"solvers": [{"name": "cg-sense", "settings": {"max_iter": 7}}]},
        {"solvers": ["l1-wavelet"]},
    ],
    ids=str,
)
def test_run_is_another_one_when_anything_that_decides_its_result_changes(tmp_path, change):
    assert not ids(make_study(tmp_path, solvers=["cg-sense"])) & ids(
        make_study(tmp_path, **{"solvers": ["cg-sense"], **change})
    )


def test_run_is_another_one_when_the_file_changes_under_its_name(tmp_path):
    before = ids(make_study(tmp_path))
    write_head(tmp_path / "head.nii.gz", scale=999)
    assert not before & ids(make_study(tmp_path))


def test_prior_from_a_folder_is_known_by_what_it_is(tmp_path):
    def study(*folders):
        return make_study(tmp_path, solvers=["variational"], priors=list(folders))

    for name, strength in (("a", 0.5), ("b", 0.5), ("c", 0.7)):
        priors.load("wavelet", strength=strength).save(tmp_path / name / "prior")
    (a,), (b,), (c,) = (expand(study(f"{name}/prior")) for name in "abc")
    assert a.id == b.id != c.id
    assert a.prior == c.prior == "wavelet" and str(a.solver.prior) == str(tmp_path / "a" / "prior")
    assert [run.prior for run in expand(study("a/prior", "c/prior"))] == [str(tmp_path / n / "prior") for n in "ac"]


# ---- files ---------------------------------------------------------------------------------------------------


def test_files_are_found_by_patterns_beside_the_study_and_in_the_data_folder(tmp_path, monkeypatch):
    for folder, name in (("here", "head.nii.gz"), ("here", "a.nii.gz"), ("data", "c.nii.gz")):
        (tmp_path / folder).mkdir(exist_ok=True)
        write_head(tmp_path / folder / name)
    monkeypatch.setenv("MRRECON_DATA", str(tmp_path / "data"))
    files = ["*.nii.gz", {"file": "c.nii.gz", "name": "third", "brain": "c.nii.gz"}]
    study = make_study(tmp_path / "here", files=files)
    assert [file.name for file in study.files] == ["a", "head", "third"]
    assert study.files[2].brain == study.files[2].path == tmp_path / "data" / "c.nii.gz"


def test_one_value_may_stand_for_a_list_of_one(tmp_path):
    write_head(tmp_path / "head.nii.gz")
    given = settings(files="head.nii.gz", accelerations=3, seeds=2, solvers="cg-sense")
    study = Study.from_settings(given, tmp_path)
    assert (study.accelerations, study.seeds, study.solvers[0].name) == ((3.0,), (2,), "cg-sense")


def test_centre_of_the_mask_takes_no_more_than_its_share_of_the_samples():
    sampling = Sampling(calibration=24, calibration_share=0.5)
    assert sampling.side((96, 112), 4) == 24
    assert sampling.side((96, 112), 48) ** 2 <= 0.5 * 96 * 112 / 48 < (sampling.side((96, 112), 48) + 1) ** 2
    assert Sampling().side((96, 112), 48) ** 2 <= 0.25 * 96 * 112 / 48  # by default, as where masks are made


# ---- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"acelerations": [4]}, "no setting 'acelerations'; did you mean 'accelerations'"),
        ({"accelerations": ["four"]}, "'accelerations' of Study must be a list of a number"),
        ({"accelerations": [0.5]}, "accelerations must be numbers of at least 1"),
        ({"accelerations": []}, "accelerations is empty"),
        ({"seeds": [-1]}, "seeds must be whole numbers from 0"),
        ({"maps": True}, "'maps' of Study must be 'estimated' or 'given'"),
        ({"name": "a/b"}, "name must be text without slashes"),
        ({"simulation": {"coil": 8}}, "no setting 'coil'; did you mean 'coils'"),
        ({"simulation": {"voxel_size": -1}}, "voxel_size of the simulation must be a positive number"),
        ({"simulation": {"coils": 0}}, "at least one coil"),
        ({"sampling": {"mask": "spiral"}}, "'mask' of Sampling must be 'poisson' or 'gaussian' or 'uniform'"),
        ({"sampling": {"calibration_share": 0}}, "calibration_share in \\(0, 1\\]"),
        ({"metrics": {"region": "brain"}}, "'region'"),
        ({"files": ["nothing.nii.gz"]}, "There is no file nothing.nii.gz"),
        ({"files": [{"path": "head.nii.gz"}]}, "must be a path, or an object with file"),
        ({"files": [{"file": "head.nii.gz", "mask": "m"}]}, "has mask; it may have file, name, brain and read"),
        ({"files": ["head.nii.gz", {"file": "head.nii.gz", "name": "head"}, "./head.nii.gz"]}, None),
        ({"files": [{"file": "head.nii.gz"}, {"file": "copy.nii.gz", "name": "head"}]}, "files are called 'head'"),
        ({"solvers": ["grappa"]}, "no solver 'grappa'; choose one of .*bart-l1-wavelet"),
        ({"solvers": [{"name": "cg-sense", "setings": {}}]}, "no setting 'setings'; did you mean 'settings'"),
        ({"solvers": [{"name": "cg-sense", "settings": {"iterations": 3}}]}, "no setting 'iterations'"),
        ({"solvers": [{"name": "cg-sense", "settings": {"max_iter": 0}}]}, "max_iter must be at least 1"),
        ({"solvers": [{"name": "cg-sense", "settings": {"max_iter": "many"}}]}, "must be a whole number"),
        ({"solvers": [{"name": "cg-sense", "grid": {"max_iter": 3}}]}, "list of values for max_iter"),
        ({"solvers": [{"name": "cg-sense", "grid": {"max_iter": [3, 0]}}]}, "max_iter must be at least 1"),
        ({"solvers": [{"name": "variational", "settings": {"seed": 3}}]}, "must not have seed among its settings"),
        ({"solvers": [{"name": "variational", "grid": {"prior": ["wavelet"]}}]}, "must not have prior among"),
        ({"solvers": [{"name": "cg-sense", "priors": ["wavelet"]}]}, "cg-sense has no prior"),
        ({"solvers": ["cg-sense", "cg-sense"]}, "Two of the solvers are called 'cg-sense'"),
        ({"solvers": [3]}, "must be a name, or an object"),
        ({"priors": ["brian-diverse"]}, "brian-diverse"),
        ({"priors": [["wavelet", "wavelet"]]}, "a name or three of them"),
        ({"priors": [7]}, "must be the name or the folder of one"),
        ({"baseline": "bart"}, "baseline 'bart' is none of the solvers"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_wrong_settings_are_refused_in_one_sentence_that_names_them(tmp_path, change, said):
    write_head(tmp_path / "head.nii.gz")
    write_head(tmp_path / "copy.nii.gz")
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(settings(**change)))
    if said is None:  # the same file again is no mistake
        assert len(Study.from_yaml(path).files) == 1
        return
    with pytest.raises(FileFormatError, match=said) as caught:
        Study.from_yaml(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [(":\n  - [", "not valid YAML"), ("- a list", "has no settings"), ("name: x", "needs the setting")],
)
def test_files_that_are_no_studies_are_named(tmp_path, text, said):
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(FileFormatError, match=rf"study\.yaml.* {said}"):
        Study.from_yaml(tmp_path / "study.yaml")
    with pytest.raises(FileFormatError, match=r"nothing\.yaml cannot be read: No such file"):
        Study.from_yaml(tmp_path / "nothing.yaml")


def test_methods_made_in_python_are_checked_like_those_of_files():
    with pytest.raises(DataError, match="max_iter must be at least 1"):
        Method("cg-sense", settings={"max_iter": 0})


# ---- the studies of this repository --------------------------------------------------------------------------


def test_there_are_studies_to_check():
    names = "acceleration held_out samplers optimizer prior slices time_limit"
    assert {path.stem for path in STUDIES} == set(names.split())


@pytest.mark.data
@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_studies_of_the_repository_name_files_priors_and_settings_that_exist(path, data_dir, monkeypatch):
    monkeypatch.setenv("MRRECON_DATA", str(data_dir))
    study = Study.from_yaml(path)
    assert all(file.path.is_relative_to(data_dir.resolve() / "validation") for file in study.files)
    assert 0 < sum(bool(run.given["priors"]) for run in expand(study)) <= 100  # minutes each
