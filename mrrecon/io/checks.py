"""What a reader asks before it trusts a file: is it there, is it whole, does it fit in memory."""

from __future__ import annotations

import math
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mrrecon.acquisition import Acquisition
from mrrecon.errors import FileFormatError, InsufficientMemoryError, MRReconError, OutputError

__all__ = [
    "available_memory",
    "is_same_file",
    "note_slices",
    "reading",
    "require_disk",
    "require_input",
    "require_memory",
    "size_text",
]

_CGROUP = Path("/sys/fs/cgroup")


def size_text(nbytes: float) -> str:
    """Write a number of bytes for people: ``"1.7 GiB"``."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if abs(nbytes) < 1024 or unit == "TiB":
            return f"{nbytes:.0f} {unit}" if unit == "bytes" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    raise AssertionError("unreachable")


def available_memory() -> int | None:
    """Bytes that may still be allocated without swapping, or ``None`` where the system does not tell.

    The smaller of the machine's free memory and what a container (cgroup 2) leaves.
    """
    found = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    except OSError:
        try:
            found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES"))
        except (ValueError, OSError, AttributeError):
            return None
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        if limit != "max":
            found.append(max(0, int(limit) - int((_CGROUP / "memory.current").read_text())))
    except (OSError, ValueError):
        pass
    return min(found) if found else None


def require_memory(nbytes: float, what: str) -> None:
    """Raise :class:`InsufficientMemoryError` when `nbytes` for `what` are not to be had."""
    free = available_memory()
    if free is not None and nbytes > free:
        raise InsufficientMemoryError(
            f"{what} needs {size_text(nbytes)} of memory and {size_text(free)} are free; close other "
            "programs, "
            "use a larger machine, or open the file with lazy=True and work in slabs."
        )


def require_disk(nbytes: float, path: str | os.PathLike[str]) -> None:
    """Raise :class:`OutputError` when a file of `nbytes` at `path` would not fit on its disk."""
    try:
        free = shutil.disk_usage(Path(path).absolute().parent).free
    except OSError:  # a disk that does not tell
        return
    if nbytes > free:
        raise OutputError(
            f"{path} will take about {size_text(nbytes)} and {size_text(free)} are free on its disk; free some space "
            "or write to another disk."
        )


def require_input(path: str | os.PathLike[str]) -> Path:
    """Return `path` if it is a readable, non-empty file, else raise :class:`FileFormatError`."""
    found = Path(path)
    try:
        if found.is_dir():
            raise FileFormatError(f"{found} is a folder; give the path of one k-space file inside it.")
        if not found.exists():
            hint = "check the spelling"
            if found.parent.is_dir():
                close = [p.name for p in found.parent.iterdir() if p.stem == found.stem and p.name != found.name]
                hint = f"did you mean {close[0]}?" if close else hint
            raise FileFormatError(f"{found} does not exist: {hint}")
        if found.stat().st_size == 0:
            raise FileFormatError(f"{found} is empty (0 bytes); copy or download it again.")
        with found.open("rb"):
            pass
    except MRReconError:
        raise
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{str(path)!r} cannot be opened ({error}); check its permissions.") from error
    return found


def is_same_file(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> bool:
    """Whether two paths lead to the same file or folder, through links of any kind, or would if it were there."""
    try:
        if os.path.samefile(first, second):
            return True
    except (OSError, ValueError):
        pass
    return os.path.realpath(first) == os.path.realpath(second)


@contextmanager
def reading(path: str | os.PathLike[str], kind: str) -> Iterator[None]:
    """Turn whatever a damaged file provokes inside the block into one typed, readable error.

    Libraries answer hostile bytes with many exception types (``OSError``, ``KeyError``, ``RuntimeError``,
    even ``SystemError``); at this border, and only here, all of them mean the same: the file is not what it
    claims.
    """
    try:
        yield
    except MRReconError:
        raise
    except MemoryError as error:
        raise InsufficientMemoryError(
            f"{path} asks for more memory than there is; open it with lazy=True and work in slabs, "
            "or check that the file is not damaged."
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        truncated = "truncated" in reason.lower() or "eof" in reason.lower()
        state = "is truncated" if truncated else "is damaged or is not what its content claims"
        raise FileFormatError(
            f"{path} {state}: reading it as {kind} failed ({reason[:200]}); copy or download it again."
        ) from error


def array_bytes(shape: tuple[int, ...], itemsize: int = 8) -> int:
    """Size in bytes of an array, in exact arithmetic (header values may be absurd)."""
    return math.prod(int(n) for n in shape) * itemsize


def note_slices(scan: Acquisition, path: Path) -> None:
    """Say that a format without slices gets the slices of a 2D scan as the k-space of a 3D scan."""
    if scan.readout != "x" and scan.shape[0] > 1:
        warnings.warn(
            f"{path}: this format has no slices, so that the {scan.shape[0]} slices are written transformed, as "
            "k-space of a 3D scan with the same image; mrrecon's own .h5 keeps them.",
            stacklevel=3,
        )
