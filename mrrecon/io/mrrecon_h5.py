"""The toolkit's own HDF5: an acquisition or a reconstruction with its whole record, exact in both directions.

Layout (version 1). Attributes ``format = "mrrecon"``, ``version``, ``kind``; an acquisition has the datasets
``kspace`` (complex64; chunks of one coil and a few x positions, so that a slab is read without the rest),
``mask`` and, where known, ``maps``, ``noise_covariance``, ``reference``; a reconstruction has ``volume`` and, where
the solver found more than an image, the group ``extras`` with further volumes (float32 or complex64) by name.
Both have ``affine`` and the dataset ``record``, one JSON text with everything else.

Compression is LZF without byte shuffle. On 64 MiB of noisy k-space at R = 4 (8x64x128x128) it wrote in 0.31
s, read in 0.21 s and took 46 % of the size; gzip level 1 with shuffle wrote in 1.1 s, read in 0.38 s and
took 46 %; LZF with shuffle was slower and larger. What compresses is the unsampled part; noise does not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mrrecon.acquisition import Acquisition, Step
from mrrecon.errors import FileFormatError
from mrrecon.io.checks import array_bytes, reading, require_input, require_memory
from mrrecon.io.file_arrays import H5Array
from mrrecon.io.format import Format, Kind, ReaderOptions, Result
from mrrecon.io.hdf5 import create_hdf5, open_if_hdf5, read_text, require_dataset, require_version, text_attribute
from mrrecon.operators.backend import to_numpy

__all__ = ["FORMAT", "VERSION", "can_read", "read", "read_reference", "reconstruction_fields", "write"]

VERSION = 1
_CHUNK_BYTES = 2**20
_FILTERS = {"compression": "lzf"}
_RECORDED = "solver settings estimates stopped scale acceleration seconds metrics versions history".split()


def can_read(path: Path) -> bool:
    """Whether this is a file that :func:`write` wrote."""
    with open_if_hdf5(path) as file:
        return file is not None and text_attribute(file, "format") == "mrrecon"


def _plain(value: Any) -> Any:
    """Make settings JSON-able."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    return str(value) if not isinstance(value, (set, frozenset)) else sorted(value)


def _finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON lacks, by ``{"float": "nan"}``."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list) else value


def _restore(value: dict[str, Any]) -> Any:
    """Undo :func:`_finite`."""
    return float(value["float"]) if value.keys() == {"float"} else value


def _to_json(record: dict[str, Any]) -> str:
    return json.dumps(_finite(json.loads(json.dumps(record, default=_plain))))


def write(thing: Acquisition | Result, path: Path) -> Path:
    """Write an acquisition or a reconstruction, slab by slab.

    Raises
    ------
    OutputError
        If the folder is missing or not writable, or the disk is full.
    """
    with create_hdf5(path) as (file, check):
        file.attrs["format"], file.attrs["version"] = np.bytes_("mrrecon"), VERSION
        file["affine"] = thing.grid.affine
        steps = [{"name": s.name, "settings": s.settings} for s in thing.provenance]
        record: dict[str, Any] = {"voxel_size": thing.grid.voxel_size, "provenance": steps}
        if isinstance(thing, Acquisition):
            file.attrs["kind"] = np.bytes_("acquisition")
            record["domains"], record["readout"] = thing.domains, thing.readout
            _write_kspace(file, thing, check)
            file.create_dataset("mask", data=thing.mask)
            for name in ("maps", "noise_covariance", "reference"):
                value = getattr(thing, name)
                if value is not None:
                    extra = {} if name == "noise_covariance" else _FILTERS
                    file.create_dataset(name, data=to_numpy(value), **extra)
        else:
            file.attrs["kind"] = np.bytes_("reconstruction")
            volumes = {"volume": thing.volume, **{f"extras/{name}": extra for name, extra in thing.extras.items()}}
            for name, volume in volumes.items():
                file.create_dataset(name, data=volume, chunks=True, **_FILTERS)
                check()
            record |= {name: getattr(thing, name) for name in _RECORDED}
        file["record"] = np.bytes_(_to_json(record).encode("ascii"))
    return Path(path)


