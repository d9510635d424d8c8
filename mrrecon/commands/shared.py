"""What several commands share: masks by name or file, early checks of outputs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mrrecon.errors import MaskError, OutputError

if TYPE_CHECKING:
    from mrrecon.acquisition import Acquisition

__all__ = ["check_outputs", "undersample"]


def undersample(
    scan: Acquisition, mask: str, accel: float | None, *, calibration: int | None, seed: int, elliptical: bool = False
) -> Acquisition:
    """Undersample `scan` by a mask of that kind or in that file; all of it is kept when there is neither R nor file.

    A 2D scan loses whole lines along its readout, as a scanner would leave them out.

    Raises
    ------
    MaskError
        If both R and a file are given, or the mask cannot be made or does not fit.
    """
    from mrrecon import io, operators

    if mask in operators.MASK_KINDS:
        if accel is None:
            return scan
        shape = scan.phase_encodes
        return scan.undersample(
            operators.make_mask(mask, shape, accel, calibration=calibration, elliptical=elliptical, seed=seed)
        )
    if accel is not None:
        raise MaskError(f"--accel {accel:g} and the mask file {mask} contradict each other; give one of them.")
    return scan.undersample(io.read_mask(mask))


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
