"""Networks of the diffusion priors, made from settings."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from mrrecon.errors import PriorInputError

__all__ = ["build"]

TYPES = {"unet": ("unet", "UNet"), "infinite-unet": ("infinite", "InfiniteUNet")}  # type -> module, class


def build(config: dict[str, Any]) -> nn.Module:
    """Make a network, with fresh weights, from ``{"type": ..., **settings}``.

    Parameters
    ----------
    config
        ``type`` is ``"unet"`` or ``"infinite-unet"``; the rest are the arguments of that class.

    Raises
    ------
    PriorInputError
        If there is no such type, or a setting is unknown or not usable.
    """
    settings = dict(config)
    kind = settings.pop("type", None)
    if kind not in TYPES:
        raise PriorInputError(f"There is no network of type {kind!r}; choose one of {', '.join(TYPES)}.")
    module, name = TYPES[kind]
    network = getattr(importlib.import_module(f"mrrecon.priors.networks.{module}"), name)
    try:
        return network(**settings)
    except TypeError as error:
        raise PriorInputError(f"The settings of a network of type {kind!r} are not usable: {error}.") from error
