"""Many training volumes in one small file: resampled, cropped, one byte per voxel.

A magnitude is stored as the square root of its value in 8 bits (or fewer), so that steps are finer where the image is
darker. A phase takes 8 bits more. In memory the bytes stay bytes; slices are decoded as they are asked for.

Layout (version 1). Attributes ``format = "mrrecon training"``, ``version`` and ``record`` (JSON: settings, number of
volumes); the groups ``train`` and ``validation`` hold one group per volume with the dataset ``magnitude`` (uint8), for
complex images ``phase`` (uint8), and the attribute ``record`` (JSON: name, voxel size, top value, bits, level,
subject, source). What is stored are :func:`~mrrecon.training.differences.differences`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mrrecon.errors import DataError, FileFormatError
from mrrecon.grid import Grid
from mrrecon.io.checks import reading, require_input, require_memory
from mrrecon.io.hdf5 import create_hdf5, open_if_hdf5, require_dataset, require_version, text_attribute
from mrrecon.resolution import change_resolution
from mrrecon.training.differences import differences, undo_differences
from mrrecon.training.volumes import Source, TrainingVolume, find_volumes, read_volumes

__all__ = ["PackedVolume", "open_volumes", "pack", "quantise", "read_pack"]

VERSION = 1
FORMAT = "mrrecon training"
NATIVE_RATIO = 0.97  # voxels this near to the wanted size stay as they are
TOP_PERCENTILE = 99.99  # the brightest voxels (vessels near a coil) are cut off above it ...
LEAST_TOP = 2.0  # ... but never below this multiple of bright tissue
AIR = (0.06, 0.12)  # local mean below which voxels connected to the border are air: twice that of the border, within
AIR_WINDOW = 5  # side, voxels, of that local mean
MARGIN = 2  # voxels of air that stay around the object

Split = Literal["train", "validation"]


@dataclass(frozen=True, eq=False)
class PackedVolume:
    """A training volume in bytes.

    Parameters
    ----------
    magnitude
        ``(x, y, z)``, uint8: the value is ``top (code / largest code)^2``.
    phase
        ``(x, y, z)``, uint8, 256 steps of the full circle, or ``None`` for a magnitude image.
    top
        Value of the largest code, bright tissue being about one.
    bits
        Bits of the magnitude: the largest code is ``2^bits - 1``.
    grid
        Voxel size after resampling; the place in the scanner is not kept.
    name, subject, level, source
        As in :class:`~mrrecon.training.volumes.TrainingVolume`.
    """

    magnitude: np.ndarray
    phase: np.ndarray | None
    top: float
    bits: int
    grid: Grid
    name: str
    subject: str = ""
    level: float = 1.0
    source: str = ""

    def __post_init__(self) -> None:
        codes = np.arange(256, dtype=np.float32) / np.float32(2**self.bits - 1)
        object.__setattr__(self, "_values", np.float32(self.top) * codes * codes)
        turn = np.arange(256) * (2 * np.pi / 256)
        object.__setattr__(self, "_turns", np.exp(1j * turn).astype(np.complex64))

    @property
    def is_complex(self) -> bool:
        """Whether the image has a phase of its own."""
        return self.phase is not None

    def slab(self, axis: int, start: int, stop: int) -> np.ndarray:
        """Slices `start` to `stop` perpendicular to `axis`, ``(slices, h, w)``, float32 or complex64."""
        part = (slice(None),) * axis + (slice(start, stop),)
        values: np.ndarray = self._values.take(np.moveaxis(self.magnitude[part], axis, 0))  # type: ignore[attr-defined]
        if self.phase is None:
            return values
        return values * self._turns.take(np.moveaxis(self.phase[part], axis, 0))  # type: ignore[attr-defined]

    def unpack(self) -> TrainingVolume:
        """Decode the whole volume."""
        image = np.ascontiguousarray(self.slab(0, 0, self.grid.shape[0]))
        return TrainingVolume(image, self.grid, self.name, self.subject, self.level, self.source)


def quantise(volume: TrainingVolume, voxel_size: float = 1.0, bits: int = 8) -> PackedVolume:
    """Resample a volume where it is finer than needed, remove the air around the object, and code it in bytes.

    Parameters
    ----------
    volume
        At unit signal.
    voxel_size
        Finest voxel edge that training will ask for, mm. Shorter edges are brought to it by a crop of k-space, which
        does not alias, and blurs less than interpolation; longer ones stay. Of a stack of thick slices only the
        in-plane edges are.
    bits
        Of the magnitude, 4 to 8: fewer make the file smaller.

    Returns
    -------
    PackedVolume
        Air connected to the border is set to zero (a local mean below 0.06 to 0.12 of bright tissue, by the noise at
        the border) and cropped: a prior should learn that there is nothing, not the noise of this scan.

    Raises
    ------
    DataError
        If a setting is out of range, or nothing but air is found.
    """
    if not 4 <= bits <= 8:
        raise DataError(f"bits must be 4 to 8, got {bits}.")
    if not (math.isfinite(voxel_size) and voxel_size > 0):
        raise DataError(f"voxel_size must be a positive length in mm, got {voxel_size}.")
    image, grid = volume.image, volume.grid
    planes = grid.planes()
    stack = planes[0] if len(planes) == 1 else None
    edges = tuple(
        voxel_size if edge < NATIVE_RATIO * voxel_size and axis != stack else edge
        for axis, edge in enumerate(grid.voxel_size)
    )
    if edges != grid.voxel_size:
        image, grid = change_resolution(image, grid, edges, method="kspace-crop")
    magnitude = np.abs(image) if volume.is_complex else np.maximum(image, 0)
    inside = _object(magnitude, stack)
    if not inside.any():
        raise DataError(
            f"{volume.name} has no voxels above {AIR[0]} of bright tissue; it is not an image of an object."
        )
    box = _bounding_box(inside)
    magnitude = (magnitude * inside)[box]
    grid = Grid(magnitude.shape, grid.voxel_size)
    if not grid.planes():
        raise DataError(f"{volume.name} has an object of only {magnitude.shape} voxels; leave it out of training.")
    top = max(LEAST_TOP, float(np.percentile(magnitude[magnitude > 0], TOP_PERCENTILE)))
    top = min(top, float(magnitude.max()))
    largest = 2**bits - 1
    codes = np.rint(largest * np.sqrt(np.minimum(magnitude / np.float32(top), 1))).astype(np.uint8)
    phase = None
    if volume.is_complex:
        phase = np.rint(np.angle(image[box]) * (256 / (2 * np.pi))).astype(np.int32).astype(np.uint8) * (codes > 0)
    return PackedVolume(codes, phase, top, bits, grid, volume.name, volume.subject, volume.level, volume.source)


def _object(magnitude: np.ndarray, stack: int | None) -> np.ndarray:
    """Everything but the air that is connected to the border, of the volume or of each slice along `stack`."""
    from scipy import ndimage

    window = [1 if axis == stack else min(AIR_WINDOW, n) for axis, n in enumerate(magnitude.shape)]
    local = ndimage.uniform_filter(magnitude, size=window, mode="nearest")
    border = np.ones(magnitude.shape, bool)
    border[tuple(slice(None) if axis == stack else slice(1, -1) for axis in range(3))] = False
    low = local < np.clip(2 * np.percentile(local[border], 10), *AIR)
    labels, count = ndimage.label(low)
    air = np.zeros(count + 1, bool)
    air[np.unique(labels[border])] = True
    air[0] = False
    return ~air[labels]


def _bounding_box(inside: np.ndarray) -> tuple[slice, ...]:
    box = []
    for axis in range(3):
        used = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(slice(max(0, int(used[0]) - MARGIN), int(used[-1]) + 1 + MARGIN))
    return tuple(box)


def pack(
    volumes: Iterable[TrainingVolume],
    path: str | os.PathLike[str],
    voxel_size: float = 1.0,
    bits: int = 8,
    validation: Iterable[TrainingVolume] = (),
) -> Path:
    """Write volumes to one file for training.

    Parameters
    ----------
    volumes
        To train on.
    path
        The file, ``.h5``; replaced only once the new one is complete.
    voxel_size, bits
        As in :func:`quantise`.
    validation
        Volumes to watch the training with; never trained on.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    DataError
        If there are no volumes, two have one name, or a subject (or a file) is in both parts.
    OutputError
        If the folder is missing or not writable, or the disk is full.
    """
    names: set[str] = set()
    owners: dict[str, str] = {}
    with create_hdf5(path) as (file, check):
        for split, part in (("train", volumes), ("validation", validation)):
            group = file.create_group(split)
            for volume in part:
                if volume.name in names:
                    raise DataError(f"Two volumes are called {volume.name!r}; rename one, or pack it only once.")
                if volume.subject and owners.setdefault(volume.subject, split) != split:
                    raise DataError(
                        f"Subject {volume.subject!r} has volumes for training and for validation; split by subject."
                    )
                names.add(volume.name)
                _write(group.create_group(f"{len(group):04d}"), quantise(volume, voxel_size, bits))
                check()
        if not len(file["train"]):
            raise DataError("There are no volumes to pack; give at least one for training.")
        settings = {"voxel_size": voxel_size, "bits": bits, "air": AIR, "native_ratio": NATIVE_RATIO}
        record = {"settings": settings, "volumes": {s: len(file[s]) for s in ("train", "validation")}}
        file.attrs["format"], file.attrs["version"] = np.bytes_(FORMAT), VERSION
        file.attrs["record"] = np.bytes_(json.dumps(record))
    return Path(path)


def _write(group: Any, volume: PackedVolume) -> None:
    own = {name: getattr(volume, name) for name in ("name", "top", "bits", "level", "subject", "source")}
    record = {**own, "voxel_size": volume.grid.voxel_size}
    group.attrs["record"] = np.bytes_(json.dumps(record))
    for name, codes in (("magnitude", volume.magnitude), ("phase", volume.phase)):
        if codes is not None:
            data = differences(codes)
            group.create_dataset(
                name, data=data, chunks=data.shape, shuffle=True, compression="gzip", compression_opts=9
            )


def read_pack(path: str | os.PathLike[str], split: Split = "train") -> list[PackedVolume]:
    """Read the volumes of one part of a packed file; they stay in bytes.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, truncated, of a newer version, or is not a pack of training volumes.
    """
    path = require_input(path)
    with reading(path, "packed training volumes"), open_if_hdf5(path) as file:
        if file is None or text_attribute(file, "format") != FORMAT:
            raise FileFormatError(f"{path} is not a file of packed training volumes; make one with training.pack.")
        require_version(file, VERSION, path, "packed training volumes")
        return [_read(group, path) for _, group in sorted(file[split].items())]


def open_volumes(
    sources: Source | Sequence[Source], split: Split = "train", voxel_size: float = 1.0
) -> list[PackedVolume]:
    """Volumes in bytes, from packed files (one part of each) or from images and scans (packed in memory).

    Parameters
    ----------
    sources
        Files, folders or patterns, as in :func:`~mrrecon.training.volumes.find_volumes`; packed files among them.
    split
        The part to take of packed files; other files are taken whole.
    voxel_size
        Finest voxel edge that training will ask for, mm, for what is packed in memory; see :func:`quantise`.

    Raises
    ------
    FileFormatError, DataError
        As :func:`read_pack` and :func:`~mrrecon.training.volumes.read_volumes`.
    """
    files = find_volumes(sources)
    packs = [path for path in files if _is_pack(path)]
    found = [volume for path in packs for volume in read_pack(path, split)]
    others = [path for path in files if path not in packs]
    return found + [quantise(volume, voxel_size) for volume in (read_volumes(others) if others else ())]


def _is_pack(path: Path) -> bool:
    with open_if_hdf5(path) as file:
        return file is not None and text_attribute(file, "format") == FORMAT


def _read(group: Any, path: Path) -> PackedVolume:
    record = json.loads(text_attribute(group, "record"))
    arrays: dict[str, np.ndarray | None] = {"phase": None}
    for name in ("magnitude", "phase"):
        if name == "magnitude" or name in group:
            data = require_dataset(group, name, path, (3,), "(x, y, z)")
            if data.dtype != np.uint8:
                raise FileFormatError(f"{path}: {name!r} has dtype {data.dtype}, expected uint8; the file is damaged.")
            require_memory(math.prod(data.shape), f"A volume of {path}")
            arrays[name] = undo_differences(data[()])
    magnitude = arrays["magnitude"]
    assert magnitude is not None
    return PackedVolume(
        magnitude=magnitude,
        phase=arrays["phase"],
        top=float(record["top"]),
        bits=int(record["bits"]),
        grid=Grid(magnitude.shape, record["voxel_size"]),
        **{name: record[name] for name in ("name", "subject", "level", "source")},
    )
