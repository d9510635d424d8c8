"""Coil maps estimated jointly with the image."""

import subprocess
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from helpers import from_bart, read_cfl, to_bart, write_cfl
from solver_scans import head_like, psnr

from mrrecon import operators, solvers
from mrrecon.acquisition import Acquisition
from mrrecon.errors import DataError, ShapeError
from mrrecon.simulation import simulate


def head_leaving_the_view():
    return np.abs(head_like((32, 46, 40)))[4:-4, 3:-3, 2:-2]


@cache
def scans(snr=40.0, accel=5.0):
    """Scans with maps from too small a block, and with true ones of that support."""
    complete = simulate(head_leaving_the_view(), n_coils=8, snr=snr, keep_maps=True).whiten()
    mask = operators.make_mask("poisson", complete.phase_encodes, accel, calibration=7, seed=0)
    true = complete.undersample(mask)
    estimated = true.calibrate()
    return estimated, replace(true, maps=true.maps * (estimated.maps != 0).any(axis=0))


def correlation(scan, other):
    """Mean squared correlation of the coil vectors of two scans' maps, by the energy of the image."""
    a, b = scan.maps, other.maps
    overlap = np.abs((a.conj() * b).sum(axis=0)) ** 2
    size = (np.abs(a) ** 2).sum(axis=0) * (np.abs(b) ** 2).sum(axis=0)
    weight = np.abs(scan.reference) ** 2 * (size > 0)
    return float((overlap / np.where(size > 0, size, 1) * weight).sum() / weight.sum())


def test_it_gains_at_least_half_of_what_true_maps_would():
    estimated, true = scans()
    joint = solvers.joint_maps(estimated)
    none, half, all_ = (correlation(scan, true) for scan in (estimated, joint, true))
    assert all_ == pytest.approx(1, abs=1e-5) and none < 0.996 and half > none + 0.75 * (1 - none)
    for solver in (solvers.CGSense(), solvers.L1Wavelet()):
        none, half, all_ = (psnr(solver(scan).volume, true.reference) for scan in (estimated, joint, true))
        assert all_ > none + 0.3 and half > (none + all_) / 2
    inside = np.abs(true.reference) > 0.1
    brightness = np.abs(solver(joint).volume)[inside].mean() / np.abs(true.reference)[inside].mean()
    assert brightness == pytest.approx(1, abs=0.01)


def test_the_record_says_what_was_done():
    estimated, _ = scans()
    joint = solvers.joint_maps(estimated)
    *before, fit, last = joint.provenance
    assert tuple(before) == estimated.provenance
    assert fit.name == "fit maps" and fit.settings["image"] == "cg-sense" and fit.settings["unexplained"] < 0.05
    chi_squared = [solvers.CGSense()(scan).metrics["chi_squared"] for scan in (estimated, joint)]
    assert last.name == "joint maps" and last.settings["rounds"] == 1
    assert last.settings["chi_squared"] == pytest.approx(chi_squared, rel=1e-3) and chi_squared[0] > 1 > chi_squared[1]
    assert solvers.joint_maps(estimated, always=False).provenance[-1] == last


def test_maps_stay_where_chi_squared_asks_for_nothing_or_the_fit_is_no_better():
    estimated, true = scans(snr=10.0)
    assert solvers.joint_maps(estimated, always=False) is estimated
    tried = solvers.joint_maps(true)
    np.testing.assert_array_equal(tried.maps, true.maps)
    before, after = tried.provenance[-1].settings["chi_squared"]
    assert tried.provenance[-1].settings["rounds"] == 0 and before == after < 1


def test_a_volume_of_any_method_will_do():
    estimated, true = scans()
    result = solvers.L1Wavelet()(estimated)
    fitted = estimated.fit_maps(result)
    assert fitted.provenance[-1].settings["image"] == "l1-wavelet"
    np.testing.assert_array_equal(fitted.maps, estimated.fit_maps(result.volume).maps)
    assert correlation(fitted, true) > correlation(estimated, true) + 0.003


