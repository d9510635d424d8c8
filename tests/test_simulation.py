"""Simulated scans: the physics, the noise level, and the known answer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mrrecon.coil_models import _loop_field, coil_maps
from mrrecon.errors import DataError, MaskError, ShapeError
from mrrecon.grid import Grid
from mrrecon.metrics import object_region
from mrrecon.simulation import object_phase, simulate


def centred_ifft(kspace):
    axes = (1, 2, 3)
    return np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(kspace, axes), axes=axes, norm="ortho"), axes)


def ellipsoid(shape=(40, 48, 44), radius=0.75):
    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = sum((g / radius) ** 2 for g in grids) < 1
    return (inside * (1 + 0.5 * np.sin(9 * grids[0]) * np.cos(7 * grids[1]))).astype(np.float32)


@pytest.mark.parametrize("model", ["loops", "birdcage"])
def test_without_noise_the_matched_combination_gives_the_reference(model):
    scan = simulate(ellipsoid(), Grid((40, 48, 44), (4, 4, 4)), n_coils=6, coil_model=model, keep_maps=True)
    assert scan.noise_covariance is None
    combined = (scan.maps.conj() * centred_ifft(scan.kspace)).sum(axis=0)
    assert np.linalg.norm(combined - scan.reference) < 1e-5 * np.linalg.norm(scan.reference)
    norm = (np.abs(scan.maps) ** 2).sum(axis=0)
    np.testing.assert_allclose(norm, 1, atol=1e-5)
    if model == "birdcage":
        np.testing.assert_allclose(np.abs(scan.reference), ellipsoid(), atol=1e-5)


def test_maps_are_left_out_unless_asked_for():
    assert simulate(ellipsoid(), n_coils=2).maps is None


def test_loop_field_agrees_with_summing_the_wire():
    radius, normal = 50.0, np.array([0.3, -0.5, 0.81])
    normal /= np.linalg.norm(normal)
    u = np.cross(normal, [1.0, 0, 0])
    u /= np.linalg.norm(u)
    v = np.cross(normal, u)
    t = np.linspace(0, 2 * np.pi, 4001)[:-1, None]
    wire, step = (
        radius * (np.cos(t) * u + np.sin(t) * v),
        radius * (-np.sin(t) * u + np.cos(t) * v) * (t[1] - t[0]),
    )
    points = np.random.default_rng(0).uniform(-150, 150, (60, 3))
    points = points[[np.linalg.norm(p - wire, axis=1).min() > 40 for p in points]]
    points = np.vstack([points, 30 * normal, 1e-9 * u - 20 * normal])
    direct = np.stack(
        [(np.cross(step, p - wire) / np.linalg.norm(p - wire, axis=1)[:, None] ** 3).sum(0) for p in points]
    )
    closed = _loop_field(points, normal, radius)
    closed *= np.vdot(closed, direct) / np.vdot(closed, closed)
    assert np.linalg.norm(closed - direct) < 0.01 * np.linalg.norm(direct)


@pytest.mark.parametrize("model", ["loops", "birdcage"])
@pytest.mark.parametrize("n_coils", [1, 3, 8, 16])
def test_maps_are_smooth_distinct_and_strongest_near_their_coil(model, n_coils):
    region = ellipsoid() > 0
    maps = coil_maps(Grid(region.shape, (5, 4, 4)), n_coils, region=region, model=model)
    assert maps.shape == (n_coils, *region.shape)
    assert maps.dtype == np.complex64
    inside = maps[:, region]
    for axis in (1, 2, 3):  # no step from voxel to voxel inside the object
        both = np.logical_and(*(region.take(range(i, region.shape[axis - 1] - 1 + i), axis - 1) for i in (0, 1)))
        assert np.abs(np.diff(maps, axis=axis))[:, both].max() < 0.25 * np.abs(inside).max()
    gram = inside @ inside.conj().T
    level = np.sqrt(np.diag(gram).real)
    overlap = np.abs(gram / np.outer(level, level)) - np.eye(n_coils)
    assert overlap.max() < 0.98
    combined = np.sqrt((np.abs(inside) ** 2).sum(axis=0))
    np.testing.assert_allclose(combined if model == "birdcage" else combined.mean(), 1, rtol=1e-4)


def test_coils_follow_the_object_in_scanner_coordinates():
    """The same object stored with permuted and flipped axes gets the same sensitivities."""
    image = ellipsoid((30, 40, 36))
    affine = np.array([[4.0, 0, 0, -60], [0, 3, 0, -50], [0, 0, 3.5, -40], [0, 0, 0, 1]])
    here = coil_maps(Grid(image.shape, affine=affine), 4, region=image > 0)
    turned = image.transpose(2, 0, 1)[:, ::-1]
    to_old = np.array([[0, -1, 0, 29], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    there = coil_maps(Grid(turned.shape, affine=affine @ to_old), 4, region=turned > 0)
    np.testing.assert_allclose(there, here.transpose(0, 3, 1, 2)[:, :, ::-1], atol=2e-3)


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_noise_has_the_stated_covariance(correlation):
    image = ellipsoid()
    clean = simulate(image, n_coils=4, seed=2)
    noisy = simulate(image, n_coils=4, seed=2, noise_variance=0.3, noise_correlation=correlation)
    noise = (noisy.kspace - clean.kspace).reshape(4, -1)
    measured = noise @ noise.conj().T / noise.shape[1]
    np.testing.assert_allclose(measured, noisy.noise_covariance, atol=0.01 * 0.3)
    assert np.trace(noisy.noise_covariance).real == pytest.approx(4 * 0.3)
    off_diagonal = np.abs(noisy.noise_covariance - np.diag(np.diag(noisy.noise_covariance))).max()
    assert (off_diagonal > 0.02) == (correlation > 0)
    assert np.abs((noise**2).mean()) < 0.01 * 0.3  # real and imaginary parts are independent and alike


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_snr_is_that_of_the_optimally_combined_magnitude(correlation):
    image = ellipsoid()
    region = object_region(image)
    settings = {"n_coils": 4, "noise_correlation": correlation, "snr": 30, "keep_maps": True}
    scan = simulate(image, **settings)
    inverse = np.linalg.inv(scan.noise_covariance)
    combine = np.einsum("c...,cd->d...", scan.maps.conj(), inverse)
    weight = (combine * scan.maps).sum(axis=0).real
    clean = simulate(image, **{**settings, "snr": 1e7})
    volumes = [(combine * centred_ifft(s.kspace)).sum(axis=0) / weight for s in (scan, clean)]
    np.testing.assert_allclose(scan.reference, clean.reference, atol=1e-5)
    np.testing.assert_allclose(volumes[1], clean.reference, atol=1e-4)
    error = (np.abs(volumes[0]) - np.abs(volumes[1]))[region]
    local_std = 1 / np.sqrt(2 * weight[region])
    assert (error / local_std).std() == pytest.approx(1, rel=0.02)
    assert np.mean(np.abs(clean.reference[region]) / local_std) == pytest.approx(30, rel=1e-3)


def test_reference_is_what_unit_norm_maps_of_the_whitened_coils_give():
    scan = simulate(ellipsoid(), n_coils=4, noise_correlation=0.6, snr=1e6, keep_maps=True).whiten()
    norm = np.sqrt((np.abs(scan.maps) ** 2).sum(axis=0))
    np.testing.assert_allclose(norm[np.abs(scan.reference) > 0], 1, rtol=1e-4)


def test_mask_and_partial_fourier():
    image = ellipsoid()
    mask = np.random.default_rng(0).random(image.shape[1:]) < 0.5
    scan = simulate(image, n_coils=2, snr=20, mask=mask, partial_fourier=(0.75, 1.0))
    assert (scan.mask == mask & (np.arange(48) >= 12)[:, None]).all()
    assert (scan.kspace != 0).any(axis=(0, 1))[scan.mask].all()
    assert not scan.kspace[:, :, ~scan.mask].any()
    full = simulate(image, n_coils=2, snr=20, mask=np.ones(image.shape, bool))
    assert full.mask.shape == image.shape


def test_phase_is_smooth_and_optional():
    phase = object_phase((40, 48, 44), seed=3)
    assert phase.dtype == np.float32
    assert 1 < np.ptp(phase) < 12
    assert max(np.abs(np.diff(phase, axis=i)).max() for i in range(3)) < 0.4
    image = ellipsoid()
    flat = simulate(image, phase=False, coil_model="birdcage")
    assert np.abs(np.angle(flat.reference[image > 0])).max() < 1e-5
    own = image * np.exp(1j * 0.3)
    kept = simulate(own, coil_model="birdcage")
    np.testing.assert_allclose(np.angle(kept.reference[image > 0]), 0.3, atol=1e-5)
    added = simulate(own, coil_model="birdcage", phase=True)
    assert np.std(np.angle(added.reference[image > 0])) > 0.1


def test_seed_decides_and_is_recorded():
    image = ellipsoid()
    one, same, other = (simulate(image, n_coils=3, snr=20, seed=s) for s in (1, 1, 2))
    assert (one.kspace == same.kspace).all()
    assert (one.kspace != other.kspace).any()
    step = one.provenance[-1]
    assert step.name == "simulate"
    assert json.loads(json.dumps(step.settings))["seed"] == 1


@pytest.mark.parametrize("shape", [(1, 24, 20), (3, 2, 1)])
def test_thin_volumes(shape):
    scan = simulate(np.ones(shape), n_coils=3, snr=10, keep_maps=True)
    assert scan.shape == shape


def test_geometry_is_kept():
    affine = np.array([[0, 0, 2.0, -30], [3, 0, 0, -50], [0, -1.5, 0, 40], [0, 0, 0, 1]])
    scan = simulate(ellipsoid(), Grid((40, 48, 44), affine=affine), n_coils=2)
    assert scan.voxel_size == pytest.approx((3, 1.5, 2))
    np.testing.assert_array_equal(scan.affine, affine)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"anatomy": np.ones((4, 5))}, ShapeError, "three axes"),
        ({"anatomy": np.zeros((4, 5, 6))}, DataError, "zero everywhere"),
        ({"anatomy": np.full((4, 5, 6), np.nan)}, DataError, "NaN"),
        ({"anatomy": np.full((4, 5, 6), "a")}, DataError, "numbers"),
        ({"n_coils": 0}, DataError, "n_coils"),
        ({"coil_model": "surface"}, DataError, "coil model"),
        ({"snr": 20, "noise_variance": 1}, DataError, "not both"),
        ({"snr": 0}, DataError, "snr must be"),
        ({"noise_variance": float("inf")}, DataError, "noise_variance must be"),
        ({"noise_correlation": 1}, DataError, "noise_correlation"),
        ({"partial_fourier": (0.5, 1)}, DataError, "partial_fourier"),
        ({"seed": -1}, DataError, "seed"),
        ({"mask": np.ones((44, 48))}, MaskError, "mask has shape"),
        ({"grid": Grid((40, 48, 40))}, ShapeError, "anatomy has shape"),
    ],
)
def test_bad_settings_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        simulate(**{"anatomy": ellipsoid(), "n_coils": 2, **settings})
