"""The centred FFT against NumPy's definition, with every FFT library."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrrecon.errors import DataError, ShapeError
from mrrecon.operators import fft, fourier, ifft


def draw(rng, shape, dtype=np.complex64):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)


def definition(x, axes, inverse=False):
    transform = np.fft.ifftn if inverse else np.fft.fftn
    shifted = np.fft.ifftshift(x.astype(np.complex128), axes)
    return np.fft.fftshift(transform(shifted, axes=axes, norm="ortho"), axes)


def assert_close(got, expected, tol=2e-6):
    assert got.shape == expected.shape
    assert np.linalg.norm(got - expected) <= tol * max(np.linalg.norm(expected), 1e-30)


@pytest.fixture(params=["fftw", "scipy"])
def library(request, monkeypatch):
    if request.param == "fftw" and importlib.util.find_spec("pyfftw") is None:
        pytest.skip("needs pyfftw")
    monkeypatch.setattr(fourier, "fft_library", lambda: request.param)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("axes", [0, (1,), (2, 3), (-1, 1), (0, 1, 2, 3), None])
@pytest.mark.parametrize("shape", [(3, 8, 6, 10), (2, 5, 7, 9), (1, 1, 4, 3)])
def test_matches_numpy(library, rng, shape, axes, inverse):
    x = draw(rng, shape)
    got = (ifft if inverse else fft)(x, axes)
    assert got.dtype == np.complex64
    axes = tuple(range(4)) if axes is None else (axes,) if isinstance(axes, int) else axes
    assert_close(got, definition(x, axes, inverse))


@pytest.mark.parametrize("axes", [(1,), (1, 2, 3), (0, 3), (2, 3)])
def test_in_blocks(library, rng, monkeypatch, axes):
    """Blocks smaller than the array, with remainders, on one thread and several, give the same numbers."""
    monkeypatch.setattr(fourier, "BLOCK_BYTES", 2000)
    x = draw(rng, (3, 13, 14, 11))
    results = []
    for threads in (1, 4):
        monkeypatch.setattr(fourier, "num_threads", lambda n=threads: n)
        results.append(fft(x, axes))
        assert_close(results[-1], definition(x, axes))
    assert np.array_equal(*results)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_inverse_and_unitary(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
    axes = tuple(data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))
    x = draw(np.random.default_rng(data.draw(st.integers(0, 99))), shape, np.complex128)
    y = fft(x, axes)
    assert y.dtype == np.complex128
    assert_close(y, definition(x, axes), 1e-12)
    assert_close(ifft(y, axes), x, 1e-12)
    assert np.linalg.norm(y) == pytest.approx(np.linalg.norm(x))


def test_dtypes_and_out(rng):
    assert fft(np.ones((4, 4), np.float32)).dtype == np.complex64
    assert fft(np.ones((4, 4), int)).dtype == np.complex64
    assert fft(np.ones((4, 4))).dtype == np.complex128
    x = draw(rng, (3, 6, 5))
    expected = definition(x, (1, 2))
    assert_close(fft(x[:, ::-1][:, ::-1], (1, 2)), expected)
    x.flags.writeable = False
    out = np.empty_like(x)
    assert fft(x, (1, 2), out=out) is out
    assert_close(out, expected)
    assert fft(out, 0, out=out) is out
    assert_close(out, definition(x, (0, 1, 2)))


def test_errors(rng):
    x = draw(rng, (3, 4))
    for axes in [(2,), (0, 0), (0, -2), -3]:
        with pytest.raises(ShapeError, match=r"distinct and within -2 \.\. 1"):
            fft(x, axes)
    with pytest.raises(ShapeError, match="out must be numpy, complex64"):
        fft(x, out=np.empty((3, 4), np.complex128))
    with pytest.raises(DataError, match="dtype <U1"):
        fft(np.array(["a"]))


def test_torch_in_torch_out(rng):
    torch = pytest.importorskip("torch")
    x = draw(rng, (3, 4, 5))
    y = fft(torch.from_numpy(x).conj(), (1, 2))
    assert isinstance(y, torch.Tensor)
    assert_close(y.numpy(), definition(x.conj(), (1, 2)))


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(3, 8, 6, 10), (2, 5, 7, 9)])
def test_gpu_matches_cpu(rng, shape):
    import cupy

    x = draw(rng, shape)
    for axes in [(1,), (2, 3), (1, 2, 3), (0, 1)]:
        for transform in (fft, ifft):
            y = transform(cupy.asarray(x), axes)
            assert isinstance(y, cupy.ndarray)
            assert_close(y.get(), transform(x, axes))
    z = cupy.asarray(x)
    assert fft(z, 1, out=z) is z
    assert_close(z.get(), fft(x, 1))
