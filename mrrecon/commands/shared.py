"""What several commands share: masks by name or file, early checks of outputs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mrrecon.errors import MaskError, OutputError

if TYPE_CHECKING:
    from mrrecon.acquisition import Acquisition

__all__ = ["MASK_KINDS", "check_outputs", "resolve_mask"]

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
    return operators.make_mask(mask, scan.shape[1:], accel, calibration=calibration, elliptical=elliptical, seed=seed)


def check_outputs(paths: Sequence[str]) -> None:
    """Refuse outputs that could not be written, before the long work rather than after it.

    Raises
    ------
    OutputError
        If no writer knows the suffix, or a folder does not exist or cannot be written to.
    """
    from mrrecon import io

    for path in paths:
        io.find_writer(path)
        folder = Path(path).absolute().parent
        if not folder.is_dir():
            raise OutputError(f"The folder {folder} for {path} does not exist; create it with mkdir -p first.")
        if not os.access(folder, os.W_OK):
            raise OutputError(f"The folder {folder} is not writable; choose another place for {path}.")
