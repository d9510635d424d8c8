from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from mrrecon import priors
from mrrecon.errors import PriorError, PriorInputError
from mrrecon.priors.condition import Condition
from mrrecon.priors.diffusion import DiffusionPrior
from mrrecon.priors.schedule import NoiseSchedule

UNET = {"type": "unet", "channels": [16, 32], "blocks": 1, "embedding": 16, "groups": 8, "patch": 2}


class Exact(nn.Module):
    """The perfect network for pixels that are independent, N(0, var) per real component, as states hold them."""

    def __init__(self, var: float, target: str) -> None:
        super().__init__()
        self.var, self.target = var, target

    def forward(self, x, level):
        ratio2 = torch.exp(2 * level)[:, None, None, None]  # (sigma / alpha)^2
        alpha2 = 1 / (1 + ratio2)
        alpha, sigma = alpha2.sqrt(), (1 - alpha2).sqrt()
        clean = x * alpha * self.var / (alpha2 * self.var + 1 - alpha2)
        noise = (x - alpha * clean) / sigma
        return noise if self.target == "noise" else alpha * noise - sigma * clean


@pytest.fixture
def slices(rng):
    return (rng.standard_normal((3, 20, 24)) + 1j * rng.standard_normal((3, 20, 24))).astype(np.complex64)


def random_prior(**changes):
    torch.manual_seed(0)
    prior = DiffusionPrior(UNET, precision="fp32", **changes)
    for parameter in prior.network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    return prior


@pytest.mark.parametrize("target", ["noise", "velocity"])
@pytest.mark.parametrize("schedule", [NoiseSchedule(), NoiseSchedule("cosine")], ids=["linear", "cosine"])
def test_with_a_perfect_network_it_is_the_wiener_filter(target, schedule, slices):
    scale, var = 2.0, 0.36
    prior = DiffusionPrior(
        Exact(scale**2 * var, target), schedule=schedule, data_scale=scale, target=target, precision="fp32"
    )
    for sigma in (0.02, 0.3, 2.0):
        expected = slices * (var / (var + sigma**2))
        np.testing.assert_allclose(prior.denoise(slices, sigma), expected, rtol=2e-3, atol=2e-3 * sigma)


def test_each_slice_has_its_own_noise_level(slices):
    prior = random_prior()
    sigmas = np.array([0.05, 0.2, 0.7])
    together = prior.denoise(slices, sigmas)
    for i, sigma in enumerate(sigmas):
        np.testing.assert_allclose(prior.denoise(slices[i], sigma), together[i], rtol=1e-4, atol=1e-4)


def test_noise_and_clean_views_agree(slices):
    prior = random_prior()
    t = 150.0
    noise = prior.predict_noise(slices, t)
    clean = prior.schedule.clean(slices, noise, t) / prior.data_scale
    alpha = prior.schedule.alpha(t)
    denoised = prior.denoise(slices / (alpha * prior.data_scale), prior.schedule.noise_level(t) / prior.data_scale)
    np.testing.assert_allclose(denoised, clean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 33, 47), (2, 16, 17), (1, 5, 40), (1, 1, 1)])
def test_any_size_goes_through(shape, rng):
    x = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    out = random_prior().denoise(x, 0.1)
    assert out.shape == shape and np.isfinite(out).all()


def test_chunks_do_not_change_the_result(slices, monkeypatch):
    prior = random_prior()
    whole = prior.denoise(slices, 0.3)
    monkeypatch.setitem(__import__("mrrecon.priors.diffusion", fromlist=["x"]).CHUNK_PIXELS, "cpu", 1)
    np.testing.assert_allclose(prior.denoise(slices, 0.3), whole, rtol=1e-4, atol=1e-5)


def test_no_noise_leaves_the_slices(slices):
    np.testing.assert_array_equal(random_prior().denoise(slices, 0.0), slices)


def test_more_noise_than_the_schedule_knows_is_finite(slices):
    assert np.isfinite(random_prior().denoise(1e4 * slices, 1e4)).all()


def test_gradients_reach_the_slices(slices):
    x = torch.from_numpy(slices).requires_grad_()
    random_prior().denoise(x, 0.2).abs().sum().backward()
    assert x.grad is not None and torch.isfinite(torch.view_as_real(x.grad)).all() and x.grad.abs().sum() > 0


def test_precision_changes_little(slices):
    exact = random_prior().predict_noise(slices, 100)
    rough = DiffusionPrior(UNET, precision="bf16")
    rough.network.load_state_dict(random_prior().network.state_dict())
    assert np.abs(rough.predict_noise(slices, 100) - exact).max() < 0.05 * np.abs(exact).max()


def test_settings_and_weights_make_the_same_prior(slices):
    prior = random_prior(name="p", voxel_sizes=(1, 2), target="velocity", data_scale=1.5, training={"steps": 3})
    again = DiffusionPrior.from_config(prior.config(), prior.state())
    again.precision = "fp32"
    assert again.config() == prior.config() and again.parameters() == prior.parameters()
    np.testing.assert_array_equal(again.denoise(slices, 0.2), prior.denoise(slices, 0.2))


def test_saved_and_loaded(slices, tmp_path):
    prior = random_prior(name="p", voxel_sizes=(1, 2))
    prior.save(tmp_path / "p", card="# p")
    again = priors.load(tmp_path / "p", precision="fp32")
    assert math.isclose(again.data_scale, prior.data_scale) and again.name == "p"
    np.testing.assert_allclose(again.denoise(slices, 0.2), prior.denoise(slices, 0.2), rtol=1e-4, atol=1e-5)


def test_a_network_with_growing_kernels_is_told_the_voxel_size(slices):
    settings = {"type": "infinite-unet", "features": 8, "depth": 1, "grid": 16, "channels": [16, 32], "blocks": 1,
                "embedding": 16, "groups": 8, "attention": False}  # fmt: skip
    prior = DiffusionPrior(settings, voxel_sizes=(2, 2), precision="fp32")
    told = []
    prior.network.register_forward_pre_hook(lambda module, given, named: told.append(named), with_kwargs=True)
    prior.denoise(slices, 0.1)
    prior.denoise(slices, 0.1, Condition(voxel_size=(1.0, 1.0)))
    prior.denoise(slices, 0.1, Condition(voxel_size=(8.0, 2.0)))
    assert told == [{"relative_size": 1.0}, {"relative_size": 2.0}, {"relative_size": 0.5}]


def test_made_from_a_module_it_cannot_be_saved(tmp_path):
    with pytest.raises(PriorError, match="settings"):
        DiffusionPrior(Exact(1.0, "noise")).save(tmp_path / "p")


@pytest.mark.parametrize(
    "change, word",
    [({"target": "score"}, "target"), ({"data_scale": 0.0}, "data_scale"), ({"precision": "fp8"}, "precision")],
)
def test_wrong_settings_are_named(change, word):
    with pytest.raises(PriorInputError, match=word):
        DiffusionPrior(UNET, **change)


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(PriorInputError, match="quantum"):
        random_prior().to("quantum")
