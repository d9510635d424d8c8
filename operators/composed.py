"""What a solver may know of an encoding, and an encoding composed with a linear map: another grid, another basis.

With A and a linear map P, the model is ``y = A P x``: a solver that knows nothing but :class:`Encoding` finds x
unchanged, for example on a finer grid than that of the coil maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from mrrecon.errors import ShapeError
from mrrecon.operators.backend import as_array
from mrrecon.operators.encoding_checks import checked_out
from mrrecon.operators.vectors import cg_curvature

__all__ = ["ComposedEncoding", "Encoding", "LinearMap"]

PROBES = 8  # random images whose mean energy tells the trace


class Encoding(Protocol):
    """All that a solver may know of the physics: A, between images ``(sets, x, y, z)`` and k-space.

    :class:`~mrrecon.operators.CartesianEncoding` with maps ``(sets, coils, x, y, z)`` is one, and
    :class:`ComposedEncoding`.
    """

    @property
    def xp(self) -> ModuleType:
        """``numpy`` or ``cupy``, as the arrays must be."""

    @property
    def ishape(self) -> tuple[int, ...]:
        """Shape of images, ``(sets, x, y, z)``."""

    @property
    def oshape(self) -> tuple[int, ...]:
        """Shape of k-space, ``(coils, x, y, z)``."""

    def forward(self, image: Any) -> Any:
        """``A x``, zero where not sampled."""

    def adjoint(self, kspace: Any) -> Any:
        """``A^H y``."""

    def normal(self, image: Any, out: Any = None) -> Any:
        """``A^H A x``, into `out` if given: complex64, contiguous, of the shape of `image`, but not it."""

    def normal_energy(self, image: Any, out: Any = None, ridge: float = 0.0) -> tuple[Any, float]:
        """``N x`` and ``<x, N x>`` with ``N = A^H A + ridge``."""

    def lipschitz(self) -> float:
        """Upper bound of the largest eigenvalue of ``A^H A``."""

    def trace(self) -> float:
        """Trace of ``A^H A``."""

    def support(self) -> Any:
        """Voxels that the data can say anything about, bool, of the shape of an image."""


class LinearMap(Protocol):
    """A linear map of images that an encoding can be composed with, such as :class:`~mrrecon.operators.Resampling`.

    Shapes are of one image ``(x, y, z)``, when it takes any leading axes too, or of all sets ``(sets, x, y, z)``.
    """

    @property
    def ishape(self) -> tuple[int, ...]:
        """Shape of what `forward` takes."""

    @property
    def oshape(self) -> tuple[int, ...]:
        """Shape of what `forward` returns."""

    def forward(self, image: Any) -> Any:
        """``P x``."""

    def adjoint(self, image: Any) -> Any:
        """``P^H z``."""

    def lipschitz(self) -> float:
        """Upper bound of the largest eigenvalue of ``P^H P``."""


@dataclass(frozen=True)
class ComposedEncoding:
    """The encoding ``A P``: first a linear map of the image, then an encoding.

    Parameters
    ----------
    encoding
        A.
    inner
        P, from the images of the unknown to those of A.

    Raises
    ------
    ShapeError
        If what P returns is not what A takes; on use, if an operand does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from mrrecon.operators import CartesianEncoding, ComposedEncoding, Resampling
    >>> A = CartesianEncoding(np.ones((1, 2, 4, 6, 8), np.complex64), np.ones((6, 8), bool))
    >>> finer = ComposedEncoding(A, Resampling((8, 12, 16), (4, 6, 8)))
    >>> finer.ishape
    (1, 8, 12, 16)
    >>> finer.normal(np.ones(finer.ishape, np.complex64)).real.mean().round(3)
    np.float32(0.25)
    """

    encoding: Encoding
    inner: LinearMap

    def __post_init__(self) -> None:
        if self.encoding.ishape[self._leading :] != tuple(self.inner.oshape):
            raise ShapeError(
                f"The inner map returns shape {tuple(self.inner.oshape)}, the encoding takes {self.encoding.ishape}; "
                "give a map to that shape, or to its last axes."
            )

    @property
    def _leading(self) -> int:
        return max(0, len(self.encoding.ishape) - len(self.inner.oshape))

    @property
    def xp(self) -> ModuleType:
        """``numpy`` or ``cupy``, as the arrays must be."""
        return self.encoding.xp

    @property
    def ishape(self) -> tuple[int, ...]:
        """Shape of images."""
        return (*self.encoding.ishape[: self._leading], *self.inner.ishape)

    @property
    def oshape(self) -> tuple[int, ...]:
        """Shape of k-space."""
        return self.encoding.oshape

    def forward(self, image: Any) -> Any:
        """``A P x``."""
        return self.encoding.forward(self.inner.forward(image))

    def adjoint(self, kspace: Any) -> Any:
        """``P^H A^H y``."""
        return self.inner.adjoint(self.encoding.adjoint(kspace))

    def normal(self, image: Any, out: Any = None) -> Any:
        """``P^H A^H A P x``; `out` as for :meth:`CartesianEncoding.normal`."""
        result = self.inner.adjoint(self.encoding.normal(self.inner.forward(image)))
        if out is None:
            return result
        checked_out(out, as_array(image), self.ishape, self.xp)[...] = as_array(result)
        return out

    def normal_energy(self, image: Any, out: Any = None, ridge: float = 0.0) -> tuple[Any, float]:
        """``N x`` and ``<x, N x>`` with ``N = P^H A^H A P + ridge``."""
        result = self.normal(image, out)
        return result, cg_curvature(as_array(image), as_array(result), ridge)

    def lipschitz(self) -> float:
        """Upper bound of the largest eigenvalue of the normal operator."""
        return self.encoding.lipschitz() * self.inner.lipschitz()

    def trace(self) -> float:
        """Trace of the normal operator, estimated from its energy in random images of unit voxels.

        References
        ----------
        Hutchinson 1989, Commun Stat Simul Comput 18:1059.
        """
        rng = np.random.default_rng(0)
        signs = (rng.choice(np.array([1, -1], np.complex64), self.ishape) for _ in range(PROBES))
        return sum(self.normal_energy(self.xp.asarray(probe))[1] for probe in signs) / PROBES

    def support(self) -> Any:
        """Voxels that P, whose weights must not cancel, takes to the support of A."""
        return self.inner.adjoint(self.encoding.support().astype(np.float32)) != 0
