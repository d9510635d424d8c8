"""BART's pair of files: ``.hdr`` with the dimensions as text, ``.cfl`` with complex64 in Fortran order."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrrecon.acquisition import Acquisition
from mrrecon.errors import FileFormatError, OutputError
from mrrecon.io.bare import ArrayOptions, bare_acquisition
from mrrecon.io.checks import note_slices
from mrrecon.io.file_arrays import MemmapArray
from mrrecon.io.format import Format, Result
from mrrecon.io.plain_files import cfl_dimensions, is_cfl, write_cfl
from mrrecon.operators.backend import to_numpy
from mrrecon.operators.fourier import fft

__all__ = ["FORMAT", "read", "write"]


def read(path: Path, options: ArrayOptions) -> Acquisition:
    """Read k-space with the BART dimensions (x, y, z, coils), x being the readout, from either file of the pair.

    Raises
    ------
    FileFormatError
        If the header does not fit the data, or there are other axes.
    DataError
        If y or z is in the image domain.
    """
    data, shape = cfl_dimensions(path)
    if len(shape) > 4:
        raise FileFormatError(
            f"{data} has the BART dimensions {shape}; expected (x, y, z, coils): "
            "select one map, echo or time with 'bart slice' first."
        )
    stored = (*shape, 1, 1, 1)[: max(4 if options.axes is None else len(options.axes), len(shape))]
    return bare_acquisition(MemmapArray(data, (), 0, stored, "F"), "xyzc", FORMAT.name, options)


def write(thing: Acquisition | Result, path: Path) -> Path:
    """Write the k-space of an acquisition, or the complex volume of a reconstruction.

    The format has no place for domains: an x axis in the image domain is transformed to k-space first, which is unitary
    and loses nothing. Slices of a 2D scan become the k-space of a 3D scan, and a note says so.
    """
    if not isinstance(thing, Acquisition):
        return write_cfl(thing.volume, path)
    kspace = to_numpy(thing.kspace[...])
    if (np.abs(kspace).max(axis=(0, 1) if thing.mask.ndim == 2 else 0) * ~thing.mask).any():
        raise OutputError(
            f"{path}: BART tells the sampled positions by their non-zero values, but this k-space is not zero "
            "outside its mask; multiply it by the mask first."
        )
    if thing.domains[0] == "image":
        kspace = fft(kspace, axes=(1,))
        note_slices(thing, path)
    return write_cfl(kspace, path)


FORMAT = Format(
    "cfl",
    "BART cfl/hdr",
    (".cfl", ".hdr"),
    is_cfl,
    read,
    ArrayOptions,
    write,
    holds=("acquisition", "reconstruction", "part", "maps", "mask"),
)
