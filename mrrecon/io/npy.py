"""Bare NumPy k-space, zero where unsampled: ``(coils, ky, kz)`` of one slice, or ``(coils, x, y, z)``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mrrecon.acquisition import Acquisition, Domain, Step
from mrrecon.errors import FileFormatError
from mrrecon.io.checks import array_bytes, reading, require_memory, size_text
from mrrecon.io.lazy import MemmapArray
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
    hybrid: bool = False,
) -> Acquisition:
    """Read k-space from a ``.npy`` file.

    Parameters
    ----------
    path
        File with a complex array ``(coils, ky, kz)``, read as one slice, or ``(coils, x, y, z)``.
    mask
        Sampling pattern file; by default a (y, z) position counts as sampled where any coil is not zero.
    voxel_size
        Voxel edges in mm along (x, y, z); the format does not store them.
    hybrid
        Whether x of a four-axis array has been inverse transformed already.

    Raises
    ------
    FileFormatError
        If the array is not complex or has other axes.
    """
    offset, shape, fortran, dtype = header(path)
    if dtype.kind != "c":
        raise FileFormatError(
            f"{path} has dtype {dtype}, expected complex k-space (coils, ky, kz) or (coils, x, y, z)."
        )
    if len(shape) not in (3, 4):
        raise FileFormatError(f"{path} has shape {shape}, expected (coils, ky, kz) or (coils, x, y, z).")
    full = shape if len(shape) == 4 else (shape[0], 1, *shape[1:])
    options: dict[str, Any] = {
        "offset": offset,
        "source_shape": shape,
        "order": "F" if fortran else "C",
        "source_dtype": dtype.str,
        "axes": (0, 1, 2, 3) if len(shape) == 4 else (0, None, 1, 2),
    }
    kspace = MemmapArray(path, full, **options)
    domains: tuple[Domain, Domain, Domain] = ("kspace", "kspace", "kspace")
    if hybrid or len(shape) == 3:
        domains = ("image", "kspace", "kspace")
    pattern = np.zeros(full[2:], bool)
    for x in range(full[1]):
        pattern |= (kspace[:, x] != 0).any(axis=0)
    if mask is not None:
        from mrrecon.io.masks import read_fitting_mask

        pattern = read_fitting_mask(mask, pattern)
    return Acquisition(
        kspace=kspace,
        mask=pattern,
        voxel_size=voxel_size,
        domains=domains,
        provenance=(Step("read", {"format": FORMAT.name, "path": str(path)}),),
    )


FORMAT = Format("npy", "NumPy .npy", (".npy",), can_read, read, holds=("maps", "mask"))
