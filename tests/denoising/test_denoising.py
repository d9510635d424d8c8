"""Denoising PSNR: exact for denoisers whose error is known, fair between methods."""

import importlib.util
import math
import sys
import types

import numpy as np
import pytest
import torch

from mrrecon.denoising import Denoiser, VoxelSlices, baselines, compare, noise_levels, reference_levels
from mrrecon.denoising.comparison import noisy_slices, of_prior
from mrrecon.errors import DataError, MissingDependencyError
from mrrecon.priors import GaussianPrior, NoiseSchedule, SlicePrior

LEVELS = {"50": 0.1, "200": 0.4}


def case(volume="a", plane=0, edge=2.0, shape=(2, 40, 48), seed=0):
    y, x = np.meshgrid(np.linspace(-1, 1, shape[1]), np.linspace(-1, 1, shape[2]), indexing="ij")
    slices = [(np.hypot(y, x) < 0.5 + 0.1 * i) * np.exp(1j * (x + 0.5 * seed)) for i in range(shape[0])]
    clean = torch.from_numpy(np.stack(slices).astype(np.complex64))
    return VoxelSlices(volume, plane, edge, clean, tuple(range(10, 10 + shape[0])))


def white(variance=1.0, shape=(4, 64, 64)):
    parts = np.random.default_rng(3).standard_normal((2, *shape)) * math.sqrt(variance)
    return VoxelSlices("w", 0, 2.0, torch.from_numpy((parts[0] + 1j * parts[1]).astype(np.complex64)), (0, 1, 2, 3))


def test_input_that_is_returned_has_the_error_of_the_noise():
    for row in compare([Denoiser("none", {"": lambda noisy, sigma, case: noisy})], [white()], LEVELS):
        assert row["psnr"] == pytest.approx(-10 * math.log10(2 * row["sigma"] ** 2), abs=0.1)


class Wiener(SlicePrior):
    name = "wiener"

    def _denoise(self, noisy, sigma, condition):
        return noisy * 0.5 / (0.5 + sigma**2)


def test_wiener_filter_and_scaled_input_have_the_error_that_theory_says():
    case = white(0.5)
    rows = compare([of_prior(Wiener()), *baselines(["scaled-input"])], [case], LEVELS)
    for row in rows:
        s = row["sigma"] ** 2
        assert row["psnr"] == pytest.approx(-10 * math.log10(2 * 0.5 * s / (0.5 + s)), abs=0.1)
    assert {row["method"] for row in rows} == {"wiener", "scaled input"}


def test_the_right_gaussian_prior_beats_a_wrong_one():
    right, wrong = (GaussianPrior(np.zeros((64, 64)), variance=variance) for variance in (0.5, 0.02))
    rows = compare([of_prior(right, "right"), of_prior(wrong, "wrong")], [white(0.5)], {"x": 0.5})
    psnr = {row["method"]: row["psnr"] for row in rows}
    assert psnr["right"] > psnr["wrong"] + 1


def test_noise_belongs_to_the_slice_and_level_alone():
    whole, other = case(), case("b")
    part = VoxelSlices("a", 0, 2.0, whole.slices[1:], whole.positions[1:])
    noisy = noisy_slices(whole, 0.1, seed=4)
    torch.testing.assert_close(noisy_slices(part, 0.1, seed=4)[0], noisy[1], rtol=0, atol=0)
    noise = (noisy - whole.slices) / 0.1
    for another in (noisy_slices(other, 0.1, 4), noisy_slices(whole, 0.1, 5), noisy_slices(whole, 0.1 + 1e-5, 4)):
        assert (noise - (another - whole.slices) / 0.1).abs().mean() > 0.5
    assert torch.view_as_real(noise).std() == pytest.approx(1, abs=0.03)


def test_every_method_sees_the_same_noise():
    seen = {}

    def watch(name):
        def denoise(noisy, sigma, case):
            seen.setdefault((case.volume, sigma), {})[name] = noisy
            return noisy

        return Denoiser(name, {"": denoise})

    compare([watch("one"), watch("two")], [case("a"), case("b")], LEVELS)
    assert len(seen) == 4
    assert all(torch.equal(both["one"], both["two"]) for both in seen.values())


def test_priors_know_plane_and_voxel_size():
    class Listening(SlicePrior):
        name = "listening"

        def _denoise(self, noisy, sigma, condition):
            assert (condition.plane, condition.voxel_size) == (2, (4.0, 4.0))
            return noisy

    assert len(compare([of_prior(Listening())], [case(plane=2, edge=4.0)], {"50": 0.1})) == 1


