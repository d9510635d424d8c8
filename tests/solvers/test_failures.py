"""Methods that go wrong: never an image that is not the method's, always an error that has what was good before."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from solver_scans import make_scan, nrmse

from mrrecon import errors, priors, solvers
from mrrecon.cli import main
from mrrecon.errors import CalibrationError, DataError, MRReconError, ShapeError, SolverError
from mrrecon.io import write
from mrrecon.reconstruction import Reconstruction
from mrrecon.solvers.parts import problem as problems

SHAPE = (16, 20, 18)
WITH_PRIOR = {
    "proximal": ("variational", {}),
    "ensemble": ("ensemble", {}),
    "red-diff": ("red-diff", {"slices": 5}),
    "published": ("published", {"slices": 5}),
    "dds": ("dds", {}),
    "tpdm": ("tpdm", {}),
    "diffusion-mbir": ("diffusion-mbir", {}),
    "dps": ("dps", {}),
}
CLASSICAL = {name: (name, {}) for name in ("cg-sense", "l1-wavelet", "tv")}
every_prior_method = pytest.mark.parametrize("method", WITH_PRIOR)
every_method = pytest.mark.parametrize("method", [*WITH_PRIOR, *CLASSICAL])


class Fragile(priors.SlicePrior):
    """Independent pixels, N(0, 1) per real component; from the `last`-th question on its answer `breaks`."""

    name = "fragile"

    def __init__(self, last: int = 10**9, breaks: str = "raises") -> None:
        self.last, self.breaks, self.asked = last, breaks, 0

    def _denoise(self, noisy, sigma, condition):
        self.asked += 1
        clean = noisy / (1 + sigma**2)
        if self.asked < self.last:
            return clean
        if self.breaks == "raises":
            raise torch.OutOfMemoryError("the GPU is full\nand more of this")
        if self.breaks == "one voxel":
            return clean.index_fill(2, torch.tensor([3]), complex("inf"))
        return {"NaN": clean * torch.nan, "shape": clean[:, 1:], "real": clean.abs(), "none": None}[self.breaks]


def solver_of(method, prior="tikhonov", **settings):
    name, own = {**WITH_PRIOR, **CLASSICAL}[method]
    return solvers.get(name)(max_iter=6, **({} if method in CLASSICAL else {"prior": prior}), **own, **settings)


# ---- priors that fail ----------------------------------------------------------------------------------------


@every_prior_method
@pytest.mark.parametrize(
    ("breaks", "said"),
    [
        ("raises", "'fragile' failed with OutOfMemoryError: the GPU is full in iteration"),
        ("NaN", "'fragile' returned NaN or infinite values in iteration"),
        ("one voxel", "'fragile' returned NaN or infinite values in iteration"),
        ("shape", r"'fragile' must return shape \(\d+, \d+, \d+\) and returned shape \(\d+, \d+, \d+\) in"),
        ("real", "'fragile' must return complex slices and returned torch.float32"),
        ("none", "'fragile' must return shape .* and returned NoneType in iteration"),
    ],
)
def test_a_prior_that_fails_leaves_the_iterate_before(method, breaks, said):
    scan = make_scan(shape=SHAPE)
    sound = Fragile()
    questions: list[int] = []
    images: list[np.ndarray] = []

    def watch(status):
        questions.append(sound.asked)
        images.append(status.image())

    solver_of(method, sound)(scan, watch)
    broken = Fragile(questions[3] + 1, breaks)  # a question of the fifth iteration
    with pytest.raises(SolverError, match=said) as caught:
        solver_of(method, broken)(scan)
    partial = caught.value.partial
    assert isinstance(caught.value.__cause__, errors.PriorFailure)
    assert len(partial.history) == 4 and partial.stopped in str(caught.value)
    np.testing.assert_array_equal(partial.volume, images[3])


@every_prior_method
def test_a_prior_that_fails_at_once_leaves_nothing(method):
    with pytest.raises(SolverError, match="in iteration 1") as caught:
        solver_of(method, Fragile(1, "NaN"))(make_scan(shape=SHAPE))
    assert caught.value.partial is None


def test_a_method_that_needs_other_data_is_refused_as_before():
    with pytest.raises(errors.PriorInputError, match="first noise level must be above"):
        solver_of("dds", first_level=1e-9)(make_scan(shape=SHAPE))
    with pytest.raises(errors.UnknownPriorError):
        solver_of("proximal", "no-such-prior")(make_scan(shape=SHAPE))


def test_a_run_that_failed_goes_on_where_it_was(tmp_path):
    """Out of memory is not for ever."""
    scan, path = make_scan(shape=SHAPE), tmp_path / "run.checkpoint"
    whole = solver_of("proximal", Fragile())(scan)
    with pytest.raises(SolverError):
        solver_of("proximal", Fragile(4))(scan, checkpoint=path)
    rest = solver_of("proximal", Fragile())(scan, checkpoint=path)
    np.testing.assert_allclose(rest.volume, whole.volume, atol=1e-5 * np.abs(whole.volume).max())
    assert len(rest.history) == 6 and not path.exists()


@pytest.fixture(scope="module")
def scan_file(tmp_path_factory):
    return write(make_scan(shape=SHAPE), tmp_path_factory.mktemp("failures") / "scan.h5")


def test_the_command_line_keeps_what_was_good_beside_and_exits_with_three(scan_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mrrecon.priors.registry._registered", {"fragile": lambda: Fragile(4, "NaN")})
    words = ["recon", str(scan_file), "-o", str(tmp_path / "v.nii.gz"), str(tmp_path / "v.png"), "--solver=variational"]
    for name in ("v.partial.h5", "v.partial-2.h5"):  # nothing is ever written over
        assert main([*words, "--prior", "fragile"]) == 3
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "Traceback" not in said
        assert "variational failed: the prior 'fragile' returned NaN or infinite values in iteration 4;" in said
        assert (
            f"nothing is written to {tmp_path}/v.nii.gz, the image of iteration 3 is kept in {tmp_path}/{name}" in said
        )
    found = {path.name for path in tmp_path.iterdir()} - {"v.nii.gz.checkpoint"}
    assert found == {"v.partial.h5", "v.partial-2.h5"}
    kept = Reconstruction.load(tmp_path / "v.partial.h5")
    assert kept.stopped.endswith("in iteration 4") and len(kept.history) == 3
    sound = solvers.Variational(prior=Fragile())(make_scan(shape=SHAPE), lambda status: status.iteration == 3)
    assert nrmse(kept.volume, sound.volume) < 1e-5


def test_the_command_line_says_so_where_nothing_was_good(scan_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mrrecon.priors.registry._registered", {"fragile": lambda: Fragile(1)})
    assert main(["recon", str(scan_file), "-o", str(tmp_path / "v.h5"), "--solver=tpdm", "--prior", "fragile"]) == 3
    assert capsys.readouterr().err.endswith(f"in iteration 1; nothing is written to {tmp_path}/v.h5.\n")
    assert not list(tmp_path.iterdir())


# ---- iterates and results that are no images -----------------------------------------------------------------


@every_method
@pytest.mark.parametrize("size", [1e30, 1e7])
def test_a_wild_start_never_gives_a_wild_image(method, size):
    scan = make_scan(shape=SHAPE)
    try:
        result = solver_of(method)(scan, initial=np.full(scan.shape, size, np.complex64))
    except SolverError as error:
        assert error.partial is None and ("not finite" in str(error) or "times as large as the signal" in str(error))
    else:
        assert np.abs(result.volume).max() < 1e3


def test_a_method_that_diverges_fails():
    scan = make_scan(shape=SHAPE)
    with pytest.raises(SolverError, match=r"times as large as the signal of the data|not finite") as caught:
        solvers.RedDiff(prior="tikhonov", lam=1e4, max_iter=12)(scan)
    assert caught.value.partial is None


@pytest.mark.parametrize("name", solvers.names())
def test_a_volume_that_is_not_finite_is_no_result(name):
    scan = make_scan(shape=SHAPE)
    with pytest.raises(SolverError, match=f"{name} failed: 1 of the 5760 voxels of its image are NaN or Inf"):
        volume = np.zeros(SHAPE, np.complex64)
        volume[3, 4, 5] = np.inf
        Reconstruction.from_solver(scan, volume, name, {})


def test_tuning_counts_a_failure_as_infinitely_wrong():
    scan, fails = make_scan(shape=SHAPE), {"lam": [1e4, 0.03]}
    solver = solvers.RedDiff(prior="tikhonov", max_iter=12)
    tuned = solvers.tune(solver, scan, fails)
    assert tuned.solver.lam == 0.03 and np.isinf(tuned.trials[0].error) and np.isfinite(tuned.trials[1].error)
    with pytest.raises(SolverError):
        solvers.tune(solver, scan, {"lam": [1e4]})


# ---- warm starts ---------------------------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (lambda v: np.where(np.arange(v.size).reshape(v.shape) == 7, np.nan, v), DataError, "1 voxels that are NaN"),
        (lambda v: np.full_like(v, np.inf), DataError, "NaN, Inf or too large"),
        (lambda v: v.astype(complex) + 1e300, DataError, "5760 voxels .* too large for single precision"),
        (lambda v: v.astype(object), DataError, "numbers, got dtype object"),
        (lambda v: v.astype(str), DataError, "numbers, got dtype <U"),
        (lambda v: v != 0, DataError, "numbers, got dtype bool"),
        (lambda v: "before.h5", DataError, "numbers, got dtype <U"),
        (lambda v: [[1, 2], [3]], DataError, "a volume, got list"),
        (lambda v: v[1:], ShapeError, r"shape \(15, 20, 18\), the scan needs \(x, y, z\) = \(16, 20, 18\)"),
        (lambda v: v[None], ShapeError, r"shape \(1, 16, 20, 18\)"),
        (lambda v: v.transpose(2, 0, 1), ShapeError, r"shape \(18, 16, 20\)"),
    ],
    ids=range(11),
)
def test_a_start_that_is_no_volume_is_refused(method, spoil, error, said):
    scan = make_scan(shape=SHAPE)
    with pytest.raises(error, match=said):
        solver_of(method)(scan, initial=spoil(scan.reference))


def test_a_start_may_be_of_any_numbers():
    scan = make_scan(shape=SHAPE)
    settings = {"max_iter": 3, "tolerance": 0.0}
    expected = solvers.CGSense(**settings)(scan, initial=scan.reference).volume
    for same in (scan.reference.astype(complex), torch.tensor(scan.reference), scan.reference.tolist()):
        assert nrmse(solvers.CGSense(**settings)(scan, initial=same).volume, expected) < 1e-6
    whole = np.rint(100 * np.abs(scan.reference)).astype(np.int16)
    assert np.isfinite(solvers.CGSense(**settings)(scan, initial=whole).volume).all()


# ---- noise that is not known ---------------------------------------------------------------------------------


def unknown(scan):
    raise CalibrationError("there is nothing to estimate the noise from")


@pytest.mark.parametrize(
    "solver", [solvers.CGSense(lam=0.0), solvers.L1Wavelet(lam=0.0), solvers.TotalVariation(lam=0.0)]
)
def test_without_regularisation_no_noise_is_needed(solver, monkeypatch):
    scan = make_scan(snr=None, shape=SHAPE, fraction=1.0)
    monkeypatch.setattr(problems, "_noise_level", unknown)
    result = solver(scan)
    assert nrmse(result.volume, scan.reference) < 1e-3
    assert result.estimates["noise"] is None and "chi_squared" not in result.metrics


def test_what_is_in_units_of_the_noise_needs_it(monkeypatch):
    scan = make_scan(shape=SHAPE)
    given = solvers.CGSense(lam=0.01)(scan)
    gradient = solvers.RedDiff(prior="tikhonov", lam=0.05, max_iter=3)
    assert given.estimates["noise"] > 0 and given.metrics["chi_squared"] > 0
    monkeypatch.setattr(problems, "_noise_level", unknown)
    np.testing.assert_array_equal(solvers.CGSense(lam=0.01)(scan).volume, given.volume)
    assert "prior_influence" in gradient(scan).extras
    for solver in (
        solvers.CGSense(),
        solvers.L1Wavelet(lam=0.5),
        solvers.TotalVariation(),
        solvers.DDS(prior="tikhonov"),
    ):
        with pytest.raises(MRReconError, match="nothing to estimate the noise from"):
            solver(scan)


def test_noise_is_estimated_once(monkeypatch):
    calls = []
    estimate = problems._noise_level
    monkeypatch.setattr(problems, "_noise_level", lambda scan: calls.append(1) or estimate(scan))
    solvers.TPDM(prior="tikhonov", max_iter=3, samples=2)(make_scan(shape=SHAPE))
    assert len(calls) == 1
