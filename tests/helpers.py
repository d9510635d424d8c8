"""What many tests share: running BART on our arrays, and the data folder."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]


def find_data_dir() -> Path | None:
    """Folder with the shared volumes and k-space: $MRRECON_DATA, else ../shared/data beside the checkout."""
    for candidate in (os.environ.get("MRRECON_DATA"), REPOSITORY.parent / "shared" / "data"):
        if candidate and Path(candidate, "MANIFEST.md").is_file():
            return Path(candidate)
    return None


def to_bart(a: np.ndarray) -> np.ndarray:
    """Our axes to BART's: (sets, coils, x, y, z) or (coils, x, y, z) -> (x, y, z, coils[, sets]); others unchanged."""
    if a.ndim == 5:
        return a.transpose(2, 3, 4, 1, 0)
    if a.ndim == 4:
        return a.transpose(1, 2, 3, 0)
    if a.ndim == 2:  # a (y, z) mask
        return a[None]
    return a


def from_bart(a: np.ndarray) -> np.ndarray:
    """BART's axes (x, y, z, coils[, sets]) to ours; the sets axis is dropped when there is one set."""
    if a.ndim >= 5:
        a = a.reshape(a.shape[:5]).transpose(4, 3, 0, 1, 2)
        return a[0] if a.shape[0] == 1 else a
    return a.transpose(3, 0, 1, 2) if a.ndim == 4 else a


def write_cfl(base: Path, a: np.ndarray) -> None:
    """Write `a` (BART axis order) as base.cfl and base.hdr, without using the code under test."""
    dims = list(a.shape) + [1] * (16 - a.ndim)
    base.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, dims)) + "\n")
    a.astype(np.complex64).ravel(order="F").tofile(base.with_suffix(".cfl"))


def read_cfl(base: Path) -> np.ndarray:
    """Read base.cfl in BART axis order, trailing singleton axes dropped."""
    dims = [int(n) for n in base.with_suffix(".hdr").read_text().splitlines()[1].split()]
    while len(dims) > 1 and dims[-1] == 1:
        dims.pop()
    return np.fromfile(base.with_suffix(".cfl"), np.complex64).reshape(dims, order="F")


def run_bart(command: str, *arrays: np.ndarray, ours: bool = True) -> np.ndarray:
    """Run ``bart COMMAND in1 in2 ... out`` on arrays in our axis order (`ours`) and return the output likewise."""
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for i, a in enumerate(arrays):
            write_cfl(Path(folder, f"in{i}"), to_bart(a) if ours else a)
            names.append(f"in{i}")
        done = subprocess.run(
            ["bart", *shlex.split(command), *names, "out"], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"bart {command} failed: {done.stderr or done.stdout}")
        out = read_cfl(Path(folder, "out"))
        return from_bart(out) if ours else out
