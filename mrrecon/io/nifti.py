"""NIfTI: reconstructions out (magnitude, or phase), anatomies in (for simulation)."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from mrrecon.atomic import atomic_path
from mrrecon.errors import DataError, FileFormatError
from mrrecon.grid import Grid
from mrrecon.io.checks import array_bytes, reading, require_input, require_memory
from mrrecon.io.format import Format, Result

__all__ = ["FORMAT", "IMAGES", "bare_name", "read_volume", "write"]

IMAGES = (".nii", ".nii.gz", ".mgz")  # suffixes of the files that :func:`read_volume` reads
_UNITS = {1: ("metres", 1000.0), 2: ("millimetres", 1.0), 3: ("micrometres", 1e-3)}  # xyzt_units, lowest three bits
_USUAL_EDGES = 0.05, 30.0  # mm: an edge beyond tells of another unit than the header's


def write(thing: Result, path: Path, part: str = "magnitude") -> Path:
    """Write a part of a reconstruction, see :meth:`mrrecon.Reconstruction.part`, in scanner coordinates (mm), float32.

    Of complex parts the magnitude is written; phases are in radians.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    import nibabel

    path = Path(path)
    values = thing.part(part)
    image = nibabel.Nifti1Image(np.abs(values) if np.iscomplexobj(values) else values, thing.grid.affine)
    image.set_qform(thing.grid.affine, code="scanner")
    image.set_sform(thing.grid.affine, code="scanner")
    image.header.set_xyzt_units(xyz="mm")
    image.header.set_slope_inter(1.0, 0.0)
    image.header["descrip"] = f"mrrecon {thing.solver} {part} R={thing.acceleration:.2f}".encode()[:79]
    shown = image.get_fdata(dtype=np.float32)
    top = np.pi if part == "phase" else float(np.abs(shown).max(initial=0))
    image.header["cal_min"], image.header["cal_max"] = (-top if shown.min(initial=0) < 0 else 0.0, top)
    comment = json.dumps({"solver": thing.solver, "acceleration": thing.acceleration, "part": part})
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", comment.encode()))
    with atomic_path(path) as temporary:
        nibabel.save(image, temporary)
    return path


def read_volume(path: str | Path) -> tuple[np.ndarray, Grid]:
    """Read an anatomy: any 3D NIfTI, real or complex, turned to the closest RAS+ orientation.

    Lengths in metres and micrometres become millimetres; where the header has no unit, they are taken as millimetres,
    with a warning if no voxel of a scan is as small or as large.

    Returns
    -------
    volume : numpy.ndarray
        ``(x, y, z)``, float32 or (of a complex file) complex64, x to the right, y anterior, z superior.
    grid : Grid
        Where its voxels lie.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, not NIfTI, or not one 3D volume of numbers.
    DataError
        If it is empty (one value everywhere) or has NaN or Inf.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    path = require_input(path)
    with reading(path, "NIfTI"):
        try:
            image: Any = nibabel.load(path)
        except ImageFileError as error:
            raise FileFormatError(f"{path} is not a NIfTI image; give a .nii or .nii.gz file.") from error
        if not isinstance(image, (nibabel.Nifti1Image, nibabel.Nifti1Pair, nibabel.MGHImage)):
            raise FileFormatError(f"{path} is {type(image).__name__}, not NIfTI; convert it to .nii.gz first.")
        shape = tuple(int(n) for n in image.shape)
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) != 3:
            remedy = "stack the slices first" if len(shape) < 3 else "select one time, contrast or coil first"
            raise FileFormatError(f"{path} has {len(shape)} axes, shape {shape}; expected one 3D volume: {remedy}.")
        if min(shape) < 2:
            raise FileFormatError(f"{path} has shape {shape}; a volume has at least two voxels along each axis.")
        kind = image.get_data_dtype().kind
        if kind not in "iufc":
            raise FileFormatError(f"{path} has dtype {image.get_data_dtype()}; expected real or complex numbers.")
        require_memory(array_bytes(shape, 8 if kind == "c" else 4), f"Reading {path}")
        code = int(image.header["xyzt_units"]) & 7 if "xyzt_units" in image.header else 2
        unit, factor = _UNITS.get(code, ("no unit", 1.0))
        affine = np.array(image.affine, np.float64)
        affine[:3] *= factor
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise FileFormatError(f"{path} has no usable orientation (its affine is singular); fix its header.")
        volume = np.asarray(image.dataobj, np.complex64 if kind == "c" else np.float32).reshape(shape)
    if not np.isfinite(volume).all():
        bad = int((~np.isfinite(volume)).sum())
        raise DataError(f"{path} has {bad} NaN or Inf voxels; replace them (numpy.nan_to_num) first.")
    if volume.min() == volume.max():
        raise DataError(f"{path} has the value {volume.flat[0]:g} everywhere; there is no anatomy in it.")
    volume, grid = Grid(shape, affine=affine).turned(volume)
    x, y, z = grid.voxel_size
    if min(x, y, z) < _USUAL_EDGES[0] or max(x, y, z) > _USUAL_EDGES[1]:
        warnings.warn(
            f"{path}: its header gives lengths in {unit}, which makes voxels of {x:.3g}x{y:.3g}x{z:.3g} mm; "
            "correct xyzt_units in the header if that is wrong.",
            stacklevel=2,
        )
    return np.ascontiguousarray(volume), grid


def bare_name(path: Path, suffixes: tuple[str, ...] = IMAGES) -> str:
    """Name of a file without the longest of these suffixes that it has, else without its own."""
    own = [suffix for suffix in suffixes if path.name.lower().endswith(suffix)]
    return path.name[: len(path.name) - len(max(own, key=len, default=path.suffix))]


FORMAT = Format("nifti", "NIfTI", (".nii", ".nii.gz"), write=write, holds=("reconstruction", "part"))
