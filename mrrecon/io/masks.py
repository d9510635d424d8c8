"""Reading a sampling mask from a file, for ``--mask FILE``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrrecon.errors import FileFormatError, MaskError
from mrrecon.io.checks import reading, require_input

__all__ = ["read_fitting_mask", "read_mask"]


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
    from mrrecon.io import bart_cfl, npy
    from mrrecon.io.hdf5 import is_hdf5, open_if_hdf5, require_dataset

    path = Path(path)
    if bart_cfl.can_read(path):
        values = np.asarray(bart_cfl.read_array(path))
    else:
        path = require_input(path)
        with reading(path, "a mask"):
            if npy.can_read(path):
                values = npy.load(path)
            elif is_hdf5(path):
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


def read_fitting_mask(path: str | Path, measured: np.ndarray) -> np.ndarray:
    """Read a mask for k-space that was measured at the (y, z) positions `measured`.

    Raises
    ------
    MaskError
        If it has another size, or claims more than a few positions where the k-space holds nothing.
    """
    mask = read_mask(path)
    lines = mask.any(axis=0) if mask.ndim == 3 else mask
    if lines.shape != measured.shape:
        hint = "its axes look transposed" if lines.shape[::-1] == measured.shape else "it belongs to another scan"
        sizes = f"the mask is {lines.shape}, the k-space (y, z) = {measured.shape}"
        raise MaskError(f"{path}: {sizes}; {hint}.")
    empty = int((lines & ~measured).sum())
    if empty > 0.02 * lines.sum():
        raise MaskError(
            f"{path}: {empty} of the {int(lines.sum())} positions of the mask hold no data in the k-space; "
            "the mask is transposed, shifted or belongs to another scan."
        )
    return mask
