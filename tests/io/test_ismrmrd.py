"""ISMRMRD: files by the official package and ismrmrd-tools, and ours read by the official package."""

import subprocess
import warnings

import h5py
import numpy as np
import pytest

import mrrecon as mr
from mrrecon.errors import DataError, FileFormatError, OutputError

SHAPE = (8, 12, 10)  # encoded matrix x, y, z


def lines_3d(make, kspace, keep=None, **more):
    """One readout per (y, z) of kspace (coils, x, y, z), limited to `keep`."""
    _, _, n_y, n_z = kspace.shape
    return [
        {"data": kspace[:, :, y, z], "idx": {"kspace_encode_step_1": y, "kspace_encode_step_2": z}, **more}
        for z in range(n_z) for y in range(n_y) if keep is None or keep[y, z]
    ]  # fmt: skip


def full_limits(make, shape=SHAPE):
    return make.limit(1, 0, shape[1] - 1, shape[1] // 2) + make.limit(2, 0, shape[2] - 1, shape[2] // 2)


def test_3d_with_oversampling_gives_the_image(tmp_path, make):
    """Twofold readout oversampling: the image of the cropped field of view comes back exactly."""
    images = make.phantom((16, 12, 10), 4)
    images[:, :4] = images[:, 12:] = 0  # nothing outside the reconstructed field of view
    xml = make.header((16, 12, 10), (320, 180, 100), 8, 160, full_limits(make))
    path = make.ismrmrd(tmp_path / "a.h5", xml, lines_3d(make, make.fft(images, (1, 2, 3))))
    scan = mr.read(path)
    assert scan.shape == (8, 12, 10)
    assert scan.domains == ("image", "kspace", "kspace")
    assert scan.voxel_size == (20.0, 15.0, 10.0)
    assert scan.mask.all()
    np.testing.assert_allclose(make.ifft(scan.kspace, (2, 3)), images[:, 4:12], atol=2e-6)


def test_lines_go_to_their_place(tmp_path, make, rng):
    """Partial Fourier (centre not in the middle of the counters) and unsampled corners."""
    kspace = make.fft(make.phantom(SHAPE, 2), (1, 2, 3))
    y, z = np.ogrid[:12, :10]
    keep = ((y - 6) ** 2 / 36 + (z - 5) ** 2 / 25 <= 1) & (y >= 3)  # first three lines never measured
    readouts = lines_3d(make, kspace, keep)
    for r in readouts:
        r["idx"]["kspace_encode_step_1"] -= 3
    rng.shuffle(readouts)
    xml = make.header(SHAPE, (80, 120, 100), limits=make.limit(1, 0, 8, 3) + make.limit(2, 0, 9, 5))
    scan = mr.read(make.ismrmrd(tmp_path / "pf.h5", xml, readouts))
    np.testing.assert_array_equal(scan.mask, keep)
    np.testing.assert_allclose(make.fft(scan.kspace, (1,)), kspace * keep, atol=2e-6)


def test_averages_are_averaged_and_noise_follows(tmp_path, make, rng):
    kspace = make.fft(make.phantom(SHAPE, 3), (1, 2, 3)).astype(np.complex64)
    mixing = rng.standard_normal((3, 3)) + 1j * rng.standard_normal((3, 3))
    noise = mixing @ (rng.standard_normal((3, 512)) + 1j * rng.standard_normal((3, 512)))
    readouts = [{"data": noise, "flags": ["ACQ_IS_NOISE_MEASUREMENT"], "dwell": 10.0}]
    for sign in (1, -1):
        for r in lines_3d(make, kspace):
            r["data"] = r["data"] * (1 + 0.25 * sign)
            r["idx"]["average"] = (1 - sign) // 2
            readouts.append({**r, "dwell": 2.5})
    xml = make.header(
        SHAPE, (80, 120, 100), limits=full_limits(make),
        system="<relativeReceiverNoiseBandwidth>0.8</relativeReceiverNoiseBandwidth>",
    )  # fmt: skip
    scan = mr.read(make.ismrmrd(tmp_path / "ave.h5", xml, readouts))
    np.testing.assert_allclose(make.fft(scan.kspace, (1,)), kspace, atol=2e-6)
    # noise power ~ bandwidth: four times the imaging dwell, 0.8 relative; two averages halve it
    expected = noise @ noise.conj().T / 512 * 4 / 0.8 / 2
    np.testing.assert_allclose(scan.noise_covariance, expected, rtol=1e-5)


def test_other_readouts_are_left_out_reversed_ones_flipped_calibration_fills(tmp_path, make):
    kspace = make.fft(make.phantom(SHAPE, 2), (1, 2, 3))
    keep = np.zeros((12, 10), bool)
    keep[::2] = True
    readouts = lines_3d(make, kspace, keep)
    for r in readouts[::3]:
        r["data"], r["flags"] = r["data"][:, ::-1], ["ACQ_IS_REVERSE"]
    calibration = np.zeros((12, 10), bool)
    calibration[4:8] = True
    for r in lines_3d(make, kspace, calibration):  # brighter: must not replace imaging lines, fills gaps corrected
        readouts.append({**r, "data": 7j * r["data"], "flags": ["ACQ_IS_PARALLEL_CALIBRATION"]})
    junk = np.full((2, 8), 1e6)
    for flag in ("NAVIGATION_DATA", "PHASECORR_DATA", "DUMMYSCAN_DATA", "RTFEEDBACK_DATA"):
        readouts.append({"data": junk, "flags": [f"ACQ_IS_{flag}"], "idx": {"kspace_encode_step_1": 6}})
    xml = make.header(SHAPE, (80, 120, 100), limits=full_limits(make))
    with pytest.warns(UserWarning, match="7 times as strong as the image; they are corrected"):
        scan = mr.read(make.ismrmrd(tmp_path / "mix.h5", xml, readouts), center="keep")
    np.testing.assert_array_equal(scan.mask, keep | calibration)
    np.testing.assert_allclose(make.fft(scan.kspace, (1,)), kspace * scan.mask, atol=2e-6)


def test_partial_echo_stays_unsampled(tmp_path, make):
    """A quarter of the readout is missing: x stays in k-space with a three-axis mask."""
    shape = (16, 12, 10)
    kspace = make.fft(make.phantom(shape, 2), (1, 2, 3))
    readouts = lines_3d(make, kspace[:, 4:], center=4)
    xml = make.header(shape, (160, 120, 100), limits=full_limits(make, shape))
    scan = mr.read(make.ismrmrd(tmp_path / "echo.h5", xml, readouts))
    assert scan.domains[0] == "kspace"
    assert scan.mask.shape == shape and not scan.mask[:4].any() and scan.mask[4:].all()
    np.testing.assert_allclose(scan.kspace[:, 4:], kspace[:, 4:], atol=2e-6)
    assert not scan.kspace[:, :4].any()


def test_2d_slices_and_choice_of_repetition(tmp_path, make):
    """Multi-slice 2D: x = slice, geometry from the slices' positions; repetitions by option, with notice."""
    images = make.phantom((5, 16, 12), 2)
    kspace = make.fft(images, (2, 3))
    directions = {"read_dir": [0, 1, 0], "phase_dir": [1, 0, 0], "slice_dir": [0, 0, 1]}
    readouts = [
        {"data": (1 + rep) * kspace[:, s, :, y], "position": [5.0, -3.0, 7.5 * s], **directions,
         "idx": {"kspace_encode_step_1": y, "slice": s, "repetition": rep}}
        for rep in range(2) for s in range(5) for y in range(12)
    ]  # fmt: skip
    xml = make.header((16, 12, 1), (160, 96, 5), limits=make.limit(1, 0, 11, 6))
    path = make.ismrmrd(tmp_path / "2d.h5", xml, readouts)
    with pytest.warns(UserWarning, match="2 repetitions"):
        first = mr.read(path)
    second = mr.read(path, repetition=1)
    np.testing.assert_allclose(make.ifft(first.kspace, (2, 3)), images, atol=2e-6)
    np.testing.assert_allclose(second.kspace, 2 * first.kspace, rtol=1e-6)
    assert first.voxel_size == pytest.approx((7.5, 10.0, 8.0))  # spacing, not thickness
    # voxel (slice 2, n // 2, n // 2) lies at the position of slice 2; LPS -> RAS flips two axes
    np.testing.assert_allclose(first.affine @ [2, 8, 6, 1], [-5, 3, 15, 1], atol=1e-4)
    np.testing.assert_allclose(first.affine[:3, 1] / 10, [0, -1, 0], atol=1e-6)  # readout along LPS +y
    with pytest.raises(FileFormatError, match="no repetition 5"):
        mr.read(path, repetition=5)
    with pytest.warns(UserWarning):
        lazy = mr.read(path, lazy=True)
    np.testing.assert_array_equal(lazy.slab(1, 3), first.kspace[:, 1:3])


def test_lazy_slabs_equal_the_whole(tmp_path, make):
    kspace = make.fft(make.phantom(SHAPE, 2), (1, 2, 3))
    path = make.ismrmrd(tmp_path / "a.h5", make.header(SHAPE, (80, 120, 100)), lines_3d(make, kspace))
    lazy, whole = mr.read(path, lazy=True), mr.read(path)
    assert lazy.is_lazy
    np.testing.assert_allclose(lazy.slab(2, 5), whole.kspace[:, 2:5], atol=1e-7)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"trajectory": "radial"}, "radial trajectory"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_why(tmp_path, make, change, match):
    kspace = make.fft(make.phantom(SHAPE, 2), (1, 2, 3))
    path = make.ismrmrd(tmp_path / "a.h5", make.header(SHAPE, (80, 120, 100), **change), lines_3d(make, kspace))
    with pytest.raises(FileFormatError, match=match):
        mr.read(path)


