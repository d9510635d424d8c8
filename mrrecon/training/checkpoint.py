"""Checkpoints of a training run: weights, moving average and optimiser in one safetensors file, never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mrrecon.atomic import atomic_path
from mrrecon.errors import FileFormatError

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]

FORMAT = "mrrecon-training-1"
Checkpoint = tuple[int, dict[str, dict[str, torch.Tensor]], dict[str, Any]]


def save_checkpoint(
    path: Path, step: int, groups: Mapping[str, Mapping[str, torch.Tensor]], settings: Mapping[str, Any]
) -> None:
    """Write groups of tensors ("weights", "average", …), the step they belong to and the settings of the run.

    Raises
    ------
    OutputError
        If the folder is missing or not writable, or the disk is full; an older checkpoint is then untouched.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {f"{group}/{name}": t.cpu().contiguous() for group, named in groups.items() for name, t in named.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(
                tensors, temporary, metadata={"format": FORMAT, "step": str(step), "settings": json.dumps(settings)}
            )
        except SafetensorError as error:  # also of a full disk
            raise OSError(str(error)) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what :func:`save_checkpoint` wrote: step, groups of tensors, settings.

    Raises
    ------
    FileFormatError
        If the file is not a checkpoint, or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    groups: dict[str, dict[str, torch.Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise FileFormatError(f"{path} is not a training checkpoint of this version; start the training anew.")
            for key in file.keys():  # noqa: SIM118 (not a mapping)
                group, _, name = key.partition("/")
                groups.setdefault(group, {})[name] = file.get_tensor(key)
            return int(metadata["step"]), groups, json.loads(metadata["settings"])
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{path} cannot be read as a training checkpoint ({error}); delete it.") from error
