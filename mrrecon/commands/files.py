"""Which arguments of the commands name files, and the check that no output would destroy an input.

Every text that a command takes is declared in its signature: as something that is read (:class:`Reads`), as something
that is written (:class:`Writes`), or as a word that names no file (:data:`Word`). The command line refuses to build a
command with an argument that is not, so that no command can forget it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from mrrecon.errors import DataError, OutputError

__all__ = [
    "InputFile",
    "MaskChoice",
    "PriorChoice",
    "ReadOptions",
    "Reads",
    "Word",
    "Writes",
    "check_files",
    "check_folder",
    "one_folder",
    "undeclared",
    "writes",
]

PAIRS = (".cfl", ".hdr", ".img")  # files of one name that belong together: BART's, and pairs of NIfTI


@dataclass(frozen=True)
class Reads:
    """An argument that names something that is read.

    Parameters
    ----------
    words
        Gives the texts that stand for something other than the file of that name.
    also
        Gives further files that are read because of a file.
    folder
        Whether it may be a folder, all of which is read.
    parts
        The names that are read in a folder that may hold other things too.
    """

    words: Callable[[], Collection[str]] = tuple
    also: Callable[[str], Iterable[str | Path]] | None = None
    folder: bool = False
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Writes:
    """An argument that names something that is written.

    Parameters
    ----------
    check
        Refuses a path that could not be written.
    beside
        Endings of further files that are written beside it.
    parts
        Where it is a folder that may hold other things too: the names in it that are written.
    default
        Gives the path from all arguments where it is left out.
    """

    check: Callable[[str], Any] | None = None
    beside: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    default: Callable[[Mapping[str, Any]], str] | None = None


def _mask_kinds() -> Collection[str]:
    from mrrecon import operators

    return operators.MASK_KINDS


def _prior_names() -> Collection[str]:
    from mrrecon import priors

    return priors.names()


InputFile = Annotated[str, Reads()]
MaskChoice = Annotated[str, Reads(words=_mask_kinds)]
PriorChoice = Annotated[str, Reads(words=_prior_names, folder=True)]
ReadOptions = Annotated[dict[str, Any], Reads()]
Word = Annotated[str, "names no file"]


def writes(kind: Any, beside: tuple[str, ...] = ()) -> Writes:
    """An output in one of the formats that hold a ``"reconstruction"``, ``"mask"`` or the like."""

    def check(path: str) -> None:
        from mrrecon import io

        io.check_output(path, kind)

    return Writes(check, beside)


def one_folder(command: str, output: list[str] | None, default: str) -> Path:
    """Return the one folder that a command writes into.

    Raises
    ------
    DataError
        If several are given.
    """
    if output is not None and len(output) != 1:
        raise DataError(f"mrrecon {command} writes into one folder, got {len(output)}: {', '.join(output)}.")
    return Path(output[0] if output else default)


def check_folder(path: str) -> None:
    """Refuse a folder for several files that could not be made or written to.

    Raises
    ------
    OutputError
        If there is a file of that name, or it or the first folder above it that exists is not writable.
    """
    from mrrecon.atomic import try_target

    found = Path(path).absolute()
    while not os.path.lexists(found):
        found = found.parent
    if not found.is_dir():
        raise OutputError(
            f"{path} cannot be written: the folder cannot be made, since {found} is a file; give another name."
        )
    try_target(found / "new")


def undeclared(annotation: Any) -> bool:
    """Whether a type of an argument has text in it of which it is not said whether it names a file.

    >>> undeclared(str | None), undeclared(list[InputFile]), undeclared(Word | None), undeclared(dict[str, int])
    (True, False, False, True)
    """
    if get_origin(annotation) is Annotated or get_origin(annotation) is Literal:
        return False
    return annotation is str or any(undeclared(part) for part in get_args(annotation))


def _role(annotation: Any) -> Any:
    """What a type says about the files that it names, or None."""
    if get_origin(annotation) is Annotated:
        return next((one for one in get_args(annotation)[1:] if isinstance(one, (Reads, Writes))), None)
    return next(filter(None, map(_role, get_args(annotation))), None)


def check_files(parameters: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Refuse outputs that are inputs or each other, or that could not be written; before anything is done.

    Parameters
    ----------
    parameters
        Types of the arguments of a command by name.
    options
        Their values; further ones, such as files of settings, are inputs.

    Raises
    ------
    OutputError, MissingDependencyError
        If one is.
    """
    inputs: list[tuple[str, Path]] = []
    outputs: list[tuple[str, Path]] = []
    checks: list[tuple[Callable[[str], Any], str]] = []
    for name, value in options.items():
        role = _role(parameters[name]) if name in parameters else Reads()
        if isinstance(role, Writes):
            given = [value] if isinstance(value, str) else list(value or ())
            if not given and role.default is not None:
                given = [role.default(options)]
            outputs += [(text, path) for text in given for path in _written(text, role)]
            checks += [(role.check, text) for text in given if role.check is not None]
        elif isinstance(role, Reads):
            inputs += [(text, path) for text in _texts(value) for path in _read(text, role)]
        elif is_dataclass(value):
            inputs += _read_by_settings(value)
    for number, (text, path) in enumerate(outputs):
        for source, read in inputs:
            _refuse_overlap(text, path, source, read)
        for other, written in outputs[:number]:
            if _same(path, written):
                raise OutputError(f"The outputs {other} and {text} are the same file, {path}; give different names.")
            if _inside(path, written) or _inside(written, path):
                raise OutputError(f"One of the outputs {other} and {text} lies in the other; give different names.")
    for check, text in checks:
        check(text)


