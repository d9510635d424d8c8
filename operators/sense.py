"""The operators as sigpy Linops, which compose with those of sigpy and its apps, and take torch tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any, Literal

import numpy as np
import sigpy

from mrrecon.errors import ShapeError
from mrrecon.operators.backend import is_torch
from mrrecon.operators.encoding import CartesianEncoding
from mrrecon.operators.fourier import fft, ifft

__all__ = ["FFT", "ArrayLinop", "Sense"]


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
        self,
        maps: Any,
        mask: Any,
        readout_domain: Literal["image", "kspace"] = "image",
        threads: int | None = None,
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
