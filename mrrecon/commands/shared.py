"""What several commands share: reading scans, undersampling, telling the time, words in columns."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mrrecon.errors import FileFormatError, MaskError

if TYPE_CHECKING:
    from mrrecon.acquisition import Acquisition

__all__ = ["Clock", "clock", "print_columns", "read_scan", "undersample"]


class Clock:
    """Seconds since the command began, and those of its parts."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin anew."""
        self._began, self._parts = time.perf_counter(), dict[str, float]()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time in a ``with`` block to a part."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._parts[name] = self._parts.get(name, 0.0) + time.perf_counter() - began

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self._parts.items() if seconds >= 0.05)
        whole = f"{time.perf_counter() - self._began:.1f} s in all"
        return f"{whole} ({parts})" if parts else whole


clock = Clock()
"""That of the command that is running; the command line starts it."""


def print_columns(rows: Iterable[Sequence[str]]) -> None:
    """Print rows of words below each other."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())


def read_scan(file: str, read: Mapping[str, Any] | None, *, lazy: bool = False) -> Acquisition:
    """Read a k-space file with the options given as ``--read.NAME``.

    Raises
    ------
    FileFormatError
        If the file cannot be read, or takes no such option.
    """
    from mrrecon import io

    options = dict(read or {})
    if "lazy" in options:
        raise FileFormatError("There is no --read.lazy: commands read as much of a file as they need.")
    return io.read(file, lazy=lazy, **options)


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
    from mrrecon.preparation import fit_mask

    if mask in operators.MASK_KINDS:
        if accel is None:
            return scan
        shape = scan.phase_encodes
        calibration = operators.calibration_side(shape, accel) if calibration is None else calibration
        made = operators.make_mask(mask, shape, accel, calibration=calibration, elliptical=elliptical, seed=seed)
        how = {"mask": mask, "accel": accel, "calibration": calibration, "elliptical": elliptical, "seed": seed}
        return scan.undersample(made, how)
    if accel is not None:
        raise MaskError(f"--accel {accel:g} and the mask file {mask} contradict each other; give one of them.")
    given = fit_mask(io.read_mask(mask), scan.shape, scan.readout)
    along = {"y": -2, "z": -1}.get(scan.readout)
    if along is not None and (given.any(axis=along) != given.all(axis=along)).any():
        warnings.warn(
            f"{mask} leaves out single samples along the readout {scan.readout} of a 2D scan, which no scanner can; "
            "a mask of whole lines has the shape (1, z).",
            stacklevel=2,
        )
    return scan.undersample(given, {"mask": os.path.abspath(mask)})
