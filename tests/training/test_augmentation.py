"""Augmentation of batches: the phase is smooth, the signal stays near its scale, the generator decides everything."""

from __future__ import annotations

import pytest
import torch

from mrrecon.errors import DataError
from mrrecon.training import Augmentation
from mrrecon.training.augmentation import augment, smooth_phase

PLAIN = Augmentation(
    intensity=(1.0, 1.0), shading=0, contrast=0, phase=0, local_phase=0, noise=0, blur=0, rotation=0, scale=0
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(n=16, side=64):
    """Magnitude discs at unit signal."""
    r = (torch.arange(side) - (side - 1) / 2) / (0.4 * side)
    disc = ((r[:, None] ** 2 + r**2) < 1) * (1 + 0.2 * torch.cos(6 * r))
    return disc.expand(n, side, side).to(torch.complex64)


def none(n=16):
    return torch.zeros(n, dtype=torch.bool)


def test_a_batch_is_a_function_of_its_generator():
    first = augment(batch(), none(), 2.0, Augmentation(), generator(1))
    again = augment(batch(), none(), 2.0, Augmentation(), generator(1))
    other = augment(batch(), none(), 2.0, Augmentation(), generator(2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.dtype == torch.complex64 and torch.isfinite(torch.view_as_real(first)).all()


def test_without_variety_only_a_constant_phase_is_left():
    out = augment(batch(), none(), 2.0, PLAIN, generator())
    torch.testing.assert_close(out.abs(), batch().abs(), atol=1e-5, rtol=0)
    inside = batch()[0].abs() > 0.5
    turned = [float(torch.angle(slice_[inside]).std()) for slice_ in out]
    assert max(turned) < 1e-3 or sum(t < 1e-3 for t in turned) >= 14  # one may straddle the cut at pi
    assert torch.angle(out[:, 32, 32]).std() > 1  # another constant for every slice


def test_the_phase_is_smooth_in_millimetres_not_in_pixels():
    fine = smooth_phase((64, 112, 112), 2.0, Augmentation(), generator(3))
    coarse = smooth_phase((64, 28, 28), 8.0, Augmentation(), generator(3))
    assert fine.diff(dim=1).abs().max() < 0.6 and fine.diff(dim=2).abs().max() < 0.6  # radians per 2 mm
    spread = (fine.amax(dim=(1, 2)) - fine.amin(dim=(1, 2))).sort().values
    assert spread[2] < 1.0 and 1.5 < spread[32] < 10 and spread[-1] > 4  # from hardly any to several radians
    pooled = torch.nn.functional.avg_pool2d(fine[None], 4)[0]
    assert (pooled - coarse).abs().max() < 0.35  # the same field in coarser pixels


def test_neighbouring_pixels_of_tissue_have_nearly_one_phase():
    settings = Augmentation(noise=0)
    out = augment(batch(32, 112), none(32), 2.0, settings, generator(4))
    inside = (batch(1, 112)[0].abs() > 0.5)[:, 1:] & (batch(1, 112)[0].abs() > 0.5)[:, :-1]
    step = torch.angle(out[:, :, 1:] * out[:, :, :-1].conj())[:, inside].abs()
    assert step.quantile(0.99) < 0.3 and step.mean() > 0.005


def test_complex_slices_keep_their_own_phase():
    own = torch.polar(batch(4).abs(), torch.linspace(-2, 2, 64).expand(4, 64, 64))
    out = augment(own, torch.ones(4, dtype=torch.bool), 2.0, Augmentation(noise=0, blur=0), generator(5))
    inside = own[0].abs() > 0.5
    constant = (out * own.conj())[:, inside]
    constant = constant / constant.abs()
    assert (constant - constant[:, :1]).abs().max() < 1e-3


def test_the_signal_stays_near_its_scale():
    out = augment(batch(64), none(64), 2.0, Augmentation(), generator(6))
    level = out.abs()[:, batch(1)[0].abs() > 0.5].median(dim=1).values
    assert level.min() > 0.3 and level.max() < 3 and 0.8 < level.median() < 1.25


def test_noise_is_mild_and_rare():
    out = augment(batch(200), none(200), 2.0, Augmentation(blur=0), generator(7))
    air = out[:, :8, :8].reshape(200, -1)
    noisy = air.abs().mean(dim=1) > 0
    assert 4 <= int(noisy.sum()) <= 45
    assert torch.view_as_real(air).std(dim=(1, 2)).max() < 0.018


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noize": 1.0}, "no augmentation setting 'noize'"),
        ({"noise": 1.5}, "noise is a probability"),
        ({"intensity": [2.0, 1.0]}, "intensity must be two rising"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(DataError, match=message):
        Augmentation.from_settings(settings)


def test_settings_come_as_a_file_has_them():
    assert Augmentation.from_settings({"intensity": [0.5, 2.0]}) == Augmentation(intensity=(0.5, 2.0))
