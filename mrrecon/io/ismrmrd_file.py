"""ISMRMRD HDF5, Cartesian: mridata.org (the Stanford knees), vendor conversions, and our own writer.

Read with h5py and the standard XML parser alone (no extra needed): the layout is ``dataset/xml`` and
``dataset/data``, a table of readouts with header, trajectory and samples. What happens to the readouts is told
in :mod:`mrrecon.io.readouts`, which sorts them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from mrrecon.acquisition import Acquisition
from mrrecon.errors import FileFormatError
from mrrecon.io.format import Format
from mrrecon.io.hdf5 import open_if_hdf5, read_text
from mrrecon.io.ismrmrd_header import HEADER_DTYPE, parse_header
from mrrecon.io.ismrmrd_write import write
from mrrecon.io.readouts import ReadoutOptions, acquisition_of

__all__ = ["FORMAT", "TableSource", "can_read", "read"]


def _group_name(file: h5py.File) -> str | None:
    """Name of the first group that holds xml and data, usually ``dataset``."""
    groups = {name: file.get(name) for name in ("dataset", *file)}
    return next((n for n, g in groups.items() if isinstance(g, h5py.Group) and "xml" in g and "data" in g), None)


def can_read(path: Path) -> bool:
    """Whether this is HDF5 with a group that holds an XML header and a table of readouts."""
    with open_if_hdf5(path) as file:
        return file is not None and _group_name(file) is not None


@dataclass(frozen=True)
class TableSource:
    """Samples of the readouts of a table in an ISMRMRD file, a :class:`mrrecon.io.readout_layout.Source`."""

    path: Path
    table: str

    def lines(self, rows: np.ndarray) -> np.ndarray:
        """Samples of readouts of one size, ``(rows, coils, samples)``, ``complex64``."""
        low, high = int(rows[0]), int(rows[-1]) + 1
        together = high - low <= 2 * len(rows)  # nearly contiguous: one read, then pick
        with h5py.File(self.path, "r") as file:
            table = file[self.table]
            stored = table[low:high][rows - low] if together else table[rows]
        head = stored["head"][0]
        coils, samples = int(head["active_channels"]), int(head["number_of_samples"])
        if any(np.size(line) != 2 * coils * samples for line in stored["data"]):
            raise FileFormatError(
                f"{self.path}: a readout does not hold the {coils} x {samples} samples that its header states; "
                "the file is damaged."
            )
        flat = np.concatenate(stored["data"]).astype(np.float32, copy=False).view(np.complex64)
        return flat.reshape(len(rows), coils, samples)


def read(path: Path, options: ReadoutOptions) -> Acquisition:
    """Read an ISMRMRD file.

    Raises
    ------
    FileFormatError
        If the file is damaged, not Cartesian, has no imaging readouts, or lacks what an option asks for.
    """
    with open_if_hdf5(path) as file:
        name = _group_name(file) if file is not None else None
        if file is None or name is None:
            raise FileFormatError(f"{path} is not ISMRMRD: there is no group with 'xml' and 'data' in it.")
        header = parse_header(read_text(file[name]["xml"]), path)
        table = file[name]["data"]
        if table.dtype.names is None or not {"head", "data"} <= {*table.dtype.names} or table.ndim != 1:
            raise FileFormatError(f"{path}: '{name}/data' is not a table of readouts (head, traj, data).")
        if len(table) == 0:
            raise FileFormatError(f"{path} holds no readouts; the recording was stopped or the copy failed.")
        heads = table.fields("head")[:]
    if not {*(HEADER_DTYPE.names or ())} <= {*(heads.dtype.names or ())}:
        raise FileFormatError(f"{path}: the readout headers are not those of ISMRMRD version 1.")
    if header.trajectory == "epi":
        warnings.warn(
            f"{path}: the samples of its echo-planar readouts are taken as equally spaced in k-space; if they were "
            "taken on the ramps of the gradient, the object is stretched along the readout.",
            stacklevel=3,
        )
    return acquisition_of(TableSource(path, f"{name}/data"), header, heads, FORMAT.name, options)


FORMAT = Format(
    "ismrmrd", "ISMRMRD HDF5 (mridata.org)", (".mrd", ".h5"), can_read, read, ReadoutOptions, write, ("acquisition",)
)
