"""Every exception of the toolkit; imports nothing.

Every message is one sentence that names the operand, what was expected, what was got, and the fix.
"""

from __future__ import annotations

from typing import Any

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
    "PriorDependencyError",
    "PriorError",
    "PriorFailure",
    "PriorFileError",
    "PriorInputError",
    "ShapeError",
    "SolverError",
    "UnknownPriorError",
]


class MRReconError(Exception):
    """Base of every error that mrrecon raises on purpose; the command line turns it into exit code 2."""


class ShapeError(MRReconError, ValueError):
    """An array has the wrong number of axes, or sizes that do not fit its partners."""


class DataError(MRReconError, ValueError):
    """The values are unusable: NaN or Inf, an all-zero coil, a wrong dtype, a non-Hermitian covariance."""


class MaskError(MRReconError, ValueError):
    """A sampling mask cannot be made as asked, or does not fit the k-space."""


class CalibrationError(MRReconError, ValueError):
    """Sensitivity maps cannot be estimated: no or too small a calibration region."""


class AdjointError(MRReconError, AssertionError):
    """An operator and its adjoint do not belong together."""


class MissingDependencyError(MRReconError, ImportError):
    """An optional package is needed; the message names the pip command that installs it."""


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
        The last good :class:`~mrrecon.reconstruction.Reconstruction`, whose `stopped` says that it is not the method's;
        None if there is none.
    """

    def __init__(self, message: str, partial: Any = None) -> None:
        super().__init__(message)
        self.partial = partial


class InsufficientMemoryError(MRReconError, MemoryError):
    """The work needs more memory than there is; the message says how much was needed."""


class PriorError(MRReconError):
    """Base of every error that priors raise on purpose."""


class PriorInputError(PriorError, ValueError):
    """Slices, noise levels or conditions of the wrong shape, kind or value."""


class PriorFailure(PriorError, RuntimeError):
    """A prior was asked something sensible and raised an error, or its answer is none: NaN, or of another shape."""


class PriorFileError(PriorError, ValueError):
    """A prior's folder is missing, incomplete, truncated, of another architecture, or of a newer version."""


class UnknownPriorError(PriorError, KeyError):
    """There is no prior of this name."""

    def __str__(self) -> str:
        """Return the sentence itself; a KeyError would quote it."""
        return str(self.args[0]) if self.args else ""


class PriorDependencyError(PriorError, ImportError):
    """A package that this prior needs is not installed."""
