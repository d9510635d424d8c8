"""Gaussians and mixtures against other ways of computing the same: real-valued densities, integrals, Monte Carlo."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from mrrecon.errors import PriorInputError
from mrrecon.priors.analytic import GaussianMixturePrior, GaussianPrior

SHAPE = (2, 3)


def complex_normal(rng, *shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def make(kind, scale=1.0):
    """A prior of each kind on 2 x 3 slices."""
    rng = np.random.default_rng(8)
    mean = complex_normal(rng, *SHAPE)
    if kind == "variance":
        return GaussianPrior(mean, variance=scale * rng.uniform(0.1, 2, SHAPE))
    if kind == "spectrum":
        return GaussianPrior(mean, spectrum=scale * rng.uniform(0.1, 2, SHAPE))
    if kind == "covariance":
        factor = complex_normal(rng, 6, 6) / 3
        return GaussianPrior(mean, covariance=scale * (factor @ factor.conj().T + 0.1 * np.eye(6)))
    means = np.stack([mean, mean + 0.5, -mean])
    return GaussianMixturePrior([0.5, 0.2, 0.3], means, scale * rng.uniform(0.1, 2, (3, *SHAPE)))


KINDS = ["variance", "spectrum", "covariance", "mixture"]
every_kind = pytest.mark.parametrize("kind", KINDS)


def as_reals(x):
    """Real parts, then imaginary parts, of vectors."""
    flat = np.asarray(x).reshape(len(x), -1)
    return np.concatenate([flat.real, flat.imag], axis=1)


def real_covariance(covariance):
    """Covariance of real and imaginary parts of a circular vector, from its covariance per real component."""
    return np.block([[covariance.real, -covariance.imag], [covariance.imag, covariance.real]])


def components(prior):
    return (
        [(1.0, prior)] if isinstance(prior, GaussianPrior) else list(zip(prior.weights, prior.components, strict=True))
    )


@every_kind
@pytest.mark.parametrize("sigma", [0.0, 0.4])
def test_log_density_is_that_of_a_real_gaussian_vector(rng, kind, sigma):
    prior, x = make(kind), complex_normal(rng, 5, *SHAPE)
    expected = 0.0
    for weight, part in components(prior):
        covariance = real_covariance(part.covariance) + sigma**2 * np.eye(12)
        density = multivariate_normal(as_reals(part.mean[None].numpy())[0], covariance).pdf(as_reals(x))
        expected = expected + float(weight) * density
    np.testing.assert_allclose(prior.log_density(x, sigma), np.log(expected), rtol=1e-9)
    assert prior.log_density(x[2], sigma) == pytest.approx(np.log(expected[2]), rel=1e-9)


def test_density_of_a_pixel_integrates_to_one():
    prior = GaussianMixturePrior([0.4, 0.6], np.array([0.5 + 1j, -1]).reshape(2, 1, 1), [0.3, 0.8])
    axis = np.linspace(-9, 9, 361)
    grid = (axis[:, None] + 1j * axis).reshape(-1, 1, 1)
    density = np.exp(prior.log_density(grid, 0.7))
    assert density.sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=1e-9)


@every_kind
@pytest.mark.parametrize("sigma", [1e-3, 0.1, 1.0, 30.0])
def test_denoiser_is_tweedies_formula_of_the_density(rng, kind, sigma):
    prior = make(kind)
    noisy = (
        prior.sample(torch.Generator().manual_seed(1), 4) + sigma * torch.as_tensor(complex_normal(rng, 4, *SHAPE))
    ).to(torch.complex64)
    x = noisy.to(torch.complex128).requires_grad_()
    prior.log_density(x, sigma).sum().backward()  # d/d re + i d/d im
    expected = (x + sigma**2 * x.grad).detach().numpy()
    np.testing.assert_allclose(prior.denoise(noisy, sigma).numpy(), expected, rtol=1e-5, atol=1e-5)


@every_kind
def test_without_noise_slices_stay_and_without_signal_the_mean_is_left(rng, kind):
    prior = make(kind)
    x = complex_normal(rng, 2, *SHAPE)
    np.testing.assert_allclose(prior.denoise(x, 0.0), x, rtol=1e-6)
    mean = sum(float(w) * part.mean.numpy() for w, part in components(prior))
    np.testing.assert_allclose(prior.denoise(x, 1e5), np.stack([mean] * 2), atol=1e-3)


@every_kind
def test_each_slice_has_its_own_noise_level(rng, kind):
    prior, x, levels = make(kind), complex_normal(rng, 3, *SHAPE), [0.0, 0.5, 4.0]
    for i, level in enumerate(levels):
        np.testing.assert_allclose(prior.denoise(x, levels)[i], prior.denoise(x[i], level), rtol=1e-5, atol=1e-6)
        assert prior.log_density(x, levels)[i] == pytest.approx(prior.log_density(x[i], level))


@pytest.mark.parametrize("kind", KINDS[:3])
def test_samples_have_the_covariance_and_are_circular(kind):
    prior, number = make(kind), 40_000
    away = (prior.sample(torch.Generator().manual_seed(4), number) - prior.mean).reshape(number, 6).numpy()
    spread = 6 * abs(np.diag(prior.covariance)).max() / math.sqrt(number)
    np.testing.assert_allclose(away.mean(0), 0, atol=spread)
    np.testing.assert_allclose(away.T @ away.conj() / number / 2, prior.covariance, atol=spread)
    np.testing.assert_allclose(away.T @ away / number / 2, 0, atol=spread)


def test_samples_of_a_mixture_have_its_shares():
    prior = GaussianMixturePrior([0.1, 0.9], np.array([5, -5j]).reshape(2, 1, 1), [0.2, 0.5])
    x = prior.sample(torch.Generator().manual_seed(4), 20_000).numpy().ravel()
    first = x.real > 2.5
    assert first.mean() == pytest.approx(0.1, abs=0.01)
    assert x[first].real.var() == pytest.approx(0.2, rel=0.1) and x[~first].imag.var() == pytest.approx(0.5, rel=0.05)
    assert torch.equal(*(prior.sample(torch.Generator().manual_seed(9), 7) for _ in range(2)))


def test_a_spectrum_is_a_circulant_covariance(rng):
    by_spectrum = make("spectrum")
    by_covariance = GaussianPrior(by_spectrum.mean, covariance=by_spectrum.covariance)
    x = complex_normal(rng, 2, *SHAPE)
    np.testing.assert_allclose(by_spectrum.log_density(x, 0.3), by_covariance.log_density(x, 0.3), rtol=1e-10)
    np.testing.assert_allclose(by_spectrum.denoise(x, 0.3), by_covariance.denoise(x, 0.3), rtol=1e-5)
    white = GaussianPrior(np.zeros(SHAPE), spectrum=np.full(SHAPE, 0.7))
    np.testing.assert_allclose(white.covariance, 0.7 * np.eye(6), atol=1e-12)


@every_kind
def test_posterior_of_the_slice_itself_is_the_denoiser(rng, kind):
    prior, y = make(kind), complex_normal(rng, *SHAPE)
    posterior = prior.posterior(y.ravel(), np.eye(6), 0.6)
    np.testing.assert_allclose(posterior.mean, prior.denoise(y, 0.6), rtol=1e-5, atol=1e-5)


@every_kind
def test_posterior_is_bayes_rule(rng, kind):
    """Density of prior times likelihood over posterior is the same number, the evidence, at every slice."""
    prior, matrix, noise_std = make(kind), complex_normal(rng, 4, 6), 0.5
    y, x = complex_normal(rng, 4), complex_normal(rng, 20, *SHAPE)
    posterior = prior.posterior(y, matrix, noise_std)
    residual = y - x.reshape(20, 6) @ matrix.T
    likelihood = -(abs(residual) ** 2).sum(1) / (2 * noise_std**2) - 4 * math.log(2 * math.pi * noise_std**2)
    after = np.zeros(20)
    for weight, mean, covariance in zip(posterior.weights, posterior.means, posterior.covariances, strict=True):
        part = multivariate_normal(as_reals(mean[None])[0], real_covariance(covariance))
        after += weight * np.exp(part.logpdf(as_reals(x)) + 150)  # far from the mean densities are tiny
    evidence = prior.log_density(x) + likelihood - (np.log(after) - 150)
    assert np.ptp(evidence) < 1e-6


@every_kind
def test_posterior_moments_are_those_of_weighted_samples(kind):
    """Prior samples weighted by the likelihood: a computation with none of the formulas."""
    rng, prior, noise_std, number = np.random.default_rng(3), make(kind), 1.2, 400_000
    matrix = complex_normal(rng, 2, 6) / 3
    truth = prior.sample(torch.Generator().manual_seed(0), 1).numpy().ravel()
    y = matrix @ truth + noise_std * complex_normal(rng, 2)
    x = prior.sample(torch.Generator().manual_seed(1), number).numpy().reshape(number, 6)
    weights = np.exp(-(abs(y - x @ matrix.T) ** 2).sum(1) / (2 * noise_std**2))
    weights /= weights.sum()
    mean = weights @ x
    covariance = (weights[:, None] * (x - mean)).T @ (x - mean).conj() / 2
    posterior = prior.posterior(y, matrix, noise_std)
    spread = 5 * math.sqrt((weights**2).sum() * posterior.covariance.diagonal().real.max())
    np.testing.assert_allclose(posterior.mean.ravel(), mean, atol=spread)
    np.testing.assert_allclose(posterior.covariance, covariance, atol=3 * spread)
    before = sum(float(w) * part.mean.numpy() for w, part in components(prior))
    assert abs(posterior.mean - before).max() > 5 * spread  # the measurements say more than the tolerance hides


def test_exact_measurements_leave_no_doubt(rng):
    prior, matrix, x = make("mixture"), complex_normal(rng, 6, 6), complex_normal(rng, *SHAPE)
    posterior = prior.posterior(matrix @ x.ravel(), matrix, 1e-6)
    np.testing.assert_allclose(posterior.mean, x, atol=1e-5)
    assert abs(posterior.covariance).max() < 1e-9


def test_far_measurements_do_not_overflow():
    prior = GaussianMixturePrior([0.5, 0.5], np.array([1, -1]).reshape(2, 1, 1), [1e-4, 1e-4])
    assert prior.denoise(np.full((1, 1), 500 + 0j), 0.01) == pytest.approx(250.5, rel=1e-5)
    posterior = prior.posterior([500.0], [[1.0]], 0.01)
    np.testing.assert_allclose(posterior.weights, [1, 0], atol=1e-12)
    assert np.isfinite(prior.log_density(np.full((1, 1), 500 + 0j), 0.01))


@every_kind
def test_denoisers_can_be_differentiated(kind):
    prior = make(kind)
    x = torch.as_tensor(complex_normal(np.random.default_rng(0), 1, *SHAPE)).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: prior._denoise(s, torch.full((1, 1, 1), 0.8), None), (x,))
    assert torch.autograd.gradcheck(lambda s: prior.log_density(s, 0.8), (x,))


@pytest.mark.parametrize(
    ("mean", "settings", "message"),
    [
        (np.zeros(4), {"variance": 1.0}, r"one slice \(height, width\)"),
        (np.zeros((2, 2)), {}, "got none"),
        (np.zeros((2, 2)), {"variance": 1.0, "spectrum": np.ones((2, 2))}, "got variance and spectrum"),
        (np.zeros((2, 2)), {"variance": 0.0}, "variance must be positive"),
        (np.zeros((2, 2)), {"variance": np.ones(2)}, r"shape of mean, \(2, 2\), got \(2,\)"),
        (np.zeros((2, 2)), {"spectrum": 1.0}, "spectrum must have the shape of mean"),
        (np.zeros((2, 2)), {"covariance": np.ones((2, 2))}, r"Hermitian, \(4, 4\)"),
        (np.zeros((1, 2)), {"covariance": np.array([[1, 1j], [1j, 1]])}, "Hermitian"),
        (np.zeros((1, 2)), {"covariance": np.array([[1, 2], [2, 1]])}, "positive definite"),
        (np.full((2, 2), np.nan), {"variance": 1.0}, "mean has NaN"),
    ],
)
def test_impossible_gaussians_are_refused(mean, settings, message):
    with pytest.raises(PriorInputError, match=message):
        GaussianPrior(mean, **settings)


@pytest.mark.parametrize(
    ("weights", "variances", "message"),
    [
        ([0.5, 0.4], [1, 1], "sum to one"),
        ([1.5, -0.5], [1, 1], "positive numbers"),
        ([0.5, 0.5], [1], "one entry per component, got 2, 2 and 1"),
        ([0.5, 0.5], [1, -1], "variance must be positive"),
    ],
)
def test_impossible_mixtures_are_refused(weights, variances, message):
    with pytest.raises(PriorInputError, match=message):
        GaussianMixturePrior(weights, np.zeros((2, 3, 3)), variances)


@every_kind
def test_unusable_input_is_refused(kind):
    prior = make(kind)
    with pytest.raises(PriorInputError, match=r"slices of \(2, 3\), got \(3, 2\)"):
        prior.denoise(np.zeros((3, 2), complex), 0.1)
    with pytest.raises(PriorInputError, match=r"slices of \(2, 3\), got \(4, 4\)"):
        prior.log_density(np.zeros((5, 4, 4)))
    with pytest.raises(PriorInputError, match="sigma must be at least 0"):
        prior.log_density(np.zeros((2, *SHAPE)), [0.1, 0.2, 0.3])
    with pytest.raises(PriorInputError, match=r"matrix \(m, 6\)"):
        prior.posterior(np.zeros(2), np.zeros((2, 5)), 0.1)
    with pytest.raises(PriorInputError, match="noise_std must be a positive number"):
        prior.posterior(np.zeros(2), np.zeros((2, 6)), 0.0)
