"""``mrrecon info``: what is in a k-space file, and whether it follows the conventions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mrrecon.acquisition import Acquisition

__all__ = ["info"]


def info(file: str) -> None:
    """Say what is in a k-space file: matrix, coils, geometry, sampling, noise, history.

    Parameters
    ----------
    file
        K-space file of any supported format.
    """
    from mrrecon import io

    scan = io.read(file, lazy=True)
    x, y, z = scan.shape
    rows = [
        ("file", f"{file} ({io.detect(file).title})"),
        ("matrix", f"{x} x {y} x {z} (readout x, phase encodings y and z)"),
        ("coils", str(scan.n_coils)),
        ("voxel", " x ".join(f"{v:.4g}" for v in scan.voxel_size) + " mm"),
        (
            "axes",
            ", ".join(
                f"{a}: {'image' if d == 'image' else 'k-space'}" for a, d in zip("xyz", scan.domains, strict=True)
            ),
        ),
        ("sampling", f"R = {scan.acceleration:.3f} ({np.count_nonzero(scan.mask)} of {scan.mask.size} positions)"),
        ("calibration", _describe_region(scan.mask)),
        ("centre", _describe_centre(scan)),
        ("maps", "none" if scan.maps is None else f"shape {tuple(scan.maps.shape)}"),
        (
            "noise",
            "whitened" if scan.is_whitened else "unknown" if scan.noise_covariance is None else "covariance known",
        ),
        ("reference", "none" if scan.reference is None else "in the file"),
        ("in memory", f"{scan.n_coils * x * y * z * 8 / 2**30:.2f} GiB of k-space"),
    ]
    rows += [("history", f"{step.name} {dict(step.settings) or ''}") for step in scan.provenance]
    for name, value in rows:
        print(f"{name:<12} {value}")


def _describe_centre(scan: Acquisition) -> str:
    """Where the energy of the middle readout position peaks, which should be the middle of (y, z)."""
    middle = scan.slab(scan.shape[0] // 2, scan.shape[0] // 2 + 1)
    energy = (np.abs(middle) ** 2).sum(axis=(0, 1))
    found = tuple(int(i) for i in np.unravel_index(energy.argmax(), energy.shape))
    expected = tuple(n // 2 for n in scan.shape[1:])
    if max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= 2:
        return f"energy peaks at (y, z) = {found}, the middle being {expected}"
    return (
        f"energy peaks at (y, z) = {found}, NOT at the middle {expected}: the k-space may be in FFT order "
        "(numpy.fft.fftshift it) or its axes may be in another domain"
    )


def _describe_region(mask: np.ndarray) -> str:
    from mrrecon import operators
    from mrrecon.errors import CalibrationError

    try:
        return "fully sampled block " + " x ".join(map(str, operators.calibration_region(mask)))
    except CalibrationError as error:
        return str(error)
