"""Methods of other packages as solvers, so that a study runs them on the same data: BART's L1-wavelet."""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mrrecon.errors import DataError, MissingDependencyError, MRReconError
from mrrecon.solvers.base import Callback, Solver, Status

if TYPE_CHECKING:
    from mrrecon.acquisition import Acquisition
    from mrrecon.reconstruction import Reconstruction

__all__ = ["PEERS", "BartL1Wavelet", "bart_version", "find_solver"]


@dataclass(frozen=True)
class BartL1Wavelet(Solver):
    """Compressed sensing with wavelets by BART: ``bart pics -S -l1 -r STRENGTH -i ITERATIONS kspace maps out``.

    Parameters
    ----------
    strength
        Of the regularisation, for data that BART scales by its own rule. BART has no default; this one is usual.
    iterations
        Most iterations to do; BART's own default is 30.

    Raises
    ------
    ValueError
        If the strength is negative or there are no iterations.
    """

    strength: float = 0.005
    iterations: int = 50

    name: ClassVar[str] = "bart-l1-wavelet"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and self.strength >= 0):
            raise ValueError(f"strength must be a number from 0, got {self.strength}.")
        if self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {self.iterations}.")

    def __call__(self, acquisition: Acquisition, callback: Callback | None = None) -> Reconstruction:
        """Reconstruct with the maps and the mask of `acquisition`; the seconds are those of BART's process.

        Raises
        ------
        DataError
            If the scan has no maps, or an odd matrix size, on which pics of BART 0.8 loses some 10 dB (mended later by
            https://github.com/mrirecon/bart/pull/328).
        MissingDependencyError
            If there is no ``bart`` on the PATH.
        MRReconError
            If BART fails; with what it says.
        """
        from mrrecon.io.plain_files import read_cfl, write_cfl
        from mrrecon.operators import fft
        from mrrecon.operators.backend import to_numpy
        from mrrecon.reconstruction import Reconstruction
        from mrrecon.solvers.parts.problem import whitened

        if acquisition.maps is None:
            raise DataError(f"{self.name} needs coil sensitivity maps; estimate them first with scan.calibrate().")
        if any(n % 2 for n in acquisition.shape):
            size = "x".join(map(str, acquisition.shape))
            raise DataError(
                f"{self.name} needs even matrix sizes, got {size}: BART 0.8 goes wrong on odd ones; crop the k-space, "
                "or leave this method out."
            )
        version = bart_version()
        scan = whitened(acquisition)
        kspace = to_numpy(scan.kspace)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_cfl(kspace if scan.domains[0] == "kspace" else fft(kspace, axes=(1,)), folder / "kspace")
            write_cfl(to_numpy(scan.maps), folder / "maps")
            seconds = self._run(folder)
            volume = read_cfl(folder / "out")
        volume = volume.reshape(-1, *scan.shape)[0]  # the first set of maps
        if callback is not None:
            callback(Status(1, 1, 0.0, seconds, lambda: volume))
        settings = {**asdict(self), "bart": version}
        return Reconstruction.from_solver(acquisition, volume, self.name, settings, seconds=seconds)

    def _run(self, folder: Path) -> float:
        """Run BART on the files in `folder`; return its wall seconds."""
        words = f"bart pics -S -l1 -r {self.strength:g} -i {self.iterations} kspace maps out"
        began = time.perf_counter()
        done = subprocess.run(words.split(), cwd=folder, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - began
        if done.returncode != 0:
            said = " ".join((done.stderr or done.stdout).split())[:300] or f"exit code {done.returncode}"
            raise MRReconError(f"{words} failed: {said}.")
        return seconds


def bart_version() -> str:
    """Version of the BART on the PATH.

    Raises
    ------
    MissingDependencyError
        If there is none.
    """
    if shutil.which("bart") is None:
        raise MissingDependencyError(
            "bart-l1-wavelet needs the BART command-line tools: install them (apt-get install bart), or leave it out."
        )
    return subprocess.run(["bart", "version"], capture_output=True, text=True, check=True).stdout.strip()


PEERS: dict[str, type[Any]] = {BartL1Wavelet.name: BartL1Wavelet}


def find_solver(name: str) -> type[Any]:
    """Return the class of one of our solvers, or of a peer.

    Raises
    ------
    DataError
        If there is none of this name; the message lists those there are.
    """
    from mrrecon import solvers

    names = [*solvers.names(), *PEERS]
    if name not in names:
        raise DataError(f"There is no solver {name!r}; choose one of {', '.join(names)}.")
    return PEERS.get(name) or solvers.get(name)
