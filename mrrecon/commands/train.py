"""``mrrecon train``: from volumes to a diffusion prior."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from mrrecon.commands.files import Reads, Writes, check_folder, one_folder
from mrrecon.errors import DataError
from mrrecon.progress import ProgressBar

__all__ = ["train"]

INTERRUPTED = 130


def _files(file: str) -> Iterator[str | Path]:
    """What a training reads: its data, the text on their sources, and the prior that it starts from."""
    from mrrecon.priors import names
    from mrrecon.training.config import TrainingConfig
    from mrrecon.training.volumes import find_volumes

    config = TrainingConfig.from_yaml(file)
    yield from find_volumes([*config.data, *config.validation])
    if Path(config.sources).suffix in (".md", ".txt"):
        yield config.sources
    if config.start_from and config.start_from not in names():
        yield config.start_from


def _default(options: Mapping[str, Any]) -> str:
    from mrrecon.training.config import TrainingConfig

    return f"runs/{TrainingConfig.from_yaml(options['file']).name}"


SETTINGS = Reads(also=_files)
TRAINING = Writes(check_folder, parts=("prior", "checkpoint.safetensors", "log.jsonl", "tensorboard"), default=_default)


def train(
    file: Annotated[str, SETTINGS],
    output: list[Annotated[str, TRAINING]] | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> int:
    """Train a diffusion prior on the slices of volumes, or go on where an earlier run stopped.

    Parameters
    ----------
    file
        YAML file of the settings; see examples/train_tiny_prior.yaml.
    output
        Folder for checkpoint, log and the prior itself (default: runs/NAME); what it has is gone on with.
    steps
        Number of steps, in place of the file's.
    minutes
        Stop after this time; the same command goes on.
    device
        Where to compute: auto (a GPU if there is one), cpu or cuda. Several GPUs: torchrun --nproc-per-node 4 -m
        mrrecon train ...
    """
    from mrrecon.training.assembly import make_trainer
    from mrrecon.training.config import TrainingConfig
    from mrrecon.training.processes import joined

    config = TrainingConfig.from_yaml(file, steps=steps)
    folder = one_folder("train", output, f"runs/{config.name}")
    if minutes is not None and not minutes > 0:
        raise DataError(f"--minutes must be positive, got {minutes:g}.")
    with joined(device) as place:
        first = place.rank == 0
        trainer = make_trainer(config, folder, place)
        if first:
            data = trainer.data
            print(
                f"{config.name}: {sum(p.numel() for p in trainer.network.parameters()) / 1e6:.2f} million weights, "
                f"{len(data['training'])} volumes, {len(data['validation'])} for validation, {place.describe()}"
            )
            if trainer.step:
                print(f"going on after step {trainer.step} of {config.steps}")
        stop_after = None if minutes is None else 60 * minutes
        try:
            entry = trainer.run(stop_after, _bar(config.name, trainer.step, config.steps) if first else None)
        except KeyboardInterrupt:
            if first:
                print(
                    f"mrrecon: stopped after step {trainer.step} of {config.steps} and saved; "
                    "the same command goes on from there.",
                    file=sys.stderr,
                )
            return INTERRUPTED
        if first:
            loss = f", loss {entry['loss']:.4f}" if "loss" in entry else ""
            more = "" if trainer.step >= config.steps else "; the same command goes on from there"
            print(f"step {trainer.step} of {config.steps}{loss}{more}")
            print(f"wrote {folder / 'prior'}")
    return 0


def _bar(name: str, done: int, total: int) -> Callable[[int, Mapping[str, Any]], None]:
    """Progress with loss and slices/s."""
    bar = ProgressBar(total, name, "step", done)

    def show(step: int, entry: Mapping[str, Any]) -> None:
        shown = {}
        if "loss" in entry:
            shown = {"loss": f"{entry['loss']:.4f}", "slices/s": f"{entry['slices_per_second']:.0f}"}
        bar.at(step, **shown)

    return show
