"""Reading a sampling mask from a file, for ``--mask FILE``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrrecon.errors import FileFormatError, MaskError
from mrrecon.io.checks import reading
from mrrecon.io.hdf5 import is_hdf5, open_if_hdf5, require_dataset
from mrrecon.io.measured import agree
from mrrecon.io.plain_files import read_plain
from mrrecon.preparation import fit_mask

__all__ = ["read_fitting_mask", "read_mask"]

FEW = 0.02  # of the samples of a mask may hold nothing; more, and it is the mask of something else


def read_mask(path: str | Path) -> np.ndarray:
    """Read a mask: ``.npy``, BART ``.cfl``, mrrecon ``.h5``, or black-and-white ``.png`` (rows y, columns z).

    Returns
    -------
    numpy.ndarray
        Bool, ``(y, z)`` or ``(x, y, z)``; of lines, one axis, ``(1, z)`` or ``(y, 1)``.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged or of another kind.
    MaskError
        If it holds anything but two values, or nothing is sampled.
    """
    values, path = read_plain(path), Path(path)
    if values is None:
        with reading(path, "a mask"):
            if is_hdf5(path):
                with open_if_hdf5(path) as file:
                    values = require_dataset(file, "mask", path, (1, 2, 3), "sampling mask")[()]
            elif path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n":
                from matplotlib.image import imread

                picture = imread(path)
                values = (picture if picture.ndim == 2 else picture[..., :3].mean(axis=2)) > 0.5
            else:
                raise FileFormatError(f"{path} is no mask file; give .npy, .cfl, .png or mrrecon .h5.")
    if values.ndim == 3 and values.shape[0] == 1:
        values = values[0]
    if values.ndim not in (1, 2, 3):
        raise MaskError(f"{path}: the mask has shape {values.shape}, expected (y, z), (x, y, z), or one axis of lines.")
    if values.dtype.kind not in "biufc" or not np.isin(values, (0, 1)).all():
        raise MaskError(f"{path}: a mask holds only 0 and 1; this one holds other values (sampling weights?).")
    mask = np.real(values).astype(bool)
    if not mask.any():
        raise MaskError(f"{path}: the mask is empty; no position would be sampled.")
    return mask


def read_fitting_mask(
    path: str | Path, measured: np.ndarray, shape: tuple[int, int, int], readout: str = "x"
) -> np.ndarray:
    """Read a mask for k-space of the size `shape` that holds the samples `measured`, ``(y, z)`` or ``(x, y, z)``.

    Returns
    -------
    numpy.ndarray
        The samples that both have, bool; a note says which only one of them has.

    Raises
    ------
    MaskError
        If it has another size, or claims more than a few samples where the k-space holds nothing.
    """
    mask = read_mask(path)
    try:
        mask = fit_mask(mask, shape, readout)
    except MaskError as error:
        raise MaskError(f"{path}: {error}") from error
    return agree(mask, measured, Path(path), "the mask", tolerated=FEW)
