"""``mrrecon demo``: a real head, an accelerated scan of it, and that scan reconstructed without and with a prior."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from mrrecon.commands.files import Writes, check_folder
from mrrecon.commands.recon import recon
from mrrecon.commands.shared import clock
from mrrecon.commands.simulate import simulate
from mrrecon.io.template import find_template

__all__ = ["demo"]

METHODS = ("zero-filled", "cg-sense", "l1-wavelet", "tv", "variational")


def _default(options: Mapping[str, Any]) -> str:
    return "demo_output"


RESULTS = Writes(check_folder, parts=("scan.h5", "montage.png", *METHODS), default=_default)


def demo(
    output: list[Annotated[str, RESULTS]] | None = None, accel: float = 8.0, voxel_size: float = 2.0, seed: int = 0
) -> None:
    """Simulate an 8-coil 3D scan of a real head and reconstruct it, without and with a diffusion prior.

    Parameters
    ----------
    output
        Folder for the results (default: demo_output).
    accel
        Acceleration R of the scan.
    voxel_size
        Voxel edge in mm; 1 gives the template's own matrix and takes about ten times as long.
    seed
        Seed of coils, noise and mask.
    """
    from mrrecon import io, solvers
    from mrrecon.reconstruction import Reconstruction

    folder, template = Path(output[0] if output else _default({})), find_template()
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    scan = str(folder / "scan.h5")
    options: dict[str, Any] = {"voxel_size": voxel_size, "seed": seed}
    _begin("simulate", template, "-o", scan, **options)
    simulate(str(template), [scan], **options)
    results = {}
    for method in METHODS:
        files = [str(folder / f"{method}{suffix}") for suffix in (".h5", ".nii.gz")]
        options = {"accel": accel, "seed": seed}
        _begin("recon", scan, "-o", *files, solver=method, **options)
        recon(scan, files, solver=solvers.get(method)(), **options)
        results[method] = Reconstruction.load(files[0])
    print(f"\n{'method':<12} {'seconds':>8} {'PSNR (dB)':>10} {'SSIM':>8}")
    for method, result in results.items():
        print(f"{method:<12} {result.seconds:8.1f} {result.metrics['psnr']:10.2f} {result.metrics['ssim']:8.4f}")
    picture = io.montage(
        {method: result.volume for method, result in results.items()},
        folder / "montage.png",
        reference=io.read_reference(scan),
        grid=results[METHODS[0]].grid,
        labels={m: f"{r.metrics['psnr']:.1f} dB, SSIM {r.metrics['ssim']:.3f}" for m, r in results.items()},
    )
    print(f"\nvolumes and {picture} written in {time.perf_counter() - start:.0f} s")


def _begin(command: str, *words: object, **options: object) -> None:
    """Print a command as one would type it, and start its clock."""
    clock.start()
    typed = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    print(f"\n$ mrrecon {shlex.join([command, *map(str, words), *typed])}")
