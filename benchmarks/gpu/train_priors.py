"""Train the packaged priors at full size on one GPU, in legs of a few minutes, from one file of data.

    python benchmarks/gpu/train_priors.py --pack                  # once: ../shared/data -> checkpoints/train.h5
    python benchmarks/gpu/train_priors.py --minutes 9             # a leg; the same command is the next one
    python benchmarks/gpu/train_priors.py --small                 # anywhere: all of it at toy size, on the CPU

The recipes (benchmarks/gpu/recipes) are trained in turn, the best model first. A run is a folder OUTPUT/NAME with the
checkpoint, the log and the prior, NAME/prior. A leg goes on exactly from the checkpoint. Checkpoints are 16 bytes per
weight; where that is too much to carry from machine to machine, --carry FOLDER keeps one small file per prior there
(NAME.tar, under 16 MiB: prior and log) and begins from it where the output has no such run: from the averaged weights,
with new moments of the optimiser and a new warm-up. OUTPUT/training.json, also carried, says slices/s and the share of
the card's bf16 peak; committed, it is benchmarks/results/gpu/training.json.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import DATA
from peak import device_record, flops_per_pixel, peak_flops

from mrrecon import training
from mrrecon.atomic import atomic_path
from mrrecon.grid import Grid
from mrrecon.training.processes import Place, joined

RECIPES = Path(__file__).parent / "recipes"
ORDER = ("brain-diverse", "brain-2x", "brain-1x", "brain-4x", "brain-infinite", "brain-small")
LARGEST_PACK = 40 * 2**20
LEFT_OUT = (  # so that 8 bits fit: thick slices of people who are there with other contrasts, and validation volumes
    "train/brain_t1_tcga6692.nii.gz",
    "train/brain_fla_tcga6692.nii.gz",
    "train/brain_t1w_ljms12_study1.nii.gz",
    "train/brain_t1w_ljms19_study2.nii.gz",
    "validation/brain_t1_uih1.nii.gz",
    "validation/brain_t1_uih2.nii.gz",
    "validation/brain_t1_ljmni26.nii.gz",
    "validation/brain_flair_ljmni26.nii.gz",
)
BACKWARD = 3  # a training step is about three forward passes


def main() -> None:
    """Train for one leg."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("checkpoints/train.h5"), help="packed volumes")
    parser.add_argument("--output", type=Path, default=Path("checkpoints/gpu"), help="folder of the runs")
    parser.add_argument("--carry", type=Path, help="folder for small files that go from machine to machine")
    parser.add_argument("--minutes", type=float, default=9.0, help="length of the leg")
    parser.add_argument("--only", nargs="+", choices=ORDER, default=ORDER, help="priors to train, of all")
    parser.add_argument("--compile", action="store_true", help="run the networks through torch.compile")
    parser.add_argument("--pack", action="store_true", help="make the data file and stop")
    parser.add_argument("--small", action="store_true", help="a toy size on the CPU, in a temporary folder")
    options = parser.parse_args()
    if options.pack:
        pack(options.data)
        return
    if not options.small and not torch.cuda.is_available():
        sys.exit("torch finds no GPU; use --small to try the script on the CPU.")
    with contextlib.ExitStack() as stack:
        if options.small:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            options.data, options.output = pack_balls(folder / "train.h5"), folder / "gpu"
            options.carry = options.carry or folder / "carry"
        place = stack.enter_context(joined("cpu" if options.small else "cuda"))
        leg(options, place)


def leg(options: argparse.Namespace, place: Place) -> None:
    """Train until the time is over; every prior is saved after its last step."""
    end = time.monotonic() + 60 * options.minutes
    results = options.output / "training.json"
    options.output.mkdir(parents=True, exist_ok=True)
    if options.carry and not results.exists() and (options.carry / results.name).exists():
        shutil.copy(options.carry / results.name, results)
    record = json.loads(results.read_text()) if results.exists() else {}
    record.update(device_record(place.device), peak_flops=peak_flops(place.device))
    print(f"{record['device']}: {record['peak_flops'] / 1e12:.3g} TFLOP/s in bf16")
    for name in options.only:
        folder = options.output / name
        config = recipe(name, options)
        if options.carry and not folder.exists() and (options.carry / f"{name}.tar").exists():
            unpack(options.carry / f"{name}.tar", folder)
        if steps_done(folder) >= config.steps or time.monotonic() > end:
            continue
        trainer = training.make_trainer(config, folder, place)
        measured = train(trainer, end - time.monotonic(), record["peak_flops"])
        record[name] = {**measured, "slices": trainer.slices_seen, "hours": trainer.seconds / 3600}
        print(f"{name}: {json.dumps(record[name])}")
        for path in [results, *([options.carry / results.name] if options.carry else [])]:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(record, indent=2) + "\n")
        if options.carry:
            print(f"wrote {bundle(folder, options.carry / f'{name}.tar')}")
    unfinished = [n for n in options.only if steps_done(options.output / n) < recipe(n, options).steps]
    print(f"to be gone on with: {', '.join(unfinished)}" if unfinished else "all are trained")


