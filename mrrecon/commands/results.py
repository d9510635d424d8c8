"""What people are told about a reconstruction: its record, and what its chi^2 means."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mrrecon.reconstruction import Reconstruction

__all__ = ["chi_squared_note", "chi_squared_text", "record_lines"]

HIGH, LOW, NOISELESS = 2.0, 0.5, 1e4  # of chi^2; LOW relative to what least squares leave
SHOWN_NUMBERS = ("psnr", "psnr_complex", "ssim", "nmse", "nrmse", "nmse_complex")


def chi_squared_text(value: float) -> str:
    """Write chi^2 for people.

    >>> chi_squared_text(0.9876), chi_squared_text(123456789.0), chi_squared_text(float("inf"))
    ('0.988', '1.2e+08', 'inf')
    """
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.2g}"


def chi_squared_note(value: float | None, unknowns: Callable[[], float] = float) -> str | None:
    """Say what a chi^2 that is far from one means; None if it is not.

    Parameters
    ----------
    value
        Mean square of the data residual in units of the noise.
    unknowns
        Gives the voxels that coils see over measured samples: least squares leave no less than about one minus this.

    >>> chi_squared_note(1.1), chi_squared_note(0.4, unknowns=lambda: 0.5)
    (None, None)
    """
    if value is None or math.isnan(value):
        return None
    text = chi_squared_text(value)
    if value > NOISELESS:
        return (
            f"chi^2 is {text}: the data seem to have no noise (simulated without, or denoised), or it is far "
            "underestimated; chi^2 then says nothing of the image, and strengths that follow from noise are too low."
        )
    if value > HIGH:
        return (
            f"chi^2 is {text}, far above one: the image does not explain the data up to their noise. Coil maps that do "
            "not fit, motion, too strong a prior or regularisation, or noise that is underestimated do this."
        )
    if value < LOW and value < LOW * (1 - unknowns()):
        return (
            f"chi^2 is {text}, far below one: the noise is taken to be stronger than it is (overestimated, or the data "
            "were filtered since), and the image is smoothed more than it need be."
        )
    return None


def record_lines(result: Reconstruction) -> Iterator[tuple[str, str]]:
    """Rows, of a name and a text, that say how a result was made and how good it is."""
    x, y, z = result.volume.shape
    yield "matrix", f"{x} x {y} x {z}"
    yield "voxel", " x ".join(f"{v:.4g}" for v in result.voxel_size) + " mm"
    yield "solver", result.solver
    yield "settings", _settings_text(result.settings)
    if result.estimates:
        yield "estimated", _settings_text(result.estimates)
    if result.stopped:
        yield "ended", result.stopped
    yield "R", f"{result.acceleration:.3f}"
    yield "seconds", f"{result.seconds:.1f} (the solver alone), {len(result.history)} iterations"
    if result.history:
        yield "last", _settings_text(result.history[-1])
    metrics = dict(result.metrics)
    if "chi_squared" in metrics:
        yield "chi^2", chi_squared_text(metrics["chi_squared"])
    numbers = {name: metrics[name] for name in SHOWN_NUMBERS if name in metrics}
    if numbers:
        yield "metrics", _settings_text(numbers)
        yield "policy", _settings_text(metrics.get("policy", {}))
    for name, values in result.extras.items():
        yield "extra", f"{name} ({values.dtype}); mrrecon extract writes it"
    for step in result.provenance:
        yield "history", f"{step.name} {_settings_text(step.settings)}".rstrip()
    yield "versions", ", ".join(f"{package} {number}" for package, number in result.versions.items())


def _settings_text(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in settings.items())


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list) and len(value) > 8:
        return f"[{', '.join(map(_value, value[:8]))}, ... {len(value)} in all]"
    return value if isinstance(value, str) else json.dumps(value, default=str)
