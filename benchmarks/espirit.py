"""ESPIRiT maps against ``bart ecalib`` and sigpy's EspiritCalib on the same simulated scan of a real head.

python benchmarks/espirit.py            # 64x80x80, 8 coils, 24^3 calibration; BART takes half a minute
python benchmarks/espirit.py --sigpy    # and sigpy, which takes a minute or two
python benchmarks/espirit.py --small    # 32x40x40, 4 coils, 16^3: for CI, seconds
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from common import bart_version, head, measure, read_cfl, run_process, save, write_cfl

from mrrecon.grid import Grid
from mrrecon.operators import espirit
from mrrecon.simulation import simulate

THRESHOLD, CROP, KERNEL = 0.001, 0.8, 6


def agreement(ours: np.ndarray, theirs: np.ndarray, inside: np.ndarray) -> dict[str, float]:
    """Mean |<s_ours, s_peer>| over the object, the same with the phase as it is, the overlap of supports."""
    support = [np.abs(m).sum(axis=0) > 0 for m in (ours, theirs)]
    both = support[0] & support[1] & inside
    inner = (theirs.conj() * ours).sum(axis=0)[both]
    return {
        "mean_inner_product": float(np.abs(inner).mean()),
        "smallest_inner_product": float(np.abs(inner).min()),
        "mean_inner_product_without_phase_alignment": float(inner.real.mean()),
        "dice_of_supports": float(2 * (support[0] & support[1]).sum() / (support[0].sum() + support[1].sum())),
        "voxels_compared": int(both.sum()),
    }


def run_sigpy(kspace: np.ndarray, width: int) -> np.ndarray:
    """Maps by sigpy at BART's settings (its threshold is on singular values, not on their squares)."""
    import sigpy.mri.app

    settings = {"calib_width": width, "thresh": THRESHOLD**0.5, "kernel_width": KERNEL, "crop": CROP}
    return sigpy.mri.app.EspiritCalib(kspace, **settings, show_pbar=False).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a small scan, for CI (written to espirit_small.json)")
    parser.add_argument("--sigpy", action="store_true", help="measure sigpy too")
    options = parser.parse_args()
    shape, coils, width = ((32, 40, 40), 4, 16) if options.small else ((64, 80, 80), 8, 24)

    scan = simulate(head(shape), Grid(shape, tuple(160 / n for n in shape)), n_coils=coils, snr=40, seed=1)
    kspace = scan.kspace
    inside = np.abs(scan.reference) > 0.05 * np.abs(scan.reference).max()

    ours = espirit(kspace, calibration=width)  # compiles
    start = os.times()
    espirit(kspace, calibration=width)
    cpu = {"mrrecon": sum(os.times()[:2]) - sum(start[:2])}
    before = measure({"mrrecon": lambda: espirit(kspace, calibration=width)}, repeat=3)["mrrecon"]
    with tempfile.TemporaryDirectory() as folder:
        write_cfl(Path(folder, "k"), kspace)
        command = f"bart ecalib -d0 -m1 -r{width} -k{KERNEL} -t{THRESHOLD} -c{CROP} k maps"
        bart_seconds = run_process(command.split(), cwd=Path(folder))[0]
        cpu["bart"] = sum(os.times()[2:4]) - sum(start[2:4])
        theirs = read_cfl(Path(folder, "maps"))
    after = measure({"mrrecon": lambda: espirit(kspace, calibration=width)}, repeat=3)["mrrecon"]
    seconds = {"mrrecon": (before + after) / 2, "bart": bart_seconds}
    result = {
        "work": f"ESPIRiT maps, {'x'.join(map(str, shape))}, {coils} coils, {width}^3 calibration",
        "seconds": seconds,
        "cpu_seconds": cpu,
        "agreement_with_bart": agreement(ours, theirs, inside),
        "bart_command": command,
        "bart_version": bart_version(),
    }
    if options.sigpy:
        began, start = time.perf_counter(), os.times()
        maps = run_sigpy(kspace, width)
        seconds["sigpy"] = time.perf_counter() - began
        cpu["sigpy"] = sum(os.times()[:2]) - sum(start[:2])
        result["agreement_with_sigpy"] = agreement(ours, maps, inside)
    for name, times in (("times_faster_than", seconds), ("times_less_processor_time_than", cpu)):
        result[name] = {peer: t / times["mrrecon"] for peer, t in times.items() if peer != "mrrecon"}
    save("espirit_small" if options.small else "espirit", result)


if __name__ == "__main__":
    main()
