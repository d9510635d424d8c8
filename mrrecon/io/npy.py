"""Bare NumPy k-space, zero where unsampled: ``(coils, ky, kz)`` of one slice, or ``(coils, x, y, z)``."""

from __future__ import annotations

from pathlib import Path

from mrrecon.acquisition import Acquisition
from mrrecon.errors import FileFormatError
from mrrecon.io.bare import ArrayOptions, bare_acquisition
from mrrecon.io.file_arrays import MemmapArray
from mrrecon.io.format import Format
from mrrecon.io.plain_files import is_npy, npy_header

__all__ = ["FORMAT", "read"]


def read(path: Path, options: ArrayOptions) -> Acquisition:
    """Read a complex array ``(coils, ky, kz)``, as one slice, or ``(coils, x, y, z)`` from a ``.npy`` file.

    Raises
    ------
    FileFormatError
        If the array is not complex or has other axes.
    DataError
        If y or z is in the image domain.
    """
    offset, shape, fortran, dtype = npy_header(path)
    if dtype.kind != "c":
        raise FileFormatError(
            f"{path} has dtype {dtype}, expected complex k-space (coils, ky, kz) or (coils, x, y, z)."
        )
    if len(shape) not in (3, 4):
        raise FileFormatError(f"{path} has shape {shape}, expected (coils, ky, kz) or (coils, x, y, z).")
    source = MemmapArray(path, (), offset, shape, "F" if fortran else "C", dtype.str)
    return bare_acquisition(source, "cxyz" if len(shape) == 4 else "cyz", FORMAT.name, options)


FORMAT = Format("npy", "NumPy .npy", (".npy",), is_npy, read, ArrayOptions, holds=("part", "maps", "mask"))
