"""The variational solver: its fixed point against a closed form, its optimisers, its schedule, its refusals."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from solver_scans import make_scan, nrmse, psnr

from mrrecon import priors
from mrrecon.errors import DataError, SolverError
from mrrecon.grid import Grid
from mrrecon.solvers import CGSense, Published, RedDiff, Variational
from mrrecon.solvers.parts.plane_priors import PlanePriors
from mrrecon.solvers.parts.problem import Problem
from mrrecon.solvers.parts.random_slabs import draw_slabs, random_levels, slice_errors
from mrrecon.solvers.variational import falling_levels


@pytest.fixture(autouse=True)
def no_error_map(monkeypatch):
    """What is asked of priors for the error map, after the end, would come between."""
    monkeypatch.setattr(
        "mrrecon.solvers.parts.with_prior.error_map", lambda problem, prior, image: np.zeros(image.shape[1:])
    )


class Pixelwise(priors.SlicePrior):
    """Independent pixels, N(0, variance) per real component; counts what it is asked."""

    name = "pixelwise"

    def __init__(self, variance: float = 0.25, voxel_sizes=None) -> None:
        self.variance, self.voxel_sizes = variance, voxel_sizes
        self.asked: list[tuple[int, int, float]] = []

    def _denoise(self, noisy, sigma, condition):
        self.asked.append((len(noisy), condition.plane, float(sigma.flatten()[0])))
        return noisy * self.variance / (self.variance + sigma**2)


@pytest.mark.parametrize("lam", [1.0, 4.0])
def test_proximal_ends_at_the_posterior_mean_of_a_gaussian_prior(lam):
    # |A x - y|^2 / s^2 + lam |x - D(x)|^2 / l^2 is stationary where the prior has the variance (v + l^2) / lam.
    scan = make_scan(snr=10)
    variance, noise = 0.25, Problem.of(scan, "test").noise / np.sqrt(2)
    level = 0.5 / noise  # in units of the noise
    result = Variational(
        lam=lam, prior=Pixelwise(variance), first_level=0.5, last_level=level, max_iter=60, cg_steps=40
    )(scan)
    exact = CGSense(lam=lam * noise**2 / (variance + 0.25), max_iter=200, tolerance=1e-7)(scan)
    assert nrmse(result.volume, exact.volume) < 1e-3
    assert result.settings["prior"] == "pixelwise" and result.estimates["lam"] == lam


def test_momentum_is_nearer_to_the_end_after_as_many_iterations():
    scan, settings = make_scan(snr=10), {"prior": Pixelwise(), "lam": 0.05, "first_level": 0.1, "cg_steps": 40}
    noise = Problem.of(scan, "test").noise / np.sqrt(2)
    settings |= {"last_level": 0.1 / noise, "true_intensity": False}
    end = Variational(max_iter=150, **settings)(scan).volume
    with_it, without = (nrmse(Variational(max_iter=8, momentum=m, **settings)(scan).volume, end) for m in (0.7, 0.0))
    assert with_it < 0.6 * without


def test_effort_is_more_iterations():
    for solver, steps in ((Variational, (10, 20, 60)), (RedDiff, (50, 100, 300)), (Published, (100, 200, 400))):
        assert tuple(solver(effort=effort).total for effort in ("fast", "normal", "best")) == steps
        assert solver(effort="best", max_iter=3).total == 3
    result = Variational(prior=Pixelwise(), effort="fast")(make_scan())
    assert len(result.history) == 10 and result.settings["effort"] == "fast"


@pytest.mark.parametrize(("acceleration", "lam"), [(1.0, 1.0), (5.0, 0.8), (8.0, 0.5), (24.0, 0.25)])
def test_more_of_the_prior_where_noise_is_the_matter(acceleration, lam):
    problem = replace(Problem.of(make_scan(), "test"), acceleration=acceleration)
    assert Variational().default_strength(problem) == pytest.approx(lam)


@pytest.mark.parametrize("solver", [Variational(), RedDiff(slices=10)], ids=lambda solver: solver.name)
def test_a_denoiser_as_prior_beats_cg_sense(solver):
    scan = make_scan(snr=30)
    plain = psnr(CGSense()(scan).volume, scan.reference)
    result = replace(solver, prior="total-variation", max_iter=15)(scan)
    assert psnr(result.volume, scan.reference) > plain + 2


def test_red_diff_without_prior_solves_the_least_squares():
    scan = make_scan(snr=None, fraction=1.0)
    result = RedDiff(lam=0, prior=Pixelwise(), slices=5, max_iter=80)(scan)
    assert nrmse(result.volume, scan.reference) < 2e-3


def test_published_data_term_is_adam_on_the_mean_squared_error():
    # The oracle differentiates the loss as written, over the components of all samples, scaled to |y|^2 = 2 N.
    scan = make_scan(snr=30)
    result = Published(lam=0, prior="tikhonov", slices=5, max_iter=6)(scan)
    maps = torch.from_numpy(scan.maps.copy())
    y = torch.from_numpy(scan.kspace.copy())
    factor = np.sqrt(2 * np.prod(scan.shape)) / y.norm()
    axes = (-3, -2, -1)

    def fourier(a, transform):
        return torch.fft.fftshift(transform(torch.fft.ifftshift(a, axes), dim=axes, norm="ortho"), axes)

    x = torch.view_as_real((maps.conj() * fourier(factor * y, torch.fft.ifftn)).sum(0)).clone().requires_grad_()
    adam = torch.optim.Adam([x], lr=2.0, betas=(0.9, 0.99), eps=1e-8)
    for _ in range(6):
        adam.zero_grad()
        predicted = torch.from_numpy(scan.mask.copy()) * fourier(maps * torch.view_as_complex(x), torch.fft.fftn)
        torch.view_as_real(predicted - factor * y).square().mean().backward()
        adam.step()
    expected = torch.view_as_complex(x.detach()) / factor
    assert nrmse(result.volume, expected.numpy()) < 1e-3
    assert Published().default_strength(Problem.of(scan, "test")) == 0.01


def test_published_prior_term_pulls_towards_what_the_prior_believes():
    scan = make_scan(snr=30)
    start = Problem.of(scan, "test")
    before = start.volume(start.backprojection)[4:-4, 4:-4, 4:-4]
    solver = Published(lam=1e4, prior=Pixelwise(1e-12), slices=200, max_iter=1)  # believes in zero
    moved = solver(scan).volume[4:-4, 4:-4, 4:-4] - before
    agree = (moved.real * before.real < 0) & (moved.imag * before.imag < 0)
    assert agree[np.abs(before) > 0.3].mean() > 0.99


@pytest.mark.parametrize("solver", [RedDiff, Published])
def test_seed_decides_the_random_slices(solver):
    def run(seed):
        return solver(prior="tikhonov", slices=5, max_iter=2, seed=seed)(scan).volume

    scan = make_scan()
    np.testing.assert_array_equal(run(1), run(1))
    assert nrmse(run(1), run(2)) > 1e-5


def test_planes_take_turns_and_every_slice_is_counted():
    scan, prior = make_scan(), Pixelwise()
    result = Variational(prior=prior, max_iter=4, first_level=0.2, last_level=0.4)(scan)
    assert [(count, plane) for count, plane, _ in prior.asked] == [(20, 0), (32, 1), (28, 2), (20, 0)]
    assert [h["evaluations"] for h in result.history] == [20, 52, 80, 100]
    levels = [level for _, _, level in prior.asked]
    noise = Problem.of(scan, "test").noise / np.sqrt(2)
    np.testing.assert_allclose([levels[0], levels[-1]], [0.2, 0.4 * noise], rtol=1e-5)
    np.testing.assert_allclose(np.diff(np.log(levels)), np.log(levels[1] / levels[0]), rtol=1e-4)
    np.testing.assert_allclose([h["level"] for h in result.history], levels, rtol=1e-5)


class Leaning(Pixelwise):
    """Adds a part of what it gets, more and more to the right, and keeps what it gets."""

    def __init__(self) -> None:
        super().__init__(1e6)
        self.seen: list[np.ndarray] = []

    def _denoise(self, noisy, sigma, condition):
        self.seen.append(noisy.numpy())
        ramps = [torch.linspace(-1, 1, n) for n in noisy.shape[1:]]
        return super()._denoise(noisy, sigma, condition) * (1 + 0.05 * (ramps[0][:, None] + 0.5 * ramps[1]))


def test_mirrored_slices_undo_what_a_prior_does_to_one_side():
    scan = make_scan(shape=(20, 24, 5))  # a slab: one plane
    straight = Variational(prior=Pixelwise(1e6), true_intensity=False)(scan).volume
    mirrored, leaning = (
        nrmse(Variational(prior=Leaning(), mirror=mirror, true_intensity=False)(scan).volume, straight)
        for mirror in (True, False)
    )
    assert leaning > 0.1 and mirrored < 0.3 * leaning


@pytest.mark.parametrize("mirror", [True, False])
def test_slices_are_mirrored_in_turn(mirror):
    scan, prior = make_scan(), Leaning()
    truth = scan.reference.astype(np.complex64)
    Variational(prior=prior, max_iter=12, mirror=mirror, lam=1e9)(scan, initial=truth)

    def turned(slices, first):
        errors = {axes: nrmse(np.flip(slices, axes), first) for axes in ((), (1,), (2,), (1, 2))}
        return min(errors, key=errors.get)

    found = [turned(slices, prior.seen[number % 3]) for number, slices in enumerate(prior.seen)]
    expected = [(), (1, 2), (2,), (1,)] if mirror else [()] * 4
    assert found == [axes for axes in expected for _ in range(3)]


def test_each_plane_may_have_its_own_prior():
    scan, three = make_scan(), [Pixelwise(v) for v in (0.1, 0.2, 0.3)]
    result = Variational(prior=three, max_iter=3)(scan)
    assert [[plane for _, plane, _ in prior.asked] for prior in three] == [[0], [1], [2]]
    assert result.settings["prior"] == ["pixelwise"] * 3
    with pytest.raises(DataError, match="one prior or three"):
        Variational(prior=three[:2])(scan)


def test_soft_sense_maps_are_denoised_one_by_one():
    scan, prior = make_scan(), Pixelwise()
    two = scan.evolve("two sets", maps=np.stack([scan.maps, scan.maps * np.float32(0.1)]))
    assert Variational(prior=prior, max_iter=1)(two).volume.shape == scan.shape
    assert len(prior.asked) == 2


def test_time_budget_makes_the_level_fall_faster(monkeypatch):
    clock = iter(np.arange(0.0, 1000.0, 2.0))  # every look at the clock is two seconds after the last
    monkeypatch.setattr("mrrecon.solvers.variational.time.monotonic", lambda: float(next(clock)))
    levels = list(falling_levels(1.0, 0.01, 50, seconds=10.0))
    assert len(levels) == 5 and levels[0] == 1.0 and levels[-1] == pytest.approx(0.01)
    assert all(np.diff(levels) < 0)
    assert len(list(falling_levels(1.0, 0.01, 50))) == 50
    assert list(falling_levels(0.3, 0.01, 1)) == [0.3]


def test_broken_numbers_of_a_prior_are_a_failure_that_keeps_the_iterate_before():
    class Breaks(Pixelwise):
        def _denoise(self, noisy, sigma, condition):
            clean = super()._denoise(noisy, sigma, condition)
            return clean * float("nan") if len(self.asked) == 3 else clean

    scan = make_scan()
    with pytest.raises(SolverError, match="returned NaN or infinite values in iteration 3") as caught:
        Variational(prior=Breaks(), max_iter=5)(scan)
    good = Variational(prior=Pixelwise(), max_iter=5)(scan, lambda s: s.iteration == 2)
    np.testing.assert_array_equal(caught.value.partial.volume, good.volume)


def test_wrong_voxel_size_is_said_once():
    with pytest.warns(UserWarning, match="pixelwise was made for voxels of 1 mm .* axis x have 2 mm; use brain-"):
        PlanePriors(Pixelwise(voxel_sizes=(1.0, 1.0)), Grid((4, 9, 9), (2.0, 2.0, 2.0)))
    for voxel_size, times in (((2.0, 2.0, 2.0), 1), ((2.0, 3.0, 4.0), 3), ((1.0, 1.0, 1.0), 0)):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            PlanePriors(Pixelwise(voxel_sizes=(1.0, 1.0)), Grid((9, 9, 9), voxel_size))
        assert len(said) == times


def test_data_that_determine_next_to_nothing_are_named():
    with pytest.warns(UserWarning, match="have .*% as many numbers, all coils together, as the image has voxels"):
        Variational(prior=Pixelwise(), max_iter=1)(make_scan(fraction=0.0, coils=2))


def test_volume_without_a_plane_for_a_2d_prior_is_refused():
    with pytest.raises(DataError, match="use cg-sense or l1-wavelet"):
        PlanePriors(Pixelwise(), Grid((4, 4, 64)))


def test_slabs_are_drawn_fairly():
    rng = np.random.default_rng(0)
    counts = np.zeros(23)
    for _ in range(4000):
        drawn = np.concatenate(draw_slabs(23, 10, rng))
        assert len(set(drawn)) == len(drawn) and drawn.min() >= 0 and drawn.max() < 23
        counts[drawn] += 1
    assert counts.std() / counts.mean() < 0.06
    assert set(np.concatenate(draw_slabs(3, 10, rng))) == {0, 1, 2}


def test_error_of_a_known_model():
    # For N(0, v) pixels the estimate is linear in the noisy slices, so the error is known.
    prior = PlanePriors(Pixelwise(1e-12), Grid((9, 10, 11)))
    volume, levels = np.zeros((9, 10, 11), np.complex64), np.array([0.1, 2.0])
    (found,) = slice_errors(prior, volume, 1, [np.array([2]), np.array([7])], levels, torch.Generator())
    assert found.error.shape == (2, 9, 11)
    np.testing.assert_allclose(found.error, 0, atol=1e-4)  # nothing but noise there, and the prior knows it
    np.testing.assert_allclose(found.alpha**2 * (1 + levels**2), 1, rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_error_is_that_of_the_predicted_noise_as_published(rng, scale):
    """Of states ``alpha s x + sigma n``: what independent pixels predict is known, and alpha weighs it."""
    model, times = Pixelwise(0.3), np.array([5.0, 120.0, 380.0])
    model.data_scale = scale
    schedule, volume = model.schedule, (rng.standard_normal((9, 10, 11)) + 0.5j).astype(np.complex64)
    prior = PlanePriors(model, Grid(volume.shape))
    levels, chosen = schedule.noise_level(times) / scale, np.array([1, 4, 8])
    (found,) = slice_errors(prior, volume, 0, [chosen], levels, torch.Generator().manual_seed(3))
    noise = priors.complex_noise((3, 10, 11), torch.Generator().manual_seed(3)).numpy()
    alpha, sigma = (f(times)[:, None, None] for f in (schedule.alpha, schedule.sigma))
    state = alpha * scale * volume[chosen] + sigma * noise
    predicted = sigma * state / (sigma**2 + alpha**2 * scale**2 * 0.3)
    np.testing.assert_allclose(found.error, predicted - noise, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.alpha, alpha.ravel(), rtol=1e-5)


@pytest.mark.parametrize("whole", [False, True])
def test_random_levels_are_those_of_times_drawn_uniformly(whole):
    prior, rng = PlanePriors("tikhonov", Grid((9, 10, 11))), np.random.default_rng(0)
    prior.priors[1].data_scale = 2.0
    levels = random_levels(prior, 1, 0.4, 20_000, rng, whole)
    times = prior.priors[1].schedule.time(2.0 * levels)
    assert 1 - 1e-6 <= times.min() < 1.5 and 398 < times.max() < 400.5
    assert np.mean(times) == pytest.approx(200.5, abs=3) and np.std(times) == pytest.approx(115, abs=2)
    assert np.allclose(times, np.rint(times), atol=1e-6) == whole


@pytest.mark.parametrize(
    ("solver", "setting", "value"),
    [
        (Variational, "first_level", 0.0), (Variational, "cg_steps", 0),
        (Variational, "momentum", 1.0), (Variational, "effort", "much"), (RedDiff, "slices", 0),
        (Published, "time_limit", 0.0), (RedDiff, "time_budget", -1.0), (Variational, "lam", -1.0),
        (Published, "max_iter", 0),
    ],
)  # fmt: skip
def test_settings_out_of_range(solver, setting, value):
    with pytest.raises(ValueError, match=setting):
        solver(**{setting: value})
