"""Writing results so that nothing is lost: what cannot be written where it was asked for is kept elsewhere."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from mrrecon.errors import MRReconError, OutputError, SolverError

__all__ = ["with_partial", "write_all"]


def write_all(paths: Sequence[str], write: Callable[[str], Path], rescue: Callable[[Path], Path], suffix: str) -> None:
    """Write to each of the paths; if one fails, what was to be written is kept in another file.

    Parameters
    ----------
    paths
        Where to write.
    write
        Writes to one of them.
    rescue, suffix
        Writes all there is to a file of that suffix.

    Raises
    ------
    OutputError
        If one failed; with what went wrong, and where the result is.
    """
    failed: list[tuple[str, Exception]] = []
    for path in paths:
        try:
            print(f"wrote {write(path)}")
        except Exception as error:  # whatever it is, hours of work may be in the result
            failed.append((path, error))
    if failed:
        path, reason = failed[0]
        where = next((p for p in paths if p.lower().endswith(suffix) and p not in dict(failed)), None)
        kept = Path(where) if where is not None else _rescued(Path(path), rescue, suffix)
        said = " ".join(str(reason).split()) or type(reason).__name__
        said = said if isinstance(reason, OutputError) else f"{path} could not be written: {said.rstrip('.')}."
        raise OutputError(f"{said} The result is in {kept}." if kept else f"{said} No other place could be found.")


def _rescued(path: Path, rescue: Callable[[Path], Path], suffix: str) -> Path | None:
    """Write beside a path or, where that fails, in the folder for temporary files."""
    stem = path.name.split(".")[0] or "result"
    for folder in (path.absolute().parent, Path(tempfile.gettempdir())):
        try:
            return rescue(_free(folder, f"{stem}.kept", suffix))
        except Exception:
            continue
    return None


def with_partial(error: SolverError, output: str) -> SolverError:
    """Save the last good reconstruction of a failed run, and return its error with a sentence that says where.

    Nothing is written to the file that was asked for, but to ``v.partial.h5`` beside ``v.nii.gz``, or the next name
    that is free.
    """
    said = str(error).rstrip(".")
    if error.partial is None:
        return SolverError(f"{said}; nothing is written to {output}.")
    target = Path(output.rstrip("/"))
    stem = target.name.removesuffix(target.suffix).removesuffix(".nii")
    path = _free(target.parent, f"{stem}.partial", ".h5")
    iterations = len(error.partial.history)
    try:
        error.partial.save(path)
    except (MRReconError, OSError) as second:
        return SolverError(
            f"{said}; nothing is written to {output}, nor what there was before: {second}", error.partial
        )
    return SolverError(
        f"{said}; nothing is written to {output}, the image of iteration {iterations} is kept in {path}.", error.partial
    )


def _free(folder: Path, stem: str, suffix: str) -> Path:
    """The first of ``stem``, ``stem-2``, ``stem-3`` ... that is not there yet."""
    names = (folder / f"{stem}{f'-{n}' if n > 1 else ''}{suffix}" for n in itertools.count(1))
    return next(name for name in names if not name.exists())
