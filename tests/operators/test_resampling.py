"""Interpolation against torch, adjoints, and the crop of k-space."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from mrrecon.errors import ShapeError
from mrrecon.operators import Interpolation, Resampling, check_adjoint, fft, ifft, kspace_crop

PAIRS = [((12, 17, 20), (6, 17, 8)), ((7, 6, 9), (14, 13, 30)), ((16, 11, 10), (5, 22, 7)), ((9, 8, 1), (1, 3, 4))]


def draw(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_adjoint(rng, old, new):
    assert check_adjoint(Resampling(old, new)) < 1e-6
    assert check_adjoint(Interpolation(old, new)) < 1e-6
    sets = draw(rng, 2, *old)
    assert np.array_equal(Resampling(old, new).forward(sets)[1], Resampling(old, new).forward(sets[1]))


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_equals_the_interpolation_of_torch(rng, old, new):
    torch = pytest.importorskip("torch")
    image = rng.standard_normal(old).astype(np.float32)
    expected = torch.from_numpy(image)
    for axis, n in enumerate(new):  # torch has antialiasing in two dimensions only
        lines = expected.moveaxis(axis, -1)
        size = (lines.shape[1], n)
        scaled = torch.nn.functional.interpolate(lines[None], size, mode="bilinear", antialias=True)[0]
        expected = scaled.moveaxis(-1, axis)
    found = Resampling(old, new).forward(torch.from_numpy(image))
    assert isinstance(found, torch.Tensor) and found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_allclose(Resampling(old, new).forward(1j * image), 1j * expected.numpy(), atol=2e-6)


def test_plan_is_a_value(rng):
    plan = Resampling([4, 5, 6], np.array([8, 5, 3]))
    again = pickle.loads(pickle.dumps(plan))
    assert again == plan and hash(again) == hash(plan)
    assert (plan.ishape, plan.oshape) == ((4, 5, 6), (8, 5, 3))


def test_kspace_crop_has_the_central_samples(rng):
    image = draw(rng, 2, 12, 9, 8)
    small = kspace_crop(image, (6, 9, 5))
    samples = fft(image, (1, 2, 3))[:, 3:9, :, 2:7] * np.float32(np.sqrt(6 * 5 / 12 / 8))
    np.testing.assert_allclose(small, ifft(samples, (1, 2, 3)), atol=1e-5)
    np.testing.assert_allclose(kspace_crop(kspace_crop(small, (12, 11, 8)), (6, 9, 5)), small, atol=1e-5)
    assert kspace_crop(image[0].real, (6, 9, 5)).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Resampling((4, 4), (2, 2)), "old_shape must be three sizes"),
        (lambda: Resampling((4, 4, 4), (2, 0, 2)), "new_shape must be three sizes"),
        (lambda: Resampling((4, 4, 4), (2, 2, 2)).forward(np.ones((4, 4, 5))), r"expected .*\(4, 4, 4\)"),
        (lambda: Resampling((4, 4, 4), (2, 2, 2)).adjoint(np.ones((4, 4, 4))), r"expected .*\(2, 2, 2\)"),
        (lambda: kspace_crop(np.ones((4, 4)), (2, 2, 2)), r"\(\.\.\., x, y, z\)"),
    ],
)
def test_misfits_are_named(call, message):
    with pytest.raises(ShapeError, match=message):
        call()
