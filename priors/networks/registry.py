"""Networks by the type that settings name."""

from __future__ import annotations

from typing import Any

from torch import nn

from mrrecon.errors import PriorInputError
from mrrecon.priors.networks.infinite import InfiniteUNet
from mrrecon.priors.networks.unet import UNet

__all__ = ["build"]

TYPES: dict[Any, type[nn.Module]] = {"unet": UNet, "infinite-unet": InfiniteUNet}


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
    try:
        return TYPES[kind](**settings)
    except TypeError as error:
        raise PriorInputError(f"The settings of a network of type {kind!r} are not usable: {error}.") from error
