"""The folder of a study: one JSON file a row, merged into rows.jsonl; slices for pictures; locks.

Each row is a file of its own, written under a temporary name and renamed, and rows.jsonl is put together from them
likewise. Renaming is one step on every shared file system. Appending to a common file is not: on NFS, appends of two
machines can overwrite each other. It also makes the question whether a run is done one look at one file.

Who does a run holds the lock (``flock``) of a file while at it. The system lets it go when the process ends, however it
ends. On a shared file system whose locks do not reach other machines, the worst is that two machines do the same run:
there is still one row.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from mrrecon.atomic import atomic_path, make_folder, write_text
from mrrecon.errors import FileFormatError, OutputError
from mrrecon.studies.row import Row

__all__ = ["Results"]

ROWS, INDEX = "rows.jsonl", "study.json"


class Results:
    """Rows of a study in its folder.

    Parameters
    ----------
    folder
        Where they are.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._merged: dict[str, Row] | None = None

    def create(self, index: dict[str, Any]) -> None:
        """Make the folder, if it is not there, and note the grid of the study in it.

        Raises
        ------
        OutputError
            If it cannot be written, or is the folder of another study.
        """
        for part in ("rows", "locks", "planes"):
            make_folder(self.folder / part)
        if (self.folder / INDEX).exists() and self.index()["name"] != index["name"]:
            raise OutputError(
                f"{self.folder} holds the study {self.index()['name']!r}, not {index['name']!r}; give another folder."
            )
        write_text(self.folder / INDEX, json.dumps(index, indent=1) + "\n")

    def index(self) -> dict[str, Any]:
        """The study and its grid, as :meth:`create` noted them.

        Raises
        ------
        FileFormatError
            If there are none.
        """
        path = self.folder / INDEX
        found = _object(_text(path))
        if found is None or not {"name", "settings", "runs"} <= set(found):
            raise FileFormatError(f"{self.folder} is not the folder of a study: {path.name} is missing or damaged.")
        return found

    @contextmanager
    def claim(self, run: str) -> Iterator[bool]:
        """Hold a run for this process in a ``with`` block; False if another one has it.

        Raises
        ------
        OutputError
            If the folder cannot be written, or has no locks.
        """
        path = self.folder / "locks" / run
        try:
            number = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
        try:
            yield _lock(number, path)
        finally:
            os.close(number)

    def row(self, run: str) -> Row | None:
        """Row of a run, or None if it is not done; one that a crash has torn is not."""
        if self._merged is None:
            self._merged = self._read_merged()
        return self._own(run) or self._merged.get(run)

    def write(self, row: Row) -> None:
        """Write a row; it takes the place of an earlier one of the same run."""
        write_text(self.folder / "rows" / f"{row['run']}.json", json.dumps(row) + "\n")

    def rows(self) -> dict[str, Row]:
        """All whole rows by run, those of earlier settings of the study among them."""
        found = self._read_merged()
        for run in self._files():
            row = self._own(run)
            if row is not None:
                found[run] = row
        return found

    def merge(self) -> Path:
        """Put all rows into rows.jsonl, in the order of their ends.

        Every process does this when it ends. It looks again afterwards, so that whoever merges last has seen all rows.
        """
        path = self.folder / ROWS
        while True:
            files = self._files()
            rows = sorted(self.rows().values(), key=lambda row: (str(row.get("ended", "")), row["run"]))
            write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
            if self._files() == files:
                return path

    def planes(self, name: str) -> Path:
        """File of the slices of a run, or of the truth of a scan."""
        return self.folder / "planes" / f"{name}.npz"

    def save_planes(self, name: str, planes: dict[str, np.ndarray]) -> None:
        """Write slices."""
        with atomic_path(self.planes(name)) as temporary:
            np.savez_compressed(temporary, **planes)  # type: ignore[arg-type]

    def _own(self, run: str) -> Row | None:
        """Row of a run by the file of its own."""
        found = _row(_text(self.folder / "rows" / f"{run}.json"))
        return found if found is not None and found["run"] == run else None

    def _files(self) -> dict[str, int]:
        """Run of each row that has a file, and when it was written."""
        return {path.stem: path.stat().st_mtime_ns for path in (self.folder / "rows").glob("[!.]*.json")}

    def _read_merged(self) -> dict[str, Row]:
        rows = [row for row in map(_row, _text(self.folder / ROWS).splitlines()) if row is not None]
        return {row["run"]: row for row in rows}


def _lock(number: int, path: Path) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise OutputError(
            f"{path} cannot be locked: {error.strerror or error}; use a folder on a local disk."
        ) from error
    return True


def _text(path: Path) -> str:
    """Text of a file; none where there is no file."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _row(text: str) -> Row | None:
    """A row, unless the text is torn: it must be whole JSON with a result or an error."""
    found = _object(text)
    whole = found is not None and isinstance(found.get("run"), str) and ("metrics" in found or "error" in found)
    return cast(Row, found) if whole else None


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
