"""The fused vector updates of proximal gradient methods against NumPy written out."""

from __future__ import annotations

import numpy as np
import pytest

from mrrecon.errors import ShapeError
from mrrecon.operators.proximal import average, extrapolate, gradient_step

SHAPES = [(3, 4, 5), (41, 37, 29)]  # less and more than one chunk


def arrays(rng: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    return [(rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64) for _ in range(3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_step(rng, shape):
    point, normal, target = arrays(rng, shape)
    expected = point - 0.7 * (normal - target)
    gradient_step(point, normal, target, 0.7)
    np.testing.assert_allclose(point, expected, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_extrapolate(rng, shape):
    point, new, old = arrays(rng, shape)
    moved, size = extrapolate(point, new, old, 0.9)
    np.testing.assert_allclose(point, new + 0.9 * (new - old), atol=1e-5)
    np.testing.assert_allclose([moved, size], [np.linalg.norm(new - old), np.linalg.norm(new)], rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_average_is_the_mean_of_what_it_was_given(rng, shape):
    given = arrays(rng, shape)
    mean = np.zeros(shape, np.complex64)
    for n, new in enumerate(given, start=1):
        before = mean.copy()
        moved, size = average(mean, new, 1 / n)
        np.testing.assert_allclose(moved, np.linalg.norm(mean - before), rtol=1e-4)
        np.testing.assert_allclose(size, np.linalg.norm(mean), rtol=1e-4)
    np.testing.assert_allclose(mean, np.mean(given, axis=0), atol=1e-5)


def test_shapes_must_agree():
    a, b = np.zeros((2, 3), np.complex64), np.zeros((3, 2), np.complex64)
    for call in (lambda: gradient_step(a, b, a, 1.0), lambda: extrapolate(a, a, b, 1.0), lambda: average(a, b, 1.0)):
        with pytest.raises(ShapeError, match="one shape"):
            call()


@pytest.mark.gpu
def test_gpu_agrees_with_cpu(rng):
    import cupy

    host = arrays(rng, SHAPES[1])
    device = [cupy.asarray(a) for a in host]
    for on in (host, device):
        gradient_step(*on, 0.7)
    np.testing.assert_allclose(device[0].get(), host[0], atol=1e-5)
    np.testing.assert_allclose(extrapolate(*device, 0.9), extrapolate(*host, 0.9), rtol=1e-4)
    np.testing.assert_allclose(average(*device[:2], 0.3), average(*host[:2], 0.3), rtol=1e-4)
    np.testing.assert_allclose(device[0].get(), host[0], atol=1e-5)
