"""U-Net for slices of any matrix size: depthwise kernels that stand for the same millimetres at every resolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import nn
from torch.nn import functional as F

from mrrecon.errors import PriorInputError
from mrrecon.priors.networks.demodulation import SliceNetwork
from mrrecon.priors.networks.embedding import level_embedding
from mrrecon.priors.networks.unet import UNet, zeroed

__all__ = ["InfiniteUNet", "KernelInterpolation", "depthwise", "kernel_size", "resize_kernel"]

KernelInterpolation = Literal["bilinear", "fourier", "zero-pad"]
SMALLEST_KERNEL = 3
LARGEST_DIRECT_GRADIENT = 13  # oneDNN's gradients of larger depthwise kernels are 20 to 50 times slower than FFTs


class InfiniteUNet(SliceNetwork):
    """Predict the noise with kernels that grow with the matrix, around a U-Net that always sees the same grid.

    Blocks of depthwise convolutions work at the resolution of the input. Their kernels are learned at one voxel size
    and resized for others, see :func:`kernel_size` and :func:`resize_kernel`. Between them the features are resampled
    (antialiased) to a fixed grid, seen by a :class:`UNet`, and resampled back.

    Parameters
    ----------
    features
        Channels at the resolution of the input.
    depth
        Depthwise blocks before the grid, and as many after it.
    kernel
        Side of the depthwise kernels at the voxel size of training, odd.
    kernel_interpolation
        How they are resized for other voxel sizes. May be changed at any time.
    grid
        Side of the fixed grid.
    channels, blocks, attention, groups
        Of the :class:`UNet` on the grid.
    embedding
        Length of the vector that carries the noise level.
    demodulate
        Whether it works in the frame of the slices' own smooth phase, see
        :func:`mrrecon.priors.networks.demodulation.demodulation`.

    Attributes
    ----------
    size_multiple
        1: any height and width will do.
    takes_relative_size
        True: the forward pass takes ``relative_size``, how many times finer the pixels are than those of training.

    Notes
    -----
    Other than in the references, the voxel size decides the side of the kernels, not the matrix size, which cropping
    and padding change; resized kernels keep their sum under every rule (unless zero padding has to crop),
    the features on the grid are those of the whole slice, antialiased, and grid features are added to those at the
    resolution of the input, not concatenated.

    References
    ----------
    S. Bond-Taylor, C. Willcocks, ∞-Diff: Infinite Resolution Diffusion with Subsampled Mollified States, 2024,
    section 4.
    """

    size_multiple = 1
    takes_relative_size = True

    def __init__(
        self,
        features: int = 64,
        depth: int = 3,
        kernel: int = 11,
        kernel_interpolation: KernelInterpolation = "fourier",
        grid: int = 64,
        channels: Sequence[int] = (128, 128, 128),
        blocks: int = 2,
        attention: bool = True,
        embedding: int = 128,
        groups: int = 16,
        demodulate: bool = False,
    ) -> None:
        super().__init__(demodulate)
        if min(features, depth) < 1 or kernel < SMALLEST_KERNEL or kernel % 2 == 0:
            raise PriorInputError(
                f"An infinite U-Net needs at least one feature, a depth of 1, and an odd kernel of at least "
                f"{SMALLEST_KERNEL}, got features {features}, depth {depth}, kernel {kernel}."
            )
        self.kernel, self.grid, self.embedding = kernel, grid, embedding
        self.kernel_interpolation = kernel_interpolation
        self.inner = GridUNet(features, channels, blocks, attention, embedding, groups)
        if grid < 1 or grid % self.inner.size_multiple:
            raise PriorInputError(
                f"grid = {grid} must be a multiple of {self.inner.size_multiple}, for {len(channels)} levels."
            )
        self.level = nn.Sequential(nn.Linear(embedding, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.stem = nn.Linear(2, features)
        self.before = nn.ModuleList(DepthwiseBlock(features, kernel, embedding) for _ in range(depth))
        self.after = nn.ModuleList(DepthwiseBlock(features, kernel, embedding) for _ in range(depth))
        self.norm = nn.LayerNorm(features)
        self.head = nn.Linear(features, 2)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def kernel_interpolation(self) -> KernelInterpolation:
        """Rule of :func:`resize_kernel` in use."""
        return self._kernel_interpolation

    @kernel_interpolation.setter
    def kernel_interpolation(self, value: KernelInterpolation) -> None:
        self._kernel_interpolation = _known(value)

    def _predict(self, x: torch.Tensor, level: torch.Tensor, **sizes: float) -> torch.Tensor:
        height, width = x.shape[-2:]
        side = kernel_size(self.kernel, sizes.get("relative_size", 1.0))
        resizing = _tensor(_kernel_matrix(self.kernel, side, self.kernel_interpolation), x)
        gain = _tensor(np.multiply.outer(_border_gain(height, side), _border_gain(width, side))[..., None], x)
        embedded = F.silu(self.level(level_embedding(level, self.embedding)))
        h = self.stem(x.permute(0, 2, 3, 1))  # channels last from here on: (B, H, W, features)
        for block in self.before:
            h = block(h, embedded, resizing, gain)
        seen = self.inner(_resample(h, self.grid, self.grid).permute(0, 3, 1, 2), level)
        h = h + _resample(seen.permute(0, 2, 3, 1), height, width)
        for block in self.after:
            h = block(h, embedded, resizing, gain)
        return self.head(F.silu(self.norm(h))).permute(0, 3, 1, 2)


class GridUNet(UNet):
    """U-Net from features ``(B, features, S, S)`` to features of the same shape."""

    def __init__(
        self, features: int, channels: Sequence[int], blocks: int, attention: bool, embedding: int, groups: int
    ) -> None:
        super().__init__(channels, blocks, 1, attention, embedding, groups)
        self.stem = nn.Conv2d(features, channels[0], 3, padding=1)
        self.head[-1] = zeroed(nn.Conv2d(channels[0], features, 3, padding=1))


class DepthwiseBlock(nn.Module):
    """Depthwise convolution, then pointwise layers, each around a shortcut and told the noise level.

    Nothing in it but the kernel knows of pixels, and it starts as its shortcut.
    """

    def __init__(self, features: int, kernel: int, embedding: int) -> None:
        super().__init__()
        self.film = nn.Linear(embedding, 4 * features)
        self.kernel = nn.Parameter(torch.zeros(features, kernel, kernel))
        self.expand = nn.Linear(features, 2 * features)
        self.contract = nn.Linear(2 * features, features)
        nn.init.zeros_(self.contract.weight)
        nn.init.zeros_(self.contract.bias)

    def forward(
        self, x: torch.Tensor, embedded: torch.Tensor, resizing: torch.Tensor, gain: torch.Tensor
    ) -> torch.Tensor:
        """Map features ``(B, H, W, features)`` to the same shape.

        Parameters
        ----------
        x
            The features.
        embedded
            ``(B, embedding)``: the noise level.
        resizing
            ``(n, kernel)``: makes kernels of side n.
        gain
            ``(H, W, 1)``: by how much the window of each pixel is larger than its part inside the slice, so that the
            border sees as much as the interior.
        """
        scale, shift, scale_2, shift_2 = self.film(embedded).float()[:, None, None].chunk(4, dim=-1)
        h = torch.addcmul(shift, F.layer_norm(x.float(), x.shape[-1:]), 1 + scale)
        with torch.autocast(x.device.type, enabled=False):  # half precision makes it slower, not faster
            kernels = resizing @ self.kernel @ resizing.T
            x = torch.addcmul(x.float(), depthwise(h.permute(0, 3, 1, 2), kernels).permute(0, 2, 3, 1), gain)
        h = torch.addcmul(shift_2, F.layer_norm(x, x.shape[-1:]), 1 + scale_2)
        return x + self.contract(F.relu_(self.expand(h)))  # on CPUs SiLU takes as long as both layers


def kernel_size(kernel: int, relative_size: float) -> int:
    """Odd side, at least 3, of a kernel for pixels `relative_size` times finer than those it was learned for.

    Raises
    ------
    PriorInputError
        If `relative_size` is not a positive number.

    >>> [kernel_size(11, side / 128) for side in (80, 128, 160, 218, 320)]
    [7, 11, 13, 19, 27]
    """
    if not (math.isfinite(relative_size) and relative_size > 0):
        raise PriorInputError(f"relative_size must be a positive number, got {relative_size!r}.")
    return max(SMALLEST_KERNEL, 2 * round((kernel * relative_size - 1) / 2) + 1)


def resize_kernel(kernels: torch.Tensor, size: int, interpolation: KernelInterpolation) -> torch.Tensor:
    """Resize convolution kernels; the centre stays at the centre.

    Parameters
    ----------
    kernels
        ``(..., k, k)``, k odd.
    size
        Side of the result, odd.
    interpolation
        ``"bilinear"``: linear interpolation with pixels as areas (antialiased when shrinking), values scaled by
        ``(k / size)^2``. ``"fourier"``: the spectrum is padded with zeros, or its high frequencies are dropped: the
        result samples the band-limited periodic function through the kernel. ``"zero-pad"``: zeros around the kernel,
        or its border cut off; it keeps its side in pixels.

    Returns
    -------
    torch.Tensor
        ``(..., size, size)`` with the sum of `kernels`, except where zero padding crops.

    Raises
    ------
    PriorInputError
        If a side is even, the kernel is not square, or there is no such interpolation.

    Notes
    -----
    With the sum, the gain for smooth images stays. Linear interpolation keeps it exactly because the part of every
    entry in the result is normalised; at the border it differs from ``(k / size)^2`` by some percent.

    >>> resize_kernel(torch.ones(3, 3), 5, "zero-pad").sum(0)
    tensor([0., 3., 3., 3., 0.])
    """
    k = kernels.shape[-1]
    if kernels.ndim < 2 or kernels.shape[-2] != k or k % 2 == 0 or size < 1 or size % 2 == 0:
        raise PriorInputError(
            f"Kernels must be square, of odd side before and after, got shape {tuple(kernels.shape)} and size {size}."
        )
    matrix = _tensor(_kernel_matrix(k, size, _known(interpolation)), kernels)
    return matrix @ kernels @ matrix.T


def depthwise(x: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Correlate every channel ``(B, C, H, W)`` with its own kernel ``(C, n, n)``, n odd, zeros beyond the border.

    Channels last in memory are fast. Large kernels that gradients are wanted of are applied by FFT.
    """
    n, (height, width) = kernels.shape[-1], x.shape[-2:]
    wants_gradient = torch.is_grad_enabled() and (x.requires_grad or kernels.requires_grad)
    if not wants_gradient or n <= LARGEST_DIRECT_GRADIENT:
        weight = kernels[:, None].contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, weight, padding=n // 2, groups=len(kernels))
    sides = [next_fast_len(side + n - 1, real=True) for side in (height, width)]
    spectrum = torch.fft.rfft2(x.contiguous(), s=sides) * torch.fft.rfft2(kernels.flip(-1, -2), s=sides)
    whole = torch.fft.irfft2(spectrum, s=sides)
    return whole[..., n // 2 : n // 2 + height, n // 2 : n // 2 + width].contiguous(memory_format=torch.channels_last)


def _known(interpolation: KernelInterpolation) -> KernelInterpolation:
    if interpolation not in get_args(KernelInterpolation):
        raise PriorInputError(
            f"There is no kernel_interpolation {interpolation!r}; choose one of "
            f"{', '.join(get_args(KernelInterpolation))}."
        )
    return interpolation


def _resample(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Antialiased linear resampling of ``(B, H, W, C)``; as matrix products it is as fast as it is deterministic."""
    b, _, old_width, c = x.shape
    rows, columns = (_tensor(_linear(old, new), x) for old, new in ((x.shape[1], height), (old_width, width)))
    return columns @ (rows @ x.reshape(b, -1, old_width * c)).reshape(b, height, old_width, c)


@lru_cache(maxsize=64)
def _linear(old: int, new: int) -> np.ndarray:
    """``(new, old)``: linear interpolation between the centres of pixels, a wider triangle when shrinking."""
    step = old / new
    centres, pixels = (np.arange(new) + 0.5) * step, np.arange(old) + 0.5
    weights = np.clip(1 - np.abs(pixels - centres[:, None]) / max(step, 1.0), 0, None)
    return weights / weights.sum(axis=1, keepdims=True)


@lru_cache(maxsize=64)
def _kernel_matrix(old: int, new: int, interpolation: KernelInterpolation) -> np.ndarray:
    """``(new, old)``: what resizes one axis of a kernel. All rules are separable."""
    if interpolation == "bilinear":
        weights = _linear(old, new)
        return weights / weights.sum(axis=0)
    if interpolation == "zero-pad":
        return np.eye(new, old, k=(old - new) // 2)
    # FFT of the old side and inverse FFT of the new one, both from the centre, of the frequencies that both have.
    places = np.arange(new)[:, None] / new - np.arange(old) / old - (new // 2 / new - old // 2 / old)
    frequencies = np.arange(1, min(old, new) // 2 + 1)
    return (1 + 2 * np.cos(2 * np.pi * places[..., None] * frequencies).sum(axis=-1)) / new


@lru_cache(maxsize=64)
def _border_gain(side: int, window: int) -> np.ndarray:
    """``(side,)``: how many times larger a window around each pixel is than its part inside."""
    place = np.arange(side)
    last, first = np.minimum(place + window // 2, side - 1), np.maximum(place - window // 2, 0)
    return window / (last - first + 1)


def _tensor(array: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(array, dtype=like.dtype, device=like.device)
