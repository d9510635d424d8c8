"""``mrrecon mask``: make an undersampling mask and say how well it hit its target."""

from __future__ import annotations

from typing import Annotated, Literal

from mrrecon.commands.files import writes

__all__ = ["mask"]


def mask(
    shape: tuple[int, int],
    accel: float,
    output: list[Annotated[str, writes("mask")]],
    kind: Literal["poisson", "gaussian", "uniform", "equispaced"] = "poisson",
    calibration: int | None = None,
    elliptical: bool = False,
    seed: int = 0,
) -> None:
    """Make an undersampling mask of the phase-encoding plane.

    Parameters
    ----------
    shape
        Matrix size (y, z), for example [320,256]; [1,256] for the lines of a 2D scan with 256 phase encodes.
    accel
        Acceleration R: all positions over the sampled ones, calibration block included.
    output
        Files to write: .npy, .cfl, or .png to look at it.
    kind
        Variable-density Poisson disc, Gaussian density, uniform density, or (lines only) equispaced.
    calibration
        Side of the fully sampled block in the centre, 0 for none; by default 24, but no more than a quarter of the
        samples.
    elliptical
        Leave the corners of k-space unsampled.
    seed
        Seed of the random pattern; the same seed gives the same mask on every machine.
    """
    from mrrecon import io, operators

    made = operators.make_mask(kind, shape, accel, calibration=calibration, elliptical=elliptical, seed=seed)
    print(
        f"{kind} mask {shape[0]}x{shape[1]}: R = {made.size / made.sum():.3f}, {int(made.sum())} of {made.size} samples"
    )
    for path in output:
        print(f"wrote {io.write_mask(made, path)}")
