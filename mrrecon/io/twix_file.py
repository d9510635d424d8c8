"""The layout of Siemens twix files, VB and VD/VE: measurements, measurement data headers, samples.

A VD/VE file starts with a table of its measurements; a VB file is one measurement. A measurement is its
protocol (buffers of text) and then blocks: each readout is one header for all channels and, per channel, a
short header and the samples (VD/VE), or a full header and the samples per channel (VB). The structures are
those of the open readers twixtools (``mdh_def.py``, ``hdr_def.py``) and siemens_to_ismrmrd (``siemensraw.h``).
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrrecon.errors import FileFormatError

__all__ = [
    "MDH_DTYPE",
    "Measurement",
    "Readouts",
    "find_measurements",
    "flagged",
    "read_buffers",
    "read_readouts",
    "read_samples",
]

_MOST_MEASUREMENTS = 64
_ENTRY_BYTES = 152
_MOST_HEADER_BYTES = 2**28

_COUNTERS_DTYPE = np.dtype([(n, "<u2") for n in "Lin Ave Sli Par Eco Phs Rep Set Seg Ida Idb Idc Idd Ide".split()])
_VD_DTYPE = np.dtype(
    [(n, "<u4") for n in ("length", "uid", "scan", "time", "pmu_time")]
    + [("system", "<u2"), ("table_delay", "<u2"), ("table_position", "<i4", (3,)), ("reserved", "<i4")]
    + [("flags", "<u8"), ("samples", "<u2"), ("channels", "<u2"), ("counters", _COUNTERS_DTYPE)]
    + [(n, "<u2") for n in ("cut_before", "cut_after", "center_column", "coil_select")]
    + [("readout_offcentre", "<f4"), ("time_since_rf", "<u4"), ("center_line", "<u2"), ("center_partition", "<u2")]
    + [("position", "<f4", (3,)), ("quaternion", "<f4", (4,)), ("ice", "<u2", (24,)), ("rest", "V16")]
)
_VB_DTYPE = np.dtype(
    [(n, "<u4") for n in ("length", "uid", "scan", "time", "pmu_time")]
    + [("flags", "<u8"), ("samples", "<u2"), ("channels", "<u2"), ("counters", _COUNTERS_DTYPE)]
    + [(n, "<u2") for n in ("cut_before", "cut_after", "center_column", "coil_select")]
    + [("readout_offcentre", "<f4"), ("time_since_rf", "<u4"), ("center_line", "<u2"), ("center_partition", "<u2")]
    + [("ice", "<u2", (8,)), ("position", "<f4", (3,)), ("quaternion", "<f4", (4,)), ("rest", "V4")]
)
# what the two layouts have in common and the toolkit uses
_USED = (
    "flags samples channels counters cut_before cut_after center_column readout_offcentre "
    "center_line center_partition position quaternion time"
).split()
MDH_DTYPE = np.dtype([(name, _VD_DTYPE[name]) for name in _USED])

# bits of the evaluation mask
_BITS = {
    "end": 0,
    "feedback": 1,
    "hp_feedback": 2,
    "sync": 5,
    "last_in_measurement": 11,
    "phase_stabilization_reference": 14,
    "phase_stabilization": 15,
    "swapped": 19,
    "phase_correction": 21,
    "reference": 22,
    "reference_and_image": 23,
    "reversed": 24,
    "noise": 25,
    "first_in_slice": 28,
    "last_in_slice": 29,
    "normalise": 35,
    "multiband_reference": 38,
    "multiband_phase_correction": 39,
    "blade": 40,
    "motion": 44,
    "dummy": 51,
    "transmit_control": 53,
    "keeps_raster": 55,
    "transmit_monitor": 56,
    "other_navigator": 60,
}


@dataclass(frozen=True)
class Measurement:
    """One measurement of a twix file: where it lies, in bytes, and what the table calls it."""

    path: Path
    is_vd: bool
    offset: int
    length: int
    name: str


@dataclass(frozen=True, eq=False)
class Readouts:
    """The readouts of one measurement.

    Parameters
    ----------
    heads
        Their headers (``MDH_DTYPE``), in the order of the file.
    offsets
        First byte of each readout's samples of its first channel.
    gap
        Bytes of the header before each channel's samples.
    """

    heads: np.ndarray
    offsets: np.ndarray
    gap: int


def find_measurements(path: Path) -> list[Measurement]:
    """Return the measurements of a file; none if it is not twix."""
    size = path.stat().st_size
    table = 8 + _ENTRY_BYTES * _MOST_MEASUREMENTS
    with path.open("rb") as file:
        head = file.read(table)
    first, count = (int.from_bytes(head[i : i + 4], "little") for i in (0, 4))
    if first < 10000 and 0 < count <= _MOST_MEASUREMENTS and len(head) == table:
        found = []
        for at in range(8, 8 + _ENTRY_BYTES * count, _ENTRY_BYTES):
            offset = int.from_bytes(head[at + 8 : at + 16], "little")
            length = int.from_bytes(head[at + 16 : at + 24], "little") or size - offset
            name = head[at + 88 : at + 152].split(b"\0")[0].decode("latin1").strip()
            found.append(Measurement(path, True, offset, length, name if name.isprintable() else ""))
        return found if all(table <= m.offset < size and m.length > 0 for m in found) else []
    if path.suffix.lower() == ".dat" and 64 < first < size:
        return [Measurement(path, False, 0, size, "")]
    return []


def flagged(heads: np.ndarray, *names: str) -> np.ndarray:
    """Which readouts have one of these flags, by the names of ``_BITS``."""
    return (heads["flags"] & np.uint64(sum(1 << _BITS[name] for name in names))) != 0


def read_buffers(measurement: Measurement) -> dict[str, str]:
    """Return the protocol of a measurement: its text buffers by name (Meas, MeasYaps, ...)."""
    with measurement.path.open("rb") as file:
        file.seek(measurement.offset)
        total, count = (int.from_bytes(file.read(4), "little") for _ in range(2))
        text = file.read(min(total, _MOST_HEADER_BYTES, measurement.length) - 8) if total > 8 else b""
    buffers, at = {}, 0
    for _ in range(min(count, 64)):
        match = re.compile(rb"(\w{1,64})\0(.{4})", re.DOTALL).search(text, at, at + 80)
        if match is None:
            break
        at = match.end() + int.from_bytes(match.group(2), "little")
        buffers[match.group(1).decode("latin1")] = text[match.end() : at].decode("latin1")
    return buffers


def read_readouts(measurement: Measurement) -> Readouts:
    """Walk through the blocks of a measurement and return its readouts, without the blocks of other data.

    Readouts of one size follow each other in long runs, whose headers are gathered at once. A measurement without
    an end mark is noted.

    Raises
    ------
    FileFormatError
        If the measurement or a block of it runs past the end of the file, or a block has no length.
    """
    path, size = measurement.path, measurement.path.stat().st_size
    end = measurement.offset + measurement.length
    if end > size:
        raise FileFormatError(f"{path} is truncated: a measurement ends at byte {end}, the file at {size}.")
    dtype = _VD_DTYPE if measurement.is_vd else _VB_DTYPE
    fixed, gap = (dtype.itemsize, 32) if measurement.is_vd else (0, dtype.itemsize)
    data = np.memmap(path, np.uint8, "r")
    position = measurement.offset + int.from_bytes(data[measurement.offset : measurement.offset + 4], "little")
    heads, starts, ahead = [np.zeros(0, MDH_DTYPE)], [np.zeros(0, np.int64)], 1
    while position + 128 < end:
        head = _gather(data, np.array([position]), dtype, path)[0]
        if flagged(head, "end"):
            break
        is_sync = bool(flagged(head, "sync"))
        step = (
            int(head["length"]) % 2**25 if is_sync else fixed + int(head["channels"]) * (gap + 8 * int(head["samples"]))
        )
        if step < 128 or position + step > size:
            raise FileFormatError(f"{path} is truncated or damaged at byte {position}; copy it again.")
        run = 1
        if not is_sync:
            offsets = position + step * np.arange(ahead)
            offsets = offsets[offsets + step <= end]
            found = _gather(data, offsets, dtype, path)
            alike = (found["samples"] == head["samples"]) & (found["channels"] == head["channels"])
            alike &= ~flagged(found, "end", "sync")
            run = len(found) if alike.all() else int(np.argmin(alike))
            ahead = min(2 * ahead, 2**14) if run == ahead else 8
            heads.append(found[:run][_USED].astype(MDH_DTYPE))
            starts.append(offsets[:run] + fixed + gap)
        position += run * step
    else:
        warnings.warn(
            f"{path} has no end mark; the scan was interrupted or the copy is not whole, and lines may be missing.",
            stacklevel=5,
        )
    every = np.concatenate(heads)
    holds = (every["samples"] > 0) & (every["channels"] > 0)
    return Readouts(every[holds], np.concatenate(starts)[holds], gap)


def _gather(data: np.ndarray, offsets: np.ndarray, dtype: np.dtype, path: Path) -> np.ndarray:
    """Return the headers at these bytes."""
    if offsets.size and offsets[-1] + dtype.itemsize > data.size:
        raise FileFormatError(f"{path} is truncated within a readout; copy it again.")
    return data[offsets[:, None] + np.arange(dtype.itemsize)].view(dtype)[:, 0]


def read_samples(path: Path, readouts: Readouts, rows: np.ndarray) -> np.ndarray:
    """Samples of some readouts of one size, ``(rows, channels, samples)``, complex64."""
    data, gap = np.memmap(path, np.uint8, "r"), readouts.gap
    head = readouts.heads[rows[0]]
    channels, width = int(head["channels"]), 8 * int(head["samples"])
    found = np.empty((len(rows), channels, width), np.uint8)
    for out, start in zip(found, readouts.offsets[rows] - gap, strict=True):
        out[...] = data[start : start + channels * (gap + width)].reshape(channels, gap + width)[:, gap:]
    return found.view("<c8").astype(np.complex64, copy=False)
