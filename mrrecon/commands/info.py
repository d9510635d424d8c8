"""``mrrecon info``: what is in a k-space file, and whether it follows the conventions."""

from __future__ import annotations

import numpy as np

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


def _describe_region(mask: np.ndarray) -> str:
    from mrrecon import operators
    from mrrecon.errors import CalibrationError

    try:
        return "fully sampled block " + " x ".join(map(str, operators.calibration_region(mask)))
    except CalibrationError as error:
        return str(error)