def train(trainer: training.Trainer, seconds: float, peak: float) -> dict[str, Any]:
    """Run the trainer and measure: everything counts, drawing slices, validation and saving too."""
    first, pixels, draw = trainer.step, 0, trainer.batches

    def counted(step: int, rank: int) -> Generator[tuple[int, torch.Tensor], None, None]:
        nonlocal pixels
        with contextlib.closing(draw(step, rank)) as batches:
            for at, slices in batches:
                pixels += slices.numel()
                yield at, slices

    per_pixel = flops_per_pixel(trainer.network, trainer.device)
    trainer.batches = counted
    slices, start = trainer.slices_seen, time.monotonic()
    entry = trainer.run(stop_after=seconds, progress=Lines(trainer))
    spent = time.monotonic() - start
    return {
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "steps": trainer.step,
        "steps_of_this_leg": trainer.step - first,
        "loss": entry.get("loss"),
        "slices_per_second": (trainer.slices_seen - slices) / spent,
        "megapixels_per_second": pixels / spent / 1e6,
        "flops_per_pixel": per_pixel,
        "share_of_peak": BACKWARD * per_pixel * pixels / spent / peak,
        "peak_bytes": torch.cuda.max_memory_allocated() if trainer.device.type == "cuda" else None,
    }


class Lines:
    """Progress as a line for every entry of the log, with the time left."""

    def __init__(self, trainer: training.Trainer) -> None:
        self.trainer, self.shown = trainer, trainer.step
        self.first, self.start = trainer.step, time.monotonic()

    def __call__(self, step: int, entry: dict[str, Any]) -> None:
        """Print the entry if it is new."""
        if entry.get("step", 0) <= self.shown or "loss" not in entry:
            return
        self.shown = entry["step"]
        total = self.trainer.config.steps
        left = (time.monotonic() - self.start) * (total - step) / max(1, step - self.first)
        rate = entry["slices_per_second"]
        print(
            f"{self.trainer.config.name} {step}/{total}: loss {entry['loss']:.4f}, {rate:.0f} slices/s, "
            f"{left / 60:.1f} min left",
            flush=True,
        )


def recipe(name: str, options: argparse.Namespace) -> training.TrainingConfig:
    """Settings of a prior, on this data file and machine."""
    config = training.TrainingConfig.from_yaml(RECIPES / f"{name}.yaml")
    data = [str(options.data)]
    workers = max(1, min(config.workers, (os.cpu_count() or 1) - 2))
    sources = str(RECIPES.parents[2] / config.sources)
    config = dataclasses.replace(
        config, data=data, validation=data, sources=sources, workers=workers, compile=options.compile
    )
    if not options.small:
        return config
    tiny = {"channels": [16, 32], "blocks": 1, "embedding": 16}
    if config.network["type"] == "infinite-unet":
        tiny.update(features=8, depth=1, grid=16)
    return dataclasses.replace(
        config,
        network={**config.network, **tiny},
        slices={**config.slices, "max_pixels_per_side": 48, "pixels_per_batch": 4000},
        sources="Balls.",
        steps=4,
        warmup=1,
        workers=1,
        log_every=2,
        save_every=3,
        validate_every=4,
    )


def steps_done(folder: Path) -> int:
    """Steps that the prior in a run's folder was trained for."""
    path = folder / "prior" / "config.json"
    return json.loads(path.read_text())["training"]["steps"] if path.exists() else 0


# ---- carrying ------------------------------------------------------------------------------------------------


def bundle(folder: Path, path: Path) -> Path:
    """Put the prior and the log of a run into one file."""
    with atomic_path(path) as temporary, tarfile.open(temporary, "w") as tar:
        for name in ("prior", "log.jsonl"):
            tar.add(folder / name, name)
    return path


def unpack(path: Path, folder: Path) -> None:
    """Make a run's folder from such a file."""
    with tarfile.open(path) as tar:
        tar.extractall(folder, filter="data")


# ---- data ----------------------------------------------------------------------------------------------------


def pack(path: Path) -> None:
    """Write volumes of ../shared/data to one file: all to train on but a few, and two to validate with."""
    subjects = dict(_subjects((DATA / "MANIFEST.md").read_text()))

    def volumes(part: str) -> Generator[training.TrainingVolume, None, None]:
        names = [name for name in subjects if name.startswith(f"{part}/") and name not in LEFT_OUT]
        for volume in training.read_volumes([DATA / name for name in names]):
            print(f"{part}: {volume.name}", flush=True)
            yield dataclasses.replace(volume, subject=subjects[f"{part}/{volume.source}"])

    path.parent.mkdir(parents=True, exist_ok=True)
    training.pack(volumes("train"), path, validation=volumes("validation"))
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")
    if path.stat().st_size > LARGEST_PACK:
        sys.exit(f"{path} is larger than {LARGEST_PACK // 2**20} MiB; leave out more volumes.")


def _subjects(manifest: str) -> Generator[tuple[str, str], None, None]:
    """Pairs of file and subject group, from the tables of the manifest."""
    for line in manifest.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) > 4 and cells[0].startswith(("train/", "validation/")):
            yield cells[0], cells[4]


def pack_balls(path: Path) -> Path:
    """Write three balls with a hole, to train and to validate with, as a stand-in for the data."""
    grids = np.meshgrid(*(np.linspace(-1, 1, 72) for _ in range(3)), indexing="ij")

    def ball(name: str, radius: float) -> training.TrainingVolume:
        image = (sum((g / radius) ** 2 for g in grids) < 1) * (1 - 0.6 * (np.hypot(grids[0], grids[1]) < 0.3))
        return training.TrainingVolume.from_image(image, Grid(image.shape), name, subject=name)

    training.pack([ball("a", 0.8), ball("b", 0.9)], path, validation=[ball("c", 0.85)])
    return path


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
