"""Scans whose k-space has its centre elsewhere give the image of the centred one."""

import warnings

import numpy as np
import pytest

import mrrecon as mr
from mrrecon import io, metrics, operators, simulation, solvers
from mrrecon.errors import DataError

SHAPE = (33, 60, 54)


def head(shape):
    """A bright shell with a darker, textured inside."""
    r = np.meshgrid(*[(np.arange(n) - n // 2) / n for n in shape], indexing="ij", sparse=True)
    radius = np.sqrt((r[0] / 0.42) ** 2 + (r[1] / 0.4) ** 2 + (r[2] / 0.38) ** 2)
    texture = np.cos(25 * r[1] + 9 * r[2]) * np.cos(18 * r[0])
    return ((radius < 1) * (0.6 + 0.3 * texture) + 0.4 * ((radius < 1) & (radius > 0.85))).astype(np.float32)


@pytest.fixture(scope="module")
def scan():
    return simulation.simulate(head(SHAPE), n_coils=6, snr=40, seed=4, keep_maps=True)


@pytest.fixture(scope="module")
def inside():
    return head(SHAPE) > 0


def off(scan, by, **changes):
    """The scan as a file or a user would give it whose centre lies `by` samples beside the middle."""
    kspace = np.roll(scan.kspace, by, (1, 2, 3))
    if changes.pop("hybrid", False):
        kspace, changes["domains"] = operators.ifft(kspace, axes=(1,)), ("image", "kspace", "kspace")
    mask = np.roll(scan.mask, by[1:], (0, 1))
    return mr.Acquisition(kspace, mask, noise_covariance=scan.noise_covariance, **changes)


MOVES = [(0, 2, 0), (0, 0, 4), (0, 5, -4), (2, 0, 0), (-3, 8, 8), (16, 30, 27)]


@pytest.mark.parametrize("by", MOVES)
@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.parametrize("lazy", [False, True])
def test_recentred_exactly(tmp_path, scan, by, hybrid, lazy):
    moved = off(scan, by, hybrid=hybrid)
    if lazy:
        path = mr.write(moved, tmp_path / "scan.h5")
        moved = io.read(path, lazy=True, center="keep")
        assert moved.is_lazy
    found = moved.recentre()
    expected = operators.ifft(scan.kspace, axes=(1,)) if hybrid else scan.kspace
    assert found.is_lazy == lazy
    np.testing.assert_allclose(found.kspace[...], expected, atol=2e-6 * np.abs(expected).max())
    np.testing.assert_allclose(found.slab(30, 33), expected[:, 30:33], atol=2e-6 * np.abs(expected).max())
    np.testing.assert_array_equal(found.mask, scan.mask)
    step = found.provenance[-1]
    assert step.name == "recentre"
    assert step.settings["center"] == [(n // 2 + d) % n for n, d in zip(SHAPE, by, strict=True)]
    assert found.recentre() is found


def test_magnitudes_maps_and_reference_stay(scan):
    """Maps times the reference are still the data."""
    moved = off(scan, (3, -5, 6), maps=scan.maps, reference=scan.reference)
    wrong = np.roll(scan.mask, (-5, 6), (0, 1))
    found = moved.recentre((16 + 3, 30 - 5, 27 + 6))
    assert np.array_equal(found.maps, scan.maps) and wrong.all()
    np.testing.assert_allclose(np.abs(found.reference), np.abs(scan.reference), atol=1e-6)
    back = found.recentre((16 - 3, 30 + 5, 27 - 6))  # the other way again
    np.testing.assert_allclose(back.reference, scan.reference, atol=2e-6)
    np.testing.assert_allclose(back.kspace, moved.kspace, atol=2e-6)
    encoding = operators.CartesianEncoding(scan.maps, scan.mask, "kspace")
    truth = simulation.simulate(head(SHAPE), n_coils=6, seed=4, keep_maps=True)
    rolled = truth.recentre((16 + 4, 30, 27 - 9))
    np.testing.assert_allclose(
        encoding.forward(rolled.reference), rolled.kspace, atol=1e-4 * np.abs(truth.kspace).max()
    )
    magnitude = off(scan, (0, 4, 0), reference=np.abs(scan.reference)).recentre()
    assert np.array_equal(magnitude.reference, np.abs(scan.reference))


def test_three_dimensional_mask_is_rolled_along(scan):
    mask = np.ones(SHAPE, bool)
    mask[:9] = False
    moved = mr.Acquisition(np.roll(scan.kspace * mask, (-4, 3), (1, 2)), np.roll(mask, (-4, 3), (0, 1)))
    np.testing.assert_array_equal(moved.recentre().mask, mask)


@pytest.mark.parametrize("by", [(0, 2, 0), (0, 0, 4), (0, 5, 4), (2, 8, -8)])
@pytest.mark.parametrize("accel", [1, 10])
def test_same_image(tmp_path, scan, inside, by, accel):
    """From a file, and built in Python without a word on the centre; nothing inside the object is zero."""
    mask = np.ones(SHAPE[1:], bool)
    if accel > 1:
        mask = operators.make_mask("poisson", SHAPE[1:], accel, seed=3)
    measured = scan.undersample(mask)
    truth, results = np.abs(scan.reference), []
    moved = off(measured, by)
    with pytest.warns(UserWarning, match="it is moved") if max(map(abs, by)) > 2 else warnings.catch_warnings():
        read = io.read(mr.write(moved, tmp_path / "scan.h5"))
    for case in (off(measured, (0, 0, 0)), read, moved):
        result = solvers.CGSense()(case.whiten().calibrate())
        results.append(metrics.evaluate(result, truth)["psnr"])
        assert (np.abs(result.volume)[inside] > 0).all()
    assert results[1] == pytest.approx(results[0], abs=0.05)
    assert results[2] == pytest.approx(results[0], abs=0.2)


@pytest.mark.filterwarnings("error")
def test_mask_drawn_around_the_middle_of_data_that_are_not_centred(scan, inside):
    mask = operators.make_mask("poisson", SHAPE[1:], 8, calibration=16, seed=3)
    results = []
    for by in ((0, 0, 0), (0, 4, -4)):
        result = solvers.CGSense()(off(scan, by).undersample(mask).whiten().calibrate())
        results.append(metrics.evaluate(result, np.abs(scan.reference))["psnr"])
        assert (np.abs(result.volume)[inside] > 0).all()
    assert results[1] > results[0] - 1


def test_center_is_said(tmp_path, scan):
    path = mr.write(off(scan, (0, 5, 0)), tmp_path / "scan.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = io.read(path, center="keep")
    np.testing.assert_array_equal(kept.kspace, np.roll(scan.kspace, 5, 2))
    with pytest.warns(UserWarning, match="index 35 of 60 along y; it is moved"):
        np.testing.assert_allclose(io.read(path, center=(16, 35, 27)).kspace, scan.kspace, atol=1e-6)
    np.testing.assert_allclose(io.read(path, center=(16, 30, 27)).kspace, kept.kspace, atol=1e-6)
    with pytest.raises(DataError, match=r"center must be a sample \(x, y, z\) of the matrix \(33, 60, 54\)"):
        io.read(path, center=(16, 60, 27))
    with pytest.raises(mr.errors.FileFormatError, match="'center'"):
        io.read(path, center="middle")


def test_an_image_is_refused(scan):
    image = operators.ifft(scan.kspace, axes=(2,))
    with pytest.raises(DataError, match=r"along y peaks at index .* as broadly as an image"):
        mr.Acquisition(np.roll(image, 30, 2), scan.mask).recentre()


def test_slices_of_a_2d_scan_are_left_alone(rng):
    """The phase of a slice is its own: nothing is found along x, and nothing moved."""
    scan = simulation.simulate(head((12, 48, 40)), n_coils=4, snr=50)
    kspace = operators.ifft(scan.kspace, axes=(1,)) * np.exp(2j * np.pi * 3 / 12 * np.arange(12))[:, None, None]
    moved = mr.Acquisition(np.roll(kspace, 6, 2), scan.mask, domains=("image", "kspace", "kspace"), readout="y")
    found = moved.recentre()
    assert found.provenance[-1].settings["center"] == [6, 30, 20]
    np.testing.assert_allclose(found.kspace, kspace, atol=1e-6)


def test_maps_that_leave_signal_out_are_told(scan):
    calibrated = scan.calibrate()
    settings = calibrated.provenance[-1].settings
    assert settings["unexplained"] < 0.02 and settings["uncovered"] < 0.005 and settings["cover"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scan.with_maps(calibrated.maps, "maps.cfl").provenance[-1].settings["source"] == "maps.cfl"
    with pytest.warns(UserWarning, match="leave .* of the signal in the calibration data unexplained"):
        scan.with_maps(calibrated.maps[::-1])
    holed = calibrated.maps.copy()
    holed[:, :, 30:36] = 0
    with pytest.warns(UserWarning, match="zero in .* of the voxels with signal"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The coil maps leave")
        scan.with_maps(holed)
    lines = np.zeros(SHAPE[1:], bool)
    lines[::2] = True
    lines[30] = False
    without = scan.undersample(lines)  # no calibration data: nothing to measure by
    assert "unexplained" not in without.with_maps(holed).provenance[-1].settings


def test_steps_keep_the_centre_that_was_said_and_new_kspace_has_its_own(scan):
    said = off(scan, (0, 5, -5)).recentre((16, 30, 27))  # wrong, but said: the data are off by five
    assert said.kspace is not None and said.centre.index == (16, 30, 27)
    steps = (
        said.whiten(), said.undersample(scan.mask), said.select_coils([2, 0, 1]), said.hybrid(), said.compress_coils(3),
        said.evolve("noted"), said.to("cpu"),
    )  # fmt: skip
    assert [step.centre.index for step in steps] == [(16, 30, 27)] * len(steps)
    centred = off(scan, (0, 0, 0))
    assert centred.centre.index == (16, 30, 27)
    rolled = centred.evolve("mine", kspace=np.roll(centred.kspace, (4, -6), (2, 3)))
    assert rolled.centre.index == (16, 34, 21)
