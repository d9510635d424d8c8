"""The few HDF5 habits that all HDF5 formats share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mrrecon.errors import FileFormatError
from mrrecon.io.checks import array_bytes, size_text

__all__ = ["is_hdf5", "open_if_hdf5", "read_text", "require_dataset"]

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


def require_dataset(file: Any, name: str, path: Path, ndims: tuple[int, ...], what: str) -> Any:
    """Return dataset `name` of an open file, checked for presence, dimensions and truncated storage."""
    item = file.get(name)
    if not isinstance(item, h5py.Dataset):
        there = ", ".join(list(file.keys())[:8]) or "nothing"
        raise FileFormatError(f"{path} lacks the dataset {name!r} ({what}); it holds {there}.")
    if item.ndim not in ndims:
        wanted = " or ".join(map(str, ndims))
        raise FileFormatError(
            f"{path}: dataset {name!r} ({what}) has shape {item.shape}, expected {wanted} axes."
        )
    if min(item.shape, default=1) == 0:
        raise FileFormatError(
            f"{path}: dataset {name!r} has shape {item.shape}, so there is nothing in it to read."
        )
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
