"""Mean intensities against the truth: balls in air, and the decay over five echoes, for every method, R and SNR.

Each cell is the bias of the mean intensity inside a uniform ball (per cent) with the standard error over the seeds,
with true maps and known noise, and, for the peer, of BART's L1-wavelet at the strength that is nearest to the truth.
Goal: 1 % or less at SNR 10 and more, R = 1 to 4, whatever the share of the ball in the field of view.

python benchmarks/intensity.py             # a quarter of an hour on two cores
python benchmarks/intensity.py --small     # seconds, written to intensity_small.json
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import bart_version, read_cfl, save, write_cfl

from mrrecon.acquisition import Acquisition
from mrrecon.grid import Grid
from mrrecon.operators import fft, make_mask
from mrrecon.simulation import simulate
from mrrecon.solvers import CGSense, L1Wavelet, Solver, TotalVariation, Variational

METHODS: dict[str, Solver] = {
    "cg-sense": CGSense(),
    "l1-wavelet": L1Wavelet(),
    "tv": TotalVariation(),
    "variational": Variational(prior="brain-small"),
}
BARS = {"bias": 0.01, "decay": 0.01}
STRENGTHS = (0.002, 0.008, 0.032)
ECHOES, DECAY = 5, 2.5  # echo times, and T2* in units of their distance


def ball(side: int, radius: float) -> np.ndarray:
    """A uniform ball with the distance of each voxel from its middle over the radius below one."""
    place = np.stack(np.meshgrid(*[np.arange(side) - side // 2] * 3, indexing="ij"))
    return np.sqrt((place**2).sum(0)) / radius


def measured(image: np.ndarray, snr: float, acceleration: float, seed: int) -> Acquisition:
    """A scan of an image with eight coils, true maps, and noise of `1 / snr` per component."""
    mask = make_mask("poisson", image.shape[1:], acceleration, seed=0) if acceleration > 1 else None
    clean = simulate(image, Grid(image.shape, (2.0, 2.0, 2.0)), n_coils=8, keep_maps=True, phase=False, mask=mask)
    size = np.sqrt((np.abs(clean.maps) ** 2).sum(axis=0))
    maps = clean.maps / np.maximum(size, 1e-6)
    noise = np.random.default_rng(seed).standard_normal((2, *clean.kspace.shape)) / snr
    kspace = (fft(maps * image, axes=(1, 2, 3)) + noise[0] + 1j * noise[1]) * clean.mask
    covariance = 2 / snr**2 * np.eye(8)
    return replace(clean, kspace=kspace.astype(np.complex64), maps=maps, noise_covariance=covariance, reference=image)


def bart(scan: Acquisition, inside: np.ndarray) -> float:
    """Mean inside the ball by BART's L1-wavelet, of the strengths the one that is nearest to one."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cfl(folder / "kspace", scan.kspace)
        write_cfl(folder / "maps", scan.maps)
        for strength in STRENGTHS:
            command = ["bart", "pics", "-i", "100", "-R", f"W:7:0:{strength}", "kspace", "maps", "image"]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
            found.append(float(np.abs(read_cfl(folder / "image"))[inside].mean()))
    return min(found, key=lambda mean: abs(mean - 1))


def biases(side: int, radius: float, snr: float, acceleration: float, seeds: int) -> dict[str, Any]:
    """Bias and its standard error, of each method, in per cent."""
    distance = ball(side, radius)
    image, inside = (distance < 1).astype(np.float32), distance < 0.8
    means: dict[str, list[float]] = {}
    for seed in range(seeds):
        scan = measured(image, snr, acceleration, seed)
        for name, solver in METHODS.items():
            means.setdefault(name, []).append(float(solver(scan).volume[inside].real.mean()))
        if shutil.which("bart"):
            means.setdefault("bart-l1-wavelet", []).append(bart(scan, inside))
    return {
        "matrix": side,
        "share_of_voxels": float((distance < 1).mean()),
        "voxels_measured_in": int(inside.sum()),
        "snr": snr,
        "acceleration": acceleration,
        "bias_percent": {name: round(100 * (float(np.mean(m)) - 1), 2) for name, m in means.items()},
        "standard_error": {
            name: round(100 * float(np.std(m)) / max(1, seeds - 1) ** 0.5, 2) for name, m in means.items()
        },
    }


def decay(side: int, snr: float) -> dict[str, float]:
    """Error of T2* fitted to five echoes, each reconstructed on its own at R = 2, of each method, in per cent."""
    distance = ball(side, 0.4 * side)
    inside = distance < 0.8
    times = np.arange(ECHOES)
    errors = {}
    for name, solver in METHODS.items():
        level = []
        for echo in times:
            image = (np.exp(-echo / DECAY) * (distance < 1)).astype(np.float32)
            level.append(np.abs(solver(measured(image, snr, 2, seed=int(echo))).volume[inside].mean()))
        fitted = -1 / np.polyfit(times, np.log(level), 1)[0]
        errors[name] = round(100 * (fitted / DECAY - 1), 2)
    return errors


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    sizes = [(24, 9.0)] if small else [(48, 19.0), (48, 9.6), (64, 9.6), (48, 4.8)]
    snrs, accelerations, seeds = ((10,), (2,), 1) if small else ((50, 10), (1, 2, 4), 2)
    rows = [biases(*size, snr, r, seeds) for size in sizes for r in accelerations for snr in snrs]
    worst = {name: max(abs(row["bias_percent"][name]) for row in rows) for name in METHODS}
    result = {
        "work": "mean intensity inside a uniform ball against the truth, true maps, known noise, 8 coils",
        "policy": "mean of the real part over voxels within 0.8 radii, truth 1; SNR is 1 over the noise per component",
        "bars": BARS,
        "peer": f"BART {bart_version()} L1-wavelet, the best of {STRENGTHS}" if shutil.which("bart") else None,
        "rows": rows,
        "worst_bias_percent": worst,
        "decay_error_percent": {"snr_of_first_echo": 40, **decay(24 if small else 48, 40)},
    }
    save("intensity_small" if small else "intensity", result)


if __name__ == "__main__":
    main()
