"""Zeros are no measurements, whatever a mask or a header says: found per sample, in every format without a mask."""

import warnings

import h5py
import numpy as np
import pytest

import mrrecon as mr
from mrrecon import solvers
from mrrecon.errors import FileFormatError, MaskError
from mrrecon.io.measured import nonzero, sampling_pattern

SHAPE = (16, 40, 36)


@pytest.fixture(scope="module")
def kspace(make):
    """K-space (coils, x, y, z) with noise, so that no sample is zero by itself."""
    rng = np.random.default_rng(4)
    images = make.phantom(SHAPE, 4) * np.exp(1j * np.arange(4)).reshape(-1, 1, 1, 1)
    noise = rng.standard_normal((2, 4, *SHAPE))
    return (make.fft(images, (1, 2, 3)) + 0.01 * (noise[0] + 1j * noise[1])).astype(np.complex64)


@pytest.fixture(scope="module")
def slices(make, kspace):
    """The same as 2D slices (slices, coils, height, width)."""
    return np.ascontiguousarray(make.ifft(kspace, (1,)).transpose(1, 0, 2, 3)).astype(np.complex64)


def lines(n=36, every=3):
    """Columns of an equispaced mask with a full centre."""
    columns = np.arange(n) % every == 0
    columns[n // 2 - 5 : n // 2 + 5] = True
    return columns


def store(path, array):
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        stored = array.transpose(1, 2, 3, 0)
        path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, stored.shape)) + "\n")
        stored.ravel(order="F").tofile(path)
    return path


BARE = pytest.mark.parametrize("suffix", [".npy", ".cfl"])


@BARE
def test_a_partial_echo_is_a_mask_of_three_axes(tmp_path, kspace, suffix):
    mask = np.broadcast_to(lines(), SHAPE).copy()
    mask[:4] = False
    scan = mr.read(store(tmp_path / f"a{suffix}", kspace * mask))
    np.testing.assert_array_equal(scan.mask, mask)
    assert scan.acceleration == pytest.approx(mask.size / mask.sum())


