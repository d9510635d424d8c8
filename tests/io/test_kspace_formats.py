"""fastMRI, Calgary-Campinas, BART, NumPy, our own HDF5 against NumPy transforms, BART, measured data."""

import json
import subprocess
from dataclasses import replace

import h5py
import numpy as np
import pytest

import mrrecon as mr
from mrrecon import io
from mrrecon.acquisition import Step
from mrrecon.errors import (
    DataError,
    FileFormatError,
    InsufficientMemoryError,
    MaskError,
    OutputError,
    ShapeError,
)
from mrrecon.io import checks
from mrrecon.io.plain_files import read_cfl, write_cfl

# ---- fastMRI --------------------------------------------------------------------------------------


def fastmri_case(make, oversampling=2):
    images = make.phantom((3, 16, 12), 4).transpose(1, 0, 2, 3)  # slices, coils, height, width
    if oversampling == 2:
        images[:, :, :4] = images[:, :, 12:] = 0
    kspace = make.fft(images, (2, 3)).astype(np.complex64)
    if oversampling == 2:
        return images, kspace, make.header((16, 12, 1), (32, 36, 4), 8, 16, make.limit(1, 0, 11, 6))
    return images, kspace, make.header((16, 12, 1), (32, 36, 4))


def test_fastmri_multicoil_oversampled(tmp_path, make):
    images, kspace, xml = fastmri_case(make)
    rss = np.linalg.norm(images[:, :, 4:12], axis=1).astype(np.float32)
    scan = mr.read(make.fastmri(tmp_path / "f.h5", kspace, xml, reference=rss))
    assert scan.shape == (3, 8, 12)
    assert scan.domains == ("image", "kspace", "kspace")
    assert scan.voxel_size == (4.0, 2.0, 3.0)
    np.testing.assert_allclose(make.ifft(scan.kspace, (2, 3)), images[:, :, 4:12].transpose(1, 0, 2, 3), atol=2e-6)
    np.testing.assert_array_equal(scan.reference.real, rss)


def test_fastmri_single_coil_without_header(tmp_path, make):
    _, kspace, _ = fastmri_case(make, 1)
    scan = mr.read(make.fastmri(tmp_path / "s.h5", kspace[:, 0]))
    np.testing.assert_array_equal(scan.kspace[0], kspace[:, 0])
    assert scan.mask.all() and scan.shape == (3, 16, 12)


def test_fastmri_mask_and_padding(tmp_path, make, recwarn):
    """Zeros outside the encoding limits are unsampled, and what lies outside the mask, whatever values it holds."""
    _, kspace, _ = fastmri_case(make, 1)
    xml = make.header((16, 12, 1), (32, 36, 4), limits=make.limit(1, 0, 8, 4))
    mask = np.ones(12, np.uint8)
    mask[3] = 0
    expected = np.zeros(12, bool)
    expected[[2, 4, 5, 6, 7, 8, 9, 10]] = True  # lines 0..8 with centre 4 are columns 2..10; 3 is masked out
    kspace[..., [0, 1, 11]] = 0
    kspace[..., 3] = 0
    scan = mr.read(make.fastmri(tmp_path / "m.h5", kspace, xml, mask))
    np.testing.assert_array_equal(scan.mask, np.broadcast_to(expected, (16, 12)))
    assert not recwarn
    kspace[..., 3] = 1
    with pytest.warns(UserWarning, match="16 measured positions lie outside 'mask' and are left out"):
        scan = mr.read(make.fastmri(tmp_path / "m.h5", kspace, xml, mask))
    np.testing.assert_array_equal(scan.mask, np.broadcast_to(expected, (16, 12)))
    np.testing.assert_array_equal(scan.kspace, kspace.transpose(1, 0, 2, 3) * expected)


