"""The log of a training: one JSON object a line, and on request the same for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mrrecon.atomic import write_text
from mrrecon.errors import MissingDependencyError, OutputError

__all__ = ["TrainingLog"]


class TrainingLog:
    """Entries of a training, ``log.jsonl`` in its folder.

    Parameters
    ----------
    folder
        Of the training; made when the first entry comes.
    tensorboard
        Whether to write event files into ``tensorboard/`` too.
    silent
        Keep nothing: for all processes of a training but the first.

    Raises
    ------
    MissingDependencyError
        If TensorBoard is wanted and not installed.
    """

    def __init__(self, folder: Path, tensorboard: bool = False, silent: bool = False) -> None:
        self.path = folder / "log.jsonl"
        self.silent = silent
        self._board: Any = _board(folder / "tensorboard") if tensorboard and not silent else None

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append an entry; it has a ``step``.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        if self.silent:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror or error}.") from error
        if self._board is not None:
            numbers = {k: v for k, v in entry.items() if isinstance(v, (int, float)) and k != "step"}
            numbers.update({f"validation/{k}": v for k, v in entry.get("validation", {}).items()})
            for name, value in numbers.items():
                self._board.add_scalar(name, value, entry["step"])
            self._board.flush()

    def entries(self) -> list[dict[str, Any]]:
        """Return what was logged; a line that a crash cut short is left out."""
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text("utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and isinstance(entry.get("step"), int):
                found.append(entry)
        return found

    def forget_after(self, step: int) -> None:
        """Drop the entries of steps that will be done again."""
        if self.silent or not self.path.exists():
            return
        kept = [entry for entry in self.entries() if entry["step"] <= step]
        write_text(self.path, "".join(json.dumps(entry) + "\n" for entry in kept))


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingDependencyError(
            "The setting tensorboard needs the package tensorboard: pip install tensorboard, or leave it out; "
            "log.jsonl has the same numbers."
        ) from error
    return SummaryWriter(str(folder))
