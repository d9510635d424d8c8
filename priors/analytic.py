"""Priors whose every answer is known exactly: Gaussians and mixtures of Gaussians, the oracles of samplers and solvers.

Variances, covariances and power spectra are **per real component**, as noise levels are everywhere: a pixel of
variance v has a real part of variance v and an imaginary part of variance v, ``E|x - m|^2 = 2 v``. Randomness is
circular, real and imaginary part have no preferred phase: a vector has the Hermitian covariance
``C = E[(x - m)(x - m)^H] / 2`` and ``E[(x - m)(x - m)^T] = 0``. Slices as vectors are in C order. Everything is
computed in double precision; only the interface of :class:`~mrrecon.priors.base.SlicePrior` gives complex64.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mrrecon.errors import PriorInputError
from mrrecon.priors.base import SlicePrior
from mrrecon.priors.condition import Condition
from mrrecon.priors.schedule import complex_noise

__all__ = ["GaussianMixturePrior", "GaussianPrior", "Posterior"]


@dataclass(frozen=True)
class Posterior:
    """Distribution of a slice given measurements: a mixture of K Gaussians on N pixels, NumPy in double precision.

    Parameters
    ----------
    weights
        ``(K,)``, sum one.
    means
        ``(K, H, W)`` complex.
    covariances
        ``(K, N, N)`` Hermitian, per real component.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Expected slice ``(H, W)``."""
        return np.tensordot(self.weights, self.means, 1)

    @property
    def covariance(self) -> np.ndarray:
        """``E[(x - mean)(x - mean)^H] / 2``, ``(N, N)``; where means differ the mixture as a whole is not circular."""
        apart = (self.means - self.mean).reshape(len(self.weights), -1)
        between = np.einsum("k,ki,kj->ij", self.weights, apart, apart.conj()) / 2
        return np.tensordot(self.weights, self.covariances, 1) + between


class _ExactPrior(SlicePrior):
    """A mixture of Gaussians, perhaps of one."""

    @property
    @abstractmethod
    def _mixture(self) -> tuple[np.ndarray, Sequence[GaussianPrior]]:
        """Weights and components."""

    @abstractmethod
    def _log_densities(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Log densities of noisy slices, sigma having their axes."""

    def log_density(self, x: Any, sigma: Any = 0.0) -> Any:
        """Logarithm of the density of ``x = slice + noise``, over the 2 N real components.

        Parameters
        ----------
        x
            ``(B, H, W)`` or ``(H, W)``, NumPy or torch; torch results can be differentiated.
        sigma
            Standard deviation of the noise per real component, one or one per slice.

        Returns
        -------
        log_density
            ``(B,)`` or a scalar, float64, of the kind of `x`.
        """
        slices, levels = torch.as_tensor(x, dtype=torch.complex128), torch.as_tensor(sigma, dtype=torch.float64)
        _same_size(slices, self._mixture[1][0].mean)
        if levels.ndim > 1 or (levels.ndim == 1 and levels.shape != slices.shape[:-2]) or not bool((levels >= 0).all()):
            raise PriorInputError(f"sigma must be at least 0, one number or one per slice, got {sigma!r}.")
        result = self._log_densities(slices, levels[..., None, None])
        return result if isinstance(x, torch.Tensor) else result.numpy()[()]

    def posterior(self, measurements: Any, matrix: Any, noise_std: float) -> Posterior:
        """Distribution of the slice given ``measurements = matrix @ slice.ravel() + noise``: again a mixture.

        Parameters
        ----------
        measurements
            ``(M,)`` complex.
        matrix
            ``(M, H W)`` complex.
        noise_std
            Standard deviation of the noise per real component; white and circular.

        Raises
        ------
        PriorInputError
            If shapes do not fit or `noise_std` is not positive.
        """
        weights, components = self._mixture
        shape = tuple(components[0].mean.shape)
        a, y = np.asarray(matrix, np.complex128), np.asarray(measurements, np.complex128)
        if a.ndim != 2 or a.shape[1] != math.prod(shape) or y.shape != a.shape[:1]:
            raise PriorInputError(
                f"measurements (m,) and matrix (m, {math.prod(shape)}) must fit slices of {shape}, got shapes "
                f"{y.shape} and {a.shape}."
            )
        if not (math.isfinite(noise_std) and noise_std > 0):
            raise PriorInputError(f"noise_std must be a positive number, got {noise_std!r}.")
        evidence, means, covariances = [], [], []
        for weight, component in zip(weights, components, strict=True):  # each conditioned, weighed by its evidence
            mean, covariance = component.mean.numpy().ravel(), component.covariance
            cross = a @ covariance
            total = cross @ a.conj().T + noise_std**2 * np.eye(len(y))
            gain = np.linalg.solve(total, cross).conj().T
            away = y - a @ mean
            squares = np.vdot(away, np.linalg.solve(total, away)).real
            evidence.append(math.log(weight) - squares / 2 - np.linalg.slogdet(2 * math.pi * total)[1])
            means.append((mean + gain @ away).reshape(shape))
            left = covariance - gain @ cross
            covariances.append((left + left.conj().T) / 2)
        shares = np.exp(np.array(evidence) - max(evidence))
        return Posterior(shares / shares.sum(), np.array(means), np.array(covariances))


