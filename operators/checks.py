"""Is the adjoint really the adjoint? A test for any linear operator, ours or not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mrrecon.errors import AdjointError
from mrrecon.operators.backend import as_kind, to_numpy

__all__ = ["check_adjoint", "forward_and_adjoint"]


def forward_and_adjoint(A: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return the two functions of an operator: ``A.forward`` and ``A.adjoint``, or ``A`` itself and ``A.H``.

    Raises
    ------
    TypeError
        If the operator has neither.
    """
    if callable(getattr(A, "forward", None)) and callable(getattr(A, "adjoint", None)):
        return A.forward, A.adjoint
    if callable(A) and callable(getattr(A, "H", None)):
        return A, A.H
    raise TypeError(
        f"{type(A).__name__} is no linear operator known here: it needs methods forward and adjoint, or to "
        "be callable with an adjoint .H (as sigpy Linops are)."
    )


def check_adjoint(
    A: Any, seed: int = 0, rtol: float | None = None, *, ishape: Sequence[int] | None = None, like: Any = None
) -> float:
    """Check that ``<A x, y> = <x, A^H y>`` for random complex x and y.

    Parameters
    ----------
    A
        Any sigpy Linop, an engine such as :class:`CartesianEncoding`, or any object with ``forward`` and
        ``adjoint`` or with ``A(x)`` and ``A.H(y)``.
    seed
        Of the random x and y.
    rtol
        Largest error accepted; 1e-4 in single, 1e-10 in double precision (of the result) when not given.
    ishape
        Shape of x, for operators without the attribute `ishape`.
    like
        An array whose kind (NumPy, CuPy, torch) and device the test vectors get. When not given: CuPy for
        operators that say so by an attribute `xp`, else NumPy.

    Returns
    -------
    float
        ``|<A x, y> - <x, A^H y>|`` over the size that inner products of such random vectors typically have,
        ``|A x| |y| / sqrt(n)`` for n elements of y. An operator with a wrong adjoint has an error of order
        one.

    Raises
    ------
    AdjointError
        If the error exceeds `rtol`, a result has the wrong shape, or the operator yields NaN or Inf.
    TypeError
        If `A` is no linear operator known here.
    """
    forward, adjoint = forward_and_adjoint(A)
    shape = ishape if ishape is not None else getattr(A, "ishape", None)
    if shape is None:
        raise TypeError(f"{type(A).__name__} has no attribute ishape; give check_adjoint(A, ishape=...).")
    template = like if like is not None else getattr(A, "xp", np).empty(0, np.complex64)
    rng = np.random.default_rng(seed)

    def draw(size: tuple[int, ...]) -> np.ndarray:
        return (rng.standard_normal(size) + 1j * rng.standard_normal(size)).astype(np.complex64)

    x = draw(tuple(shape))
    ax = to_numpy(forward(as_kind(x, template)))
    declared = tuple(getattr(A, "oshape", ax.shape))
    y = draw(declared)
    if ax.shape == declared:
        ahy = to_numpy(adjoint(as_kind(y, template)))
    if ax.shape != declared or ahy.shape != x.shape:
        got, where, expected = (ax.shape, "A x", declared) if ax.shape != declared else (ahy.shape, "A^H y", x.shape)
        raise AdjointError(f"{A!r}: {where} has shape {got}, expected {expected}; correct the shapes of the operator.")
    left = np.vdot(y.astype(np.complex128), ax)
    right = np.vdot(ahy.astype(np.complex128), x)
    scale = max(np.linalg.norm(ax) * np.linalg.norm(y) / math.sqrt(max(1, y.size)), np.finfo(np.float32).tiny)
    error = float(abs(left - right) / scale)
    coarsest = min(ax.real.dtype.itemsize, ahy.real.dtype.itemsize)
    limit = (1e-4 if coarsest <= 4 else 1e-10) if rtol is None else rtol
    if not error <= limit:
        raise AdjointError(
            f"{A!r}: <A x, y> = {left:.6g} but <x, A^H y> = {right:.6g}, an error of {error:.2g} "
            f"where {limit:.2g} is accepted; the adjoint does not belong to the forward operator."
        )
    return error
