"""Models of other packages as priors: right conventions, any size, any scale; stand-ins and the packages themselves."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from mrrecon.errors import PriorError, PriorFailure, PriorInputError
from mrrecon.priors import NoiseSchedule, from_callable, from_denoiser, from_diffusers, from_monai

BETAS = torch.linspace(1e-4, 0.02, 1000)
ALPHA_BAR = torch.cumprod(1 - BETAS, 0)
SHAPES = [(1, 16, 16), (2, 21, 17), (3, 1, 5), (1, 33, 48)]


def slices(shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def wiener(noisy, sigma):
    """Expected value of slices whose parts are N(0, 1)."""
    return noisy / (1 + np.reshape(sigma, (-1, 1, 1)) ** 2)


class Gaussian(nn.Module):
    """The exact noise model of pictures N(mean, std^2), called as U-Nets are; the sides must suit its levels."""

    def __init__(self, channels, mean=0.0, std=1.0, target="epsilon", learned_variance=False):
        super().__init__()
        self.channels, self.mean, self.std, self.target, self.double = channels, mean, std, target, learned_variance
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen = []

    def predict(self, x, t):
        assert x.shape[1] == self.channels and t.shape == (len(x),), (x.shape, t.shape)
        assert x.shape[2] % 4 == 0 and x.shape[3] % 4 == 0, "sizes of tensors must match"
        assert x.dtype == self.weight.dtype and not self.training
        self.seen.append((x.detach(), t))
        bar = torch.from_numpy(np.interp(t.numpy(), np.arange(1000), ALPHA_BAR.log().numpy())).exp()[
            :, None, None, None
        ]
        alpha, sigma = bar.sqrt(), (1 - bar).sqrt()
        x = x.double()
        clean = self.mean + self.std**2 * alpha / (alpha**2 * self.std**2 + sigma**2) * (x - alpha * self.mean)
        noise = (x - alpha * clean) / sigma
        output = {"epsilon": noise, "sample": clean, "v_prediction": alpha * noise - sigma * clean}[self.target]
        output = torch.cat([output, torch.full_like(output, 7.0)], 1) if self.double else output
        return output.to(self.weight.dtype)


class DiffusersLike(Gaussian):
    """Signature and output of diffusers' UNet2DModel."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.config = SimpleNamespace(
            in_channels=self.channels, block_out_channels=(8, 8, 8), num_class_embeds=None, class_embed_type=None
        )

    def forward(self, sample, timestep, class_labels=None, return_dict=True):
        output = self.predict(sample, timestep)
        return SimpleNamespace(sample=output) if return_dict else (output,)


