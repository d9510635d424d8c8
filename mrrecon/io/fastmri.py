"""fastMRI HDF5: 2D multi-slice scans, so x = slice, y = readout (height), z = phase encoding (width).

``kspace`` is complex, (slices, coils, height, width) or, single-coil, (slices, height, width);
``ismrmrd_header`` holds matrix, field of view and encoding limits, ``mask`` (test files) the sampled
columns, ``reconstruction_rss`` or ``reconstruction_esc`` the published reference. What was measured is what is not
zero; mask and limits are checked against it. Readout oversampling (the encoded field of view is twice the
reconstructed one) is removed by cropping in the image domain. Files with this layout that hold a 3D scan, hybrid or in
k-space, are read as such.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mrrecon.acquisition import Acquisition, Domain, Step
from mrrecon.errors import FileFormatError, MaskError
from mrrecon.io.axes import AxisLayout, find_layout
from mrrecon.io.bare import ArrayOptions, samples_taken
from mrrecon.io.file_arrays import ArrangedArray, H5Array
from mrrecon.io.format import Format
from mrrecon.io.hdf5 import holds_kspace, open_if_hdf5, read_text, require_dataset
from mrrecon.io.ismrmrd_header import Header, parse_header
from mrrecon.io.masks import read_fitting_mask
from mrrecon.io.measured import SampledAlike, agree, sampling_pattern
from mrrecon.operators.fourier import fft, ifft

__all__ = ["FORMAT", "can_read", "read"]

LOOKED_AT = 6  # slices that tell the sampling when a file is opened; the others are checked as they are read
NOTHING = 1e-6  # of the median energy of a line: less was not measured

# directions of (slice, image row downwards, image column rightwards) in RAS+, radiological display
_ORIENTATIONS = {
    "AX": ((0, 0, 1), (0, -1, 0), (-1, 0, 0)),
    "COR": ((0, 1, 0), (0, 0, -1), (-1, 0, 0)),
    "SAG": ((1, 0, 0), (0, 0, -1), (0, -1, 0)),
}


def can_read(path: Path) -> bool:
    """Whether this is HDF5 with a complex ``kspace`` of three or four axes."""
    return holds_kspace(path, (3, 4), "c")


@dataclass(frozen=True)
class _Crop:
    """Crop the oversampled readout of planes ``(coils, slices, height, width)`` in the image domain."""

    height: int

    def __call__(self, planes: np.ndarray) -> np.ndarray:
        start = planes.shape[2] // 2 - self.height // 2
        image = ifft(planes, axes=(2,))[:, :, start : start + self.height]
        return fft(np.ascontiguousarray(image), axes=(2,))


@dataclass(frozen=True)
class FastMRIOptions(ArrayOptions):
    """Options for reading fastMRI files, whose axes are x (slice), y (readout), z (phase encoding).

    Parameters
    ----------
    slices
        First slice to read and the one after the last, as a Python range; by default all.
    remove_oversampling
        Crop the readout to the reconstructed field of view, if the header says that it is oversampled.
    """

    slices: tuple[int, int] | None = None
    remove_oversampling: bool = True


def read(path: Path, options: FastMRIOptions) -> Acquisition:
    """Read a fastMRI file.

    Raises
    ------
    FileFormatError
        If the k-space is missing, not complex, or its axes contradict the header or the samples.
    MaskError
        If the mask does not fit the width, or slices were sampled with different masks.
    """
    mask, axes, readout, voxel_size = options.mask, options.axes, options.readout, options.voxel_size
    with open_if_hdf5(path) as file:
        if file is None:
            raise FileFormatError(f"{path} is not HDF5, as fastMRI files are.")
        data = require_dataset(file, "kspace", path, (3, 4), "(slices, [coils,] height, width)")
        if data.dtype.kind != "c":
            raise FileFormatError(f"{path}: 'kspace' has dtype {data.dtype}, but fastMRI k-space is complex.")
        header = parse_header(read_text(file["ismrmrd_header"]), path) if "ismrmrd_header" in file else None
        promised = "xcyz" if data.ndim == 4 else "xyz"
        expected = _expected(promised, data.shape, _slice_count(file, header), path) if axes is None else axes
        hybrid, recentre = options.hybrid, options.recentre
        layout = find_layout(data, expected, path, hybrid_expected=True, axes=axes, hybrid=hybrid, recentre=recentre)
        stored = layout.shape(data.shape)
        coils, _, height, width = stored
        if header is not None and layout.axes == promised and axes is None:
            _check_axes(header, data.shape, path)
        first, stop = _range(options.slices, stored[1], layout, path)
        found, complete = _found(data, layout, first, stop, path)
        two_dimensional = layout.hybrid and layout.axes in ("xcyz", "xyz", "cxyz", "cyz") and _is_lines(found)
        if readout is None:
            readout = _readout(found, path) if two_dimensional else "x"
        pattern = found
        named = _mask_of_file(file, path, height, width) if mask is None and "mask" in file else None
        limits = _limits(header, width) if readout == "y" and not any(layout.roll) else None
        if limits is not None:
            pattern = _within_limits(limits, pattern, named, data, layout, path)
        if named is not None:
            claimed = named if limits is None else named & (limits | pattern.any(axis=0))
            pattern = agree(claimed, pattern, path, "'mask'")
        keep = _kept_height(header, height) if options.remove_oversampling else height
        if keep < height and not (pattern == pattern[:1]).all():
            warnings.warn(
                f"{path}: its readout is not fully sampled, so that its oversampling cannot be cropped and stays.",
                stacklevel=2,
            )
            keep = height
        protocol = read_text(file.attrs["acquisition"]) if "acquisition" in file.attrs else ""
        reference, shown = _reference(file, (stored[1], keep, width))
    if mask is not None:
        pattern = read_fitting_mask(mask, pattern, (stop - first, height, width), readout)
    if voxel_size is None:
        voxel_size = (1.0, 1.0, 1.0) if header is None else _voxel_size(header, height)
    shape = (coils, stop - first, keep, width)
    check = None if complete or not layout.hybrid else SampledAlike(path, _unrolled(found, layout), "y")
    kspace = ArrangedArray(
        path,
        shape,
        layout.centred(H5Array(path, stored, axes=layout.order, finish=check)),
        layout.chop,
        pattern,
        first,
        _Crop(keep) if keep < height else None,
    )
    cropped = np.broadcast_to(pattern[0], (keep, width)) if keep < height else pattern
    plane = next((p for p in _ORIENTATIONS if protocol.upper().startswith(p)), "AX")
    settings = {
        "format": FORMAT.name,
        "path": str(path),
        "protocol": protocol,
        "readout_cropped_from": height,
        "orientation": f"nominal {plane}: the format stores no directions",
        "reference": shown,
        "axes": layout.axes,
        "hybrid": layout.hybrid,
        "slices": [first, stop],
        "rolled": list(layout.roll),
        "chopped": list(layout.chop),
    }
    affine = np.eye(4)
    affine[:3, :3] = np.array(_ORIENTATIONS[plane], float).T * np.array(voxel_size)
    affine[:3, 3] = -affine[:3, :3] @ (np.array([stored[1], keep, width]) // 2 - [first, 0, 0])
    domain: Domain = "image" if layout.hybrid else "kspace"
    return Acquisition(
        kspace=kspace,
        mask=cropped,
        voxel_size=voxel_size,
        affine=affine,
        domains=(domain, "kspace", "kspace"),
        readout=readout,
        reference=None if reference is None else reference[first:stop],
        provenance=(Step("read", settings),),
    )


def _voxel_size(header: Header, height: int) -> tuple[float, float, float]:
    fov = header.encoded_fov
    return fov[2] / header.encoded_matrix[2], fov[0] / height, fov[1] / header.encoded_matrix[1]


# ---- axes and slices ----------------------------------------------------------------------------------------


def _slice_count(file: Any, header: Header | None) -> int | None:
    """Number of slices that the published image or the header gives, if any does."""
    for name in ("reconstruction_rss", "reconstruction_esc"):
        if name in file and getattr(file[name], "ndim", 0) == 3:
            return int(file[name].shape[0])
    limit = header.limits.get("slice") if header else None
    return None if limit is None else limit.maximum + 1


def _expected(promised: str, shape: tuple[int, ...], slices: int | None, path: Path) -> str:
    """Order of the axes that the number of slices leaves, if it contradicts the format's."""
    found = promised
    if slices is not None and shape[0] != slices:
        if promised == "xyz" and slices == 1:
            found = "cyz"
        elif promised == "xcyz" and shape[1] == slices:
            found = "cxyz"
    if found != promised:
        warnings.warn(
            f"{path}: 'kspace' of shape {shape} is read with the coils first, since the file speaks of {slices} "
            f"slices; axes={promised!r} says otherwise.",
            stacklevel=3,
        )
    return found


