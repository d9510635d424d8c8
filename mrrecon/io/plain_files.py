"""Whole arrays in files of plain numbers: BART's pairs ``.hdr`` and ``.cfl``, and NumPy's ``.npy``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrrecon.atomic import atomic_path
from mrrecon.errors import FileFormatError, ShapeError
from mrrecon.io.checks import array_bytes, reading, require_input, require_memory, size_text
from mrrecon.io.file_arrays import in_memory
from mrrecon.operators.backend import to_numpy

__all__ = [
    "cfl_dimensions",
    "is_cfl",
    "is_npy",
    "npy_header",
    "read_cfl",
    "read_npy",
    "read_plain",
    "write_cfl",
    "write_npy",
]

_MAX_AXES = 16
_NPY = b"\x93NUMPY"


def _pair(path: Path) -> tuple[Path, Path]:
    base = path.with_suffix("") if path.suffix in (".cfl", ".hdr") else path
    return base.with_name(base.name + ".hdr"), base.with_name(base.name + ".cfl")


def is_cfl(path: str | Path) -> bool:
    """Whether this is one of a pair name.hdr / name.cfl."""
    path = Path(path)
    header, data = _pair(path)
    return path.suffix in (".cfl", ".hdr") and header.is_file() and data.is_file()


def cfl_dimensions(path: Path) -> tuple[Path, tuple[int, ...]]:
    """Check the pair and return the data file and its dimensions, trailing ones dropped.

    Raises
    ------
    FileFormatError
        If the header is none, or does not fit the data.
    """
    header, data = _pair(path)
    for half in (header, data):
        require_input(half)
    lines = header.read_bytes()[:65536].decode("ascii", "replace").splitlines()
    at = next((i for i, line in enumerate(lines) if line.strip().lower() == "# dimensions"), None)
    words = lines[at + 1].split() if at is not None and at + 1 < len(lines) else []
    if not words or len(words) > 4 * _MAX_AXES or not all(w.isascii() and w.isdigit() and len(w) < 12 for w in words):
        raise FileFormatError(
            f"{header} is not a BART header: expected a line '# Dimensions' followed by a line of positive integers."
        )
    shape = [int(w) for w in words]
    if min(shape) < 1:
        raise FileFormatError(f"{header} has a dimension of 0 in {shape}; there is nothing to read.")
    while len(shape) > 1 and shape[-1] == 1:
        shape.pop()
    need, have = array_bytes(tuple(shape)), data.stat().st_size
    if need != have:
        state = "truncated" if have < need else "longer than its header says"
        raise FileFormatError(
            f"{data} is {state}: {header.name} says {'x'.join(map(str, shape))} complex numbers "
            f"({size_text(need)}), "
            f"the file has {size_text(have)}; copy both files again."
        )
    return data, tuple(shape)


def read_cfl(path: str | Path) -> np.ndarray:
    """Read any cfl array (maps, mask, image) in the toolkit's axis order.

    BART's (x, y, z) is returned as it is, (x, y, z, coils) as (coils, x, y, z), (x, y, z, coils, sets) as
    (sets, coils, x, y, z).
    """
    data, shape = cfl_dimensions(Path(path))
    if len(shape) > 5:
        raise ShapeError(
            f"{data} has the BART dimensions {shape}; only the first five (x, y, z, coils, maps) are used."
        )
    require_memory(array_bytes(shape), f"Reading {data}")
    stored = np.memmap(data, "<c8", "r", 0, (*shape, 1, 1)[: max(3, len(shape))], order="F")
    return in_memory(stored.transpose(*range(stored.ndim - 1, 2, -1), 0, 1, 2))


def write_cfl(array: np.ndarray, path: str | Path) -> Path:
    """Write an array that has the toolkit's axis order, the inverse of :func:`read_cfl`."""
    a = np.asarray(to_numpy(array))
    if a.ndim not in (2, 3, 4, 5):
        raise ShapeError(f"An array of shape {a.shape} has no place in BART's axes; expected two to five axes.")
    if a.ndim == 2:  # a (y, z) mask
        a = a[None]
    order = (*range(a.ndim - 3, a.ndim), *range(a.ndim - 4, -1, -1))
    stored = a.transpose(order)
    header, data = _pair(Path(path))
    dims = [*stored.shape, *[1] * (_MAX_AXES - stored.ndim)]
    with atomic_path(data) as temporary_data, atomic_path(header) as temporary_header:
        with temporary_data.open("wb") as file:
            flat = stored.transpose(range(stored.ndim - 1, -1, -1))  # C order of the reversed axes is Fortran order
            for part in flat if flat.ndim > 3 else [flat]:
                file.write(in_memory(part).astype("<c8", copy=False).data)
        temporary_header.write_text("# Dimensions\n" + " ".join(map(str, dims)) + "\n", encoding="ascii")
    return data


def is_npy(path: Path) -> bool:
    """Whether this is a ``.npy`` file."""
    with path.open("rb") as file:
        return file.read(6) == _NPY


def npy_header(path: Path) -> tuple[int, tuple[int, ...], bool, np.dtype]:
    """Return offset of the data, shape, whether in Fortran order, and dtype, checked against the file's size.

    Raises
    ------
    FileFormatError
        If it is not a ``.npy`` file, holds Python objects (which are never unpickled), or is truncated.
    """
    with reading(path, "NumPy array"), path.open("rb") as file:
        if file.read(6) != _NPY:
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


def read_npy(path: Path) -> np.ndarray:
    """Load a whole ``.npy`` file after these checks."""
    _, shape, _, dtype = npy_header(path)
    require_memory(array_bytes(shape, dtype.itemsize), f"Reading {path}")
    with reading(path, "NumPy array"):
        return np.asarray(np.load(path, allow_pickle=False))


def write_npy(array: np.ndarray, path: str | Path) -> Path:
    """Write a ``.npy`` file."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    return Path(path)


def read_plain(path: str | Path) -> np.ndarray | None:
    """Read a whole array from BART's or NumPy's files; ``None`` where the file is another.

    Raises
    ------
    FileFormatError
        If it is missing or damaged.
    """
    if is_cfl(path):
        return read_cfl(path)
    found = require_input(path)
    return read_npy(found) if is_npy(found) else None