class MonaiLike(Gaussian):
    """Signature and output of MONAI's DiffusionModelUNet."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.in_channels, self.block_out_channels = self.channels, [8, 8, 8]
        self.with_conditioning, self.num_class_embeds = False, None

    def forward(self, x, timesteps, context=None, class_labels=None):
        return self.predict(x, timesteps)


def diffusers_like(channels, **settings):
    target = settings.get("target", "epsilon")
    scheduler = SimpleNamespace(alphas_cumprod=ALPHA_BAR, config=SimpleNamespace(prediction_type=target))
    return DiffusersLike(channels, **settings), scheduler


def monai_like(channels, **settings):
    scheduler = SimpleNamespace(alphas_cumprod=ALPHA_BAR, prediction_type=settings.get("target", "epsilon"))
    return MonaiLike(channels, **settings), scheduler


PACKAGES = {"diffusers": (diffusers_like, from_diffusers), "monai": (monai_like, from_monai)}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("target", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("package", PACKAGES)
def test_unets_of_gaussian_pictures_are_the_wiener_filter(package, channels, target, shape):
    make, adapt = PACKAGES[package]
    prior = adapt(*make(channels, target=target), name="g")
    noisy, sigma = slices(shape), np.linspace(0.05, 3, shape[0])
    np.testing.assert_allclose(prior.denoise(noisy, sigma), wiener(noisy, sigma), rtol=2e-3, atol=2e-3)
    np.testing.assert_array_equal(prior.denoise(noisy, 0.0), noisy)
    for scale in (1e-6, 1e5):
        again = prior.denoise(noisy * np.float32(scale), sigma * scale, scale=scale)
        np.testing.assert_allclose(again / scale, prior.denoise(noisy, sigma), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("data_scale", [2.0, 0.5, (-1.0, 2.0), (3.0, 0.25)])
def test_value_ranges(package, data_scale):
    """A model whose pictures are an affine function of image values N(0, 1) sees just those."""
    make, adapt = PACKAGES[package]
    shift, scale = data_scale if isinstance(data_scale, tuple) else (0.0, data_scale)
    prior = adapt(*make(2, mean=shift, std=scale), data_scale=data_scale)
    assert prior.data_scale == scale
    noisy, sigma = slices((2, 12, 16)), np.array([0.2, 1.5])
    np.testing.assert_allclose(prior.denoise(noisy, sigma), wiener(noisy, sigma), rtol=3e-3, atol=3e-3)


def test_states_and_times_are_those_of_the_scheduler():
    unet, scheduler = diffusers_like(2)
    prior = from_diffusers(unet, scheduler)
    np.testing.assert_allclose(prior.schedule.alpha_bar, ALPHA_BAR.double())
    state = slices((2, 16, 16))
    prior.predict_noise(state, [700.0, 12.5])
    x, t = unet.seen[-1]
    assert t.tolist() == [700.0, 12.5]
    np.testing.assert_array_equal(x[:, 0] + 1j * x[:, 1], state)
    prior.predict_noise(state, -1.0)
    assert unet.seen[-1][1].tolist() == [0.0, 0.0]


def test_magnitude_keeps_the_phase_and_shifts():
    """At low noise |x| has Gaussian noise: a magnitude model removes it and leaves the phase as it came."""
    unet, scheduler = diffusers_like(1, mean=-1 + 2 * 1.0, std=2 * 0.1)  # magnitudes N(1, 0.1^2), seen as -1 + 2 |x|
    prior = from_diffusers(unet, scheduler, "magnitude", data_scale=(-1.0, 2.0))
    rng = np.random.default_rng(0)
    magnitude, phase = 1 + 0.1 * rng.standard_normal((2, 9, 13)), rng.uniform(-np.pi, np.pi, (2, 9, 13))
    noisy = (magnitude * np.exp(1j * phase)).astype(np.complex64)
    clean = prior.denoise(noisy, 0.05)
    expected = 1 + (magnitude - 1) * 0.1**2 / (0.1**2 + 0.05**2)
    np.testing.assert_allclose(np.abs(clean), expected, rtol=5e-3)
    np.testing.assert_allclose(clean / np.abs(clean), np.exp(1j * phase), atol=1e-5)
    dark = noisy.copy()
    dark[0, 0, 0] = 0
    assert np.isfinite(prior.denoise(dark, 0.05)).all()


def test_learned_variance_is_left_out():
    noisy = slices((1, 16, 16))
    prior = from_diffusers(*diffusers_like(2, learned_variance=True))
    np.testing.assert_allclose(prior.denoise(noisy, 0.5), wiener(noisy, 0.5), rtol=2e-3, atol=2e-3)


def test_zero_terminal_snr_is_left_out():
    unet, scheduler = diffusers_like(2, target="v_prediction")
    scheduler.alphas_cumprod = torch.cat([ALPHA_BAR, torch.zeros(1)])
    assert from_diffusers(unet, scheduler).schedule.steps == 1000


def test_half_precision_models():
    unet, scheduler = diffusers_like(2)
    noisy = slices((1, 16, 16))
    clean = from_diffusers(unet.bfloat16(), scheduler).denoise(noisy, 0.5)
    assert clean.dtype == np.complex64
    np.testing.assert_allclose(clean, wiener(noisy, 0.5), atol=0.05)


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda u, s: setattr(s.config, "prediction_type", "flow"), "prediction_type must be epsilon"),
        (lambda u, s: delattr(s, "alphas_cumprod"), "has neither alphas_cumprod nor betas"),
        (lambda u, s: setattr(s, "alphas_cumprod", ALPHA_BAR.flip(0)), "alpha_bar must fall"),
        (lambda u, s: setattr(s, "alphas_cumprod", torch.full((9,), 0.5)), "cannot be used: .* two different values"),
        (lambda u, s: setattr(s, "alphas_cumprod", ALPHA_BAR * torch.nan), "cannot be used: .* finite numbers"),
        (lambda u, s: setattr(u.config, "in_channels", 3), "1 channel .* or 2"),
        (lambda u, s: setattr(u.config, "out_channels", 3), r"as many channels as it takes, 2 \(or 4.*\), got 3"),
        (lambda u, s: setattr(u.config, "in_channels", 1), "'complex-as-2' needs a unet with in_channels=2, got 1"),
        (lambda u, s: u.add_module("conv", nn.Conv3d(2, 2, 3)), r"network of 3 dimensions \(Conv3d\)"),
        (lambda u, s: u.add_module("conv", nn.ConvTranspose1d(2, 2, 3)), r"of 1 dimensions \(ConvTranspose1d\)"),
        (lambda u, s: setattr(u.config, "num_class_embeds", 10), "unconditional"),
        (lambda u, s: setattr(u.config, "cross_attention_dim", 768), "unconditional"),
        (lambda u, s: delattr(u, "config"), "must be a UNet2DModel"),
    ],
)
def test_models_that_cannot_be_priors_of_slices(change, said):
    unet, scheduler = diffusers_like(2)
    change(unet, scheduler)
    with pytest.raises(PriorInputError, match=said):
        from_diffusers(unet, scheduler, "complex-as-2")


def test_a_model_that_fails_when_it_is_called_is_a_failure_of_the_prior():
    def fails(x, sigma):
        raise RuntimeError("size of tensor a (7) must match\nthe size of tensor b (8)")

    for made, said in (
        (from_denoiser(fails, name="mine"), r"the prior 'mine' failed with RuntimeError: size of tensor a \(7\)"),
        (from_denoiser(lambda x, sigma: x * torch.inf, name="mine"), "the prior 'mine' returned NaN or infinite"),
        (from_callable(lambda x, sigma: x / 0, name="mine"), "the prior 'mine' returned NaN or infinite"),
    ):
        with pytest.raises(PriorFailure, match=said):
            made.denoise(slices((2, 9, 8)), 0.5)


def test_convolutions_of_both_kinds_of_slices_are_accepted():
    unet, scheduler = diffusers_like(2)
    unet.add_module("attention", nn.Sequential(nn.Conv1d(2, 2, 1), nn.Conv2d(2, 2, 1)))
    noisy = slices((1, 16, 16))
    np.testing.assert_allclose(
        from_diffusers(unet, scheduler).denoise(noisy, 0.5), wiener(noisy, 0.5), rtol=2e-3, atol=2e-3
    )


def test_schedulers_that_keep_only_the_steps():
    unet, scheduler = diffusers_like(2)
    only_betas = SimpleNamespace(betas=BETAS, config=scheduler.config)
    whole, table = (from_diffusers(unet, s).schedule for s in (only_betas, scheduler))
    np.testing.assert_allclose(whole.noise_level(np.arange(1000)), table.noise_level(np.arange(1000)), rtol=1e-4)


def test_monai_models_that_cannot_be_priors_of_slices():
    unet, scheduler = monai_like(2)
    unet.with_conditioning = True
    with pytest.raises(PriorInputError, match="unconditional"):
        from_monai(unet, scheduler)
    with pytest.raises(PriorInputError, match="must be a DiffusionModelUNet"):
        from_monai(nn.Identity(), scheduler)


class Denoiser(nn.Module):
    """Denoises pictures N(mean, std^2), as deepinv's classes do: levels as a number, () or (B,) as `takes` says."""

    def __init__(self, channels, takes, mean=0.0, std=1.0):
        super().__init__()
        self.channels, self.takes, self.mean, self.std = channels, takes, mean, std

    def forward(self, x, sigma):
        assert x.ndim == 4 and x.shape[1] == self.channels and x.is_contiguous()
        if self.takes == "fill":  # deepinv's DRUNet up to 0.2
            level = torch.empty_like(x[:, :1]).fill_(sigma)
        elif self.takes == "per-slice":
            assert sigma.shape == (len(x),)
            level = sigma[:, None, None, None]
        else:  # deepinv's DRUNet of 0.5
            assert sigma.ndim == 0 or sigma.shape == (len(x),)
            level = sigma.view(-1, 1, 1, 1)
        return self.mean + (x - self.mean) * self.std**2 / (self.std**2 + level**2)


