"""A tiny network and slices that come from a formula, for everything that trains."""

from __future__ import annotations

import torch

from mrrecon.training.config import TrainingConfig
from mrrecon.training.trainer import Trainer

NETWORK = {"type": "unet", "channels": [8, 16], "blocks": 1, "patch": 2, "attention": False, "embedding": 16}
NETWORK["groups"] = 4


SETTINGS = {
    "name": "tiny",
    "data": ["nowhere.nii.gz"],
    "network": NETWORK,
    "steps": 12,
    "warmup": 3,
    "learning_rate": 2e-3,
    "precision": "fp32",
    "log_every": 5,
    "save_every": 3,
    "validate_every": 4,
}


def batches(first, rank):
    """Discs of a size that depends on step and rank, two and three of them in turn, with a phase."""
    step = first
    y, x = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 24), indexing="ij")
    while True:
        generator = torch.Generator().manual_seed(7919 * step + rank)
        sizes = 0.3 + 0.6 * torch.rand(2 + step % 2, 1, 1, generator=generator)
        yield step, ((x**2 + y**2 < sizes**2) * torch.exp(1j * (x + y))).to(torch.complex64)
        step += 1


def make(folder, changes=None, **options):
    """A trainer of twelve steps on these slices."""
    config = TrainingConfig.from_settings({**SETTINGS, **(changes or {})})
    return Trainer(config, options.pop("batches", batches), folder, **options)


if __name__ == "__main__":  # one of several processes: python tiny_training.py FOLDER
    import sys
    from pathlib import Path

    from safetensors.torch import save_file

    from mrrecon.training.processes import joined

    with joined("cpu") as place:
        trainer = make(Path(sys.argv[1]), {"steps": 22, "log_every": 6}, place=place)
        trainer.run(stop_after=1e-9 if place.rank else None)  # one of them asks for an end
        average = {name: t.contiguous() for name, t in trainer.average.items()}
        save_file(average, f"{sys.argv[1]}.{place.rank}.safetensors", {"step": str(trainer.step)})
