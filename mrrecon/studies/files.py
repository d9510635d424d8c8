"""Files of a study: which anatomies and which k-space files it names."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mrrecon.errors import DataError, FileFormatError
from mrrecon.io.nifti import IMAGES, bare_name
from mrrecon.io.template import find_template

__all__ = ["TEMPLATE", "StudyFile", "find_files"]

TEMPLATE = "template"  # the word that stands for the MNI152 head of the package nilearn
PAIRS = {".cfl": ".hdr", ".hdr": ".cfl"}  # files that mean nothing without the other


@dataclass(frozen=True)
class StudyFile:
    """An anatomy or a k-space file.

    Parameters
    ----------
    path
        Where it is.
    name
        What it is called in tables.
    brain
        Volume on the same grid that is not zero in the brain: all else is taken out of the anatomy. By default the
        whole head is scanned.
    read
        Options for reading k-space; see :func:`mrrecon.io.read`.
    """

    path: Path
    name: str
    brain: Path | None = None
    read: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def is_anatomy(self) -> bool:
        """Whether a scan has to be simulated from it."""
        return self.path.name.lower().endswith(IMAGES)

    @cached_property
    def identity(self) -> list[list[Any]]:
        """What distinguishes it from others wherever it lies: name, size, digest, those of its mask, how it is read.

        Files are read whole for it, at more than a gigabyte a second: one that was changed anywhere is another one.
        """
        other = self.path.with_suffix(PAIRS.get(self.path.suffix, self.path.suffix))
        paths = dict.fromkeys(path for path in (self.path, other, self.brain) if path is not None)
        read = [["read", dict(self.read)]] if self.read else []
        return [[path.name, path.stat().st_size, _digest(path)] for path in paths if path.is_file()] + read

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        brain = {} if self.brain is None else {"brain": str(self.brain)}
        return {"file": str(self.path), "name": self.name, **brain, **({"read": dict(self.read)} if self.read else {})}


def find_files(given: Sequence[Any], folder: Path) -> list[StudyFile]:
    """Files that a study names: paths, patterns, ``template``, or objects with ``file``, ``name``, ``brain``, ``read``.

    Parameters
    ----------
    given
        As in the YAML file.
    folder
        Paths are relative to it; where there is no such file, to $MRRECON_DATA.

    Raises
    ------
    FileFormatError
        If one of them names no file.
    DataError
        If one is neither text nor such an object.
    """
    found: list[StudyFile] = []
    for one in given:
        settings = {"file": one} if isinstance(one, str) else one
        if not isinstance(settings, dict) or not isinstance(settings.get("file"), str):
            raise DataError(f"Each of the files must be a path, or an object with file, got {one!r}.")
        unknown = set(settings) - {"file", "name", "brain", "read"}
        if unknown:
            raise DataError(
                f"One of the files has {', '.join(sorted(unknown))}; it may have file, name, brain and read."
            )
        paths = list(_matches(settings["file"], folder))
        if len(paths) > 1 and {"name", "brain"} & set(settings):
            raise DataError(f"{settings['file']} names {len(paths)} files; name and brain go with a single one.")
        brain = next(_matches(str(settings["brain"]), folder)) if "brain" in settings else None
        if brain is not None and not paths[0].name.lower().endswith(IMAGES):
            raise DataError(f"{paths[0]} is not an anatomy; brain goes with {', '.join(IMAGES)} files.")
        read = settings.get("read", {})
        for path in paths if read else ():
            _check_reading(path, read)
        found += [StudyFile(path, str(settings.get("name", bare_name(path))), brain, read) for path in paths]
    return list(dict.fromkeys(found))


def _check_reading(path: Path, read: Any) -> None:
    """Refuse options that the file's format does not take."""
    from mrrecon.io.registry import checked_options, detect

    if not isinstance(read, dict):
        raise DataError(f"The setting read of {path} must give options by name, got {read!r}.")
    if path.name.lower().endswith(IMAGES):
        raise DataError(f"{path} is an anatomy; read goes with k-space.")
    checked_options(detect(path), path, read)


def _matches(text: str, folder: Path) -> Iterator[Path]:
    if text == TEMPLATE:
        yield find_template()
        return
    data = os.environ.get("MRRECON_DATA")
    for place in (folder, *([Path(data)] if data else [])):
        path = place / text
        paths = [path] if path.is_file() else [Path(p) for p in sorted(glob.glob(str(path))) if Path(p).is_file()]
        if paths:
            yield from (p.resolve() for p in paths)
            return
    where = f"in {folder} or in $MRRECON_DATA ({data or 'not set'})"
    raise FileFormatError(f"There is no file {text}, nor files of this pattern, {where}.")


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise FileFormatError(f"{path} cannot be read: {error.strerror or error}.") from error
