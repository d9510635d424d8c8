"""U-Net that predicts the noise in complex slices: the ADM design, and with ``patch=2`` a compact form for CPUs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from mrrecon.errors import PriorInputError
from mrrecon.priors.networks.demodulation import SliceNetwork
from mrrecon.priors.networks.embedding import level_embedding

__all__ = ["UNet"]

HEAD_WIDTH = 32


class UNet(SliceNetwork):
    """Residual U-Net, every block told the noise level by scale and shift, attention where the image is smallest.

    Parameters
    ----------
    channels
        Feature channels of each level; each level has half the side of the one above.
    blocks
        Residual blocks on each level of the way down, and as many on the way up.
    patch
        Side of the square of pixels that becomes one position of the first level (pixel unshuffle): 1 is the ADM
        design, 2 a quarter of the work and memory.
    attention
        Whether the lowest level has self-attention.
    embedding
        Length of the vector that carries the noise level.
    groups
        Of the group normalisation; must divide every entry of `channels`. 0: no normalisation, as in denoisers made
        for speed: on CPUs it costs as much as the convolutions.
    demodulate
        Whether it works in the frame of the slices' own smooth phase, see
        :func:`mrrecon.priors.networks.demodulation.demodulation`.

    Attributes
    ----------
    size_multiple
        Height and width of the input must be multiples of this.

    References
    ----------
    P. Dhariwal, A. Nichol, Diffusion Models Beat GANs on Image Synthesis, 2021, section 3 (ADM).
    W. Shi et al., Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel CNN, 2016.
    """

    def __init__(
        self,
        channels: Sequence[int] = (64, 128, 192, 256),
        blocks: int = 2,
        patch: int = 1,
        attention: bool = True,
        embedding: int = 256,
        groups: int = 16,
        demodulate: bool = False,
    ) -> None:
        super().__init__(demodulate)
        if not channels or blocks < 1 or patch < 1 or embedding < 2 or embedding % 2:
            raise PriorInputError(
                "A U-Net needs at least one level, one block and a patch of 1, and an even embedding, got "
                f"channels {tuple(channels)}, blocks {blocks}, patch {patch}, embedding {embedding}."
            )
        if groups < 0 or (groups and any(c % groups for c in channels)):
            raise PriorInputError(f"groups = {groups} must divide every number of channels, {tuple(channels)}.")
        if attention and channels[-1] % HEAD_WIDTH:
            raise PriorInputError(f"With attention the last level's channels must be a multiple of {HEAD_WIDTH}.")
        self.patch = patch
        self.embedding = embedding
        self.size_multiple = patch * 2 ** (len(channels) - 1)
        self.level = nn.Sequential(nn.Linear(embedding, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.stem = nn.Conv2d(2 * patch**2, channels[0], 3, padding=1)

        def stack(width: int) -> nn.ModuleList:
            return nn.ModuleList(ResidualBlock(width, embedding, groups) for _ in range(blocks))

        last = len(channels) - 1
        self.down = nn.ModuleList(stack(width) for width in channels[:last])
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in itertools.pairwise(channels))
        self.bottom = stack(channels[last])
        self.attention = Attention(channels[last], groups) if attention else nn.Identity()
        self.after = ResidualBlock(channels[last], embedding, groups)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in itertools.pairwise(channels))
        self.up = nn.ModuleList(stack(width) for width in channels[:last])
        self.head = nn.Sequential(
            _norm(groups, channels[0]), nn.SiLU(), zeroed(nn.Conv2d(channels[0], 2 * patch**2, 3, padding=1))
        )

    def _predict(self, x: torch.Tensor, level: torch.Tensor, **told: float) -> torch.Tensor:
        told = F.silu(self.level(level_embedding(level, self.embedding)))
        with torch.autocast(x.device.type, enabled=False):  # the signal, rounded to bf16, would drown little noise
            h = self.stem(F.pixel_unshuffle(x.float(), self.patch))
        skips = []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            for block in blocks:
                h = block(h, told)
            skips.append(h)
            h = shrink(h)
        for block in self.bottom:
            h = block(h, told)
        h = self.after(self.attention(h), told)
        for blocks, grow in zip(reversed(self.up), reversed(self.grow), strict=True):
            h = grow(h) + skips.pop()
            for block in blocks:
                h = block(h, told)
        with torch.autocast(x.device.type, enabled=False):
            return F.pixel_shuffle(self.head(h.float()), self.patch)


class ResidualBlock(nn.Module):
    """Two convolutions around a shortcut; the noise level scales and shifts the features between them."""

    def __init__(self, width: int, embedding: int, groups: int) -> None:
        super().__init__()
        self.norm_in = _norm(groups, width)
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.film = nn.Linear(embedding, 2 * width)
        self.norm_out = _norm(groups, width)
        self.conv_out = zeroed(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        """Features ``(B, width, H, W)`` to the same shape; `told` is ``(B, embedding)``."""
        h = self.conv_in(F.silu(self.norm_in(x)))
        scale, shift = self.film(told)[:, :, None, None].chunk(2, dim=1)
        h = torch.addcmul(shift, self.norm_out(h), 1 + scale)
        return x + self.conv_out(F.silu(h))


class Attention(nn.Module):
    """Self-attention over all positions, around a shortcut."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.heads = channels // HEAD_WIDTH
        self.norm = _norm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features ``(B, C, H, W)`` to the same shape."""
        b, c, height, width = x.shape
        q, k, v = (
            self.qkv(self.norm(x)).reshape(b, 3, self.heads, HEAD_WIDTH, height * width).transpose(-1, -2).unbind(1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(mixed.transpose(-1, -2).reshape(b, c, height, width))


def _norm(groups: int, width: int) -> nn.Module:
    return nn.GroupNorm(groups, width) if groups else nn.Identity()


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """Start a layer at zero, so that the block around it starts as its shortcut."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
