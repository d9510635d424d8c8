"""Arrays that go with a scan, in files of their own: sensitivity maps, masks, volumes of results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mrrecon.atomic import atomic_path
from mrrecon.errors import FileFormatError, OutputError
from mrrecon.io import mrrecon_h5, nifti, png
from mrrecon.io.checks import reading
from mrrecon.io.format import Kind, ReaderOptions, Result
from mrrecon.io.plain_files import read_plain, write_cfl, write_npy
from mrrecon.io.registry import find_writer
from mrrecon.operators.backend import to_numpy

__all__ = ["read_maps", "read_reference", "write_maps", "write_mask", "write_part"]


def read_maps(path: str | Path) -> np.ndarray:
    """Read coil sensitivity maps: BART ``.cfl``, ``.npy``, or an acquisition ``.h5`` of ours.

    Returns
    -------
    numpy.ndarray
        ``(coils, x, y, z)`` or ``(sets, coils, x, y, z)``, ``complex64``.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, of another kind, or has no maps.
    """
    maps = read_plain(path)
    if maps is None:
        with reading(path, "sensitivity maps"):
            if not mrrecon_h5.can_read(Path(path)):
                raise FileFormatError(f"{path} is no file of maps; give .cfl, .npy, or an .h5 of mrrecon with maps.")
            maps = mrrecon_h5.read(Path(path), ReaderOptions()).maps
        if maps is None:
            raise FileFormatError(f"{path} has no maps; make some with mrrecon calibrate {path} -o maps.cfl.")
    if maps.ndim not in (4, 5) or maps.dtype.kind != "c":
        raise FileFormatError(
            f"{path} holds {maps.dtype} of shape {maps.shape}; maps are complex, (coils, x, y, z) or "
            "(sets, coils, x, y, z)."
        )
    return np.asarray(maps, dtype=np.complex64)


def write_maps(maps: Any, path: str | Path) -> Path:
    """Write maps ``(coils, x, y, z)`` or ``(sets, coils, x, y, z)`` as BART ``.cfl`` or ``.npy``.

    Raises
    ------
    OutputError
        If the suffix is another, or the file cannot be written.
    """
    return _write(to_numpy(maps), Path(path), "maps")


def write_mask(mask: Any, path: str | Path) -> Path:
    """Write a mask ``(y, z)`` or ``(x, y, z)`` as ``.npy``, BART ``.cfl``, or ``.png`` (rows y, columns z).

    Raises
    ------
    OutputError
        If the suffix is another, or the file cannot be written.
    """
    return _write(np.asarray(to_numpy(mask), dtype=bool), Path(path), "mask")


def write_part(result: Result, what: str, path: str | Path) -> Path:
    """Write a part of a result, see :meth:`mrrecon.Reconstruction.part`, as NIfTI, ``.npy``, ``.cfl`` or ``.png``.

    NIfTI and PNG take the magnitude of complex volumes.

    Raises
    ------
    DataError
        If the result has no such volume.
    OutputError
        If the suffix is another, or the file cannot be written.
    """
    path, volume = Path(path), result.part(what)
    chosen = find_writer(path, kind="part").name
    if chosen == "nifti":
        return nifti.write(result, path, what)
    if chosen == "png":
        return png.write(result, path, what)
    return write_cfl(volume, path) if chosen == "cfl" else write_npy(volume, path)


def _write(array: np.ndarray, path: Path, kind: Kind) -> Path:
    chosen = find_writer(path, kind=kind).name
    if chosen == "mrrecon":
        raise OutputError(f"{path}: only a scan with its maps is written as {path.suffix}; use .npy or .cfl.")
    if chosen != "png":
        return write_cfl(array, path) if chosen == "cfl" else write_npy(array, path)
    if array.ndim != 2:
        raise OutputError(f"{path}: only a (y, z) mask can be a picture, this one has shape {array.shape}; use .npy.")
    from matplotlib.image import imsave

    with atomic_path(path) as temporary:
        imsave(temporary, array, cmap="gray", vmin=0, vmax=1, format="png")
    return path


def read_reference(path: str | Path) -> np.ndarray:
    """Read a volume ``(x, y, z)`` to compare with: our ``.h5`` (result or simulated scan), ``.cfl``, ``.npy``, NIfTI.

    NIfTI volumes are taken in their own axes, as reconstructions write them.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, of another kind, or holds no volume.
    """
    volume = read_plain(path)
    if volume is None and mrrecon_h5.can_read(Path(path)):
        with reading(path, "a reference"):
            volume = mrrecon_h5.read_reference(Path(path))
    elif volume is None:
        import nibabel

        with reading(path, "NIfTI"):
            volume = np.asarray(nibabel.load(path).dataobj)
    if volume.ndim != 3:
        raise FileFormatError(f"{path} has shape {volume.shape}; a reference is one volume (x, y, z).")
    return volume
