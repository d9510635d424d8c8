"""Calgary-Campinas multi-channel HDF5: hybrid x-ky-kz, real and imaginary parts interleaved over the coils.

``kspace`` is ``float32 (slices, ky, kz, 2*coils)``. The readout is inverse transformed already; of the
slice-encode direction only about 85 % was acquired, the rest is zero (or, in some files, filled by the
scanner). Voxels are 1 mm. The reader finds out from the data itself where zero frequency and the object lie
(some copies are in FFT order, and the object may wrap around the field of view) and records what it
corrected.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mrrecon.acquisition import Acquisition, Step
from mrrecon.errors import FileFormatError
from mrrecon.io.centring import Recentre, find_recentring
from mrrecon.io.hdf5 import open_if_hdf5, require_dataset
from mrrecon.io.lazy import H5Array
from mrrecon.io.registry import Format

__all__ = ["FORMAT", "can_read", "read"]


def can_read(path: Path) -> bool:
    """Whether this is HDF5 with a real, four-axis ``kspace`` of an even number of channels."""
    with open_if_hdf5(path) as file:
        if file is None or "kspace" not in file:
            return False
        data = file["kspace"]
        return getattr(data, "ndim", 0) == 4 and data.dtype.kind == "f" and "format" not in file.attrs


def read(
    path: Path, *, voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0), recentre: bool = True
) -> Acquisition:
    """Read a Calgary-Campinas file.

    Parameters
    ----------
    path
        HDF5 file.
    voxel_size
        Voxel edges in mm along (x, y, z); the files do not store them.
    recentre
        Detect and undo FFT order and half-field-of-view shifts; ``False`` takes the samples as they are.

    Raises
    ------
    FileFormatError
        If the last axis does not hold pairs of real and imaginary parts.
    """
    with open_if_hdf5(path) as file:
        if file is None:
            raise FileFormatError(f"{path} is not HDF5, as Calgary-Campinas files are.")
        data = require_dataset(file, "kspace", path, (4,), "(slices, ky, kz, 2*coils)")
        if data.dtype.kind != "f":
            raise FileFormatError(
                f"{path}: 'kspace' has dtype {data.dtype}; Calgary-Campinas files hold floats with real and "
                "imaginary parts interleaved."
            )
        if data.shape[3] % 2 or (data.shape[3] > 128 and data.shape[0] < 128):
            raise FileFormatError(
                f"{path}: 'kspace' has shape {data.shape}, expected (slices, ky, kz, 2*coils) with real and "
                "imaginary parts interleaved along the last axis; transpose the axes."
            )
        n_x, n_y, n_z, channels = data.shape
        # a readout position is sampled as the others are, so a few planes tell the pattern
        middle = data[max(0, n_x // 2 - 2) : n_x // 2 + 2]
    planes = (middle[..., 0::2] + 1j * middle[..., 1::2]).transpose(3, 0, 1, 2).astype(np.complex64)
    mask = (planes != 0).any(axis=(0, 1))
    change = find_recentring(planes, path, ("ky", "kz")) if recentre else Recentre()
    kspace = H5Array(
        path,
        (channels // 2, n_x, n_y, n_z),
        axes=(3, 0, 1, 2),
        interleaved=True,
        finish=change if change else None,
    )
    settings: dict[str, Any] = {
        "format": FORMAT.name,
        "path": str(path),
        "rolled": change.roll,
        "chopped": change.chop,
    }
    return Acquisition(
        kspace=kspace,
        mask=change.mask(mask),
        voxel_size=voxel_size,
        domains=("image", "kspace", "kspace"),
        provenance=(Step("read", settings),),
    )


FORMAT = Format("calgary-campinas", "Calgary-Campinas HDF5", (".h5", ".hdf5"), can_read, read)
