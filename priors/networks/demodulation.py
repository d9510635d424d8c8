"""Taking out the smooth phase of slices before a network sees them, and putting it back into what it says.

The phase of MR images is smooth nearly everywhere, and any smooth phase is as likely as any other. In the frame of its
own low-resolution phase an image is nearly real: a network need not learn all phases, and half of the noise stands
out as imaginary.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["SliceNetwork", "demodulation"]

NARROWEST, WIDEST, GROWTH = 1.5, 12.0, 3.0  # pixels; the blur grows with the noise level, so that its phase is reliable


def demodulation(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Factor of modulus one that makes noisy slices nearly real.

    Parameters
    ----------
    x
        ``(B, 2, H, W)``: real and imaginary parts.
    level
        ``(B,)``: logarithm of the noise level sigma_t / alpha_t.

    Returns
    -------
    torch.Tensor
        ``(B, H, W)`` complex64, without gradient: the conjugate phase of the slices, blurred with a Gaussian whose
        standard deviation is 1.5 pixels plus three times the noise level, up to 12.
    """
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        slices = torch.view_as_complex(x.float().permute(0, 2, 3, 1).contiguous())
        width = (NARROWEST + GROWTH * level.float().exp()).clamp_max(WIDEST)[:, None]
        blur = [
            torch.exp(-2 * (torch.pi * width * torch.fft.fftfreq(n, device=x.device)) ** 2) for n in slices.shape[-2:]
        ]
        smooth = torch.fft.ifft2(torch.fft.fft2(slices) * blur[0][:, :, None] * blur[1][:, None, :])
        return torch.polar(torch.ones_like(smooth.real), -smooth.angle())


class SliceNetwork(nn.Module):
    """Base of the networks: predicts from complex slices, if told so in the frame of their own smooth phase.

    Parameters
    ----------
    demodulate
        Whether it works in that frame. What it predicts is turned back, so that its output means the same.
    """

    def __init__(self, demodulate: bool = False) -> None:
        super().__init__()
        self.demodulate = demodulate

    def forward(self, x: torch.Tensor, level: torch.Tensor, **sizes: float) -> torch.Tensor:
        """Predict from noisy slices ``(B, 2, H, W)``, real and imaginary parts, of levels ``(B,)``: the same shape.

        Levels are the logarithm of sigma_t / alpha_t, H and W multiples of the network's ``size_multiple``; `sizes` are
        what else the network wants to know.
        """
        if not self.demodulate:
            return self._predict(x, level, **sizes)
        factor = demodulation(x, level)
        return _rotated(self._predict(_rotated(x, factor), level, **sizes).float(), factor.conj())

    def _predict(self, x: torch.Tensor, level: torch.Tensor, **sizes: float) -> torch.Tensor:
        raise NotImplementedError


def _rotated(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Slices ``(B, 2, H, W)`` times a complex factor ``(B, H, W)``."""
    a, b, c, s = x[:, 0], x[:, 1], factor.real, factor.imag
    return torch.stack([a * c - b * s, a * s + b * c], dim=1)
