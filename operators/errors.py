"""Exceptions raised by the physics layer; :mod:`mrrecon.errors` adds those of files and memory.

Every message is one sentence that names the operand, what was expected, what was got, and the fix.
"""

__all__ = [
    "AdjointError",
    "CalibrationError",
    "DataError",
    "MRReconError",
    "MaskError",
    "MissingDependencyError",
    "ShapeError",
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
