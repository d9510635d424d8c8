"""The list of formats: which module reads what, found by looking into the file rather than at its name."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrrecon.acquisition import Acquisition
from mrrecon.errors import FileFormatError
from mrrecon.io.checks import array_bytes, reading, require_input, require_memory

__all__ = ["Format", "detect", "formats", "read"]


@dataclass(frozen=True)
class Format:
    """What a module of this package declares about its format.

    Parameters
    ----------
    name
        Short name, as given to ``read(..., format=name)``.
    title
        What people call it.
    suffixes
        Usual file name endings; a hint for messages and for writers, never proof.
    can_read
        ``can_read(path) -> bool``, decided from the content; must not raise on foreign files.
    read
        ``read(path, **options) -> Acquisition`` with its k-space on disk where the format allows it.
    write
        ``write(thing, path) -> Path`` or ``None``.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    can_read: Callable[[Path], bool] | None = None
    read: Callable[..., Acquisition] | None = None
    write: Callable[[Any, Path], Path] | None = None


# modules in the order in which they are asked: the specific before the general
_MODULES = (
    "mrrecon_h5",
    "ismrmrd_file",
    "calgary_campinas",
    "fastmri",
    "bart_cfl",
    "npy",
    "twix",
    "nifti",
    "png",
    "dicom",
)


def formats() -> dict[str, Format]:
    """Return every format by name."""
    found = (importlib.import_module(f"mrrecon.io.{name}").FORMAT for name in _MODULES)
    return {f.name: f for f in found}


def detect(path: str | os.PathLike[str]) -> Format:
    """Return the format of a k-space file, judged by its content.

    Raises
    ------
    FileFormatError
        If the file is missing, empty, or of no known format; the message says what was found in it.
    """
    known = formats()
    path = require_input(_with_suffix(path))
    for candidate in known.values():
        with reading(path, candidate.title):
            if candidate.can_read is not None and candidate.can_read(path):
                return candidate
    readable = "; ".join(f.title for f in known.values() if f.read is not None)
    raise FileFormatError(f"{path} is not a k-space file that mrrecon knows: {_content(path)}. It reads: {readable}.")


def _with_suffix(path: str | os.PathLike[str]) -> Path:
    """BART names its files without the suffix: find scan.cfl when scan was given."""
    given = Path(path)
    try:
        paired = given.with_name(given.name + ".cfl") if given.name else given
        return paired if not given.exists() and paired.exists() else given
    except (OSError, ValueError):  # no possible file name: require_input says so
        return given


def _content(path: Path) -> str:
    """Say what an unknown file seems to be."""
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        import h5py

        with reading(path, "HDF5"), h5py.File(path, "r") as opened:
            names = []
            for name, item in list(opened.items())[:8]:
                detail = f"{item.shape} {item.dtype}" if isinstance(item, h5py.Dataset) else "group"
                names.append(f"{name} ({detail})")
        return (
            f"it is HDF5 with {', '.join(names) or 'nothing in it'}, while fastMRI needs a complex dataset "
            "'kspace' "
            "(slices, coils, height, width), Calgary-Campinas a real one (slices, height, width, 2*coils), "
            "ISMRMRD 'dataset/xml' and 'dataset/data'"
        )
    if head[:2] == b"\x1f\x8b" or head[344:347] in (b"n+1", b"ni1"):
        return "it looks like an image (NIfTI) and holds no k-space; simulate a scan of it with mrrecon simulate"
    if head[128:132] == b"DICM":
        return "it is a DICOM image, which holds no k-space"
    if path.suffix.lower() in (".h5", ".hdf5", ".mrd"):
        return f"its name ends in {path.suffix}, but its content is not HDF5, or its beginning is damaged"
    return f"its first bytes are {head[:8]!r}"


def read(path: str | os.PathLike[str], *, lazy: bool = False, format: str | None = None, **options: Any) -> Acquisition:
    """Read a k-space file of any known format.

    Parameters
    ----------
    path
        The file (for BART, either file of the pair or their common name).
    lazy
        Leave the k-space on disk: ``acquisition.slab(a, b)`` then reads these x positions only, and
        ``acquisition.load()`` the whole. By default the k-space is loaded and checked for NaN, Inf and dead
        coils.
    format
        Name of the format (see :func:`formats`) instead of sniffing.
    **options
        Options of the format, for example ``repetition=2`` for ISMRMRD.

    Returns
    -------
    Acquisition
        In the conventions of the toolkit: (coils, x, y, z), centred, mask, geometry, and what was done in the
        first step of its provenance.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, of an unknown format, or does not take an option.
    InsufficientMemoryError
        If the k-space does not fit in memory; read it with ``lazy=True`` then.
    DataError, ShapeError, MaskError
        If the content is unusable (NaN, dead coil, mask of another size).
    """
    path = require_input(_with_suffix(path))
    if format is None:
        chosen = detect(path)
    else:
        known = {name: f for name, f in formats().items() if f.read is not None}
        if format not in known:
            raise FileFormatError(f"There is no readable format {format!r}; choose one of {', '.join(known)}.")
        chosen = known[format]
    assert chosen.read is not None
    accepted = [n for n, p in inspect.signature(chosen.read).parameters.items() if p.kind is p.KEYWORD_ONLY]
    unknown = [name for name in options if name not in accepted]
    if unknown:
        raise FileFormatError(
            f"{chosen.title} files take no option {unknown[0]!r}; they take {', '.join(accepted) or 'none'}."
        )
    with reading(path, chosen.title):
        acquisition = chosen.read(path, **options)
        if lazy or not acquisition.is_lazy:
            return acquisition
        shape = tuple(acquisition.kspace.shape)
        require_memory(array_bytes(shape), f"The k-space of {path}, shape (coils, x, y, z) = {shape},")
        return acquisition.load()
