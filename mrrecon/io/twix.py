"""Siemens twix (.dat), VB, VD/VE and XA, Cartesian 2D and 3D.

A translator, as siemens_to_ismrmrd is: the measurement data headers become ISMRMRD ones, the protocol becomes a
:class:`~mrrecon.io.ismrmrd_header.Header`, and :mod:`mrrecon.io.readouts` sorts the readouts. What is particular:

- the centre line and partition stand in every readout; where they do not (pulseq writes zero), they are found on
  the data, and the matrix from the lines;
- readout oversampling and fields of view are those of the protocol; readouts that were sampled while the gradient
  ramps (echo-planar) are resampled;
- lines of integrated reference scans fill the image; multiband references, prescan-normalise maps, navigators,
  transmit monitoring and dummies are no part of it;
- noise adjustment readouts of every measurement of the file give the noise covariance;
- image axes run against Siemens' readout and phase-encoding directions (twixtools ``geometry.py``; the phantom in
  ``twixtools/example_data/gre.dat`` stands upright this way).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mrrecon.acquisition import Acquisition
from mrrecon.errors import FileFormatError
from mrrecon.io.format import Format
from mrrecon.io.ismrmrd_header import Header, Limit
from mrrecon.io.ismrmrd_header import flagged as has_flag
from mrrecon.io.readouts import ReadoutOptions, acquisition_of
from mrrecon.io.regridding import noise_gain, positions, resampling_matrix
from mrrecon.io.twix_file import (
    Measurement,
    Readouts,
    find_measurements,
    flagged,
    read_buffers,
    read_readouts,
    read_samples,
)
from mrrecon.io.twix_heads import is_image, translated
from mrrecon.io.twix_protocol import Protocol, parse_protocol

__all__ = ["FORMAT", "TwixSource", "can_read", "read"]

# of the noise adjustment, by siemens_to_ismrmrd: duration of a readout, dwell time in the coil adjustment, and the
# effective width of the receiver's filter over its nominal one
_NOISE_READOUT_US, _COIL_ADJUSTMENT_DWELL_US, _NOISE_BANDWIDTH = 7680.0, 5.0, 0.79
_STACKLEVEL = 4  # a function here <- read <- registry.read <- the caller
_MOST_LINES = 65535


@dataclass(frozen=True, eq=False)
class TwixSource:
    """Samples of the readouts of a twix file, also of several measurements; see :class:`~.readout_layout.Source`."""

    path: Path
    readouts: Readouts

    def lines(self, rows: np.ndarray) -> np.ndarray:
        """Samples of readouts of one size, ``(rows, coils, samples)``, ``complex64``."""
        return read_samples(self.path, self.readouts, rows)


def can_read(path: Path) -> bool:
    """Whether this looks like a twix file: a plausible table of measurements, or .dat with a VB header."""
    return bool(find_measurements(path))


@dataclass(frozen=True)
class TwixOptions(ReadoutOptions):
    """Options for reading twix files.

    Parameters
    ----------
    measurement
        Which measurement of the file, from 0; the last one with an image by default, with a note.
    regrid
        Resample readouts that were sampled while the gradient ramps.
    """

    measurement: int | None = None
    regrid: bool = True


def read(path: Path, options: TwixOptions) -> Acquisition:
    """Read one measurement of a twix file.

    Raises
    ------
    FileFormatError
        If the file is damaged, has no image, its slices are excited together, or it lacks what an option asks for.
    """
    found = find_measurements(path)
    tables = [read_readouts(m) for m in found]
    index = _chosen(found, tables, options.measurement, path)
    protocol = parse_protocol(read_buffers(found[index]), found[index].name)
    readouts, heads = _joined(found, tables, index, protocol)
    source = TwixSource(path, readouts)
    image = is_image(heads)
    _require_image(readouts.heads[image], protocol, path)
    keeps_raster = flagged(readouts.heads, "keeps_raster")
    resampling = None
    if options.regrid and protocol.regridding > 1 and not keeps_raster[image].all():
        resampling = _resampling(readouts.heads[image], protocol, path)
        heads["center_sample"] = len(resampling) // 2 - flagged(readouts.heads, "reversed")
        heads["encoding_space_ref"][keeps_raster] = 1  # a reference scan with a raster of its own
    header = _header(source, heads, image, protocol, resampling, options.center_lines)
    # the lines count from the centre now, wherever that was said to be
    return acquisition_of(source, header, heads, FORMAT.name, replace(options, center_lines=None))


def _chosen(found: list[Measurement], tables: list[Readouts], asked: int | None, path: Path) -> int:
    """Index of the measurement to read, with a note where there are several."""
    with_image = [i for i, t in enumerate(tables) if is_image(translated(t.heads)).any()]
    if asked is not None and not 0 <= asked < len(found):
        raise FileFormatError(f"{path} has no measurement {asked}; it has {len(found)}, from 0.")
    if not with_image or (asked is not None and asked not in with_image):
        which = "" if asked is None else f" in measurement {asked}"
        raise FileFormatError(f"{path} has no imaging readouts{which}; export the imaging scan.")
    index = with_image[-1] if asked is None else asked
    if len(found) > 1 and asked is None:
        names = ", ".join(f"{i} {m.name}".strip() for i, m in enumerate(found))
        warnings.warn(
            f"{path} holds {len(found)} measurements ({names}); read measurement={index} (choose with this option).",
            stacklevel=_STACKLEVEL,
        )
    return index


def _joined(
    found: list[Measurement], tables: list[Readouts], index: int, protocol: Protocol
) -> tuple[Readouts, np.ndarray]:
    """The readouts of one measurement after the noise adjustment readouts of the others, and their ISMRMRD heads."""
    raw, offsets, heads = [], [], []
    for number, (measurement, table) in enumerate(zip(found, tables, strict=True)):
        own = number == index
        noise = flagged(table.heads, "noise")
        keep = np.ones(len(noise), bool) if own else noise
        own_heads = translated(table.heads[keep])
        samples = np.maximum(own_heads["number_of_samples"], 1)
        noise_dwell = np.full(len(samples), _COIL_ADJUSTMENT_DWELL_US)
        if "adjcoilsens" not in measurement.name.lower():
            noise_dwell = np.floor(10 * _NOISE_READOUT_US / samples) / 10  # in steps of the receiver's clock
        if protocol.dwell_time > 0:
            own_heads["sample_time_us"] = np.where(noise[keep], noise_dwell, protocol.dwell_time)
        raw.append(table.heads[keep])
        offsets.append(table.offsets[keep])
        heads.append(own_heads)
    order = [i for i in range(len(found)) if i != index] + [index]
    joined = (np.concatenate([part[i] for i in order]) for part in (raw, offsets, heads))
    raw_heads, all_offsets, all_heads = joined
    return Readouts(raw_heads, all_offsets, tables[index].gap), all_heads


def _require_image(mdh: np.ndarray, protocol: Protocol, path: Path) -> None:
    """Refuse what is no image, or no image that lines alone can give."""
    places = np.unique(np.stack([mdh["counters"]["Lin"], mdh["counters"]["Par"]], axis=1), axis=0)
    if protocol.vector_size > 1:
        raise FileFormatError(
            f"{path} is spectroscopy (spectra of {protocol.vector_size} points), not an image; mrrecon reconstructs "
            "images only."
        )
    if len(places) < 2:
        raise FileFormatError(
            f"{path} is not an image: each repetition is one readout of {int(mdh['samples'][0])} samples and nothing "
            "is phase-encoded, as in spectroscopy or calibration scans."
        )
    if protocol.multiband > 1:
        raise FileFormatError(
            f"{path} excites {protocol.multiband} slices together (multiband); their images lie on top of each other, "
            "and mrrecon cannot separate them."
        )
    if flagged(mdh, "blade").any():
        raise FileFormatError(f"{path} has a propeller trajectory; only Cartesian scans can be read.")
    swapped = flagged(mdh, "swapped")
    if swapped.any() and not swapped.all():
        raise FileFormatError(f"{path} has readouts along two directions; only one can be read.")


def _resampling(mdh: np.ndarray, protocol: Protocol, path: Path) -> np.ndarray:
    """Matrix that takes ramp samples to equal steps.

    Raises
    ------
    FileFormatError
        If the protocol names ramp sampling of an unknown kind, or of another kind for reversed readouts.
    """
    if protocol.ramps is None:
        raise FileFormatError(
            f"{path} was sampled on the gradient's ramps in a way that is not known here (alRegridMode = "
            f"{protocol.regridding}); read with regrid=False to take the samples as equidistant."
        )
    n = int(np.bincount(mdh["samples"]).argmax())
    at = positions(protocol.ramps, n)
    if flagged(mdh, "reversed").any() and abs(at + at[::-1]).max() > 0.1:
        raise FileFormatError(
            f"{path} was sampled on the gradient's ramps unevenly about their middle, with reversed readouts; read "
            "with regrid=False to take the samples as equidistant."
        )
    return resampling_matrix(protocol.ramps, n, n // 2)


def _header(
    source: TwixSource,
    heads: np.ndarray,
    image: np.ndarray,
    protocol: Protocol,
    resampling: np.ndarray | None,
    center_lines: tuple[int, int] | None,
) -> Header:
    """The header of the scan; moves the line counters of `heads` to a common centre."""
    counters, centres = source.readouts.heads["counters"], source.readouts.heads[image]
    volumetric = bool(np.ptp(counters["Par"][image]) or (protocol.is_3d and centres["center_partition"].any()))
    notes: list[str] = []
    given = center_lines or (None, None)
    n_y = _number_lines(source, heads, image, 1, protocol.lines, given[0], notes)
    n_z = _number_lines(source, heads, image, 2, protocol.partitions, given[1], notes) if volumetric else 1
    columns = _columns(heads[image])
    oversampling = protocol.readout_oversampling
    if oversampling is None:
        oversampling = columns / protocol.base if 1 <= columns / max(protocol.base, 1) <= 8 else 2.0
        if protocol.base == 0:
            notes.append("no readout oversampling; taken as twofold (remove_oversampling=false keeps all columns)")
    elif protocol.base and round(protocol.base * oversampling) != columns:
        notes.append(
            f"{protocol.base} columns, oversampled {oversampling:g} times, where the readouts have {columns}; the "
            "voxel size follows from the readouts and the stated field of view"
        )
    known = all(length > 0 for length in protocol.fov)
    read, phase, through = protocol.fov if known else (columns / oversampling, float(n_y), float(n_z))
    if known and volumetric:
        through *= protocol.slice_oversampling
    phase *= protocol.phase_oversampling if known else 1
    if notes:
        warnings.warn(f"{source.path}: the protocol states {'; '.join(notes)}.", stacklevel=_STACKLEVEL)
    gain = 1.0 if resampling is None else noise_gain(resampling, round(columns / oversampling))
    return Header(
        encoded_matrix=(columns, n_y, n_z),
        encoded_fov=(read * oversampling, phase, through),
        recon_matrix=(round(columns / oversampling), n_y, n_z),
        recon_fov=(read, phase, through),
        limits={
            "kspace_encoding_step_1": Limit(0, n_y - 1, n_y // 2),
            "kspace_encoding_step_2": Limit(0, n_z - 1, n_z // 2),
        },
        trajectory=protocol.trajectory,
        relative_noise_bandwidth=_NOISE_BANDWIDTH / gain,
        protocol=protocol.name,
        calibration_mode=protocol.calibration,
        fov_known=known,
        resampling=resampling,
    )


def _number_lines(
    source: TwixSource,
    heads: np.ndarray,
    image: np.ndarray,
    step: int,
    stated: int,
    given: int | None,
    notes: list[str],
) -> int:
    """Count lines (step 1) or partitions (2) of the matrix; moves their counter in `heads` to a centre at n // 2."""
    counter, name, word = (("Lin", "center_line", "line"), ("Par", "center_partition", "partition"))[step - 1]
    mdh = source.readouts.heads
    index, center = mdh["counters"][counter].astype(np.int64), mdh[name].astype(np.int64)
    if given is not None:
        center = np.full_like(center, given)
    if given is not None or center[image].any():
        n = _matrix((index - center)[image], stated)
        if stated not in (0, n):
            notes.append(f"{stated} {word}s, which the readouts do not fit; the matrix has {n}")
    else:
        found, n = _found_centre(source, image, counter, stated)
        center = np.full_like(center, found)
        notes.append(f"no centre {word}; it is taken as {found} of {n}, from the data (center_lines says another)")
    heads["idx"][f"kspace_encode_step_{step}"] = np.clip(index - center + n // 2, 0, _MOST_LINES)
    return n


def _matrix(distance: np.ndarray, stated: int) -> int:
    """Count lines, from distances to the centre: those stated if all fit, else the fewest that hold them."""
    low, high = int(distance.min()), int(distance.max())
    if stated > 1 and low >= -(stated // 2) and high < stated - stated // 2:
        return stated
    return max(-2 * low, 2 * high + 1)


def _found_centre(source: TwixSource, image: np.ndarray, counter: str, stated: int) -> tuple[int, int]:
    """Central line or partition and size of the matrix where no readout states it.

    The middle of the lines that there are, or of the stated matrix, whichever is nearer to the line of most energy;
    that line itself if neither is near.
    """
    mdh = source.readouts.heads
    rows = np.flatnonzero(image)
    counters = mdh["counters"][rows]
    for other in ("Sli", "Eco", "Phs", "Rep", "Set", "Ave"):
        counters, rows = counters[counters[other] == counters[other][0]], rows[counters[other] == counters[other][0]]
    across = counters["Par" if counter == "Lin" else "Lin"].astype(np.int64)
    middle = abs(across - (across.min() + across.max()) // 2)
    near = middle <= max(4, middle.min())
    rows, lines = rows[near], counters[counter][near].astype(np.int64)
    energy = np.zeros(int(mdh["counters"][counter][image].max()) + 1)
    for begin in range(0, len(rows), 64):
        part = slice(begin, begin + 64)
        batch = [source.lines(rows[part][[i]]) for i in range(len(rows[part]))]
        np.add.at(energy, lines[part], [float((np.abs(b) ** 2).sum()) for b in batch])
    peak, n = int(energy.argmax()), len(energy)
    sizes = [stated, n] if stated >= n else [n]
    best = min(sizes, key=lambda size: abs(size // 2 - peak))
    if abs(best // 2 - peak) <= max(2, best // 12):
        return best // 2, best
    return peak, _matrix(np.arange(n) - peak, stated)


def _columns(heads: np.ndarray) -> int:
    """Encoded columns: twice the longer side of the echo, which is sampled to its end."""
    forward = heads[~has_flag(heads, "reverse")]
    head = (forward if len(forward) else heads)[0]
    samples, before, after = (int(head[n]) for n in ("number_of_samples", "discard_pre", "discard_post"))
    center, used = int(head["center_sample"]) - before, samples - before - after
    if center <= 0 or center == used // 2:
        return max(used, 1)
    return 2 * max(center, used - center)


FORMAT = Format("twix", "Siemens twix", (".dat",), can_read, read, TwixOptions)
