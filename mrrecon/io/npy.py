"""Bare NumPy k-space, zero where unsampled: ``(coils, ky, kz)`` of one slice, or ``(coils, x, y, z)``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from mrrecon.acquisition import Acquisition
from mrrecon.errors import FileFormatError
from mrrecon.io.bare import bare_acquisition
from mrrecon.io.checks import array_bytes, reading, require_memory, size_text
from mrrecon.io.file_arrays import MemmapArray
from mrrecon.io.registry import Format

__all__ = ["FORMAT", "can_read", "header", "load", "read"]

_MAGIC = b"\x93NUMPY"


def can_read(path: Path) -> bool:
    """Whether this is a ``.npy`` file."""
    with path.open("rb") as file:
        return file.read(6) == _MAGIC


def header(path: Path) -> tuple[int, tuple[int, ...], bool, np.dtype]:
    """Return offset of the data, shape, whether in Fortran order, and dtype, checked against the file's size.

    Raises
    ------
    FileFormatError
        If it is not a ``.npy`` file, holds Python objects (which are never unpickled), or is truncated.
    """
    with reading(path, "NumPy array"), path.open("rb") as file:
        if file.read(6) != _MAGIC:
            raise FileFormatError(f"{path} is not a .npy file.")
        file.seek(0)
        version = np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(file)
        offset = file.tell()
    if dtype.hasobject:
        raise FileFormatError(f"{path} holds pickled Python objects, which are never loaded; save a plain array.")
    if not shape or min(shape) < 1:
        raise FileFormatError(f"{path} holds an array of shape {shape}; there is nothing to read.")
    need, have = array_bytes(shape, dtype.itemsize), path.stat().st_size - offset
    if need > have:
        raise FileFormatError(
            f"{path} is truncated: its header says {shape} {dtype} ({size_text(need)}), the file has "
            f"{size_text(have)}; copy or download it again."
        )
    return offset, shape, fortran, dtype


def load(path: Path) -> np.ndarray:
    """Load a whole ``.npy`` file after these checks."""
    _, shape, _, dtype = header(path)
    require_memory(array_bytes(shape, dtype.itemsize), f"Reading {path}")
    with reading(path, "NumPy array"):
        return np.asarray(np.load(path, allow_pickle=False))


def read(
    path: Path,
    *,
    mask: str | Path | None = None,
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0),
    axes: str | None = None,
    hybrid: bool | None = None,
    readout: Literal["x", "y", "z"] = "x",
    recentre: bool = True,
) -> Acquisition:
    """Read k-space from a ``.npy`` file.

    Parameters
    ----------
    path
        File with a complex array ``(coils, ky, kz)``, read as one slice, or ``(coils, x, y, z)``.
    mask
        Sampling pattern file; by default a sample counts as measured where any coil is not zero.
    voxel_size
        Voxel edges in mm along (x, y, z); the format does not store them.
    axes
        Letters of the axes in the order of the file, c for coils and x, y, z; by default "cxyz" or "cyz" unless the
        samples show another order.
    hybrid
        Whether x has been inverse transformed already; by default found on the samples.
    readout
        Axis that was read out: "y" or "z" of 2D slices, which x counts; then masks are whole lines along it.
    recentre
        Find and undo FFT order and shifts by half the field of view.

    Raises
    ------
    FileFormatError
        If the array is not complex or has other axes.
    DataError
        If y or z is in the image domain.
    """
    offset, shape, fortran, dtype = header(path)
    if dtype.kind != "c":
        raise FileFormatError(
            f"{path} has dtype {dtype}, expected complex k-space (coils, ky, kz) or (coils, x, y, z)."
        )
    if len(shape) not in (3, 4):
        raise FileFormatError(f"{path} has shape {shape}, expected (coils, ky, kz) or (coils, x, y, z).")
    source = MemmapArray(path, (), offset, shape, "F" if fortran else "C", dtype.str)
    return bare_acquisition(
        source,
        "cxyz" if len(shape) == 4 else "cyz",
        FORMAT.name,
        mask=mask,
        voxel_size=voxel_size,
        axes=axes,
        hybrid=hybrid,
        readout=readout,
        recentre=recentre,
    )


FORMAT = Format("npy", "NumPy .npy", (".npy",), can_read, read, holds=("part", "maps", "mask"))
