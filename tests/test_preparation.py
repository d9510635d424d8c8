"""The steps between a file and a solver keep the forward model consistent and are recorded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mrrecon as mr
from mrrecon import errors, operators, preparation
from mrrecon.commands.shared import undersample

COILS, SHAPE = 5, (12, 20, 18)


def draw(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


@pytest.fixture
def covariance(rng):
    a = draw(rng, COILS, COILS)
    return a @ a.conj().T + COILS * np.eye(COILS)


@pytest.fixture
def scan(rng, covariance):
    """A scan whose k-space is exactly the maps times an image, undersampled."""
    maps, image = draw(rng, COILS, *SHAPE), draw(rng, *SHAPE)
    mask = rng.random(SHAPE[1:]) < 0.5
    kspace = operators.fft(maps * image, axes=(1, 2, 3)) * mask
    return mr.Acquisition(kspace, mask, maps=maps, noise_covariance=covariance, reference=image)


def residual(scan):
    """How far the k-space is from the maps times the reference."""
    model = operators.Sense(scan.maps, scan.mask, readout_domain=scan.domains[0])(np.asarray(scan.reference))
    return np.linalg.norm(model - scan.kspace) / np.linalg.norm(scan.kspace)


def test_every_step_keeps_kspace_equal_to_maps_times_image(scan):
    assert residual(scan) < 1e-5
    assert residual(scan.whiten()) < 1e-5
    assert residual(scan.whiten().compress_coils(3)) < 1e-5
    assert residual(scan.hybrid()) < 1e-5
    assert residual(scan.compress_coils(3, "geometric")) < 1e-5
    assert residual(scan.select_coils([4, 1])) < 1e-5
    assert residual(scan.undersample(np.tri(*SHAPE[1:], dtype=bool))) < 1e-5


def test_whitening_makes_measured_noise_white(scan, rng, covariance):
    noise = (np.linalg.cholesky(covariance) @ draw(rng, COILS, np.prod(SHAPE)) / np.sqrt(2)).reshape(COILS, *SHAPE)
    noisy = mr.Acquisition(noise, np.ones(SHAPE[1:], bool), noise_covariance=covariance)
    white = noisy.whiten()
    measured = operators.noise_covariance(white.kspace.reshape(COILS, -1))
    variance = np.diag(covariance).real.mean()
    np.testing.assert_allclose(measured, variance * np.eye(COILS), atol=0.1 * variance)
    assert white.noise_std == pytest.approx(noisy.noise_std)
    assert white.is_whitened and white.compress_coils(2).is_whitened and not noisy.is_whitened


def test_whitening_without_a_noise_scan_estimates_the_noise_and_says_so(scan, rng):
    unknown = mr.Acquisition(scan.kspace + draw(rng, COILS, *SHAPE) * scan.mask, scan.mask)
    white = unknown.whiten()
    assert white.is_whitened
    assert white.provenance[-1].settings["source"] == "outermost samples"


def test_noise_scan_that_is_above_all_data_is_left_out(rng):
    kspace = draw(rng, COILS, 24, 32, 32)
    spiked = mr.Acquisition(kspace, np.ones((32, 32), bool), noise_covariance=1e6 * np.eye(COILS) + 1e5)
    with pytest.warns(UserWarning, match="left out, and the noise is estimated"):
        white = spiked.whiten()
    assert white.noise_std == pytest.approx(np.sqrt(2), rel=0.05)


def test_singular_covariance_is_mended_with_a_note(scan, covariance):
    singular = covariance.copy()
    singular[1], singular[:, 1] = singular[0], singular[:, 0]
    singular[1, 1] = singular[0, 0]
    with pytest.warns(UserWarning, match="singular"):
        white = scan.whiten(singular)
    assert np.isfinite(white.kspace).all() and residual(white) < 1e-4


def test_declined_whitening_keeps_coils_and_noise_level(scan):
    from mrrecon.solvers.parts.problem import whitened

    kept = scan.decline_whitening()
    assert kept.noise_std == pytest.approx(scan.noise_std)
    np.testing.assert_array_equal(whitened(kept).kspace, scan.kspace)
    assert not np.allclose(whitened(scan).kspace, scan.kspace)
    assert kept.provenance[-1].name == "not whitened"


def test_steps_are_recorded_and_the_original_is_untouched(scan):
    before = scan.kspace.copy()
    after = scan.undersample(np.tri(*SHAPE[1:], dtype=bool)).whiten().compress_coils(2)
    assert [s.name for s in after.provenance] == ["undersample", "whiten", "compress coils"]
    assert scan.provenance == ()
    np.testing.assert_array_equal(scan.kspace, before)
    with pytest.raises(ValueError, match="read-only"):
        after.kspace[0, 0, 0, 0] = 1


def test_undersampling_keeps_only_samples_that_exist(scan):
    mask = np.tri(*SHAPE[1:], dtype=bool)
    kept = scan.undersample(mask)
    np.testing.assert_array_equal(kept.mask, mask & scan.mask)
    assert not kept.kspace[:, :, ~kept.mask].any()
    assert kept.acceleration == pytest.approx(kept.mask.size / kept.mask.sum())


def test_undersampling_explains_a_transposed_mask(scan):
    with pytest.raises(errors.MaskError, match=r"transposed: pass mask\.T"):
        scan.undersample(np.ones(SHAPE[:0:-1], bool))
    with pytest.raises(errors.MaskError, match="nothing in common"):
        scan.undersample(~scan.mask)


def two_dimensional(scan):
    """The same samples as a 2D multi-slice scan: x is the slice, y the readout."""
    return replace(scan.hybrid(), maps=None, reference=None, readout="y")


def test_a_two_dimensional_scan_has_one_phase_encode(scan):
    assert scan.phase_encodes == scan.shape[1:]
    assert two_dimensional(scan).phase_encodes == (1, scan.shape[2])
    assert replace(two_dimensional(scan), readout="z").phase_encodes == (scan.shape[1], 1)


def test_masks_of_lines_are_repeated_along_the_readout(scan):
    lines = np.arange(SHAPE[2]) % 2 == 0
    flat = two_dimensional(scan)
    for mask in (lines, lines[None]):
        np.testing.assert_array_equal(flat.undersample(mask).mask, flat.mask & lines)
    assert SHAPE[1] != SHAPE[2]
    np.testing.assert_array_equal(scan.undersample(lines).mask, scan.mask & lines)  # no other axis has that length
    down = np.arange(SHAPE[1]) % 3 > 0
    for mask in (down, down[:, None]):
        np.testing.assert_array_equal(scan.undersample(mask).mask, scan.mask & down[:, None])
    with pytest.raises(errors.MaskError, match=r"mask has shape \(20,\), the scan needs"):
        flat.undersample(down)  # a line across the readout has another length
    with pytest.raises(errors.MaskError, match=r"give it as \(y, 1\) or \(1, z\)"):
        preparation.fit_mask(np.ones(8), (4, 8, 8))
    assert preparation.fit_mask(np.ones(8), (4, 8, 8), "y").shape == (8, 8)


@pytest.mark.parametrize("kind", operators.MASK_KINDS)
def test_the_commands_draw_whole_lines_for_a_two_dimensional_scan(rng, kind):
    kspace = rng.standard_normal((2, 3, 20, 60)) + 1j
    scan = mr.Acquisition(kspace, np.ones((20, 60), bool), domains=("image", "kspace", "kspace"), readout="y")
    kept = undersample(scan, kind, 4.0, calibration=None, seed=0)
    assert (kept.mask == kept.mask[:1]).all() and kept.mask[0].sum() == 15 and kept.mask[0, 27:33].all()
    assert not kept.kspace[..., ~kept.mask[0]].any()


def test_hybrid_needs_a_fully_sampled_readout(scan, rng):
    odd = mr.Acquisition(scan.kspace, rng.random(SHAPE) < 0.5)
    with pytest.raises(errors.MaskError, match="fully sampled readout"):
        odd.hybrid()


def test_selecting_coils_that_do_not_exist_is_refused(scan):
    with pytest.raises(errors.DataError, match="0 to 4"):
        scan.select_coils([5])