def test_only_noise_is_no_scan(tmp_path, make):
    noise = {"data": np.ones((2, 8)), "flags": ["ACQ_IS_NOISE_MEASUREMENT"]}
    path = make.ismrmrd(tmp_path / "n.h5", make.header(SHAPE, (80, 120, 100)), [noise])
    with pytest.raises(FileFormatError, match="no imaging readouts"):
        mr.read(path)


def test_round_trip_and_the_official_reader(tmp_path, scan, make):
    import ismrmrd

    path = mr.write(scan, tmp_path / "scan.mrd")
    back = mr.read(path)
    np.testing.assert_allclose(make.fft(back.kspace, (1,)), scan.kspace, atol=1e-6)
    np.testing.assert_array_equal(back.mask, scan.mask)
    np.testing.assert_allclose(back.noise_covariance, scan.noise_covariance, rtol=1e-5)
    np.testing.assert_allclose(back.affine, scan.affine, atol=1e-4)
    assert back.voxel_size == pytest.approx(scan.voxel_size)
    assert np.linalg.det(back.affine[:3, :3]) * np.linalg.det(scan.affine[:3, :3]) > 0

    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=False)
    head = ismrmrd.xsd.CreateFromDocument(dataset.read_xml_header())
    assert head.encoding[0].encodedSpace.matrixSize.y == 12
    assert head.encoding[0].encodingLimits.kspace_encoding_step_1.center == 6
    assert dataset.number_of_acquisitions() == scan.mask.sum() + 1
    assert dataset.read_acquisition(0).isFlagSet(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    line = dataset.read_acquisition(5)
    y, z = line.idx.kspace_encode_step_1, line.idx.kspace_encode_step_2
    np.testing.assert_allclose(line.data, scan.kspace[:, :, y, z], rtol=1e-6)
    dataset.close()


def test_writer_refuses_what_the_format_cannot_hold(tmp_path, scan, volume):
    gaps = np.repeat(scan.mask[None], 6, axis=0)
    gaps[2] = False
    with pytest.raises(DataError, match="varies along x"):
        mr.write(scan.evolve("x", kspace=scan.kspace * gaps, mask=gaps), tmp_path / "a.mrd")
    with pytest.raises(OutputError, match="does not hold an image"):
        mr.write(volume, tmp_path / "a.mrd")
    assert not list(tmp_path.iterdir())


# ---- files from ismrmrd-tools ---------------------------------------------------------------------


def generate(folder, *options):
    path = folder / "shepp.h5"
    command = ["ismrmrd_generate_cartesian_shepp_logan", "-o", str(path), "-m", "48", "-c", "4", *options]
    subprocess.run(command, check=True, capture_output=True)
    return path


def complex_of(dataset):
    values = dataset[()]
    return values["real"] + 1j * values["imag"]


@pytest.mark.ismrmrd_tools
@pytest.mark.parametrize(("oversampling", "remove"), [(1, False), (2, True)])
def test_shepp_logan_against_its_own_coil_images(tmp_path, make, oversampling, remove):
    path = generate(tmp_path, "-n", "0", "-O", str(oversampling))
    scan = mr.read(path, remove_oversampling=remove)  # with -O 1 the tool's header still claims twofold
    with h5py.File(path) as f:
        truth = complex_of(f["dataset/phantom"])[0]
        maps = complex_of(f["dataset/csm"])[0]  # (coils, phase, readout)
    expected = (truth * maps).transpose(0, 2, 1)  # ours: readout, phase
    image = make.ifft(scan.kspace, (2, 3))[:, 0]
    scale = np.vdot(expected, image) / np.vdot(expected, expected)
    error = np.linalg.norm(image - scale * expected) / np.linalg.norm(scale * expected)
    assert error < 0.05  # the generator's coil images are not band-limited; half a pixel off gives 0.3
    assert scan.shape == (1, 48, 48)


@pytest.mark.ismrmrd_tools
def test_shepp_logan_against_the_tools_own_reconstruction(tmp_path, make):
    path = generate(tmp_path, "-n", "0.02")
    subprocess.run(["ismrmrd_recon_cartesian_2d", str(path)], check=True, capture_output=True)
    image = np.linalg.norm(make.ifft(mr.read(path).kspace, (2, 3))[:, 0], axis=0)
    with h5py.File(path) as f:
        theirs = f["dataset/cpp/data"][0, 0, 0].T
    scale = np.vdot(theirs, image) / np.vdot(theirs, theirs)
    assert np.linalg.norm(image - scale * theirs) / np.linalg.norm(image) < 1e-4


@pytest.mark.ismrmrd_tools
def test_accelerated_with_calibration_noise_and_repetitions(tmp_path, make):
    path = generate(tmp_path, "-a", "2", "-w", "12", "-C", "-r", "4", "-n", "0.05")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scan = mr.read(path)
    assert "repetitions" in str(caught[0].message)
    with h5py.File(path) as f:  # what this repetition really holds, by plain h5py
        heads = f["dataset/data"].fields("head")[:]
    noise = (heads["flags"] >> 18) & 1 == 1
    wanted = ~noise & (heads["idx"]["repetition"] == 0)
    expected = np.zeros(48, bool)
    expected[heads["idx"]["kspace_encode_step_1"][wanted]] = True
    assert 0 < expected.sum() < 48
    np.testing.assert_array_equal(scan.mask, np.broadcast_to(expected, (48, 48)))
    assert noise.sum() == 1 and scan.noise_covariance is not None
    assert np.all(np.diag(scan.noise_covariance).real > 0)


# ---- centring -----------------------------------------------------------------------------------------


def test_a_header_with_the_wrong_centre_is_noticed(tmp_path, make):
    """The centre is moved from wherever the energy peaks, unless one insists."""
    shape = (16, 24, 20)
    images = make.phantom(shape, 2)
    kspace = make.fft(images, (1, 2, 3))
    xml = make.header(shape, (160, 240, 200), limits=full_limits(make, shape))
    rolled = np.fft.ifftshift(kspace, axes=(2, 3))
    with pytest.warns(UserWarning, match="index 0 of 24 along y, 0 of 20 along z; it is moved"):
        scan = mr.read(make.ismrmrd(tmp_path / "fft.h5", xml, lines_3d(make, rolled)))
    np.testing.assert_allclose(make.ifft(scan.kspace, (2, 3)), images, atol=2e-6)
    off = make.ismrmrd(tmp_path / "off.h5", xml, lines_3d(make, np.roll(kspace, 6, axis=2)))
    with pytest.warns(UserWarning, match="index 18 of 24 along y; it is moved"):
        scan = mr.read(off)
    np.testing.assert_allclose(make.ifft(scan.kspace, (2, 3)), images, atol=2e-6)
    for options in ({"recentre": False}, {"center": "keep"}):
        np.testing.assert_allclose(
            make.fft(mr.read(off, **options).kspace, (1,)), np.roll(kspace, 6, axis=2), atol=2e-6
        )


@pytest.mark.parametrize(("axis", "name"), [(1, "x"), (2, "y"), (3, "z")])
def test_a_wrapped_object_is_reported_and_undone_on_request(tmp_path, make, axis, name):
    shape = (16, 24, 20)
    images = make.phantom(shape, 2)
    wrapped = make.fft(np.roll(images, shape[axis - 1] // 2, axis=axis), (1, 2, 3))
    xml = make.header(shape, (160, 240, 200), limits=full_limits(make, shape))
    path = make.ismrmrd(tmp_path / "w.h5", xml, lines_3d(make, wrapped))
    with pytest.warns(UserWarning, match=f"wrapped='{name}'"):
        mr.read(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan = mr.read(path, wrapped=name)
    np.testing.assert_allclose(make.ifft(scan.kspace, (2, 3)), images, atol=2e-6)
