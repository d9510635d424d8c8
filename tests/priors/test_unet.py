from __future__ import annotations

import math

import pytest
import torch

from mrrecon.errors import PriorInputError
from mrrecon.priors.networks import build
from mrrecon.priors.networks.demodulation import demodulation
from mrrecon.priors.networks.unet import UNet
from mrrecon.priors.schedule import complex_noise


def small(**changes):
    return UNet(**{"channels": (16, 32), "blocks": 1, "embedding": 16, "groups": 8, **changes})


def wake(network):
    """Fresh networks give zero; make every layer count."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return network


@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize("groups", [0, 8])
@pytest.mark.parametrize("attention", [True, False])
def test_output_has_the_shape_of_the_input_and_every_weight_matters(patch, groups, attention):
    network = wake(small(patch=patch, groups=groups, attention=attention))
    side = 3 * network.size_multiple
    x = torch.randn(2, 2, side, 2 * side)
    out = network(x, torch.tensor([-3.0, 1.0]))
    assert out.shape == x.shape
    out.square().sum().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not idle


def test_a_fresh_network_predicts_zero():
    assert not small()(torch.randn(1, 2, 8, 8), torch.zeros(1)).any()


def test_slices_of_a_batch_do_not_mix_and_each_has_its_own_level():
    network = wake(small())
    x, levels = torch.randn(3, 2, 8, 8), torch.tensor([-2.0, 0.0, 2.0])
    together = network(x, levels)
    for i in range(3):
        torch.testing.assert_close(network(x[i : i + 1], levels[i : i + 1])[0], together[i], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(network(x, levels + 1), together, atol=1e-3)


def test_every_position_sees_every_other():
    network = wake(small(channels=(16, 32, 32)))
    x = torch.zeros(1, 2, 32, 32, requires_grad=True)
    network(x, torch.zeros(1))[0, 0, 0, 0].backward()
    assert x.grad[0, :, -1, -1].abs().sum() > 0


def test_half_precision_arithmetic_agrees():
    network = wake(small(patch=2, groups=0))
    x, level = torch.randn(2, 2, 16, 16), torch.zeros(2)
    exact = network(x, level)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(x, level).float()
    assert (rough - exact).norm() < 0.03 * exact.norm()


def test_in_the_frame_of_its_phase_a_smooth_image_is_real():
    y, z = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (48, 64)), indexing="ij")
    magnitude = 1.0 * (y**2 + z**2 < 0.7)
    clean = magnitude * torch.exp(1j * (2 + 1.5 * y - 2 * z * y))
    generator = torch.Generator().manual_seed(0)
    for level, most in ((0.02, 0.003), (0.3, 0.02)):
        noisy = clean + level * complex_noise(clean.shape, generator)
        factor = demodulation(torch.view_as_real(noisy).permute(2, 0, 1)[None], torch.tensor([math.log(level)]))
        turned = clean * factor[0]
        torch.testing.assert_close(factor.abs(), torch.ones_like(factor.abs()))
        assert turned.imag.square().sum() < most * turned.real.square().sum()


def test_a_demodulating_network_does_not_care_about_the_phase():
    network = wake(small(demodulate=True))
    x, levels = complex_noise((2, 16, 16), torch.Generator().manual_seed(1)), torch.tensor([-1.0, 0.5])

    def call(slices):
        out = network(torch.view_as_real(slices).permute(0, 3, 1, 2), levels)
        return torch.view_as_complex(out.permute(0, 2, 3, 1).contiguous())

    turn = torch.exp(torch.tensor(1.1j))
    torch.testing.assert_close(call(x * turn), call(x) * turn, rtol=1e-3, atol=1e-4)
    network.demodulate = False
    assert not torch.allclose(call(x * turn), call(x) * turn, atol=1e-2)


@pytest.mark.parametrize(
    "settings, word",
    [
        ({"channels": []}, "level"),
        ({"channels": [10, 20]}, "groups"),
        ({"channels": [16, 48], "groups": 16}, "32"),
        ({"embedding": 5}, "embedding"),
        ({"patch": 0}, "patch"),
        ({"colour": 3}, "colour"),
    ],
)
def test_wrong_settings_are_named(settings, word):
    with pytest.raises(PriorInputError, match=word):
        build({"type": "unet", **settings})


def test_unknown_types_are_named():
    with pytest.raises(PriorInputError, match="transformer"):
        build({"type": "transformer"})
