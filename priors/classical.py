"""Priors without training: total variation, wavelets and quadratic smoothness, as denoisers of complex slices.

Each solves its denoising problem for noise of any level; what they call the strength is a number without unit, the
same for all noise levels. They treat slices as complex numbers, so that a global phase passes through unchanged,
compute on the CPU or, after ``to("cuda")``, on a GPU, and can be differentiated.
"""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from torch.nn.functional import pad as _pad

from mrrecon.errors import PriorDependencyError, PriorInputError
from mrrecon.priors.base import SlicePrior, moved
from mrrecon.priors.condition import Condition

__all__ = ["TikhonovPrior", "TotalVariationPrior", "WaveletPrior"]

GRADIENT_NORM_SQUARED = 8.0  # bound of the largest eigenvalue of the 2D gradient's normal operator: 4 an axis


class _ClassicalPrior(SlicePrior):
    """What these priors share: they have no weights and can compute on any device."""

    _device = torch.device("cpu")

    @property
    def device(self) -> torch.device:
        """Where the computation happens; the CPU unless :meth:`to` was called."""
        return self._device

    def to(self, device: str | torch.device) -> Self:
        """Compute there from now on; ``"auto"`` means a GPU if there is one. Returns the prior itself.

        Raises
        ------
        PriorInputError
            If there is no such device.
        """
        self._device = moved(self.name, lambda device: torch.empty(0, device=device).device, device)
        return self


class TotalVariationPrior(_ClassicalPrior):
    r"""Slices of small total variation: ``argmin_x |x - y|^2 / 2 + strength sigma TV(x)``.

    TV is the isotropic total variation, the sum over pixels of the length of the gradient, whose two complex forward
    differences count as four numbers; they are zero past the last row and column.

    Parameters
    ----------
    strength
        Weight of the total variation, in units of the noise's standard deviation (per real component).
    iterations
        Number of steps of the dual algorithm; the same for every slice, so that a slice's result does not depend on
        the rest of its batch.

    References
    ----------
    L. Rudin, S. Osher, E. Fatemi 1992, Physica D 60:259. A. Beck, M. Teboulle 2009, IEEE Trans Image Process 18:2419,
    section 4.1 (the fast gradient projection used here).
    """

    name = "total-variation"

    def __init__(self, strength: float = 1.2, iterations: int = 50) -> None:
        self.strength = _positive(strength, "strength")
        self.iterations = _count(iterations, "iterations")

    def config(self) -> dict[str, Any]:
        """See :meth:`SlicePrior.config`."""
        return {"kind": self.name, "strength": self.strength, "iterations": self.iterations}

    def _denoise(self, noisy: torch.Tensor, sigma: torch.Tensor, condition: Condition | None) -> torch.Tensor:
        parts = torch.stack([noisy.real, noisy.imag], dim=1)
        radius = (self.strength * sigma)[:, None, None]
        floor = torch.finfo(parts.dtype).tiny  # a radius of zero is no division by zero
        dual = ahead = torch.zeros_like(parts)[:, None].expand(-1, 2, -1, -1, -1)
        momentum = 1.0
        for _ in range(self.iterations):
            uphill = ahead + _gradient(parts - _gradient_adjoint(ahead)) / GRADIENT_NORM_SQUARED
            squared = uphill.square().sum((1, 2), keepdim=True)
            new = uphill * (radius / torch.maximum(squared, radius**2).clamp_min(floor).sqrt())
            following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
            ahead = new + (momentum - 1) / following * (new - dual)
            dual, momentum = new, following
        clean = parts - _gradient_adjoint(dual)
        return torch.complex(clean[:, 0], clean[:, 1])


