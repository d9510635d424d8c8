"""Noise estimated from the scan itself against the truth, and what a wrong estimate costs a reconstruction.

Simulated scans of heads, eight coils: the ratio of the estimated to the true noise level by the null space of the
calibration block, by the outermost samples, and by what is used of the two; the PSNR of variational reconstructions
with the estimated and with the known noise covariance; and the seconds that an estimate takes. At 1 mm, 64 planes of
the readout.

python benchmarks/noise.py                     # three heads, about ten minutes
python benchmarks/noise.py --small             # one head, coarse: for CI (noise_small.json)
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from common import DATA, head, measure, save

from mrrecon import io, metrics, operators, resolution
from mrrecon.acquisition import Acquisition
from mrrecon.grid import Grid
from mrrecon.simulation import simulate
from mrrecon.solvers import Variational

HEADS = ("brain_t1_uih1", "brain_t1_ixi015_2mm", "brain_t2_ljmni26")  # the last without its skull
EDGES = {HEADS[0]: (4.0, 3.0, 2.0, 1.0), HEADS[1]: (4.0, 2.0), HEADS[2]: (4.0, 2.0)}
SNRS, ACCELERATIONS, FINE = (20.0, 40.0), (4, 8, 16, 24), (4, 16)  # the last at 1 mm, SNR 40
COST, PRIORS = (HEADS[0], 2.0, 40.0, 16), ("brain-small", "brain-diverse")  # scan that is reconstructed
TIMED = (128, 128, 128)
THICK = 64  # planes of the readout at 1 mm
SEED, COILS = 1, 8
GOALS = {"level_within": 0.05, "psnr_within": 0.15}


def scan_of(volume: np.ndarray, edge: float, accel: float, snr: float) -> Acquisition:
    """Undersampled scan that knows its noise."""
    mask = operators.make_mask("poisson", volume.shape[1:], accel)
    return simulate(volume, Grid(volume.shape, (edge,) * 3), n_coils=COILS, snr=snr, mask=mask, seed=SEED)


def at_edge(name: str, edge: float) -> np.ndarray:
    """The head on voxels of this edge (mm)."""
    volume, grid = io.read_volume(DATA / "validation" / f"{name}.nii.gz")
    if edge > 1.01 * grid.voxel_size[0]:
        volume, _ = resolution.change_resolution(volume, grid, (edge,) * 3)
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


def scans(small: bool) -> Iterator[tuple[dict[str, Any], Acquisition]]:
    """All scans, and what each is of."""
    for name, edge in [("template", 4.0)] if small else [(n, e) for n, edges in EDGES.items() for e in edges]:
        volume = head((40, 56, 60)) if small else at_edge(name, edge)
        fine = edge < 1.5
        for snr, accel in product(
            (40.0,) if small or fine else SNRS, (8,) if small else FINE if fine else ACCELERATIONS
        ):
            what = {"head": name, "voxel_mm": edge, "snr": snr, "acceleration": accel}
            yield what, scan_of(volume, edge, accel, snr)


def seconds(shape: tuple[int, int, int]) -> float:
    """Median seconds of one estimate."""
    scan = scan_of(head(shape), 2.0, 8, 40.0)
    return measure({"ours": lambda: operators.estimate_noise(scan.kspace, scan.mask, scan.domains[0])}, repeat=3)[
        "ours"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="one coarse head, for CI (noise_small.json)")
    small = parser.parse_args().small
    warnings.simplefilter("ignore")  # notes where the two estimates disagree: both are in the table
    rows, costs = [], []
    for what, scan in scans(small):
        rows.append({**what, **levels(scan)})
        print(rows[-1], flush=True)
        for prior in PRIORS[:1] if small else PRIORS if tuple(what.values()) == COST else ():
            costs.append({**what, "prior": prior, **cost(scan, Variational(prior=prior))})
            print(costs[-1], flush=True)
    shape = (40, 56, 60) if small else TIMED
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
            "estimate": {"shape": [COILS, *shape], "seconds": round(seconds(shape), 2)},
            "levels": rows,
            "variational": costs,
        },
    )


if __name__ == "__main__":
    main()
