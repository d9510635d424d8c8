"""Poisson-disc masks against sigpy.mri.poisson: time, and the acceleration asked for against that delivered.

sigpy can search for ever, so each of its masks is made in a process of its own, timed inside, and stopped
after a while.

    python benchmarks/masks.py            # ten shapes and accelerations, two minutes
    python benchmarks/masks.py --small    # the first of them, for CI (masks_small.json)
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

from common import measure, save

from mrrecon.operators.masks import acceleration, poisson

PATIENCE = 20  # seconds that sigpy gets for one mask
CASES = [  # shape, R, calibration
    ((320, 256), 4, 24),
    ((320, 256), 8, 24),
    ((320, 256), 16, 24),
    ((320, 320), 48, 24),
    ((218, 170), 8, 24),
    ((218, 170), 36, 0),
    ((160, 160), 48, 0),
    ((80, 80), 24, 0),
    ((64, 80), 4, 16),
    ((320, 8), 4, 0),
]
SIGPY = """
import json, time, numpy as np, sigpy.mri
shape, accel, calibration = json.loads({arguments!r})
make = lambda size, r: sigpy.mri.poisson(size, r, calib=(calibration, calibration), seed=1234)
make((64, 64), 4)  # compile
start = time.perf_counter()
mask = make(shape, accel) != 0
print(json.dumps([time.perf_counter() - start, mask.size / mask.sum()]))
"""


def sigpy_poisson(shape: tuple[int, int], accel: float, calibration: int) -> dict[str, Any]:
    """Seconds and achieved R of sigpy's mask, or how it failed."""
    code = SIGPY.format(arguments=json.dumps([shape, accel, calibration]))
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE + 10, check=False
        )
    except subprocess.TimeoutExpired:
        return {"outcome": f"no mask within {PATIENCE} s"}
    if done.returncode != 0:
        return {"outcome": done.stderr.strip().splitlines()[-1]}
    seconds, achieved = json.loads(done.stdout)
    return {
        "outcome": "ok",
        "seconds": round(seconds, 4),
        "achieved": achieved,
        "error": achieved / accel - 1,
    }


def compare(shape: tuple[int, int], accel: float, calibration: int) -> dict[str, Any]:
    """Both masks of one request, with unsampled corners, which is sigpy's default."""
    settings: dict[str, Any] = {"calibration": calibration, "elliptical": True}
    seconds = measure({"ours": lambda: poisson(shape, accel, **settings)}, repeat=5)["ours"]
    achieved = acceleration(poisson(shape, accel, **settings))
    peer = sigpy_poisson(shape, accel, calibration)
    return {
        "shape": list(shape),
        "R": accel,
        "calibration": calibration,
        "ours": {"seconds": round(seconds, 4), "achieved": achieved, "error": achieved / accel - 1},
        "sigpy": peer,
        "ratio": round(peer["seconds"] / seconds, 1) if "seconds" in peer else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="one mask, for CI (masks_small.json)")
    small = parser.parse_args().small
    cases = [compare(*case) for case in (CASES[:1] if small else CASES)]
    save(
        "masks_small" if small else "masks",
        {
            "what": "Poisson-disc masks; peer: sigpy.mri.poisson, after its compilation",
            "cases": cases,
            "largest_error": max(abs(case["ours"]["error"]) for case in cases),
            "sigpy_failures": sum(case["sigpy"]["outcome"] != "ok" for case in cases),
        },
    )


if __name__ == "__main__":
    main()
