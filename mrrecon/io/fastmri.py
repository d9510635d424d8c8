"""fastMRI HDF5: 2D multi-slice scans, so x = slice, y = readout (height), z = phase encoding (width).

``kspace`` is complex, (slices, coils, height, width) or, single-coil, (slices, height, width);
``ismrmrd_header`` holds matrix, field of view and encoding limits, ``mask`` (test files) the sampled
columns, ``reconstruction_rss`` or ``reconstruction_esc`` the published reference. Readout oversampling (the
encoded field of view is twice the reconstructed one) is removed by cropping in the image domain.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrrecon.acquisition import Acquisition, Step
from mrrecon.errors import FileFormatError, MaskError
from mrrecon.io.hdf5 import open_if_hdf5, read_text, require_dataset
from mrrecon.io.ismrmrd_header import Header, parse_header
from mrrecon.io.lazy import H5Array
from mrrecon.io.registry import Format
from mrrecon.operators.fourier import fft, ifft

__all__ = ["FORMAT", "can_read", "read"]

# directions of (slice, image row downwards, image column rightwards) in RAS+, radiological display
_ORIENTATIONS = {
    "AX": ((0, 0, 1), (0, -1, 0), (-1, 0, 0)),
    "COR": ((0, 1, 0), (0, 0, -1), (-1, 0, 0)),
    "SAG": ((1, 0, 0), (0, 0, -1), (0, -1, 0)),
}


def can_read(path: Path) -> bool:
    """Whether this is HDF5 with a complex ``kspace`` of three or four axes."""
    with open_if_hdf5(path) as file:
        if file is None or "kspace" not in file:
            return False
        data = file["kspace"]
        return getattr(data, "ndim", 0) in (3, 4) and data.dtype.kind == "c" and "format" not in file.attrs


@dataclass(frozen=True)
class _Finish:
    """Mask the columns and crop the oversampled readout of planes (coils, slices, height, width)."""

    columns: tuple[bool, ...]
    height: int

    def __call__(self, planes: np.ndarray) -> np.ndarray:
        planes = planes * np.array(self.columns, np.float32)
        n = planes.shape[2]
        if self.height < n:
            start = n // 2 - self.height // 2
            image = ifft(planes, axes=(2,))[:, :, start : start + self.height]
            planes = fft(np.ascontiguousarray(image), axes=(2,))
        return planes


def read(path: Path, *, remove_oversampling: bool = True) -> Acquisition:
    """Read a fastMRI file.

    Parameters
    ----------
    path
        HDF5 file.
    remove_oversampling
        Crop the readout to the reconstructed field of view, if the header says that it is oversampled.

    Raises
    ------
    FileFormatError
        If the k-space is missing, not complex, or its axes contradict the header.
    MaskError
        If the mask does not fit the width.
    """
    with open_if_hdf5(path) as file:
        if file is None:
            raise FileFormatError(f"{path} is not HDF5, as fastMRI files are.")
        data = require_dataset(file, "kspace", path, (3, 4), "(slices, [coils,] height, width)")
        if data.dtype.kind != "c":
            raise FileFormatError(f"{path}: 'kspace' has dtype {data.dtype}, but fastMRI k-space is complex.")
        single = data.ndim == 3
        slices, height, width = data.shape[0], data.shape[-2], data.shape[-1]
        coils = 1 if single else data.shape[1]
        header = parse_header(read_text(file["ismrmrd_header"]), path) if "ismrmrd_header" in file else None
        if header is not None:
            _check_axes(header, data.shape, path)
        columns = _columns(file, header, data, path)
        keep = _kept_height(header, height) if remove_oversampling else height
        protocol = read_text(file.attrs["acquisition"]) if "acquisition" in file.attrs else ""
        reference, shown = _reference(file, (slices, keep, width))
    voxel = (1.0, 1.0, 1.0)
    if header is not None:
        fov = header.encoded_fov
        voxel = (fov[2] / header.encoded_matrix[2], fov[0] / height, fov[1] / header.encoded_matrix[1])
    kspace = H5Array(
        path,
        (coils, slices, keep, width),
        axes=(None, 0, 1, 2) if single else (1, 0, 2, 3),
        finish=_Finish(tuple(columns.tolist()), keep),
    )
    plane = next((p for p in _ORIENTATIONS if protocol.upper().startswith(p)), "AX")
    settings = {
        "format": FORMAT.name,
        "path": str(path),
        "protocol": protocol,
        "readout_cropped_from": height,
        "orientation": f"nominal {plane}: the format stores no directions",
        "reference": shown,
    }
    affine = np.eye(4)
    affine[:3, :3] = np.array(_ORIENTATIONS[plane], float).T * np.array(voxel)
    affine[:3, 3] = -affine[:3, :3] @ (np.array([slices, keep, width]) // 2)
    return Acquisition(
        kspace=kspace,
        mask=np.broadcast_to(columns, (keep, width)),
        voxel_size=voxel,
        affine=affine,
        domains=("image", "kspace", "kspace"),
        readout="y",
        reference=reference,
        provenance=(Step("read", settings),),
    )


def _check_axes(header: Header, shape: tuple[int, ...], path: Path) -> None:
    height, width = shape[-2:]
    x, y = header.encoded_matrix[:2]
    if height != x and (width == x or (len(shape) == 4 and x in shape[:2])):
        raise FileFormatError(
            f"{path}: 'kspace' has shape {shape}, but the header gives a readout of {x} samples and {y} "
            "lines; "
            "the axes are transposed, expected (slices, [coils,] readout, phase encoding)."
        )


def _columns(file: Any, header: Header | None, data: Any, path: Path) -> np.ndarray:
    """Sampled columns: the mask of the file, else the header's limits, else the non-zero columns."""
    width, height = data.shape[-1], data.shape[-2]
    columns = np.ones(width, bool)
    limit = header.limits.get("kspace_encoding_step_1") if header else None
    if limit is not None and 0 <= limit.center <= limit.maximum < width + limit.center:
        left = width // 2 - limit.center
        if left >= 0:
            columns[:] = False
            columns[max(0, left + limit.minimum) : left + limit.maximum + 1] = True
    elif limit is None:
        middle = data[data.shape[0] // 2]
        columns = (middle != 0).any(axis=tuple(range(middle.ndim - 1)))
    if "mask" in file:
        mask = require_dataset(file, "mask", path, (1, 2), "sampled columns")[()].squeeze()
        if mask.ndim == 2 and mask.shape == (height, width) and (mask == mask[:1]).all():
            mask = mask[0]
        if mask.shape != (width,):
            hint = f"; it fits the height {height}: the axes are transposed" if mask.shape == (height,) else ""
            raise MaskError(f"{path}: 'mask' has shape {mask.shape}, expected ({width},), the k-space's width{hint}.")
        columns = columns & (mask != 0)
    return columns


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


FORMAT = Format("fastmri", "fastMRI HDF5", (".h5", ".hdf5"), can_read, read)
