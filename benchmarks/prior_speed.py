"""Slices per second of a prior at 112x112, bf16 and fp32, and how far bf16 is from fp32, beside a U-Net of diffusers.

The peer, a UNet2DModel with attention at its coarse level and about as many weights (random: its time does not depend
on them), takes the same batch in the same run, in the precision that is faster for it. Goals: 25 slices per second on
two cores; predicted noise of bf16 within 1 % of the noise level (root mean square) of that of fp32.

python benchmarks/prior_speed.py                    # brain-small
python benchmarks/prior_speed.py --prior FOLDER --repeat 3
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from common import head, measure, save

from mrrecon import priors
from mrrecon.operators.backend import num_threads
from mrrecon.priors.schedule import complex_noise

SHAPE, BATCH = (112, 112), 8
TIMES = (0, 50, 100, 200, 400, 700)
GOALS = {"slices_per_second": 25, "bf16_error": 0.01}


def clean_slices() -> torch.Tensor:
    """Slices of a real head with a smooth phase, bright tissue about one."""
    volume = torch.from_numpy(head((SHAPE[0], SHAPE[1], 96)))
    volume = volume / volume[volume > 0].quantile(0.95)
    chosen = volume[..., 24 : 24 + 6 * BATCH : 6].permute(2, 0, 1)
    ramp = torch.linspace(-1.0, 1.0, SHAPE[1])
    return chosen * torch.exp(1j * ramp)


def peer(parameters: int) -> tuple[Any, int] | None:
    """UNet2DModel of diffusers with three levels and about this number of weights; None where it is not installed."""
    if importlib.util.find_spec("diffusers") is None:
        return None
    from diffusers import UNet2DModel

    def make(width: int) -> Any:
        return UNet2DModel(
            in_channels=2,
            out_channels=2,
            layers_per_block=2,
            block_out_channels=(width, 2 * width, 3 * width),
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
        )

    def weights(width: int) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in make(width).parameters())

    width = min(range(16, 129, 8), key=lambda w: abs(weights(w) - parameters))
    return make(width).eval().to(memory_format=torch.channels_last), weights(width)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prior", default="brain-small", help="name or folder (brain-small)")
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(num_threads())
    prior = priors.load(options.prior)
    noise = complex_noise((BATCH, *SHAPE), torch.Generator().manual_seed(0))
    clean = prior.data_scale * clean_slices()

    def run(precision: str, t: float) -> torch.Tensor:
        prior.precision = precision
        return prior.predict_noise(prior.schedule.add_noise(clean, noise, t), t)

    def rms(x: torch.Tensor) -> float:
        return float(torch.view_as_real(x).square().mean().sqrt())

    errors = {str(t): rms(run("bf16", t) - run("fp32", t)) for t in TIMES}
    functions: dict[str, Callable[[], Any]] = {
        "bf16": lambda: run("bf16", 200),
        "fp32": lambda: run("fp32", 200),
    }
    found = peer(prior.parameters())
    if found is not None:
        network, weights = found
        x = torch.view_as_real(noise).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

        def run_peer(bf16: bool) -> Any:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                return network(x, 200).sample

        functions |= {"diffusers, bf16": lambda: run_peer(True), "diffusers, fp32": lambda: run_peer(False)}
    speed = {name: round(BATCH / seconds, 2) for name, seconds in measure(functions, options.repeat).items()}
    ours = max(speed["bf16"], speed["fp32"])
    theirs = max((s for name, s in speed.items() if name.startswith("diffusers")), default=None)
    save(
        "prior_speed",
        {
            "work": "noise prediction of a prior",
            "prior": prior.name,
            "parameters": prior.parameters(),
            "shape": SHAPE,
            "batch": BATCH,
            "slices_per_second": speed,
            "times_faster_than_diffusers": None if theirs is None else round(ours / theirs, 2),
            "diffusers": "not installed" if found is None else f"UNet2DModel, {weights} weights",
            "bf16_error": errors,
            "goals": GOALS,
        },
    )


if __name__ == "__main__":
    main()
