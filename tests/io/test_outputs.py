"""Images out (NIfTI, DICOM, PNG) read back by others, and writing that is all or nothing."""

import os
import subprocess
import sys
import textwrap
import warnings
from dataclasses import replace

import nibabel
import numpy as np
import pytest

import mrrecon as mr
from mrrecon import io
from mrrecon.errors import DataError, FileFormatError, OutputError, ShapeError

# ---- NIfTI ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_nifti_out(tmp_path, volume, name):
    image = nibabel.load(volume.save(tmp_path / name))
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), volume.magnitude)
    np.testing.assert_allclose(image.get_sform(), volume.affine, atol=1e-5)
    np.testing.assert_allclose(image.get_qform(), volume.affine, atol=1e-4)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.header.get_zooms() == pytest.approx((1.0, 1.2, 0.8), rel=1e-5)
    assert int(image.header["qform_code"]) == int(image.header["sform_code"]) == 1
    assert os.listdir(tmp_path) == [name]


def test_nifti_phase(tmp_path, volume):
    from mrrecon.io.nifti import write

    image = nibabel.load(write(volume, tmp_path / "phase.nii", part="phase"))
    np.testing.assert_allclose(image.get_fdata(), volume.phase, atol=1e-5)


def test_anatomy_in_any_orientation(tmp_path, rng):
    """The same head stored in other axis orders and directions reads as the same RAS+ volume."""
    data = rng.random((5, 6, 7)).astype(np.float32)
    affine = np.diag([2.0, 1.5, 1.0, 1.0])
    affine[:3, 3] = [-5, -4, -3]
    original = nibabel.Nifti1Image(data, affine)
    for codes in ("RAS", "LPS", "PIR", "SAL"):
        start = nibabel.orientations.axcodes2ornt("RAS")
        turn = nibabel.orientations.ornt_transform(start, nibabel.orientations.axcodes2ornt(codes))
        nibabel.save(original.as_reoriented(turn), tmp_path / f"{codes}.nii.gz")
        volume, grid = io.read_volume(tmp_path / f"{codes}.nii.gz")
        np.testing.assert_array_equal(volume, data)
        assert grid.voxel_size == (2.0, 1.5, 1.0)
        np.testing.assert_allclose(grid.affine, affine)


@pytest.mark.parametrize(("unit", "per_millimetre"), [("meter", 1e-3), ("mm", 1), ("micron", 1e3), ("unknown", 1)])
def test_anatomy_lengths_are_millimetres_whatever_the_unit(tmp_path, rng, unit, per_millimetre, recwarn):
    affine = np.diag([0.8, 1.5, 1.0, 1.0])
    affine[:3, 3] = [-5, 40, 3]
    stored = affine.copy()
    stored[:3] *= per_millimetre
    image = nibabel.Nifti1Image(rng.random((5, 6, 7)).astype(np.float32), stored)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii")
    _, grid = io.read_volume(tmp_path / "a.nii")
    np.testing.assert_allclose(grid.voxel_size, [0.8, 1.5, 1.0], rtol=1e-6)
    np.testing.assert_allclose(grid.affine, affine, rtol=1e-6)
    assert not recwarn


