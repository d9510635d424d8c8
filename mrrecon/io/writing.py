"""Writing acquisitions and reconstructions, in the format that a name asks for."""

from __future__ import annotations

import os
from pathlib import Path

from mrrecon.acquisition import Acquisition
from mrrecon.atomic import check_target, try_target
from mrrecon.errors import OutputError
from mrrecon.io.registry import KINDS, Format, Kind, formats
from mrrecon.reconstruction import Reconstruction

__all__ = ["check_output", "find_writer", "is_same_file", "write"]


def write(thing: Acquisition | Reconstruction, path: str | os.PathLike[str], *, format: str | None = None) -> Path:
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
    if not isinstance(thing, (Acquisition, Reconstruction)):
        raise OutputError(f"Only an Acquisition or a Reconstruction can be written, got {type(thing).__name__}.")
    target = Path(path)
    chosen = find_writer(target, format, "reconstruction" if isinstance(thing, Reconstruction) else "acquisition")
    _keep_sources(thing, target)
    assert chosen.write is not None
    return chosen.write(thing, target)


def _keep_sources(thing: Acquisition | Reconstruction, target: Path) -> None:
    """Refuse to replace the k-space that a reconstruction was made from, or that is still being read."""
    if isinstance(thing, Reconstruction):
        what = "the file with the k-space that this reconstruction was made from; write to another name."
        sources = [
            step.settings["path"] for step in thing.provenance if step.name == "read" and "path" in step.settings
        ]
    else:
        what = (
            "the file that this acquisition is still being read from; write to another name, or call "
            "acquisition.load() first."
        )
        sources = [thing.kspace.path] if hasattr(thing.kspace, "path") else []
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


def is_same_file(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> bool:
    """Whether two paths lead to the same file or folder, through links of any kind, or would if it were there."""
    try:
        if os.path.samefile(first, second):
            return True
    except (OSError, ValueError):
        pass
    return os.path.realpath(first) == os.path.realpath(second)