@pytest.mark.parametrize("takes, levels", [("fill", "one"), ("both", "one"), ("both", "per-slice"),
                                           ("per-slice", "per-slice")])  # fmt: skip
@pytest.mark.parametrize("channels, number", [("complex-as-2", 2), ("real-and-imaginary", 1)])
@pytest.mark.parametrize("data_scale", [1.0, 4.0, (-1.0, 2.0)])
def test_denoisers(takes, levels, channels, number, data_scale):
    shift, scale = data_scale if isinstance(data_scale, tuple) else (0.0, data_scale)
    prior = from_denoiser(Denoiser(number, takes, shift, scale), channels, levels=levels, data_scale=data_scale)
    noisy, sigma = slices((4, 7, 4)), np.array([0.1, 1.0, 0.1, 2.0])
    np.testing.assert_allclose(prior.denoise(noisy, sigma), wiener(noisy, sigma), rtol=1e-4, atol=1e-5)


def test_magnitude_denoisers():
    prior = from_denoiser(Denoiser(1, "both", mean=3.0, std=0.1), "magnitude")
    noisy = (3 * np.exp(1j * np.angle(slices((2, 5, 6))))).astype(np.complex64)
    np.testing.assert_allclose(prior.denoise(noisy, 0.2), noisy, rtol=1e-5)
    assert np.abs(prior.denoise(noisy * 1.1, 0.2)).max() < 3.08


