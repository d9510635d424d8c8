"""Noise estimated from the scan itself against the truth, and what a wrong estimate costs a reconstruction.

Simulated scans of heads, eight coils: the ratio of the estimated to the true noise level by the null space of the
calibration block, by the outermost samples, and by what is used of the two; then the PSNR of a variational
reconstruction with the estimated and with the known noise covariance. At 1 mm, 64 planes of the readout.

python benchmarks/noise.py                     # three heads, minutes
python benchmarks/noise.py --small             # one head, coarse: for CI (noise_small.json)
"""

from __future__ import annotations

import argparse
import warnings
from itertools import product
from typing import Any

import numpy as np
from common import DATA, head, save

from mrrecon import io, metrics, operators, resolution
from mrrecon.acquisition import Acquisition
from mrrecon.simulation import simulate
from mrrecon.solvers import Variational

HEADS = ("brain_t1_uih1", "brain_t1_ixi015_2mm", "brain_t2_ljmni26")  # the last without its skull
EDGES, SNRS, ACCELERATIONS = (4.0, 2.0, 1.0), (20.0, 40.0), (4, 8, 16, 24)
THICK = 64  # planes of the readout at 1 mm
SEED, COILS = 1, 8
GOALS = {"level_within": 0.05, "psnr_within": 0.15}


def scan_of(volume: np.ndarray, edge: float, accel: float, snr: float) -> Acquisition:
    """Undersampled scan that knows its noise."""
    mask = operators.make_mask("poisson", volume.shape[1:], accel)
    return simulate(volume, n_coils=COILS, voxel_size=(edge,) * 3, snr=snr, mask=mask, seed=SEED)


def at_edge(name: str, edge: float) -> np.ndarray | None:
    """The head on voxels of this edge (mm); None where it has none so fine."""
    volume, voxel_size, affine = io.read_volume(DATA / "validation" / f"{name}.nii.gz")
    if edge < 0.99 * voxel_size[0]:
        return None
    if edge > 1.01 * voxel_size[0]:
        volume, _, _ = resolution.change_resolution(volume, voxel_size, affine, (edge,) * 3)
    else:
        middle = volume.shape[0] // 2
        volume = volume[middle - THICK // 2 : middle + THICK // 2] if edge < 1.5 else volume
    return np.maximum(np.asarray(volume, np.float32), 0)


def levels(scan: Acquisition) -> dict[str, Any]:
    """Estimated over true noise level, by each estimate."""
    found = operators.estimate_noise(scan.kspace, scan.mask, scan.domains[0])
    ratios = {"null_space": found.null_space, "outermost": found.outermost, "used": found.level}
    return {name: value if value is None else round(value / scan.noise_std, 3) for name, value in ratios.items()}


def cost(scan: Acquisition, solver: Variational) -> dict[str, float]:
    """PSNR with the known and with the estimated noise covariance, maps from the whitened data."""
    unknown = scan.evolve("noise unknown", noise_covariance=None)
    psnr = {
        name: round(metrics.evaluate(solver(one.whiten().calibrate()), scan.reference)["psnr"], 3)
        for name, one in (("known", scan), ("estimated", unknown))
    }
    return {**psnr, "difference": round(psnr["estimated"] - psnr["known"], 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="one coarse head, for CI (noise_small.json)")
    small = parser.parse_args().small
    warnings.simplefilter("ignore")  # notes where the two estimates disagree: both are in the table
    rows, costs = [], []
    heads = ("template",) if small else HEADS
    for name, edge in product(heads, (4.0,) if small else EDGES):
        volume = head((40, 56, 60)) if small else at_edge(name, edge)
        if volume is None:
            continue
        for snr, accel in product((40.0,) if small or edge < 1.5 else SNRS, (8,) if small else ACCELERATIONS):
            scan = scan_of(volume, edge, accel, snr)
            what = {"head": name, "voxel_mm": edge, "snr": snr, "acceleration": accel}
            rows.append({**what, **levels(scan)})
            print(rows[-1], flush=True)
            if small or (snr == 40 and edge == 2 and accel == 16 and name == HEADS[0]):
                prior = "brain-small"
                costs.append({**what, "prior": prior, **cost(scan, Variational(prior=prior))})
                if not small:
                    costs.append({**what, "prior": "brain-diverse", **cost(scan, Variational(prior="brain-diverse"))})
                print(costs[-1], flush=True)
    save(
        "noise_small" if small else "noise",
        {
            "work": "noise level estimated from the scan itself over the true one",
            "coils": COILS,
            "seed": SEED,
            "goals": GOALS,
            "largest_error": round(max(abs(row["used"] - 1) for row in rows), 3),
            "within_goal": f"{sum(abs(row['used'] - 1) <= GOALS['level_within'] for row in rows)} of {len(rows)}",
            "largest_psnr_difference": max(abs(row["difference"]) for row in costs),
            "levels": rows,
            "variational": costs,
        },
    )


if __name__ == "__main__":
    main()
