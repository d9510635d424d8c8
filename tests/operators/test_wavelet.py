"""Wavelet transform against PyWavelets, its own plain reference, and the properties that define it."""

from __future__ import annotations

import numpy as np
import pytest
import pywt

from mrrecon.errors import ShapeError
from mrrecon.operators.wavelet import WaveletTransform, daubechies

SHAPES = [(16, 24, 32), (17, 23, 31), (33, 1, 19), (9, 40, 6), (3, 2, 2), (64, 48, 40)]


def complex_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


@pytest.mark.parametrize(("name", "moments"), [("haar", 1), ("db4", 4), ("db10", 10)])
def test_filters_are_orthonormal_with_vanishing_moments(name, moments):
    low, high = daubechies(name)
    for a, b, norm in ((low, low, 1), (high, high, 1), (low, high, 0)):
        products = np.correlate(a, b, "full")[a.size - 1 :: 2]
        np.testing.assert_allclose(products, [norm] + [0] * (products.size - 1), atol=1e-12)
    assert low.size == 2 * moments and low.sum() == pytest.approx(np.sqrt(2))
    for power in range(moments):
        assert abs(high @ np.linspace(-1, 1, high.size) ** power) < 1e-11


@pytest.mark.parametrize("name", ["db0", "db11", "sym4", ""])
def test_unknown_wavelet_is_named(name):
    with pytest.raises(ValueError, match="wavelet must be"):
        daubechies(name)


@pytest.mark.parametrize("name", ["haar", "db2", "db4"])
def test_coefficients_are_those_of_pywavelets(rng, name):
    volume = complex_normal(rng, (32, 48, 64))
    coefficients = WaveletTransform(volume.shape, name, levels=2).forward(volume)
    expected = pywt.coeffs_to_array(pywt.wavedecn(volume, name, "periodization", level=2))[0]
    np.testing.assert_allclose(coefficients, expected, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["haar", "db2", "db3"])
def test_orthonormal_for_every_size(rng, shape, name):
    transform = WaveletTransform(shape, name, levels=3)
    shift = (1, 5, 2)
    x, y = complex_normal(rng, shape), complex_normal(rng, shape)
    forward = transform.forward(x, shift)
    np.testing.assert_allclose(np.vdot(forward, y), np.vdot(x, transform.inverse(y, shift)), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(forward), np.linalg.norm(x), rtol=1e-5)
    np.testing.assert_allclose(transform.inverse(forward, shift), x, atol=1e-5)
    np.testing.assert_allclose(transform.forward(transform.inverse(y)), y, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["haar", "db2", "db4"])
def test_kernels_agree_with_the_plain_reference(rng, shape, name):
    transform = WaveletTransform(shape, name, levels=3)
    volume, plain = complex_normal(rng, shape), np.empty(shape, np.complex64)
    coefficients = transform.forward(volume, (2, 1, 3))
    transform._plain_analysis(volume, plain, tuple(s % n for s, n in zip((2, 1, 3), shape, strict=True)))
    np.testing.assert_allclose(coefficients, plain, atol=1e-5)
    back, plain_back = transform.inverse(coefficients), np.empty(shape, np.complex64)
    transform._plain_synthesis(plain, plain_back, (0, 0, 0))
    np.testing.assert_allclose(back, plain_back, atol=1e-5)


def test_shift_is_a_rotation_of_the_volume(rng):
    transform = WaveletTransform((20, 21, 16), levels=2)
    volume = complex_normal(rng, transform.shape)
    shifted = transform.forward(np.roll(volume, (-3, -4, -5), (0, 1, 2)))
    np.testing.assert_allclose(transform.forward(volume, (3, 4, 5)), shifted, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_shrink_touches_detail_bands_only_and_by_the_threshold(rng, shape):
    transform = WaveletTransform(shape, "haar", levels=2)
    coefficients = complex_normal(rng, shape)
    thresholds = np.linspace(0.4, 1.2, transform.levels)
    level = transform.level_map()
    t = np.concatenate([[0.0], thresholds])[level]
    expected = coefficients * np.maximum(0, 1 - t / np.abs(coefficients))
    np.testing.assert_allclose(transform.shrink(coefficients.copy(), thresholds), expected, atol=1e-6)
    # the same rule through the path of other array kinds and layouts
    strided = np.asfortranarray(coefficients)
    np.testing.assert_allclose(transform.shrink(strided, thresholds), expected, atol=1e-6)


def test_level_map_counts_the_bands_of_an_even_volume():
    level = WaveletTransform((16, 32, 8), "haar", levels=2).level_map()
    assert [int((level == n).sum()) for n in (0, 1, 2)] == [4 * 8 * 2, 4096 - 512, 512 - 64]
    assert not level[:4, :8, :2].any()


def test_constant_volume_has_no_detail_in_even_sizes():
    transform = WaveletTransform((16, 32, 8), "db2", levels=3)
    coefficients = transform.forward(np.ones(transform.shape, np.complex64))
    assert np.abs(coefficients[transform.level_map() > 0]).max() < 1e-5


def test_read_only_and_strided_input(rng):
    transform = WaveletTransform((12, 14, 16))
    volume = complex_normal(rng, transform.shape)
    expected = transform.forward(volume)
    frozen = volume.view()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(transform.forward(frozen), expected)
    np.testing.assert_array_equal(transform.forward(np.asfortranarray(volume)), expected)


def test_torch_in_torch_out(rng):
    torch = pytest.importorskip("torch")
    transform = WaveletTransform((12, 14, 16))
    volume = complex_normal(rng, transform.shape)
    result = transform.forward(torch.from_numpy(volume))
    assert isinstance(result, torch.Tensor)
    np.testing.assert_array_equal(result.numpy(), transform.forward(volume))


def test_wrong_shapes_are_named():
    with pytest.raises(ShapeError, match=r"\(4, 4, 5\).*\(4, 4, 4\)"):
        WaveletTransform((4, 4, 4)).forward(np.zeros((4, 4, 5), np.complex64))
    with pytest.raises(ShapeError, match="three positive sizes"):
        WaveletTransform((4, 4))
    with pytest.raises(ValueError, match="levels"):
        WaveletTransform((4, 4, 4), levels=0)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", SHAPES)
def test_gpu_agrees_with_cpu(rng, shape):
    import cupy

    transform = WaveletTransform(shape, "db2", levels=3)
    volume = complex_normal(rng, shape)
    expected = transform.forward(volume, (1, 2, 3))
    on_gpu = transform.forward(cupy.asarray(volume), (1, 2, 3))
    np.testing.assert_allclose(on_gpu.get(), expected, atol=1e-5)
    shrunk = transform.shrink(on_gpu.copy(), 0.3)
    np.testing.assert_allclose(shrunk.get(), transform.shrink(expected.copy(), 0.3), atol=1e-5)
    np.testing.assert_allclose(transform.inverse(on_gpu, (1, 2, 3)).get(), volume, atol=1e-5)


def test_linop_composes_and_is_unitary(rng):
    from mrrecon.operators.linops import Wavelet

    linop = Wavelet((11, 12, 14), "db2", levels=2)
    volume = complex_normal(rng, (11, 12, 14))
    np.testing.assert_allclose((linop.H * linop)(volume), volume, atol=1e-5)
    np.testing.assert_array_equal(linop(volume), linop.transform.forward(volume))
