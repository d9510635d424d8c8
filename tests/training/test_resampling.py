"""Resampling of slices: intensities, positions and field of view stay; nothing aliases."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mrrecon.training.resampling import cut_off, fit_canvas, resample, rotate

KERNELS = ("linear", "cubic", "k-space")


def blob(shape, centre=(0.1, -0.15), width=0.12):
    """A Gaussian at `centre`, in units of the field of view from its middle."""
    y, x = (((torch.arange(n) + 0.5) / n - 0.5) for n in shape)
    return torch.exp(-((y - centre[0]) ** 2)[:, None] / (2 * width**2) - (x - centre[1]) ** 2 / (2 * width**2))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("factors", [(0.5, 0.5), (0.25, 0.4), (0.93, 1.08), (1.1, 0.61), (0.1, 0.1)])
@pytest.mark.parametrize("shape", [(120, 150), (121, 149)])
def test_the_same_scene_in_other_pixels(kernel, factors, shape):
    small = resample(blob(shape), factors, kernel)
    assert list(small.shape) == [int(n * f + 0.5) for n, f in zip(shape, factors, strict=True)]
    assert (small - blob(small.shape)).abs().max() < (0.08 if kernel == "linear" or min(factors) < 0.2 else 0.005)


@pytest.mark.parametrize("kernel", KERNELS)
def test_complex_slices_are_resampled_part_by_part(kernel):
    image = torch.complex(blob((60, 70)), blob((60, 70), (-0.2, 0.2)))
    small = resample(image, (0.5, 0.7), kernel)
    torch.testing.assert_close(small.real, resample(image.real, (0.5, 0.7), kernel), atol=1e-5, rtol=0)
    torch.testing.assert_close(small.imag, resample(image.imag, (0.5, 0.7), kernel), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kernel", KERNELS)
def test_fine_stripes_vanish_instead_of_aliasing(kernel):
    stripes = 1 + torch.cos(2 * torch.pi * torch.arange(96) * 0.4).expand(96, 96)  # period 2.5 pixels
    small = resample(stripes, (0.4, 0.4), kernel)
    middle = small[8:-8, 8:-8]
    assert (middle - 1).abs().max() < 0.1


def test_kspace_keeps_edges_sharper_than_interpolation():
    step = torch.zeros(80, 80)
    step[:, 21:59] = 1
    seen = {kernel: resample(step, (0.45, 0.45), kernel) for kernel in KERNELS}
    rise = {kernel: float(image.diff(dim=1).abs().max()) for kernel, image in seen.items()}
    assert rise["k-space"] > 1.1 * rise["linear"]
    assert seen["linear"].max() < 1.001 < 1.03 < seen["k-space"].max()  # Gibbs ringing, as in a scan


def test_nothing_is_done_where_the_size_stays():
    image = blob((40, 40))
    assert resample(image, (1.01, 0.99), "k-space") is image


@pytest.mark.parametrize("edges", [(1.0, 1.0), (1.0, 2.0)])
def test_a_turned_scene_is_where_it_should_be(edges):
    shape = (96, int(96 * edges[0] / edges[1]))  # 96 mm square
    angle = np.radians(10.0)
    y, x = 0.2, 0.05
    turned = rotate(blob(shape, (y, x), 0.08), edges, 10.0)
    expected = (y * np.cos(angle) - x * np.sin(angle), x * np.cos(angle) + y * np.sin(angle))
    opposite = (y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle))
    errors = [float((turned - blob(shape, centre, 0.08)).abs().max()) for centre in (expected, opposite)]
    assert min(errors) < 0.03 < max(errors)


@pytest.mark.parametrize("shape", [(40, 40), (16, 16), (64, 24), (31, 48)])
def test_canvas_crops_and_pads_around_the_middle(shape):
    image = blob((32, 48), (0, 0), 0.05)
    for seed in range(20):
        canvas = fit_canvas(image, shape, np.random.default_rng(seed))
        assert canvas.shape == shape
        if shape[0] >= 32 and shape[1] >= 48:
            assert canvas.sum() == pytest.approx(float(image.sum()), rel=1e-5)


def test_an_object_cut_off_at_the_border_stays_at_the_border():
    image = torch.zeros(20, 20)
    image[8:, 5:15] = 1
    for seed in range(10):
        canvas = fit_canvas(image, (32, 32), np.random.default_rng(seed))
        assert canvas[-1].sum() == 10 and canvas[0].sum() == 0


def test_objects_that_reach_the_border_are_noticed():
    image = torch.zeros(20, 20)
    image[8:, 5:15] = 1
    assert cut_off(image, 0) == (False, True) and cut_off(image, 1) == (False, False)