class WaveletPrior(_ClassicalPrior):
    r"""Slices with few wavelet coefficients: soft thresholding of the undecimated wavelet transform.

    The threshold of each band is `strength` times the noise's standard deviation (per real component) in that band;
    magnitudes of the complex coefficients shrink by it, phases stay. The transform is periodic and a tight frame for
    every size of slice; it is the average over all shifts of the orthonormal transform (cycle spinning). The coarsest
    approximation is left as it is.

    Parameters
    ----------
    strength
        Threshold in units of the noise.
    wavelet
        Name of an orthogonal wavelet of PyWavelets.
    levels
        Number of levels.

    Raises
    ------
    PriorInputError
        If a setting is not usable.
    PriorDependencyError
        If PyWavelets, which has the filters, is not installed.

    References
    ----------
    R. Coifman, D. Donoho 1995, Translation-invariant de-noising, Lecture Notes in Statistics 103:125.
    """

    name = "wavelet"

    def __init__(self, strength: float = 2.0, wavelet: str = "db2", levels: int = 4) -> None:
        self.strength = _positive(strength, "strength")
        self.wavelet = wavelet
        self.depth = _count(levels, "levels")
        self._low, self._high = _filters(wavelet)

    def config(self) -> dict[str, Any]:
        """See :meth:`SlicePrior.config`."""
        return {"kind": self.name, "strength": self.strength, "wavelet": self.wavelet, "levels": self.depth}

    def _denoise(self, noisy: torch.Tensor, sigma: torch.Tensor, condition: Condition | None) -> torch.Tensor:
        rows, columns = (self._responses(n, noisy) for n in noisy.shape[1:])
        spectrum = torch.fft.fft2(noisy)
        lowest = rows[-1][0][:, None] * columns[-1][0]
        clean = spectrum * (lowest.abs() ** 2)
        for (low_y, high_y), (low_x, high_x) in zip(rows, columns, strict=True):
            for y, x in ((low_y, high_x), (high_y, low_x), (high_y, high_x)):
                band = y[:, None] * x
                gain = (band.abs() ** 2).mean().sqrt()  # standard deviation of unit noise in this band
                coefficients = _soft(torch.fft.ifft2(spectrum * band), self.strength * sigma * gain)
                clean = clean + torch.fft.fft2(coefficients) * band.conj()
        return torch.fft.ifft2(clean)

    def _responses(self, n: int, like: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Transfer functions of the low and high pass of every level along an axis of `n` pixels."""
        frequency = 2 * np.pi * np.fft.fftfreq(n)
        coarser, responses = np.ones(n, np.complex128), []
        for level in range(self.depth):
            wave = np.exp(-1j * 2**level * frequency[:, None] * np.arange(len(self._low)))
            low, high = (coarser * (wave @ taps) / math.sqrt(2) for taps in (self._low, self._high))
            responses.append(tuple(torch.as_tensor(r, dtype=like.dtype, device=like.device) for r in (low, high)))
            coarser = low
        return responses


class TikhonovPrior(_ClassicalPrior):
    r"""Smooth slices: ``argmin_x |x - y|^2 / 2 + strength sigma^2 |gradient x|^2 / 2``, solved in the Fourier domain.

    It is the Wiener filter of slices whose power spectrum falls with the square of the frequency: the transform
    (orthonormal) of a slice at unit signal has the variance ``1 / (strength (w_y^2 + w_x^2))`` per real component, with
    ``w = 2 sin(pi f)`` for f cycles per pixel. The mean of a slice is left as it is. Slices are periodic.

    Parameters
    ----------
    strength
        Inverse variance, per real component, of the difference between neighbouring pixels at unit signal.
    """

    name = "tikhonov"

    def __init__(self, strength: float = 50.0) -> None:
        self.strength = _positive(strength, "strength")

    def config(self) -> dict[str, Any]:
        """See :meth:`SlicePrior.config`."""
        return {"kind": self.name, "strength": self.strength}

    def _denoise(self, noisy: torch.Tensor, sigma: torch.Tensor, condition: Condition | None) -> torch.Tensor:
        y, x = (2 * torch.sin(torch.pi * torch.fft.fftfreq(n, device=noisy.device)) for n in noisy.shape[1:])
        damping = 1 + self.strength * sigma.double() ** 2 * (y[:, None] ** 2 + x**2)
        return torch.fft.ifft2(torch.fft.fft2(noisy) * damping.reciprocal().to(sigma.dtype))


def _gradient(parts: torch.Tensor) -> torch.Tensor:
    """Forward differences ``(B, direction, part, H, W)`` of real and imaginary parts ``(B, part, H, W)``."""
    down, right = torch.diff(parts, dim=2), torch.diff(parts, dim=3)
    return torch.stack([_pad(down, (0, 0, 0, 1)), _pad(right, (0, 1))], dim=1)


def _gradient_adjoint(field: torch.Tensor) -> torch.Tensor:
    """Adjoint of :func:`_gradient`: minus the divergence."""
    down, right = field[:, 0, :, :-1], field[:, 1, :, :, :-1]
    return -torch.diff(_pad(down, (0, 0, 1, 1)), dim=2) - torch.diff(_pad(right, (1, 1)), dim=3)


def _soft(coefficients: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    """Complex soft threshold: magnitudes shrink, phases stay."""
    size = coefficients.abs()
    return coefficients * ((size - threshold).clamp_min(0) / size.clamp_min(torch.finfo(size.dtype).tiny))


def _filters(wavelet: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        import pywt
    except ImportError as error:
        raise PriorDependencyError("The wavelet prior needs PyWavelets: pip install PyWavelets.") from error
    known = [name for name in pywt.wavelist(kind="discrete") if pywt.Wavelet(name).orthogonal]
    if wavelet not in known:
        raise PriorInputError(
            f"wavelet must be an orthogonal wavelet of PyWavelets ({', '.join(known)}), got {wavelet!r}."
        )
    filters = pywt.Wavelet(wavelet)
    return np.asarray(filters.dec_lo), np.asarray(filters.dec_hi)


def _positive(value: float, operand: str) -> float:
    if not (isinstance(value, Real) and math.isfinite(value) and value > 0):
        raise PriorInputError(f"{operand} must be a positive number, got {value!r}.")
    return float(value)


def _count(value: int, operand: str) -> int:
    if not (isinstance(value, Integral) and value >= 1):
        raise PriorInputError(f"{operand} must be a whole number of at least 1, got {value!r}.")
    return int(value)
