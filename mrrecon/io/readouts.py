"""From a table of readouts to an acquisition: what every format does whose files are lists of readouts.

A reader translates its headers into an :class:`~mrrecon.io.ismrmrd_header.Header` and a table of
``HEADER_DTYPE`` and says where the samples are (a :class:`~mrrecon.io.readout_layout.Source`);
:func:`acquisition_of` does the rest:

- one contrast, repetition, set, phase ... is read, with a note of what else there is; averages are averaged; lines
  that other counters (segment, user) tell apart never are;
- each line goes to its place relative to the centre given by the encoding limits, in the encoded matrix, so
  that partial Fourier, elliptical corners and acceleration stay unsampled in the mask; so do readouts and ends
  of readouts that are exactly zero;
- reversed readouts are flipped about k = 0; in echo-planar scans their phase is corrected by the navigators;
- reference lines that belong to the image fill positions that imaging lines leave free; those of another scan (the
  header says so, or the data do) give coil maps instead, and never image data;
- noise scans give the noise covariance, scaled from their dwell time to that of the imaging readouts;
- navigation, feedback and dummy readouts and those of other encoding spaces are left out;
- readout oversampling is cropped in the image domain.

A 3D scan comes out with x = readout, already in the image domain, and a (y, z) mask; with a partial echo x
stays in k-space and the mask has three axes. A 2D multi-slice scan (the second phase encoding never used) has x =
slice, in the order of their places, y = readout, z = phase encoding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mrrecon.acquisition import Acquisition, Domain, Step
from mrrecon.errors import CalibrationError, DataError, FileFormatError
from mrrecon.io.format import ReaderOptions
from mrrecon.io.ismrmrd_header import Header, affine_of, flagged
from mrrecon.io.readout_array import SortedReadouts
from mrrecon.io.readout_geometry import Stack, directions_of, stack_of
from mrrecon.io.readout_layout import ReadoutLayout, Source, in_batches, plan_layout
from mrrecon.io.readout_noise import noise_covariance
from mrrecon.io.readout_phase import corrected
from mrrecon.io.readout_reference import compare
from mrrecon.io.readout_selection import Selection, select
from mrrecon.io.readout_wrapping import mention_wrapped

__all__ = ["ReadoutOptions", "acquisition_of"]

_STACKLEVEL = 4  # acquisition_of <- a reader <- registry.read <- the caller
_EXAMINED = 64 * 2**20  # bytes of readouts that are all examined for zeros; of more, some lines
_SAMPLED = 256
_COHERENT = 0.8  # energy of the mean of repeated lines over their mean energy


@dataclass(frozen=True)
class ReadoutOptions(ReaderOptions):
    """Options for reading formats that are lists of readouts.

    Parameters
    ----------
    repetition, contrast, phase, set
        Which one to read where the scan holds several; the first by default, with a note of how many there are.
    average
        Which one to read, instead of the mean of all.
    segment, user
        Which of the lines that were measured several times: value of the segment counter, or of a user counter as
        ``(number of the counter, value)``.
    slice
        Counters of the slices of a 2D scan to read.
    orientation
        Which one of the orientations of a 2D scan, in the order of their first slices.
    slab
        Which slab of a 3D scan with several.
    remove_oversampling
        Crop the readout to the reconstructed field of view.
    recentre
        Find the centre of k-space on the data, and mention an object that wraps around the field of view; ``False``
        takes the header's word.
    wrapped
        Axes of the result, for example ``"yz"``, along which the object wraps around the field of view
        (the samples have alternating signs), to be undone.
    center_lines
        Counters (first, second phase encoding) of the lines at the centre of k-space, instead of what the file says.
    noise
        Whether to use noise readouts.
    phase_correction
        Whether to correct reversed readouts by the navigators.
    reference_maps
        Whether to estimate coil maps from reference lines that are a scan of their own.
    """

    repetition: int | None = None
    contrast: int | None = None
    phase: int | None = None
    set: int | None = None
    average: int | None = None
    segment: int | None = None
    user: tuple[int, int] | None = None
    slice: int | list[int] | None = None
    orientation: int | None = None
    slab: int | None = None
    remove_oversampling: bool = True
    recentre: bool = True
    wrapped: str = ""
    center_lines: tuple[int, int] | None = None
    noise: bool = True
    phase_correction: bool = True
    reference_maps: bool = True

    @property
    def keeps_centre(self) -> bool:
        """Whether the centre of k-space stays where the file has it."""
        return not self.recentre or self.center_lines is not None or super().keeps_centre

    @property
    def counters(self) -> dict[str, int | None]:
        """Value of each counter that is asked for."""
        names = ("repetition", "contrast", "phase", "set", "average", "segment")
        user = {} if self.user is None else {f"user_{self.user[0]}": self.user[1]}
        return {**{name: getattr(self, name) for name in names}, **user}


def acquisition_of(
    source: Source, header: Header, heads: np.ndarray, format_name: str, options: ReadoutOptions
) -> Acquisition:
    """Sort readouts into an acquisition whose k-space stays on disk.

    Parameters
    ----------
    source
        Gives the samples of row i of `heads`.
    header
        What holds for the whole scan.
    heads
        One row of ``HEADER_DTYPE`` per readout, noise, reference and navigator readouts included.
    format_name
        For the record.
    options
        What the user says.

    Raises
    ------
    FileFormatError
        If the readouts are not Cartesian, none is an imaging one, or what an option asks for is missing.
    """
    path = source.path
    if not {*options.wrapped} <= {*"xyz"}:
        raise FileFormatError(f"wrapped names axes, for example 'yz', got {options.wrapped!r}.")
    if header.trajectory not in ("cartesian", "epi"):
        raise FileFormatError(
            f"{path} has a {header.trajectory} trajectory; only Cartesian scans can be read "
            "(grid the data first, for example with BART's nufft)."
        )
    found = select(heads, options.counters, path)
    volumetric = len(np.unique(heads["idx"]["kspace_encode_step_2"][found.imaging])) > 1
    stack = _slices(heads, header, found, volumetric, options, path)

    def plan(rows: np.ndarray) -> ReadoutLayout:
        slices = None if stack is None else stack.slices
        settings = (header, heads, rows, volumetric, options.remove_oversampling, path)
        planned = plan_layout(*settings, slices=slices, center_lines=options.center_lines)
        return replace(planned, wrapped=options.wrapped)

    layout, energy = _measured(source, plan(found.imaging))
    layout, reference = _with_reference(source, header, found, layout, plan)
    layout, note = corrected(source, heads, layout, options.phase_correction)
    found.notes += [note, _agreement(source, layout)]
    if options.recentre:
        mention_wrapped(source, layout, path)
    covariance = None
    noise_rows = np.flatnonzero(flagged(heads, "noise"))
    if options.noise and noise_rows.size:
        covariance, note = noise_covariance(source, heads, noise_rows, layout.rows, energy, header)
        found.notes.append(note)
        covariance = None if covariance is None else covariance / layout.averages
    if not header.fov_known and options.voxel_size is None:
        found.notes.append("the header does not state the field of view: voxels of 1 mm are assumed (voxel_size=)")
    record = {"format": format_name, **found.chosen}
    scan = _assemble(source, header, heads, layout, stack, covariance, record)
    if reference is not None and options.reference_maps:
        scan, note = _with_maps(scan, source, reference)
        found.notes.append(note)
    for note in filter(None, found.notes):
        warnings.warn(f"{path}: {note}.", stacklevel=_STACKLEVEL)
    return scan


def _slices(
    heads: np.ndarray, header: Header, found: Selection, volumetric: bool, options: ReadoutOptions, path: Path
) -> Stack | None:
    """Limit the selection to one slab, or to the slices that are wanted, whose stack is returned."""
    there = np.unique(heads["idx"]["slice"][found.imaging])
    wanted, orientation, slab = options.slice, options.orientation, options.slab
    if volumetric:
        if wanted is not None or orientation is not None:
            raise FileFormatError(
                f"{path} is a 3D scan, whose slabs are chosen with slab=, not by slice or orientation."
            )
        found.counts["slab"], found.chosen["slab"] = len(there), int(there[0]) if slab is None else slab
        if found.chosen["slab"] not in there:
            raise FileFormatError(f"{path} has no slab {slab}; it has {there.tolist()}.")
        if len(there) > 1 and slab is None:
            found.notes.append(f"it holds {len(there)} slabs, of which slab={there[0]} is read (choose with slab=)")
        keep = np.array([found.chosen["slab"]])
        stack = None
    else:
        if slab is not None:
            raise FileFormatError(f"{path} is a 2D scan and has no slabs; slice= chooses slices.")
        keep = there
        if wanted is not None:
            keep = np.unique(np.atleast_1d(wanted))
            if not keep.size or not np.isin(keep, there).all():
                raise FileFormatError(f"{path} has no slices {wanted}; it has {there.tolist()}.")
        rows = found.imaging[np.isin(heads["idx"]["slice"][found.imaging], keep)]
        stack = stack_of(heads, rows, orientation, path)
        found.notes.append(stack.note)
        keep, limit = stack.slices, header.limits.get("slice")
        if limit is not None and len(there) <= limit.maximum < 2**15:
            found.notes.append(f"the header states {limit.maximum + 1} slices, and the file holds {len(there)}")
        found.counts["slice"] = len(there)
    found.imaging, found.reference = (
        r[np.isin(heads["idx"]["slice"][r], keep)] for r in (found.imaging, found.reference)
    )
    return stack


def _measured(source: Source, layout: ReadoutLayout) -> tuple[ReadoutLayout, np.ndarray]:
    """Layout of what was really measured, and the mean energy of the samples of each coil, ``(coils,)``.

    Converters fill what was not measured with zeros: whole readouts, and the ends of all of them.

    Raises
    ------
    DataError
        If there is nothing else.
    """
    every = np.arange(len(layout.rows))
    size = 8 * layout.coils * sum(layout.kinds[k].samples * int(n) for k, n in enumerate(np.bincount(layout.kind)))
    some = every[:: max(1, len(every) // _SAMPLED)] if size > _EXAMINED else every
    while True:
        filled = np.ones(len(every), bool)
        extent = np.zeros((len(layout.kinds), layout.readout), bool)
        energy = np.zeros(layout.coils)
        for part in in_batches(layout, some):
            lines = layout.placed(source.lines(layout.rows[part]), part)
            filled[part] = lines.any(axis=(1, 2))
            extent[layout.kind[part[0]]] |= lines.any(axis=(0, 1))
            energy += (np.abs(lines) ** 2).sum(axis=(0, 2), dtype=np.float64)
        if filled.all() or len(some) == len(every):
            break
        some = every
    if not filled.any():
        raise DataError(f"{source.path}: all samples of the imaging readouts are zero; nothing was measured.")
    if not layout.volumetric:  # an empty slice of a simulated scan is measured all the same
        filled |= ~np.isin(layout.first, layout.first[filled])
    kinds = list(layout.kinds)
    for number, kind in enumerate(kinds):
        at = np.flatnonzero(extent[number])
        if at.size and layout.resampling is None:
            first, last = int(at[0]), int(at[-1])
            kinds[number] = replace(kind, skip=kind.skip + first - kind.start, used=last - first + 1, start=first)
    samples = np.count_nonzero(filled[some]) * max(kind.used for kind in kinds)
    return replace(layout, kinds=tuple(kinds)).of(filled), energy / samples


def _with_reference(
    source: Source, header: Header, found: Selection, layout: ReadoutLayout, plan: Callable[[np.ndarray], ReadoutLayout]
) -> tuple[ReadoutLayout, ReadoutLayout | None]:
    """Layout with the reference lines that belong to the image, and that of those which are another scan."""
    if not found.reference.size:
        return layout, None
    try:
        reference, _ = _measured(source, plan(found.reference))
    except (FileFormatError, DataError):
        found.notes.append(f"its {len(found.reference)} reference lines do not fit the image's matrix and are left out")
        return layout, None
    if header.calibration_mode in ("separate", "external"):
        return layout, reference
    stated = header.calibration_mode in ("embedded", "interleaved", "integrated")
    verdict = compare(source, layout, reference, stated)
    found.notes.append(verdict.note)
    if not verdict.fill:
        return layout, reference
    fills = reference.rows[~np.isin(reference.spots, layout.spots)]
    if not fills.size:
        return layout, None
    merged, _ = _measured(source, plan(np.sort(np.concatenate([layout.rows, fills]))))
    if verdict.gain != 1:
        gain = np.where(np.isin(merged.rows, fills), np.complex64(verdict.gain), np.complex64(1))
        merged = replace(merged, gain=gain)
    return merged, None


def _agreement(source: Source, layout: ReadoutLayout) -> str:
    """A note if lines that are averaged do not agree with each other, near the centre of k-space."""
    _, index, counts = np.unique(layout.spots, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts[index] > 1)
    if not repeated.size:
        return ""
    middle = (layout.shape[2] // 2 if layout.volumetric else 0, layout.shape[3] // 2)
    away = np.abs(layout.first[repeated] - middle[0]) + np.abs(layout.second[repeated] - middle[1])
    take = np.flatnonzero(layout.spots == layout.spots[repeated[away.argmin()]])[:64]
    lines = np.concatenate([layout.placed(source.lines(layout.rows[p]), p) for p in in_batches(layout, take)])
    agree = len(take) * float(np.linalg.norm(lines.mean(axis=0)) ** 2) / max(float(np.linalg.norm(lines) ** 2), 1e-300)
    if agree >= _COHERENT:
        return ""
    return (
        f"lines that are averaged do not agree (their mean has {100 * agree:.0f} % of their energy); average= reads one"
    )


def _with_maps(scan: Acquisition, source: Source, reference: ReadoutLayout) -> tuple[Acquisition, str]:
    """Coil maps from reference lines that are a scan of their own, and a note."""
    n = len(reference.rows)
    domain: Domain = "kspace" if reference.keeps_readout else "image"
    try:
        if not reference.volumetric and len(np.unique(reference.first)) < reference.shape[1]:
            raise CalibrationError("they do not cover all slices")
        lines = Acquisition(
            kspace=SortedReadouts(source.path, reference.shape, source, reference),
            mask=reference.mask(),
            domains=(domain, "kspace", "kspace"),
            readout=scan.readout,
        )
        maps = lines.recentre().calibrate().maps
    except (CalibrationError, FileFormatError, DataError) as error:
        reason = str(error).rstrip(".")
        return scan, f"its {n} separate reference lines are left out, and give no coil maps: {reason}"
    settings = {"method": "ESPIRiT", "from": "separate reference lines", "lines": n}
    return scan.evolve("calibrate", settings, maps=maps), (
        f"its {n} reference lines are a scan of their own: they give the coil maps and no image data"
    )


def _assemble(
    source: Source,
    header: Header,
    heads: np.ndarray,
    layout: ReadoutLayout,
    stack: Stack | None,
    covariance: np.ndarray | None,
    settings: dict,
) -> Acquisition:
    first = heads[layout.rows[0]]
    fov, matrix = header.encoded_fov, header.encoded_matrix
    read, phase, normal = directions_of(first, header.vendor)
    position = first["position"]
    if stack is None:
        voxel = (fov[0] / layout.readout, fov[1] / matrix[1], fov[2] / matrix[2])
        directions = (read, phase, normal)
    else:
        centres, spacing = stack.centres, fov[2] / matrix[2]
        if len(centres) > 1 and np.isfinite(centres).all():
            step = (centres[-1] - centres[0]) / (len(centres) - 1)
            if np.linalg.norm(step) > 1e-3:
                spacing, normal = float(np.linalg.norm(step)), step / np.linalg.norm(step)
        voxel = (spacing, fov[0] / layout.readout, fov[1] / matrix[1])
        position, directions = (
            centres[0] + (centres[-1] - centres[0]) * ((len(centres) // 2) / max(len(centres) - 1, 1)),
            (normal, read, phase),
        )
    domains: tuple[Domain, Domain, Domain] = ("image", "kspace", "kspace")
    if layout.keeps_readout:
        domains = ("kspace", "kspace", "kspace")
    record = {
        "path": str(source.path),
        "protocol": header.protocol,
        "readouts": len(layout.rows),
        "averages": layout.averages,
        "readout_cropped_from": layout.readout,
        "partial_echo": layout.partial_echo,
        "phase_corrected": layout.correction is not None,
        "wrapped": layout.wrapped,
        **settings,
    }
    return Acquisition(
        kspace=SortedReadouts(source.path, layout.shape, source, layout),
        mask=layout.mask(),
        noise_covariance=covariance,
        voxel_size=voxel,
        affine=affine_of(position, directions, voxel, layout.shape[1:]),
        domains=domains,
        readout="x" if layout.volumetric else "y",
        provenance=(Step("read", record),),
    )
