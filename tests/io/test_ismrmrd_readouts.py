"""What a readout is: reference lines, directions, slices, counters, zeros, noise, centre, vendor."""

import json
import re
import warnings

import numpy as np
import pytest

import mrrecon as mr
from mrrecon import solvers
from mrrecon.errors import FileFormatError

SHAPE = (24, 32, 28)
FOV = (240, 320, 280)


def limits(make, shape=SHAPE):
    return make.limit(1, 0, shape[1] - 1, shape[1] // 2) + make.limit(2, 0, shape[2] - 1, shape[2] // 2)


def lines(kspace, keep=None, **more):
    idx = more.pop("idx", {})
    return [
        {"data": kspace[:, :, y, z], "idx": {"kspace_encode_step_1": y, "kspace_encode_step_2": z, **idx}, **more}
        for z in range(kspace.shape[3]) for y in range(kspace.shape[2]) if keep is None or keep[y, z]
    ]  # fmt: skip


def quiet(path, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scan = mr.read(path, **options)
    return scan, " | ".join(str(w.message) for w in caught)


def image_of(make, scan):
    return make.ifft(scan.kspace, (1, 2, 3) if scan.domains[0] == "kspace" else (2, 3))


@pytest.fixture
def images(make):
    """Coil images without sharp edges, so that k-space has its peak in the middle."""
    grid = np.meshgrid(*[(np.arange(n) - n // 2) / n for n in SHAPE], indexing="ij")
    body = np.exp(-sum((g / r) ** 4 for g, r in zip(grid, (0.3, 0.33, 0.28), strict=True)))
    blob = np.exp(-sum(((g - c) / 0.08) ** 2 for g, c in zip(grid, (0.08, -0.12, 0.05), strict=True)))
    angles = 2 * np.pi * np.arange(4) / 4
    weights = np.stack([1 + 2.5 * (np.cos(a) * grid[1] + np.sin(a) * grid[2]) + 0.4j * grid[0] for a in angles])
    return weights * (body + blob), weights * (body - 0.8 * blob)


@pytest.fixture
def noisy(rng):
    def add(kspace, std=0.002):
        return kspace + std * (rng.standard_normal(kspace.shape) + 1j * rng.standard_normal(kspace.shape))

    return add


def block(shape=SHAPE, half=8):
    mask = np.zeros(shape[1:], bool)
    mask[shape[1] // 2 - half : shape[1] // 2 + half, shape[2] // 2 - half : shape[2] // 2 + half] = True
    return mask


MODE = "<parallelImaging><calibrationMode>{}</calibrationMode></parallelImaging></encoding>"
CALIBRATION = ["ACQ_IS_PARALLEL_CALIBRATION"]


@pytest.mark.parametrize("mode", ["separate", "external", None])
def test_reference_lines_of_another_scan_give_maps_and_no_image_data(tmp_path, make, images, noisy, mode):
    """Also where the header does not say so: their contrast tells."""
    kspace, other = (noisy(make.fft(i, (1, 2, 3))) for i in images)
    every = np.zeros(SHAPE[1:], bool)
    every[::2] = True
    header = make.header(SHAPE, FOV, limits=limits(make))
    if mode:
        header = header.replace("</encoding>", MODE.format(mode))
    path = make.ismrmrd(tmp_path / "a.h5", header, lines(kspace, every) + lines(other, block(), flags=CALIBRATION))
    scan, notes = quiet(path)
    np.testing.assert_array_equal(scan.mask, every)
    assert scan.maps is not None and "give the coil maps" in notes
    complete = mr.Acquisition(kspace=kspace, mask=np.ones(SHAPE[1:], bool)).calibrate().undersample(every)
    image, expected = (np.abs(solvers.CGSense()(s).volume) for s in (scan, complete))
    assert np.linalg.norm(image - expected) < 0.02 * np.linalg.norm(expected)
    assert quiet(path, reference_maps=False)[0].maps is None


def test_reference_lines_beside_the_image_are_compared_with_their_neighbours(tmp_path, make, images):
    kspace = make.fft(images[0], (1, 2, 3))
    every = np.zeros(SHAPE[1:], bool)
    every[::2] = True
    header = make.header(SHAPE, FOV, limits=limits(make)).replace("</encoding>", MODE.format("embedded"))
    for factor, fills in ((1, True), (20, False)):
        extra = lines(factor * kspace, block() & ~every, flags=CALIBRATION)
        scan, notes = quiet(make.ismrmrd(tmp_path / f"{factor}.h5", header, lines(kspace, every) + extra))
        np.testing.assert_array_equal(scan.mask, every | block() if fills else every)
        assert ("another scan" in notes) == (not fills)


def test_other_encoding_spaces_are_left_out_and_mentioned(tmp_path, make, images):
    import h5py

    kspace = make.fft(images[0], (1, 2, 3))
    header = make.header(SHAPE, FOV, limits=limits(make))
    path = make.ismrmrd(tmp_path / "a.h5", header, lines(kspace) + lines(9 * kspace, block()))
    with h5py.File(path, "r+") as file:
        table = file["dataset/data"][()]
        table["head"]["encoding_space_ref"][-block().sum() :] = 1
        file["dataset/data"][...] = table
    scan, notes = quiet(path)
    assert f"{block().sum()} readouts of other encoding spaces" in notes
    np.testing.assert_allclose(image_of(make, scan), images[0], atol=1e-5)


@pytest.mark.parametrize("missing", [0, 3, 8])
def test_reversed_asymmetric_echoes_are_flipped_about_the_echo(tmp_path, make, images, missing):
    kspace = make.fft(images[0], (1, 2, 3))
    there = kspace[:, missing:]
    n, centre = there.shape[1], SHAPE[0] // 2 - missing
    readouts = lines(there, center=centre)
    for r in lines(there[:, ::-1], center=n - 1 - centre, flags=["ACQ_IS_REVERSE"], idx={"contrast": 1}):
        readouts.append(r)
    path = make.ismrmrd(tmp_path / "a.h5", make.header(SHAPE, FOV, limits=limits(make)), readouts)
    one, two = (quiet(path, contrast=c)[0] for c in (0, 1))
    np.testing.assert_array_equal(one.mask, two.mask)
    np.testing.assert_allclose(two.kspace, one.kspace, atol=1e-6)
    expected = kspace.copy()
    expected[:, :missing] = 0
    np.testing.assert_allclose(image_of(make, one), make.ifft(expected, (1, 2, 3)), atol=1e-5)


def test_alternating_directions_are_corrected_by_navigators(tmp_path, make, images):
    kspace = make.fft(images[0], (1, 2, 3))
    x = np.arange(SHAPE[0]) - SHAPE[0] // 2

    def turned(line, constant, slope):
        return make.fft(make.ifft(line, (1,)) * np.exp(1j * (constant + slope * x)), (1,))[:, ::-1]

    centre, readouts = kspace[:, :, SHAPE[1] // 2, SHAPE[2] // 2], []
    back = {"flags": ["ACQ_IS_REVERSE"], "center": SHAPE[0] - 1 - SHAPE[0] // 2}
    for z in range(SHAPE[2]):  # the phase drifts from shot to shot
        phase = (0.3 + 0.02 * z, 0.05 + 0.001 * z)
        readouts.append({"data": centre, "flags": ["ACQ_IS_PHASECORR_DATA"]})
        readouts.append({"data": turned(centre, *phase), **back, "flags": ["ACQ_IS_PHASECORR_DATA", "ACQ_IS_REVERSE"]})
        for y in range(SHAPE[1]):
            idx = {"kspace_encode_step_1": y, "kspace_encode_step_2": z, "segment": y % 2}
            line = kspace[:, :, y, z]
            readouts.append({"data": turned(line, *phase), "idx": idx, **back} if y % 2 else {"data": line, "idx": idx})
    header = make.header(SHAPE, FOV, limits=limits(make), trajectory="epi")
    scan, notes = quiet(make.ismrmrd(tmp_path / "a.h5", header, readouts))
    assert "stretched" in notes and "ghosts" not in notes  # ramp sampling is not in these headers
    error = np.linalg.norm(image_of(make, scan) - images[0]) / np.linalg.norm(images[0])
    assert error < 1e-3
    ghosted, _ = quiet(tmp_path / "a.h5", phase_correction=False)
    assert np.linalg.norm(image_of(make, ghosted) - images[0]) > 0.2 * np.linalg.norm(images[0])
    without = [r for r in readouts if "ACQ_IS_PHASECORR_DATA" not in r.get("flags", ())]
    _, notes = quiet(make.ismrmrd(tmp_path / "b.h5", header, without))
    assert "no navigators of both directions: expect ghosts" in notes


@pytest.mark.parametrize("counter", ["segment", "user"])
def test_lines_that_a_counter_tells_apart_are_never_averaged(tmp_path, make, images, counter):
    kspace = make.fft(images[0], (1, 2, 3))
    readouts = []
    for value in range(3):
        for r in lines((1 + value) * kspace):
            r["idx"] |= {counter: value} if counter == "segment" else {"user": [0, 0, value, 0, 0, 0, 0, 0]}
            readouts.append(r)
    path = tmp_path / "a.h5"
    write_with_user(make, path, make.header(SHAPE, FOV, limits=limits(make)), readouts)
    scan, notes = quiet(path)
    assert "3 values of the counter" in notes
    np.testing.assert_allclose(image_of(make, scan), images[0], atol=1e-5)
    scan, notes = quiet(path, **({"segment": 2} if counter == "segment" else {"user": (2, 2)}))
    assert not notes
    np.testing.assert_allclose(image_of(make, scan), 3 * images[0], atol=3e-5)


def write_with_user(make, path, header, readouts):
    """The official package sets arrays in place only."""
    import h5py

    users = [r["idx"].pop("user", [0] * 8) for r in readouts]
    make.ismrmrd(path, header, readouts)
    with h5py.File(path, "r+") as file:
        table = file["dataset/data"][()]
        table["head"]["idx"]["user"] = users
        file["dataset/data"][...] = table


def test_segments_that_complement_each_other_are_one_image(tmp_path, make, images):
    readouts = lines(make.fft(images[0], (1, 2, 3)))
    for r in readouts:
        r["idx"]["segment"] = r["idx"]["kspace_encode_step_1"] % 4
    scan, notes = quiet(make.ismrmrd(tmp_path / "a.h5", make.header(SHAPE, FOV, limits=limits(make)), readouts))
    assert not notes and scan.mask.all()


def test_averages_that_disagree_are_reported_and_one_can_be_chosen(tmp_path, make, images):
    kspace = make.fft(images[0], (1, 2, 3))
    readouts = lines(kspace) + lines(-0.8 * kspace, idx={"average": 1})
    path = make.ismrmrd(tmp_path / "a.h5", make.header(SHAPE, FOV, limits=limits(make)), readouts)
    assert "do not agree" in quiet(path)[1]
    scan, notes = quiet(path, average=1)
    assert not notes
    np.testing.assert_allclose(image_of(make, scan), -0.8 * images[0], atol=1e-5)


def test_zero_readouts_and_ends_of_readouts_are_not_measurements(tmp_path, make, images):
    kspace = make.fft(images[0], (1, 2, 3))
    every = np.zeros(SHAPE[1:], bool)
    every[::2] = True
    header = make.header(SHAPE, FOV, limits=limits(make))
    scan, _ = quiet(make.ismrmrd(tmp_path / "a.h5", header, lines(kspace * every)))
    np.testing.assert_array_equal(scan.mask, every)
    part = kspace.copy()
    part[:, :5] = 0
    scan, _ = quiet(make.ismrmrd(tmp_path / "b.h5", header, lines(part)))
    assert scan.domains[0] == "kspace" and not scan.mask[:5].any() and scan.mask[5:].all()


# ---- slices ---------------------------------------------------------------------------------------------

STRAIGHT = {"read_dir": [1, 0, 0], "phase_dir": [0, 1, 0], "slice_dir": [0, 0, 1]}


def slices_file(make, path, order, place, z=1, turn=lambda s: STRAIGHT, keep=lambda s, y: True, fov_z=4.0, extra=""):
    """Slice i has brightness 1 + i; `order` says which slice each counter is."""
    images = make.phantom((1, 24, 20), 2) * np.ones((1, 8, 1, 1)) * (1 + np.arange(8))[:, None, None]
    kspace = make.fft(images, (2, 3))
    readouts = [
        {"data": kspace[:, s, :, y], "position": place(s), **turn(s), "idx": {"kspace_encode_step_1": y, "slice": i}}
        for i, s in enumerate(order) for y in range(20) if keep(s, y)
    ]  # fmt: skip
    header = make.header((24, 20, z), (240, 200, fov_z * z), limits=make.limit(1, 0, 19, 10) + extra)
    return make.ismrmrd(path, header, readouts), images


@pytest.mark.parametrize(
    "order", [[*range(8)], [*range(7, -1, -1)], [0, 2, 4, 6, 1, 3, 5, 7], [1, 3, 5, 7, 0, 2, 4, 6]]
)
@pytest.mark.parametrize("z", [1, 8])
def test_slices_come_in_the_order_of_their_places(tmp_path, make, order, z):
    """Whatever the counter says, and also where the header counts slices as partitions."""
    path, images = slices_file(make, tmp_path / "a.h5", order, lambda s: [0, 0, 5.0 * s], z)
    scan, notes = quiet(path)
    assert not notes and scan.readout == "y" and scan.voxel_size == pytest.approx((5, 10, 10))
    np.testing.assert_allclose(image_of(make, scan), images, atol=1e-5)
    for i in (0, 7):
        np.testing.assert_allclose((scan.affine @ [i, 12, 10, 1])[:3], [0, 0, 5.0 * i], atol=1e-4)


def test_slices_that_are_no_even_stack_are_said_or_refused(tmp_path, make):
    path, _ = slices_file(make, tmp_path / "a.h5", range(8), lambda s: [0, 0, 5.0 * s + 20 * (s > 3)])
    assert "5 to 25 mm apart" in quiet(path)[1]
    scan, notes = quiet(path, slice=[4, 5, 6, 7])
    assert not notes and scan.shape[0] == 4
    np.testing.assert_allclose((scan.affine @ [0, 12, 10, 1])[:3], [0, 0, 40], atol=1e-4)
    turned = {"read_dir": [0, 1, 0], "phase_dir": [0, 0, 1], "slice_dir": [1, 0, 0]}
    turns = {"turn": lambda s: turned if s % 2 else STRAIGHT}
    path, images = slices_file(
        make, tmp_path / "b.h5", range(8), lambda s: [5.0 * s, 0, 0] if s % 2 else [0, 0, 5.0 * s], **turns
    )
    with pytest.raises(FileFormatError, match="slices of 2 orientations"):
        mr.read(path)
    scan, _ = quiet(path, orientation=1)
    np.testing.assert_allclose(image_of(make, scan), images[:, 1::2], atol=1e-5)
    path, _ = slices_file(make, tmp_path / "c.h5", range(8), lambda s: [0, 0, 0])
    assert "all state one position" in quiet(path)[1]
    extra = "<slice><minimum>0</minimum><maximum>9</maximum><center>5</center></slice>"
    path, _ = slices_file(make, tmp_path / "d.h5", range(8), lambda s: [0, 0, 5.0 * s], extra=extra)
    assert "states 10 slices, and the file holds 8" in quiet(path)[1]


def test_slices_sampled_differently_are_read_one_by_one(tmp_path, make):
    path, _ = slices_file(
        make, tmp_path / "a.h5", range(8), lambda s: [0, 0, 5.0 * s], keep=lambda s, y: (y + s) % 2 == 0 or 7 < y < 13
    )
    with pytest.raises(FileFormatError, match=r"sampled differently.*slice=0"):
        mr.read(path)
    scan, _ = quiet(path, slice=3)
    np.testing.assert_array_equal(scan.mask[0], [(y + 3) % 2 == 0 or 7 < y < 13 for y in range(20)])


# ---- header, noise, centre, vendor --------------------------------------------------------------------------


def test_an_unknown_field_of_view_is_said_and_can_be_given(tmp_path, make, images):
    header = make.header(SHAPE, (0, 0, 0), trajectory="Cartesian")
    header = header[: header.index("<reconSpace>")] + header[header.index("</reconSpace>") + len("</reconSpace>") :]
    path = make.ismrmrd(tmp_path / "a.h5", header, lines(make.fft(images[0], (1, 2, 3))))
    scan, notes = quiet(path)
    assert "does not state the field of view" in notes and scan.voxel_size == (1, 1, 1)
    np.testing.assert_allclose(image_of(make, scan), images[0], atol=1e-5)
    scan, notes = quiet(path, voxel_size=(2, 1.5, 1))
    assert not notes and scan.voxel_size == (2, 1.5, 1)


def test_noise_scans_that_cannot_be_used_are_said_and_spikes_left_out(tmp_path, make, images, noisy, rng):
    kspace = noisy(make.fft(images[0], (1, 2, 3)), 0.01)
    header = make.header(SHAPE, FOV, limits=limits(make))

    def noise(coils=4):
        return 0.01 * (rng.standard_normal((coils, 4096)) + 1j * rng.standard_normal((coils, 4096)))

    def read(data, **options):
        first = {"data": data, "flags": ["ACQ_IS_NOISE_MEASUREMENT"]}
        path = tmp_path / f"{rng.integers(10**9)}.h5"
        return quiet(make.ismrmrd(path, header, [first, *lines(kspace)]), **options)

    scan, notes = read(noise())
    assert not notes
    np.testing.assert_allclose(np.diag(scan.noise_covariance).real, 2e-4, rtol=0.1)
    assert read(noise(), noise=False)[0].noise_covariance is None
    spiked = noise()
    spiked[:, 7], spiked[1, 9] = 1e6, np.nan
    scan, notes = read(spiked)
    assert "2 spikes" in notes
    np.testing.assert_allclose(np.diag(scan.noise_covariance).real, 2e-4, rtol=0.1)
    dead, doubled = noise(), noise()
    dead[2], doubled[2] = 0, doubled[1]
    for bad, match in ((dead, r"nothing in channels \[2\]"), (doubled, "copies"), (noise(3), r"\[3\] channels")):
        scan, notes = read(bad)
        assert scan.noise_covariance is None
        assert re.search(match, notes)
    scan, notes = read(1e6 * noise())
    assert scan.noise_covariance is None and "far stronger" in notes


@pytest.mark.parametrize(("missing", "stated"), [(4, 14), (8, 12), (8, 1)])
def test_a_wrong_centre_in_the_header_is_mended(tmp_path, make, images, missing, stated):
    """Partial Fourier whose header gives half of the stored lines, or nonsense, as the centre."""
    kspace = make.fft(images[0], (1, 2, 3))
    readouts = lines(kspace[:, :, missing:])
    wrong = make.limit(1, 0, SHAPE[1] - 1 - missing, stated) + make.limit(2, 0, SHAPE[2] - 1, SHAPE[2] // 2)
    path = make.ismrmrd(tmp_path / "a.h5", make.header(SHAPE, FOV, limits=wrong), readouts)
    scan, notes = quiet(path)
    assert ("moved to the middle" in notes) == (abs(SHAPE[1] // 2 - missing - stated) > 2)
    expected = np.zeros(SHAPE[1:], bool)
    expected[missing:] = True
    np.testing.assert_array_equal(scan.mask, expected)
    np.testing.assert_allclose(make.fft(scan.kspace, (1,)), kspace * expected, atol=1e-5)
    scan, notes = quiet(path, center_lines=(SHAPE[1] // 2 - missing, SHAPE[2] // 2))
    assert not notes
    np.testing.assert_array_equal(scan.mask, expected)


def test_siemens_axes_run_against_the_directions(tmp_path, make, images):
    kspace = make.fft(images[0], (1, 2, 3))
    directions = {"read_dir": [0, 1, 0], "phase_dir": [1, 0, 0], "slice_dir": [0, 0, 1], "position": [10, 20, 30]}
    affines = []
    for vendor in ("", "<systemVendor>SIEMENS</systemVendor>"):
        header = make.header(SHAPE, FOV, limits=limits(make), system=vendor)
        affines.append(
            quiet(make.ismrmrd(tmp_path / f"{len(vendor)}.h5", header, lines(kspace, **directions)))[0].affine
        )
    # voxel (n // 2) stays at the position; LPS -> RAS turns x and y of the patient
    for affine, sign in zip(affines, (1, -1), strict=True):
        np.testing.assert_allclose((affine @ [12, 16, 14, 1])[:3], [-10, -20, 30], atol=1e-4)
        np.testing.assert_allclose(affine[:3, :3], [[0, -10 * sign, 0], [-10 * sign, 0, 0], [0, 0, 10]], atol=1e-5)


@pytest.mark.parametrize("begin", [0, 5])
def test_a_2d_scan_is_written_as_one(tmp_path, make, begin):
    """Slices, readout, order and places come back, partial echoes too."""
    path, _ = slices_file(make, tmp_path / "a.h5", range(8), lambda s: [3, 4, 5.0 * s])
    scan, _ = quiet(path)
    mask = np.zeros((24, 20), bool)
    mask[begin:, ::2] = mask[begin:, 8:13] = True
    scan = scan.undersample(mask)
    back, _ = quiet(mr.write(scan, tmp_path / "b.mrd"))
    assert back.readout == "y" and back.voxel_size == pytest.approx(scan.voxel_size)
    np.testing.assert_array_equal(back.mask, scan.mask)
    np.testing.assert_allclose(back.kspace, scan.kspace, atol=1e-6)
    np.testing.assert_allclose(back.affine, scan.affine, atol=1e-4)


@pytest.mark.data
def test_brain_simulation_written_by_mrireco(data_dir, make):
    """A real file: field of view 0, no reconstructed space, no limits; right answers found with NumPy alone."""
    path = data_dir / "raw" / "mrireco_brainsim.h5"
    if not path.exists():
        pytest.skip("the raw files are not there")
    expected = json.loads((data_dir / "raw" / "expected.json").read_text())["mrireco_brainsim"]
    scan, notes = quiet(path)
    assert "does not state the field of view" in notes and scan.shape == (1, 256, 256) and scan.readout == "y"
    image = np.linalg.norm(image_of(make, scan), axis=0)[0]
    assert np.linalg.norm(image) == pytest.approx(expected["norm"], rel=1e-3)
    power = image**2 / (image**2).sum()
    centroid = [(power.sum(axis=1 - a) * np.arange(256)).sum() for a in (0, 1)]
    np.testing.assert_allclose(centroid, expected["centroid_of_squared_image"], atol=0.1)
    blocks = image.reshape(8, 32, 8, 32).mean(axis=(1, 3))
    assert np.corrcoef(blocks.ravel(), np.ravel(expected["blocks_8x8"]))[0, 1] > 0.99