def test_fastmri_errors(tmp_path, make):
    _, kspace, xml = fastmri_case(make, 1)
    with pytest.raises(MaskError, match="fits the height 16: the axes are transposed"):
        mr.read(make.fastmri(tmp_path / "a.h5", kspace, xml, np.ones(16)))
    with pytest.raises(FileFormatError, match="axes are transposed"):
        mr.read(make.fastmri(tmp_path / "b.h5", kspace.swapaxes(2, 3), xml))
    with pytest.raises(FileFormatError, match="axes are transposed"):
        mr.read(make.fastmri(tmp_path / "c.h5", kspace.transpose(2, 1, 0, 3), xml))
    with pytest.raises(FileFormatError, match="nothing in it to read"):
        mr.read(make.fastmri(tmp_path / "d.h5", kspace[:, :0], xml))
    with pytest.raises(FileFormatError, match="no usable ISMRMRD header"):
        mr.read(make.fastmri(tmp_path / "e.h5", kspace, xml[:200]))


# ---- Calgary-Campinas -----------------------------------------------------------------------------


def calgary_images(make):
    return make.phantom((10, 22, 18), 3)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("fft_order", [False, True])
def test_calgary_is_centred_whatever_the_file(tmp_path, make, wrapped, fft_order):
    """Zero frequency at n // 2 and the object in the middle, from all four arrangements of the same scan."""
    images = calgary_images(make)
    stored = np.roll(images, (11, 9), (2, 3)) if wrapped else images
    hybrid = make.fft(stored, (2, 3))
    hybrid[..., 16:] = 0  # of the slice encodings the last were not acquired
    expected = make.fft(images, (2, 3))
    expected[..., 16:] = 0
    sampled = np.ones((22, 18), bool)
    sampled[:, 16:] = False
    if fft_order:
        hybrid = np.fft.ifftshift(hybrid, axes=(2, 3))
    scan = mr.read(make.calgary(tmp_path / "c.h5", hybrid))
    assert scan.domains[0] == "image" and scan.shape == (10, 22, 18)
    np.testing.assert_array_equal(scan.mask, sampled)
    np.testing.assert_allclose(scan.kspace, expected, atol=5e-6)
    lazy = mr.read(tmp_path / "c.h5", lazy=True)
    np.testing.assert_array_equal(lazy.slab(3, 5), scan.kspace[:, 3:5])
    raw = mr.read(tmp_path / "c.h5", recentre=False)
    np.testing.assert_allclose(raw.kspace, hybrid, atol=1e-6)


def test_calgary_slice_encodings_that_were_not_acquired(tmp_path, make, rng):
    """Nearly nothing counts as nothing; a stated fraction is taken as stated."""
    hybrid = make.fft(calgary_images(make), (2, 3))
    junk = 1e-6 * rng.standard_normal(hybrid.shape)
    faint = hybrid.copy()
    faint[..., 15:] = junk[..., 15:]
    scan = mr.read(make.calgary(tmp_path / "faint.h5", faint))
    assert scan.mask[:, :15].all() and not scan.mask[:, 15:].any()
    assert not scan.kspace[..., 15:].any()
    stated = mr.read(make.calgary(tmp_path / "full.h5", hybrid), acquired=0.85)
    assert stated.mask[:, :16].all() and not stated.mask[:, 16:].any()  # ceil(0.85 * 18) = 16
    assert mr.read(tmp_path / "full.h5").mask.all()


def test_calgary_off_centre(tmp_path, make):
    hybrid = make.fft(calgary_images(make), (2, 3))
    scan = mr.read(make.calgary(tmp_path / "a.h5", np.roll(hybrid, 5, 2)))
    np.testing.assert_allclose(scan.kspace, hybrid, atol=1e-6)


def test_calgary_errors(tmp_path, make):
    images = calgary_images(make)
    with pytest.raises(DataError, match=r"y and z of the array .* are in the image domain"):
        mr.read(make.calgary(tmp_path / "a.h5", np.tile(images, (1, 1, 2, 2))))
    longer = make.phantom((30, 22, 18), 3)
    with pytest.warns(UserWarning, match=r"x \(30 samples\) is read as being in k-space"):  # 3D k-space
        scan = mr.read(make.calgary(tmp_path / "a.h5", make.fft(longer, (1, 2, 3))))
    np.testing.assert_allclose(make.ifft(scan.kspace, (1, 2, 3)), longer, atol=1e-5)
    mixed = make.fft(images, (2, 3))
    mixed[:, 2, ::2] = 0
    with pytest.raises(MaskError, match="sampled with different masks"):
        mr.read(make.calgary(tmp_path / "a.h5", mixed))
    with h5py.File(tmp_path / "b.h5", "w") as f:
        f["kspace"] = np.ones((4, 6, 5, 3), np.float32)
    with pytest.raises(FileFormatError, match="interleaved"):
        mr.read(tmp_path / "b.h5")


