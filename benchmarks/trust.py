"""Do posterior samples and error maps tell how wrong an image is?

Heads that neither the priors nor any constant saw (a whole head; T1, T2 and FLAIR of a patient without skull), eight
coils, SNR 40, maps from the data, R = 4, 8, 16. `ensemble` gives the variational image, four posterior samples around
it with their deviation, and the error map that every result with a prior has. Compared with the true error of the
magnitude, over the object: root mean squares; the same in ten parts of equal size by what the map says; and the shares
of the voxels whose truth lies within 1 and 1.96 deviations. Further rows have the error map alone, of other priors,
voxels, noise and accelerations than those it was fitted at.

python benchmarks/trust.py                  # about ten minutes on two cores
python benchmarks/trust.py --calibrate      # fit the two constants of the error map on training volumes: ten minutes
python benchmarks/trust.py --small          # one coarse head, for CI (trust_small.json)
"""

from __future__ import annotations

import argparse
import math
import warnings
from itertools import product
from typing import Any

import numpy as np
from common import DATA, head, save

from mrrecon import io, metrics, operators, priors, resolution
from mrrecon.acquisition import Acquisition
from mrrecon.grid import Grid
from mrrecon.simulation import simulate
from mrrecon.solvers import Ensemble, Variational
from mrrecon.solvers.parts.error_map import trial
from mrrecon.solvers.parts.plane_priors import PlanePriors
from mrrecon.solvers.parts.problem import Problem

HEADS = ("brain_t1_uih1", "brain_t1_ljmni26", "brain_t2_ljmni26", "brain_flair_ljmni26")
ACCELERATIONS, EDGE, SNR, PRIOR, SAMPLES = (4, 8, 16), 4.0, 40.0, "brain-small", 4
ELSEWHERE = (  # head, R, voxel edge (mm), SNR, prior
    ("brain_t1_uih1", 8, 4.0, 20.0, PRIOR), ("brain_t2_ljmni26", 8, 4.0, 20.0, PRIOR),
    ("brain_t2_ljmni26", 24, 4.0, 40.0, PRIOR), ("brain_t2_ljmni26", 8, 4.0, 40.0, "brain-diverse"),
    ("brain_t1_ixi015_2mm", 8, 3.0, 40.0, PRIOR),
)  # fmt: skip
TRAINING = (
    "t1_adi", "t1_prisma_cr", "t1_ixi012_2mm", "t1_mne_ecog", "t1_mne_seeg_stripped", "t2_cstar_stroke",
    "t2_stroke_M2208", "flair_cstar_stroke", "flair_ljmni07",
)  # fmt: skip
LARGE = ("t1_ixi012_2mm", "t1_mne_ecog", "flair_ljmni07")  # enough of k-space for maps at R = 24
COILS, SEED, PARTS = 8, 1, 10
GOALS = {"ratio": [0.9, 1.1], "by_parts": [0.7, 1.4], "psnr_below_variational": 0.3}


def scan_of(name: str, accel: float, edge: float = EDGE, snr: float = SNR) -> Acquisition:
    """Undersampled scan of a head, with maps from these data; of a file's name in the data folder."""
    volume, grid = io.read_volume(DATA / f"{name}.nii.gz")
    volume, _ = resolution.change_resolution(volume, grid, (edge,) * 3)
    return simulated(np.maximum(np.asarray(volume, np.float32), 0), accel, edge, snr)


def simulated(volume: np.ndarray, accel: float, edge: float = EDGE, snr: float = SNR) -> Acquisition:
    """Undersampled scan with maps from its data."""
    mask = operators.make_mask("poisson", volume.shape[1:], accel)
    grid = Grid(volume.shape, (edge,) * 3)
    return simulate(volume, grid, n_coils=COILS, snr=snr, mask=mask, seed=SEED).whiten().calibrate()


