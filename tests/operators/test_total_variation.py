"""Finite differences and the dual step of total variation against NumPy written out."""

from __future__ import annotations

import numpy as np
import pytest

from mrrecon.errors import ShapeError
from mrrecon.operators.total_variation import (
    GRADIENT_NORM_SQUARED,
    dual_step,
    gradient,
    gradient_adjoint,
    tv_norm,
)

SHAPES = [(8, 9, 10), (1, 12, 5), (7, 1, 3), (6, 5, 1), (1, 1, 1), (40, 36, 33)]


def complex_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def numpy_gradient(volume: np.ndarray) -> np.ndarray:
    field = np.zeros((3, *volume.shape), np.complex64)
    field[0, :-1] = volume[1:] - volume[:-1]
    field[1, :, :-1] = volume[:, 1:] - volume[:, :-1]
    field[2, :, :, :-1] = volume[:, :, 1:] - volume[:, :, :-1]
    return field


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_is_forward_differences(rng, shape):
    volume = complex_normal(rng, shape)
    np.testing.assert_allclose(gradient(volume), numpy_gradient(volume), atol=1e-6)
    out = np.full((3, *shape), np.nan, np.complex64)
    assert gradient(volume, out=out) is out
    np.testing.assert_allclose(out, numpy_gradient(volume), atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_adjoint(rng, shape):
    volume, field = complex_normal(rng, shape), complex_normal(rng, (3, *shape))
    left, right = np.vdot(gradient(volume), field), np.vdot(volume, gradient_adjoint(field))
    np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-4)


def test_bound_of_the_norm_is_tight():
    n = 24
    checkerboard = (-1.0) ** np.indices((n, n, n)).sum(axis=0)
    ratio = np.linalg.norm(gradient(checkerboard)) ** 2 / np.linalg.norm(checkerboard) ** 2
    assert 0.9 * GRADIENT_NORM_SQUARED < ratio <= GRADIENT_NORM_SQUARED


@pytest.mark.parametrize("shape", SHAPES)
def test_dual_step_is_ascent_and_projection(rng, shape):
    volume, dual = complex_normal(rng, shape), complex_normal(rng, (3, *shape))
    moved = dual + 0.3 * numpy_gradient(volume)
    length = np.sqrt((np.abs(moved) ** 2).sum(axis=0))
    expected = moved * np.minimum(1, 0.7 / length)
    assert dual_step(dual, volume, 0.3, 0.7) is dual
    np.testing.assert_allclose(dual, expected, atol=1e-5)


def test_total_variation_of_a_box_is_its_surface():
    box = np.zeros((12, 14, 16), np.complex64)
    box[3:7, 4:9, 5:11] = 2j
    surface = 2 * (4 * 5 + 5 * 6 + 4 * 6)
    # where two or three faces meet in one voxel, isotropic variation takes the diagonal
    assert 0.8 * 2 * surface < tv_norm(box) <= 2 * surface
    assert tv_norm(np.full((5, 5, 5), 3.0)) == 0


def test_torch_in_torch_out(rng):
    torch = pytest.importorskip("torch")
    volume = complex_normal(rng, (5, 6, 7))
    field = gradient(torch.from_numpy(volume))
    assert isinstance(field, torch.Tensor)
    np.testing.assert_array_equal(gradient_adjoint(field).numpy(), gradient_adjoint(gradient(volume)))


def test_wrong_shapes_are_named():
    with pytest.raises(ShapeError, match=r"volume has shape \(4, 4\)"):
        gradient(np.zeros((4, 4)))
    with pytest.raises(ShapeError, match=r"field has shape \(2, 4, 4, 4\)"):
        gradient_adjoint(np.zeros((2, 4, 4, 4)))
    with pytest.raises(ShapeError, match="dual has shape"):
        dual_step(np.zeros((3, 4, 4, 5), np.complex64), np.zeros((4, 4, 4)), 0.1, 1.0)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", SHAPES)
def test_gpu_agrees_with_cpu(rng, shape):
    import cupy

    volume, dual = complex_normal(rng, shape), complex_normal(rng, (3, *shape))
    on_gpu = cupy.asarray(volume)
    np.testing.assert_allclose(gradient(on_gpu).get(), gradient(volume), atol=1e-5)
    np.testing.assert_allclose(gradient_adjoint(cupy.asarray(dual)).get(), gradient_adjoint(dual), atol=1e-5)
    moved = dual_step(cupy.asarray(dual), on_gpu, 0.3, 0.7).get()
    np.testing.assert_allclose(moved, dual_step(dual.copy(), volume, 0.3, 0.7), atol=1e-5)


def test_linop_is_the_gradient(rng):
    from mrrecon.operators.linops import FiniteDifference

    linop = FiniteDifference((6, 5, 4))
    volume = complex_normal(rng, (6, 5, 4))
    np.testing.assert_array_equal(linop(volume), gradient(volume))
    np.testing.assert_array_equal(linop.N(volume), gradient_adjoint(gradient(volume)))
