"""Writing a prior as a folder that can be loaded again, or shared: each file whole before it takes its place."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mrrecon.errors import PriorError

if TYPE_CHECKING:
    from mrrecon.priors.base import SlicePrior

__all__ = ["CARD", "CONFIG", "FORMAT", "FORMAT_VERSION", "WEIGHTS", "save_prior"]

FORMAT, FORMAT_VERSION = "mrrecon-prior", 1
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


def save_prior(prior: SlicePrior, folder: str | Path, card: str = "") -> Path:
    """Write a prior as a folder of ``config.json``, ``model.safetensors`` and a model card, ``README.md``.

    Each file is complete before it takes its place, and ``config.json``, which comes last, has the checksum of the
    weights: a prior of which only a part was replaced is refused when it is loaded.

    Parameters
    ----------
    prior
        One that has a configuration.
    folder
        Made if it is not there; what it had of a prior is replaced.
    card
        Text of the model card, Markdown.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    PriorError
        If this prior cannot be saved or the folder cannot be written.
    """
    import safetensors.torch
    import torch

    folder = Path(folder)
    settings, state = prior.config(), prior.state()
    header = {"format": FORMAT, "format_version": FORMAT_VERSION}
    config = {**header, "kind": settings["kind"], "name": prior.name, **settings}
    files = {CARD: card.encode()}
    if state:
        files[WEIGHTS] = safetensors.torch.save(
            {n: t.detach().cpu().clone(memory_format=torch.contiguous_format) for n, t in state.items()}
        )
        config["weights_sha256"] = hashlib.sha256(files[WEIGHTS]).hexdigest()
    try:
        files[CONFIG] = (json.dumps(config, indent=2, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise PriorError(f"The settings of the prior {prior.name!r} are not plain JSON: {error}.") from error
    if (folder / CONFIG).exists():
        _refuse_to_replace_strangers(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            for name, content in files.items():
                (temporary / name).write_bytes(content)
            folder.mkdir(exist_ok=True)
            for name in files:
                os.replace(temporary / name, folder / name)
            if not state:
                (folder / WEIGHTS).unlink(missing_ok=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise PriorError(f"The prior cannot be written to {folder}: {error.strerror or error}.") from error
    return folder


def _refuse_to_replace_strangers(folder: Path) -> None:
    """Saving replaces priors, not other programs' folders that happen to have a file of the same name."""
    try:
        format_name = json.loads((folder / CONFIG).read_text("utf-8")).get("format")
    except (OSError, ValueError, AttributeError, RecursionError):
        format_name = None
    if format_name != FORMAT:
        raise PriorError(f"{folder / CONFIG} is not a prior's and is not replaced; choose another folder.")
