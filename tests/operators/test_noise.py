"""Noise without a noise scan: right levels where signal fills k-space, and what is said where it cannot be known."""

import numpy as np
import pytest

from mrrecon import operators
from mrrecon.errors import DataError, ShapeError
from mrrecon.simulation import simulate

SHAPE = (40, 48, 44)


def head(shape=SHAPE, rng=None):
    """Ellipsoid with texture and sharp edges that nearly fills the field of view: signal everywhere in k-space."""
    rng = np.random.default_rng(5) if rng is None else rng
    r = np.meshgrid(*[(np.arange(n) - n // 2) / n for n in shape], indexing="ij")
    inside = (r[0] / 0.42) ** 2 + (r[1] / 0.45) ** 2 + (r[2] / 0.44) ** 2 < 1
    return (inside * (0.6 + 0.4 * (np.sin(40 * r[1] * r[2] + 9 * r[0]) > 0))).astype(np.float32)


def scan_of(accel=8, coils=8, snr=30.0, **settings):
    mask = operators.make_mask("poisson", SHAPE[1:], accel)
    return simulate(head(), n_coils=coils, snr=snr, mask=mask, seed=2, **settings)


def estimate(scan, **changes):
    parts = {"kspace": scan.kspace, "mask": scan.mask, "readout_domain": scan.domains[0], **changes}
    return operators.estimate_noise(**parts)


def hybrid(kspace):
    return operators.ifft(np.ascontiguousarray(kspace), axes=(1,))


@pytest.mark.parametrize("accel", [4, 8, 16])
def test_level_where_signal_reaches_the_edge_of_kspace(accel):
    scan = scan_of(accel)
    found = estimate(scan)
    assert found.method.startswith("null space")
    assert found.level == pytest.approx(scan.noise_std, rel=0.06)
    assert found.uncertainty < 0.1


@pytest.mark.parametrize("accel", [4, 16])
def test_signal_is_not_taken_for_noise_that_differs_between_coils(accel):
    found = estimate(scan_of(accel))
    assert not np.isclose(found.outermost, found.null_space, rtol=1e-3)
    deviations = np.sqrt(np.linalg.eigvalsh(found.covariance))
    assert deviations[-1] / deviations[0] < 1.02


def test_correlation_is_kept_where_signal_cannot_be_its_cause():
    scan = scan_of(16, noise_correlation=0.5)
    white = operators.whitening_matrix(scan.noise_covariance)
    found = estimate(scan)
    deviations = np.sqrt(np.linalg.eigvalsh(white @ found.covariance @ white.conj().T))
    assert deviations[0] > 0.85 and deviations[-1] < 1.15


def test_outermost_samples_without_signal_count():
    scan = scan_of(1, snr=1.0)
    mixing = np.eye(8) + 0.15 * np.random.default_rng(0).standard_normal((8, 8))
    covariance = mixing @ scan.noise_covariance @ mixing.T
    found = estimate(scan, kspace=np.tensordot(mixing, scan.kspace, 1))
    assert found.method == "outermost samples"
    assert np.linalg.norm(found.covariance - covariance) < 0.1 * np.linalg.norm(covariance)


def test_both_domains_of_the_readout_and_lazy_arrays_say_the_same():
    scan = scan_of()
    here = estimate(scan)
    there = estimate(scan, kspace=hybrid(scan.kspace), readout_domain="image")
    assert there.level == pytest.approx(here.level, rel=0.01)


def test_correlated_coils_and_a_noisy_one():
    scan = scan_of(4, noise_correlation=0.5)
    rng = np.random.default_rng(1)
    kspace = scan.kspace.copy()
    extra = 70 * scan.noise_std
    wild = rng.standard_normal(kspace.shape[1:]) + 1j * rng.standard_normal(kspace.shape[1:])
    kspace[3] += (extra / np.sqrt(2) * wild * scan.mask).astype(np.complex64)
    truth = scan.noise_covariance.copy()
    truth[3, 3] += extra**2
    white = operators.whitening_matrix(truth)
    found = white @ estimate(scan, kspace=kspace).covariance @ white.conj().T
    values = np.sqrt(np.linalg.eigvalsh(found))
    assert values[0] > 0.65 and values[-1] < 1.4
    assert np.median(values) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("at", [(20, 24, 22), (3, 26, 20)])
def test_a_spike_does_not_matter(at):
    scan = scan_of(4)
    kspace = scan.kspace.copy()
    kspace[(2, *at)] += 30 * np.abs(kspace).max()
    assert estimate(scan, kspace=kspace).level == pytest.approx(estimate(scan).level, rel=0.08)


def test_spikes_in_the_outermost_samples_do_not_matter():
    scan = scan_of(4)
    kspace = hybrid(scan.kspace)
    y, z = np.argwhere(scan.mask)[0]
    kspace[:, 1, y, z] = 1e3 * np.abs(kspace).max()
    before = estimate(scan).outermost
    assert estimate(scan, kspace=kspace, readout_domain="image").outermost == pytest.approx(before, rel=0.1)


def test_filtered_data_are_said_to_be():
    scan = scan_of(1, snr=10.0)
    y, z = (np.hamming(n + 2)[1:-1] for n in SHAPE[1:])
    found = estimate(scan, kspace=scan.kspace * (y[:, None] * z).astype(np.float32))
    assert not found.agree
    assert "disagree" in found.note and f"{found.outermost:.3g}" in found.note
    assert found.level > 1.3 * found.outermost


def test_background_set_to_zero_is_noticed():
    scan = scan_of(1, snr=10.0)
    image = operators.ifft(scan.kspace, axes=(1, 2, 3)) * (head() > 0)
    found = estimate(scan, kspace=operators.fft(image, axes=(1, 2, 3)))
    assert found.method == "outermost samples"
    assert "not white" in found.note
    assert found.level > 0


def test_data_without_noise_fall_back():
    scan = simulate(head(), n_coils=4, seed=2)
    found = estimate(scan)
    assert found.method == "outermost samples" and found.note


def test_zero_filled_lines_and_echoes_do_not_count():
    scan = scan_of(4)
    wide = np.zeros((8, 64, 72, 64), np.complex64)
    wide[:, 12:52, 12:60, 10:54] = scan.kspace
    wide[:, :16] = 0  # a partial echo
    mask = np.zeros((72, 64), bool)
    mask[12:60, 10:54] = scan.mask
    for known in (mask, np.ones_like(mask)):
        assert estimate(scan, kspace=wide, mask=known).level == pytest.approx(scan.noise_std, rel=0.08)


def test_slices_of_a_2d_scan():
    rng = np.random.default_rng(3)
    scan = scan_of(1, snr=20.0)
    kspace = hybrid(scan.kspace)[:, 16:22]
    mask = np.zeros(SHAPE[1:], bool)
    mask[:, ::3] = True
    mask[:, 10:34] = True
    for part in (kspace, kspace[:, 2:3]):
        found = operators.estimate_noise(part * mask, mask, "image")
        assert found.level == pytest.approx(scan.noise_std, rel=0.1)
    pure = (rng.standard_normal((8, 1, 48, 44)) + 1j * rng.standard_normal((8, 1, 48, 44))) / np.sqrt(2)
    assert operators.estimate_noise(pure * mask, mask, "image").level == pytest.approx(1, rel=0.05)


def test_mask_along_all_axes():
    scan = scan_of(1)
    mask = np.random.default_rng(0).random(SHAPE) < 0.3
    mask[8:32, 12:36, 10:34] = True
    found = estimate(scan, kspace=scan.kspace * mask, mask=mask)
    assert found.level == pytest.approx(scan.noise_std, rel=0.08)


def test_without_a_block_the_outermost_samples_count():
    scan = scan_of(1, snr=10.0)
    mask = np.zeros(SHAPE[1:], bool)
    mask[::3, ::3] = True
    found = estimate(scan, kspace=scan.kspace * mask, mask=mask)
    assert found.method == "outermost samples" and found.null_space is None and found.agree is None
    assert found.level == pytest.approx(scan.noise_std, rel=0.15)


def test_more_coils_than_samples_give_a_usable_covariance():
    rng = np.random.default_rng(0)
    kspace = (rng.standard_normal((64, 2, 4, 4)) + 1j * rng.standard_normal((64, 2, 4, 4))) / np.sqrt(2)
    found = operators.estimate_noise(kspace.astype(np.complex64), np.ones((4, 4), bool))
    assert np.linalg.eigvalsh(found.covariance)[0] > 0
    assert found.level == pytest.approx(1, rel=0.3)


def test_one_coil_and_compressed_coils():
    scan = scan_of(1, snr=10.0)
    alone = estimate(scan, kspace=scan.kspace[:1])
    assert 0.85 < alone.level / np.sqrt(scan.noise_covariance[0, 0].real) < 1.25
    few = scan.compress_coils(5)
    assert estimate(few).level == pytest.approx(few.noise_std, rel=0.08)


@pytest.mark.parametrize("how", ["doubled", "dead", "short"])
def test_singular_covariances_are_mended(how):
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((6, 200)) + 1j * rng.standard_normal((6, 200))
    if how == "doubled":
        samples[1] = samples[2]
    elif how == "dead":
        samples[1] = 0
    else:
        samples = samples[:, :4]
    covariance = samples @ samples.conj().T / samples.shape[1]
    mended, change = operators.usable_covariance(covariance)
    assert "singular" in change
    operators.whitening_matrix(mended)
    known = np.diag(covariance).real > 0
    np.testing.assert_allclose(np.diag(mended).real[known], np.diag(covariance).real[known], rtol=1e-6)


def test_sound_covariances_are_left_alone_and_hopeless_ones_refused():
    covariance = np.diag([1.0, 4900.0])
    assert operators.usable_covariance(covariance)[1] == ""
    with pytest.raises(DataError, match="unusable"):
        operators.usable_covariance(np.full((2, 2), np.nan))
    with pytest.raises(ShapeError, match="square"):
        operators.usable_covariance(np.ones((2, 3)))
