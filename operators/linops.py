"""More sigpy Linops: mixing of coils (whitening, compression), wavelet transform, finite differences."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from mrrecon.operators.backend import to_numpy
from mrrecon.operators.coils import mix_coils
from mrrecon.operators.resampling import Resampling
from mrrecon.operators.sense import ArrayLinop
from mrrecon.operators.total_variation import gradient, gradient_adjoint
from mrrecon.operators.wavelet import WaveletTransform

__all__ = ["CoilMixing", "FiniteDifference", "Interpolation", "Wavelet"]


class CoilMixing(ArrayLinop):
    """Linear combinations of the coils of k-space: whitening or coil compression as an operator.

    Parameters
    ----------
    matrix
        ``(n, coils)``, or ``(x, n, coils)`` for one matrix per readout position: a result of
        :func:`~mrrecon.operators.whitening_matrix` or of one of the compression functions.
    shape
        K-space ``(coils, x, y, z)``.

    Examples
    --------
    >>> import numpy as np
    >>> from mrrecon.operators import CoilMixing, whitening_matrix
    >>> CoilMixing(whitening_matrix(4 * np.eye(2)), (2, 4, 6, 8))(np.ones((2, 4, 6, 8), np.complex64))[0, 0, 0, 0]
    np.complex64(0.5+0j)
    """

    def __init__(self, matrix: Any, shape: Sequence[int]) -> None:
        forward = to_numpy(matrix)
        adjoint = forward.conj().swapaxes(-1, -2)
        mix, unmix = (partial(mix_coils, matrix=m) for m in (forward, adjoint))
        super().__init__((forward.shape[-2], *shape[1:]), shape, mix, unmix, name="CoilMixing")


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


class Interpolation(ArrayLinop):
    """Antialiased linear interpolation to another matrix size over the same field of view.

    Parameters
    ----------
    old_shape, new_shape
        As for :class:`mrrecon.operators.Resampling`, which does the work.
    """

    def __init__(self, old_shape: Sequence[int], new_shape: Sequence[int]) -> None:
        plan = Resampling(tuple(old_shape), tuple(new_shape))
        super().__init__(plan.oshape, plan.ishape, plan.forward, plan.adjoint, name="Interpolation")
