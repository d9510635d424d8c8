"""How many slices per second the priors' networks denoise, and the share of the device's bf16 peak that is.

    python benchmarks/gpu/prior_speed.py                         # on a GPU: the networks of all recipes, fresh weights
    python benchmarks/gpu/prior_speed.py brain-diverse           # a packaged prior, or a folder
    python benchmarks/gpu/prior_speed.py --small                 # anywhere: one small batch on the CPU

Measured is ``prior.predict_noise`` from device to device: padding, network, and the way from its output to the noise.
Each with bf16 and fp32, as written and through torch.compile. Results go to benchmarks/results/gpu/prior_speed.json
(not with --small).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import save
from peak import device_record, flops_per_pixel, median_seconds, peak_flops

from mrrecon import priors, training

RECIPES = Path(__file__).parent / "recipes"
SIDES = {112: 256, 192: 128, 320: 32}  # side of the slices -> slices in a batch
SMALL_SIDES = {32: 1}


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("priors", nargs="*", help="names or folders of priors; by default the recipes' networks")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    if not options.small and not torch.cuda.is_available():
        sys.exit("torch finds no GPU; use --small to try the script on the CPU.")
    device = torch.device("cpu" if options.small else "cuda")
    torch.manual_seed(0)
    peak = peak_flops(device)
    result: dict[str, Any] = {**device_record(device), "peak_flops": peak}
    found = [priors.load(name) for name in options.priors] or [_fresh(path) for path in sorted(RECIPES.glob("*.yaml"))]
    for prior in found:
        prior.to(device)
        result[prior.name] = {
            "parameters": prior.parameters(),
            **{str(side): measure(prior, side, batch, peak) for side, batch in sides(options.small)},
        }
        prior.to("cpu")
    if options.small:
        print(result)
    else:
        save("gpu/prior_speed", result)


def sides(small: bool) -> list[tuple[int, int]]:
    """Sizes to measure at."""
    return list((SMALL_SIDES if small else SIDES).items())


def measure(prior: priors.DiffusionPrior, side: int, batch: int, peak: float) -> dict[str, Any]:
    """Slices per second, and the share of the peak, of one size of slices."""
    state = torch.randn(batch, side, side, dtype=torch.complex64, device=prior.device)
    flops = flops_per_pixel(prior.network, prior.device, side) * side**2
    network = prior.network
    rates: dict[str, Any] = {"gflops_per_slice": flops / 1e9, "batch": batch}
    for compiled in (False, True) if prior.device.type == "cuda" else (False,):
        prior.network = torch.compile(network) if compiled else network
        for precision in ("bf16", "fp32"):
            prior.precision = precision
            rate = batch / median_seconds(prior.device, lambda: prior.predict_noise(state, 100))
            rates[f"{precision}{', compiled' if compiled else ''}"] = {
                "slices_per_second": rate,
                "share_of_bf16_peak": rate * flops / peak,
            }
    prior.network = network
    return rates


def _fresh(recipe: Path) -> priors.DiffusionPrior:
    config = training.TrainingConfig.from_yaml(recipe)
    return priors.DiffusionPrior(config.network, name=config.name)


if __name__ == "__main__":
    main()
