"""Variational reconstruction against ``bart pics -S -l1`` at its best strength: quality, time, network evaluations.

One scan of a real head, 96x112x96, 8 coils, R = 8, SNR 40; maps are estimated by ESPIRiT from the undersampled data and
given to both. Ours runs with its defaults, which see no reference, for several numbers of iterations; one slice through
the network is one evaluation. --published adds the published method, 200 iterations of 150 slices (minutes).

python benchmarks/variational.py                     # brain-small, the prior for CPUs
python benchmarks/variational.py --prior brain-diverse --published
python benchmarks/variational.py --small             # 32x48x48, 4 coils, R = 4: for CI
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from common import bart_version, head, read_cfl, run_process, save, write_cfl

from mrrecon import metrics, priors
from mrrecon.grid import Grid
from mrrecon.operators import make_mask
from mrrecon.reconstruction import Reconstruction
from mrrecon.simulation import simulate
from mrrecon.solvers import L1Wavelet, Published, Variational

BART_STRENGTHS = (0.001, 0.002, 0.005, 0.01)
ITERATIONS = (6, 10, 16, 20, 40, 60)  # among them those of every effort
GOALS = {"seconds": 60, "psnr_gain_over_bart": 1.5, "share_of_the_published_evaluations": 0.1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prior", default="brain-small")
    parser.add_argument("--published", action="store_true", help="also the published method")
    parser.add_argument("--small", action="store_true", help="a small scan, for CI (variational_small.json)")
    options = parser.parse_args()
    shape, coils, accel = ((32, 48, 48), 4, 4) if options.small else ((96, 112, 96), 8, 8)
    mask = make_mask("poisson", shape[1:], accel)
    scan = simulate(head(shape), Grid(shape, (2.0, 2.0, 2.0)), n_coils=coils, snr=40, mask=mask, seed=1).calibrate()
    prior = priors.load(options.prior)

    def entry(volume: Any, seconds: float, **more: Any) -> dict[str, Any]:
        found = metrics.evaluate(volume, scan.reference)
        return {"psnr": round(found["psnr"], 2), "ssim": round(found["ssim"], 4), "seconds": round(seconds, 1), **more}

    def ours(result: Reconstruction) -> dict[str, Any]:
        more = {"chi_squared": round(result.metrics["chi_squared"], 3)}
        if "evaluations" in result.history[-1]:
            more["evaluations"] = result.history[-1]["evaluations"]
        return entry(result.volume, result.seconds, **more)

    runs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cfl(folder / "kspace", scan.kspace)
        write_cfl(folder / "maps", scan.maps)
        for strength in BART_STRENGTHS:
            command = f"bart pics -S -l1 -r {strength} -i30 kspace maps theirs"
            seconds, _ = run_process(command.split(), folder)
            runs[f"bart l1-wavelet, strength {strength}"] = entry(read_cfl(folder / "theirs"), seconds)
    best_bart = max(run["psnr"] for run in runs.values())
    Variational(prior=prior, max_iter=1)(scan)  # compiles and caches
    runs["l1-wavelet"] = ours(L1Wavelet()(scan))
    for number in ITERATIONS:
        runs[f"variational, {number} iterations"] = ours(Variational(prior=prior, max_iter=number)(scan))
    if options.published:
        runs["published"] = ours(Published(prior=prior)(scan))
    iterations = Variational().total
    default = runs[f"variational, {iterations} iterations"]
    save(
        f"variational{'_small' if options.small else ''}",
        {
            "work": "variational reconstruction with a 2D prior",
            "shape": scan.shape,
            "coils": scan.n_coils,
            "acceleration": scan.acceleration,
            "prior": prior.name,
            "iterations": iterations,
            "seconds": default["seconds"],
            "psnr_gain_over_bart": round(default["psnr"] - best_bart, 2),
            "goals": GOALS,
            "runs": runs,
            "policy": metrics.evaluate(scan.reference, scan.reference)["policy"],
            "bart": bart_version(),
        },
    )


if __name__ == "__main__":
    main()
