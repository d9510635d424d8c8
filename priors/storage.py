"""Priors as folders: ``config.json``, ``model.safetensors`` and a model card; all of it is data, none of it code."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrrecon.errors import PriorFileError
from mrrecon.priors.saving import CONFIG, FORMAT, FORMAT_VERSION, WEIGHTS
from mrrecon.settings import settings_of, settings_problem

if TYPE_CHECKING:  # this module is imported to list priors, which must not cost the import of torch
    import torch

    from mrrecon.priors.base import SlicePrior

__all__ = ["load_prior", "prior_class", "read_config", "tensor_shapes"]

OF_THE_FILE = ("format", "format_version", "weights_sha256")  # keys of config.json that are not the prior's
KINDS = {
    "diffusion": ("diffusion", "DiffusionPrior"),
    "tikhonov": ("classical", "TikhonovPrior"),
    "total-variation": ("classical", "TotalVariationPrior"),
    "wavelet": ("classical", "WaveletPrior"),
}  # kind -> module and class
PICKLES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin")
LARGEST_CONFIG = 2**24
LARGEST_HEADER = 10**8  # the safetensors library has the same limit
NAMED = 3  # how many tensors a sentence names


def prior_class(kind: str) -> type[SlicePrior]:
    """Class of the priors of a kind.

    Raises
    ------
    PriorFileError
        If there is no such kind.
    """
    if kind not in KINDS:
        raise PriorFileError(f"There is no kind of prior {kind!r}; this version has {', '.join(sorted(KINDS))}.")
    module, name = KINDS[kind]
    return getattr(importlib.import_module(f"mrrecon.priors.{module}"), name)


def load_prior(folder: str | Path) -> SlicePrior:
    """Read a prior, on the CPU, from its folder: ``config.json`` and, if it has weights, ``model.safetensors``.

    Raises
    ------
    PriorFileError
        If the folder is missing, incomplete, damaged, of another architecture than it says, or of a newer version.
    """
    folder = Path(folder)
    config = read_config(folder)
    settings = {name: value for name, value in config.items() if name not in OF_THE_FILE}
    cls = prior_class(config["kind"])
    if "name" not in settings_of(cls):  # priors without training are called what their kind is called
        settings.pop("name", None)
    problem = settings_problem(cls, {name: value for name, value in settings.items() if name != "kind"})
    if problem:
        raise PriorFileError(f"{folder / CONFIG}: {problem}.")
    checksum = config.get("weights_sha256")
    weights = folder / WEIGHTS
    if checksum is None and weights.exists():
        raise PriorFileError(f"{weights} does not belong to the prior: {CONFIG} has no weights_sha256.")
    try:
        state = {} if checksum is None else _read_weights(weights, checksum, _expected_shapes(cls, settings))
        return cls.from_config(settings, state)
    except PriorFileError:
        raise
    except Exception as error:  # whatever a constructor does with what the file says is the file's fault
        said = (str(error).splitlines() or [""])[0].rstrip(".: ")
        raise PriorFileError(
            f"{folder / CONFIG} does not describe a prior of kind {config['kind']!r}: {said or type(error).__name__}."
        ) from error


def read_config(folder: str | Path) -> dict[str, Any]:
    """Read ``config.json`` of a prior's folder; neither weights are read nor torch is imported.

    Raises
    ------
    PriorFileError
        If this is not a prior's folder, or one of a newer version.
    """
    folder = Path(folder)
    if folder.suffix.lower() in PICKLES and not os.path.isdir(folder):
        raise PriorFileError(
            f"{folder} is a pickle, which runs code when it is read, and is never loaded; its owner makes a prior of "
            "it with torch.load, DiffusionPrior(network=...).network.load_state_dict and prior.save(folder)."
        )
    if not os.path.exists(folder):
        raise PriorFileError(f"There is no folder {folder}.")
    if not folder.is_dir():
        raise PriorFileError(f"{folder} is a file; give the folder of a prior, the one with its {CONFIG}.")
    path = folder / CONFIG
    if not path.is_file():
        raise PriorFileError(f"{folder} is not the folder of a prior: it has no {CONFIG}.")
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise PriorFileError(f"{path} has more than {LARGEST_CONFIG // 2**20} MB; it is not a prior's.")
        config = json.loads(path.read_text("utf-8"), parse_float=_finite, parse_constant=_finite)
    except PriorFileError:
        raise
    except OSError as error:
        raise PriorFileError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise PriorFileError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise PriorFileError(f'{path} is not the configuration of a prior: it does not say "format": "{FORMAT}".')
    version = config.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise PriorFileError(f"{path}: format_version must be a whole number from 1, got {version!r}.")
    if version > FORMAT_VERSION:
        raise PriorFileError(
            f"{path} was written by a newer version of mrrecon (format {version}; this one reads up to "
            f"{FORMAT_VERSION}); upgrade mrrecon."
        )
    for name in ("kind", "name", "weights_sha256"):
        if not isinstance(config.get(name, None if name == "weights_sha256" else ""), (str, type(None))):
            raise PriorFileError(f"{path}: {name} must be text, got {config[name]!r}.")
    if not config.get("kind"):
        raise PriorFileError(f"{path} does not say which kind of prior it describes.")
    return config


def tensor_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a safetensors file, from its header alone.

    Raises
    ------
    PriorFileError
        If the file is missing, truncated, or not a safetensors file.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, LARGEST_HEADER):
                raise PriorFileError(f"{path} is truncated or not a safetensors file.")
            header = json.loads(file.read(length))
        return {name: tuple(map(int, t["shape"])) for name, t in header.items() if name != "__metadata__"}
    except PriorFileError:
        raise
    except FileNotFoundError as error:
        raise PriorFileError(f"The weights are missing: there is no {path}.") from error
    except OSError as error:
        raise PriorFileError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise PriorFileError(f"{path} is damaged: its header cannot be read.") from error


def _read_weights(path: Path, checksum: str, expected: Mapping[str, tuple[int, ...]] | None) -> dict[str, torch.Tensor]:
    """Tensors of a file, after everything that its header says was found right."""
    import torch
    from safetensors import SafetensorError, safe_open

    shapes = tensor_shapes(path)
    if expected is not None and shapes != expected:
        raise PriorFileError(
            f"{path} has weights of another architecture than {CONFIG}: {_difference(shapes, expected)}."
        )
    try:
        with safe_open(path, framework="pt") as file:
            with path.open("rb") as whole:
                found = hashlib.file_digest(whole, "sha256").hexdigest()
            if found != checksum:
                raise PriorFileError(
                    f"{path} does not belong to its {CONFIG}, or is damaged: its checksum is not weights_sha256."
                )
            state = {name: file.get_tensor(name).clone() for name in shapes}  # a copy: the file may be replaced
    except (SafetensorError, OSError, RuntimeError, KeyError, AttributeError) as error:
        raise PriorFileError(f"{path} is truncated or damaged: {str(error) or type(error).__name__}.") from error
    broken = [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise PriorFileError(f"{path} has NaN or infinite weights: {_some(broken)}.")
    return state


def _expected_shapes(cls: type[SlicePrior], settings: dict[str, Any]) -> dict[str, tuple[int, ...]] | None:
    """Shapes of the weights of a prior with a network, found without memory for it; None for other priors."""
    if not isinstance(settings.get("network"), dict):
        return None
    import torch

    with torch.device("meta"):
        template = cls(**{name: value for name, value in settings.items() if name != "kind"})
    return {name: tuple(tensor.shape) for name, tensor in template.state().items()}


def _difference(shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> str:
    missing, unexpected = sorted(expected.keys() - shapes.keys()), sorted(shapes.keys() - expected.keys())
    other = [f"{n} {shapes[n]} instead of {expected[n]}" for n in expected if n in shapes and shapes[n] != expected[n]]
    parts = {"missing": missing, "unexpected": unexpected, "of another shape": other}
    return "; ".join(f"{what}: {_some(names)}" for what, names in parts.items() if names)


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError(f"the number {text} is not finite")
    return number
