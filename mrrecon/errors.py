"""Every exception of the toolkit in one place (those of the physics layer come from the operators)."""

from mrrecon.operators.errors import (
    AdjointError,
    CalibrationError,
    DataError,
    MaskError,
    MissingDependencyError,
    MRReconError,
    ShapeError,
)

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
]


class FileFormatError(MRReconError, ValueError):
    """A file is missing, truncated, of an unknown format, or lacks a dataset that its format requires."""


class OutputError(MRReconError, OSError):
    """A result cannot be written: folder missing or not writable, disk full."""


class InsufficientMemoryError(MRReconError, MemoryError):
    """The work needs more memory than there is; the message says how much was needed."""