def _refuse_overlap(text: str, path: Path, source: str, read: Path) -> None:
    if _same(path, read):
        what = f"is the input {source}" if text != source else "is the input itself"
        if str(path) != text:
            what = f"would be written to {path}, which is the input {source}"
    elif os.path.isdir(read) and _inside(path, read):
        what = f"lies in the folder of the input {source}"
    elif os.path.isdir(path) and _inside(read, path):
        what = f"is a folder that the input {source} lies in"
    else:
        return
    raise OutputError(f"The output {text} {what}, which must not be changed; write to another name.")


def _same(first: Path, second: Path) -> bool:
    from mrrecon.io import is_same_file

    return is_same_file(first, second)


def _inside(path: Path, folder: Path) -> bool:
    """Whether a path is in a folder, at any depth, through links of any kind."""
    return any(_same(parent, folder) for parent in Path(os.path.realpath(path)).parents)


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value, at any depth."""
    if isinstance(value, (str, Path)):
        yield str(value)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)


def _read(text: str, role: Reads) -> Iterator[Path]:
    """Files and folders that are read when an argument says this."""
    if not text or "\0" in text or text in role.words():
        return
    if role.parts:
        yield from (Path(text) / part for part in role.parts)
    elif role.folder or not os.path.isdir(text):
        yield from _together(Path(text))
    if role.also is not None:
        for found in role.also(text):
            yield from _together(Path(found))


def _read_by_settings(settings: Any) -> Iterator[tuple[str, Path]]:
    """Files, and the folders of priors, that the settings of a solver name."""
    for one in fields(settings):
        role = Reads(words=_prior_names, folder=one.name == "prior")
        yield from ((text, path) for text in _texts(getattr(settings, one.name)) for path in _read(text, role))


def _together(path: Path) -> Iterator[Path]:
    """A file and those that belong to it."""
    yield path
    if path.suffix.lower() in PAIRS:
        yield from (path.with_suffix(suffix) for suffix in PAIRS if suffix != path.suffix)
    elif path.name and not os.path.exists(path):
        yield from (path.with_name(path.name + suffix) for suffix in PAIRS)


def _written(text: str, role: Writes) -> Iterator[Path]:
    path = Path(text.rstrip("/") or "/")
    if role.parts:
        yield from (path / part for part in role.parts)
        return
    yield path
    if path.suffix.lower() in (".cfl", ".hdr"):
        yield from (path.with_suffix(suffix) for suffix in (".cfl", ".hdr") if suffix != path.suffix)
    yield from (Path(f"{path}{ending}") for ending in role.beside)
