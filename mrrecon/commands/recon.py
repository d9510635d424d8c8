"""``mrrecon recon``: from a k-space file to a volume."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mrrecon.errors import DataError
from mrrecon.solvers import Solver

if TYPE_CHECKING:
    from mrrecon.acquisition import Acquisition
    from mrrecon.reconstruction import Reconstruction
    from mrrecon.solvers.base import Callback

__all__ = ["recon"]


def recon(
    file: str,
    output: list[str],
    solver: Solver | None = None,
    prior: list[str] | None = None,
    time_budget: float | None = None,
    resume: bool = False,
    accel: float | None = None,
    mask: str = "poisson",
    calibration: int | None = None,
    elliptical: bool = False,
    seed: int = 0,
    maps: str | None = None,
    map_sets: int = 1,
    coils: int | None = None,
    compression: Literal["svd", "geometric"] = "svd",
    whiten: bool = True,
    reference: str | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
) -> None:
    """Reconstruct a volume from a k-space file.

    Parameters
    ----------
    file
        K-space file of any supported format.
    output
        Files to write: .nii.gz, .h5 (complex, with the full record), .png (three planes), .cfl, or a folder for DICOM.
    solver
        Method: zero-filled, cg-sense (the default), l1-wavelet, tv, variational, dds, tpdm, diffusion-mbir or dps; its
        settings are --solver.NAME.
    prior
        Name or folder of the prior of a solver that has one (mrrecon prior list); or three, one for each axis.
    time_budget
        Seconds that the solver may take, about; what it has by then is the result.
    resume
        Go on with a run that was stopped; every run keeps, once a minute, how far it is in FIRST_OUTPUT.checkpoint.
    accel
        Undersample the data by this factor first (retrospectively); by default all measured data are used.
    mask
        Kind of undersampling: poisson, gaussian, uniform; or a mask file (.npy, .cfl, .h5).
    calibration
        Side of the fully sampled centre: kept by masks, and the most that maps are estimated from. By default 24, but
        in masks no more than a quarter of the samples.
    elliptical
        Leave the corners of k-space out of the mask.
    seed
        Seed of the mask.
    maps
        File with sensitivity maps (.cfl, .h5); by default the file's own, else ESPIRiT from the calibration region.
    map_sets
        Number of ESPIRiT map sets (2 for soft SENSE).
    coils
        Compress to this many virtual coils first.
    compression
        One matrix for all (svd), or one per readout position (geometric).
    whiten
        Decorrelate the coils first, when the noise covariance is known.
    reference
        Volume to compare with (.h5 of mrrecon, or .nii.gz); by default the one inside a simulated file.
    device
        Where to compute: cpu, or cuda (CuPy and an NVIDIA GPU).
    """
    from mrrecon import io, operators, solvers
    from mrrecon.commands.shared import check_outputs, undersample
    from mrrecon.operators.backend import to_device
    from mrrecon.solvers.iterative import IterativeSolver

    solver = _with_choices(solver or solvers.CGSense(), prior, time_budget)
    unpaced = None if hasattr(solver, "time_budget") else time_budget
    check_outputs(output)
    to_device(np.zeros(1), device)  # refuses at once where there is no GPU
    scan = io.read(file, lazy=True)
    print(scan)
    copies = 4 if scan.maps is None and maps is None else 3  # k-space twice, maps, and the result of a step
    io.require_memory(copies * 8 * math.prod(scan.kspace.shape), f"Reconstructing {file}")
    scan = scan.load()
    measured = scan.acceleration
    scan = undersample(scan, mask, accel, calibration=calibration, seed=seed, elliptical=elliptical)
    if scan.acceleration != measured:
        print(f"undersampled: R = {scan.acceleration:.2f}")
    if maps is not None:
        scan = scan.evolve("maps from file", {"file": maps}, maps=io.read_maps(maps))
    scan = _prepare(scan, whiten, coils, compression)
    if scan.maps is None:
        most = operators.CALIBRATION if calibration is None else calibration
        scan = scan.calibrate(calibration=most, sets=map_sets)
    if device != "cpu":
        scan = scan.to(device)

    shown = _within(unpaced, solvers.progress(solver.name))
    if isinstance(solver, IterativeSolver):
        result = solver(scan, callback=shown, checkpoint=_checkpoint(output[0], resume))
    else:
        result = solver(scan, callback=shown)
    stopped = str(result.settings.get("stopped", "converged"))
    if stopped not in ("converged", "max_iter"):
        print(f"stopped after {len(result.history)} iterations ({stopped}); the image so far is kept")
        if _checkpoint_path(output[0]).exists():
            print("the same command with --resume goes on")
    result = _compare(result, scan, reference)
    for path in output:
        print(f"wrote {result.save(path)}")


def _checkpoint_path(output: str) -> Path:
    return Path(output.rstrip("/") + ".checkpoint")


def _checkpoint(output: str, resume: bool) -> Path:
    """Where the run keeps how far it is; what is there already only stays if the run is to go on with it."""
    path = _checkpoint_path(output)
    if resume and not path.exists():
        raise DataError(f"There is nothing to resume: {path} does not exist; leave --resume out to begin.")
    if not resume and path.exists():
        print(f"{path}, of a run that was stopped, is not gone on with (--resume would) and is replaced")
        path.unlink()
    return path


def _with_choices(solver: Solver, prior: list[str] | None, time_budget: float | None) -> Solver:
    """Put what the command line says apart from the solver's settings into them.

    Raises
    ------
    DataError
        If the solver has no prior, or the budget is not positive.
    """
    known = {f.name for f in fields(solver)}  # type: ignore[arg-type]  # solvers are dataclasses
    changes: dict[str, Any] = {}
    if prior is not None and "prior" not in known:
        raise DataError(f"The solver {solver.name} has no prior; leave --prior out, or choose --solver variational.")
    if prior is not None:
        changes["prior"] = prior[0] if len(prior) == 1 else prior
    if time_budget is not None and not time_budget > 0:
        raise DataError(f"--time-budget must be a positive number of seconds, got {time_budget:g}.")
    if time_budget is not None and "time_budget" in known:
        changes["time_budget"] = time_budget
    return replace(solver, **changes) if changes else solver  # type: ignore[type-var]


def _within(seconds: float | None, shown: Callback) -> Callback:
    """Stop a solver after so many seconds."""
    if seconds is None:
        return shown
    return lambda status: bool(shown(status)) or status.elapsed >= seconds


def _prepare(
    scan: Acquisition, whiten: bool, coils: int | None, compression: Literal["svd", "geometric"]
) -> Acquisition:
    from mrrecon.preparation import decline_whitening

    if whiten and scan.noise_covariance is not None and not scan.is_whitened:
        scan = scan.whiten()
    elif not whiten:
        scan = decline_whitening(scan)
    if coils is not None and coils != scan.n_coils:
        scan = scan.compress_coils(coils, compression)
        print(f"compressed to {scan.n_coils} virtual coils ({compression})")
    return scan


def _compare(result: Reconstruction, scan: Acquisition, reference: str | None) -> Reconstruction:
    """Attach metrics against the reference, if there is one, and print the main ones."""
    from mrrecon import io, metrics

    truth = scan.reference if reference is None else io.read_reference(reference)
    line = f"{result.solver}: {result.seconds:.1f} s"
    if "chi_squared" in result.metrics:
        line += f", chi^2 {result.metrics['chi_squared']:.3f}"
    if truth is not None:
        result = result.with_metrics(metrics.evaluate(result, truth))
        line += "".join(f", {name} {result.metrics[name]:.4g}" for name in ("psnr", "ssim", "nmse"))
    print(line)
    return result
