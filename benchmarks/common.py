"""What every benchmark shares: timing ours and a peer side by side, test scans, peers' files, result files.

Machines are shared and noisy: a claim is a ratio of two times measured alternately in one run, never a time alone.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mrrecon.acquisition import Acquisition
from mrrecon.operators.backend import num_threads
from mrrecon.reconstruction import versions

RESULTS = Path(__file__).parent / "results"
DATA = Path(os.environ.get("MRRECON_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def measure(functions: Mapping[str, Callable[[], Any]], repeat: int = 5) -> dict[str, float]:
    """Median seconds of each function, called in turn `repeat` times after one call to warm up."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(repeat):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(t)) for name, t in times.items()}


def run_process(command: list[str], cwd: Path | None = None) -> tuple[float, str]:
    """Run a command to its end; return its wall seconds, interpreter start and files included, and its output."""
    start = time.perf_counter()
    cached = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # as for users
    done = subprocess.run(command, cwd=cwd, env=cached, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr or done.stdout}")
    return seconds, done.stdout


def mrrecon_command(*words: Any) -> list[str]:
    """The mrrecon command line, in this interpreter."""
    return [sys.executable, "-m", "mrrecon", *map(str, words)]


def bart_version() -> str:
    """Version of the BART on the PATH."""
    return subprocess.run(["bart", "version"], capture_output=True, text=True, check=True).stdout.strip()


def write_cfl(base: Path, a: np.ndarray) -> None:
    """Write k-space or maps (coils, x, y, z), or a volume (x, y, z), for BART."""
    if a.ndim == 4:
        a = a.transpose(1, 2, 3, 0)
    dims = [*a.shape, *[1] * (16 - a.ndim)]
    base.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, dims)) + "\n")
    np.asfortranarray(a, dtype=np.complex64).ravel(order="K").tofile(base.with_suffix(".cfl"))


def read_cfl(base: Path) -> np.ndarray:
    """Read what BART wrote: a volume (x, y, z), or maps (coils, x, y, z)."""
    dims = [int(n) for n in base.with_suffix(".hdr").read_text().splitlines()[1].split()]
    a = np.fromfile(base.with_suffix(".cfl"), np.complex64).reshape(dims[:4], order="F")
    return a[..., 0] if dims[3] == 1 else a.transpose(3, 0, 1, 2)


def head(shape: tuple[int, int, int]) -> np.ndarray:
    """A real head of this matrix size: the validation T1 where the shared data are, else nilearn's template."""
    import nibabel
    from scipy.ndimage import zoom

    path = DATA / "validation" / "brain_t1_uih1.nii.gz"
    if not path.is_file():
        from mrrecon.io.template import find_template

        path = find_template()
    image = np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj, dtype=np.float32)
    out = np.zeros(shape, np.float32)
    scale = min(n / m for n, m in zip(shape, image.shape, strict=True))
    image = zoom(image, scale, order=1)[: shape[0], : shape[1], : shape[2]]
    start = [(n - m) // 2 for n, m in zip(shape, image.shape, strict=True)]
    out[tuple(slice(s, s + m) for s, m in zip(start, image.shape, strict=True))] = image
    return out


def accelerated_head(small: bool, folder: Path) -> Acquisition:
    """The scan that the solver benchmarks share, also written to `folder` as kspace.cfl and maps.cfl.

    128x160x160, 8 coils, R = 8, SNR 40, true maps; or 32x48x48, 4 coils, R = 4.
    """
    from mrrecon.operators import make_mask
    from mrrecon.simulation import simulate

    shape, coils, accel = ((32, 48, 48), 4, 4) if small else ((128, 160, 160), 8, 8)
    mask = make_mask("poisson", shape[1:], accel, calibration=min(24, shape[1] // 3))
    scan = simulate(head(shape), n_coils=coils, snr=40, mask=mask, keep_maps=True, seed=1)
    write_cfl(folder / "kspace", scan.kspace)
    write_cfl(folder / "maps", scan.maps)
    return scan


def save(name: str, result: Mapping[str, Any]) -> Path:
    """Write a result with the machine and the versions it was measured on, and print it."""
    record = {
        **result,
        "machine": {"processor": _processor(), "threads": num_threads(), "system": platform.platform()},
        "versions": versions(),
        "date": time.strftime("%Y-%m-%d"),
    }
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return path


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()
