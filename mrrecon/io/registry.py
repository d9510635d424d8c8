"""The list of formats: which module reads what, found by looking into the file rather than at its name."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

import numpy as np

from mrrecon.acquisition import Acquisition, Step
from mrrecon.errors import FileFormatError
from mrrecon.io.centring import Center, centred
from mrrecon.io.checks import array_bytes, reading, require_input, require_memory
from mrrecon.settings import value_problem

__all__ = ["KINDS", "Format", "Kind", "checked_options", "detect", "formats", "read", "reader_options"]

Kind = Literal["acquisition", "reconstruction", "part", "maps", "mask"]
KINDS: dict[Kind, str] = {  # kind of thing that is written -> what messages call it
    "acquisition": "k-space",
    "reconstruction": "an image with its record",
    "part": "a single volume",
    "maps": "coil maps",
    "mask": "a mask",
}
EVERY_FORMAT: dict[str, Any] = {"coils": list[int], "voxel_size": tuple[float, float, float], "center": Center}
"""Options of :func:`read` that all formats have, applied here where a reader does not take them itself."""


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
        ``write(thing, path) -> Path`` of an acquisition or a reconstruction, or ``None``.
    holds
        Kinds of things that can be written as it, of :data:`KINDS`.
    folder
        Whether it is a folder of files, which must be new or empty.
    check
        Raises what stands in the way of writing: a package that is missing.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    can_read: Callable[[Path], bool] | None = None
    read: Callable[..., Acquisition] | None = None
    write: Callable[[Any, Path], Path] | None = None
    holds: tuple[Kind, ...] = ()
    folder: bool = False
    check: Callable[[], None] | None = None


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
        Options of the format, for example ``repetition=2`` for ISMRMRD (see :func:`reader_options`). Every format takes
        ``coils``, the indices of those to keep; ``voxel_size``, edges in mm along (x, y, z) instead of the file's; and
        ``center``, the sample (x, y, z) where the centre of k-space lies, or ``"keep"`` to leave it where it is; by
        default it is moved to the middle from where the energy peaks (see :meth:`Acquisition.recentre`).

    Returns
    -------
    Acquisition
        In the conventions of the toolkit: (coils, x, y, z), centred, mask, geometry, and what was done, with the
        options given, in the step ``"read"`` of its provenance.

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
    given = checked_options(chosen, path, options)
    assert chosen.read is not None
    own = {name: value for name, value in given.items() if name in _own_options(chosen)}
    with reading(path, chosen.title):
        acquisition = _recorded(chosen.read(path, **own), path, chosen, given)
        if "coils" in given and "coils" not in own:
            acquisition = acquisition.select_coils(given["coils"])
        if "voxel_size" in given and "voxel_size" not in own:
            acquisition = _with_voxel_size(acquisition, given["voxel_size"])
        if not lazy and acquisition.is_lazy:
            shape = tuple(acquisition.kspace.shape)
            require_memory(array_bytes(shape), f"The k-space of {path}, shape (coils, x, y, z) = {shape},")
            acquisition = acquisition.load()
        keep = given.get("recentre") is False or given.get("center_lines") is not None  # of the formats that have it
        return centred(acquisition, path, "keep" if keep else given.get("center"))


def reader_options(format: Format) -> dict[str, Any]:
    """Options that :func:`read` takes for files of a format, with their defaults; None: as the file says."""
    return {**_own_options(format), **{name: None for name in EVERY_FORMAT if name not in _own_options(format)}}


def _own_options(format: Format) -> dict[str, Any]:
    """Those that the format's reader takes itself: its keyword-only arguments."""
    parameters = {} if format.read is None else inspect.signature(format.read).parameters
    return {name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


def checked_options(format: Format, path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of :func:`read` as plain values.

    Raises
    ------
    FileFormatError
        If the format does not take one, or it is of the wrong kind.
    """
    known = reader_options(format)
    hints = {**EVERY_FORMAT, **get_type_hints(format.read)}
    given = {}
    for name, value in options.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}? They" if close else "they"
            raise FileFormatError(f"{format.title} files take no option {name!r}; {hint} take {', '.join(known)}.")
        plain = _plain(value)
        problem = value_problem(plain, hints[name])
        if problem:
            raise FileFormatError(f"The option {name!r} for reading {path} {problem}.")
        given[name] = plain
    return given


def _plain(value: Any) -> Any:
    """Numbers of NumPy as those of Python, at any depth."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def _recorded(acquisition: Acquisition, path: Path, format: Format, given: Mapping[str, Any]) -> Acquisition:
    """The acquisition, its provenance saying which file it was read from and with which options."""
    steps = list(acquisition.provenance)
    settings: dict[str, Any] = {"format": format.name}
    if steps and steps[-1].name == "read" and steps[-1].settings.get("path") == str(path):
        settings |= steps.pop().settings
    settings["path"] = str(path.absolute())
    if given:
        settings["options"] = {name: str(v) if isinstance(v, Path) else v for name, v in given.items()}
    return replace(acquisition, provenance=(*steps, Step("read", settings)))


def _with_voxel_size(acquisition: Acquisition, voxel_size: Sequence[float]) -> Acquisition:
    """Other voxel edges, the middle of the matrix staying where it was."""
    grid = acquisition.grid.with_voxel_size(voxel_size)
    settings = {"given": list(voxel_size), "file": list(acquisition.voxel_size)}
    return acquisition.evolve("voxel size", settings, voxel_size=grid.voxel_size, affine=grid.affine)
