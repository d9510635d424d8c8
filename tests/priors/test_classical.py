"""Priors without training: against other programs, known answers, symmetries of complex slices, and odd shapes."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import pywt
import torch
from skimage.restoration import denoise_tv_chambolle

from mrrecon.errors import PriorInputError
from mrrecon.priors.analytic import GaussianPrior
from mrrecon.priors.classical import TikhonovPrior, TotalVariationPrior, WaveletPrior

PRIORS = [TotalVariationPrior(), WaveletPrior(), TikhonovPrior()]
every_prior = pytest.mark.parametrize("prior", PRIORS, ids=lambda p: p.name)
LEVELS = np.array([0.05, 0.2, 0.6], np.float32)


def complex_normal(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def head(height=64, width=57):
    """Ellipses with smooth shading and phase, at unit signal."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    image = (
        0.9 * (y**2 / 0.8 + x**2 / 0.5 < 1)
        - 0.5 * ((y - 0.2) ** 2 + x**2 < 0.15)
        + 0.3 * (y**2 + (x - 0.3) ** 2 < 0.02)
    )
    return (image * (1 + 0.1 * x) * np.exp(1j * (0.7 + 1.1 * x - 0.8 * y**2))).astype(np.complex64)


def gains(prior, clean, rng, levels):
    """How many decibels the denoiser takes off the noise, per level."""
    noisy = clean + levels[:, None, None] * complex_normal(rng, len(levels), *clean.shape)
    error = abs(prior.denoise(noisy, levels) - clean) ** 2
    return 10 * np.log10((abs(noisy - clean) ** 2).mean((1, 2)) / error.mean((1, 2)))


@pytest.mark.parametrize(
    ("prior", "least"),
    [(PRIORS[0], (7, 9, 11)), (PRIORS[1], (4, 7, 11)), (PRIORS[2], (1, 6, 11))],
    ids=lambda p: getattr(p, "name", None),
)
def test_noise_on_piecewise_smooth_slices_is_removed(rng, prior, least):
    assert np.all(gains(prior, head(), rng, LEVELS) > least)


@pytest.mark.data
@pytest.mark.parametrize("make", [TotalVariationPrior, WaveletPrior, TikhonovPrior])
def test_default_strengths_suit_real_slices(rng, data_dir, make):
    volume = np.asanyarray(nib.load(data_dir / "train" / "brain_t1_ixi012_2mm.nii.gz").dataobj).astype(np.float32)
    magnitude = volume[:, :, 60] / np.percentile(volume, 99)
    y, x = np.mgrid[-1 : 1 : magnitude.shape[0] * 1j, -1 : 1 : magnitude.shape[1] * 1j]
    clean, default = (magnitude * np.exp(1j * (x + y * x))).astype(np.complex64), make().strength
    mean = {f: gains(make(strength=f * default), clean, rng, LEVELS).mean() for f in (0.4, 1, 2.5)}
    assert mean[1] > 5
    assert mean[1] == max(mean.values())


@every_prior
def test_a_global_phase_passes_through(rng, prior):
    noisy = head() + LEVELS[1] * complex_normal(rng, *head().shape)
    turned = prior.denoise(noisy * np.exp(1.2j), LEVELS[1])
    np.testing.assert_allclose(turned, prior.denoise(noisy, LEVELS[1]) * np.exp(1.2j), atol=2e-6)


@every_prior
def test_conjugation_passes_through(rng, prior):
    noisy = complex_normal(rng, 9, 12)
    np.testing.assert_allclose(prior.denoise(noisy.conj(), 0.3), prior.denoise(noisy, 0.3).conj(), atol=1e-6)


@every_prior
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 37), (37, 1), (2, 2), (3, 5), (16, 33)])
def test_every_shape_works_and_without_noise_nothing_changes(rng, prior, shape):
    slices = complex_normal(rng, 2, *shape)
    clean = prior.denoise(slices, [0.0, 0.7])
    np.testing.assert_allclose(clean[0], slices[0], atol=1e-6)
    assert np.isfinite(clean).all()
    if np.prod(shape) > 1:
        assert np.var(clean[1]) < np.var(slices[1])
    np.testing.assert_allclose(clean.mean((1, 2)), slices.mean((1, 2)), atol=1e-5)  # all three keep the mean


@every_prior
def test_slices_of_a_batch_do_not_see_each_other(rng, prior):
    slices = complex_normal(rng, 3, 20, 21) * np.array([1, 100, 0.01], np.float32)[:, None, None]
    sigma = [0.3, 50.0, 0.0]
    together = prior.denoise(slices, sigma)
    for i in range(3):
        alone = prior.denoise(slices[i], sigma[i])
        np.testing.assert_allclose(together[i], alone, rtol=1e-5, atol=1e-6 * abs(slices[i]).max())