def test_denoisers_that_need_certain_sizes():
    class Pools(nn.Module):
        def forward(self, x, sigma):
            assert x.shape[2] % 8 == 0 and x.shape[3] % 8 == 0
            return x

    noisy = slices((2, 9, 31))
    np.testing.assert_array_equal(from_denoiser(Pools(), size_multiple=8).denoise(noisy, 0.1), noisy)


def test_gradients_pass_through_adapters():
    x = torch.from_numpy(slices((2, 6, 5))).requires_grad_()
    for prior in (
        from_denoiser(Denoiser(2, "both")),
        from_denoiser(Denoiser(1, "both"), "magnitude"),
        from_diffusers(*diffusers_like(2)),
    ):
        (gradient,) = torch.autograd.grad(prior.denoise(x, 0.5).abs().square().sum(), x)
        assert torch.isfinite(torch.view_as_real(gradient)).all() and gradient.abs().max() > 0


def test_large_batches_go_in_parts():
    unet, scheduler = diffusers_like(2)
    noisy, sigma = slices((9, 260, 252)), np.linspace(0.1, 1, 9)
    clean = from_diffusers(unet, scheduler).denoise(noisy, sigma)
    assert len(unet.seen) > 1 and sum(len(x) for x, _ in unet.seen) == 9
    np.testing.assert_allclose(clean, wiener(noisy, sigma), rtol=2e-3, atol=2e-3)


def test_moving():
    prior = from_diffusers(*diffusers_like(2))
    assert prior.to("cpu") is prior and prior.to("auto").device.type in ("cpu", "cuda")
    with pytest.raises(PriorInputError, match="cannot be moved to 'nowhere'"):
        prior.to("nowhere")
    with pytest.raises(PriorInputError, match="not a module"):
        from_denoiser(lambda x, sigma: x).to("cuda")


def test_callables_of_levels():
    def shrink(noisy, sigma):
        assert noisy.dtype == torch.complex64 and sigma.shape == (len(noisy),)
        return noisy * 9 / (9 + sigma[:, None, None] ** 2)  # image values are N(0, 1), seen three times as large

    prior = from_callable(shrink, data_scale=3.0, name="shrink", voxel_sizes=(1.0, 2.0))
    noisy, sigma = slices((3, 5, 4)), np.array([0.0, 0.5, 2.0])
    np.testing.assert_allclose(prior.denoise(noisy, sigma), wiener(noisy, sigma), rtol=1e-5)
    assert (prior.name, prior.voxel_sizes) == ("shrink", (1.0, 2.0))
    with pytest.raises(PriorError, match="cannot be saved"):
        prior.config()


def test_callables_of_times():
    schedule = NoiseSchedule("cosine", 100)

    def noise(state, t):
        assert t.shape == (len(state),)
        alpha, sigma = (f(t.double())[:, None, None].float() for f in (schedule.alpha, schedule.sigma))
        return state * sigma / (4 * alpha**2 + sigma**2)

    prior = from_callable(noise, "time", schedule=schedule, data_scale=2.0)
    noisy, sigma = slices((3, 5, 4)), np.array([0.05, 0.5, 2.0])
    np.testing.assert_allclose(prior.denoise(noisy, sigma), wiener(noisy, sigma), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: from_callable(lambda x, s: x[0]), "must return shape"),
        (lambda: from_callable(lambda x, s: x.real), "complex"),
        (lambda: from_callable(lambda x, s: None), "got NoneType"),
        (lambda: from_denoiser(lambda x, s: x[:, :1]), "must return shape"),
        (lambda: from_denoiser(lambda x, s: (x, s)), "got tuple"),
        (lambda: from_callable(None, "level"), "sigma_or_time"),
        (lambda: from_callable(None, data_scale=(1.0, 2.0)), "one number"),
        (lambda: from_callable(None, data_scale=0), "positive"),
        (lambda: from_denoiser(None, "rgb"), "channels must be one of"),
        (lambda: from_denoiser(None, levels="many"), "levels must be"),
        (lambda: from_denoiser(None, data_scale=(1.0, -2.0)), "data_scale"),
        (lambda: from_denoiser(None, data_scale=(1.0, 2.0, 3.0)), "data_scale"),
        (lambda: from_denoiser(None, data_scale=float("nan")), "data_scale"),
    ],
    ids=range(13),
)
def test_what_is_wrong_is_said(make, said):
    with pytest.raises(PriorInputError, match=said):
        make().denoise(slices((2, 4, 4)), 0.1)