@BARE
def test_lines_of_different_length_are_measured_as_far_as_they_go(tmp_path, kspace, suffix):
    """An ellipsoid of samples: the ends of every line were filled with zeros."""
    grid = np.meshgrid(*[(np.arange(n) - n // 2) / (n / 2) for n in SHAPE], indexing="ij")
    ball = sum(g**2 for g in grid) <= 1
    scan = mr.read(store(tmp_path / f"a{suffix}", kspace * ball))
    np.testing.assert_array_equal(scan.mask, ball)


@BARE
def test_zero_filled_ends_of_phase_encoding_are_a_mask_of_two_axes(tmp_path, kspace, suffix):
    mask = np.zeros(SHAPE[1:], bool)
    mask[5:, :30] = True
    scan = mr.read(store(tmp_path / f"a{suffix}", kspace * mask))
    np.testing.assert_array_equal(scan.mask, mask)
    assert mr.read(tmp_path / f"a{suffix}", hybrid=False).mask.shape == SHAPE[1:]


@BARE
def test_single_zeros_within_lines_are_measured(tmp_path, kspace, suffix, rng):
    """Integer samples of one coil are zero here and there."""
    taken = rng.random(SHAPE) > 0.005
    scan = mr.read(store(tmp_path / f"a{suffix}", kspace[:1] * taken * lines()))
    np.testing.assert_array_equal(scan.mask, np.broadcast_to(lines(), SHAPE[1:]))


def test_three_dimensional_random_sampling_is_kept(tmp_path, kspace, rng):
    mask = rng.random(SHAPE) < 0.5
    mask[5:11, 15:25, 13:23] = True
    np.testing.assert_array_equal(mr.read(store(tmp_path / "a.npy", kspace * mask)).mask, mask)


def test_an_explicit_mask_is_checked_against_the_samples(tmp_path, kspace):
    """A mask of lines; positions that hold nothing are dropped, many of them are refused; the rest is left out."""
    half = np.arange(36) < 30
    store(tmp_path / "a.npy", kspace * half)
    np.save(tmp_path / "m.npy", half & lines())
    with pytest.warns(UserWarning, match=r"measured positions lie outside the mask and are left out"):
        scan = mr.read(tmp_path / "a.npy", mask=tmp_path / "m.npy")
    np.testing.assert_array_equal(scan.mask, np.broadcast_to(half & lines(), SHAPE[1:]))
    assert not scan.kspace[..., ~(half & lines())].any()
    few = np.broadcast_to(half, SHAPE[1:]).copy()
    few[0, 30:] = True
    np.save(tmp_path / "m.npy", few)
    with pytest.warns(UserWarning, match="6 of the 1206 positions of the mask hold nothing but zeros"):
        scan = mr.read(tmp_path / "a.npy", mask=tmp_path / "m.npy")
    np.testing.assert_array_equal(scan.mask, np.broadcast_to(half, SHAPE[1:]))
    np.save(tmp_path / "m.npy", np.ones(36))
    with pytest.raises(MaskError, match="240 of the 1440 positions of the mask hold no data"):
        mr.read(tmp_path / "a.npy", mask=tmp_path / "m.npy")


def test_nothing_but_zeros(tmp_path):
    with pytest.raises(FileFormatError, match="only zeros"):
        mr.read(store(tmp_path / "a.npy", np.zeros((2, 8, 8, 8), np.complex64)))


# ---- fastMRI: the header, the mask and the samples say what was measured ------------------------------------


def limits(make, low=0, high=35, centre=18):
    return make.header((40, 36, 1), (200, 180, 5), limits=make.limit(1, low, high, centre))


@pytest.mark.parametrize("with_header", [True, False])
def test_masked_without_mask(tmp_path, make, slices, with_header):
    path = make.fastmri(tmp_path / "a.h5", slices * lines(), limits(make) if with_header else None)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        scan = mr.read(path)
    np.testing.assert_array_equal(scan.mask, np.broadcast_to(lines(), SHAPE[1:]))
    assert [f"{36 - lines().sum()} of these hold nothing but zeros" in str(w.message) for w in said] == [
        True
    ] * with_header
    complete = mr.read(make.fastmri(tmp_path / "b.h5", slices))
    image, truth = solvers.CGSense()(scan.calibrate()).volume, solvers.ZeroFilled()(complete).volume
    assert np.linalg.norm(abs(image) - abs(truth)) < 0.15 * np.linalg.norm(truth)


@pytest.mark.parametrize("lazy", [False, True])
def test_slices_with_masks_of_their_own_are_refused_and_read_one_by_one(tmp_path, make, slices, lazy):
    masks = np.stack([lines()] * len(slices))
    masks[7] = np.roll(lines(), 1) | (abs(np.arange(36) - 18) < 5)  # not among those looked at when a file is opened
    path = make.fastmri(tmp_path / "a.h5", slices * masks[:, None, None])
    with pytest.raises(MaskError, match=r"sampled with different masks.* slices=\(FIRST, STOP\)"):
        mr.read(path, lazy=True).slab(6, 8) if lazy else mr.read(path)
    with h5py.File(path, "a") as f:
        f["reconstruction_rss"] = np.arange(16 * 40 * 36, dtype=np.float32).reshape(16, 40, 36)
    first, alone = mr.read(path, slices=(0, 7), lazy=lazy), mr.read(path, slices=(7, 8), lazy=lazy)
    assert first.shape == (7, 40, 36) and alone.shape == (1, 40, 36)
    for scan, part in ((first, np.s_[0:7]), (alone, np.s_[7:8])):
        np.testing.assert_array_equal(scan.mask, np.broadcast_to(masks[part][0], (40, 36)))
        np.testing.assert_array_equal(scan.kspace[...], (slices * masks[:, None, None])[part].transpose(1, 0, 2, 3))
        assert scan.reference[0, 0, 0].real == part.start * 40 * 36
    whole = mr.read(make.fastmri(tmp_path / "b.h5", slices))
    start = whole.affine @ [7, 0, 0, 1]
    np.testing.assert_allclose(alone.affine @ [0, 0, 0, 1], start)
    for bad in ((3, 3), (-1, 4), (0, 17)):
        with pytest.raises(FileFormatError, match="there are slices 0 to 15"):
            mr.read(path, slices=bad)


def test_slices_that_hold_nothing_are_mentioned(tmp_path, make, slices):
    array = slices * lines()
    array[:2] = 0
    with pytest.warns(UserWarning, match="along x hold nothing but zeros"):
        scan = mr.read(make.fastmri(tmp_path / "a.h5", array))
    np.testing.assert_array_equal(scan.mask, np.broadcast_to(lines(), SHAPE[1:]))


@pytest.mark.parametrize(
    ("low", "high", "centre", "match"),
    [(0, 29, 15, "gives 30 measured lines, but 6 others hold data"), (0, 35, 18, None), (4, 29, 18, "10 others hold")],
)
def test_limits_that_are_not_true(tmp_path, make, slices, low, high, centre, match):
    """Lines outside the limits that hold data were measured; what holds next to nothing was not."""
    path = make.fastmri(tmp_path / "a.h5", slices, limits(make, low, high, centre))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        scan = mr.read(path)
    assert scan.mask.all()
    assert not said if match is None else match in str(said[0].message)
    claimed = np.zeros(36, bool)
    claimed[18 - centre + low : 18 - centre + high + 1] = True
    faint = np.where(claimed, slices, 1e-6 * slices)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan = mr.read(make.fastmri(tmp_path / "b.h5", faint, limits(make, low, high, centre)))
    np.testing.assert_array_equal(scan.mask, np.broadcast_to(claimed, SHAPE[1:]))
    assert not scan.kspace[..., ~claimed].any()


def test_masks_in_the_file_that_contradict_the_samples(tmp_path, make, slices):
    more = lines() | (np.arange(36) < 4)
    with pytest.warns(UserWarning, match="of 'mask' hold nothing but zeros and count as not measured"):
        scan = mr.read(make.fastmri(tmp_path / "a.h5", slices * lines(), mask=more))
    np.testing.assert_array_equal(scan.mask, np.broadcast_to(lines(), SHAPE[1:]))
    with pytest.warns(UserWarning, match="lie outside 'mask' and are left out"):
        scan = mr.read(make.fastmri(tmp_path / "b.h5", slices, mask=lines()))
    np.testing.assert_array_equal(scan.mask, np.broadcast_to(lines(), SHAPE[1:]))
    assert not scan.kspace[..., ~lines()].any()
    with pytest.raises(MaskError, match="hold no data in the k-space"):
        mr.read(make.fastmri(tmp_path / "c.h5", slices * lines(), mask=~lines()))


def test_a_mask_file_takes_the_place_of_that_in_the_file(tmp_path, make, slices):
    np.save(tmp_path / "m.npy", lines(every=4))
    path = make.fastmri(tmp_path / "a.h5", slices, mask=lines())
    with pytest.warns(UserWarning, match="left out"):
        scan = mr.read(path, mask=tmp_path / "m.npy", voxel_size=(4, 1, 2))
    np.testing.assert_array_equal(scan.mask, np.broadcast_to(lines(every=4), SHAPE[1:]))
    assert scan.voxel_size == (4, 1, 2)
    np.testing.assert_allclose(np.linalg.norm(scan.affine[:3, :3], axis=0), (4, 1, 2))


def test_a_partial_readout_keeps_its_oversampling(tmp_path, make, slices):
    """Of a readout with zeros at an end, cropping in the image domain would make samples of nothing."""
    xml = make.header((40, 36, 1), (200, 180, 5), 20, 100, make.limit(1, 0, 35, 18))
    array = slices.copy()
    array[:, :, :8] = 0
    with pytest.warns(UserWarning, match="oversampling cannot be cropped"):
        scan = mr.read(make.fastmri(tmp_path / "a.h5", array, xml))
    assert scan.shape == SHAPE and scan.readout == "y"
    assert not scan.mask[:8].any() and scan.mask[8:].all()
    assert mr.read(make.fastmri(tmp_path / "b.h5", slices, xml)).shape == (16, 20, 36)


# ---- the parts ------------------------------------------------------------------------------------------------


def test_nonzero_reads_any_order(tmp_path, rng):
    array = (rng.random((3, 4, 5, 6)) < 0.2).astype(np.complex64)
    for coils in (0, 1, 3, None):
        expected = array != 0 if coils is None else (array != 0).any(axis=coils)
        np.testing.assert_array_equal(nonzero(array, coils), expected)
        np.testing.assert_array_equal(nonzero(np.asfortranarray(array), coils), expected)
    np.testing.assert_array_equal(nonzero(array, 1, [0, 2]), (array[[0, 2]] != 0).any(axis=1))


def test_noiseless_slices_may_have_zeros_of_their_own(tmp_path):
    taken = np.ones((5, 8, 20), bool)
    taken[1, :, 4:6] = False
    with pytest.warns(UserWarning, match="up to 10%"):
        assert sampling_pattern(taken, tmp_path, hybrid=True, readout="y").all()
    taken[:, :, 9] = False
    taken[[0, 2, 3, 4], :, 10] = False
    with pytest.raises(MaskError, match="different masks"):
        sampling_pattern(taken, tmp_path, hybrid=True, readout="y")