def test_the_best_setting_is_chosen_for_each_level_and_voxel_size():
    def scaled(factor):
        return lambda noisy, sigma, case: case.slices + factor[(case.voxel_size, sigma)]

    near = {(2.0, 0.1): 0.1, (2.0, 0.4): 0.5, (4.0, 0.1): 0.5, (4.0, 0.4): 0.1}
    far = {key: 0.6 - value for key, value in near.items()}
    rows = compare([Denoiser("m", {"near": scaled(near), "far": scaled(far)})], [case(), case(edge=4.0)], LEVELS)
    assert {(r["voxel_size"], r["level"]): r["setting"] for r in rows} == {
        (2.0, "50"): "near", (2.0, "200"): "far", (4.0, "50"): "far", (4.0, "200"): "near"
    }  # fmt: skip
    assert all(row["psnr"] == pytest.approx(20, abs=1e-3) for row in rows)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_choice_on_some_cases_does_not_evaluate_the_rest(threads):
    calls = []

    def counted(name, error):
        def denoise(noisy, sigma, case):
            calls.append((name, case.volume))
            return case.slices + error

        return denoise

    method = Denoiser("m", {"good": counted("good", 0.1), "bad": counted("bad", 0.2)}, chosen_on=3, threads=threads)
    rows = compare([method], [case(v) for v in "abcd"], {"50": 0.1})
    assert [(row["setting"], row["volume"]) for row in rows] == [("good", v) for v in "abcd"]
    assert sorted(calls) == [("bad", "a"), ("bad", "d"), *(("good", v) for v in "abcd")]


def test_wavelet_and_total_variation_denoise_and_their_best_strength_is_no_worse():
    rows = compare(baselines(["scaled-input", "wavelet", "total-variation"]), [case()], LEVELS)
    psnr = {(row["method"], row["level"]): row["psnr"] for row in rows}
    for level in LEVELS:
        for name in ("wavelet", "total-variation"):
            assert psnr[name, level] > psnr["scaled input", level] + 1
            assert psnr[f"{name}, best strength", level] > psnr[name, level] - 0.2


def fake_bm3d(monkeypatch):
    """The package's interface, which records how it is called and returns a smooth picture."""
    calls = []

    def bm3d(picture, sigma, profile):
        calls.append((picture.shape, sigma, picture.dtype, profile.num_threads))
        return picture

    module = types.ModuleType("bm3d")
    module.bm3d, module.BM3DProfile = bm3d, lambda: types.SimpleNamespace(num_threads=0)
    monkeypatch.setitem(sys.modules, "bm3d", module)
    return calls


def test_bm3d_gets_two_channels_or_the_real_part_of_slices_without_phase(monkeypatch):
    calls = fake_bm3d(monkeypatch)
    two_channels, known_phase = baselines(["bm3d"])
    sample = case()
    noisy = noisy_slices(sample, 0.1, 0)
    clean = two_channels.choices["sigma x 1"](noisy, 0.1, sample)
    torch.testing.assert_close(clean, noisy)
    turned = known_phase.choices["sigma x 1"](noisy, 0.1, sample)
    inside = sample.slices.abs() > 0.5
    phase = sample.slices[inside] / sample.slices[inside].abs()
    torch.testing.assert_close(turned[inside], (noisy[inside] * phase.conj()).real * phase, atol=1e-5, rtol=0)
    assert {call[0] for call in calls} == {(40, 48, 2), (40, 48)}
    assert {call[1:] for call in calls} == {(0.1, np.dtype(np.float64), 1)}


if importlib.util.find_spec("bm3d") is not None:  # its licence keeps it out of what the tests install

    def test_bm3d_itself_beats_the_wavelets():
        two_channels, known_phase = baselines(["bm3d"])
        (wavelet, _) = baselines(["wavelet"])
        methods = [Denoiser(m.name, {"": m.choices["sigma x 1"]}) for m in (two_channels, known_phase)]
        rows = compare([wavelet, *methods], [case(shape=(1, 24, 32))], {"200": 0.4})
        psnr = {row["method"]: row["psnr"] for row in rows}
        assert psnr["BM3D, phase known"] > psnr["BM3D"] > psnr["wavelet"]


def test_missing_bm3d_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm3d", None)
    with pytest.raises(MissingDependencyError, match="non-commercial"):
        baselines(["bm3d"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: baselines(["bm4d"]), "no baseline 'bm4d'"),
        (lambda: compare(baselines(["wavelet"]) * 2, [case()], LEVELS), "Two methods"),
        (lambda: compare([], [case()], LEVELS, seed=-1), "seed"),
        (lambda: reference_levels([1000]), "0 to 999"),
        (lambda: reference_levels([]), "0 to 999"),
    ],
)
def test_unusable_settings_are_refused(call, message):
    with pytest.raises(DataError, match=message):
        call()


def test_levels_are_noise_over_signal():
    schedule = NoiseSchedule()
    assert noise_levels(schedule, 2.0, [100])["100"] == pytest.approx(schedule.sigma(100) / schedule.alpha(100) / 2)
    assert reference_levels([400, 100, 100]) == noise_levels(schedule, 2.0, [100, 400])