def _check_axes(header: Header, shape: tuple[int, ...], path: Path) -> None:
    height, width = shape[-2:]
    x, y = header.encoded_matrix[:2]
    if height != x and (width == x or (len(shape) == 4 and x in shape[:2])):
        raise FileFormatError(
            f"{path}: 'kspace' has shape {shape}, but the header gives a readout of {x} samples and {y} lines; "
            "the axes are transposed, expected (slices, [coils,] readout, phase encoding): say what they are, as in "
            f"axes='{'xczy' if len(shape) == 4 else 'xzy'}'."
        )


def _range(slices: tuple[int, int] | None, n: int, layout: AxisLayout, path: Path) -> tuple[int, int]:
    if slices is None:
        return 0, n
    first, stop = (int(at) for at in slices)
    if not 0 <= first < stop <= n or not layout.hybrid:
        reason = f"there are slices 0 to {n - 1}" if layout.hybrid else "its first axis is in k-space"
        raise FileFormatError(f"{path}: cannot read slices {first} up to {stop}: {reason}.")
    return first, stop


# ---- samples ------------------------------------------------------------------------------------------------


def _found(data: Any, layout: AxisLayout, first: int, stop: int, path: Path) -> tuple[np.ndarray, bool]:
    """Measured samples by the data, and whether all slices were looked at; of many slices, a few are."""
    rows = None
    if layout.hybrid and layout.axes[0] == "x":
        few = np.linspace(first, stop - 1, LOOKED_AT).astype(int).tolist()
        rows = sorted(set(few)) if stop - first > LOOKED_AT else list(range(first, stop))
    taken = samples_taken(data, layout, rows)
    if rows is None:
        taken = taken[first:stop]
    found = sampling_pattern(taken, path, hybrid=layout.hybrid, readout="y" if layout.hybrid else "x")
    return found, rows is None or len(rows) == stop - first


