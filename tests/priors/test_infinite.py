from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from mrrecon.errors import PriorInputError
from mrrecon.priors.networks import build
from mrrecon.priors.networks.infinite import InfiniteUNet, depthwise, kernel_size, resize_kernel

RULES = ["bilinear", "fourier", "zero-pad"]


def small(**changes):
    settings = {"features": 8, "depth": 1, "kernel": 11, "grid": 16, "channels": (16, 32),
                "blocks": 1, "attention": False, "embedding": 16, "groups": 8}  # fmt: skip
    return InfiniteUNet(**{**settings, **changes})


def wake(network):
    """Fresh networks give zero; make every layer count."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return network


def normal(*shape, seed=1, **options):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **options)


def smooth_kernels(number, side):
    """Differently shifted and oriented derivatives of a Gaussian, nearly zero at the border."""
    place = torch.arange(side, dtype=torch.float64) - side // 2
    kernels = []
    for angle in torch.arange(number, dtype=torch.float64):
        y, x = torch.meshgrid(place - 0.5 * angle.sin(), place + 0.5 * angle.cos(), indexing="ij")
        along = angle.cos() * x + angle.sin() * y
        kernels.append((0.6 + along) * torch.exp(-(x**2 + y**2) / (2 * 1.6**2)) / 8)
    return torch.stack(kernels)


def smooth_slice(side):
    """The same object at any matrix size, sampled at the centres of pixels."""
    place = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(place, place, indexing="ij")
    real = torch.sin(2 * math.pi * (2 * x + y)) + torch.exp(-((x - 0.4) ** 2 + (y - 0.6) ** 2) / 0.02)
    imaginary = torch.cos(2 * math.pi * (2.5 * y - x)) * x
    return torch.stack([real, imaginary])[None]


# --- resizing kernels -------------------------------------------------------------------------------------------------


def test_kernel_sizes_follow_the_matrix_size():
    sides = {80: 7, 128: 11, 160: 13, 218: 19, 256: 21, 320: 27}
    assert {side: kernel_size(11, side / 128) for side in sides} == sides
    assert kernel_size(11, 0.01) == 3
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(PriorInputError, match="relative_size must be a positive number"):
            kernel_size(11, wrong)


@pytest.mark.parametrize("rule", RULES)
def test_a_kernel_of_the_right_size_stays_as_it_is(rule):
    kernels = normal(3, 11, 11, dtype=torch.float64)
    torch.testing.assert_close(resize_kernel(kernels, 11, rule), kernels)


@pytest.mark.parametrize("size", [3, 7, 9, 13, 19, 27])
@pytest.mark.parametrize("rule", ["bilinear", "fourier"])
def test_resized_kernels_keep_their_sum(rule, size):
    kernels = normal(3, 11, 11, dtype=torch.float64)
    resized = resize_kernel(kernels, size, rule)
    assert resized.shape == (3, size, size)
    torch.testing.assert_close(resized.sum((-1, -2)), kernels.sum((-1, -2)))


@pytest.mark.parametrize("size", [3, 7, 13, 27])
@pytest.mark.parametrize("rule", RULES)
def test_symmetric_kernels_stay_symmetric(rule, size):
    kernel = normal(11, 11, dtype=torch.float64)
    kernel = kernel + kernel.flip(0)
    kernel = kernel + kernel.flip(1)
    kernel = kernel + kernel.T
    resized = resize_kernel(kernel, size, rule)
    for other in (resized.flip(0), resized.flip(1), resized.T):
        torch.testing.assert_close(other, resized)


@pytest.mark.parametrize("size", [3, 7, 13, 27])
@pytest.mark.parametrize("rule", RULES)
def test_the_centre_stays_at_the_centre(rule, size):
    kernel = torch.zeros(11, 11, dtype=torch.float64)
    kernel[5, 5] = 1.0
    resized = resize_kernel(kernel, size, rule)
    assert divmod(int(resized.argmax()), size) == (size // 2, size // 2)


def test_an_off_centre_tap_stays_at_its_place_in_millimetres():
    kernel = torch.zeros(11, 11, dtype=torch.float64)
    kernel[5, 8] = 1.0
    for rule in ("bilinear", "fourier"):
        assert divmod(int(resize_kernel(kernel, 33, rule).argmax()), 33) == (16, 16 + 3 * 3), rule
    assert divmod(int(resize_kernel(kernel, 33, "zero-pad").argmax()), 33) == (16, 16 + 3)


@pytest.mark.parametrize("size", [13, 19, 27])
def test_fourier_samples_the_band_limited_function_through_the_kernel(size):
    """A trigonometric polynomial of the frequencies that 11 samples can have, on finer samples of the same side."""
    frequencies = torch.arange(-5, 6, dtype=torch.float64)
    amplitude, phase = normal(11, 11, dtype=torch.float64), normal(11, 11, seed=2, dtype=torch.float64)

    def sampled(n):
        place = (torch.arange(n, dtype=torch.float64) - n // 2) / n
        angle = frequencies[:, None] * place
        across = angle[:, None, :, None] + angle[None, :, None, :] + phase[:, :, None, None] / (2 * math.pi)
        return (amplitude[:, :, None, None] * torch.cos(2 * math.pi * across)).sum((0, 1)) / n**2

    torch.testing.assert_close(resize_kernel(sampled(11), size, "fourier"), sampled(size))


@pytest.mark.parametrize("size", [5, 7, 13, 21])
def test_fourier_is_a_padded_or_cropped_centred_spectrum(size):
    kernel, margin = normal(11, 11, dtype=torch.float64), (size - 11) // 2
    spectrum = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(kernel)))
    spectrum = F.pad(spectrum, (margin, margin, margin, margin))
    expected = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(spectrum))).real
    torch.testing.assert_close(resize_kernel(kernel, size, "fourier"), expected)


@pytest.mark.parametrize("size", [7, 13, 27])
def test_bilinear_is_linear_interpolation_scaled_by_the_area(size):
    kernel = smooth_kernels(1, 11)
    plain = F.interpolate(kernel[None], (size, size), mode="bilinear", align_corners=False, antialias=True)
    expected = plain[0] * (11 / size) ** 2
    assert (resize_kernel(kernel, size, "bilinear") - expected).norm() < 0.1 * expected.norm()


def test_zero_padding_pads_or_crops():
    kernel = normal(5, 5)
    torch.testing.assert_close(resize_kernel(kernel, 9, "zero-pad"), F.pad(kernel, (2, 2, 2, 2)))
    torch.testing.assert_close(resize_kernel(kernel, 3, "zero-pad"), kernel[1:4, 1:4])


def test_what_cannot_be_resized_is_refused():
    with pytest.raises(PriorInputError, match="no kernel_interpolation 'cubic'; choose one of bilinear, fourier"):
        resize_kernel(torch.ones(3, 3), 5, "cubic")
    for kernel, size in ((torch.ones(4, 4), 5), (torch.ones(3, 5), 5), (torch.ones(3), 5), (torch.ones(3, 3), 4)):
        with pytest.raises(PriorInputError, match="must be square, of odd side"):
            resize_kernel(kernel, size, "fourier")


@pytest.mark.parametrize("n", [3, 13, 15, 21])
def test_both_ways_of_applying_kernels_agree_with_their_gradients(n):
    x, kernels, weight = normal(2, 3, 19, 26), normal(3, n, n, seed=2), normal(2, 3, 19, 26, seed=3)
    expected = F.conv2d(x.double(), kernels[:, None].double(), padding=n // 2, groups=3).float()
    torch.testing.assert_close(depthwise(x, kernels), expected, rtol=1e-4, atol=1e-4)
    leaves = [x.requires_grad_(), kernels.requires_grad_()]
    out = depthwise(*leaves)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
    found = torch.autograd.grad((out * weight).sum(), leaves)
    doubled = [leaf.detach().double().requires_grad_() for leaf in leaves]
    reference = F.conv2d(doubled[0], doubled[1][:, None], padding=n // 2, groups=3)
    wanted = torch.autograd.grad((reference * weight.double()).sum(), doubled)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b.float(), rtol=1e-4, atol=1e-3)


# --- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(33, 81), (109, 85), (32, 32), (16, 7), (1, 1)])
def test_output_has_the_shape_of_the_input_and_every_weight_matters(shape):
    network = wake(small(attention=True))
    x = normal(2, 2, *shape)
    out = network(x, torch.tensor([-3.0, 1.0]))
    assert out.shape == x.shape
    assert torch.isfinite(out).all()
    out.square().sum().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not idle


def test_a_fresh_network_predicts_zero():
    assert not small()(normal(1, 2, 20, 24), torch.zeros(1)).any()


def test_slices_of_a_batch_do_not_mix_and_each_has_its_own_level():
    network = wake(small())
    x, levels = normal(3, 2, 21, 30), torch.tensor([-2.0, 0.0, 2.0])
    together = network(x, levels)
    for i in range(3):
        torch.testing.assert_close(network(x[i : i + 1], levels[i : i + 1])[0], together[i], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(network(x, levels + 1), together, atol=1e-3)


def test_results_repeat_and_survive_a_state_dict():
    network, x, level = wake(small()), normal(1, 2, 40, 33), torch.zeros(1)
    expected = network(x, level)
    assert torch.equal(network(x, level), expected)
    other = small()
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(x, level), expected)


def test_training_after_inference_mode_works():
    network, x, level = wake(small()), normal(1, 2, 57, 41), torch.zeros(1)
    with torch.inference_mode():
        expected = network(x, level)
    out = network(x, level)
    torch.testing.assert_close(out, expected.clone())
    out.sum().backward()


def test_half_precision_arithmetic_agrees():
    network = wake(small(attention=True))
    x, level = normal(2, 2, 37, 48), torch.zeros(2)
    exact = network(x, level)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(x, level)
        rounded.float().square().sum().backward()
    assert (rounded.float() - exact).norm() < 0.03 * exact.norm()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


def test_kernels_grow_with_the_resolution_so_that_the_output_is_the_same_object():
    """At three times the resolution, every third pixel sits where one pixel of the coarse slice is."""
    network = wake(small())
    for block in (*network.before, *network.after):
        block.kernel.data = smooth_kernels(8, 11).float()
    error = {}
    with torch.no_grad():
        for rule in RULES:
            network.kernel_interpolation = rule
            coarse = network(smooth_slice(32), torch.zeros(1))
            fine = network(smooth_slice(96), torch.zeros(1), relative_size=3.0)[..., 1::3, 1::3]
            error[rule] = float((fine - coarse).norm() / coarse.norm())
    assert error["fourier"] < 0.05
    assert error["bilinear"] < 0.05
    assert error["zero-pad"] > 4 * max(error["fourier"], error["bilinear"])


def test_the_rule_can_be_changed_after_training_and_matters_only_at_other_voxel_sizes():
    network, level = wake(small()), torch.zeros(1)
    outputs = {}
    for rule in RULES:
        network.kernel_interpolation = rule
        assert network.kernel_interpolation == rule
        outputs[rule] = [network(normal(1, 2, 32, 32), level, relative_size=r) for r in (1.0, 2.0)]
    for rule in ("bilinear", "zero-pad"):
        torch.testing.assert_close(outputs[rule][0], outputs["fourier"][0], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(outputs[rule][1], outputs["fourier"][1], atol=1e-3)
    with pytest.raises(PriorInputError, match="no kernel_interpolation 'nearest'"):
        network.kernel_interpolation = "nearest"


def test_only_usable_relative_sizes_are_taken():
    with pytest.raises(PriorInputError, match="relative_size must be a positive number"):
        small()(normal(1, 2, 16, 16), torch.zeros(1), relative_size=0.0)


def test_a_cropped_slice_of_known_voxel_size_is_seen_with_the_same_kernels():
    network = wake(small())
    torch.nn.init.zeros_(network.inner.head[-1].weight)  # what the grid shows depends on the crop, as it must
    torch.nn.init.zeros_(network.inner.head[-1].bias)
    x, level = normal(1, 2, 96, 96), torch.zeros(1)
    whole = network(x, level, relative_size=1.8)
    reach = 2 * (kernel_size(11, 1.8) // 2)
    part = network(x[..., 8:88, 8:88], level, relative_size=1.8)[..., reach:-reach, reach:-reach]
    torch.testing.assert_close(part, whole[..., 8 + reach : 88 - reach, 8 + reach : 88 - reach], rtol=1e-3, atol=1e-4)


def test_the_border_sees_as_much_as_the_interior():
    """Without the correction, zeros beyond the border would make a constant slice darker there."""
    network = wake(small())
    torch.nn.init.zeros_(network.inner.head[-1].weight)
    for block in (*network.before, *network.after):
        block.kernel.data = torch.rand(8, 1, 1, generator=torch.Generator().manual_seed(0)).expand(8, 11, 11) / 121
    out = network(torch.ones(1, 2, 32, 32), torch.zeros(1))
    torch.testing.assert_close(out, out[..., 16:17, 16:17].expand_as(out), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel": 8}, "an odd kernel"),
        ({"depth": 0}, "a depth"),
        ({"grid": 15}, "grid = 15 must be a multiple of 2"),
        ({"kernel_interpolation": "cubic"}, "no kernel_interpolation 'cubic'"),
        ({"groups": 5}, "groups = 5 must divide"),
        ({"side": 5}, "are not usable"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings, message):
    small_settings = {"features": 8, "channels": [16, 32], "attention": False, "embedding": 16}
    with pytest.raises(PriorInputError, match=message):
        build({"type": "infinite-unet", **small_settings, **settings})


def test_the_network_is_made_from_settings():
    network = build({"type": "infinite-unet", "features": 8, "grid": 16, "channels": [16, 32], "groups": 0})
    assert isinstance(network, InfiniteUNet)
    assert network.size_multiple == 1
