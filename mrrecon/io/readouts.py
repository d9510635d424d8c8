"""From a table of readouts to an acquisition: what every format does whose files are lists of readouts.

A reader translates its headers into an :class:`~mrrecon.io.ismrmrd_header.Header` and a table of
``HEADER_DTYPE`` and says where the samples are (a :class:`~mrrecon.io.ismrmrd_lines.Source`);
:func:`acquisition_of` does the rest:

- noise scans give the noise covariance, scaled from their dwell time to that of the imaging readouts;
- navigation, phase-correction, feedback and dummy readouts are left out; reversed ones are flipped;
- each line goes to its place relative to the centre given by the encoding limits, in the encoded matrix, so
  that partial Fourier, elliptical corners and acceleration stay unsampled in the mask;
- averages are averaged; calibration-only lines fill positions that imaging lines leave free;
- readout oversampling is cropped in the image domain.

A 3D scan comes out with x = readout, already in the image domain, and a (y, z) mask; with a partial echo x
stays in k-space and the mask has three axes. A 2D multi-slice scan has x = slice, y = readout, z = phase
encoding.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from mrrecon.acquisition import Acquisition, Domain, Step
from mrrecon.errors import FileFormatError
from mrrecon.io.ismrmrd_centring import mention_wrapped
from mrrecon.io.ismrmrd_header import FLAGS, Header, affine_of
from mrrecon.io.ismrmrd_lines import Layout, LinesArray, Source, noise_covariance, plan_layout, read_samples

__all__ = ["acquisition_of"]

# kinds of readouts that hold no image data
_SKIPPED = (
    "noise",
    "navigation",
    "phase_correction",
    "high_priority_feedback",
    "dummy",
    "real_time_feedback",
    "surface_coil_correction",
    "phase_stabilization_reference",
    "phase_stabilization",
)
_STACKLEVEL = 4  # acquisition_of <- a reader <- registry.read <- the caller


def _flag(heads: np.ndarray, *names: str) -> np.ndarray:
    bits = sum(1 << (FLAGS[name] - 1) for name in names)
    return (heads["flags"] & np.uint64(bits)) != 0


def acquisition_of(
    source: Source,
    header: Header,
    heads: np.ndarray,
    *,
    format: str,
    repetition: int | None = None,
    contrast: int | None = None,
    phase: int | None = None,
    set: int | None = None,
    slab: int | None = None,
    remove_oversampling: bool = True,
    recentre: bool = True,
    wrapped: str = "",
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
    format
        Name of the format, for the record.
    repetition, contrast, phase, set
        Which one to read where the scan holds several; the first by default, with a note.
    slab
        Which slab of a 3D scan with several.
    remove_oversampling
        Crop the readout to the reconstructed field of view.
    recentre
        Mention an object that wraps around the field of view; ``False`` takes the header's word.
    wrapped
        Axes of the result, for example ``"yz"``, along which the object wraps around the field of view
        (the samples have alternating signs), to be undone.

    Raises
    ------
    FileFormatError
        If the readouts are not Cartesian, none is an imaging one, or what an option asks for is missing.
    """
    path = source.path
    if not {*wrapped} <= {*"xyz"}:
        raise FileFormatError(f"wrapped names axes, for example 'yz', got {wrapped!r}.")
    if header.trajectory != "cartesian":
        raise FileFormatError(
            f"{path} has a {header.trajectory} trajectory; only Cartesian scans can be read "
            "(grid the data first, for example with BART's nufft)."
        )
    asked = {"repetition": repetition, "contrast": contrast, "phase": phase, "set": set}
    rows, chosen, counts = _select(heads, asked, path)
    slices = np.unique(heads["idx"]["slice"][rows])
    volumetric = header.encoded_matrix[2] > 1 or bool(heads["idx"]["kspace_encode_step_2"][rows].any())
    if volumetric and len(slices) > 1:
        chosen["slab"] = int(slices[0]) if slab is None else slab
        if chosen["slab"] not in slices:
            raise FileFormatError(f"{path} has no slab {slab}; it has {slices.tolist()}.")
        rows, counts["slab"] = rows[heads["idx"]["slice"][rows] == chosen["slab"]], len(slices)
        asked["slab"] = slab
    layout = plan_layout(header, heads, rows, volumetric, remove_oversampling, path)
    layout = replace(layout, wrapped=wrapped)
    if recentre:
        mention_wrapped(source, layout, path)
    noise_rows = np.flatnonzero(_flag(heads, "noise"))
    covariance = None
    if noise_rows.size:
        dwell = float(np.median(heads["sample_time_us"][rows]))
        samples = read_samples(source, heads, noise_rows, layout.coils)
        covariance = noise_covariance(samples, heads["sample_time_us"][noise_rows], dwell, header)
        if covariance is not None:
            covariance = covariance / layout.averages
    several = {k: n for k, n in counts.items() if n > 1}
    if several:
        have = ", ".join(f"{n} {k}s" for k, n in several.items())
        read_ones = ", ".join(f"{k}={chosen[k]}" for k in several)
        warnings.warn(f"{path} holds {have}; read {read_ones} (choose with these options).", stacklevel=_STACKLEVEL)
    return _assemble(source, header, heads, layout, covariance, {"format": format, **chosen, "counts": counts})


