"""Priors by name: those without training, packaged ones, those of other packages, registered ones; or from a folder."""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import importlib.resources
import json
import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrrecon.errors import PriorError, PriorInputError, UnknownPriorError
from mrrecon.priors.saving import CARD, CONFIG, WEIGHTS
from mrrecon.priors.storage import load_prior, prior_class, read_config, tensor_shapes
from mrrecon.settings import settings_problem

if TYPE_CHECKING:  # listing priors must not cost the import of torch
    from mrrecon.priors.base import SlicePrior

__all__ = ["describe", "describe_all", "identity", "load", "names", "register"]

CLASSICAL = ("tikhonov", "total-variation", "wavelet")
ENTRY_POINTS = "mrrecon.priors"
_registered: dict[str, Callable[..., Any]] = {}


def register(name: str, factory: Callable[..., SlicePrior] | None = None) -> Callable[..., Any]:
    """Give a prior a name for this process; packages use the entry point group ``mrrecon.priors`` instead.

    Parameters
    ----------
    name
        Must not be taken.
    factory
        Class or function that returns the prior; what :func:`load` is called with in addition are its arguments.
        Without it, `register` is a decorator.

    Raises
    ------
    PriorError
        If the name is taken.

    >>> from mrrecon.priors import load
    >>> from mrrecon.priors.classical import WaveletPrior
    >>> @register("gentle-wavelet")
    ... def gentle(levels: int = 3) -> "SlicePrior":
    ...     return WaveletPrior(strength=0.5, levels=levels)
    >>> load("gentle-wavelet", levels=2).strength
    0.5
    """
    if factory is None:
        return lambda decorated: register(name, decorated)
    if not name or any(mark in name for mark in "/\\"):
        raise PriorError(f"The name of a prior must be text without slashes, got {name!r}.")
    if name in names() and _registered.get(name) is not factory:
        raise PriorError(f"There already is a prior {name!r}; choose another name.")
    _registered[name] = factory
    return factory


def names() -> list[str]:
    """Return the names that :func:`load` knows. Nothing is imported or read for this."""
    return sorted({*_registered, *CLASSICAL, *_zoo(), *_entry_points()})


def load(
    name_or_folder: str | Path, *, device: str | None = None, precision: str | None = None, **settings: Any
) -> SlicePrior:
    """Make a prior from its name or its folder.

    Parameters
    ----------
    name_or_folder
        One of :func:`names`, or the path of a folder that :func:`save` wrote. A name comes before a
        folder of the same name; that one is ``"./name"``.
    device
        Where it computes: ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
    precision
        Arithmetic of networks: ``"auto"``, ``"fp32"`` or ``"bf16"``.
    **settings
        Of priors without training, such as ``strength``, and of registered ones.

    Raises
    ------
    UnknownPriorError
        If there is neither a prior of this name nor a folder.
    PriorFileError
        If the folder is not that of a prior or cannot be used.
    PriorInputError
        If the prior has not these settings, or does not compute on this device or with this precision.
    PriorError
        If a prior of another package cannot be loaded.
    """
    prior = _make(name_or_folder, settings)
    if device is not None and hasattr(prior, "to"):
        prior = prior.to(device)
    elif device not in (None, "auto", str(prior.device)):
        raise PriorInputError(f"The prior {prior.name!r} computes on {prior.device}; it cannot be moved to {device!r}.")
    if precision is not None and hasattr(prior, "precision"):
        prior.precision = precision
    elif precision not in (None, "auto", "fp32"):
        raise PriorInputError(f"The prior {prior.name!r} computes in single precision (fp32), not in {precision!r}.")
    return prior


def describe(name_or_folder: str | Path) -> dict[str, Any]:
    """Say what a prior is without loading it.

    Returns
    -------
    description
        ``name``, ``kind``, ``source`` (``"built in"``, ``"packaged"``, ``"folder"``, ``"registered"``, or the package
        of an entry point), ``voxel_sizes`` in mm, number of ``parameters``, ``bytes`` on disk, and paths of ``folder``
        and ``card``, each None where it is not known or there is none.

    Raises
    ------
    UnknownPriorError
        If there is neither a prior of this name nor a folder.
    PriorFileError
        If the folder is not that of a prior.
    """
    source, made_by = _find(name_or_folder)
    name = str(name_or_folder)
    if source in ("packaged", "folder"):
        return _describe_folder(made_by, source)
    unknown = dict.fromkeys(("voxel_sizes", "parameters", "bytes", "folder", "card"))
    if source == "built in":
        return {"name": name, "kind": name, "source": source, **unknown, "parameters": 0, "bytes": 0}
    if source == "entry point":
        source = made_by.dist.name if made_by.dist else made_by.module
        _load_entry_point(made_by)
    return {"name": name, "kind": None, "source": source, **unknown}


def describe_all() -> list[dict[str, Any]]:
    """Describe every named prior; one that is broken is reported as a warning and does not hide the others."""
    found = []
    for name in names():
        try:
            found.append(describe(name))
        except PriorError as error:
            warnings.warn(f"The prior {name!r} cannot be used: {error}", stacklevel=2)
    return found


def _find(name_or_folder: str | Path) -> tuple[str, Any]:
    """Where a prior comes from, and what makes it: a factory, nothing, an entry point, or a folder."""
    if isinstance(name_or_folder, str):
        if name_or_folder in _registered:
            return "registered", _registered[name_or_folder]
        if name_or_folder in CLASSICAL:
            return "built in", None
        for source, found in (("packaged", _zoo()), ("entry point", _entry_points())):
            if name_or_folder in found:
                return source, found[name_or_folder]
        if not _looks_like_a_path(name_or_folder):
            raise _unknown(name_or_folder)
    return "folder", Path(name_or_folder)


