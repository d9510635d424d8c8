"""ISMRMRD HDF5, Cartesian: mridata.org (the Stanford knees), vendor conversions, and our own writer.

Read with h5py and the standard XML parser alone (no extra needed): the layout is ``dataset/xml`` and
``dataset/data``, a table of readouts with header, trajectory and samples. What happens to the readouts:

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

import h5py
import numpy as np

from mrrecon.acquisition import Acquisition, Domain, Step
from mrrecon.errors import FileFormatError
from mrrecon.io.hdf5 import open_if_hdf5, read_text
from mrrecon.io.ismrmrd_centring import mention_wrapped
from mrrecon.io.ismrmrd_header import FLAGS, HEADER_DTYPE, Header, affine_of, parse_header
from mrrecon.io.ismrmrd_lines import Layout, LinesArray, noise_covariance, plan_layout, read_samples
from mrrecon.io.ismrmrd_write import write
from mrrecon.io.registry import Format

__all__ = ["FORMAT", "can_read", "read"]

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


def _group_name(file: h5py.File) -> str | None:
    """Name of the first group that holds xml and data, usually ``dataset``."""
    names = ["dataset", *[n for n in file if n != "dataset"]]
    for name in names:
        group = file.get(name)
        if isinstance(group, h5py.Group) and "xml" in group and "data" in group:
            return name
    return None


def can_read(path: Path) -> bool:
    """Whether this is HDF5 with a group that holds an XML header and a table of readouts."""
    with open_if_hdf5(path) as file:
        return file is not None and _group_name(file) is not None


def _flag(heads: np.ndarray, *names: str) -> np.ndarray:
    bits = sum(1 << (FLAGS[name] - 1) for name in names)
    return (heads["flags"] & np.uint64(bits)) != 0


def read(
    path: Path,
    *,
    repetition: int = 0,
    contrast: int = 0,
    phase: int = 0,
    set: int = 0,
    slab: int = 0,
    remove_oversampling: bool = True,
    recentre: bool = True,
    wrapped: str = "",
) -> Acquisition:
    """Read an ISMRMRD file.

    Parameters
    ----------
    path
        HDF5 file.
    repetition, contrast, phase, set
        Which one to read where the scan holds several (a warning says how many there are).
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

    Raises
    ------
    FileFormatError
        If the file is damaged, not Cartesian, has no imaging readouts, or lacks what an option asks for.
    DataError
        If the energy clearly peaks away from the centre of k-space.
    """
    if not {*wrapped} <= {*"xyz"}:
        raise FileFormatError(f"wrapped names axes, for example 'yz', got {wrapped!r}.")
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
        if header.trajectory != "cartesian":
            raise FileFormatError(
                f"{path} has a {header.trajectory} trajectory; only Cartesian scans can be read "
                "(grid the data first, for example with BART's nufft)."
            )
        chosen = {"repetition": repetition, "contrast": contrast, "phase": phase, "set": set}
        rows, counts = _select(heads, chosen, path)
        slices = np.unique(heads["idx"]["slice"][rows])
        volumetric = header.encoded_matrix[2] > 1 or bool(heads["idx"]["kspace_encode_step_2"][rows].any())
        if volumetric and len(slices) > 1:
            if slab not in slices:
                raise FileFormatError(f"{path} has no slab {slab}; it has {slices.tolist()}.")
            rows, counts["slab"] = rows[heads["idx"]["slice"][rows] == slab], len(slices)
        layout = plan_layout(header, heads, rows, volumetric, remove_oversampling, path)
        layout = replace(layout, wrapped=wrapped)
        if recentre:
            mention_wrapped(table, layout, path)
        noise_rows = np.flatnonzero(_flag(heads, "noise"))
        covariance = None
        if noise_rows.size:
            dwell = float(np.median(heads["sample_time_us"][rows]))
            samples = read_samples(table, heads, noise_rows, layout.coils, path)
            covariance = noise_covariance(samples, heads["sample_time_us"][noise_rows], dwell, header)
            if covariance is not None:
                covariance = covariance / layout.averages
    several = {k: n for k, n in counts.items() if n > 1}
    if several:
        have = ", ".join(f"{n} {k}s" for k, n in several.items())
        read_ones = ", ".join(f"{k}={slab if k == 'slab' else chosen[k]}" for k in several)
        warnings.warn(f"{path} holds {have}; read {read_ones} (choose with these options).", stacklevel=3)
    return _assemble(path, name, header, heads, layout, covariance, {**chosen, "counts": counts})


def _select(heads: np.ndarray, chosen: dict[str, int], path: Path) -> tuple[np.ndarray, dict[str, int]]:
    """Rows of the imaging and calibration readouts of the chosen image, and how many images there are."""
    wanted = ~_flag(heads, *_SKIPPED)
    wanted &= heads["encoding_space_ref"] == 0
    imaging = wanted & ~_flag(heads, "calibration")
    if not imaging.any():
        raise FileFormatError(f"{path} holds no imaging readouts, only noise, navigation or calibration ones.")
    counts = {}
    keep = wanted
    for name, index in chosen.items():
        there = np.unique(heads["idx"][name][imaging])
        counts[name] = len(there)
        if index not in there:
            raise FileFormatError(f"{path} has no {name} {index}; it has {there.tolist()[:20]}.")
        keep = keep & (heads["idx"][name] == index)
    rows = np.flatnonzero(keep)
    samples = heads["number_of_samples"][imaging & keep]
    usual = np.bincount(samples).argmax()
    same = heads["number_of_samples"][rows] == usual
    if not same[~_flag(heads[rows], "calibration")].all():
        raise FileFormatError(
            f"{path} has imaging readouts of different lengths, {np.unique(samples).tolist()[:8]}; "
            "it cannot be put on one grid."
        )
    return rows[same], counts


def _assemble(
    path: Path,
    name: str,
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
        kspace=LinesArray(path, layout.shape, f"{name}/data", layout),
        mask=layout.mask(),
        noise_covariance=covariance,
        voxel_size=voxel,
        affine=affine_of(position, directions, voxel, layout.shape[1:]),
        domains=domains,
        provenance=(
            Step(
                "read",
                {
                    "format": FORMAT.name,
                    "path": str(path),
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


FORMAT = Format("ismrmrd", "ISMRMRD HDF5 (mridata.org)", (".mrd", ".h5"), can_read, read, write, holds=("acquisition",))
