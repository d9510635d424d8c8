"""Axes and domains of stored k-space: what formats promise is verified on the samples, mended or refused."""

import warnings

import h5py
import numpy as np
import pytest

import mrrecon as mr
from mrrecon.errors import DataError, FileFormatError
from mrrecon.io.plain_files import write_cfl

SHAPE = (24, 40, 32)


@pytest.fixture(scope="module")
def images(make):
    """Coil images (coils, x, y, z), with phases of their own as coils have."""
    coils = make.phantom(SHAPE, 5)
    return coils * np.exp(1j * np.array([0, 2, 4, 1, 3])).reshape(-1, 1, 1, 1)


@pytest.fixture(scope="module")
def kspace(make, images):
    """K-space of them with a little noise."""
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((2, *images.shape))
    return (make.fft(images, (1, 2, 3)) + 0.01 * (noise[0] + 1j * noise[1])).astype(np.complex64)


def save(path, array):
    """Store an array just as it is, in the order of its axes, by NumPy alone."""
    array = np.ascontiguousarray(array, np.complex64)
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as f:
            f["kspace"] = array
    else:
        path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, array.shape)) + "\n")
        array.ravel(order="F").tofile(path)
    return path


def image_of(scan, make):
    """Coil images of an acquisition, by NumPy alone."""
    return make.ifft(scan.kspace, (2, 3) if scan.domains[0] == "image" else (1, 2, 3))


# what a file holds: its suffix, the order of its axes, whether x is in the image domain, axes in FFT order
PROMISED = [(".npy", "cxyz", False, ""), (".cfl", "xyzc", False, ""), (".h5", "xcyz", True, "")]
OTHERS = [
    (".npy", "xyzc", False, ""),
    (".npy", "cxyz", True, ""),
    (".npy", "cxyz", False, "xyz"),
    (".npy", "cxyz", False, "y"),
    (".npy", "cxyz", True, "yz"),
    (".npy", "cyzx", True, ""),
    (".cfl", "cxyz", False, ""),
    (".cfl", "xyzc", True, ""),
    (".cfl", "xyzc", False, "xyz"),
    (".cfl", "ycxz", True, ""),
    (".h5", "xyzc", True, ""),
    (".h5", "xcyz", False, ""),
    (".h5", "xcyz", True, "yz"),
    (".h5", "xcyz", False, "xyz"),
]


def store(path, kspace, make, axes, hybrid, fft_order):
    array = make.ifft(kspace, (1,)) if hybrid else kspace
    for letter in fft_order:
        array = np.fft.ifftshift(array, axes=("cxyz".index(letter),))
    return save(path, array.transpose(["cxyz".index(letter) for letter in axes]))


@pytest.mark.parametrize(("suffix", "axes", "hybrid", "fft_order"), PROMISED)
def test_what_the_format_promises_is_read_without_a_word(tmp_path, make, kspace, suffix, axes, hybrid, fft_order):
    path = store(tmp_path / f"a{suffix}", kspace, make, axes, hybrid, fft_order)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan = mr.read(path)
    np.testing.assert_allclose(image_of(scan, make), make.ifft(kspace, (1, 2, 3)), atol=1e-5)
    assert scan.mask.shape == SHAPE[1:] and scan.mask.all()


@pytest.mark.parametrize(("suffix", "axes", "hybrid", "fft_order"), OTHERS)
def test_what_can_only_be_one_thing_is_read_as_that_with_a_note(
    tmp_path, make, kspace, suffix, axes, hybrid, fft_order
):
    path = store(tmp_path / f"a{suffix}", kspace, make, axes, hybrid, fft_order)
    with pytest.warns(UserWarning, match="axes are not|is read as being in|FFT order"):
        scan = mr.read(path)
    with pytest.warns(UserWarning):
        lazy = mr.read(path, lazy=True)
    assert scan.shape == SHAPE and scan.n_coils == 5
    np.testing.assert_allclose(image_of(scan, make), make.ifft(kspace, (1, 2, 3)), atol=1e-5)
    for key in (np.s_[:, 3:9], np.s_[2:4, 10:14], np.s_[:, -1]):
        np.testing.assert_array_equal(lazy.kspace[key], scan.kspace[key])