def _unrolled(pattern: np.ndarray, layout: AxisLayout) -> np.ndarray:
    """(y, z) pattern in the order of the file."""
    for axis, roll in enumerate(layout.roll[1:]):
        if roll:
            pattern = np.roll(pattern, -(pattern.shape[axis] // 2), axis)
    return pattern


def _is_lines(pattern: np.ndarray) -> bool:
    """Whether a (y, z) pattern consists of lines along y that are all sampled alike."""
    return bool((pattern == (pattern.any(axis=0) & pattern.any(axis=1, keepdims=True))).all())


def _readout(pattern: np.ndarray, path: Path) -> Literal["y", "z"]:
    """Readout axis of slices sampled in whole lines: across which there are gaps is the phase encoding."""
    rows, columns = pattern.any(axis=1), pattern.any(axis=0)
    gaps = [np.abs(np.diff(line.astype(np.int8), prepend=0, append=0)).sum() > 2 for line in (rows, columns)]
    if gaps != [True, False]:
        return "y"
    warnings.warn(
        f"{path}: lines are left out along y (height {rows.size}), so that this is the phase encoding, and z (width "
        f"{columns.size}) is taken as the readout.",
        stacklevel=3,
    )
    return "z"


def _limits(header: Header | None, width: int) -> np.ndarray | None:
    """Columns that were measured by the header's encoding limits, if it has usable ones."""
    limit = header.limits.get("kspace_encoding_step_1") if header else None
    if limit is None or not 0 <= limit.center <= limit.maximum < width + limit.center or limit.center > width // 2:
        return None
    left = width // 2 - limit.center
    claimed = np.zeros(width, bool)
    claimed[max(0, left + limit.minimum) : left + limit.maximum + 1] = True
    return claimed


def _within_limits(
    claimed: np.ndarray, pattern: np.ndarray, named: np.ndarray | None, data: Any, layout: AxisLayout, path: Path
) -> np.ndarray:
    """Columns that hold data, with a note where the header's limits differ; next to nothing outside them is nothing.

    Columns that the mask of the file leaves out, `named`, are not spoken of.
    """
    columns = pattern.any(axis=0)
    spoken_of = np.ones_like(claimed) if named is None else named.any(axis=0)
    outside, empty = columns & ~claimed & spoken_of, claimed & ~columns & spoken_of
    if outside.any() and (columns & claimed).any():
        axis = layout.axes.index("z")
        middle = np.asarray(data[data.shape[0] // 2])
        energy = (np.abs(middle.astype(np.complex128)) ** 2).sum(
            axis=tuple(a for a in range(middle.ndim) if a != axis - 1)
        )
        dust = outside & (energy < NOTHING * np.median(energy[columns & claimed]))
        pattern, outside = pattern & ~dust, outside & ~dust
    said = [f"{int(empty.sum())} of these hold nothing but zeros"] * bool(empty.any())
    said += [f"{int(outside.sum())} others hold data"] * bool(outside.any())
    if said:
        warnings.warn(
            f"{path}: the header gives {int(claimed.sum())} measured lines, but {' and '.join(said)}; the lines that "
            "hold data are taken as measured.",
            stacklevel=3,
        )
    return pattern


def _mask_of_file(file: Any, path: Path, height: int, width: int) -> np.ndarray:
    """Sampled positions (y, z) that the file itself names."""
    mask = require_dataset(file, "mask", path, (1, 2, 3, 4), "sampled columns")[()].squeeze()
    if mask.shape == (width,):
        mask = mask[None]
    elif mask.shape != (height, width):
        hint = f"; it fits the height {height}: the axes are transposed" if mask.shape == (height,) else ""
        raise MaskError(f"{path}: 'mask' has shape {mask.shape}, expected ({width},), the k-space's width{hint}.")
    return np.broadcast_to(mask != 0, (height, width))


def _kept_height(header: Header | None, height: int) -> int:
    if header is None or header.encoded_matrix[0] != height:
        return height
    kept = round(height / header.oversampled_fov)
    return kept if 0 < kept < height else height


def _reference(file: Any, shape: tuple[int, int, int]) -> tuple[np.ndarray | None, str]:
    """Return the published image if it lies on the k-space's own grid, and a note on it."""
    for name in ("reconstruction_rss", "reconstruction_esc"):
        if name in file:
            if tuple(file[name].shape) == shape:
                return np.asarray(file[name][()]), name
            return None, f"{name} left out: {tuple(file[name].shape)} is not the k-space's grid {shape}"
    return None, "none"


FORMAT = Format("fastmri", "fastMRI HDF5", (".h5", ".hdf5"), can_read, read, FastMRIOptions)
