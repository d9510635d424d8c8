"""The sparsifying transforms as sigpy Linops: wavelet transform and finite differences."""

from __future__ import annotations

from collections.abc import Sequence

from mrrecon.operators.sense import ArrayLinop
from mrrecon.operators.total_variation import gradient, gradient_adjoint
from mrrecon.operators.wavelet import WaveletTransform

__all__ = ["FiniteDifference", "Wavelet"]


class Wavelet(ArrayLinop):
    """The orthonormal wavelet transform of volumes; ``W.H`` is its inverse.

    Parameters
    ----------
    shape, wavelet, levels
        As for :class:`mrrecon.operators.WaveletTransform`, which does the work.

    Attributes
    ----------
    transform
        The plan, which also soft-thresholds and knows the bands.
    """

    def __init__(self, shape: Sequence[int], wavelet: str = "db2", levels: int = 4) -> None:
        self.transform = WaveletTransform(shape, wavelet, levels)
        shape = self.transform.shape
        super().__init__(shape, shape, self.transform.forward, self.transform.inverse, name="Wavelet")


class FiniteDifference(ArrayLinop):
    """Forward differences along x, y and z, ``(x, y, z)`` to ``(3, x, y, z)``; zero at the last index.

    Parameters
    ----------
    shape
        Volume ``(x, y, z)``.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__((3, *shape), shape, gradient, gradient_adjoint, name="FiniteDifference")
