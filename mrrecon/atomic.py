"""Writing files so that a crash, a full disk or Ctrl-C never leaves half a result or damages an older one."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mrrecon.errors import MRReconError, OutputError

__all__ = ["atomic_folder", "atomic_path", "check_target", "make_folder", "try_target", "write_text"]


def _explain(path: Path, error: BaseException) -> OutputError:
    number = getattr(error, "errno", None)
    text = str(error)
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text or "quota" in text:
        reason = "the disk is full; free some space or write to another disk"
    elif number == errno.EFBIG or "File too large" in text:
        reason = "the file grew beyond the allowed file size (ulimit -f, or the file system's own limit)"
    elif number in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason = f"the folder {path.parent} is not writable; choose another one or change its permissions"
    elif number in (errno.ENOENT, errno.ENOTDIR):
        reason = f"the folder {path.parent} does not exist; create it first"
    elif number == errno.ENAMETOOLONG:
        reason = "the file name is too long"
    else:
        reason = " ".join(text.split())[:200] or type(error).__name__
    return OutputError(f"{path} cannot be written: {reason}. Nothing was left behind.")


def _temporary(path: Path) -> Path:
    # keeps the name's end, since several writers look at the suffix
    return path.with_name(f".{secrets.token_hex(4)}.{path.name}"[-200:])


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder, and those above it, where it is not there yet.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    return Path(path)


def check_target(path: str | os.PathLike[str], *, folder: bool = False) -> None:
    """Refuse a place where a file, or a folder of files, could not be written.

    Parameters
    ----------
    path
        Where the file would be.
    folder
        Whether it would be a folder of files, which must be new or empty.

    Raises
    ------
    OutputError
        If its folder is missing or not writable, there is a folder where a file would be or the other way round, the
        folder holds files already, or the file is write-protected.
    """
    path = Path(path)
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # a name that is too long, or holds what no name can
        raise _explain(path, error) from error
    parent = path.parent
    if not path.name:
        raise OutputError(f"{str(path)!r} is not a file name; add one, for example volume.nii.gz.")
    if not parent.is_dir():
        state = "is not a folder" if parent.exists() else "does not exist; create it first (mkdir -p)"
        raise OutputError(f"{path} cannot be written: the folder {parent} {state}.")
    if not os.access(parent, os.W_OK):
        raise OutputError(
            f"{path} cannot be written: the folder {parent} is not writable; "
            "choose another one or change its permissions."
        )
    if folder and path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise OutputError(f"{path} exists and is not an empty folder; remove it or choose another name.")
    if not folder and path.is_dir():
        raise OutputError(f"{path} is a folder; give a file name inside it.")
    if not folder and path.exists() and not os.access(path, os.W_OK):
        raise OutputError(f"{path} is write-protected; choose another name or change its permissions.")


def try_target(path: str | os.PathLike[str]) -> None:
    """Refuse a place where no file can be made, by making one and removing it again.

    Raises
    ------
    OutputError
        If the system refuses it: no rights, or a disk that takes no more files.
    """
    target = Path(path)
    temporary = _temporary(target)
    try:
        temporary.touch()
    except OSError as error:
        raise _explain(target, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary name beside `path`; on success it replaces `path`, on any failure it is removed.

    Raises
    ------
    OutputError
        When the folder is missing or not writable, or the disk is full; an existing `path` is then untouched.
    """
    target = Path(path)
    check_target(target)
    temporary = _temporary(target)
    try:
        yield temporary
        with temporary.open("rb+") as written:  # a full disk may show only when the data are flushed
            os.fsync(written.fileno())
        os.replace(temporary, target)
    except MRReconError:
        raise
    except (OSError, RuntimeError) as error:  # h5py reports a full disk as either
        raise _explain(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a file of text likewise."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, "utf-8")
    return Path(path)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that becomes `path` on success and vanishes on failure.

    Raises
    ------
    OutputError
        When `path` exists and is not an empty folder, or cannot be written.
    """
    target = Path(path)
    check_target(target, folder=True)
    temporary = _temporary(target)
    try:
        temporary.mkdir()
        yield temporary
        if target.is_dir():
            target.rmdir()
        os.replace(temporary, target)
    except MRReconError:
        raise
    except (OSError, RuntimeError) as error:
        raise _explain(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
