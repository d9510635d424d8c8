"""From settings to a trainer: opens the data, keeps validation subjects apart, and puts the parts together."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import torch

from mrrecon.atomic import make_folder
from mrrecon.denoising.comparison import compare, noise_levels, of_prior
from mrrecon.denoising.slices import validation_slices
from mrrecon.denoising.tables import means
from mrrecon.errors import DataError, FileFormatError
from mrrecon.priors import networks
from mrrecon.priors.diffusion import DiffusionPrior
from mrrecon.training.config import TrainingConfig
from mrrecon.training.custody import Seen
from mrrecon.training.packing import PackedVolume, open_volumes
from mrrecon.training.processes import Place
from mrrecon.training.slices import SliceSampler, prefetch
from mrrecon.training.trainer import Trainer

__all__ = ["keep_apart", "make_trainer", "subject_label"]

PER_PLANE = 2  # validation slices per volume, plane and voxel size
PICTURE = 16  # hexadecimal digits of a volume's digest in the record
COARSER = (1, 2, 4)  # multiples of the finest voxel size at which a prior of diverse resolution is validated


def make_trainer(config: TrainingConfig, folder: str | Path, place: Place | None = None) -> Trainer:
    """Open the data that the settings name and make the trainer, which goes on from what the folder has.

    Parameters
    ----------
    config
        Settings.
    folder
        For everything that the training writes.
    place
        Device, and which of the processes that train together this is.

    Raises
    ------
    FileFormatError, DataError
        If data are missing or not usable, a subject is in both parts, or the folder has another training.
    PriorInputError
        If there is no such network.
    OutputError
        If the folder cannot be made.
    """
    with torch.device("meta"):
        networks.build(config.network)  # what is wrong with it is said before the data are read
    make_folder(folder)
    finest = config.voxel_sizes[0]
    volumes = open_volumes(config.data, "train", finest)
    held_out = open_volumes(config.validation, "validation", finest) if config.validation else []
    keep_apart(volumes, held_out)
    sampler = SliceSampler(volumes, **{"seed": config.seed, **config.slices})

    def batches(first: int, rank: int) -> Generator[tuple[int, torch.Tensor], None, None]:
        yield from prefetch(sampler, first, rank, workers=config.workers)

    data = {
        "training": list(map(_seen, volumes)),
        "validation": list(map(_seen, held_out)),
        "sources": _text(config.sources),
    }
    return Trainer(config, batches, folder, _validation(config, held_out), place, data)


def keep_apart(training: Sequence[PackedVolume], validation: Sequence[PackedVolume]) -> None:
    """Refuse to validate on what is trained on.

    Raises
    ------
    DataError
        If a picture is in both parts, or a subject: by the record of the volume, else by ``sub-LABEL`` in its name.
    """
    subjects = {_subject(v): v.name for v in training if _subject(v)}
    pictures = {_digest(v): v.name for v in training}
    for volume in validation:
        if _digest(volume) in pictures:
            raise DataError(
                f"{volume.name} of the validation data is the same picture as {pictures[_digest(volume)]} of the "
                "training data; name it in one of them only."
            )
        if _subject(volume) in subjects:
            raise DataError(
                f"Subject {_subject(volume)!r} is in the training data ({subjects[_subject(volume)]}) and in the "
                f"validation data ({volume.name}); split by subject, or rename a file if these are two people."
            )


def _seen(volume: PackedVolume) -> Seen:
    return Seen(volume.name, _subject(volume), _digest(volume)[:PICTURE])


def _subject(volume: PackedVolume) -> str:
    return volume.subject or subject_label(volume.source or volume.name)


def subject_label(name: str) -> str:
    """Who was scanned, by ``sub-LABEL`` in the name of a file; empty if it has none."""
    label = re.search(r"(?<![A-Za-z0-9])sub-([A-Za-z0-9]+)", name)
    return label[1] if label else ""


def _digest(volume: PackedVolume) -> str:
    return hashlib.sha256(repr(volume.grid.shape).encode() + volume.magnitude.tobytes()).hexdigest()


def _text(sources: str) -> str:
    """The text itself, or that of the file which has this name."""
    if "\n" in sources or not sources.endswith((".md", ".txt")):
        return sources
    try:
        return Path(sources).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise FileFormatError(f"The file {sources} of the setting sources cannot be read ({error}).") from error


def _validation(config: TrainingConfig, held_out: list[PackedVolume]) -> Callable[[DiffusionPrior], Any] | None:
    if not held_out:
        return None
    finest, coarsest = config.voxel_sizes
    edges = [finest * f for f in COARSER if finest * f <= max(finest, coarsest)]
    cases = validation_slices(held_out, voxel_sizes=edges, per_plane=PER_PLANE)

    def validate(prior: DiffusionPrior) -> dict[str, float]:
        rows = compare([of_prior(prior)], cases, noise_levels(prior.schedule, prior.data_scale))
        of_sizes = ((size, levels) for size, priors in means(rows).items() for levels in priors.values())
        return {f"{size}, t = {t}": psnr["all"] for size, levels in of_sizes for t, psnr in levels.items()}

    return validate
