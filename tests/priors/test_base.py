"""The interface of priors, on a prior that is one line: kinds, shapes, units, consistency, gradients, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mrrecon import priors
from mrrecon.errors import PriorError, PriorInputError
from mrrecon.priors.base import NoisePredictor, SlicePrior
from mrrecon.priors.condition import Condition
from mrrecon.priors.schedule import NoiseSchedule


class Wiener(SlicePrior):
    """Independent pixels N(0, 1) per part; remembers what it was given."""

    name = "wiener"

    def _denoise(self, noisy, sigma, condition):
        self.seen = (noisy.dtype, noisy.shape, sigma.shape, condition)
        return noisy / (1 + sigma**2)


class Phases(SlicePrior):
    """Not linear: shrinks magnitudes towards one."""

    name = "phases"

    def _denoise(self, noisy, sigma, condition):
        size = noisy.abs().clamp_min(1e-6)
        return noisy / size * (size + sigma**2) / (1 + sigma**2)


class Predictor(NoisePredictor):
    """The same as Wiener, as a model of the noise: states at a data scale of one are N(0, 1)."""

    name = "predictor"

    def _predict_noise(self, state, t, condition):
        return self.schedule.sigma(t).float() * state


class AroundAnImage(SlicePrior):
    """Pixels around a picture that must be given, of the variance 1 per part."""

    name = "around"
    needs = frozenset({"image"})

    def _denoise(self, noisy, sigma, condition):
        image = torch.as_tensor(condition.image)
        return image + (noisy - image) / (1 + sigma**2)


@pytest.fixture
def slices(rng):
    return (rng.standard_normal((3, 6, 5)) + 1j * rng.standard_normal((3, 6, 5))).astype(np.complex64)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("single", [False, True], ids=["batch", "one slice"])
def test_numpy_and_torch_come_back_as_given(slices, dtype, single):
    prior, given = Wiener(), (slices[0] if single else slices).astype(dtype)
    clean = prior.denoise(given, 2.0)
    assert isinstance(clean, np.ndarray) and clean.dtype == np.complex64 and clean.shape == given.shape
    np.testing.assert_allclose(clean, given / 5, rtol=1e-6)
    tensor = prior.denoise(torch.as_tensor(given), 2.0)
    assert isinstance(tensor, torch.Tensor) and tensor.dtype == torch.complex64
    np.testing.assert_array_equal(tensor.numpy(), clean)


def test_priors_see_a_batch_in_single_precision_and_the_condition(slices):
    prior, condition = Wiener(), Condition(plane=1)
    prior.denoise(slices[0].astype(complex), 0.5, condition)
    assert prior.seen == (torch.complex64, (1, 6, 5), (1, 1, 1), condition)


@pytest.mark.parametrize("make", [list, np.array, torch.tensor, lambda s: np.array(s, np.float32)])
def test_noise_levels_one_per_slice(slices, make):
    clean = Wiener().denoise(slices, make([0.0, 1.0, 2.0]))
    np.testing.assert_allclose(clean, slices / np.array([1, 2, 5])[:, None, None], rtol=1e-6)


@pytest.mark.parametrize("prior", [Wiener(), Phases()], ids=lambda p: p.name)
def test_the_scale_is_the_unit_of_slices_and_noise(slices, prior):
    at_unit = prior.denoise(slices, [0.1, 0.5, 2.0])
    for scale in (1e-6, 350.0):
        scaled = prior.denoise(slices * scale, np.array([0.1, 0.5, 2.0]) * scale, scale=scale)
        np.testing.assert_allclose(scaled / scale, at_unit, rtol=1e-5)


@pytest.mark.parametrize("data_scale", [1.0, 0.4, 3.0])
@pytest.mark.parametrize("schedule", [NoiseSchedule(), NoiseSchedule("cosine")], ids=["linear", "cosine"])
def test_predicted_noise_and_denoised_slices_are_two_views_of_one_thing(slices, data_scale, schedule):
    prior = Predictor()
    prior.data_scale, prior.schedule = data_scale, schedule
    t = np.array([3.0, 150.5, 700.0])
    alpha = schedule.alpha(t)[:, None, None]
    noise = prior.predict_noise(slices, t)
    tweedie = schedule.clean(slices, noise, t) / data_scale
    denoised = prior.denoise(slices / (alpha * data_scale), schedule.noise_level(t) / data_scale)
    np.testing.assert_allclose(tweedie, denoised, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(noise, schedule.noise(slices, data_scale * denoised, t), rtol=1e-3, atol=1e-3)


def test_predicted_noise_is_the_noise_on_average(rng):
    """What is exactly N(0, 1) per part has the optimal prediction sigma x_t."""
    prior, schedule = Predictor(), NoiseSchedule()
    clean, noise = ((rng.standard_normal((40, 30, 30, 2)) @ [1, 1j]).astype(np.complex64) for _ in range(2))
    for t in (100, 300):
        state = schedule.add_noise(clean, noise, t)
        predicted = prior.predict_noise(state, t)
        np.testing.assert_allclose(predicted, schedule.sigma(t) * state, rtol=1e-4, atol=1e-5)
        assert np.mean(abs(predicted - noise) ** 2) / 2 == pytest.approx(1 - schedule.sigma(t) ** 2, rel=0.03)


def test_a_clean_state_has_no_noise(slices):
    assert not Predictor().predict_noise(slices, -1).any()


def test_gradients_pass_where_they_are_wanted_and_only_there(slices):
    prior, x = Phases(), torch.as_tensor(slices).requires_grad_()
    prior.denoise(x, 0.5).abs().square().sum().backward()
    size = x.detach().abs()
    expected = 2 * (size + 0.25) / 1.25**2 * x.detach() / size
    torch.testing.assert_close(x.grad, expected)
    assert Predictor().predict_noise(x, 50).requires_grad
    assert not prior.denoise(x.detach(), 0.5).requires_grad
    with torch.no_grad():
        assert not prior.denoise(x, 0.5).requires_grad
        assert not Predictor().predict_noise(x, 50).requires_grad


def test_input_is_never_changed_and_never_shared(slices):
    class InPlace(SlicePrior):
        def _denoise(self, noisy, sigma, condition):
            return noisy.mul_(0)

    for given in (slices, torch.as_tensor(slices)):
        before = given.copy() if isinstance(given, np.ndarray) else given.clone()
        InPlace().denoise(given, 0.1)
        assert (given == before).all()


@pytest.mark.filterwarnings("error")
def test_arrays_as_files_give_them(slices):
    """Memory maps are read-only, NIfTI files big-endian, views reversed or conjugated."""
    expected = Wiener().denoise(slices, 1.0)
    read_only = slices.copy()
    read_only.flags.writeable = False
    for given in (read_only, slices.astype(">c8"), np.asfortranarray(slices)):
        np.testing.assert_array_equal(Wiener().denoise(given, 1.0), expected)
    np.testing.assert_array_equal(Wiener().denoise(slices[:, ::-1], 1.0), expected[:, ::-1])
    np.testing.assert_array_equal(Wiener().denoise(torch.as_tensor(slices).conj(), 1.0).numpy(), expected.conj())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((4, 4)), "must be complex, got torch.float64"),
        (np.zeros((2, 4, 4), np.int16), "must be complex"),
        (np.zeros(4, complex), "must be complex slices"),
        (np.zeros((1, 2, 4, 4), complex), r"got shape \(1, 2, 4, 4\)"),
        (np.zeros((2, 0, 4), complex), "got shape"),
        (np.full((2, 4, 4), np.nan + 0j), "NaN or infinite"),
        (np.full((2, 4, 4), 1j * np.inf), "NaN or infinite"),
        (torch.full((4, 4), 1e300 + 0j, dtype=torch.complex128), "NaN or infinite"),
        (np.zeros((4, 4), np.clongdouble), "at most double precision"),
        (np.full((4, 4), "a"), "must be numbers"),
        ([[1j]], "must be a NumPy, CuPy or torch array, got list"),
        (None, "got NoneType"),
    ],
)
def test_unusable_slices_are_refused_by_name(bad, message):
    with pytest.raises(PriorInputError, match=f"noisy.*{message}"):
        Wiener().denoise(bad, 0.1)
    with pytest.raises(PriorInputError, match=f"state.*{message}"):
        Predictor().predict_noise(bad, 10)


@pytest.mark.parametrize(
    ("sigma", "message"),
    [
        (-0.1, "at least 0"),
        (math.nan, "finite"),
        (math.inf, "finite"),
        (None, "sigma"),
        ("much", "sigma must be a number"),
        (1j, "sigma must be a number"),
        (torch.tensor(1j), "must be real"),
        ([0.1, 0.2], r"one per slice \(3\), got shape \(2,\)"),
        (np.ones((3, 1, 1)), r"got shape \(3, 1, 1\)"),
    ],
)
def test_unusable_noise_levels_are_refused(slices, sigma, message):
    with pytest.raises(PriorInputError, match=message):
        Wiener().denoise(slices, sigma)


@pytest.mark.parametrize("t", [-1.5, math.nan, [1, 2]])
def test_unusable_times_are_refused(slices, t):
    with pytest.raises(PriorInputError, match=r"^t must be"):
        Predictor().predict_noise(slices, t)


@pytest.mark.parametrize("scale", [0, -1.0, math.nan, math.inf, [1.0], None, "unit"])
def test_unusable_scales_are_refused(slices, scale):
    with pytest.raises(PriorInputError, match="scale must be a positive number"):
        Wiener().denoise(slices, 0.1, scale=scale)


def test_priors_without_settings_say_that_they_cannot_be_saved():
    with pytest.raises(PriorError, match=r"'wiener' \(Wiener\) has no configuration"):
        Wiener().config()
    assert "wiener" in repr(Wiener()) and "any voxel size" in repr(Wiener())


def test_conditions_are_cut_with_the_batch():
    condition = Condition(
        plane=2,
        depth=np.arange(4.0),
        voxel_size=(1.0, 0.9),
        image=torch.arange(4.0)[:, None, None].expand(4, 2, 2),
        mask=np.arange(16).reshape(4, 2, 2),
        features=np.arange(3),
    )
    part = condition.part(slice(1, 3))
    assert part.plane == 2 and part.voxel_size == (1.0, 0.9)
    assert part.depth.tolist() == [1, 2] and part.image[:, 0, 0].tolist() == [1, 2]
    assert part.mask.shape == (2, 2, 2) and part.features.tolist() == [0, 1, 2]
    assert Condition(depth=0.5, image=np.zeros((2, 2))).part(slice(0, 1)).image.shape == (2, 2)


@pytest.mark.parametrize("bad", [{"plane": 3}, {"voxel_size": (1.0,)}, {"voxel_size": (1.0, 0.0)}])
def test_impossible_conditions_are_refused(bad):
    with pytest.raises(PriorInputError, match="Condition"):
        Condition(**bad)


# ---- what is known -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plane", [0, 1, 2])
@pytest.mark.parametrize("backwards", [(False, False), (True, False), (True, True)])
def test_volumes_are_cut_as_the_slices_are_asked_for(rng, plane, backwards):
    volume = (rng.standard_normal((5, 6, 7)) + 1j).astype(np.complex64)
    chosen = np.array([3, 0, 4])
    turned = tuple(slice(None, None, -1 if b else 1) for b in backwards)
    expected = np.moveaxis(volume, plane, 0)[chosen][(slice(None), *turned)]
    condition = Condition(plane=plane, depth=2 * chosen / (volume.shape[plane] - 1) - 1, reversed=backwards)
    noisy = np.zeros_like(expected)
    found = AroundAnImage().given(image=volume).denoise(noisy, [1.0, 2.0, 3.0], condition)
    np.testing.assert_allclose(found, expected * np.array([0.5, 0.8, 0.9])[:, None, None], rtol=1e-5)


def test_one_picture_is_for_all_slices(slices):
    prior = AroundAnImage().given(image=slices[0])
    np.testing.assert_allclose(prior.denoise(slices, 1.0), (slices + slices[0]) / 2, rtol=1e-5)
    backwards = prior.denoise(slices, 1.0, Condition(reversed=(True, False)))
    np.testing.assert_allclose(backwards, (slices + slices[0][::-1]) / 2, rtol=1e-5)
    assert prior.name == "around" and prior.needs == frozenset() and prior.levels(3) == AroundAnImage().levels(3)


def test_priors_with_other_things_given_are_other_priors(slices):
    def digest(prior, **known):
        return priors.identity(prior.given(**known))

    prior = priors.TikhonovPrior(1.0)
    same = digest(prior, image=slices)
    assert same == digest(priors.TikhonovPrior(1.0), image=slices.copy())
    others = [
        digest(prior, image=slices + 1),
        digest(prior, mask=slices),
        digest(priors.TikhonovPrior(2.0), image=slices),
    ]
    assert len({same, *others}) == 4


def test_what_is_needed_and_not_given_is_refused(slices):
    with pytest.raises(PriorInputError, match=r"The prior around needs image: give it as prior.given\(image=...\)"):
        AroundAnImage().denoise(slices, 1.0)
    with pytest.raises(PriorInputError, match="There is no pictures in a condition; give image, mask, features"):
        AroundAnImage().given(pictures=slices)
    condition = Condition(plane=0, depth=np.array([-1.0, 0.0, 1.0]))
    with pytest.raises(PriorInputError, match="must be on the grid of the volume"):
        AroundAnImage().given(image=np.zeros((3, 5, 5))).denoise(slices, 1.0, condition)
