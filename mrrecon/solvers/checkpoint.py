"""How far a long reconstruction is, in a file: so that a run that was stopped can be gone on with."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrrecon.errors import DataError, FileFormatError
from mrrecon.operators.backend import to_numpy

if TYPE_CHECKING:
    from mrrecon.solvers.iterative import Iteration

__all__ = ["Checkpoint", "Saved"]

EVERY = 60.0  # seconds
FORMAT = "mrrecon checkpoint 1"


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds: the iterate, the number of iterations, what the method carries, and the history."""

    image: np.ndarray
    done: int
    carried: Mapping[str, np.ndarray]
    history: Sequence[Mapping[str, float]]


class Checkpoint:
    """Writes and reads the state of a run.

    Parameters
    ----------
    path
        HDF5 file; written under a temporary name and renamed.
    fingerprint
        What the run is of, by name: a checkpoint of another one is refused.
    keep
        Leave the file of a finished run, for whoever removes it when the result is safe.
    """

    def __init__(self, path: str | os.PathLike[str], fingerprint: Mapping[str, str], keep: bool = False) -> None:
        self.path, self.fingerprint, self.keep = Path(path), dict(fingerprint), keep
        self._pending: tuple[int, Any, Mapping[str, Any], Sequence[Mapping[str, float]]] | None = None
        self._written = time.monotonic()

    def load(self) -> Saved | None:
        """Return what is in the file; None if there is none.

        Raises
        ------
        FileFormatError
            If it is damaged, or something else.
        DataError
            If it is of another scan or of other settings.
        """
        import h5py

        if not self.path.exists():
            return None
        try:
            with h5py.File(self.path, "r") as file:
                if file.attrs.get("format") != FORMAT:
                    raise OSError("it has another format")
                record = json.loads(file.attrs["record"])
                arrays = {name: stored[()] for name, stored in file["carried"].items()}
                saved = Saved(file["image"][()], record["done"], arrays, record["history"])
        except (OSError, KeyError, ValueError) as error:
            raise FileFormatError(
                f"{self.path} is not a readable checkpoint ({error}); remove it to begin anew."
            ) from error
        other = [name for name, value in self.fingerprint.items() if record["fingerprint"].get(name) != value]
        if other:
            raise DataError(
                f"The checkpoint {self.path} is of a run with another {' and another '.join(other)}; remove it to "
                "begin anew, or repeat the command that it comes from."
            )
        return saved

    def offer(self, done: int, step: Iteration, history: Sequence[Mapping[str, float]]) -> None:
        """Take note of an iteration that can be gone on from; it is written if the last writing was a minute ago."""
        carried = step.carry()
        if carried is None:
            return
        self._pending = (done, step.image, carried, history)
        if time.monotonic() - self._written >= EVERY:
            self._write()

    def close(self, finished: bool) -> None:
        """Remove the file of a run that is finished, unless it is kept, else write where it stopped."""
        if finished and not self.keep:
            self.path.unlink(missing_ok=True)
        elif not finished and self._pending is not None:
            self._write()

    def _write(self) -> None:
        import h5py

        from mrrecon.io.atomic import atomic_path

        assert self._pending is not None
        done, image, carried, history = self._pending
        record = {"fingerprint": self.fingerprint, "done": done, "history": list(history[:done])}
        with atomic_path(self.path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs["format"] = FORMAT
            file.attrs["record"] = json.dumps(record)
            file["image"] = to_numpy(image)
            group = file.create_group("carried")
            for name, values in carried.items():
                group[name] = to_numpy(values)
        self._written, self._pending = time.monotonic(), None


def digest(values: Any) -> str:
    """A short text for anything that can be written as JSON."""
    import hashlib

    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]
