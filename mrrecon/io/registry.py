"""The list of formats: which module reads what, found by looking into the file rather than at its name."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from mrrecon.acquisition import Acquisition, Step
from mrrecon.atomic import check_target, try_target
from mrrecon.errors import FileFormatError, OutputError
from mrrecon.io import bart_cfl, calgary_campinas, dicom, fastmri, ismrmrd_file, mrrecon_h5, nifti, npy, png, twix
from mrrecon.io.centring import centred
from mrrecon.io.checks import array_bytes, is_same_file, reading, require_input, require_memory
from mrrecon.io.format import KINDS, Format, Kind, Result
from mrrecon.settings import value_problem

__all__ = ["check_output", "checked_options", "detect", "find_writer", "formats", "read", "reader_options", "write"]

# in the order in which they are asked: the specific before the general
_MODULES = (mrrecon_h5, ismrmrd_file, calgary_campinas, fastmri, bart_cfl, npy, twix, nifti, png, dicom)


def formats() -> dict[str, Format]:
    """Return every format by name."""
    return {module.FORMAT.name: module.FORMAT for module in _MODULES}


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
        Options of the format, for example ``repetition=2`` for ISMRMRD: see its class of options,
        ``formats()[name].options``. Every format takes those of :class:`~mrrecon.io.format.ReaderOptions`.

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
    asked = chosen.options(**given)
    assert chosen.read is not None
    with reading(path, chosen.title):
        acquisition = _recorded(chosen.read(path, asked), path, chosen, given)
        if asked.coils is not None:
            acquisition = acquisition.select_coils(asked.coils)
        if asked.voxel_size is not None and tuple(asked.voxel_size) != acquisition.voxel_size:
            acquisition = _with_voxel_size(acquisition, asked.voxel_size)
        if not lazy and acquisition.is_lazy:
            shape = tuple(acquisition.kspace.shape)
            require_memory(array_bytes(shape), f"The k-space of {path}, shape (coils, x, y, z) = {shape},")
            acquisition = acquisition.load()
        return centred(acquisition, path, "keep" if asked.keeps_centre else asked.center)


def reader_options(format: Format) -> dict[str, Any]:
    """Options that :func:`read` takes for files of a format, with their defaults; None: as the file says."""
    return {option.name: option.default for option in fields(format.options)}


def checked_options(format: Format, path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of :func:`read` as plain values.

    Raises
    ------
    FileFormatError
        If the format does not take one, or it is of the wrong kind.
    """
    known = reader_options(format)
    hints = get_type_hints(format.options)
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


def write(thing: Acquisition | Result, path: str | os.PathLike[str], *, format: str | None = None) -> Path:
    """Write an acquisition or a reconstruction; the suffix chooses the format.

    Acquisition: ``.h5`` (ours, keeps everything), ``.mrd`` (ISMRMRD), ``.cfl``. Reconstruction: ``.h5``
    (keeps everything), ``.nii``, ``.nii.gz``, ``.cfl``, ``.png``, or a name without suffix for a DICOM
    folder.

    Parameters
    ----------
    thing
        What to write.
    path
        Where; an existing file is replaced only once the new one is complete.
    format
        Name of the format, where the suffix does not say (``"ismrmrd"`` for an ISMRMRD file named ``.h5``).

    Returns
    -------
    Path
        The file or folder written.

    Raises
    ------
    OutputError
        If no writer fits, the folder is missing or not writable, the disk is full, `thing` is still being read from
        `path`, or `path` is the k-space that a reconstruction was made from.
    """
    if not isinstance(thing, (Acquisition, Result)):
        raise OutputError(f"Only an Acquisition or a Reconstruction can be written, got {type(thing).__name__}.")
    target = Path(path)
    chosen = find_writer(target, format, "acquisition" if isinstance(thing, Acquisition) else "reconstruction")
    _keep_sources(thing, target)
    assert chosen.write is not None
    return chosen.write(thing, target)


def _keep_sources(thing: Acquisition | Result, target: Path) -> None:
    """Refuse to replace the k-space that a reconstruction was made from, or that is still being read."""
    if isinstance(thing, Acquisition):
        what = (
            "the file that this acquisition is still being read from; write to another name, or call "
            "acquisition.load() first."
        )
        sources = [thing.kspace.path] if hasattr(thing.kspace, "path") else []
    else:
        what = "the file with the k-space that this reconstruction was made from; write to another name."
        sources = [
            step.settings["path"] for step in thing.provenance if step.name == "read" and "path" in step.settings
        ]
    if any(is_same_file(source, target) for source in sources):
        raise OutputError(f"{target} is {what}")


def find_writer(path: str | os.PathLike[str], format: str | None = None, kind: Kind | None = None) -> Format:
    """Return the format that things are written in at `path`.

    Parameters
    ----------
    path
        Where; its suffix chooses the format, and a name without one is a DICOM folder.
    format
        Name of the format, instead of the suffix.
    kind
        What is to be written: ``"acquisition"``, ``"reconstruction"``, ``"part"`` (of one), ``"maps"`` or ``"mask"``;
        by default anything.

    Raises
    ------
    OutputError
        If there is none, or it cannot hold such things.
    """
    target = Path(path)
    writers = {name: f for name, f in formats().items() if f.holds}
    fitting = [f for f in writers.values() if kind is None or kind in f.holds]
    endings = ", ".join(dict.fromkeys(s for f in fitting for s in f.suffixes if s))
    if any(f.folder for f in fitting):
        endings += ", or a folder name"
    if format is not None:
        chosen = writers.get(format)
    else:
        name = target.name.lower()
        chosen = next((f for f in writers.values() if any(s and name.endswith(s) for s in f.suffixes)), None)
        if chosen is None and (not target.suffix or target.is_dir()):
            chosen = next((f for f in fitting if f.folder), None)
    if chosen is None:
        raise OutputError(f"{target}: no writer for {format or target.suffix!r}; use one of {endings}.")
    if chosen not in fitting:
        assert kind is not None
        raise OutputError(f"{target}: {chosen.title} does not hold {KINDS[kind]}; use one of {endings}.")
    return chosen


def check_output(path: str | os.PathLike[str], kind: Kind, format: str | None = None) -> Format:
    """Refuse now what :func:`write` or another writer would refuse later, as far as can be known before the work.

    Parameters
    ----------
    path, kind, format
        See :func:`find_writer`.

    Returns
    -------
    Format
        The format that would be written.

    Raises
    ------
    OutputError
        If no format fits, the folder is missing or not writable, the file is write-protected, there is a folder of its
        name, or a folder for DICOM has files in it.
    MissingDependencyError
        If the format needs a package that is not installed.
    """
    chosen = find_writer(path, format, kind)
    check_target(path, folder=chosen.folder)
    try_target(path)
    if chosen.check is not None:
        chosen.check()
    return chosen
