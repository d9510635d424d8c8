"""The encoding engine against plain NumPy FFTs of the whole volume."""

from __future__ import annotations

import numpy as np
import pytest
from mrrecon.operators.encoding import CartesianEncoding


def complex_normal(rng, shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def dense_forward(maps, mask, image, readout_domain):
    """``mask F sum_s S_s x_s`` from the definition, in double precision."""
    axes = (1, 2, 3) if readout_domain == "kspace" else (2, 3)
    maps = maps.reshape(-1, *maps.shape[-4:]).astype(np.complex128)
    coil_images = (maps * image.reshape(-1, 1, *maps.shape[2:])).sum(axis=0)
    shifted = np.fft.ifftshift(coil_images, axes)
    return np.fft.fftshift(np.fft.fftn(shifted, axes=axes, norm="ortho"), axes) * mask


def dense_adjoint(maps, mask, kspace, readout_domain):
    axes = (1, 2, 3) if readout_domain == "kspace" else (2, 3)
    shifted = np.fft.ifftshift(kspace.astype(np.complex128) * mask, axes)
    coil_images = np.fft.fftshift(np.fft.ifftn(shifted, axes=axes, norm="ortho"), axes)
    image = (maps.reshape(-1, *maps.shape[-4:]).conj() * coil_images).sum(axis=1)
    return image if maps.ndim == 5 else image[0]


def problem(rng, shape=(6, 8, 10), coils=3, sets=None, mask_axes=2):
    maps = complex_normal(rng, (coils, *shape) if sets is None else (sets, coils, *shape))
    mask = rng.random(shape[-mask_axes:]) < 0.6
    image = complex_normal(rng, shape if sets is None else (sets, *shape))
    return maps, mask, image, complex_normal(rng, (coils, *shape))


def assert_close(a, b, tol=3e-6):
    assert a.shape == b.shape
    assert np.linalg.norm(a - b) <= tol * np.linalg.norm(b)


@pytest.mark.parametrize("readout_domain", ["image", "kspace"])
@pytest.mark.parametrize("mask_axes", [2, 3])
@pytest.mark.parametrize("sets", [None, 1, 2])
@pytest.mark.parametrize("shape", [(6, 8, 10), (5, 7, 9), (1, 12, 5)])
def test_matches_the_definition(rng, shape, sets, mask_axes, readout_domain):
    maps, mask, image, kspace = problem(rng, shape, sets=sets, mask_axes=mask_axes)
    encoding = CartesianEncoding(maps, mask, readout_domain)
    expected = dense_forward(maps, mask, image, readout_domain)
    assert_close(encoding.forward(image), expected)
    assert not encoding.forward(image)[:, np.broadcast_to(~mask, shape)].any()
    assert_close(encoding.adjoint(kspace), dense_adjoint(maps, mask, kspace, readout_domain))
    normal = dense_adjoint(maps, mask, expected, readout_domain)
    assert_close(encoding.normal(image), normal)
    result, energy = encoding.normal_energy(image, out=np.empty_like(image))
    assert_close(result, normal)
    assert energy == pytest.approx(np.linalg.norm(expected) ** 2, rel=1e-5)
