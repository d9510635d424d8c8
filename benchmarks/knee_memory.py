"""Peak memory of reconstruction at the size of the Stanford knees: 256x320x320, 8 coils.

Calibration and CG-SENSE run in one process, and calibration and variational reconstruction with the default prior in
another one (three iterations, one for each plane: the others need no more), from a file in mrrecon's HDF5 format; their
peak resident memory is what the kernel recorded.

python benchmarks/knee_memory.py            # needs about 12 GiB of memory and 3 GB of disk; ten minutes
python benchmarks/knee_memory.py --small    # 64x80x80: for CI
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import head, save

TARGETS_GIB = {"cg-sense": 12, "variational": 24}


def write_scan(path: Path, shape: tuple[int, int, int], coils: int) -> None:
    """Simulate and write the scan (in a process of its own, so that its memory does not count)."""
    import mrrecon
    from mrrecon.operators import make_mask

    mask = make_mask("poisson", shape[1:], 8, calibration=24)
    mrrecon.write(mrrecon.simulate(head(shape), n_coils=coils, snr=40, mask=mask, seed=1), path)


def reconstruct(path: Path, name: str) -> None:
    """Read, calibrate, reconstruct; print the figures as JSON."""
    import mrrecon
    from mrrecon.solvers import CGSense, Variational

    begin = time.perf_counter()
    scan = mrrecon.read(path)
    read = time.perf_counter()
    scan = scan.calibrate()
    calibrated = time.perf_counter()
    solver = {"cg-sense": CGSense(), "variational": Variational(max_iter=3)}[name]
    result = solver(scan)
    done = time.perf_counter()
    print(
        json.dumps(
            {
                "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
                "target_peak_gib": TARGETS_GIB[name],
                "seconds": {
                    "read": round(read - begin, 2),
                    "calibrate": round(calibrated - read, 2),
                    "reconstruct": round(done - calibrated, 2),
                },
                "iterations": len(result.history),
                "finite": bool(np.isfinite(result.volume).all()),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a small scan, for CI (knee_memory_small.json)")
    parser.add_argument("--step", choices=["write", *TARGETS_GIB], help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    shape, coils = ((64, 80, 80) if options.small else (256, 320, 320)), 8
    if options.step == "write":
        write_scan(options.file, shape, coils)
        return
    if options.step is not None:
        reconstruct(options.file, options.step)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "scan.h5")
        again = [sys.executable, __file__, *(["--small"] if options.small else []), "--file", str(file)]
        subprocess.run([*again, "--step", "write"], check=True)
        found = {}
        for name in TARGETS_GIB:
            done = subprocess.run([*again, "--step", name], check=True, stdout=subprocess.PIPE, text=True)
            found[name] = json.loads(done.stdout.splitlines()[-1])
        size = file.stat().st_size
    kspace = 8 * coils * int(np.prod(shape))
    save(
        "knee_memory_small" if options.small else "knee_memory",
        {
            "work": "read from HDF5, ESPIRiT calibration, reconstruction, in one process",
            "shape": shape,
            "coils": coils,
            "kspace_gib": kspace / 2**30,
            "file_gib": size / 2**30,
            **found,
        },
    )


if __name__ == "__main__":
    main()