@pytest.mark.parametrize(
    ("prior", "detail"),  # TV stops before its end, wavelets keep the coarsest approximation
    [(PRIORS[0], 0.15), (PRIORS[1], 0.25), (PRIORS[2], 1e-3)],
    ids=lambda p: getattr(p, "name", None),
)
def test_levels_far_beyond_the_signal_leave_little_but_the_mean(prior, detail):
    slices = np.stack([head(31, 30)] * 2)
    for sigma in (1e3, 1e15):
        assert abs(prior.denoise(slices, sigma) - slices.mean()).max() < detail


@every_prior
def test_empty_slices_stay_empty_and_have_gradients(prior):
    x = torch.zeros(2, 5, 6, dtype=torch.complex64, requires_grad=True)
    clean = prior.denoise(x, torch.tensor([0.0, 0.5]))
    assert not clean.any()
    clean.real.sum().backward()
    assert torch.isfinite(torch.view_as_real(x.grad)).all()


@pytest.mark.parametrize("prior", [TotalVariationPrior(iterations=8), *PRIORS[1:]], ids=lambda p: p.name)
def test_gradients_are_those_of_the_result(prior):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(2, 4, 5, dtype=torch.complex128, generator=generator).requires_grad_()
    sigma = torch.tensor([0.2, 0.6], dtype=torch.float64).reshape(2, 1, 1)
    assert torch.autograd.gradcheck(lambda s: prior._denoise(s, sigma, None), (x,))


@every_prior
def test_settings_make_the_same_prior(rng, prior):
    config = json.loads(json.dumps(prior.config()))
    again = type(prior).from_config(config, {})
    assert config["kind"] == prior.name and again.config() == prior.config()
    other = type(prior).from_config({**config, "strength": 0.3 * config["strength"]}, {})
    noisy = complex_normal(rng, 12, 13)
    np.testing.assert_array_equal(again.denoise(noisy, 0.3), prior.denoise(noisy, 0.3))
    assert abs(other.denoise(noisy, 0.3) - noisy).max() < abs(prior.denoise(noisy, 0.3) - noisy).max()


@pytest.mark.parametrize("make", [TotalVariationPrior, WaveletPrior, TikhonovPrior])
@pytest.mark.parametrize("strength", [0, -1.0, float("nan"), float("inf"), "strong", None])
def test_impossible_strengths_are_refused(make, strength):
    with pytest.raises(PriorInputError, match="strength must be a positive number"):
        make(strength=strength)


def test_impossible_settings_are_refused():
    with pytest.raises(PriorInputError, match="iterations must be a whole number"):
        TotalVariationPrior(iterations=0)
    with pytest.raises(PriorInputError, match="levels must be a whole number"):
        WaveletPrior(levels=1.5)
    for wavelet in ("bior2.2", "gaus1", "nonsense", None):  # not orthogonal, not discrete, not there
        with pytest.raises(PriorInputError, match="orthogonal wavelet of PyWavelets"):
            WaveletPrior(wavelet=wavelet)


def test_devices_are_where_it_computes():
    prior = TikhonovPrior()
    assert prior.to("cpu") is prior and prior.to("auto").device == torch.empty(0, device=prior.device).device
    for nowhere in ("tpu", "nowhere:3", "cuda:99"):
        with pytest.raises(PriorInputError, match=f"'tikhonov' cannot be moved to '{nowhere}'"):
            prior.to(nowhere)


@pytest.mark.gpu
@every_prior
def test_a_gpu_gives_the_same(rng, prior):
    noisy = complex_normal(rng, 2, 33, 40)
    there = type(prior).from_config(prior.config(), {}).to("cuda").denoise(torch.as_tensor(noisy).cuda(), [0.1, 0.7])
    assert there.is_cuda
    np.testing.assert_allclose(there.cpu().numpy(), prior.denoise(noisy, [0.1, 0.7]), atol=1e-5)


# ---- total variation -----------------------------------------------------------------------------------------------


def tv_objective(x, y, weight):
    down, right = np.zeros_like(x), np.zeros_like(x)
    down[:-1], right[:, :-1] = np.diff(x, axis=0), np.diff(x, axis=1)
    return (abs(x - y) ** 2).sum() / 2 + weight * np.sqrt(abs(down) ** 2 + abs(right) ** 2).sum()


def check_against_skimage(image, weight):
    ours = TotalVariationPrior(strength=2.0, iterations=600).denoise(image.astype(np.complex64), weight / 2)
    theirs = denoise_tv_chambolle(image, weight=weight, eps=1e-12, max_num_iter=4000)
    assert not ours.imag.any()
    np.testing.assert_allclose(ours.real, theirs, atol=2e-3)
    assert tv_objective(ours.real.astype(float), image, weight) <= tv_objective(theirs, image, weight) * (1 + 1e-5)


def test_total_variation_agrees_with_scikit_image(rng):
    image = abs(head(40, 33)) + 0.1 * rng.standard_normal((40, 33))
    check_against_skimage(image, 0.15)


