"""What several commands share: masks by name or file, early checks of outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mrrecon.errors import MaskError

if TYPE_CHECKING:
    from mrrecon.acquisition import Acquisition

__all__ = ["MASK_KINDS", "resolve_mask"]

MASK_KINDS = ("poisson", "gaussian", "uniform")


def resolve_mask(
    mask: str, scan: Acquisition, accel: float | None, *, calibration: int, seed: int, elliptical: bool = False
) -> np.ndarray:
    """Return the mask of that kind, made for `scan`, or the one in that file."""
    from mrrecon import io, operators

    if mask not in MASK_KINDS:
        if accel is not None:
            raise MaskError(f"--accel {accel:g} and the mask file {mask} contradict each other; give one of them.")
        return io.read_mask(mask)
    if accel is None:
        raise MaskError(f"A {mask} mask needs the acceleration: add --accel R, or name a mask file with --mask.")
    return operators.make_mask(
        mask, scan.shape[1:], accel, calibration=calibration, elliptical=elliptical, seed=seed
    )
