"""BART's pair of files: ``.hdr`` with the dimensions as text, ``.cfl`` with complex64 in Fortran order."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from mrrecon.acquisition import Acquisition
from mrrecon.atomic import atomic_path
from mrrecon.errors import FileFormatError, OutputError, ShapeError
from mrrecon.io.bare import bare_acquisition
from mrrecon.io.checks import array_bytes, note_slices, require_input, require_memory, size_text
from mrrecon.io.file_arrays import MemmapArray, in_memory
from mrrecon.io.registry import Format
from mrrecon.operators.backend import to_numpy
from mrrecon.operators.fourier import fft
from mrrecon.reconstruction import Reconstruction

__all__ = ["FORMAT", "can_read", "read", "read_array", "write", "write_array"]

_MAX_AXES = 16


def _pair(path: Path) -> tuple[Path, Path]:
    base = path.with_suffix("") if path.suffix in (".cfl", ".hdr") else path
    return base.with_name(base.name + ".hdr"), base.with_name(base.name + ".cfl")


def can_read(path: Path) -> bool:
    """Whether this is one of a pair name.hdr / name.cfl."""
    header, data = _pair(path)
    return path.suffix in (".cfl", ".hdr") and header.is_file() and data.is_file()


def _dimensions(path: Path) -> tuple[Path, tuple[int, ...]]:
    """Check the pair and return the data file and its dimensions, trailing ones dropped."""
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


def read_array(path: str | Path) -> np.ndarray:
    """Read any cfl array (maps, mask, image) in the toolkit's axis order.

    BART's (x, y, z) is returned as it is, (x, y, z, coils) as (coils, x, y, z), (x, y, z, coils, sets) as
    (sets, coils, x, y, z).
    """
    data, shape = _dimensions(Path(path))
    if len(shape) > 5:
        raise ShapeError(
            f"{data} has the BART dimensions {shape}; only the first five (x, y, z, coils, maps) are used."
        )
    require_memory(array_bytes(shape), f"Reading {data}")
    stored = np.memmap(data, "<c8", "r", 0, (*shape, 1, 1)[: max(3, len(shape))], order="F")
    return in_memory(stored.transpose(*range(stored.ndim - 1, 2, -1), 0, 1, 2))


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
    """Read k-space with the BART dimensions (x, y, z, coils), x being the readout.

    Parameters
    ----------
    path
        Either file of the pair.
    mask
        Sampling pattern file; by default a sample counts as measured where any coil is not zero, as in BART.
    voxel_size
        Voxel edges in mm (x, y, z); the format does not store them.
    axes
        Letters of the axes in the order of the file, c for coils and x, y, z; by default "xyzc" unless the samples
        show another order.
    hybrid
        Whether x has been inverse transformed already; by default found on the samples.
    readout
        Axis that was read out: "y" or "z" of 2D slices, which x counts; then masks are whole lines along it.
    recentre
        Find and undo FFT order and shifts by half the field of view.

    Raises
    ------
    FileFormatError
        If the header does not fit the data, or there are other axes.
    DataError
        If y or z is in the image domain.
    """
    data, shape = _dimensions(path)
    if len(shape) > 4:
        raise FileFormatError(
            f"{data} has the BART dimensions {shape}; expected (x, y, z, coils): "
            "select one map, echo or time with 'bart slice' first."
        )
    stored = (*shape, 1, 1, 1)[: max(4 if axes is None else len(axes), len(shape))]
    return bare_acquisition(
        MemmapArray(data, (), 0, stored, "F"),
        "xyzc",
        FORMAT.name,
        mask=mask,
        voxel_size=voxel_size,
        axes=axes,
        hybrid=hybrid,
        readout=readout,
        recentre=recentre,
    )


def write_array(array: np.ndarray, path: str | Path) -> Path:
    """Write an array that has the toolkit's axis order, the inverse of :func:`read_array`."""
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
                file.write(np.ascontiguousarray(part, dtype="<c8").data)
        temporary_header.write_text("# Dimensions\n" + " ".join(map(str, dims)) + "\n", encoding="ascii")
    return data


def write(thing: Acquisition | Reconstruction, path: Path) -> Path:
    """Write the k-space of an acquisition, or the complex volume of a reconstruction.

    The format has no place for domains: an x axis in the image domain is transformed to k-space first, which is unitary
    and loses nothing. Slices of a 2D scan become the k-space of a 3D scan, and a note says so.
    """
    if isinstance(thing, Reconstruction):
        return write_array(thing.volume, path)
    kspace = to_numpy(thing.kspace[...])
    if (np.abs(kspace).max(axis=(0, 1) if thing.mask.ndim == 2 else 0) * ~thing.mask).any():
        raise OutputError(
            f"{path}: BART tells the sampled positions by their non-zero values, but this k-space is not zero "
            "outside its mask; multiply it by the mask first."
        )
    if thing.domains[0] == "image":
        kspace = fft(kspace, axes=(1,))
        note_slices(thing, path)
    return write_array(kspace, path)


FORMAT = Format(
    "cfl",
    "BART cfl/hdr",
    (".cfl", ".hdr"),
    can_read,
    read,
    write,
    holds=("acquisition", "reconstruction", "part", "maps", "mask"),
)
