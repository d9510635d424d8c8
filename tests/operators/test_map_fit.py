"""Coil maps fitted to all samples, given an image."""

import numpy as np
import pytest
from solver_scans import centred_fft, coil_maps, head_like, random_mask

from mrrecon.errors import DataError, ShapeError
from mrrecon.operators import fit_maps, map_fit
from mrrecon.operators.map_fit import SmoothFields

SHAPE = (20, 32, 28)
COILS = 4
TINY = np.float32(2.0**-30)  # of units, a power of two: no rounding


def problem(fraction=0.3, block=8, noise=0.01, seed=0):
    rng = np.random.default_rng(seed)
    image, maps = head_like(SHAPE), coil_maps(SHAPE, COILS)
    mask = random_mask(SHAPE[1:], fraction, block, rng)
    sample = rng.standard_normal((COILS, *SHAPE)) + 1j * rng.standard_normal((COILS, *SHAPE))
    kspace = (centred_fft(maps * image, (1, 2, 3)) + noise / np.sqrt(2) * sample) * mask
    return image, maps, mask, kspace.astype(np.complex64), [noise] * COILS


def dense(fields):
    unit = np.eye(int(np.prod(fields.ishape)), dtype=np.complex64).reshape(-1, *fields.ishape)
    return np.stack([fields.forward(one).ravel() for one in unit], axis=1)


def error(maps, true, where):
    """Root mean square distance of unit maps, up to a phase that all coils share."""
    overlap = np.abs((maps.conj() * true).sum(axis=0))
    return float(np.sqrt(np.maximum(2 - 2 * overlap, 0)[where].mean()))


def test_smooth_fields_are_waves_of_the_stated_spectrum_and_have_their_spread_everywhere():
    shape = (6, 7, 5)
    fields = SmoothFields(shape, spread=0.3)
    x, y, z = (np.arange(n) - n // 2 for n in shape)
    a, b, c = ((np.arange(k) - k // 2) / 1.5 for k in fields.ishape)
    waves = [np.exp(2j * np.pi * np.outer(r, f) / len(r)) for r, f in ((x, a), (y, b), (z, c))]
    squared = a[:, None, None] ** 2 + b[:, None] ** 2 + c**2
    weight = (1 + squared / 2.2**2) ** -2.0
    expected = np.einsum("xa,yb,zc,abc->xyzabc", *waves, 0.3 * weight / np.linalg.norm(weight))
    matrix = dense(fields)
    np.testing.assert_allclose(matrix, expected.reshape(matrix.shape), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 0.3, rtol=1e-5)
    field = np.random.default_rng(0).standard_normal(shape).astype(np.complex64)
    np.testing.assert_allclose(fields.adjoint(field).ravel(), matrix.conj().T @ field.ravel(), atol=1e-5)
    largest = np.linalg.norm(matrix, 2) ** 2
    assert largest <= fields.lipschitz() <= 2 * largest


def test_frequencies_end_at_five_cycles_and_an_axis_of_one_voxel_has_one():
    assert SmoothFields((40, 1, 3)).ishape == (15, 1, 3)


@pytest.mark.parametrize("domain", ["kspace", "image"])
def test_the_fit_is_the_least_squares_solution(domain, monkeypatch):
    monkeypatch.setattr(map_fit, "TOLERANCE", 1e-5)
    rng = np.random.default_rng(1)
    shape, coils, noise = (5, 8, 6), 3, np.array([0.3, 0.5, 0.8])
    x, start, kspace = (
        (rng.standard_normal(s) + 1j * rng.standard_normal(s)).astype(np.complex64)
        for s in (shape, (coils, *shape), (coils, *shape))
    )
    start[:, 0, 0] = 0
    mask = rng.random(shape[1:]) < 0.7
    length = np.linalg.norm(start, axis=0)
    waves = dense(SmoothFields(shape, coils**-0.5)).reshape(*shape, -1).transpose(3, 0, 1, 2)
    axes = (1, 2, 3) if domain == "kspace" else (2, 3)
    a = (centred_fft(waves * length * x, axes) * mask).reshape(len(waves), -1).T
    expected = np.empty_like(start)
    for c in range(coils):
        d = np.linalg.solve(a.conj().T @ a + noise[c] ** 2 * np.eye(len(waves)), a.conj().T @ kspace[c].ravel())
        expected[c] = np.tensordot(d, waves, axes=1)
    expected *= length / np.linalg.norm(expected, axis=0)
    fitted = fit_maps(start, x, kspace * mask, mask, noise, domain)
    np.testing.assert_allclose(fitted, expected, atol=2e-3 * np.abs(expected).max())
    assert fitted.dtype == np.complex64 and (fitted[:, 0, 0] == 0).all()


def test_true_maps_come_out_of_wrong_ones_and_noisy_undersampled_data():
    image, maps, mask, kspace, noise = problem()
    inside = image != 0
    wrong = np.roll(maps, 3, axis=2)
    assert error(wrong, maps, inside) > 0.15
    assert error(fit_maps(wrong, image, kspace, mask, noise), maps, inside) < 0.02


def test_support_and_length_of_the_maps_stay_and_units_do_not_matter():
    image, maps, mask, kspace, noise = problem()
    given = (maps * np.linspace(0.5, 2, SHAPE[0])[:, None, None] * (image != 0)).astype(np.complex64)
    fitted = fit_maps(given, image, kspace, mask, noise)
    np.testing.assert_allclose(np.linalg.norm(fitted, axis=0), np.linalg.norm(given, axis=0), atol=1e-5)
    small = fit_maps(given, image * TINY, kspace * TINY, mask, np.array(noise) * TINY)
    np.testing.assert_allclose(small, fitted, atol=1e-4)


def test_operands_that_do_not_fit_are_named():
    image, maps, mask, kspace, noise = problem()
    with pytest.raises(ShapeError, match="one set of maps"):
        fit_maps(np.stack([maps, maps]), image, kspace, mask, noise)
    with pytest.raises(ShapeError, match="image has shape"):
        fit_maps(maps, image[1:], kspace, mask, noise)
    for bad in (noise[1:], [0.0] * COILS, [np.nan] * COILS):
        with pytest.raises(DataError, match="noise must be a positive"):
            fit_maps(maps, image, kspace, mask, bad)
    for factor in (0, np.nan):
        with pytest.raises(DataError, match="finite, and not zero"):
            fit_maps(maps, image * np.float32(factor), kspace, mask, noise)
