"""``mrrecon calibrate``: coil sensitivity maps from a k-space file."""

from __future__ import annotations

import time

__all__ = ["calibrate"]


def calibrate(
    file: str,
    output: list[str],
    calibration: int | None = 24,
    kernel: int | None = None,
    threshold: float = 0.001,
    crop: float = 0.8,
    soft_crop: bool = False,
    sets: int = 1,
    whiten: bool = True,
    coils: int | None = None,
) -> None:
    """Estimate coil sensitivity maps (ESPIRiT).

    Parameters
    ----------
    file
        K-space file of any supported format, fully sampled or with a fully sampled centre.
    output
        Files to write: .h5 (the scan with its maps) or .cfl or .npy (the maps alone).
    calibration
        Side of the calibration region at most; the largest fully sampled block in it is used.
    kernel
        Side of the k-space kernel; by default 6, or half the calibration region where that is narrower than 12.
    threshold
        Singular values (squared, relative to the largest) below this belong to the null space.
    crop
        Maps are zero where the eigenvalue is below this.
    soft_crop
        Fade out instead of cutting at the crop threshold.
    sets
        Number of map sets (2 for soft SENSE).
    whiten
        Decorrelate the coils first, when the noise covariance is known.
    coils
        Compress to this many virtual coils first.
    """
    from mrrecon import io

    scan = io.read(file)
    if whiten and scan.noise_covariance is not None:
        scan = scan.whiten()
    if coils is not None:
        scan = scan.compress_coils(coils)
    start = time.perf_counter()
    scan = scan.calibrate(
        calibration=calibration, kernel=kernel, threshold=threshold, crop=crop, soft_crop=soft_crop, sets=sets
    )
    print(f"maps {tuple(scan.maps.shape)} in {time.perf_counter() - start:.1f} s")
    for path in output:
        written = io.write(scan, path) if path.endswith(".h5") else io.write_maps(scan.maps, path)
        print(f"wrote {written}")