@pytest.mark.parametrize(
    ("unit", "edge", "said"),
    [("unknown", 0.001, "no unit"), ("unknown", 1000, "no unit"), ("meter", 1, "metres, which makes voxels of 1e")],
)
def test_anatomy_of_doubtful_unit_is_noted(tmp_path, rng, unit, edge, said):
    image = nibabel.Nifti1Image(rng.random((5, 6, 7)).astype(np.float32), np.diag([edge, edge, edge, 1]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.warns(UserWarning, match=said):
        io.read_volume(tmp_path / "a.nii")


def test_complex_anatomy_keeps_its_phase(tmp_path, rng):
    data = (rng.random((5, 6, 7)) + 1j * rng.random((5, 6, 7))).astype(np.complex64)
    original = nibabel.Nifti1Image(data, np.diag([2.0, 1.5, 1.0, 1.0]))
    start, turn = (nibabel.orientations.axcodes2ornt(codes) for codes in ("RAS", "PIR"))
    nibabel.save(original.as_reoriented(nibabel.orientations.ornt_transform(start, turn)), tmp_path / "c.nii.gz")
    volume, grid = io.read_volume(tmp_path / "c.nii.gz")
    np.testing.assert_array_equal(volume, data)
    assert volume.dtype == np.complex64 and grid.voxel_size == (2.0, 1.5, 1.0)


def test_anatomy_refused(tmp_path):
    path = tmp_path / "a.nii.gz"
    cases = [
        (np.ones((4, 4, 4, 3)) * np.arange(3), FileFormatError, "has 4 axes, .* one 3D volume: select one"),
        (np.ones((4, 4)), FileFormatError, "has 2 axes, .* one 3D volume: stack"),
        (np.ones((4, 4, 1)), FileFormatError, "at least two voxels"),
        (np.zeros((4, 4, 4)), DataError, "everywhere"),
        (np.full((4, 4, 4), np.nan), DataError, "64 NaN or Inf"),
    ]
    for data, error, match in cases:
        nibabel.save(nibabel.Nifti1Image(data.astype(np.float32), np.eye(4)), path)
        with pytest.raises(error, match=match):
            io.read_volume(path)
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).random((9, 9, 9)), np.eye(4)), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileFormatError):
        io.read_volume(path)
    path.write_bytes(b"no image at all")
    with pytest.raises(FileFormatError, match="not a NIfTI image"):
        io.read_volume(path)
    with pytest.raises(FileFormatError, match="does not exist"):
        io.read_volume(tmp_path / "b.nii")
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).random((9, 9, 9)), np.eye(4)), path)
    with pytest.raises(FileFormatError, match="simulate"):
        mr.read(path)


# ---- DICOM ----------------------------------------------------------------------------------------


def stack(folder):
    """Volume and affine (RAS+) from a folder of DICOM files, by the formula of the standard (C.7.6.2.1.1)."""
    import pydicom

    files = sorted((pydicom.dcmread(p) for p in folder.iterdir()), key=lambda d: d.InstanceNumber)
    first, last = files[0], files[-1]
    across = np.array(first.ImageOrientationPatient[:3], float) * float(first.PixelSpacing[1])
    down = np.array(first.ImageOrientationPatient[3:], float) * float(first.PixelSpacing[0])
    start, end = (np.array(f.ImagePositionPatient, float) for f in (first, last))
    affine = np.eye(4)
    affine[:3] = np.stack([across, down, (end - start) / (len(files) - 1), start], axis=1)
    pixels = np.stack([f.pixel_array.T * float(f.RescaleSlope) for f in files], axis=2)
    return pixels, np.diag([-1, -1, 1, 1]) @ affine, files


@pytest.mark.parametrize("voxel", [(1.0, 1.2, 0.8), (6.0, 1.2, 0.8)])
def test_dicom_lies_where_the_volume_lies(tmp_path, volume, voxel):
    """Every voxel has the same value at the same place in the scanner, also for thick sagittal slices."""
    affine = volume.affine.copy()
    affine[:3, :3] = affine[:3, :3] / np.array(volume.voxel_size) * np.array(voxel)
    record = replace(volume, affine=affine, voxel_size=voxel)
    folder = record.save(tmp_path / "series")
    pixels, theirs, files = stack(folder)
    assert len(files) == (20 if voxel[0] == 6.0 else 18)
    index = np.argwhere(np.ones(volume.volume.shape))
    places = index @ affine[:3, :3].T + affine[:3, 3]
    at = (places - theirs[:3, 3]) @ np.linalg.inv(theirs[:3, :3]).T
    np.testing.assert_allclose(at, np.rint(at), atol=1e-3)
    values = pixels[tuple(np.rint(at).astype(int).T)].reshape(volume.volume.shape)
    np.testing.assert_allclose(values, volume.magnitude, atol=volume.magnitude.max() / 4095)
    assert files[0].SOPClassUID.name == "MR Image Storage"
    assert len({f.SOPInstanceUID for f in files}) == len(files)
    # nibabel's DICOM reader agrees on where the first slice lies: (row, column) to LPS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel calls its DICOM support experimental
        from nibabel.nicom.dicomwrappers import wrapper_from_data
    wrapped = wrapper_from_data(files[0])
    corner = np.diag([-1, -1, 1, 1]) @ wrapped.affine @ [3, 5, 0, 1]
    np.testing.assert_allclose(corner, theirs @ [5, 3, 0, 1], atol=1e-4)
    np.testing.assert_allclose(wrapped.get_data(), pixels[:, :, 0].T, rtol=1e-5)


