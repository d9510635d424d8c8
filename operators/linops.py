"""The operators as sigpy Linops, which compose with those of sigpy and its apps, and take torch tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any, Literal

import numpy as np
import sigpy

from mrrecon.errors import ShapeError
from mrrecon.operators.backend import is_torch, to_numpy
from mrrecon.operators.coils import mix_coils
from mrrecon.operators.encoding import CartesianEncoding
from mrrecon.operators.fourier import fft, ifft
from mrrecon.operators.resampling import Resampling
from mrrecon.operators.total_variation import gradient, gradient_adjoint
from mrrecon.operators.wavelet import WaveletTransform

__all__ = ["FFT", "ArrayLinop", "CoilMixing", "FiniteDifference", "Interpolation", "Sense", "Wavelet"]


class ArrayLinop(sigpy.linop.Linop):
    """A sigpy Linop made of functions that take NumPy, CuPy and torch arrays and return the kind they are
    given.

    Unlike sigpy's own, it also accepts torch tensors, and lets the typed errors of the functions through.

    Parameters
    ----------
    oshape, ishape
        Shape of the output and of the input.
    forward, adjoint
        The operator and its adjoint.
    normal
        A shorter way to the adjoint of the forward, if there is one.
    name
        For ``repr`` and messages.
    xp
        ``cupy`` when the operator holds data on a GPU, else ``numpy``.
    """

    def __init__(
        self,
        oshape: Sequence[int],
        ishape: Sequence[int],
        forward: Callable[[Any], Any],
        adjoint: Callable[[Any], Any],
        normal: Callable[[Any], Any] | None = None,
        name: str | None = None,
        xp: ModuleType = np,
    ) -> None:
        super().__init__(oshape, ishape, repr_str=name)
        self._forward, self._adjoint, self._normal, self._on_gpu = forward, adjoint, normal, xp is not np

    @property
    def xp(self) -> ModuleType:
        """Array module of the data that the operator holds."""
        if not self._on_gpu:
            return np
        import cupy

        return cupy

    def apply(self, input: Any) -> Any:
        """Apply the operator.

        Raises
        ------
        ShapeError
            If the input does not have the shape `ishape`.
        """
        output = self._apply(input)
        self._check_oshape(output)
        return output

    def _apply(self, input: Any) -> Any:
        return self._forward(input)

    def _adjoint_linop(self) -> ArrayLinop:
        name, xp = f"{self.repr_str}Adjoint", self.xp
        adjoint = ArrayLinop(self.ishape, self.oshape, self._adjoint, self._forward, name=name, xp=xp)
        adjoint.adj = self
        return adjoint

    def _normal_linop(self) -> sigpy.linop.Linop:
        if self._normal is None:
            return super()._normal_linop()
        name, xp = f"{self.repr_str}Normal", self.xp
        normal = ArrayLinop(self.ishape, self.ishape, self._normal, self._normal, name=name, xp=xp)
        normal.adj = normal
        return normal

    def __mul__(self, other: Any) -> Any:
        return self.apply(other) if is_torch(other) else super().__mul__(other)


class Sense(ArrayLinop):
    """The encoding of a Cartesian multicoil scan: coil sensitivities, centred unitary FFT, sampling mask.

    ``A(x)`` is k-space, ``A.H(y)`` the combined image, ``A.N(x)`` the normal operator, fused.

    Parameters
    ----------
    maps, mask, readout_domain, threads
        As for :class:`mrrecon.operators.CartesianEncoding`, which does the work.

    Attributes
    ----------
    encoding
        The engine.

    Raises
    ------
    ShapeError, DataError, MaskError
        If maps and mask do not fit each other or are of the wrong kind; on use, if an operand does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from mrrecon.operators import Sense
    >>> A = Sense(np.ones((2, 4, 6, 8), np.complex64), np.ones((6, 8), bool))
    >>> A
    <[2, 4, 6, 8]x[4, 6, 8]> Sense Linop>
    >>> A.N(np.ones((4, 6, 8), np.complex64))[0, 0, 0].real.round(3)
    np.float32(2.0)
    """

    def __init__(
        self, maps: Any, mask: Any, readout_domain: Literal["image", "kspace"] = "image", threads: int | None = None
    ) -> None:
        e = self.encoding = CartesianEncoding(maps, mask, readout_domain, threads)
        super().__init__(e.oshape, e.ishape, e.forward, e.adjoint, e.normal, name="Sense", xp=e.xp)

    def lipschitz(self) -> float:
        """Upper bound of the largest eigenvalue of ``A.N``; see :meth:`CartesianEncoding.lipschitz`."""
        return self.encoding.lipschitz()


class FFT(ArrayLinop):
    """The centred unitary FFT of arrays of one shape, over `axes` (all when not given)."""

    def __init__(self, shape: Sequence[int], axes: Sequence[int] | None = None) -> None:
        forward, inverse = (partial(_checked, f, tuple(shape), axes) for f in (fft, ifft))
        super().__init__(shape, shape, forward, inverse, _identity, name="FFT")


def _checked(transform: Callable[..., Any], shape: tuple[int, ...], axes: Sequence[int] | None, x: Any) -> Any:
    if tuple(x.shape) != shape:
        raise ShapeError(f"FFT: input has shape {tuple(x.shape)}, expected {shape}; make the operator for that shape.")
    return transform(x, axes)


def _identity(x: Any) -> Any:
    return x


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
