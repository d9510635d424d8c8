"""Operators inside torch graphs: the backward of a linear operator is its adjoint."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from mrrecon.errors import MissingDependencyError
from mrrecon.operators.backend import as_array, as_kind
from mrrecon.operators.checks import forward_and_adjoint

__all__ = ["autograd"]


def autograd(A: Any) -> Callable[[Any], Any]:
    """View an operator as a differentiable function of torch tensors.

    Parameters
    ----------
    A
        Any sigpy Linop, or an object with ``forward`` and ``adjoint``, such as :class:`CartesianEncoding`.
        CPU tensors reach it as NumPy, CUDA tensors as CuPy arrays, without copies.

    Returns
    -------
    callable
        ``f(x)`` takes a tensor, complex or real (then the gradient is real), and returns the tensor ``A x``.
        Gradients follow torch's convention, under which the backward of A is exactly its adjoint; they can be
        differentiated again, and forward-mode derivatives work too.

    Raises
    ------
    MissingDependencyError
        If torch is not installed.
    TypeError
        If `A` is no linear operator known here.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from mrrecon.operators import CartesianEncoding, autograd
    >>> f = autograd(CartesianEncoding(np.ones((1, 2, 2, 2), np.complex64), np.eye(2, dtype=bool)))
    >>> x = torch.ones(2, 2, 2, dtype=torch.complex64, requires_grad=True)
    >>> f(x).abs().square().sum().backward()
    >>> x.grad.shape
    torch.Size([2, 2, 2])
    """
    function = _function()
    forward, adjoint = forward_and_adjoint(A)

    def apply(x: Any) -> Any:
        return function.apply(x if x.is_complex() else x.to(x.dtype.to_complex()), forward, adjoint)

    return apply


@cache
def _function() -> Any:
    """Define the torch function when torch is first needed."""
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError("autograd needs torch: pip install torch.") from error

    class Linear(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, forward: Callable[[Any], Any], adjoint: Callable[[Any], Any]) -> Any:
            ctx.forward, ctx.adjoint, ctx.dtype = forward, adjoint, x.dtype
            return as_kind(forward(as_array(x.detach())), x)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return Linear.apply(gradient, ctx.adjoint, ctx.forward).to(ctx.dtype), None, None

        @staticmethod
        def jvp(ctx: Any, tangent: Any, *_: Any) -> Any:
            return Linear.apply(tangent, ctx.forward, ctx.adjoint)

    return Linear
