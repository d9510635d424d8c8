"""L1-wavelet to convergence against ``bart pics -S -l1`` at its best strength, on a scan of a real head.

Whole processes, from cfl files to a cfl file. BART is run for a grid of strengths; at the best one, for more
and more iterations until its PSNR is within 0.05 dB of its end: that is its time to convergence. mrrecon runs
with its defaults, which see no reference, and over a grid as well.

python benchmarks/l1_wavelet.py            # 128x160x160, 8 coils, R = 8; BART takes minutes
python benchmarks/l1_wavelet.py --small    # 32x48x48, 4 coils: for CI
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from common import accelerated_head, bart_version, mrrecon_command, read_cfl, run_process, save

BART_STRENGTHS = (0.00125, 0.0025, 0.005, 0.01)
OUR_STRENGTHS = (0.4, 0.55, 1.0)
GRID_ITERATIONS, MORE_ITERATIONS = 30, (50, 80)
CONVERGED_DB = 0.05


def psnr(volume: np.ndarray, reference: np.ndarray) -> float:
    """Magnitude PSNR in dB, peak of the reference volume."""
    error = np.mean((np.abs(volume) - np.abs(reference)) ** 2)
    return float(20 * np.log10(np.abs(reference).max() / np.sqrt(error)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a small scan, for CI (l1_wavelet_small.json)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = accelerated_head(options.small, folder)
        # BART without -w 1 scales the data by its own rule; strengths are relative to that
        words = ["recon", "kspace.cfl", "-o", "ours.cfl", "--maps", "maps.cfl", "--solver", "l1-wavelet"]

        def ours(*more: str) -> tuple[float, float]:
            seconds, _ = run_process(mrrecon_command(*words, *more), folder)
            return seconds, psnr(read_cfl(folder / "ours"), scan.reference)

        def bart(strength: float, iterations: int) -> tuple[float, float]:
            command = f"bart pics -S -l1 -r {strength} -i{iterations} kspace maps theirs"
            seconds, _ = run_process(command.split(), folder)
            return seconds, psnr(read_cfl(folder / "theirs"), scan.reference)

        ours()  # compiles and caches
        bart_grid = {s: bart(s, GRID_ITERATIONS) for s in BART_STRENGTHS}
        best = max(bart_grid, key=lambda s: bart_grid[s][1])
        runs, course = [ours()], {GRID_ITERATIONS: bart_grid[best]}
        for iterations in MORE_ITERATIONS:
            course[iterations] = bart(best, iterations)
            runs.append(ours())
        our_grid = {s: ours(f"--solver.lam={s}") for s in OUR_STRENGTHS}
    end = max(p for _, p in course.values())
    needed = min(i for i, (_, p) in course.items() if p > end - CONVERGED_DB)
    seconds = float(np.median([s for s, _ in runs]))
    quality = runs[0][1]
    save(
        "l1_wavelet_small" if options.small else "l1_wavelet",
        {
            "work": "L1-wavelet to convergence, whole process, files in and out",
            "shape": scan.shape,
            "coils": scan.n_coils,
            "acceleration": scan.acceleration,
            "seconds": {"mrrecon": round(seconds, 3), "bart": round(course[needed][0], 3)},
            "ratio": round(course[needed][0] / seconds, 2),
            "target_ratio": 4,
            "ratio_to_bart_with_30_iterations": round(course[GRID_ITERATIONS][0] / seconds, 2),
            "psnr": {
                "mrrecon, default strength": quality,
                "mrrecon, best strength": max([quality, *(p for _, p in our_grid.values())]),
                "bart, best strength and iterations": end,
            },
            "psnr_gain": quality - end,
            "target_psnr_gain": -0.05,
            "mrrecon_by_strength": {str(s): p for s, (_, p) in our_grid.items()},
            "bart_by_strength_30_iterations": {str(s): p for s, (_, p) in bart_grid.items()},
            "bart_best_strength": best,
            "bart_by_iterations": {str(i): {"seconds": round(s, 2), "psnr": p} for i, (s, p) in course.items()},
            "bart_iterations_to_convergence": needed,
            "bart": bart_version(),
        },
    )


if __name__ == "__main__":
    main()
