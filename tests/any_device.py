"""For the tests on the stand-in for a GPU, which has no way to torch: a prior and noise that need none."""

from __future__ import annotations

import numpy as np
import pytest

from mrrecon import priors
from mrrecon.operators.backend import to_device
from mrrecon.solvers.parts.posterior_steps import WhiteNoise


class OnAnyDevice(priors.SlicePrior):
    """Independent pixels, computed where the states are."""

    name = "on-any-device"

    def _denoise(self, noisy, sigma, condition):
        raise AssertionError("not asked")

    def denoise(self, noisy, sigma, condition=None, *, scale=1.0):
        return noisy * np.float32(0.25 / (0.25 + sigma**2))


class SentNoise(WhiteNoise):
    """Drawn on the CPU and sent to where the volume is."""

    def __init__(self, seed, number, like, sign=1):
        super().__init__(seed, number, np.empty(like.shape, np.complex64), sign)
        self.device = "cpu" if isinstance(like, np.ndarray) else "cuda"

    def draw(self, shape=None):
        return to_device(super().draw(shape), self.device)


def send_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all methods draw their noise on the CPU."""
    for module in ("ensemble", "parts.error_map", "parts.posterior"):
        monkeypatch.setattr(f"mrrecon.solvers.{module}.WhiteNoise", SentNoise)
