"""Lazy access: a slab costs a slab; the arrays pickle, survive threads, and notice a changed file."""

import os
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

import mrrecon as mr
from mrrecon.errors import FileFormatError, InsufficientMemoryError, OutputError
from mrrecon.io import checks
from mrrecon.io.file_arrays import in_memory
from mrrecon.io.plain_files import write_cfl


@pytest.fixture
def files(tmp_path, rng, make):
    """The same kind of scan, (4, 24, 32, 28), in every lazily readable format."""
    kspace = make.fft(make.phantom((24, 32, 28), 4), (1, 2, 3)).astype(np.complex64)
    scan = mr.Acquisition(kspace, np.ones((32, 28), bool))
    mr.write(scan, tmp_path / "own.h5")
    write_cfl(kspace, tmp_path / "bart.cfl")
    np.save(tmp_path / "array.npy", kspace)
    make.fastmri(tmp_path / "fastmri.h5", kspace.transpose(1, 0, 2, 3))
    make.calgary(tmp_path / "calgary.h5", kspace)
    return tmp_path


NAMES = ("own.h5", "bart.cfl", "array.npy", "fastmri.h5", "calgary.h5")


@pytest.mark.parametrize("name", NAMES)
def test_indexing_is_numpys(files, name):
    lazy = mr.read(files / name, lazy=True).kspace
    whole = mr.read(files / name).kspace
    assert lazy.shape == whole.shape and lazy.dtype == np.complex64
    for key in (
        np.s_[:], np.s_[...], np.s_[2], np.s_[:, 5:9], np.s_[1:3, -4:], np.s_[..., 3], np.s_[0, :, 4:8, 2:20],
        np.s_[:, 3:3], np.s_[-1, -1], np.s_[:, 20:99],
    ):  # fmt: skip
        np.testing.assert_array_equal(lazy[key], whole[key])
    np.testing.assert_array_equal(np.asarray(lazy), whole)
    for key in (np.s_[::2], np.s_[[0, 1]], np.s_[9], np.s_[:, :, :, :, 0]):
        with pytest.raises(IndexError):
            lazy[key]


@pytest.mark.parametrize("name", NAMES)
def test_a_slab_costs_a_slab(files, name):
    mr.read(files / name, lazy=True).slab(0, 1)  # imports and caches
    scan = mr.read(files / name, lazy=True)
    whole = 8 * np.prod(scan.kspace.shape)
    tracemalloc.start()
    part = scan.slab(10, 12)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert part.nbytes == whole / 12
    assert peak < 5 * part.nbytes < whole / 2


def test_hdf5_reads_only_what_is_asked(files, monkeypatch):
    read = []
    original = h5py.Dataset.__getitem__

    def counted(self, key, *args, **kwargs):
        value = original(self, key, *args, **kwargs)
        read.append(np.asarray(value).nbytes)
        return value

    scan = mr.read(files / "own.h5", lazy=True)
    monkeypatch.setattr(h5py.Dataset, "__getitem__", counted)
    part = scan.slab(3, 5)
    assert sum(read) == part.nbytes


def test_a_scan_larger_than_memory_opens_and_gives_slabs(tmp_path, monkeypatch):
    """8 coils, 256x320x320, 1.7 GB in the header; only 64 MB to be had."""
    path = tmp_path / "knee.h5"
    mr.write(mr.Acquisition(np.ones((8, 2, 320, 320), np.complex64), np.ones((320, 320), bool)), path)
    with h5py.File(path, "a") as f:
        del f["kspace"]
        f.create_dataset("kspace", (8, 256, 320, 320), np.complex64, chunks=(1, 1, 320, 320))
    monkeypatch.setattr(checks, "available_memory", lambda: 64 * 2**20)
    scan = mr.read(path, lazy=True)
    assert scan.slab(100, 104).shape == (8, 4, 320, 320)
    with pytest.raises(InsufficientMemoryError, match=r"1\.6 GiB of memory and 64\.0 MiB are free.*lazy=True"):
        mr.read(path)
    with pytest.raises(InsufficientMemoryError, match="Reading k-space"):
        scan.slab(0, 256)


def test_pickle_and_threads(files):
    scan = mr.read(files / "calgary.h5", lazy=True)
    whole = scan.kspace[...]
    copy = pickle.loads(pickle.dumps(scan.kspace))
    np.testing.assert_array_equal(copy[:, 3:5], whole[:, 3:5])
    with ThreadPoolExecutor(4) as pool:
        for x, plane in enumerate(pool.map(lambda x: scan.kspace[:, x], range(24))):
            np.testing.assert_array_equal(plane, whole[:, x])


def test_no_handle_stays_open(files):
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    scans = [mr.read(files / name, lazy=True) for name in NAMES]
    for scan in scans:
        scan.slab(0, 2)
    after = len(os.listdir("/proc/self/fd")) if before else 0
    assert after <= before


def test_changed_or_vanished_file(files, scan):
    lazy = mr.read(files / "own.h5", lazy=True)
    mr.write(scan, files / "own.h5")
    with pytest.raises(FileFormatError, match="has changed since it was opened"):
        lazy.slab(0, 1)
    (files / "own.h5").unlink()
    with pytest.raises(FileFormatError):
        lazy.slab(0, 1)


def test_never_overwrites_what_it_reads(files):
    lazy = mr.read(files / "own.h5", lazy=True)
    with pytest.raises(OutputError, match="still being read"):
        mr.write(lazy, files / "own.h5")
    whole = lazy.load()
    mr.write(whole, files / "own.h5")
    np.testing.assert_array_equal(mr.read(files / "own.h5").kspace, whole.kspace)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("xs", [slice(None), slice(2, 5), np.array([4, 0, 1])], ids=["all", "slice", "some"])
def test_arrays_are_copied_in_their_order(rng, order, xs):
    array = rng.standard_normal((2, 6, 9, 7)) + 1j * rng.standard_normal((2, 6, 9, 7))
    stored = np.array(array, np.complex64, order=order)
    for part, copied in ((array, stored), (array.transpose(0, 2, 3, 1), stored.transpose(0, 2, 3, 1))):
        got = in_memory(copied, xs)
        assert got.flags.c_contiguous
        np.testing.assert_array_equal(got, part[:, xs].astype(np.complex64))