@pytest.mark.data
def test_total_variation_agrees_with_scikit_image_on_a_real_slice(rng, data_dir):
    volume = np.asanyarray(nib.load(data_dir / "train" / "brain_t1_ixi012_2mm.nii.gz").dataobj).astype(float)
    image = volume[20:70, 30:90, 60] / np.percentile(volume, 99)
    check_against_skimage(image + 0.1 * rng.standard_normal(image.shape), 0.12)


def test_two_pixels_move_towards_each_other_along_their_complex_difference():
    slices = np.array([[1 + 1j, 4 + 5j]], np.complex64)  # 5 apart
    towards = (3 + 4j) / 5
    clean = TotalVariationPrior(strength=2.0, iterations=200).denoise(slices, 0.6)
    np.testing.assert_allclose(clean, [[1 + 1j + 1.2 * towards, 4 + 5j - 1.2 * towards]], atol=1e-4)
    np.testing.assert_allclose(TotalVariationPrior(2.0).denoise(slices.T, 5.0), np.full((2, 1), 2.5 + 3j), atol=1e-3)


def test_the_default_number_of_iterations_is_enough(rng):
    clean = head()
    for sigma in LEVELS:
        noisy = clean + sigma * complex_normal(rng, *clean.shape)
        default = TotalVariationPrior()
        weight = default.strength * sigma
        best = tv_objective(TotalVariationPrior(iterations=1000).denoise(noisy, sigma).astype(complex), noisy, weight)
        assert tv_objective(default.denoise(noisy, sigma).astype(complex), noisy, weight) < 1.005 * best


# ---- wavelets ------------------------------------------------------------------------------------------------------


def pywt_soft(band, threshold):
    return pywt.threshold(band, threshold, "soft")


@pytest.mark.parametrize("wavelet", ["haar", "db2", "sym4", "coif1"])
def test_wavelets_agree_with_pywavelets(rng, wavelet):
    levels, sigma, strength = 3, 0.4, 1.7
    slices = complex_normal(rng, 32, 48)
    approximation, *details = pywt.swt2(slices.astype(complex), wavelet, levels, trim_approx=True, norm=True)
    thresholds = [strength * sigma * 2.0**-level for level in range(levels, 0, -1)]  # coarsest first
    kept = [tuple(pywt_soft(b, t) for b in bands) for bands, t in zip(details, thresholds, strict=True)]
    expected = pywt.iswt2([approximation, *kept], wavelet, norm=True)
    clean = WaveletPrior(strength, wavelet, levels).denoise(slices, sigma)
    np.testing.assert_allclose(clean, expected, atol=3e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_line_of_pixels_is_a_one_dimensional_signal(rng, axis):
    line = complex_normal(rng, 64)
    approximation, *details = pywt.swt(line.astype(complex), "db2", 3, trim_approx=True, norm=True)
    kept = [pywt_soft(d, 2.0 * 0.5 * 2 ** (-level / 2)) for d, level in zip(details, (3, 2, 1), strict=True)]
    expected = pywt.iswt([approximation, *kept], "db2", norm=True)
    clean = WaveletPrior(2.0, "db2", 3).denoise(np.expand_dims(line, 1 - axis), 0.5)
    np.testing.assert_allclose(clean.ravel(), expected, atol=3e-6)


def test_wavelets_have_no_preferred_position(rng):
    noisy = complex_normal(rng, 24, 25)
    moved = WaveletPrior().denoise(np.roll(noisy, (5, 7), (0, 1)), 0.4)
    np.testing.assert_allclose(moved, np.roll(WaveletPrior().denoise(noisy, 0.4), (5, 7), (0, 1)), atol=2e-6)


# ---- quadratic smoothness ------------------------------------------------------------------------------------------


def test_tikhonov_solves_its_equation(rng):
    noisy, sigma = complex_normal(rng, 9, 14), 0.3
    x = TikhonovPrior(strength=7.0).denoise(noisy, sigma)
    curvature = sum(2 * x - np.roll(x, 1, axis) - np.roll(x, -1, axis) for axis in (0, 1))
    np.testing.assert_allclose(x + 7.0 * sigma**2 * curvature, noisy, atol=1e-5)


def test_tikhonov_is_the_posterior_mean_of_its_spectrum(rng):
    shape, strength = (10, 7), 12.0
    w = [2 * np.sin(np.pi * np.fft.fftfreq(n)) for n in shape]
    with np.errstate(divide="ignore"):
        spectrum = np.minimum(1 / (strength * (w[0][:, None] ** 2 + w[1] ** 2)), 1e9)
    noisy = complex_normal(rng, 2, *shape)
    exact = GaussianPrior(np.zeros(shape), spectrum=spectrum).denoise(noisy, [0.1, 1.5])
    np.testing.assert_allclose(TikhonovPrior(strength).denoise(noisy, [0.1, 1.5]), exact, atol=1e-5)