@pytest.mark.parametrize(("suffix", "axes", "hybrid", "fft_order"), [*PROMISED, *OTHERS])
def test_options_say_it_without_a_note(tmp_path, make, kspace, suffix, axes, hybrid, fft_order):
    path = store(tmp_path / f"a{suffix}", kspace, make, axes, hybrid, "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan = mr.read(path, axes=axes, hybrid=hybrid)
    np.testing.assert_allclose(image_of(scan, make), make.ifft(kspace, (1, 2, 3)), atol=1e-5)


@pytest.mark.parametrize("suffix", [".npy", ".cfl"])
def test_one_coil_or_one_slice(tmp_path, make, kspace, suffix):
    """(x, y, z) of one coil is a scan of its own; (coils, ky, kz) stays one slice."""
    one = kspace[0]
    if suffix == ".npy":
        with pytest.warns(UserWarning, match="they are read as .x: 24, y: 40, z: 32"):
            scan = mr.read(save(tmp_path / "a.npy", one))
    else:
        scan = mr.read(save(tmp_path / "a.cfl", one))
    np.testing.assert_array_equal(scan.kspace[0], one)
    piece = make.ifft(kspace, (1,))[:, 12].astype(np.complex64)
    path = save(tmp_path / f"b{suffix}", piece if suffix == ".npy" else piece.transpose(1, 2, 0)[None])
    scan = mr.read(path)
    assert scan.shape == (1, 40, 32) and scan.n_coils == 5
    np.testing.assert_array_equal(scan.kspace[:, 0], piece)


def test_coils_that_look_like_slices_are_noted(tmp_path, make, kspace):
    """Coils that are in phase look the same, so that this is no more than a suspicion."""
    path = store(tmp_path / "a.npy", kspace, make, "xcyz", True, "")
    with pytest.warns(
        UserWarning, match="axis 1, read as that of the coils|axis 0, read as that of the coils, looks like slices"
    ):
        mr.read(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mr.read(path, axes="xcyz", hybrid=True).shape == SHAPE


def test_images_are_no_kspace(tmp_path, make, images):
    for name, array, match in (
        ("a.npy", images, "y and z of the array .* in the image domain"),
        ("b.npy", make.fft(images, (2,)), "axis 1 image, axis 2 k-space, axis 3 image"),
        ("c.cfl", images.transpose(1, 2, 3, 0), "in the image domain"),
        ("d.h5", images.transpose(1, 0, 2, 3), "in the image domain"),
    ):
        with pytest.raises((DataError, FileFormatError), match=match):
            mr.read(save(tmp_path / name, array))
    path = save(tmp_path / "a.npy", images + 1e-3)
    scan = mr.read(path, axes="cxyz", hybrid=True, center="keep")  # the user's word counts
    np.testing.assert_allclose(scan.kspace, images + 1e-3, atol=1e-6)


def test_what_may_be_several_things_asks_for_the_axes(tmp_path, make, rng):
    """Five k-space-like axes less one: nothing tells which are the coils."""
    cube = np.exp(
        -0.5 * sum(np.arange(-16, 16).reshape([-1 if a == b else 1 for b in range(4)]) ** 2 for a in range(4))
    )
    with pytest.raises(FileFormatError, match=r"axis 0 k-space, axis 1 k-space.*as in axes='xyzc'"):
        mr.read(save(tmp_path / "a.npy", cube + 1e-4 * rng.standard_normal(cube.shape)))
    with pytest.raises(FileFormatError, match=r"axes='xy' does not name the 4 axes"):
        mr.read(tmp_path / "a.npy", axes="xy")
    with pytest.raises(FileFormatError, match=r"axes='xxyz' does not name"):
        mr.read(tmp_path / "a.npy", axes="xxyz")
    assert mr.read(tmp_path / "a.npy", axes="xyzc", hybrid=False).n_coils == 32


def test_noise_and_short_axes_are_left_alone(tmp_path, rng):
    noise = rng.standard_normal((4, 20, 24, 20)) + 1j * rng.standard_normal((4, 20, 24, 20))
    scan = mr.read(save(tmp_path / "a.npy", noise))
    np.testing.assert_array_equal(scan.kspace, noise.astype(np.complex64))
    small = rng.standard_normal((2, 4, 6, 5)) + 1j
    np.testing.assert_array_equal(mr.read(save(tmp_path / "b.npy", small)).kspace, small.astype(np.complex64))


@pytest.mark.parametrize("strong", [0, 3])
def test_a_coil_that_outshines_the_others_is_no_kspace_axis(tmp_path, make, kspace, strong):
    gains = np.full(5, 0.02)
    gains[strong] = 1
    for path, array in (
        (tmp_path / "a.npy", kspace),
        (tmp_path / "b.cfl", kspace.transpose(1, 2, 3, 0)),
        (tmp_path / "c.h5", make.ifft(kspace, (1,)).transpose(1, 0, 2, 3)),
    ):
        order = {".npy": (4, 1, 1, 1), ".cfl": (1, 1, 1, 4), ".h5": (1, 4, 1, 1)}[path.suffix]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            shape = [5 if n == 4 else 1 for n in order]
            assert mr.read(save(path, array * gains.reshape(shape))).shape == SHAPE


def test_an_image_shifted_by_half_the_field_of_view_is_shifted_back(tmp_path, make, images):
    """fftn without shifts: zero frequency at index 0, and the object around the corners."""
    plain = np.fft.fftn(images, axes=(1, 2, 3), norm="ortho")
    with pytest.warns(UserWarning, match="FFT order.*wraps around the edges along x and y and z"):
        scan = mr.read(save(tmp_path / "a.npy", plain))
    np.testing.assert_allclose(image_of(scan, make), images, atol=1e-5)
    left = mr.read(tmp_path / "a.npy", recentre=False)
    np.testing.assert_allclose(left.kspace, plain, atol=1e-5)
    with pytest.warns(UserWarning):
        lazy = mr.read(tmp_path / "a.npy", lazy=True)
    np.testing.assert_array_equal(lazy.slab(5, 8), scan.kspace[:, 5:8])


def test_a_peak_that_is_a_few_samples_off_is_moved_by_the_registry(tmp_path, make, kspace):
    with pytest.warns(UserWarning, match="centre at index"):
        scan = mr.read(save(tmp_path / "a.npy", np.roll(kspace, (0, 3, -4), (1, 2, 3))))
    np.testing.assert_allclose(scan.kspace, kspace)


def test_slices_and_coils_by_what_a_fastmri_file_says_of_them(tmp_path, make, kspace):
    slices = make.ifft(kspace, (1,)).transpose(1, 0, 2, 3)
    rss = np.linalg.norm(make.ifft(slices, (2, 3)), axis=1).astype(np.float32)
    path = make.fastmri(tmp_path / "a.h5", slices.transpose(1, 0, 2, 3).astype(np.complex64), reference=rss)
    with pytest.warns(UserWarning, match="coils first, since the file speaks of 24 slices"):
        scan = mr.read(path)
    assert scan.shape == SHAPE and scan.n_coils == 5 and scan.readout == "y"
    one = make.fastmri(tmp_path / "b.h5", slices[12].astype(np.complex64), reference=rss[12:13])
    with pytest.warns(UserWarning, match="coils first, since the file speaks of 1 slices"):
        scan = mr.read(one)
    assert scan.shape == (1, 40, 32) and scan.n_coils == 5


def test_a_fastmri_file_of_a_hybrid_3d_scan_has_two_phase_encodes(tmp_path, make, kspace, rng):
    mask = rng.random(SHAPE[1:]) < 0.4
    mask[15:25, 10:22] = True
    hybrid = make.ifft(kspace, (1,)) * mask
    scan = mr.read(save(tmp_path / "a.h5", hybrid.transpose(1, 0, 2, 3)))
    np.testing.assert_array_equal(scan.mask, mask)
    assert scan.readout == "x" and scan.phase_encodes == SHAPE[1:]
    flat = mr.read(save(tmp_path / "b.h5", (make.ifft(kspace, (1,)) * mask[20]).transpose(1, 0, 2, 3)))
    assert flat.readout == "y" and flat.phase_encodes == (1, 32)


def test_hybrid_kspace_is_written_to_cfl_as_kspace(tmp_path, make, kspace):
    scan = mr.Acquisition(kspace, np.ones(SHAPE[1:], bool))
    path = mr.write(scan.hybrid(), tmp_path / "a.cfl")
    stored = np.fromfile(path, np.complex64).reshape((*SHAPE, 5), order="F")
    np.testing.assert_allclose(stored.transpose(3, 0, 1, 2), kspace, atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = mr.read(path)
    assert back.domains[0] == "kspace"
    np.testing.assert_allclose(back.kspace, kspace, atol=1e-5)


@pytest.mark.parametrize("name", ["a.cfl", "a.mrd"])
def test_slices_are_written_as_the_kspace_of_a_volume_with_a_note(tmp_path, make, kspace, name):
    slices = make.ifft(kspace, (1,))
    mask = np.ones(SHAPE[1:], bool)
    mask[0, 0] = name == "a.cfl"  # ISMRMRD has slices, of whole lines
    flat = mr.Acquisition(slices * mask, mask, domains=("image", "kspace", "kspace"), readout="y")
    with pytest.warns(UserWarning, match="no slices, so that the 24 slices are written transformed"):
        path = mr.write(flat, tmp_path / name)
    back = mr.read(path)
    np.testing.assert_allclose(image_of(back, make), make.ifft(kspace * mask, (1, 2, 3)), atol=1e-5)


def test_maps_and_images_in_cfl_files_have_no_domain(tmp_path, images):
    write_cfl(images.astype(np.complex64), tmp_path / "maps.cfl")
    np.testing.assert_array_equal(mr.io.read_maps(tmp_path / "maps.cfl"), images.astype(np.complex64))


@pytest.mark.data
@pytest.mark.parametrize("name", ["complex_brain_crop_3echo", "complex_brain_nv_64"])
def test_complex_images_of_real_heads_are_refused(data_dir, name):
    with pytest.raises(DataError, match=r"y and z of the array .* are in the image domain by their samples"):
        mr.read(data_dir / "kspace" / f"{name}.npy")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "shape"), [("brain_sigpy_poisson_8ch", (8, 230, 180)), ("phantom_siemens_gre_2ch", (2, 160, 160))]
)
def test_measured_kspace_in_other_axes_and_centrings(data_dir, tmp_path, make, name, shape):
    raw = np.load(data_dir / "kspace" / f"{name}.npy")
    assert raw.shape == shape
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan = mr.read(data_dir / "kspace" / f"{name}.npy")
    np.testing.assert_array_equal(scan.kspace[:, 0], raw)
    with pytest.warns(UserWarning, match="axes are not"):
        last = mr.read(save(tmp_path / "last.npy", raw.transpose(1, 2, 0)))
    np.testing.assert_array_equal(last.kspace[:, 0], raw)
    with pytest.warns(UserWarning, match="FFT order"):
        rolled = mr.read(save(tmp_path / "rolled.npy", np.fft.ifftshift(raw, axes=(1, 2))))
    np.testing.assert_array_equal(rolled.kspace[:, 0], raw)


def test_slices_of_one_coil_are_not_taken_for_coils(tmp_path, make, rng):
    """Three axes are (coils, ky, kz) by promise; more positions of an image than there are coils are a volume."""
    for n, match in (
        (80, r"they are read as \(x: 80, y: 40, z: 32\)"),
        (24, "looks like slices .* axes='xyz' says so"),
    ):
        volume = make.phantom((n, 40, 32), 1)[0]
        hybrid = make.fft(volume, (1, 2)) + 0.01 * rng.standard_normal(volume.shape)
        path = save(tmp_path / "a.npy", hybrid)
        with pytest.warns(UserWarning, match=match):
            scan = mr.read(path)
        assert scan.n_coils == (1 if n == 80 else 24)
        np.testing.assert_allclose(mr.read(path, axes="xyz", hybrid=True).kspace[0], hybrid, atol=1e-5)


def test_coils_in_the_place_of_a_readout_are_noted(tmp_path, make, kspace):
    piece = make.ifft(kspace, (1,))[:, 12]
    path = save(tmp_path / "a.cfl", piece)
    with pytest.warns(UserWarning, match="axes='cyz' that it is the coils"):
        mr.read(path)
    scan = mr.read(path, axes="cyz")
    assert scan.shape == (1, 40, 32)
    np.testing.assert_allclose(scan.kspace[:, 0], piece, atol=1e-6)


def test_lines_left_out_along_the_height_make_the_width_the_readout(tmp_path, make, kspace):
    rows = np.arange(40) % 3 == 0
    rows[15:25] = True
    slices = make.ifft(kspace, (1,)).transpose(1, 0, 2, 3) * rows[:, None]
    with pytest.warns(UserWarning, match="z .width 32. is taken as the readout"):
        scan = mr.read(save(tmp_path / "a.h5", slices))
    assert scan.readout == "z" and scan.phase_encodes == (40, 1)
    np.testing.assert_array_equal(scan.mask, np.broadcast_to(rows[:, None], SHAPE[1:]))


@pytest.mark.parametrize("suffix", [".npy", ".cfl", ".h5"])
def test_the_readout_of_slices_can_be_said(tmp_path, make, kspace, suffix):
    axes = {".npy": "cxyz", ".cfl": "xyzc", ".h5": "xcyz"}[suffix]
    path = store(tmp_path / f"a{suffix}", kspace, make, axes, True, "")
    for readout, encodes in (("x", SHAPE[1:]), ("y", (1, 32)), ("z", (40, 1))):
        scan = mr.read(path, readout=readout, hybrid=True)
        assert scan.readout == readout and scan.phase_encodes == encodes
    with pytest.raises(FileFormatError, match="readout"):
        mr.read(path, readout="q")
    if suffix != ".h5":
        with pytest.warns(UserWarning, match="its samples look like"), pytest.raises(DataError, match="x is the slice"):
            mr.read(path, readout="y", hybrid=False)