# ---- BART -----------------------------------------------------------------------------------------


@pytest.mark.bart
def test_cfl_written_by_bart(tmp_path, make):
    """BART's own phantom: upright and centred as BART's own transform shows it."""
    for command in (
        "phantom -3 -x16 -s3 -k ksp",
        "fft -i -u 7 ksp img",
        "upat -Y16 -Z16 -y2 -z1 -c2 pat",
        "fmac ksp pat und",
    ):
        subprocess.run(["bart", *command.split()], cwd=tmp_path, check=True, capture_output=True)
    scan = mr.read(tmp_path / "ksp")
    images = read_cfl(tmp_path / "img.cfl")
    assert scan.shape == (16, 16, 16) and scan.n_coils == 3
    np.testing.assert_allclose(make.ifft(scan.kspace, (1, 2, 3)), images, atol=1e-4 * abs(images).max())
    pattern = io.read_mask(tmp_path / "pat.cfl")
    under = mr.read(tmp_path / "und.cfl")
    np.testing.assert_array_equal(under.mask, pattern)
    assert under.acceleration == pytest.approx(pattern.size / pattern.sum())


@pytest.mark.bart
def test_cfl_read_by_bart(tmp_path, scan):
    mr.write(scan, tmp_path / "ours.cfl")
    done = subprocess.run(["bart", "show", "-m", "ours"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "6\t12\t10\t3" in done.stdout
    subprocess.run(["bart", "transpose", "0", "3", "ours", "t"], cwd=tmp_path, check=True, capture_output=True)
    flat = np.fromfile(tmp_path / "t.cfl", np.complex64).reshape((3, 12, 10, 6), order="F")
    np.testing.assert_array_equal(flat, scan.kspace.transpose(0, 2, 3, 1))


def test_cfl_round_trip(tmp_path, scan, volume):
    mr.write(scan, tmp_path / "a.cfl")
    for name in ("a", "a.cfl", "a.hdr"):
        back = mr.read(tmp_path / name, voxel_size=(1.5, 1, 1.25))
        np.testing.assert_array_equal(back.kspace, scan.kspace)
        np.testing.assert_array_equal(back.mask, scan.mask)
    for array in (scan.maps, np.stack([scan.maps, 2 * scan.maps]), volume.volume):
        np.testing.assert_array_equal(read_cfl(write_cfl(array, tmp_path / "b")), array)
    volume.save(tmp_path / "v.cfl")
    np.testing.assert_array_equal(read_cfl(tmp_path / "v"), volume.volume)


def test_cfl_header_against_data(tmp_path, scan):
    mr.write(scan, tmp_path / "a.cfl")
    data, header = tmp_path / "a.cfl", tmp_path / "a.hdr"
    whole, text = data.read_bytes(), header.read_text()
    data.write_bytes(whole[:-100])
    with pytest.raises(FileFormatError, match="truncated"):
        mr.read(data)
    data.write_bytes(whole)
    header.write_text(text.replace("6 12 10 3", "600000 1200000 100000 3000"))
    with pytest.raises(FileFormatError, match="truncated"):  # absurd sizes never reach an allocation
        mr.read(data)
    header.write_text("Hello\n1 2 3")
    with pytest.raises(FileFormatError, match="not a BART header"):
        mr.read(data)
    header.unlink()
    with pytest.raises(FileFormatError):
        mr.read(data)


# ---- NumPy ----------------------------------------------------------------------------------------


@pytest.mark.data
def test_measured_brain(data_dir, make):
    """Measured, undersampled 8-channel brain slice."""
    path = data_dir / "kspace" / "brain_sigpy_poisson_8ch.npy"
    raw = np.load(path)
    scan = mr.read(path)
    np.testing.assert_array_equal(scan.kspace[:, 0], raw)
    np.testing.assert_array_equal(scan.mask, (raw != 0).any(axis=0))
    assert scan.acceleration == pytest.approx(1 / 0.124, rel=0.02)  # as the data's own notes say
    peak = np.unravel_index(np.abs(scan.kspace[:, 0]).sum(axis=0).argmax(), raw.shape[1:])
    assert max(abs(np.array(peak) - [115, 90])) <= 2


@pytest.mark.data
def test_measured_phantom_is_centred(data_dir, make):
    scan = mr.read(data_dir / "kspace" / "phantom_siemens_gre_2ch.npy")
    image = np.linalg.norm(make.ifft(scan.kspace, (2, 3))[:, 0], axis=0)
    inside = image > 0.2 * np.percentile(image, 99)
    centre = [np.average(np.arange(160), weights=inside.sum(axis=1 - a)) for a in (0, 1)]
    np.testing.assert_allclose(centre, [80, 80], atol=12)
    assert scan.mask.all()


def test_npy_fft_order_is_rolled(tmp_path, make):
    kspace = make.fft(make.phantom((4, 12, 11), 2), (1, 2, 3)).astype(np.complex64)
    np.save(tmp_path / "c.npy", kspace)
    np.save(tmp_path / "u.npy", np.asfortranarray(np.fft.ifftshift(kspace, axes=(2, 3))))
    centred, rolled = mr.read(tmp_path / "c.npy"), mr.read(tmp_path / "u.npy")
    np.testing.assert_array_equal(centred.kspace, kspace)
    np.testing.assert_array_equal(rolled.kspace, kspace)
    mask = np.zeros((12, 11))
    mask[2:9] = 1
    np.save(tmp_path / "m.npy", mask)
    assert mr.read(tmp_path / "c.npy", mask=tmp_path / "m.npy").acceleration == pytest.approx(12 / 7)
    np.save(tmp_path / "half.npy", kspace * mask)
    np.save(tmp_path / "m.npy", mask.T)
    with pytest.raises(MaskError, match="look transposed"):
        mr.read(tmp_path / "c.npy", mask=tmp_path / "m.npy")
    np.save(tmp_path / "m.npy", np.roll(mask, 2, axis=0))
    with pytest.raises(MaskError, match="22 of the 77 positions of the mask hold no data"):
        mr.read(tmp_path / "half.npy", mask=tmp_path / "m.npy")


def test_npy_refuses(tmp_path):
    np.save(tmp_path / "r.npy", np.ones((2, 8, 8)))
    with pytest.raises(FileFormatError, match="complex"):
        mr.read(tmp_path / "r.npy")
    np.save(tmp_path / "p.npy", np.array([{"a": 1}, None], object), allow_pickle=True)
    with pytest.raises(FileFormatError, match="never loaded"):
        mr.read(tmp_path / "p.npy")
    np.save(tmp_path / "d.npy", np.ones((8, 8), np.complex64))
    with pytest.raises(FileFormatError, match=r"expected .coils, ky, kz."):
        mr.read(tmp_path / "d.npy")
    with (tmp_path / "big.npy").open("wb") as f:
        np.lib.format.write_array_header_1_0(f, {"descr": "<c8", "fortran_order": False, "shape": (9, 10**6, 10**6)})
        f.write(b"\0" * 64)
    with pytest.raises(FileFormatError, match="truncated"):
        mr.read(tmp_path / "big.npy")


# ---- our own --------------------------------------------------------------------------------------


def test_own_round_trip_is_exact(tmp_path, scan):
    path = mr.write(scan, tmp_path / "scan.h5")
    for lazy in (False, True):
        back = mr.read(path, lazy=lazy)
        assert back.is_lazy == lazy
        np.testing.assert_array_equal(back.kspace[...], scan.kspace)
        for name in ("mask", "maps", "noise_covariance", "affine", "reference"):
            np.testing.assert_array_equal(getattr(back, name), getattr(scan, name))
        assert back.voxel_size == scan.voxel_size and back.domains == scan.domains
        assert [s.name for s in back.provenance[:-1]] == [s.name for s in scan.provenance]
        assert back.provenance[-1] == Step("read", {"format": "mrrecon", "path": str(path)})
        assert back.provenance[0].settings == {"seed": 3, "kind": "poisson", "sizes": [1, 2]}
    # a lazy scan is written slab by slab to another file
    again = mr.read(mr.write(mr.read(path, lazy=True), tmp_path / "copy.h5"))
    np.testing.assert_array_equal(again.kspace, scan.kspace)


def test_own_minimal_and_three_axis_mask(tmp_path, rng):
    kspace = (rng.standard_normal((2, 4, 5, 3)) + 1j).astype(np.complex64)
    mask = rng.random((4, 5, 3)) < 0.7
    scan = mr.Acquisition(kspace * mask, mask)
    back = mr.read(mr.write(scan, tmp_path / "a.h5"))
    np.testing.assert_array_equal(back.mask, mask)
    assert back.maps is None and back.noise_covariance is None and back.reference is None


def test_reconstruction_round_trip(tmp_path, volume):
    path = volume.save(tmp_path / "v.h5")
    back = mr.Reconstruction.load(path)
    np.testing.assert_array_equal(back.volume, volume.volume)
    np.testing.assert_array_equal(back.affine, volume.affine)
    for name in (
        "solver",
        "settings",
        "scale",
        "acceleration",
        "seconds",
        "metrics",
        "versions",
        "voxel_size",
    ):
        assert getattr(back, name) == getattr(volume, name)
    assert back.history[0] == {"iteration": 0, "residual": 1.0}
    assert np.isnan(back.history[1]["residual"])


def test_extras_round_trip(tmp_path, volume, rng):
    shape = volume.volume.shape
    extras = {
        "deviation": rng.random(shape),
        "prior_influence": (rng.random(shape) + 1j).astype(np.complex64),
        "second-echo": np.asfortranarray(rng.random(shape).astype(np.float32)),
    }
    record = replace(volume, extras=extras)
    back = mr.Reconstruction.load(record.save(tmp_path / "v.h5"))
    assert {name: extra.dtype.name for name, extra in back.extras.items()} == {
        "deviation": "float32",
        "prior_influence": "complex64",
        "second-echo": "float32",
    }
    for name, extra in extras.items():
        np.testing.assert_allclose(back.extras[name], extra, rtol=1e-6)
        assert not back.extras[name].flags.writeable
    with h5py.File(tmp_path / "v.h5") as f:
        assert f["extras/deviation"].compression == "lzf"
    assert mr.Reconstruction.load(volume.save(tmp_path / "none.h5")).extras == {}
    with h5py.File(tmp_path / "none.h5") as f:
        assert "extras" not in f


def test_extras_of_a_reconstruction_are_checked(volume):
    shape = volume.volume.shape
    record = replace(volume, extras={"deviation": np.ones(shape)})
    assert volume.extras == {} and record.with_metrics({"psnr": 1}).extras.keys() == {"deviation"}
    with pytest.raises(
        ShapeError, match=r"'deviation' has shape \(3, 4\), expected that of the volume, \(20, 24, 18\)"
    ):
        replace(volume, extras={"deviation": np.ones((3, 4))})
    with pytest.raises(DataError, match="'deviation' must be floating point or complex, got dtype int64"):
        replace(volume, extras={"deviation": np.ones(shape, int)})
    for name in ("", "a b", "../volume", "a/b", 3):
        with pytest.raises(DataError, match="names of extras must be words"):
            replace(volume, extras={name: np.ones(shape)})


def test_damaged_extras_are_refused(tmp_path, volume, monkeypatch):
    path = replace(volume, extras={"deviation": np.ones(volume.volume.shape)}).save(tmp_path / "v.h5")
    monkeypatch.setattr(checks, "available_memory", lambda: 100_000)  # enough for the volume alone, 67.5 KiB
    with pytest.raises(InsufficientMemoryError, match=r"needs 101"):
        mr.Reconstruction.load(path)
    monkeypatch.undo()
    with h5py.File(path, "a") as f:
        del f["extras/deviation"]
        f["extras/deviation"] = np.ones((2, 3), np.float32)
    with pytest.raises(FileFormatError, match=r"'extras/deviation' .* has shape \(2, 3\)"):
        mr.Reconstruction.load(path)
    with h5py.File(path, "a") as f:
        del f["extras"]
        f["extras"] = 1.0
    with pytest.raises(FileFormatError, match="'extras' is not a group of volumes"):
        mr.Reconstruction.load(path)


def test_kinds_and_versions(tmp_path, scan, volume):
    volume.save(tmp_path / "v.h5")
    mr.write(scan, tmp_path / "s.h5")
    with pytest.raises(FileFormatError, match=r"open it with Reconstruction\.load"):
        mr.read(tmp_path / "v.h5")
    with pytest.raises(FileFormatError, match=r"open it with mrrecon\.read"):
        mr.Reconstruction.load(tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5", "a") as f:
        f.attrs["version"] = 99
    with pytest.raises(FileFormatError, match=r"version 99.*update"):
        mr.read(tmp_path / "s.h5")
    with h5py.File(tmp_path / "v.h5", "a") as f:
        del f["volume"]
    with pytest.raises(FileFormatError, match="lacks the dataset 'volume'"):
        mr.Reconstruction.load(tmp_path / "v.h5")


def test_record_is_plain_json(tmp_path, scan):
    with h5py.File(mr.write(scan, tmp_path / "s.h5")) as f:
        record = json.loads(f["record"][()])
        assert f["kspace"].compression == "lzf" and f["kspace"].chunks[0] == 1
    assert record["voxel_size"] == [1.5, 1.0, 1.25]


# ---- registry and masks ---------------------------------------------------------------------------


def test_format_is_found_by_content_not_by_name(tmp_path, scan, make):
    mr.write(scan, tmp_path / "scan.h5").rename(tmp_path / "scan.dat")
    assert io.detect(tmp_path / "scan.dat").name == "mrrecon"
    _, kspace, xml = fastmri_case(make)
    assert io.detect(make.fastmri(tmp_path / "x", kspace, xml)).name == "fastmri"
    assert io.detect(make.calgary(tmp_path / "y", kspace)).name == "calgary-campinas"
    mr.write(scan, tmp_path / "z.h5", format="ismrmrd")
    assert io.detect(tmp_path / "z.h5").name == "ismrmrd"
    assert {"mrrecon", "ismrmrd", "fastmri", "calgary-campinas", "cfl", "npy", "twix", "nifti"} <= set(io.formats())


def test_options_of_other_formats_are_refused(tmp_path, scan):
    mr.write(scan, tmp_path / "scan.h5")
    with pytest.raises(FileFormatError, match="take no option 'repetition'"):
        mr.read(tmp_path / "scan.h5", repetition=1)
    with pytest.raises(FileFormatError, match="no readable format 'dicom'"):
        mr.read(tmp_path / "scan.h5", format="dicom")
    with pytest.raises(OutputError, match=r"no writer for '\.xyz'"):
        mr.write(scan, tmp_path / "scan.xyz")


def test_masks(tmp_path, scan):
    from matplotlib.image import imsave

    mask = scan.mask
    np.save(tmp_path / "m.npy", mask.astype(np.float32))
    write_cfl(mask, tmp_path / "m.cfl")
    imsave(tmp_path / "m.png", mask, cmap="gray")
    mr.write(scan, tmp_path / "m.h5")
    for suffix in ("npy", "cfl", "png", "h5"):
        np.testing.assert_array_equal(io.read_mask(tmp_path / f"m.{suffix}"), mask)
    for bad, match in ((mask * 0.5, "other values"), (mask & False, "empty"), (mask[None, None, None], "shape")):
        np.save(tmp_path / "bad.npy", bad)
        with pytest.raises(MaskError, match=match):
            io.read_mask(tmp_path / "bad.npy")
    (tmp_path / "bad.txt").write_text("0 1 1")
    with pytest.raises(FileFormatError, match="no mask file"):
        io.read_mask(tmp_path / "bad.txt")
    with pytest.raises(ShapeError):
        write_cfl(np.ones(3), tmp_path / "x.cfl")