def _write_kspace(file: h5py.File, thing: Acquisition, check: Callable[[], None]) -> None:
    coils, x, y, z = thing.kspace.shape
    rows = max(1, min(x, _CHUNK_BYTES // (8 * y * z)))
    data = file.create_dataset(
        "kspace", (coils, x, y, z), np.complex64, chunks=(1, rows, y, min(z, 2**28 // y)), **_FILTERS
    )
    step = rows * max(1, 2**28 // (8 * coils * rows * y * z))
    for start in range(0, x, step):
        data[:, start : start + step] = to_numpy(thing.slab(start, min(x, start + step)))
        check()


def _open_record(file: h5py.File, path: Path, kind: str) -> dict[str, Any]:
    """Check version and kind, and return the record."""
    require_version(file, VERSION, path, "mrrecon's format")
    have = text_attribute(file, "kind")
    if have != kind:
        use = "Reconstruction.load" if have == "reconstruction" else "mrrecon.read"
        raise FileFormatError(f"{path} holds a mrrecon {have or 'file'}, not a {kind}; open it with {use}.")
    stored = require_dataset(file, "record", path, (0,), "JSON record")
    if stored.dtype.kind != "S":
        raise FileFormatError(f"{path}: 'record' has dtype {stored.dtype}, expected a string; the file is damaged.")
    record = json.loads(read_text(stored), object_hook=_restore)
    if not isinstance(record, dict):
        raise FileFormatError(f"{path}: the record is not a JSON object; the file is damaged.")
    return record


def _steps(record: dict[str, Any]) -> tuple[Step, ...]:
    return tuple(Step(str(s["name"]), dict(s["settings"])) for s in record["provenance"])


def read(path: Path, options: ReaderOptions) -> Acquisition:
    """Read an acquisition; maps and reference are loaded, the k-space stays on disk. The options are no concern of it.

    Raises
    ------
    FileFormatError
        If the file is of a newer version, holds a reconstruction, or lacks a dataset.
    """
    with open_if_hdf5(path) as file:
        if file is None:
            raise FileFormatError(f"{path} is not HDF5, as mrrecon's files are.")
        record = _open_record(file, path, "acquisition")
        data = require_dataset(file, "kspace", path, (4,), "(coils, x, y, z)")
        if data.dtype != np.complex64:
            raise FileFormatError(f"{path}: 'kspace' has dtype {data.dtype}, expected complex64; the file is damaged.")
        arrays: dict[str, Any] = {"mask": require_dataset(file, "mask", path, (2, 3), "(y, z) or (x, y, z)")[()]}
        for name, axes in (("maps", (4, 5)), ("noise_covariance", (2,)), ("reference", (3,))):
            if name in file:
                item = require_dataset(file, name, path, axes, name)
                require_memory(array_bytes(item.shape, item.dtype.itemsize), f"{name} of {path}")
                arrays[name] = item[()]
        affine = require_dataset(file, "affine", path, (2,), "4x4 matrix")[()]
        kspace = H5Array(path, data.shape)
    return Acquisition(
        kspace=kspace,
        affine=affine,
        voxel_size=tuple(record["voxel_size"]),
        domains=tuple(record["domains"]),
        readout=record.get("readout", "x"),  # files of before it was recorded
        provenance=_steps(record),
        **arrays,
    )


def read_reference(path: Path) -> np.ndarray:
    """Read the volume of a reconstruction, or the reference of a simulated acquisition.

    Raises
    ------
    FileFormatError
        If the file is an acquisition without a reference.
    """
    if is_reconstruction(path):
        return np.asarray(reconstruction_fields(path)["volume"])
    reference = read(path, ReaderOptions()).reference
    if reference is None:
        raise FileFormatError(f"{path} is a measured scan and has no reference volume.")
    return reference


def is_reconstruction(path: str | Path) -> bool:
    """Whether a file is a reconstruction of ours; must not raise on other files."""
    try:
        with open_if_hdf5(Path(path)) as file:
            return file is not None and text_attribute(file, "kind") == "reconstruction"
    except OSError:
        return False


def reconstruction_fields(path: str | Path) -> dict[str, Any]:
    """Read a reconstruction: what :class:`mrrecon.Reconstruction` is made from, by name.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, of a newer version, or holds something else.
    """
    path = require_input(path)
    with reading(path, "a mrrecon reconstruction"), open_if_hdf5(path) as file:
        if file is None or text_attribute(file, "format") != "mrrecon":
            raise FileFormatError(f"{path} is not a mrrecon HDF5 file; Reconstruction.load reads what .save wrote.")
        record = _open_record(file, path, "reconstruction")
        volume = require_dataset(file, "volume", path, (3,), "(x, y, z)")
        extras = _extras(file, path)
        size = sum(array_bytes(stored.shape, stored.dtype.itemsize) for stored in (volume, *extras.values()))
        require_memory(size, f"The volume of {path}")
        return {
            "volume": volume[()],
            "extras": {name: stored[()] for name, stored in extras.items()},
            "voxel_size": tuple(record["voxel_size"]),
            "affine": require_dataset(file, "affine", path, (2,), "4x4 matrix")[()],
            "provenance": _steps(record),
            **{name: record[name] for name in _RECORDED},
        }


def _extras(file: h5py.File, path: Path) -> dict[str, h5py.Dataset]:
    """Datasets of the further volumes by name; files from before there were any have none."""
    if "extras" not in file:
        return {}
    group = file["extras"]
    if not isinstance(group, h5py.Group):
        raise FileFormatError(f"{path}: 'extras' is not a group of volumes; the file is damaged.")
    return {name: require_dataset(file, f"extras/{name}", path, (3,), "(x, y, z)") for name in group}


HOLDS: tuple[Kind, ...] = ("acquisition", "reconstruction", "maps")
FORMAT = Format("mrrecon", "mrrecon HDF5", (".h5", ".hdf5"), can_read, read, write=write, holds=HOLDS)
