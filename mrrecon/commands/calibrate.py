"""``mrrecon calibrate``: coil sensitivity maps from a k-space file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mrrecon.commands.files import InputFile, ReadOptions, writes
from mrrecon.commands.outputs import write_all
from mrrecon.commands.shared import clock, read_scan
from mrrecon.progress import working

__all__ = ["calibrate"]


def calibrate(
    file: InputFile,
    output: list[Annotated[str, writes("maps")]],
    read: ReadOptions | None = None,
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
    read
        Options for reading the file, each as --read.NAME VALUE; mrrecon info FILE lists those that its format takes.
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

    with clock.part("reading"):
        scan = read_scan(file, read)
    if whiten and scan.noise_covariance is not None:
        scan = scan.whiten()
    if coils is not None:
        scan = scan.compress_coils(coils)
    with clock.part("calibration"), working("coil maps (ESPIRiT)"):
        scan = scan.calibrate(
            calibration=calibration, kernel=kernel, threshold=threshold, crop=crop, soft_crop=soft_crop, sets=sets
        )
    print(f"maps {tuple(scan.maps.shape)}")

    def write(path: str | Path) -> Path:
        whole = io.find_writer(path, kind="maps").name == "mrrecon"
        return io.write(scan, path) if whole else io.write_maps(scan.maps, path)

    with clock.part("writing"):
        write_all(output, write, write, ".npy")
    print(clock)
