"""CG-SENSE against ``bart pics -l2 -i15``: whole processes, from cfl files to a cfl file, on a real head.

python benchmarks/cg_sense.py            # 128x160x160, 8 coils, R = 8; BART takes a quarter of a minute
python benchmarks/cg_sense.py --small    # 32x48x48, 4 coils: for CI, seconds
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from common import accelerated_head, bart_version, mrrecon_command, read_cfl, run_process, save

LAM, ITERATIONS = 0.01, 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a small scan, for CI (cg_sense_small.json)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each, in turn; the medians count")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = accelerated_head(options.small, folder)
        settings = ("lam", LAM), ("max_iter", ITERATIONS), ("tolerance", 0), ("true_intensity", "false")
        words = ["recon", "kspace.cfl", "-o", "ours.cfl", "--maps", "maps.cfl", "--solver", "cg-sense"]
        ours = mrrecon_command(*words, *(f"--solver.{key}={value}" for key, value in settings))
        theirs = ["bart", "pics", "-S", "-l2", "-r", str(LAM), f"-i{ITERATIONS}", "kspace", "maps", "theirs"]
        run_process(ours, folder)  # compiles and caches
        times = np.array(
            [(run_process(ours, folder)[0], run_process(theirs, folder)[0]) for _ in range(options.repeat)]
        )
        a, b = read_cfl(folder / "ours"), read_cfl(folder / "theirs")
    seconds = np.median(times, axis=0)
    save(
        "cg_sense_small" if options.small else "cg_sense",
        {
            "work": f"CG-SENSE, {ITERATIONS} iterations, lam {LAM}, whole process, files in and out",
            "shape": scan.shape,
            "coils": scan.n_coils,
            "acceleration": scan.acceleration,
            "seconds": {"mrrecon": round(float(seconds[0]), 3), "bart": round(float(seconds[1]), 3)},
            "ratio": round(float(seconds[1] / seconds[0]), 2),
            "target_ratio": 4,
            "nrmse_to_bart": float(np.linalg.norm(a - b) / np.linalg.norm(b)),
            "target_nrmse": 1e-3,
            "bart": bart_version(),
        },
    )


if __name__ == "__main__":
    main()