def test_dicom_never_mixes_into_a_full_folder(tmp_path, volume):
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not an empty folder"):
        volume.save(tmp_path / "series")
    assert os.listdir(tmp_path / "series") == ["notes.txt"] and os.listdir(tmp_path) == ["series"]


# ---- PNG ------------------------------------------------------------------------------------------


def test_montage_layout(tmp_path, volume):
    from matplotlib.image import imread

    truth = volume.magnitude
    path = io.montage(
        {"cg": truth * 1.05, "wavelet": truth}, tmp_path / "m.png", reference=truth,
        grid=mr.Grid(truth.shape, (1, 1.2, 0.8)),
        labels={"cg": "26 dB"},
    )  # fmt: skip
    picture = imread(path)[..., :3]
    alone = imread(volume.save(tmp_path / "one.png"))[..., :3]
    assert picture.shape[1] > 2 * alone.shape[1] and picture.shape[0] > 1.5 * alone.shape[0]
    colour = np.abs(picture[..., 0] - picture[..., 2]) > 0.05  # only error maps are coloured
    columns = colour.any(axis=0)
    third = picture.shape[1] // 3
    assert columns[third : 2 * third].any() and not columns[2 * third + 30 :].any()  # wavelet: error zero everywhere
    assert picture[:, : third // 8].max() > 0.5  # row names


def test_montage_is_upright(tmp_path):
    """A bright spot at the patient's right, front and top shows at the left and at the top of the planes."""
    from matplotlib.image import imread

    head = np.zeros((40, 40, 40), np.float32)
    head[20, 20, 20] = 0.1
    flips = np.diag([-1.0, 1.0, -1.0, 1.0])  # stored left to right reversed and upside down
    for affine, spot in ((np.eye(4), (35, 36, 37)), (flips, (4, 36, 2))):
        data = head.copy()
        data[spot] = 1
        grid = mr.Grid(data.shape, affine=affine)
        picture = imread(io.montage({"a": data}, tmp_path / "m.png", grid=grid, centre=spot))[..., :3].max(axis=2)
        rows, columns = picture.shape
        picture[: int(0.55 * 120)] = 0  # titles
        picture[:, : int(0.35 * 120)] = 0
        for plane in range(3):
            top = int(0.55 * 120) + plane * (rows - int(0.55 * 120)) // 3
            part = picture[top : top + (rows - int(0.55 * 120)) // 3]
            y, x = np.argwhere(part > 0.9).mean(axis=0)
            assert y < 0.3 * part.shape[0]  # front (axial) or top (coronal, sagittal)
            assert x > 0.7 * columns  # RAS index grows to the right of the picture


def test_montage_refuses(tmp_path):
    with pytest.raises(DataError, match="at least one"):
        io.montage({}, tmp_path / "m.png")
    with pytest.raises(ShapeError, match="'b' has shape"):
        io.montage({"a": np.ones((4, 4, 4)), "b": np.ones((4, 4, 5))}, tmp_path / "m.png")


# ---- all or nothing -------------------------------------------------------------------------------

TARGETS = ["v.h5", "v.nii.gz", "v.png", "v.cfl", "series"]


@pytest.mark.parametrize("name", TARGETS)
def test_missing_and_read_only_folder(tmp_path, volume, name):
    with pytest.raises(OutputError, match="does not exist; create it first"):
        volume.save(tmp_path / "missing" / name)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is not a folder"):
        volume.save(tmp_path / "file" / name)


def test_folder_not_writable(tmp_path, volume, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *a, **k: False)  # root may write anywhere
    with pytest.raises(OutputError, match="not writable"):
        volume.save(tmp_path / "v.h5")
    assert not os.listdir(tmp_path)


LIMITED = """
    import resource, signal, sys
    import numpy as np
    import mrrecon as mr
    from mrrecon.errors import OutputError
    from mrrecon.io import bart_cfl, dicom, mrrecon_h5, nifti, png
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((4, 16, 64, 64)) + 1j * rng.standard_normal((4, 16, 64, 64))
    noise = noise.astype(np.complex64)
    record = mr.Reconstruction(noise[0], (1, 1, 1), np.eye(4), "cg")
    scan = mr.Acquisition(noise, np.ones((64, 64), bool))
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
    try:
        mr.write(scan if sys.argv[1] == "scan" else record, sys.argv[2])
    except OutputError as error:
        print("OutputError:", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX file size limits")
@pytest.mark.parametrize(
    ("kind", "name", "limit"),
    [("scan", "s.h5", 200_000), ("scan", "s.cfl", 200_000), ("scan", "s.mrd", 200_000),
     ("volume", "v.h5", 100_000), ("volume", "v.nii.gz", 50_000), ("volume", "v.nii", 50_000),
     ("volume", "v.png", 2_000), ("volume", "dcm", 1_000)],
)  # fmt: skip
def test_a_write_that_fails_halfway_leaves_nothing(tmp_path, kind, name, limit):
    """The system really refuses to write beyond a size: one sentence, no debris, the older file intact."""
    target = tmp_path / name
    if name != "dcm":
        target.write_bytes(b"older result")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), kind, str(target), str(limit)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.startswith("OutputError:"), done.stderr
    assert "allowed file size" in done.stdout and "Nothing was left behind" in done.stdout
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ([] if name == "dcm" else [name])
    if name != "dcm":
        assert target.read_bytes() == b"older result"


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.name != "posix" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


@pytest.mark.parametrize("name", ["s.h5", "s.cfl", "s.mrd"])
def test_full_disk(tiny_disk, rng, name):
    kspace = (rng.standard_normal((4, 8, 64, 64)) + 1j * rng.standard_normal((4, 8, 64, 64))).astype(np.complex64)
    scan = mr.Acquisition(kspace, np.ones((64, 64), bool))
    with pytest.raises(OutputError, match="the disk is full"):
        mr.write(scan, tiny_disk / name)
    assert os.listdir(tiny_disk) == []
    small = mr.Acquisition(kspace[:1, :1, :8, :8], np.ones((8, 8), bool))
    mr.write(small, tiny_disk / name)  # the space is really free again


def test_interrupted_write_leaves_the_older_file(tmp_path, scan, monkeypatch):
    path = mr.write(scan, tmp_path / "s.h5")
    before = path.read_bytes()
    monkeypatch.setattr(type(scan), "slab", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        mr.write(scan, path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["s.h5"]


def test_what_is_written_where(tmp_path, scan, volume):
    for name, thing in (("a.nii.gz", scan), ("a.png", scan), ("folder", scan), ("a.mrd", volume)):
        with pytest.raises(OutputError):
            mr.write(thing, tmp_path / name)
    with pytest.raises(OutputError, match="got ndarray"):
        mr.write(np.ones(3), tmp_path / "a.h5")
    (tmp_path / "b.h5").mkdir()
    with pytest.raises(OutputError):
        mr.write(volume, tmp_path / "b.h5")
    assert os.listdir(tmp_path) == ["b.h5"]
