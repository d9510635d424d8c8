"""Every exception of the toolkit in one place (those of the physics layer come from the operators)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrrecon.operators.errors import (
    AdjointError,
    CalibrationError,
    DataError,
    MaskError,
    MissingDependencyError,
    MRReconError,
    ShapeError,
)

if TYPE_CHECKING:
    from mrrecon.reconstruction import Reconstruction

__all__ = [
    "AdjointError",
    "CalibrationError",
    "DataError",
    "FileFormatError",
    "InsufficientMemoryError",
    "MRReconError",
    "MaskError",
    "MissingDependencyError",
    "OutputError",
    "ShapeError",
    "SolverError",
]


class FileFormatError(MRReconError, ValueError):
    """A file is missing, truncated, of an unknown format, or lacks a dataset that its format requires."""


class OutputError(MRReconError, OSError):
    """A result cannot be written: folder missing or not writable, disk full."""


class SolverError(MRReconError, RuntimeError):
    """A method went wrong while it ran: its prior failed, or its image is none; the command line exits with 3.

    Parameters
    ----------
    message
        What went wrong, and when.
    partial
        The last good reconstruction, whose ``settings["stopped"]`` says that it is not the method's; None if there is
        none.
    """

    def __init__(self, message: str, partial: Reconstruction | None = None) -> None:
        super().__init__(message)
        self.partial = partial


class InsufficientMemoryError(MRReconError, MemoryError):
    """The work needs more memory than there is; the message says how much was needed."""
