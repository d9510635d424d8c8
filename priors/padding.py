"""Slices of any size for networks that halve the picture: mirror the border outwards, crop the result back."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mrrecon.errors import PriorInputError

__all__ = ["pad_to_multiple"]


def pad_to_multiple(
    x: torch.Tensor, multiple: int, minimum: int = 1
) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
    """Grow pictures to sides that are multiples of a number, by reflection on all four sides.

    Parameters
    ----------
    x
        ``(B, C, H, W)``, real or complex.
    multiple
        What both sides are to be divisible by.
    minimum
        What both sides are to be at least.

    Returns
    -------
    padded
        ``(B, C, H', W')``; `x` itself if nothing is missing.
    crop
        Function that takes ``(..., H', W')`` back to ``(..., H, W)``.

    Raises
    ------
    PriorInputError
        If `multiple` or `minimum` is less than one, or `x` has not four axes.

    Notes
    -----
    The border pixel itself is not repeated. Sides too short for one reflection are reflected again and again, as in
    ``numpy.pad``; a side of one pixel is repeated.

    >>> padded, crop = pad_to_multiple(torch.arange(5.0).reshape(1, 1, 1, 5), multiple=4)
    >>> padded.shape, padded[0, 0, 0].tolist(), crop(padded).shape
    (torch.Size([1, 1, 4, 8]), [1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 3.0, 2.0], torch.Size([1, 1, 1, 5]))
    """
    if multiple < 1 or minimum < 1:
        raise PriorInputError(f"multiple and minimum must be at least 1, got {multiple} and {minimum}.")
    if x.ndim != 4 or 0 in x.shape:
        raise PriorInputError(f"Pictures to pad must have shape (B, C, H, W), got {tuple(x.shape)}.")
    height, width = x.shape[-2:]
    margins = [-(-max(side, minimum) // multiple) * multiple - side for side in (height, width)]
    top, left = (margin // 2 for margin in margins)
    padded = x
    for axis, (margin, first) in enumerate(zip(margins, (top, left), strict=True), start=2):
        if margin:
            padded = padded.index_select(axis, _mirror(x.shape[axis], margin, first, x.device))

    def crop(y: torch.Tensor) -> torch.Tensor:
        return y[..., top : top + height, left : left + width]

    return padded, crop


def _mirror(side: int, margin: int, first: int, device: torch.device) -> torch.Tensor:
    """Index of the pixel to take at each place of a side grown by `margin`, `first` of it in front."""
    place = torch.arange(-first, side + margin - first, device=device) % max(2 * side - 2, 1)
    return torch.minimum(place, 2 * side - 2 - place)
