"""Resolution change: intensities, positions, and what each method does to edges and noise."""

from __future__ import annotations

import numpy as np
import pytest

from mrrecon.errors import DataError, ShapeError
from mrrecon.grid import Grid
from mrrecon.resolution import change_resolution, crop_kspace
from mrrecon.simulation import simulate

METHODS = ("kspace-crop", "interpolation")
AFFINE = np.array([[0, 0, 2.0, -30], [1, 0, 0, -50], [0, -1.5, 0, 40], [0, 0, 0, 1]])
VOXEL = (1.0, 1.5, 2.0)


def blob(shape, affine, centre=(8, 0, 12), width=14.0):
    """A Gaussian at a place in scanner coordinates, so that any grid can be filled with the truth."""
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    places = indices @ affine[:3, :3].T + affine[:3, 3]
    return np.exp(-((places - centre) ** 2).sum(-1) / (2 * width**2)).astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("new_voxel", [(2, 3, 4), (1.7, 2.1, 3.3), (0.5, 1, 1.5), (1, 1.5, 2), (2.5, 1.2, 2)])
def test_smooth_object_stays_in_place_with_its_intensity(method, new_voxel):
    shape = (90, 61, 44)
    before = blob(shape, AFFINE, centre=(14, -5, -5))
    after, grid = change_resolution(before, Grid(shape, VOXEL, AFFINE), new_voxel, method)
    assert after.shape == grid.shape
    np.testing.assert_allclose(grid.field_of_view, np.array(VOXEL) * shape)
    assert after.dtype == np.float32
    truth = blob(after.shape, grid.affine, centre=(14, -5, -5))
    assert np.abs(after - truth).max() < (0.03 if method == "interpolation" else 0.01)


@pytest.mark.parametrize("method", METHODS)
def test_constant_stays_constant_and_complex_stays_complex(method):
    image = np.full((12, 17, 20), 2 - 1j)
    after, _ = change_resolution(image, Grid(image.shape), (2, 1.7, 0.7), method)
    np.testing.assert_allclose(after, 2 - 1j, rtol=1e-5)
    assert after.dtype == np.complex64


def test_interpolation_does_not_alias():
    checkerboard = (np.indices((40, 40, 40)).sum(axis=0) % 2).astype(np.float32)
    for factor in (2, 2.5, 4):
        after, _ = change_resolution(checkerboard, Grid((40, 40, 40)), (factor,) * 3, "interpolation")
        assert np.abs(after[1:-1, 1:-1, 1:-1] - 0.5).max() < 0.02


def test_kspace_crop_is_what_a_shorter_scan_measures():
    anatomy = np.random.default_rng(0).random((16, 24, 21))
    small, _ = change_resolution(anatomy * 1j, Grid(anatomy.shape), (1, 2, 1.5), "kspace-crop")
    spectrum = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(anatomy * 1j)))[:, 6:18, 3:17]
    direct = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(spectrum))) * spectrum.size / anatomy.size
    np.testing.assert_allclose(small, direct, atol=1e-5)


def scan_of_a_blob(**settings):
    shape = (40, 48, 36)
    grid = Grid(shape, affine=AFFINE)
    return simulate(blob(shape, AFFINE, centre=(6, -30, 4), width=6), grid, n_coils=3, **settings)


def images(scan):
    axes = (1, 2, 3)
    return np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(scan.kspace, axes), axes=axes, norm="ortho"), axes)


def test_cropped_scan_shows_the_same_object_with_less_noise():
    full, noisy = scan_of_a_blob(), scan_of_a_blob(snr=10)
    small, small_noisy = (crop_kspace(s, (2, 3, 4)) for s in (full, noisy))
    assert small.shape == (20, 24, 18)
    assert small.voxel_size == (2, 3, 4)
    assert small.provenance[-1].name == "crop k-space"
    combined = np.sqrt((np.abs(images(small)) ** 2).sum(axis=0))
    assert np.abs(combined - np.abs(small.reference)).max() < 0.02 * np.abs(small.reference).max()
    noise = small_noisy.kspace - small.kspace
    assert np.mean(np.abs(noise) ** 2) == pytest.approx(np.trace(small_noisy.noise_covariance).real / 3, rel=0.05)
    assert small_noisy.noise_covariance[0, 0] == pytest.approx(noisy.noise_covariance[0, 0] / 8)


@pytest.mark.parametrize("three_axes", [False, True])
def test_cropped_scan_keeps_its_mask(three_axes):
    mask = np.random.default_rng(1).random((40, 48, 36) if three_axes else (48, 36)) < 0.5
    scan = scan_of_a_blob(mask=mask)
    small = crop_kspace(scan, (2, 3, 4))
    centre = mask[..., 12:36, 9:27]
    assert (small.mask == (centre[10:30] if three_axes else centre)).all()
    np.testing.assert_allclose(small.kspace, scan.kspace[:, 10:30, 12:36, 9:27] / np.sqrt(8))


def test_hybrid_space_gives_the_same_images():
    scan = scan_of_a_blob()
    hybrid = crop_kspace(scan.hybrid(), (2, 3, 4))
    assert hybrid.domains[0] == "image"
    plain = crop_kspace(scan, (2, 3, 4))
    np.testing.assert_allclose(hybrid.kspace, plain.hybrid().kspace, atol=1e-5 * np.abs(plain.kspace).max())


def test_padding_makes_smaller_voxels():
    fine = crop_kspace(scan_of_a_blob(), (0.5, 1.5, 2))
    assert fine.shape == (80, 48, 36)
    combined = np.sqrt((np.abs(images(fine)) ** 2).sum(axis=0))
    assert np.abs(combined - np.abs(fine.reference)).max() < 0.02 * np.abs(fine.reference).max()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones((4, 4)), (2, 2, 2)), ShapeError, "three axes"),
        ((np.ones((4, 4, 4)), (2, 2)), DataError, "three positive lengths"),
        ((np.ones((4, 4, 4)), (2, 0, 2)), DataError, "three positive lengths"),
        ((np.ones((4, 4, 4)), (2, 2, 2), "nearest"), DataError, "choose 'kspace-crop'"),
    ],
)
def test_bad_requests_are_named(arguments, error, message):
    volume, voxel, *method = arguments
    with pytest.raises(error, match=message):
        change_resolution(volume, Grid((4, 4, 4)), voxel, *method)
