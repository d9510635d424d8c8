"""The adapters against the packages themselves: what their own schedulers call the clean sample is our denoiser."""

import functools

import numpy as np
import pytest
import torch

from mrrecon.errors import PriorInputError
from mrrecon.priors import from_denoiser, from_diffusers, from_monai

SHAPES = [(2, 32, 24), (1, 33, 21), (2, 5, 40)]
TARGETS = ["epsilon", "sample", "v_prediction"]


def slices(shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def awake(unet):
    """Every weight away from zero: output layers start as zero and would hide mistakes."""
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return unet


@functools.cache
def diffusers_unet(channels):
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    return awake(
        diffusers.UNet2DModel(
            in_channels=channels,
            out_channels=channels,
            block_out_channels=(8, 8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=8,
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        )
    )


@functools.cache
def monai_unet(channels):
    nets = pytest.importorskip("monai.networks.nets")
    torch.manual_seed(0)
    return awake(
        nets.DiffusionModelUNet(
            spatial_dims=2,
            in_channels=channels,
            out_channels=channels,
            channels=(8, 8, 16),
            attention_levels=(False, False, True),
            num_res_blocks=1,
            norm_num_groups=4,
            num_head_channels=8,
        )
    )


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("scheduler", ["DDPMScheduler", "DDIMScheduler"])
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_diffusers_own_clean_sample(scheduler, schedule, target):
    unet = diffusers_unet(2)
    diffusers = pytest.importorskip("diffusers")
    made = getattr(diffusers, scheduler)(beta_schedule=schedule, prediction_type=target, clip_sample=False)
    prior = from_diffusers(unet, made)
    state = slices((2, 32, 24))
    x = torch.from_numpy(np.stack([state.real, state.imag], 1))
    if scheduler == "DDIMScheduler":
        made.set_timesteps(1000)
    for t in (3, 250, 900):
        with torch.no_grad():
            output = unet(x, torch.full((2,), t)).sample
        clean = made.step(output, t, x).pred_original_sample.numpy()
        alpha, sigma = prior.schedule.alpha(t), prior.schedule.sigma(t)
        ours = prior.denoise(state / np.float32(alpha), sigma / alpha)
        expected = clean[:, 0] + 1j * clean[:, 1]
        assert np.abs(ours - expected).max() < 2e-3 * np.abs(expected).max()


@pytest.mark.parametrize("target", TARGETS)
def test_monai_own_clean_sample(target):
    unet = monai_unet(2)
    schedulers = pytest.importorskip("monai.networks.schedulers")
    made = schedulers.DDPMScheduler(1000, prediction_type=target, clip_sample=False)
    prior = from_monai(unet, made)
    state = slices((2, 32, 24))
    x = torch.from_numpy(np.stack([state.real, state.imag], 1))
    for t in (3, 250, 900):
        with torch.no_grad():
            output = unet(x, torch.full((2,), t))
        clean = made.step(output, t, x)[1].numpy()
        alpha, sigma = prior.schedule.alpha(t), prior.schedule.sigma(t)
        ours = prior.denoise(state / np.float32(alpha), sigma / alpha)
        expected = clean[:, 0] + 1j * clean[:, 1]
        assert np.abs(ours - expected).max() < 2e-3 * np.abs(expected).max()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("package", ["diffusers", "monai"])
def test_any_size_and_scale(package, channels, shape):
    if package == "diffusers":
        made = pytest.importorskip("diffusers").DDPMScheduler()
        prior = from_diffusers(diffusers_unet(channels), made, data_scale=2.0)
    else:
        made = pytest.importorskip("monai.networks.schedulers").DDPMScheduler(1000)
        prior = from_monai(monai_unet(channels), made, data_scale=2.0)
    noisy = slices(shape)
    clean = prior.denoise(noisy, 0.4)
    assert clean.shape == shape and np.isfinite(clean).all() and np.abs(clean - noisy).max() > 1e-3
    np.testing.assert_allclose(prior.denoise(noisy * 1e4, 4e3, scale=1e4) / 1e4, clean, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(prior.denoise(noisy[0], 0.4), clean[0], rtol=1e-3, atol=1e-4)
    if channels == 1:  # both parts go through the same model
        swapped = prior.denoise(noisy.imag + 1j * noisy.real, 0.4)
        np.testing.assert_allclose(swapped.real, clean.imag, rtol=1e-3, atol=1e-4)


def test_other_schedulers_of_diffusers():
    diffusers = pytest.importorskip("diffusers")
    unet = diffusers_unet(2)
    for name in ("PNDMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"):
        assert from_diffusers(unet, getattr(diffusers, name)()).schedule.steps == 1000
    zero = diffusers.DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    prior = from_diffusers(unet, zero)
    assert prior.schedule.steps == 999
    assert np.isfinite(prior.denoise(slices((1, 16, 16)), 50.0)).all()
    with pytest.raises(ValueError, match="alphas_cumprod"):
        from_diffusers(unet, diffusers.FlowMatchEulerDiscreteScheduler())


def test_schedules_that_begin_without_noise_or_end_without_signal():
    """Steps that begin with zero have no noise at t = 0, rescaled ones no signal at the end."""
    diffusers = pytest.importorskip("diffusers")
    made = diffusers.DDPMScheduler(trained_betas=np.linspace(0, 0.02, 1000).tolist())
    assert float(made.alphas_cumprod[0]) == 1.0
    prior = from_diffusers(diffusers_unet(2), made)
    levels = np.geomspace(0.003, prior.schedule.max_noise_level, 50)
    assert prior.schedule.first_time == 1
    np.testing.assert_allclose(prior.schedule.noise_level(prior.schedule.time(levels)), levels, rtol=1e-6)
    for level in (0.0, 1e-6, 0.3, 100.0):
        assert np.isfinite(prior.denoise(slices((1, 32, 24)), level)).all()
    rescaled = diffusers.DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    assert float(rescaled.alphas_cumprod[-1]) == 0.0
    schedule = from_diffusers(diffusers_unet(2), rescaled).schedule
    assert schedule.steps == 999
    np.testing.assert_allclose(schedule.alpha_bar, rescaled.alphas_cumprod[:-1].double(), rtol=1e-6)


def test_networks_of_volumes_are_refused_when_they_are_wrapped():
    nets = pytest.importorskip("monai.networks.nets")
    settings = {"in_channels": 2, "channels": (8, 8), "attention_levels": (False, False), "num_res_blocks": 1}
    settings |= {"norm_num_groups": 4, "num_head_channels": 8}
    scheduler = pytest.importorskip("monai.networks.schedulers").DDPMScheduler(1000)
    with pytest.raises(PriorInputError, match=r"DiffusionModelUNet is a network of 3 dimensions \(Conv3d\)"):
        from_monai(nets.DiffusionModelUNet(spatial_dims=3, out_channels=2, **settings), scheduler)
    with pytest.raises(PriorInputError, match=r"as many channels as it takes, 2 \(or 4, with the variance\), got 1"):
        from_monai(nets.DiffusionModelUNet(spatial_dims=2, out_channels=1, **settings), scheduler)
    with pytest.raises(PriorInputError, match="'magnitude' needs a unet with in_channels=1, got 2"):
        from_monai(nets.DiffusionModelUNet(spatial_dims=2, out_channels=2, **settings), scheduler, "magnitude")
    with pytest.raises(PriorInputError, match="network of 3 dimensions"):
        from_denoiser(nets.UNet(spatial_dims=3, in_channels=2, out_channels=2, channels=(4, 8), strides=(2,)))