def _make(name_or_folder: str | Path, settings: dict[str, Any]) -> SlicePrior:
    source, made_by = _find(name_or_folder)
    name = str(name_or_folder)
    if source == "registered":
        return _made(made_by, settings, f"registered prior {name!r}")
    if source == "built in":
        problem = settings_problem(prior_class(name), settings)
        if problem:
            raise PriorInputError(f"The prior {name!r}: {problem}.")
        return prior_class(name).from_config({"kind": name, **settings}, {})
    if source == "entry point":
        return _made(_load_entry_point(made_by), settings, f"prior {name!r} of the entry point {made_by.value}")
    if settings:
        raise PriorInputError(
            f"The prior {name!r} is read from a folder, which has its settings; it takes device and precision, not "
            f"{', '.join(settings)}."
        )
    return load_prior(made_by)


def identity(prior: str | Path | SlicePrior) -> str:
    """Digest of what a prior computes, its settings and weights: a prior that was trained further is another one.

    Parameters
    ----------
    prior
        Name or folder, of which the configuration with the checksum of the weights is read; or a prior, of which
        networks, arrays and plain attributes are, except whole numbers, which may be counts. Of functions no more than
        the name of the prior can be told.

    Raises
    ------
    PriorError
        If there is no such prior.
    """
    import numpy as np

    from mrrecon.priors.base import GivenPrior

    if isinstance(prior, (str, Path)):
        folder = describe(prior)["folder"]
        if folder is not None:
            return hashlib.sha256((folder / CONFIG).read_bytes()).hexdigest()
        prior = load(prior)
    if isinstance(prior, GivenPrior):
        found = hashlib.sha256(identity(prior.prior).encode())
        for name, value in sorted(prior.known.items()):
            array = np.ascontiguousarray(value)
            found.update(f"{name} {array.dtype} {array.shape}".encode())
            found.update(array.data)
        return found.hexdigest()
    try:
        settings = prior.config()
    except PriorError:  # it cannot be saved
        settings = {
            "kind": type(prior).__qualname__,
            "name": prior.name,
            "schedule": prior.schedule.to_dict(),
            "data_scale": prior.data_scale,
            "voxel_sizes": prior.voxel_sizes,
            **{name: value for name, value in vars(prior).items() if isinstance(value, (float, str, bool, tuple))},
        }
    found = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, tensor in sorted(_tensors(prior).items()):
        found.update(f"{name} {len(tensor)}".encode())
        found.update(tensor.data)
    return found.hexdigest()


def _tensors(prior: SlicePrior) -> dict[str, Any]:
    """Everything that a prior has of networks and arrays, by name, NumPy."""
    import numpy as np
    import torch

    found: dict[str, Any] = dict(prior.state())
    for name, value in vars(prior).items():
        if isinstance(value, torch.nn.Module):
            found.update({f"{name}.{part}": tensor for part, tensor in value.state_dict().items()})
        elif isinstance(value, (torch.Tensor, np.ndarray)):
            found[name] = torch.as_tensor(value)
    return {  # as bytes, because NumPy has no bfloat16
        name: tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy() for name, tensor in found.items()
    }


def _made(made_by: Any, settings: dict[str, Any], what: str) -> SlicePrior:
    """Prior of a factory or entry point, which may also be the prior itself."""
    from mrrecon.priors.base import SlicePrior

    prior = made_by
    if not isinstance(made_by, SlicePrior):
        try:
            prior = made_by(**settings)
        except PriorError:
            raise
        except Exception as error:  # code of another package; whatever it raises, this is what it means here
            raise PriorError(f"The {what} cannot be made: {type(error).__name__}: {error}") from error
    elif settings:
        raise PriorInputError(f"The {what} is ready-made and has no settings, got {', '.join(settings)}.")
    if not isinstance(prior, SlicePrior):
        raise PriorError(f"The {what} must be or return a SlicePrior, got {type(prior).__name__}.")
    return prior


def _load_entry_point(point: importlib.metadata.EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:  # code of another package that fails while it is imported
        raise PriorError(
            f"The entry point {point.value} of {point.dist.name if point.dist else 'another package'} cannot be "
            f"imported: {type(error).__name__}: {error}"
        ) from error


def _describe_folder(folder: Path, source: str) -> dict[str, Any]:
    config = read_config(folder)
    weights, card = folder / WEIGHTS, folder / CARD
    shapes = tensor_shapes(weights) if config.get("weights_sha256") else {}
    return {
        "name": folder.name if source == "packaged" else config.get("name") or config["kind"],
        "kind": config["kind"],
        "source": source,
        "voxel_sizes": config.get("voxel_sizes"),
        "parameters": sum(math.prod(shape) for shape in shapes.values()),
        "bytes": sum(file.stat().st_size for file in folder.iterdir() if file.is_file()),
        "folder": folder,
        "card": card if card.is_file() else None,
    }


def _zoo() -> dict[str, Path]:
    """Folders of the packaged priors by name."""
    zoo = Path(str(importlib.resources.files("mrrecon.priors"))) / "zoo"
    return {p.name: p for p in sorted(zoo.iterdir()) if (p / "config.json").is_file()} if zoo.is_dir() else {}


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def _looks_like_a_path(text: str) -> bool:
    return os.sep in text or "/" in text or os.path.exists(text)


def _unknown(name: str) -> UnknownPriorError:
    close = difflib.get_close_matches(name, names(), 1)
    hint = f"did you mean {close[0]!r}? Known" if close else "known"
    return UnknownPriorError(
        f"There is no prior {name!r}, by name or as a folder; {hint} are {', '.join(names())}, and paths of folders."
    )
