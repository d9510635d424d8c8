"""Calgary-Campinas multi-channel HDF5: hybrid x-ky-kz, real and imaginary parts interleaved over the coils.

``kspace`` is ``float32 (slices, ky, kz, 2*coils)``. The readout is inverse transformed already; of the
slice-encode direction only about 85 % was acquired; the rest is zero or, after the scanner's own processing,
next to nothing, and is unsampled either way. Voxels are 1 mm. The reader finds out from the data itself
where zero frequency and the object lie (some copies are in FFT order, and the object may wrap around the
field of view) and records what it corrected.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrrecon.acquisition import Acquisition, Step
from mrrecon.errors import FileFormatError
from mrrecon.io.axes import find_layout
from mrrecon.io.bare import StoredOptions
from mrrecon.io.centring import Recentre, find_recentring
from mrrecon.io.file_arrays import H5Array
from mrrecon.io.format import Format
from mrrecon.io.hdf5 import holds_kspace, open_if_hdf5, require_dataset
from mrrecon.io.measured import SampledAlike

__all__ = ["FORMAT", "can_read", "read"]


def can_read(path: Path) -> bool:
    """Whether this is HDF5 with a real, four-axis ``kspace`` of an even number of channels."""
    return holds_kspace(path, (4,), "f")


@dataclass(frozen=True)
class _Finish:
    """Blank the slice encodings (kz) that were not acquired, check that the others are, then recentre."""

    acquired: tuple[bool, ...]
    check: SampledAlike | None
    change: Recentre

    def __call__(self, planes: np.ndarray) -> np.ndarray:
        planes = planes * np.array(self.acquired, np.float32)
        return self.change(planes if self.check is None else self.check(planes))


@dataclass(frozen=True)
class _Pairs:
    """The dataset as a complex array, read where it is indexed by slices."""

    data: Any

    @property
    def shape(self) -> tuple[int, ...]:
        *sizes, channels = self.data.shape
        return (*sizes, channels // 2)

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        start, stop, _ = key[3].indices(self.shape[3])
        part = self.data[(*key[:3], slice(2 * start, 2 * stop))]
        return np.asarray(part[..., 0::2] + 1j * part[..., 1::2]).astype(np.complex64)


@dataclass(frozen=True)
class CalgaryOptions(StoredOptions):
    """Options for reading Calgary-Campinas files.

    Parameters
    ----------
    acquired
        Fraction of the slice encodings that was acquired, counted from the first in the file; the rest is
        taken as unsampled. By default those with less than a millionth of the median energy are.
    """

    acquired: float | None = None


def read(path: Path, options: CalgaryOptions) -> Acquisition:
    """Read a Calgary-Campinas file.

    Raises
    ------
    FileFormatError
        If the last axis does not hold pairs of real and imaginary parts.
    DataError
        If ky or kz is in the image domain.
    MaskError
        If positions along x were sampled with different masks.
    """
    acquired = options.acquired
    if acquired is not None and not 0 < acquired <= 1:
        raise FileFormatError(f"acquired is the fraction of slice encodings, 0 to 1, got {acquired}.")
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
        pairs = _Pairs(data)
        layout = find_layout(
            pairs, "xyzc", path, hybrid_expected=True, axes="xyzc", hybrid=options.hybrid, recentre=False
        )
        # a readout position is sampled as the others are, so a few planes tell the pattern
        whole = slice(None)
        middle = pairs[slice(max(0, n_x // 2 - 2), n_x // 2 + 2), whole, whole, whole]
    planes = middle.transpose(3, 0, 1, 2)
    if acquired is None:
        energy = (np.abs(planes) ** 2).sum(axis=(0, 1, 2), dtype=np.float64)
        columns = ~(energy <= 1e-6 * np.median(energy[energy > 0])) if (energy > 0).any() else energy == 0
    else:
        columns = np.arange(n_z) < math.ceil(acquired * n_z)
    planes = planes * columns.astype(np.float32)
    mask = (planes != 0).any(axis=(0, 1))
    check = SampledAlike(path, mask) if layout.hybrid and mask.any() else None
    change = find_recentring(planes) if options.recentre else Recentre()
    kspace = H5Array(
        path,
        (channels // 2, n_x, n_y, n_z),
        axes=(3, 0, 1, 2),
        interleaved=True,
        finish=_Finish(tuple(columns.tolist()), check, change),
    )
    settings: dict[str, Any] = {
        "format": FORMAT.name,
        "path": str(path),
        "slice_encodings": int(columns.sum()),
        "rolled": change.roll,
        "chopped": change.chop,
    }
    return Acquisition(
        kspace=kspace,
        mask=change.mask(mask),
        domains=("image" if layout.hybrid else "kspace", "kspace", "kspace"),
        provenance=(Step("read", settings),),
    )


FORMAT = Format("calgary-campinas", "Calgary-Campinas HDF5", (".h5", ".hdf5"), can_read, read, CalgaryOptions)