def test_without_a_noise_covariance_the_noise_is_estimated():
    estimated, _ = scans()
    known = solvers.joint_maps(estimated)
    found = solvers.joint_maps(replace(estimated, noise_covariance=None))
    assert correlation(found, known) > 0.999


def test_where_the_noise_cannot_be_known_maps_stay_or_it_is_an_error(monkeypatch):
    def refuses(*_, **__):
        raise DataError("nothing to estimate the noise from")

    monkeypatch.setattr("mrrecon.operators.noise.estimate_noise", refuses)
    unknown = replace(scans()[0], noise_covariance=None)
    assert solvers.joint_maps(unknown, always=False) is unknown
    with pytest.raises(DataError, match="nothing to estimate"):
        solvers.joint_maps(unknown)


def test_what_cannot_be_fitted_is_refused():
    estimated, _ = scans()
    with pytest.raises(DataError, match="no maps to begin with"):
        replace(estimated, maps=None).fit_maps(estimated.reference)
    with pytest.raises(ShapeError, match="one set of maps"):
        solvers.joint_maps(replace(estimated, maps=np.stack([estimated.maps, 0 * estimated.maps])))


@pytest.mark.bart
def test_nlinv_of_bart_agrees_and_is_further_from_the_truth(tmp_path):
    """On one slice with every second line; in 3D it converges to something else within minutes."""
    scan = simulate(head_leaving_the_view(), n_coils=8, snr=40.0, keep_maps=True).whiten().hybrid()
    arrays = {name: getattr(scan, name)[..., 12:13, :, :] for name in ("kspace", "maps", "reference")}
    scan = Acquisition(**arrays, mask=scan.mask, noise_covariance=scan.noise_covariance, domains=scan.domains)
    mask = operators.make_mask("uniform", (1, scan.shape[2]), 2, calibration=8)
    true = scan.undersample(np.broadcast_to(mask, scan.shape[1:]))
    estimated = true.calibrate(kernel=(1, 4, 4))
    ours = estimated.fit_maps(solvers.CGSense()(estimated))
    write_cfl(tmp_path / "kspace", to_bart(true.kspace))
    subprocess.run("bart nlinv -i 14 kspace image maps".split(), cwd=tmp_path, check=True, capture_output=True)
    theirs = from_bart(read_cfl(tmp_path / "maps"))
    theirs = theirs / np.linalg.norm(theirs, axis=0) * (estimated.maps != 0).any(axis=0)
    theirs = replace(true, maps=theirs.astype(np.complex64))
    assert correlation(ours, theirs) > 0.97
    assert correlation(ours, true) > correlation(theirs, true) > 0.97
    a, b = (psnr(solvers.CGSense()(scan).volume, true.reference) for scan in (ours, theirs))
    assert a > b


@pytest.mark.data
def test_samples_of_a_measured_slice_that_were_held_out_are_predicted_better(data_dir):
    kspace = np.load(data_dir / "kspace" / "brain_sigpy_poisson_8ch.npy")[:, None]
    measured = (kspace != 0).any(axis=(0, 1))
    scan = Acquisition(kspace, measured, domains=("image", "kspace", "kspace")).whiten()
    rng, (y, z) = np.random.default_rng(0), np.indices(measured.shape)
    away = np.maximum(abs(y - measured.shape[0] // 2), abs(z - measured.shape[1] // 2))
    held = measured & (away > 12) & (rng.random(measured.shape) < 0.12)
    kept = measured & ~held & ((away > 12) | (away < 4) | (rng.random(measured.shape) < 0.2))
    estimated = scan.undersample(kept).calibrate()

    def missed(maps):
        volume = solvers.L1Wavelet()(maps).volume
        return np.linalg.norm(operators.CartesianEncoding(maps.maps, held).forward(volume) - scan.kspace * held)

    assert missed(solvers.joint_maps(estimated, always=False)) < 0.92 * missed(estimated)
