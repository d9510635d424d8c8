"""Siemens twix: files laid out byte by byte as the format is, and files of real scanners with right answers."""

import json

import numpy as np
import pytest

import mrrecon as mr
from mrrecon.errors import FileFormatError
from mrrecon.io.regridding import RampSampling, positions

pytest.importorskip("twixtools")
from twix_scans import block, protocol, sync_block, write_twix, write_vb

OVERSAMPLED = {"flReadoutOSFactor": 2.0}


def volume_blocks(kspace, keep=None, flags=(), **more):
    _, n_x, n_y, n_z = kspace.shape
    return [
        block(kspace[:, :, y, z], flags, center=(n_x // 2, n_y // 2, n_z // 2), Lin=y, Par=z, **more)
        for y in range(n_y)
        for z in range(n_z)
        if keep is None or keep[y, z]
    ]


def plane_blocks(kspace, flags=(), **more):
    """Lines of one slice ``(coils, x, y)``."""
    _, n_x, n_y = kspace.shape
    return [block(kspace[:, :, y], flags, center=(n_x // 2, n_y // 2, 0), Lin=y, **more) for y in range(n_y)]


def magnitude(scan, make):
    """Root of the sum of squares of the coil images, ``(x, y, z)``."""
    axes = tuple(axis + 1 for axis, domain in enumerate(scan.domains) if domain == "kspace")
    return np.sqrt((np.abs(make.ifft(np.asarray(scan.kspace), axes)) ** 2).sum(axis=0))


def test_3d_with_noise_scan_and_other_readouts(tmp_path, make, rng):
    images = make.phantom((16, 12, 10), 3)
    images[:, :4] = images[:, 12:] = 0
    kspace = make.fft(images, (1, 2, 3))
    noise = (rng.standard_normal((3, 256)) + 1j * rng.standard_normal((3, 256))).astype(np.complex64)
    keep = rng.random((12, 10)) < 0.6
    keep[0, 0] = keep[6, 5] = True
    scan_blocks = volume_blocks(kspace, keep, position=(10.0, 20.0, 30.0))
    junk = [block(np.full((3, 16), 1e6), flags=[f]) for f in ("PHASCOR", "RTFEEDBACK")]
    path = write_twix(tmp_path / "meas.dat", [[block(noise, flags=["NOISEADJSCAN"])], junk + scan_blocks])
    scan = mr.read(path)
    assert scan.shape == (8, 12, 10) and scan.domains == ("image", "kspace", "kspace")
    np.testing.assert_array_equal(scan.mask, keep)
    expected = make.fft(images[:, 4:12], (2, 3)) * keep
    np.testing.assert_allclose(scan.kspace, expected, atol=3e-6)
    np.testing.assert_allclose(scan.noise_covariance, noise @ noise.conj().T / 256, rtol=1e-5)
    assert scan.voxel_size == pytest.approx((20.0, 10.0, 5.0))
    np.testing.assert_allclose(scan.affine @ [4, 6, 5, 1], [-10, -20, 30, 1], atol=1e-4)


def test_averages_reflected_lines_and_partial_fourier(tmp_path, make):
    """Two averages; every other line sampled backwards; the first three lines never measured."""
    kspace = make.fft(make.phantom((16, 12, 10), 2), (1, 2, 3))
    blocks = []
    for average, factor in ((0, 1.5), (1, 0.5)):
        for y in range(3, 12):
            for z in range(10):
                line = factor * kspace[:, :, y, z]
                line, flags = (line[:, ::-1], ["REFLECT"]) if y % 2 == 1 else (line, [])
                blocks.append(block(line, flags, center=(8, 3, 5), Lin=y - 3, Par=z, Ave=average))
    scan = mr.read(write_twix(tmp_path / "meas.dat", [blocks]), remove_oversampling=False)
    keep = np.zeros((12, 10), bool)
    keep[3:] = True
    np.testing.assert_array_equal(scan.mask, keep)
    np.testing.assert_allclose(make.fft(scan.kspace, (1,)), kspace * keep, atol=3e-6)


def test_2d_slices_and_repetitions(tmp_path, make):
    images = make.phantom((8, 16, 12), 2)[:, 2:6]
    kspace = make.fft(images, (2, 3))
    blocks = [
        block((1 + rep) * kspace[:, s, :, y], center=(8, 6, 0), position=(0, 0, 6.0 * s), Lin=y, Sli=s, Rep=rep)
        for rep in range(2)
        for s in range(4)
        for y in range(12)
    ]
    path = write_twix(tmp_path / "meas.dat", [blocks], protocol(12, 1, (80, 60, 5)))
    scan = mr.read(path, repetition=1, remove_oversampling=False)
    np.testing.assert_allclose(make.ifft(scan.kspace, (2, 3)), 2 * images, atol=5e-6)
    assert scan.voxel_size == pytest.approx((6.0, 10.0, 5.0)) and scan.readout == "y"
    with pytest.raises(FileFormatError, match="no repetition 2"):
        mr.read(path, repetition=2)


def test_truncated_and_damaged(tmp_path, make):
    kspace = make.fft(make.phantom((16, 12, 10), 2), (1, 2, 3))
    path = write_twix(tmp_path / "meas.dat", [volume_blocks(kspace)])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileFormatError, match="truncated"):
        mr.read(path)
    header = int.from_bytes(whole[10240:10244], "little")
    broken = bytearray(whole)
    broken[10240 + header + 40 : 10240 + header + 52] = bytes([32] + [0] * 11)  # SYNCDATA of no length: never ends
    broken[10240 + header : 10240 + header + 4] = bytes(4)
    path.write_bytes(bytes(broken))
    with pytest.raises(FileFormatError, match="damaged at byte"):
        mr.read(path)
    path.write_bytes(write_twix(path, [[]]).read_bytes())
    with pytest.raises(FileFormatError, match="no imaging readouts"):
        mr.read(path)
    rng = np.random.default_rng(3)
    for _ in range(60):  # any other damage too ends in one of our errors, or goes unnoticed in the samples
        broken = bytearray(whole)
        for at in rng.integers(0, 12000, 6):
            broken[at] = rng.integers(0, 256)
        path.write_bytes(bytes(broken))
        try:
            mr.read(path)
        except mr.errors.MRReconError as error:
            assert "meas.dat" in str(error)


def test_vb_has_the_same_image_as_vd(tmp_path, make):
    kspace = make.fft(make.phantom((16, 12, 10), 3), (1, 2, 3))
    header = protocol(meas=OVERSAMPLED)
    vd = mr.read(write_twix(tmp_path / "vd.dat", [volume_blocks(kspace)], header))
    vb = mr.read(write_vb(tmp_path / "vb.dat", volume_blocks(kspace, vb=True), header))
    np.testing.assert_array_equal(vb.kspace, vd.kspace)
    np.testing.assert_allclose(vb.affine, vd.affine)
    assert vb.voxel_size == pytest.approx((20.0, 10.0, 5.0))


def test_other_blocks_between_readouts(tmp_path, make):
    """Physiological data of any size between any two readouts, and readouts of other sizes among them."""
    images = make.phantom((16, 12, 10), 2)
    blocks = volume_blocks(make.fft(images, (1, 2, 3)))
    mixed = []
    for i, one in enumerate(blocks):
        mixed += [sync_block(256 + 32 * (i % 5))] * (i % 7 == 3)
        mixed += [block(np.full((1, 24), 1e3), ["RTFEEDBACK"])] * (i % 11 == 5)
        mixed += [one]
    path = write_twix(tmp_path / "meas.dat", [mixed], protocol(meas={"flReadoutOSFactor": 1.0}))
    scan = mr.read(path, lazy=True)
    assert scan.is_lazy and scan.mask.all()
    np.testing.assert_allclose(make.ifft(scan.kspace[:, 3:5], (2, 3)), images[:, 3:5], atol=3e-6)


@pytest.mark.parametrize("factor", [1.0, 1.5, 2.0, 4.0])
def test_readout_oversampling_is_the_stated_one(tmp_path, make, factor, recwarn):
    """The same object, sampled `factor` times as densely as 16 columns need."""
    wide = round(16 * factor)
    images = np.zeros((2, wide, 12, 10), np.complex64)
    images[:, wide // 2 - 8 : wide // 2 + 8] = make.phantom((16, 12, 10), 2)
    header = protocol(base=16, meas={"flReadoutOSFactor": factor})
    scan = mr.read(write_twix(tmp_path / "meas.dat", [volume_blocks(make.fft(images, (1, 2, 3)))], header))
    assert scan.shape == (16, 12, 10) and scan.voxel_size == pytest.approx((10, 10, 5))
    np.testing.assert_allclose(make.ifft(scan.kspace, (2, 3)), make.phantom((16, 12, 10), 2), atol=5e-6)
    assert not recwarn.list


def test_field_of_view_with_oversampled_phases_and_partitions(tmp_path, make):
    """Lines and partitions of the protocol count their oversampling; resolution only changes their number."""
    kspace = make.fft(make.phantom((16, 12, 10), 2), (1, 2, 3))
    more = {
        "sKSpace.dPhaseOversamplingForDialog": 0.5,
        "sKSpace.dSliceOversamplingForDialog": 0.25,
        "sKSpace.dPhaseResolution": 0.8,
        "sKSpace.ucDimension": "0x4",
    }
    header = protocol(12, 10, (160, 120, 40), 16, more, {"flReadoutOSFactor": 1.0})
    scan = mr.read(write_twix(tmp_path / "meas.dat", [volume_blocks(kspace)], header))
    assert scan.voxel_size == pytest.approx((10, 120 * 1.5 / 12, 40 * 1.25 / 10))


@pytest.mark.parametrize("stated", [12, 16, 8])
def test_a_centre_that_no_readout_states_is_found(tmp_path, make, stated):
    """Lines 0 to 11, the centre line said to be 0, as pulseq leaves it: twelve lines, whatever the protocol says."""
    images = make.phantom((1, 16, 12), 2)[:, 0]
    kspace = make.fft(images, (1, 2))
    blocks = [block(kspace[:, :, y], center=(8, 0, 0), Lin=y) for y in range(12)]
    header = protocol(stated, 1, (160, 120, 5), 16, meas={"flReadoutOSFactor": 1.0})
    with pytest.warns(UserWarning, match="no centre line; it is taken as 6 of 12"):
        scan = mr.read(write_twix(tmp_path / "meas.dat", [blocks], header))
    assert scan.shape == (1, 16, 12) and scan.mask.all()
    np.testing.assert_allclose(make.ifft(scan.kspace[:, 0], (1, 2)), images, atol=5e-6)
    said = mr.read(tmp_path / "meas.dat", center_lines=(5, 0), center="keep")
    start = said.shape[2] // 2 - 5
    assert said.mask[0, start : start + 12].all() and said.mask.sum() == 16 * 12


def test_a_centre_that_no_readout_states_in_a_volume_with_partial_fourier(tmp_path, make):
    """Partitions 0 to 19, and every second of 24 lines up to line 16: the protocol knows the matrix."""
    images = make.phantom((16, 24, 20), 2)
    kspace = make.fft(images, (1, 2, 3))
    keep = np.zeros((24, 20), bool)
    keep[0:17:2] = keep[8:16] = True
    blocks = [block(kspace[:, :, y, z], center=(8, 0, 0), Lin=y, Par=z) for y, z in np.argwhere(keep)]
    header = protocol(24, 20, meas={"flReadoutOSFactor": 1.0})
    with pytest.warns(
        UserWarning, match=r"line; it is taken as 12 of 24.* no centre partition; it is taken as 10 of 20"
    ):
        scan = mr.read(write_twix(tmp_path / "meas.dat", [blocks], header), center="keep")
    np.testing.assert_array_equal(scan.mask, keep)
    np.testing.assert_allclose(make.fft(scan.kspace, (1,)), kspace * keep, atol=1e-5)


def test_reference_lines_fill_the_image_and_other_references_do_not(tmp_path, make):
    kspace = make.fft(make.phantom((16, 12, 10), 2), (1, 2, 3))
    every = np.zeros((12, 10), bool)
    every[::2] = True
    middle = np.zeros((12, 10), bool)
    middle[3:9] = True
    other = 1e3 * np.ones_like(kspace)
    blocks = volume_blocks(kspace, every & ~middle)
    blocks += volume_blocks(kspace, every & middle, ["PATREFSCAN", "PATREFANDIMASCAN"])
    blocks += volume_blocks(kspace, ~every & middle, ["PATREFSCAN"])
    for flag in ("SLICE_ACCEL_REFSCAN", "SLICE_ACCEL_PHASCOR", "CT_NORMALIZE", "MDH_VOP", "RETRO_DUMMYSCAN"):
        blocks += volume_blocks(other, middle, [flag])
    header = protocol(more={"sPat.ucRefScanMode": "0x2"}, meas={"flReadoutOSFactor": 1.0})
    scan = mr.read(write_twix(tmp_path / "meas.dat", [blocks], header))
    np.testing.assert_array_equal(scan.mask, every | middle)
    np.testing.assert_allclose(make.fft(scan.kspace, (1,)), kspace * scan.mask, atol=5e-6)


@pytest.mark.parametrize("mode", [2, 4])
def test_ramp_samples_are_resampled(tmp_path, make, mode):
    """A box of known edges, 40 of 64 columns wide, sampled on the ramps: its image is flat and ends where it should."""
    lobe = RampSampling({2: "trapezoid", 4: "sinusoid"}[mode], 160, 240, 160, 32, 496)
    at, lines = positions(lobe, 128), np.arange(32) - 16
    x = np.arange(-20, 20)
    profile = np.exp(-2j * np.pi * np.outer(at, x) / 128).sum(axis=1)
    along = np.exp(-2j * np.pi * np.outer(lines, np.arange(-9, 9)) / 32).sum(axis=1)
    blocks = []
    for y in range(32):
        line = np.stack([profile * along[y], 1j * profile * along[y]])
        line, flags = (line[:, ::-1], ["REFLECT"]) if y % 2 else (line, [])
        blocks.append(block(line, flags, center=(64, 16, 0), Lin=y))
    meas = {"alRegridMode": [mode, 1], "alRegridRampupTime": [160, 0], "alRegridFlattopTime": [240, 0]}
    meas |= {"alRegridRampdownTime": [160, 0], "alRegridDelaySamplesTime": [32, 0]}
    meas |= {"aflRegridADCDuration": [496.0, 0.0], "flReadoutOSFactor": 2.0}
    path = write_twix(tmp_path / "meas.dat", [blocks], protocol(32, 1, (200, 200, 4), 64, meas=meas))
    image = magnitude(mr.read(path), make)[0]
    image /= image[32, 16]
    assert image.shape == (64, 32)
    np.testing.assert_allclose(image[12:52, 7:25], 1, atol=0.02)
    assert image[:11].max() < 0.02 and image[53:].max() < 0.02
    raw = magnitude(mr.read(path, regrid=False), make)[0]
    assert raw[:11].max() > 0.1 * raw.max()  # wider
    meas["alRegridMode"] = [8, 1]
    path = write_twix(tmp_path / "unknown.dat", [blocks], protocol(32, 1, (200, 200, 4), 64, meas=meas))
    with pytest.raises(FileFormatError, match=r"alRegridMode = 8.*regrid=False"):
        mr.read(path)


def test_a_measurement_without_an_end_is_noted(tmp_path, make):
    """The last blocks of a file whose table does not state the length are missing, cut between two readouts."""
    blocks = volume_blocks(make.fft(make.phantom((16, 12, 10), 2), (1, 2, 3)))
    path = write_twix(tmp_path / "meas.dat", [blocks], protocol(meas={"flReadoutOSFactor": 1.0}))
    whole = bytearray(path.read_bytes())
    whole[24:32] = bytes(8)
    start = 10240 + int.from_bytes(whole[10240:10244], "little")
    path.write_bytes(bytes(whole[: start + 100 * len(blocks[0])]))
    with pytest.warns(UserWarning, match="no end mark"):
        assert np.count_nonzero(mr.read(path).mask) == 100
    path.write_bytes(bytes(whole[: start + 100 * len(blocks[0]) + 300]))
    with pytest.raises(FileFormatError, match="truncated"):
        mr.read(path)


def test_what_is_no_image_is_refused(tmp_path, make, rng):
    decay = (rng.standard_normal((2, 256)) * np.exp(-np.arange(256) / 50)).astype(np.complex64)
    shots = [block(decay, Rep=r) for r in range(4)]
    with pytest.raises(FileFormatError, match="not an image: each repetition is one readout of 256 samples"):
        mr.read(write_twix(tmp_path / "one.dat", [shots], protocol(1, 1)))
    shots = [block(decay, center=(0, 4, 0), Lin=y) for y in range(8)]
    with pytest.raises(FileFormatError, match=r"spectroscopy \(spectra of 128 points\), not an image"):
        mr.read(write_twix(tmp_path / "csi.dat", [shots], protocol(8, 1, more={"sSpecPara.lVectorSize": 128})))
    plane = plane_blocks(make.fft(make.phantom((1, 16, 12), 2)[:, 0], (1, 2)))
    for key, value, words in (
        ("sSliceAcceleration.lMultiBandFactor", 2, "excites 2 slices together"),
        ("sKSpace.ucTrajectory", "0x2", "radial trajectory"),
        ("sKSpace.ucTrajectory", 4, "spiral trajectory"),
    ):
        with pytest.raises(FileFormatError, match=words):
            mr.read(write_twix(tmp_path / "meas.dat", [plane], protocol(12, 1, more={key: value})))


def test_which_measurement_is_said_and_chosen(tmp_path, make):
    images = make.phantom((1, 16, 12), 2)[:, 0]
    kspace = make.fft(images, (1, 2))
    header = protocol(12, 1, meas={"flReadoutOSFactor": 1.0})
    scans = [plane_blocks(kspace), plane_blocks(3 * kspace), [block(kspace[:, :, 0], ["NOISEADJSCAN"])]]
    path = write_twix(tmp_path / "meas.dat", scans, header, ("first", "second", "noise"))
    with pytest.warns(UserWarning, match=r"3 measurements \(0 first, 1 second, 2 noise\); read measurement=1"):
        scan = mr.read(path)
    np.testing.assert_allclose(make.ifft(scan.kspace[:, 0], (1, 2)), 3 * images, atol=2e-5)
    np.testing.assert_allclose(make.ifft(mr.read(path, measurement=0).kspace[:, 0], (1, 2)), images, atol=5e-6)
    assert scan.provenance[0].settings["protocol"] == "second"
    for asked, words in ((2, "no imaging readouts in measurement 2"), (3, "no measurement 3; it has 3")):
        with pytest.raises(FileFormatError, match=words):
            mr.read(path, measurement=asked)


def test_noise_is_scaled_to_the_bandwidth_of_the_scan(tmp_path, make, rng):
    """Readouts of 7.68 ms at 256 samples are 30 us a sample; imaging at 5 us has 6 times the noise power, over 0.79."""
    kspace = make.fft(make.phantom((16, 12, 10), 3), (1, 2, 3))
    noise = (rng.standard_normal((3, 256)) + 1j * rng.standard_normal((3, 256))).astype(np.complex64)
    header = protocol(more={"sRXSPEC.alDwellTime[0]": 5000}, meas={"flReadoutOSFactor": 1.0})
    blocks = [block(noise, ["NOISEADJSCAN"]), *volume_blocks(kspace)]
    scan = mr.read(write_twix(tmp_path / "meas.dat", [blocks], header))
    np.testing.assert_allclose(scan.noise_covariance, noise @ noise.conj().T / 256 * 6 / 0.79, rtol=1e-4)


def test_without_a_protocol_the_voxel_size_is_said(tmp_path, make):
    images = make.phantom((16, 12, 10), 2)
    path = write_twix(tmp_path / "meas.dat", [volume_blocks(make.fft(images, (1, 2, 3)))], {})
    with pytest.warns(UserWarning, match=r"field of view: voxels of 1 mm are assumed \(voxel_size=\)"):
        scan = mr.read(path, remove_oversampling=False)
    assert scan.voxel_size == (1, 1, 1)
    assert mr.read(path, remove_oversampling=False, voxel_size=(2, 3, 4)).voxel_size == (2, 3, 4)
    np.testing.assert_allclose(make.ifft(scan.kspace, (2, 3)), images, atol=5e-6)


def test_asymmetric_echo_is_sampled_in_part(tmp_path, make):
    """The first 4 of 16 columns were not sampled: they are no zeros that were measured."""
    kspace = make.fft(make.phantom((16, 12, 10), 2), (1, 2, 3))
    blocks = [block(kspace[:, 4:, y, z], center=(4, 6, 5), Lin=y, Par=z) for y in range(12) for z in range(10)]
    scan = mr.read(write_twix(tmp_path / "meas.dat", [blocks], protocol(base=16, meas={"flReadoutOSFactor": 1.0})))
    assert scan.domains[0] == "kspace" and scan.shape == (16, 12, 10)
    assert not scan.mask[:4].any() and scan.mask[4:].all()
    np.testing.assert_allclose(scan.kspace[:, 4:], kspace[:, 4:], atol=5e-6)


def test_directions_are_those_of_the_quaternion(tmp_path, make):
    """Oblique slab: image axes against Siemens' readout and phase-encoding directions, by twixtools' rotation."""
    from twixtools.geometry import quat_to_rotmat

    turn = np.array([0.7, -0.2, 0.3, 0.6])
    turn /= np.linalg.norm(turn)
    kspace = make.fft(make.phantom((16, 12, 10), 2), (1, 2, 3))
    blocks = volume_blocks(kspace, position=(10.0, 20.0, 30.0), quaternion=tuple(turn))
    scan = mr.read(write_twix(tmp_path / "meas.dat", [blocks], protocol(meas={"flReadoutOSFactor": 1.0})))
    phase, read, normal = quat_to_rotmat(*turn).T
    columns = np.stack([-10 * read, -10 * phase, 5 * normal], axis=1) * [[-1], [-1], [1]]
    np.testing.assert_allclose(scan.affine[:3, :3], columns, atol=1e-5)
    np.testing.assert_allclose(scan.affine @ [8, 6, 5, 1], [-10, -20, 30, 1], atol=1e-4)


# ---- measured by scanners ---------------------------------------------------------------------------------------


def blocks_of(image):
    """Means of 8 x 8 blocks, over the largest."""
    means = np.array([[part.mean() for part in np.array_split(row, 8, 1)] for row in np.array_split(image, 8, 0)])
    return means / means.max()


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "answer", "options", "said"),
    [
        ("twixtools_gre", "twixtools_gre", {}, None),
        ("twixtools_gre_bodycoil", "twixtools_gre_bodycoil", {}, "holds 2 repetitions, of which repetition=0 is read"),
        ("twixtools_gre_bodycoil", "twixtools_gre_bodycoil repetition 1", {"repetition": 1}, None),
        ("twixtools_singlechannel", "twixtools_singlechannel", {}, None),
        ("twixtools_epi", "twixtools_epi regridded, ghost-corrected", {}, None),
        ("pulseq_brain_gre", "pulseq_brain_gre", {}, "no centre line; it is taken as 64 of 128"),
    ],
)
def test_files_of_scanners_have_the_right_answers(data_dir, make, recwarn, name, answer, options, said):
    expected = json.loads((data_dir / "raw" / "expected.json").read_text())[answer]
    scan = mr.read(data_dir / "raw" / f"{name}.dat", **options)
    image = magnitude(scan, make)[0]
    assert scan.shape == (1, *expected["shape"]) and scan.readout == "y"
    np.testing.assert_allclose(scan.voxel_size, expected["voxel_mm"], rtol=1e-6)
    assert scan.acceleration == pytest.approx(256 / 214 if name.endswith("singlechannel") else 1, abs=1e-3)
    assert np.corrcoef(blocks_of(image).ravel(), np.ravel(expected["blocks_8x8"]))[0, 1] > (
        0.99 if "epi" in name else 0.999
    )
    weights = image**2 / (image**2).sum()
    centroid = [(np.arange(n) * weights.sum(axis=1 - axis)).sum() for axis, n in enumerate(image.shape)]
    np.testing.assert_allclose(centroid, expected["centroid_of_squared_image"], atol=0.05)
    assert np.linalg.norm(image) == pytest.approx(expected["norm"], rel=5e-3)
    notes = [str(w.message) for w in recwarn]
    assert any(said in note for note in notes) if said else not notes


@pytest.mark.data
def test_the_phantom_lies_where_the_scanner_saw_it(data_dir, make):
    """A ring of the phantom, and the brightest quarter (the resolution insert) at the patient's back."""
    scan = mr.read(data_dir / "raw" / "twixtools_gre.dat")
    np.testing.assert_allclose((scan.affine @ [0, 41.5, 119.4, 1])[:3], (50.7, -4.7, -52.1), atol=0.3)
    centre = scan.affine @ [0, 80, 80, 1]
    np.testing.assert_allclose(centre[:3], (2.59, -53.92, -54.0), atol=0.05)
