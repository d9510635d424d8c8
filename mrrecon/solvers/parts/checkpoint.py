"""How far a long reconstruction is, in a file: so that a run that was stopped can be gone on with."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrrecon.errors import DataError, FileFormatError
from mrrecon.operators.backend import get_array_module, to_numpy

if TYPE_CHECKING:
    from mrrecon.acquisition import Acquisition
    from mrrecon.solvers.parts.loop import Iteration

__all__ = ["Checkpoint", "Fingerprint", "Saved", "digest", "fingerprint", "is_checkpoint"]

EVERY = 60.0  # seconds
FORMAT, VERSION = "mrrecon checkpoint", 3
ROUNDING = {"maps": 3e-3}  # relative; a calibration done again may put a voxel at the edge of the maps in or out
LEAST_ROUNDING = 1e-5  # of all else: FFTs and products of matrices differ in the last bits between machines

Fingerprint = Mapping[str, "str | np.ndarray"]
"""What a run is of, by name: text that must be the same, or numbers that must agree up to rounding."""


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds: the iterate, the number of iterations, the state of the method, and the history."""

    image: np.ndarray
    done: int
    state: Mapping[str, np.ndarray]
    history: Sequence[Mapping[str, float]]


class Checkpoint:
    """Writes and reads the state of a run.

    Parameters
    ----------
    path
        HDF5 file; written under a temporary name and renamed.
    fingerprint
        Says what the run is of, and is asked before anything is read or written: a checkpoint of another run is
        refused, and stays as it is.
    keep
        Leave the file of a finished run, for whoever removes it when the result is safe.
    """

    def __init__(
        self, path: str | os.PathLike[str], fingerprint: Callable[[], Fingerprint], keep: bool = False
    ) -> None:
        self.path, self.keep = Path(path), keep
        self.fingerprint = cache(fingerprint)
        self._pending: tuple[int, Any, Mapping[str, Any], Sequence[Mapping[str, float]]] | None = None
        self._written = time.monotonic()

    def load(self) -> Saved | None:
        """Return what is in the file; None if there is none.

        Raises
        ------
        FileFormatError
            If it is damaged, of another version of the format, or something else.
        DataError
            If it is of other data, of another prior or of other settings.
        """
        import h5py

        if not self.path.exists():
            return None
        try:
            with h5py.File(self.path, "r") as file:
                version = str(file.attrs.get("format", "")).removeprefix(FORMAT).strip()
                if version != str(VERSION):
                    raise OSError(f"it is of version {version or 'none'} of the format, this one is {VERSION}")
                record = json.loads(file.attrs["record"])
                arrays = {name: stored[()] for name, stored in file["state"].items()}
                found = {**record["fingerprint"], **{name: stored[()] for name, stored in file["of"].items()}}
                saved = Saved(file["image"][()], record["done"], arrays, record["history"])
        except (OSError, KeyError, ValueError) as error:
            raise FileFormatError(
                f"{self.path} is not a readable checkpoint ({error}); remove it to begin anew."
            ) from error
        other = [name for name, value in self.fingerprint().items() if not _same(name, value, found.get(name))]
        if other:
            raise DataError(
                f"The checkpoint {self.path} is of a run with another {' and another '.join(other)}; remove it to "
                "begin anew, or repeat the command that it comes from."
            )
        return saved

    def offer(self, done: int, step: Iteration, history: Sequence[Mapping[str, float]]) -> None:
        """Take note of an iteration that can be gone on from; it is written if the last writing was a minute ago."""
        state = step.state()
        if state is None:
            return
        self._pending = (done, step.image, state, history)
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

        from mrrecon.atomic import atomic_path

        assert self._pending is not None
        done, image, state, history = self._pending
        of = self.fingerprint()
        text = {name: value for name, value in of.items() if isinstance(value, str)}
        record = {"fingerprint": text, "done": done, "history": list(history[:done])}
        with atomic_path(self.path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs["format"] = f"{FORMAT} {VERSION}"
            file.attrs["record"] = json.dumps(record)
            file["image"] = to_numpy(image)
            numbers = {name: value for name, value in of.items() if name not in text}
            for group, arrays in (("state", state), ("of", numbers)):
                file.create_group(group)
                for name, values in arrays.items():
                    file[group][name] = to_numpy(values)
        self._written, self._pending = time.monotonic(), None


def is_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a checkpoint, and may be replaced by another one."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return str(file.attrs.get("format", "")).startswith(FORMAT)
    except OSError:
        return False


def fingerprint(scan: Acquisition, initial: Any = None) -> dict[str, str | np.ndarray]:
    """What tells a scan and a warm start from others, in one pass over the data.

    K-space, maps and `initial` come as sums over (y, z) with fixed random phases, one for each coil and x: what differs
    anywhere by more than rounding has others, and so have data that are conjugated, reversed, or of coils in another
    order. The scan is loaded, as the solver was given it, on the CPU or the GPU.
    """
    edges = [f"{value:.5g}" for value in (*scan.voxel_size, *scan.affine.ravel())]
    geometry = [scan.shape, scan.domains, scan.readout, edges]
    covariance = np.zeros(0) if scan.noise_covariance is None else scan.noise_covariance
    numbers = {"k-space": scan.kspace, "maps": scan.maps, "warm start": initial}
    return {
        "geometry": digest(geometry),
        "mask": digest([scan.mask.shape, np.packbits(scan.mask).tobytes().hex()]),
        "noise covariance": np.asarray(covariance, np.complex128),
        **{name: _projection(values) for name, values in numbers.items()},
    }


def _projection(array: Any) -> np.ndarray:
    """Sums over the last two axes with random phases; empty for None."""
    if array is None:
        return np.zeros(0, np.complex128)
    xp, (x, y, z) = get_array_module(array), array.shape[-3:]
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, y * z)
    weights = xp.asarray(np.exp(1j * phases).astype(np.complex64))
    volumes = array.reshape(-1, x, y, z)
    return np.stack([to_numpy(volume.reshape(x, y * z) @ weights) for volume in volumes]).astype(np.complex128)


def _same(name: str, value: str | np.ndarray, other: Any) -> bool:
    """Whether a part of two fingerprints agrees."""
    if isinstance(value, str) or not isinstance(other, np.ndarray):
        return isinstance(value, str) and value == other
    difference = np.inf if value.shape != other.shape else np.linalg.norm(value - other)
    return bool(difference <= ROUNDING.get(name, LEAST_ROUNDING) * np.linalg.norm(value))


def digest(values: Any) -> str:
    """A short text for anything that can be written as JSON."""
    import hashlib

    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]
