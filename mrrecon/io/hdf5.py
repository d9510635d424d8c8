"""The few HDF5 habits that all HDF5 formats share: sniffing, checking, and writing safely."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mrrecon.atomic import atomic_path
from mrrecon.errors import FileFormatError
from mrrecon.io.checks import array_bytes, size_text

__all__ = [
    "create_hdf5",
    "holds_kspace",
    "is_hdf5",
    "open_if_hdf5",
    "read_text",
    "require_dataset",
    "require_version",
    "text_attribute",
]

_MAGIC = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: Path) -> bool:
    """Whether the file starts as HDF5 does (it may still be truncated)."""
    try:
        with path.open("rb") as file:
            return file.read(8) == _MAGIC
    except OSError:
        return False


@contextmanager
def open_if_hdf5(path: Path) -> Iterator[Any]:
    """Open for sniffing: yields the file, or ``None`` when it is not HDF5.

    Raises
    ------
    FileFormatError
        When it is HDF5 but truncated or damaged: no other format can claim it.
    """
    if not is_hdf5(path):
        yield None
        return
    try:
        file = h5py.File(path, "r")
    except Exception as error:
        reason = " ".join(str(error).split())
        state = "is truncated" if "truncated" in reason or "eof" in reason else "is damaged"
        raise FileFormatError(f"{path} {state} HDF5 ({reason[:160]}); copy or download it again.") from error
    with file:
        yield file


def holds_kspace(path: Path, ndims: tuple[int, ...], kind: str) -> bool:
    """Whether this is HDF5, none of ours, with a dataset ``kspace`` of so many axes and of a kind of numbers."""
    with open_if_hdf5(path) as file:
        if file is None or "kspace" not in file or "format" in file.attrs:
            return False
        data = file["kspace"]
        return getattr(data, "ndim", 0) in ndims and data.dtype.kind == kind


def require_dataset(file: Any, name: str, path: Path, ndims: tuple[int, ...], what: str) -> Any:
    """Return dataset `name` of an open file, checked for presence, dimensions and truncated storage."""
    item = file.get(name)
    if not isinstance(item, h5py.Dataset):
        there = ", ".join(list(file.keys())[:8]) or "nothing"
        raise FileFormatError(f"{path} lacks the dataset {name!r} ({what}); it holds {there}.")
    if item.ndim not in ndims:
        wanted = " or ".join(map(str, ndims))
        raise FileFormatError(f"{path}: dataset {name!r} ({what}) has shape {item.shape}, expected {wanted} axes.")
    if min(item.shape, default=1) == 0:
        raise FileFormatError(f"{path}: dataset {name!r} has shape {item.shape}, so there is nothing in it to read.")
    if item.chunks is None and item.id.get_offset() is not None:  # contiguous: its bytes must be in the file
        need, have = array_bytes(item.shape, item.dtype.itemsize), os.path.getsize(path)
        if need > have:
            raise FileFormatError(
                f"{path}: dataset {name!r} claims {size_text(need)} but the file has {size_text(have)}; "
                "it is truncated: copy or download it again."
            )
    return item


def read_text(value: Any) -> str:
    """Return a string dataset or attribute (bytes, str, or an array with one of them) as text."""
    if isinstance(value, h5py.Dataset):
        value = value[()]
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def text_attribute(item: Any, name: str) -> str:
    """Return an attribute that is a string of fixed length, else nothing: libhdf5 loops for ever on some others."""
    if name not in item.attrs or item.attrs.get_id(name).dtype.kind != "S":
        return ""
    return read_text(item.attrs[name])


def require_version(file: Any, newest: int, path: Path, what: str) -> None:
    """Refuse a file whose attribute ``version`` is above the newest that is known."""
    version = int(file.attrs.get("version", 0))
    if version > newest:
        raise FileFormatError(
            f"{path} has version {version} of {what}, this mrrecon reads up to {newest}; update it with pip install "
            "--upgrade mrrecon."
        )


class _Sink(io.RawIOBase):
    """A file that HDF5 may write to on a disk that runs full.

    When a write fails inside HDF5 (2.0 at least) the library is left broken: closing the file fails, and a
    later, unrelated close crashes the process. So a failure is kept here and never shown to HDF5; what the
    disk refused is held in memory, for HDF5 may read it back while it closes.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self._refused: list[tuple[int, bytes]] = []
        self._at = 0
        self._end = 0
        self.error: OSError | None = None

    def check(self) -> None:
        """Raise what the disk answered, if it refused anything."""
        if self.error is not None:
            raise self.error

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._end)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        block = memoryview(data).cast("B")
        try:
            self._file.seek(self._at)
            done = 0
            while done < len(block):
                done += self._file.write(block[done:])
        except OSError as error:
            self.error = self.error or error
            self._refused.append((self._at, bytes(block)))
        self._at += len(block)
        self._end = max(self._end, self._at)
        return len(block)

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")
        self._file.seek(self._at)
        found = self._file.read(len(target))
        target[:] = found + bytes(len(target) - len(found))
        for start, block in self._refused:
            low, high = max(start, self._at), min(start + len(block), self._at + len(target))
            if low < high:
                target[low - self._at : high - self._at] = block[low - start : high - start]
        self._at += len(target)
        return len(target)

    def truncate(self, size: int | None = None) -> int:
        size = self._at if size is None else size
        try:
            self._file.truncate(size)
        except OSError as error:
            self.error = self.error or error
        self._end = size
        return size

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def create_hdf5(path: str | os.PathLike[str]) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Write an HDF5 file all or nothing: yields the file and a function that raises once the disk is full.

    Raises
    ------
    OutputError
        When the folder is missing or not writable, or the disk is full.
    """
    with atomic_path(path) as temporary:
        sink = _Sink(temporary)
        try:
            with h5py.File(sink, "w") as file:
                yield file, sink.check
            sink.check()
        finally:
            sink.close()