def _select(
    heads: np.ndarray, asked: dict[str, int | None], path: Path
) -> tuple[np.ndarray, dict[str, int], dict[str, int]]:
    """Rows of the imaging and calibration readouts of one image, which one it is, and how many there are."""
    wanted = ~_flag(heads, *_SKIPPED)
    wanted &= heads["encoding_space_ref"] == 0
    imaging = wanted & ~_flag(heads, "calibration")
    if not imaging.any():
        raise FileFormatError(f"{path} holds no imaging readouts, only noise, navigation or calibration ones.")
    counts, chosen = {}, {}
    keep = wanted
    for name, index in asked.items():
        there = np.unique(heads["idx"][name][imaging])
        counts[name] = len(there)
        chosen[name] = int(there[0]) if index is None else index
        if chosen[name] not in there:
            raise FileFormatError(f"{path} has no {name} {index}; it has {there.tolist()[:20]}.")
        keep = keep & (heads["idx"][name] == chosen[name])
    rows = np.flatnonzero(keep)
    samples = heads["number_of_samples"][imaging & keep]
    usual = np.bincount(samples).argmax()
    same = heads["number_of_samples"][rows] == usual
    if not same[~_flag(heads[rows], "calibration")].all():
        raise FileFormatError(
            f"{path} has imaging readouts of different lengths, {np.unique(samples).tolist()[:8]}; "
            "it cannot be put on one grid."
        )
    return rows[same], chosen, counts


def _assemble(
    source: Source,
    header: Header,
    heads: np.ndarray,
    layout: Layout,
    covariance: np.ndarray | None,
    settings: dict,
) -> Acquisition:
    first = heads[layout.rows[0]]
    fov, matrix = header.encoded_fov, header.encoded_matrix
    if layout.volumetric:
        voxel = (fov[0] / layout.readout, fov[1] / matrix[1], fov[2] / matrix[2])
        position, directions = first["position"], (first["read_dir"], first["phase_dir"], first["slice_dir"])
    else:
        normal = first["slice_dir"]
        positions, spacing = layout.slice_positions(heads), fov[2]
        if len(positions) > 1 and np.isfinite(positions).all():
            step = (positions[-1] - positions[0]) / (len(positions) - 1)
            if np.linalg.norm(step) > 1e-3:
                spacing, normal = float(np.linalg.norm(step)), step / np.linalg.norm(step)
        voxel = (spacing, fov[0] / layout.readout, fov[1] / matrix[1])
        position, directions = positions[len(positions) // 2], (normal, first["read_dir"], first["phase_dir"])
    domains: tuple[Domain, Domain, Domain] = ("image", "kspace", "kspace")
    if layout.keeps_readout:
        domains = ("kspace", "kspace", "kspace")
    return Acquisition(
        kspace=LinesArray(source.path, layout.shape, source, layout),
        mask=layout.mask(),
        noise_covariance=covariance,
        voxel_size=voxel,
        affine=affine_of(position, directions, voxel, layout.shape[1:]),
        domains=domains,
        readout="x" if layout.volumetric else "y",
        provenance=(
            Step(
                "read",
                {
                    "format": settings["format"],
                    "path": str(source.path),
                    "protocol": header.protocol,
                    "readouts": len(layout.rows),
                    "averages": layout.averages,
                    "readout_cropped_from": layout.readout,
                    "partial_echo": layout.partial_echo,
                    "wrapped": layout.wrapped,
                    **settings,
                },
            ),
        ),
    )
