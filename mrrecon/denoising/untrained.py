"""What priors are compared with: denoisers without training, each given every advantage that it can use.

They know the noise level exactly; where a setting matters, the best on the evaluated slices themselves is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from mrrecon.denoising.comparison import Denoise, Denoiser
from mrrecon.denoising.slices import VoxelSlices
from mrrecon.errors import DataError, MissingDependencyError
from mrrecon.operators.backend import num_threads
from mrrecon.priors.base import SlicePrior
from mrrecon.priors.classical import TotalVariationPrior, WaveletPrior

__all__ = ["BASELINES", "baselines"]

WAVELET_STRENGTHS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
TV_STRENGTHS = (0.6, 0.85, 1.2, 1.7, 2.4)
BM3D_STRENGTHS = (0.9, 1.0, 1.1, 1.2)  # factors of the known noise level; 0.8 costs 1 to 4 dB
BM3D_CHOSEN_ON = 5  # its strength is chosen on every fifth case, which are of all planes in turn: it is slow


def baselines(names: Sequence[str]) -> list[Denoiser]:
    """Make methods without training.

    Parameters
    ----------
    names
        Of :data:`BASELINES`. ``"scaled-input"``: the noisy slices times the best real number, which knows their power
        (Wiener). ``"wavelet"`` and ``"total-variation"``: :class:`~mrrecon.priors.WaveletPrior` and
        :class:`~mrrecon.priors.TotalVariationPrior` as they come, and at the best of several strengths. ``"bm3d"``: the
        package of PyPI, on real and imaginary part as two channels, and, knowing the true phase, on the real part of
        the slices turned by it; both at the best of several strengths.

    Raises
    ------
    DataError
        If there is no such baseline.
    MissingDependencyError
        If bm3d is asked for and not installed.

    References
    ----------
    K. Dabov, A. Foi, V. Katkovnik, K. Egiazarian 2007, IEEE Trans Image Process 16:2080. Y. Mäkinen, L. Azzari, A. Foi
    2020, IEEE Trans Image Process 29:8339 (the implementation of the package).
    """
    unknown = next((name for name in names if name not in BASELINES), None)
    if unknown is not None:
        raise DataError(f"There is no baseline {unknown!r}; choose some of {', '.join(BASELINES)}.")
    return [method for name in dict.fromkeys(names) for method in BASELINES[name]()]


def _scaled_input() -> list[Denoiser]:
    def denoise(noisy: torch.Tensor, sigma: float, case: VoxelSlices) -> torch.Tensor:
        power = float(case.slices.abs().double().square().mean())
        return noisy * (power / (power + 2 * sigma**2))

    return [Denoiser("scaled input", {"": denoise}, "noisy slices times P / (P + 2 sigma^2), P their true mean power")]


def _with_and_without_oracle(made_by: Any, strengths: Sequence[float]) -> list[Denoiser]:
    """A prior without training as it comes, and at its best strength."""

    def of(prior: SlicePrior) -> Denoise:
        return lambda noisy, sigma, case: prior.denoise(noisy, sigma)

    default = made_by()
    settings = ", ".join(f"{key} {value}" for key, value in default.config().items() if key != "kind")
    grid = {f"strength {s:g}": of(made_by(strength=s)) for s in strengths}
    return [
        Denoiser(default.name, {"": of(default)}, f"{made_by.__name__}: {settings}"),
        Denoiser(
            f"{default.name}, best strength", grid, f"{made_by.__name__} at the strength that is best on the cases"
        ),
    ]


def _bm3d() -> list[Denoiser]:
    try:
        import bm3d
    except (ImportError, OSError) as error:  # OSError: its binaries do not load on this machine
        raise MissingDependencyError(
            "The baseline bm3d needs the package bm3d, whose licence allows non-commercial use only: pip install "
            f"'mrrecon[bm3d]', or leave it out of --baselines ({error})."
        ) from error

    def run(channels: np.ndarray, sigma: float) -> np.ndarray:
        profile = bm3d.BM3DProfile()  # "np", the package's default
        profile.num_threads = 1  # with more, sums are taken in another order in every run
        return bm3d.bm3d(channels, sigma, profile)

    def channels(noisy: np.ndarray, sigma: float, truth: np.ndarray) -> np.ndarray:
        clean = run(np.stack([noisy.real, noisy.imag], axis=-1).astype(np.float64), sigma)
        return clean[..., 0] + 1j * clean[..., 1]

    def known_phase(noisy: np.ndarray, sigma: float, truth: np.ndarray) -> np.ndarray:
        phase = np.exp(1j * np.angle(truth))
        return run((noisy * phase.conj()).real.astype(np.float64), sigma) * phase

    def of(one: Callable[..., np.ndarray], factor: float) -> Denoise:
        def denoise(noisy: torch.Tensor, sigma: float, case: VoxelSlices) -> torch.Tensor:
            pairs = zip(noisy.numpy(), case.slices.numpy(), strict=True)
            clean = [one(y, factor * sigma, x) for y, x in pairs]
            return torch.from_numpy(np.stack(clean).astype(np.complex64))

        return denoise

    def method(name: str, one: Callable[..., np.ndarray], about: str) -> Denoiser:
        grid = {f"sigma x {f:g}": of(one, f) for f in BM3D_STRENGTHS}
        about = f"bm3d of PyPI, profile np, {about}, at the factor of sigma that is best on a fifth of the cases"
        return Denoiser(name, grid, about, BM3D_CHOSEN_ON, num_threads())

    return [
        method("BM3D", channels, "real and imaginary part as two channels (blocks are matched on the real part)"),
        method("BM3D, phase known", known_phase, "an oracle: on the real part after the true phase was taken out"),
    ]


BASELINES: dict[str, Callable[[], list[Denoiser]]] = {
    "scaled-input": _scaled_input,
    "wavelet": partial(_with_and_without_oracle, WaveletPrior, WAVELET_STRENGTHS),
    "total-variation": partial(_with_and_without_oracle, TotalVariationPrior, TV_STRENGTHS),
    "bm3d": _bm3d,
}
