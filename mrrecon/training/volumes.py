"""Training volumes: images or fully sampled scans, brought to the signal scale that the solvers work at."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrrecon.acquisition import Acquisition
from mrrecon.errors import DataError, FileFormatError, ShapeError
from mrrecon.grid import Grid
from mrrecon.io.mrrecon_h5 import is_reconstruction
from mrrecon.io.nifti import IMAGES, bare_name, read_volume

__all__ = ["TrainingVolume", "find_volumes", "read_volumes"]

SCANS = (".h5", ".hdf5", ".mrd", ".cfl", ".dat")

Source = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class TrainingVolume:
    """An image at unit signal scale: bright tissue is about one.

    Parameters
    ----------
    image
        ``(x, y, z)``, float32 (a magnitude image, without phase) or complex64.
    grid
        Where its voxels lie.
    name
        Unique within a data set.
    subject
        Who was scanned, where known: subjects of validation volumes must not be trained on.
    level
        What the image was divided by.
    source
        Name of the file it came from.
    """

    image: np.ndarray
    grid: Grid
    name: str
    subject: str = ""
    level: float = 1.0
    source: str = ""

    @classmethod
    def from_image(cls, image: Any, grid: Grid, name: str, subject: str = "", source: str = "") -> TrainingVolume:
        """Scale an image ``(x, y, z)``, real or complex, as the solvers scale a scan.

        The image is divided by the level that :func:`mrrecon.operators.signal_scale` finds in its fully
        sampled k-space, seen as the scan of one coil: what a prior is trained on and what it meets at
        reconstruction have one scale.

        Raises
        ------
        ShapeError, DataError
            If it is not a volume of this grid, or has NaN or Inf, or no signal.
        """
        from mrrecon.operators.fourier import fft
        from mrrecon.operators.signal_level import signal_scale

        image = np.asarray(image)
        grid.require(image, name)
        if min(image.shape) < 2:
            raise ShapeError(f"{name} has shape {image.shape}; a training volume has at least two voxels a side.")
        if image.dtype.kind not in "biufc":
            raise DataError(f"{name} must hold numbers, got dtype {image.dtype}.")
        image = image.astype(np.complex64 if image.dtype.kind == "c" else np.float32)
        bad = int(image.size - np.isfinite(image).sum())
        if bad:
            raise DataError(f"{name} has {bad} NaN or Inf voxels; replace them (numpy.nan_to_num) before training.")
        if not image.any():
            raise DataError(f"{name} is zero everywhere: there is nothing to train on.")
        kspace = fft(image.astype(np.complex64), axes=(0, 1, 2))[None]
        level = signal_scale(kspace, np.ones(image.shape[1:], bool)).level
        return cls(image / np.float32(level), grid, name, subject, level, source)

    @property
    def is_complex(self) -> bool:
        """Whether the image has a phase of its own."""
        return self.image.dtype.kind == "c"

    def slab(self, axis: int, start: int, stop: int) -> np.ndarray:
        """Slices `start` to `stop` perpendicular to `axis`, ``(slices, h, w)``, the other axes in their order."""
        return np.moveaxis(self.image[(slice(None),) * axis + (slice(start, stop),)], axis, 0)


def find_volumes(sources: Source | Sequence[Source]) -> list[Path]:
    """Files named by paths, folders (the volumes directly inside) or patterns such as ``"scans/*.nii.gz"``.

    Raises
    ------
    FileFormatError
        If one of the sources names no file.
    """
    found: list[Path] = []
    for source in [sources] if isinstance(sources, (str, os.PathLike)) else sources:
        path = Path(source)
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.name.lower().endswith(IMAGES + SCANS) and p.is_file())
        else:
            files = [path] if path.exists() else sorted(Path(p) for p in glob.glob(os.fspath(source)))
        if not files:
            where = "the folder holds none" if path.is_dir() else "no such file, folder or pattern"
            raise FileFormatError(f"No training volumes in {source}: {where}; give {', '.join(IMAGES + SCANS)} files.")
        found += [f for f in files if f not in found]
    return found


def read_volumes(sources: Source | Sequence[Source]) -> Iterator[TrainingVolume]:
    """Read training volumes one after the other.

    NIfTI files are magnitude images. Reconstructions in mrrecon's HDF5 are complex images. Any k-space file that
    :func:`mrrecon.read` knows must be fully sampled; its coils are combined with the maps it has, else with
    calibrated ones (the minimum-variance unbiased estimate), and the phase is kept.

    Parameters
    ----------
    sources
        As in :func:`find_volumes`.

    Raises
    ------
    FileFormatError, DataError
        If there are no files, or one is not a volume, has NaN, or holds undersampled k-space.
    """
    files = find_volumes(sources)
    names = [bare_name(path, IMAGES + SCANS) for path in files]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"Two training files are called {twice!r}; rename one, so that volumes can be told apart.")
    return (_read(path, name) for path, name in zip(files, names, strict=True))


def _read(path: Path, name: str) -> TrainingVolume:
    from mrrecon import io
    from mrrecon.io.checks import require_input
    from mrrecon.reconstruction import Reconstruction

    require_input(path)
    image: Any
    if path.name.lower().endswith(IMAGES):
        image, grid = read_volume(path)
    elif is_reconstruction(path):
        result = Reconstruction.load(path)
        image, grid = result.volume, result.grid
    else:
        scan = io.read(path)
        image, grid = _combined(scan, path), scan.grid
    return TrainingVolume.from_image(image, grid, name, source=path.name)


def _combined(scan: Acquisition, path: Path) -> np.ndarray:
    from mrrecon.solvers.zero_filled import ZeroFilled

    if not scan.is_fully_sampled:
        raise DataError(
            f"{path} is undersampled (R = {scan.acceleration:.2f}); a prior is trained on fully sampled scans, "
            "so reconstruct it first (mrrecon recon) or leave it out."
        )
    return ZeroFilled()(scan if scan.maps is not None else scan.calibrate()).volume
