"""What is wrong is said in one sentence with the file's name; nothing but the toolkit's errors comes out."""

import os

import h5py
import numpy as np
import pytest

import mrrecon as mr
from mrrecon.errors import DataError, FileFormatError, InsufficientMemoryError, MaskError, MRReconError
from mrrecon.io import checks


def refused(path, error=FileFormatError, **options):
    """The message with which reading fails: one line, naming the file."""
    with pytest.raises(error) as caught:
        mr.read(path, **options)
    message = str(caught.value)
    assert "\n" not in message and 20 < len(message) < 700
    return message


def test_not_there_or_not_a_file(tmp_path):
    assert "does not exist" in refused(tmp_path / "none.h5")
    (tmp_path / "scan.h5").write_bytes(b"")
    assert "did you mean scan.h5?" in refused(tmp_path / "scan.hdf5")
    assert "empty (0 bytes)" in refused(tmp_path / "scan.h5")
    assert "is a folder" in refused(tmp_path)
    assert refused("nul\0byte")
    assert refused("x" * 300)


def test_unreadable_file(tmp_path, monkeypatch):
    path = tmp_path / "locked.h5"
    path.write_bytes(b"x")
    original = type(path).open

    def denied(self, *args, **kwargs):
        if self == path:
            raise PermissionError(13, "Permission denied")
        return original(self, *args, **kwargs)

    monkeypatch.setattr(type(path), "open", denied)  # root could read it all the same
    assert "permissions" in refused(path)


def test_foreign_content(tmp_path):
    cases = {
        "a.h5": (b"hello world " * 100, "not HDF5"),
        "a.dat": (os.urandom(4) + b"\xff" * 300, "not a k-space file"),
        "a.txt": (b"kspace", "first bytes"),
        "a.nii.gz": (b"\x1f\x8b" + b"0" * 500, "mrrecon simulate"),
        "a.dcm": (b"\0" * 128 + b"DICM" + b"\0" * 400, "DICOM image"),
    }
    for name, (content, match) in cases.items():
        (tmp_path / name).write_bytes(content)
        message = refused(tmp_path / name)
        assert match in message and "It reads: " in message, message


def test_hdf5_of_something_else(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as f:
        f["weights"] = np.ones((3, 4))
        f.create_group("model")
    message = refused(tmp_path / "other.h5")
    assert "weights ((3, 4) float64)" in message and "model (group)" in message and "kspace" in message
    with h5py.File(tmp_path / "wrong.h5", "w") as f:
        f["kspace"] = np.ones((3, 4, 5), np.int16)
    assert "int16" in refused(tmp_path / "wrong.h5")
    with h5py.File(tmp_path / "group.h5", "w") as f:
        f.create_group("kspace")
    assert "kspace (group)" in refused(tmp_path / "group.h5")


@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
def test_truncated(tmp_path, scan, make, part):
    kspace = make.fft(make.phantom((4, 16, 12), 2), (2, 3)).astype(np.complex64)
    files = [
        mr.write(scan, tmp_path / "own.h5"),
        mr.write(scan, tmp_path / "ismrmrd.mrd"),
        mr.write(scan, tmp_path / "bart.cfl"),
        make.fastmri(tmp_path / "fastmri.h5", kspace),
        make.calgary(tmp_path / "calgary.h5", kspace),
    ]
    np.save(tmp_path / "array.npy", scan.kspace)
    for path in [*files, tmp_path / "array.npy"]:
        whole = path.read_bytes()
        path.write_bytes(whole[: int(part * len(whole))])
        assert "truncated" in refused(path), path.name


def test_damaged_content_of_our_own(tmp_path, scan):
    def damaged(change):
        path = mr.write(scan, tmp_path / "own.h5")
        with h5py.File(path, "a") as f:
            change(f)
        return path

    def replace(name, value):
        def change(f):
            del f[name]
            f[name] = value

        return change

    for name in ("kspace", "mask", "affine", "record"):
        path = damaged(lambda f, name=name: f.__delitem__(name))
        message = refused(path)
        assert f"lacks the dataset '{name}'" in message
    assert "dtype int32" in refused(damaged(replace("kspace", np.ones((3, 6, 12, 10), np.int32))))
    assert "pass mask.T" in refused(damaged(replace("mask", scan.mask.T)), MaskError)
    assert "(12, 9)" in refused(damaged(replace("mask", scan.mask[:, :9])), MaskError)
    assert "another order" in refused(damaged(replace("maps", scan.maps.transpose(0, 2, 1, 3))), MRReconError)
    assert refused(damaged(replace("record", np.bytes_("{not json"))))
    assert refused(damaged(replace("record", np.bytes_("[1, 2]"))))
    assert refused(damaged(replace("noise_covariance", -np.eye(3))), DataError)
    assert refused(damaged(replace("affine", np.zeros((4, 4)))), DataError)


def test_unusable_values(tmp_path, scan):
    def written(change):
        kspace = scan.kspace.copy()
        change(kspace)
        path = mr.write(scan, tmp_path / "own.h5")
        with h5py.File(path, "a") as f:
            f["kspace"][...] = kspace
        return path

    path = written(lambda k: k.__setitem__((1, 2, 6, 5), np.nan))
    assert "coil 1 has 1 NaN or Inf values" in refused(path, DataError)
    assert mr.read(path, lazy=True).is_lazy  # found once it is loaded
    path = written(lambda k: k.__setitem__((0, 0, 5, 5), np.inf))
    assert "coil 0" in refused(path, DataError)
    path = written(lambda k: k.__setitem__(2, 0))
    message = refused(path, DataError)
    assert "coil 2 is zero everywhere" in message and "select_coils" in message


def test_memory_is_asked_for_before_it_is_taken(tmp_path, scan, volume, monkeypatch):
    paths = [mr.write(scan, tmp_path / name) for name in ("a.h5", "a.mrd", "a.cfl")]
    np.save(tmp_path / "a.npy", scan.kspace)
    volume.save(tmp_path / "v.h5")
    monkeypatch.setattr(checks, "available_memory", lambda: 1000)
    for path in [*paths, tmp_path / "a.npy"]:
        assert "1000 bytes are free" in refused(path, InsufficientMemoryError)
    with pytest.raises(InsufficientMemoryError, match=r"The volume of .* needs 67\.5 KiB"):
        mr.Reconstruction.load(tmp_path / "v.h5")


def test_available_memory_is_plausible():
    free = checks.available_memory()
    assert free is None or 2**20 < free < 2**50
    assert checks.size_text(1536) == "1.5 KiB" and checks.size_text(10) == "10 bytes"


def test_missing_extra_names_the_command(tmp_path, monkeypatch, volume):
    import sys

    from mrrecon.errors import MissingDependencyError

    monkeypatch.setitem(sys.modules, "pydicom", None)
    monkeypatch.setitem(sys.modules, "pydicom.dataset", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'mrrecon\[io\]'"):
        volume.save(tmp_path / "series")
