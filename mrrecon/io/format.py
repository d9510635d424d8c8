"""What a module of this package declares about its format, and what it may ask of what it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from mrrecon.acquisition import Acquisition, Step
from mrrecon.grid import Grid

__all__ = ["KINDS", "Center", "Format", "Kind", "ReaderOptions", "Result"]

Center = Literal["keep"] | tuple[int, int, int] | None
Kind = Literal["acquisition", "reconstruction", "part", "maps", "mask"]
KINDS: dict[Kind, str] = {  # kind of thing that is written -> what messages call it
    "acquisition": "k-space",
    "reconstruction": "an image with its record",
    "part": "a single volume",
    "maps": "coil maps",
    "mask": "a mask",
}


@runtime_checkable
class Result(Protocol):
    """What writers know of a :class:`mrrecon.reconstruction.Reconstruction`, which is saved by them."""

    @property
    def volume(self) -> np.ndarray:
        """Complex image ``(x, y, z)``."""

    @property
    def extras(self) -> Mapping[str, np.ndarray]:
        """Further volumes on the same grid, by name."""

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""

    @property
    def solver(self) -> str:
        """Name of the method."""

    @property
    def acceleration(self) -> float:
        """Achieved R of the data."""

    @property
    def provenance(self) -> tuple[Step, ...]:
        """Steps of the acquisition."""

    def part(self, name: str) -> np.ndarray:
        """One volume of the result by name."""


@dataclass(frozen=True)
class ReaderOptions:
    """Options for reading k-space that every format has; those with more have a class of their own.

    Parameters
    ----------
    coils
        Indices of those to keep, in this order.
    voxel_size
        Edges in mm along (x, y, z) of the result; by default the file's, or 1 mm if it has none.
    center
        Sample (x, y, z) where the centre of k-space lies, or ``"keep"`` to leave it where it is; by default it is moved
        to the middle from where the energy peaks (see :meth:`mrrecon.Acquisition.recentre`).
    """

    coils: list[int] | None = None
    voxel_size: tuple[float, float, float] | None = None
    center: Center = None

    @property
    def keeps_centre(self) -> bool:
        """Whether the centre of k-space stays where the file has it."""
        return self.center == "keep"


@dataclass(frozen=True)
class Format:
    """What a module of this package declares about its format.

    Parameters
    ----------
    name
        Short name, as given to ``read(..., format=name)``.
    title
        What people call it.
    suffixes
        Usual file name endings; a hint for messages and for writers, never proof.
    can_read
        ``can_read(path) -> bool``, decided from the content; must not raise on foreign files.
    read
        ``read(path, options) -> Acquisition`` with its k-space on disk where the format allows it.
    options
        Class of its options: their names, types, defaults, and what they mean.
    write
        ``write(thing, path) -> Path`` of an acquisition or a reconstruction, or ``None``.
    holds
        Kinds of things that can be written as it, of :data:`KINDS`.
    folder
        Whether it is a folder of files, which must be new or empty.
    check
        Raises what stands in the way of writing: a package that is missing.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    can_read: Callable[[Path], bool] | None = None
    read: Callable[[Path, Any], Acquisition] | None = None
    options: type[ReaderOptions] = ReaderOptions
    write: Callable[[Any, Path], Path] | None = None
    holds: tuple[Kind, ...] = ()
    folder: bool = False
    check: Callable[[], None] | None = None
