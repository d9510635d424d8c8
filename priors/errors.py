"""What can go wrong with priors, each as an error with one clear sentence."""

__all__ = [
    "PriorDependencyError",
    "PriorError",
    "PriorFailure",
    "PriorFileError",
    "PriorInputError",
    "UnknownPriorError",
]


class PriorError(Exception):
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