class GaussianPrior(_ExactPrior):
    """Slices of one size with a Gaussian distribution; give one of `variance`, `spectrum` and `covariance`.

    Parameters
    ----------
    mean
        ``(H, W)`` complex.
    variance
        Of independent pixels: one number or ``(H, W)``.
    spectrum
        Variance ``(H, W)`` of the coefficients of the orthonormal Fourier transform of a slice less the mean, in the
        order of ``numpy.fft.fft2``, zero frequency first: slices whose statistics are the same everywhere.
    covariance
        Of all pixels, ``(H W, H W)`` Hermitian and positive definite.

    Raises
    ------
    PriorInputError
        If shapes do not fit or a variance is not positive.
    """

    name = "gaussian"

    def __init__(self, mean: Any, *, variance: Any = None, spectrum: Any = None, covariance: Any = None) -> None:
        self.mean = _finite(mean, torch.complex128, "mean")
        if self.mean.ndim != 2:
            raise PriorInputError(f"mean must be one slice (height, width), got shape {tuple(self.mean.shape)}.")
        given = {"variance": variance, "spectrum": spectrum, "covariance": covariance}
        named = [name for name, value in given.items() if value is not None]
        if len(named) != 1:
            raise PriorInputError(
                f"Give one of variance, spectrum and covariance, got {' and '.join(named) or 'none'}."
            )
        self._fourier, self._basis = spectrum is not None, None
        if covariance is not None:
            values, self._basis = _eigen(covariance, self.mean.numel())
            self._variances = values.reshape(self.mean.shape)
        else:
            values = _finite(given[named[0]], torch.float64, named[0])
            if values.shape not in (self.mean.shape, torch.Size([])) or (self._fourier and values.ndim == 0):
                raise PriorInputError(
                    f"{named[0]} must have the shape of mean, {tuple(self.mean.shape)}, got {tuple(values.shape)}."
                )
            self._variances = values.expand(self.mean.shape)
        if not bool((self._variances > 0).all()):
            raise PriorInputError(f"{named[0]} must be positive{' definite' * (covariance is not None)}.")

    @property
    def covariance(self) -> np.ndarray:
        """Covariance ``(N, N)`` of all pixels, per real component."""
        number = self.mean.numel()
        unit = torch.eye(number, dtype=torch.complex128).reshape(number, *self.mean.shape)
        columns = self._from_basis(unit).reshape(number, number).T
        return ((columns * self._variances.reshape(-1)) @ columns.conj().T).numpy()

    def sample(self, generator: torch.Generator, number: int) -> torch.Tensor:
        """Draw `number` slices ``(number, H, W)``, complex128."""
        noise = complex_noise((number, *self.mean.shape), generator, torch.complex128).cpu()
        return self.mean + self._from_basis(self._variances.sqrt() * noise)

    @property
    def _mixture(self) -> tuple[np.ndarray, Sequence[GaussianPrior]]:
        return np.ones(1), [self]

    def _denoise(self, noisy: torch.Tensor, sigma: torch.Tensor, condition: Condition | None) -> torch.Tensor:
        _same_size(noisy, self.mean)
        gain = self._variances / (self._variances + sigma.double() ** 2)
        return (self.mean + self._from_basis(gain * self._in_basis(noisy - self.mean))).to(noisy.dtype)

    def _log_densities(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        total = self._variances + sigma**2
        squares = torch.view_as_real(self._in_basis(x - self.mean)).square().sum(-1)
        return -(squares / (2 * total) + torch.log(2 * math.pi * total)).sum((-2, -1))

    def _in_basis(self, slices: torch.Tensor) -> torch.Tensor:
        """Coordinates in which the distribution is a product."""
        if self._basis is not None:
            return (slices.flatten(-2) @ self._basis.conj()).reshape(slices.shape)
        return torch.fft.fft2(slices, norm="ortho") if self._fourier else slices

    def _from_basis(self, coordinates: torch.Tensor) -> torch.Tensor:
        if self._basis is not None:
            return (coordinates.flatten(-2) @ self._basis.T).reshape(coordinates.shape)
        return torch.fft.ifft2(coordinates, norm="ortho") if self._fourier else coordinates


class GaussianMixturePrior(_ExactPrior):
    """Slices of one size from a mixture of K Gaussians with independent pixels.

    Parameters
    ----------
    weights
        ``(K,)``, positive, sum one.
    means
        ``(K, H, W)`` complex.
    variances
        Of the pixels of each component, ``(K,)`` or ``(K, H, W)``.

    Raises
    ------
    PriorInputError
        If shapes do not fit, weights do not sum to one, or a weight or variance is not positive.
    """

    name = "gaussian-mixture"

    def __init__(self, weights: Any, means: Any, variances: Any) -> None:
        self.weights = _finite(weights, torch.float64, "weights")
        if self.weights.ndim != 1 or not bool((self.weights > 0).all()) or abs(float(self.weights.sum()) - 1) > 1e-6:
            raise PriorInputError("weights must be positive numbers (components,) that sum to one.")
        self.weights = self.weights / self.weights.sum()
        if not len(weights) == len(means) == len(variances):
            raise PriorInputError(
                "weights, means and variances must have one entry per component, got "
                f"{len(weights)}, {len(means)} and {len(variances)}."
            )
        self.components = tuple(GaussianPrior(m, variance=v) for m, v in zip(means, variances, strict=True))
        if len({c.mean.shape for c in self.components}) != 1:
            raise PriorInputError("means must be slices of one size.")

    def sample(self, generator: torch.Generator, number: int) -> torch.Tensor:
        """Draw `number` slices ``(number, H, W)``, complex128."""
        chosen = torch.multinomial(
            self.weights.to(generator.device), number, replacement=True, generator=generator
        ).cpu()
        drawn = torch.stack([component.sample(generator, number) for component in self.components])
        return drawn[chosen, torch.arange(number)]

    @property
    def _mixture(self) -> tuple[np.ndarray, Sequence[GaussianPrior]]:
        return self.weights.numpy(), self.components

    def _denoise(self, noisy: torch.Tensor, sigma: torch.Tensor, condition: Condition | None) -> torch.Tensor:
        _same_size(noisy, self.components[0].mean)
        x, level = noisy.to(torch.complex128), sigma.double()
        shares = torch.softmax(self._joint(x, level), 0)[..., None, None]
        return sum(s * c._denoise(x, level, None) for s, c in zip(shares, self.components, strict=True)).to(noisy.dtype)

    def _log_densities(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return torch.logsumexp(self._joint(x, sigma), 0)

    def _joint(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Log density of noisy slices and component, ``(K, B)``."""
        return torch.stack(
            [w.log() + c._log_densities(x, sigma) for w, c in zip(self.weights, self.components, strict=True)]
        )


def _eigen(covariance: Any, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    matrix = _finite(covariance, torch.complex128, "covariance")
    if matrix.shape != (number, number) or not torch.allclose(matrix, matrix.mH):
        raise PriorInputError(f"covariance must be Hermitian, ({number}, {number}), got shape {tuple(matrix.shape)}.")
    return torch.linalg.eigh(matrix)


def _finite(value: Any, dtype: torch.dtype, operand: str) -> torch.Tensor:
    tensor = torch.as_tensor(value, dtype=dtype, device="cpu")
    if not bool(torch.isfinite(torch.view_as_real(tensor) if tensor.is_complex() else tensor).all()):
        raise PriorInputError(f"{operand} has NaN or infinite values.")
    return tensor


def _same_size(slices: torch.Tensor, mean: torch.Tensor) -> None:
    if slices.shape[-2:] != mean.shape:
        raise PriorInputError(f"This prior is for slices of {tuple(mean.shape)}, got {tuple(slices.shape[-2:])}.")
