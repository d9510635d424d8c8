"""Arrays that go with a scan, in files of their own: sensitivity maps, masks, volumes of results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrrecon.atomic import atomic_path
from mrrecon.errors import FileFormatError, OutputError
from mrrecon.io.checks import reading, require_input
from mrrecon.io.registry import Kind
from mrrecon.operators.backend import to_numpy

if TYPE_CHECKING:
    from mrrecon.reconstruction import Reconstruction

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
    from mrrecon.io import bart_cfl, mrrecon_h5, npy

    if bart_cfl.can_read(Path(path)):
        maps = bart_cfl.read_array(path)
    else:
        found = require_input(path)
        with reading(found, "sensitivity maps"):
            if npy.can_read(found):
                maps = npy.load(found)
            elif mrrecon_h5.can_read(found):
                maps = mrrecon_h5.read(found).maps
                if maps is None:
                    raise FileFormatError(f"{found} has no maps; make some with mrrecon calibrate {found} -o maps.cfl.")
            else:
                raise FileFormatError(f"{found} is no file of maps; give .cfl, .npy, or an .h5 of mrrecon with maps.")
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


def write_part(result: Reconstruction, what: str, path: str | Path) -> Path:
    """Write one volume of a result, see :meth:`Reconstruction.part`, as NIfTI, ``.npy``, BART ``.cfl`` or ``.png``.

    NIfTI and PNG take the magnitude of complex volumes.

    Raises
    ------
    DataError
        If the result has no such volume.
    OutputError
        If the suffix is another, or the file cannot be written.
    """
    from mrrecon.io import find_writer, nifti, png

    path, volume = Path(path), result.part(what)
    chosen = find_writer(path, kind="part").name
    if chosen == "nifti":
        return nifti.write(result, path, what)
    return png.write(result, path, what) if chosen == "png" else _write_array(volume, path, chosen)


def _write(array: np.ndarray, path: Path, kind: Kind) -> Path:
    from mrrecon.io import find_writer

    chosen = find_writer(path, kind=kind).name
    if chosen == "mrrecon":
        raise OutputError(f"{path}: only a scan with its maps is written as {path.suffix}; use .npy or .cfl.")
    if chosen != "png":
        return _write_array(array, path, chosen)
    if array.ndim != 2:
        raise OutputError(f"{path}: only a (y, z) mask can be a picture, this one has shape {array.shape}; use .npy.")
    from matplotlib.image import imsave

    with atomic_path(path) as temporary:
        imsave(temporary, array, cmap="gray", vmin=0, vmax=1, format="png")
    return path


def _write_array(array: np.ndarray, path: Path, format: str) -> Path:
    from mrrecon.io import bart_cfl

    if format == "cfl":
        return bart_cfl.write_array(array, path)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    return path


def read_reference(path: str | Path) -> np.ndarray:
    """Read a volume ``(x, y, z)`` to compare with: our ``.h5`` (result or simulated scan), ``.cfl``, NIfTI.

    NIfTI volumes are taken in their own axes, as reconstructions write them.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, of another kind, or holds no volume.
    """
    from mrrecon.io import bart_cfl, mrrecon_h5

    if bart_cfl.can_read(Path(path)):
        volume = bart_cfl.read_array(path)
    else:
        found = require_input(path)
        if mrrecon_h5.can_read(found):
            with reading(found, "a reference"):
                volume = mrrecon_h5.read_reference(found)
        else:
            import nibabel

            with reading(found, "NIfTI"):
                volume = np.asarray(nibabel.load(found).dataobj)
    if volume.ndim != 3:
        raise FileFormatError(f"{path} has shape {volume.shape}; a reference is one volume (x, y, z).")
    return volume