def compared(expected: np.ndarray, image: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    """A map of deviations against the true error of the magnitude, over the object."""
    region = metrics.object_region(np.abs(reference))
    true, map_ = np.abs(np.abs(image) - np.abs(reference))[region], expected[region]
    parts = [_rms(map_[part]) / _rms(true[part]) for part in np.array_split(np.argsort(map_), PARTS)]
    return {
        "ratio": round(_rms(map_) / _rms(true), 3),
        "by_parts": [round(float(ratio), 2) for ratio in parts],
        "covered": [round(float(np.mean(true <= width * map_)), 3) for width in (1.0, 1.96)],
    }


def _rms(values: np.ndarray) -> float:
    return math.sqrt(float(np.mean(values**2, dtype=np.float64)))


def trusted(scan: Acquisition, prior: Any) -> dict[str, Any]:
    """Samples and error map of one scan."""
    result = Ensemble(prior=prior, samples=SAMPLES)(scan)
    plain = Variational(prior=prior)(scan)
    mean = np.mean([result.extras[f"sample-{k}"] for k in range(1, SAMPLES + 1)], axis=0)
    truth = scan.reference
    of_mean, of_plain = (metrics.evaluate(volume, truth)["psnr"] for volume in (mean, plain.volume))
    one = metrics.evaluate(result.extras["sample-1"], truth)["psnr"]
    return {
        "psnr": {"variational": round(of_plain, 2), "mean of samples": round(of_mean, 2), "a sample": round(one, 2)},
        "chi_squared": round(result.metrics["chi_squared"], 2),
        "seconds": {"variational": round(plain.seconds, 1), "ensemble": round(result.seconds, 1)},
        "deviation": compared(result.extras["deviation"], mean, truth),
        "error": compared(result.extras["error"], result.volume, truth),
    }


def calibrate() -> None:
    """Print factor and power with which the Gaussian likelihood of the errors of training volumes is greatest."""
    from scipy.optimize import minimize

    logs, squares = [], []
    for accel, name in [*product(ACCELERATIONS, TRAINING), *product([24], LARGE)]:
        scan = scan_of(f"train/brain_{name}", accel)
        result, problem = Variational(prior=PRIOR)(scan), Problem.of(scan, "calibration")
        image = result.volume[None] / np.float32(problem.scale)
        found, level = trial(problem, PlanePriors(PRIOR, problem.grid), image)
        region = metrics.object_region(np.abs(scan.reference)) & (found > 0)
        true = (np.abs(result.volume) - np.abs(scan.reference))[region] / problem.scale
        print(
            f"R = {accel} {name}: error {_rms(true):.4f}, spread {_rms(found[region]):.4f} of {level:.3f}", flush=True
        )
        logs.append((np.log(found[region]).astype(np.float64), math.log(level)))
        squares.append(true.astype(np.float64) ** 2)

    def unlikely(constants: np.ndarray) -> float:  # every scan counts alike
        logarithms = [constants[0] + one + constants[1] * (one - level) for one, level in logs]
        return float(np.mean([np.mean(a + b * np.exp(-2 * a) / 2) for a, b in zip(logarithms, squares, strict=True)]))

    factor, power = minimize(unlikely, [0.0, 0.0], method="Nelder-Mead").x
    print(f"FACTOR, POWER = {math.exp(factor):.3f}, {power:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibrate", action="store_true", help="fit the constants of the error map and print them")
    parser.add_argument("--small", action="store_true", help="one coarse head, for CI (trust_small.json)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # notes on maps and on what the data determine
    if options.calibrate:
        calibrate()
        return
    rows, elsewhere, prior = [], [], priors.load(PRIOR)
    for name, accel in [("template", 4)] if options.small else product(HEADS, ACCELERATIONS):
        scan = simulated(head((40, 56, 60)), accel) if options.small else scan_of(f"validation/{name}", accel)
        rows.append({"head": name, "acceleration": accel, **trusted(scan, prior)})
        print(rows[-1], flush=True)
    for name, accel, edge, snr, other in () if options.small else ELSEWHERE:
        scan = scan_of(f"validation/{name}", accel, edge, snr)
        result = Variational(prior=other)(scan)
        what = {"head": name, "acceleration": accel, "voxel_mm": edge, "snr": snr, "prior": other}
        elsewhere.append({**what, "error": compared(result.extras["error"], result.volume, scan.reference)})
        print(elsewhere[-1], flush=True)
    found = {name: [row[name] for row in rows] for name in ("deviation", "error")}
    below = [row["psnr"]["variational"] - row["psnr"]["mean of samples"] for row in rows]
    save(
        "trust_small" if options.small else "trust",
        {
            "work": "posterior samples and error maps against true errors",
            "voxel_mm": EDGE,
            "coils": COILS,
            "snr": SNR,
            "samples": SAMPLES,
            "prior": PRIOR,
            "seed": SEED,
            "goals": GOALS,
            "psnr_below_variational": round(max(below), 2),
            **{
                f"{name}_ratio": [min(r["ratio"] for r in all_), max(r["ratio"] for r in all_)]
                for name, all_ in found.items()
            },
            **{
                f"{name}_by_parts": [min(min(r["by_parts"]) for r in all_), max(max(r["by_parts"]) for r in all_)]
                for name, all_ in found.items()
            },
            **{
                f"{name}_covered": [round(float(np.mean([r["covered"][k] for r in all_])), 3) for k in (0, 1)]
                for name, all_ in found.items()
            },
            "rows": rows,
            "error_map_elsewhere": elsewhere,
        },
    )


if __name__ == "__main__":
    main()
