"""``mrrecon simulate``: a k-space file with a known answer, from an anatomical volume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from mrrecon.commands.files import InputFile, MaskChoice, writes
from mrrecon.commands.outputs import write_all
from mrrecon.commands.shared import clock, undersample
from mrrecon.progress import working

__all__ = ["simulate"]


def simulate(
    anatomy: InputFile,
    output: list[Annotated[str, writes("acquisition")]],
    coils: int = 8,
    snr: float = 40.0,
    voxel_size: float | None = None,
    resample: Literal["interpolation", "kspace-crop"] = "interpolation",
    partial_fourier: tuple[float, float] = (1.0, 1.0),
    coil_model: Literal["loops", "birdcage"] = "loops",
    accel: float | None = None,
    mask: MaskChoice = "poisson",
    calibration: int | None = None,
    seed: int = 0,
) -> None:
    """Make a k-space file with a known answer from an anatomical volume.

    Parameters
    ----------
    anatomy
        NIfTI file (.nii, .nii.gz) of a magnitude or complex volume.
    output
        K-space files to write: .h5 (keeps the reference), .cfl or ISMRMRD (.mrd).
    coils
        Number of receive coils.
    snr
        Mean signal-to-noise ratio in the object of the fully sampled, optimally combined magnitude image.
    voxel_size
        Resample the anatomy to this isotropic voxel edge in mm first; by default keep its own.
    resample
        How: antialiased interpolation of the image, or a crop (zero-padding) of its k-space.
    partial_fourier
        Fractions of k-space acquired along (y, z), for example [0.75,1].
    coil_model
        Loops of wire around the object (Biot-Savart), or an ideal birdcage array.
    accel
        Undersample by this factor; by default the file is fully sampled.
    mask
        Kind of undersampling (poisson, gaussian, uniform) or a mask file.
    calibration
        Side of the fully sampled block in the centre; by default 24, but no more than a quarter of the samples.
    seed
        Seed of coils, phase, noise and mask.
    """
    from mrrecon import io, resolution, simulation

    volume, grid = io.read_volume(anatomy)
    with working("simulating"):
        if voxel_size is not None:
            volume, grid = resolution.change_resolution(volume, grid, (voxel_size,) * 3, resample)
        scan = simulation.simulate(
            volume, grid, n_coils=coils, snr=snr, coil_model=coil_model, partial_fourier=partial_fourier, seed=seed
        )
        scan = undersample(scan, mask, accel, calibration=calibration, seed=seed)
    print(scan)

    def write(path: str | Path) -> Path:
        return io.write(scan, path)

    write_all(output, write, write, ".h5")
    print(clock)
