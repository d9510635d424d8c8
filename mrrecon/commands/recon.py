"""``mrrecon recon``: from a k-space file to a volume."""

from __future__ import annotations

import math
import warnings
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from mrrecon.commands.files import InputFile, MaskChoice, PriorChoice, ReadOptions, writes
from mrrecon.commands.outputs import with_partial, write_all
from mrrecon.commands.results import chi_squared_note, chi_squared_text
from mrrecon.commands.shared import clock, read_scan, undersample
from mrrecon.errors import DataError, MRReconError, OutputError, SolverError
from mrrecon.progress import working
from mrrecon.solvers import Solver
from mrrecon.solvers.parts.checkpoint import is_checkpoint

if TYPE_CHECKING:
    from mrrecon.acquisition import Acquisition
    from mrrecon.reconstruction import Reconstruction

__all__ = ["recon"]

CHECKPOINT = ".checkpoint"  # what the name of the first output ends with, of the file that keeps how far a run is
BYTES = 2.0  # per voxel that an output takes at the very least, compressed
LITTLE_GAIN = ("zero-filled", "cg-sense")  # from better maps, beside what these cost
SHOWN = ("psnr", "ssim", "nmse")


def recon(
    file: InputFile,
    output: list[Annotated[str, writes("reconstruction", beside=(CHECKPOINT,))]],
    read: ReadOptions | None = None,
    solver: Solver | None = None,
    prior: list[PriorChoice] | None = None,
    effort: Literal["fast", "normal", "best"] | None = None,
    time_budget: float | None = None,
    resume: bool = False,
    accel: float | None = None,
    mask: MaskChoice = "poisson",
    calibration: int | None = None,
    elliptical: bool = False,
    seed: int = 0,
    maps: InputFile | None = None,
    map_sets: int = 1,
    joint: Literal["auto", "always", "never"] = "auto",
    coils: int | None = None,
    compression: Literal["svd", "geometric"] = "svd",
    whiten: bool = True,
    reference: InputFile | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
) -> None:
    """Reconstruct a volume from a k-space file.

    Parameters
    ----------
    file
        K-space file of any supported format.
    output
        Files to write: .nii.gz, .h5 (complex, with the full record), .png (three planes), .cfl, or a folder for DICOM.
    read
        Options for reading the file, each as --read.NAME VALUE: --read.contrast 1, --read.coils [0,2,3],
        --read.voxel_size [1,1,1]. mrrecon info FILE lists those that its format takes.
    solver
        Method: zero-filled, cg-sense (the default), l1-wavelet, tv, variational, ensemble, dds, tpdm, diffusion-mbir or
        dps; its settings are --solver.NAME.
    prior
        Name or folder of the prior of a solver that has one (mrrecon prior list); or three, one for each axis.
    effort
        How much time a better image is worth, to a solver that has a prior: fast, normal (the default) or best.
    time_budget
        Seconds that the solver may take, about; what it has by then is the result.
    resume
        Go on with a run that was stopped, if there is one; every run keeps, once a minute, how far it is in
        FIRST_OUTPUT.checkpoint.
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
    joint
        Estimate maps jointly with the image, from all samples: always, never, or (auto) where chi^2 of CG-SENSE is
        above one with ESPIRiT's maps; not maps that are given, nor for cg-sense itself, which gains little.
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
    from mrrecon.operators.backend import to_device
    from mrrecon.solvers.parts.iterative import IterativeSolver
    from mrrecon.solvers.parts.loop import FINISHED

    solver = _with_choices(solver or solvers.CGSense(), prior, effort, time_budget)
    to_device(np.zeros(1), device)  # refuses at once where there is no GPU
    scan = read_scan(file, read, lazy=True)
    print(scan)
    with clock.part("loading the method"):
        solver.check(scan, device)
    for path in output:
        io.require_disk(BYTES * math.prod(scan.shape), path)
    scan = scan.evolve("reference", {"file": reference}, reference=io.read_reference(reference)) if reference else scan
    comparable = _comparable(scan, required=reference is not None)
    checkpoint = _checkpoint(output[0], resume) if isinstance(solver, IterativeSolver) else None
    estimated = scan.maps is None and maps is None
    gains = estimated and map_sets == 1 and solver.name not in LITTLE_GAIN
    fits = joint == "always" or (joint == "auto" and gains)
    copies = 3 + estimated + fits  # k-space twice, maps, and the results of a step
    io.require_memory(copies * 8 * math.prod(scan.kspace.shape), f"Reconstructing {file}")
    with clock.part("reading"):
        scan = _loaded(scan, maps)
    measured = scan.acceleration
    scan = undersample(scan, mask, accel, calibration=calibration, seed=seed, elliptical=elliptical)
    if scan.acceleration != measured:
        print(f"undersampled: R = {scan.acceleration:.2f}")
    scan = _prepare(scan, whiten, coils, compression)
    if estimated:
        most = operators.CALIBRATION if calibration is None else calibration
        with clock.part("calibration"), working("coil maps (ESPIRiT)"):
            scan = scan.calibrate(calibration=most, sets=map_sets)
    if device != "cpu":
        scan = scan.to(device)
    if fits:
        scan = _jointly(scan, always=joint == "always")

    with clock.part(solver.name):
        shown = solvers.progress(solver.name)
        try:
            if isinstance(solver, IterativeSolver):
                result = solver(scan, callback=shown, checkpoint=checkpoint, keep_checkpoint=True)
            else:
                result = solver(scan, callback=shown)
        except SolverError as error:
            raise with_partial(error, output[0]) from error
    stopped = result.stopped or "converged"
    if stopped not in FINISHED:
        print(f"stopped after {len(result.history)} iterations ({stopped}); the image so far is kept")
        if checkpoint is not None and checkpoint.exists():
            print("the same command with --resume goes on")
    if comparable:
        result = _compared(result, scan.reference)
    print(_summary(result))
    note = chi_squared_note(result.metrics.get("chi_squared"), lambda: _unknowns(scan))
    if note:
        warnings.warn(note, stacklevel=1)
    with clock.part("writing"):
        write_all(output, result.save, result.save, ".h5")
    if checkpoint is not None and stopped in FINISHED:
        checkpoint.unlink(missing_ok=True)
    print(clock)


def _loaded(scan: Acquisition, maps: str | None) -> Acquisition:
    """The scan in memory, with the maps in the file, if there is one."""
    from mrrecon import io

    if maps is None:
        return scan.load()
    given = io.read_maps(maps)
    return scan.load().with_maps(given, maps)


def _checkpoint(output: str, resume: bool) -> Path:
    """Where the run keeps how far it is; what is there already only stays if the run is to go on with it."""
    path = Path(output.rstrip("/") + CHECKPOINT)
    if resume and not path.exists():
        warnings.warn(f"there is nothing to resume ({path} does not exist): the run begins.", stacklevel=1)
    if not resume and path.exists():
        if not is_checkpoint(path):
            raise OutputError(
                f"{path}, where the run would keep how far it is, is some other file; rename one of them."
            )
        print(f"{path}, of a run that was stopped, is not gone on with (--resume would) and is replaced")
        path.unlink()
    return path


def _with_choices(solver: Solver, prior: list[str] | None, effort: str | None, time_budget: float | None) -> Solver:
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
    if effort is not None and "effort" not in known:
        raise DataError(f"The solver {solver.name} has no prior, which effort could be spent on; leave --effort out.")
    if effort is not None:
        changes["effort"] = effort
    if prior is not None:
        changes["prior"] = prior[0] if len(prior) == 1 else prior
    if time_budget is not None and not time_budget > 0:
        raise DataError(f"--time-budget must be a positive number of seconds, got {time_budget:g}.")
    if time_budget is not None and "time_budget" in known:
        changes["time_budget"] = time_budget
    return replace(solver, **changes) if changes else solver  # type: ignore[type-var]


def _comparable(scan: Acquisition, required: bool) -> bool:
    """Whether there is a reference that metrics can be computed against; one that was asked for must be."""
    from mrrecon import metrics

    if scan.reference is None:
        return False
    try:
        metrics.require_comparable(scan.reference)
    except MRReconError as error:
        if required:
            raise
        warnings.warn(f"the result will not be compared with the reference in the file: {error}", stacklevel=1)
        return False
    return True


def _prepare(
    scan: Acquisition, whiten: bool, coils: int | None, compression: Literal["svd", "geometric"]
) -> Acquisition:
    if whiten and scan.noise_covariance is not None and not scan.is_whitened:
        scan = scan.whiten()
    elif not whiten:
        scan = scan.decline_whitening()
    if coils is not None and coils != scan.n_coils:
        scan = scan.compress_coils(coils, compression)
        print(f"compressed to {scan.n_coils} virtual coils ({compression})")
    return scan


def _jointly(scan: Acquisition, always: bool) -> Acquisition:
    """The scan with maps that were estimated jointly with an image, where that is asked for."""
    from mrrecon import solvers

    with clock.part("joint maps"), working("coil maps and image jointly"):
        fitted = solvers.joint_maps(scan, always=always)
    if fitted is not scan:
        done = fitted.provenance[-1].settings
        before, after = (chi_squared_text(value) for value in done["chi_squared"])
        print(f"coil maps and image jointly: chi^2 of CG-SENSE {before}, after {done['rounds']} rounds {after}")
    return fitted


def _compared(result: Reconstruction, reference: Any) -> Reconstruction:
    """Attach metrics; the image is not lost where they fail."""
    from mrrecon import metrics

    try:
        return result.with_metrics(metrics.evaluate(result, reference))
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        warnings.warn(f"the result could not be compared with the reference: {said}", stacklevel=1)
        return result


def _unknowns(scan: Acquisition) -> float:
    """Voxels that some coil sees over measured samples, all coils together; at most one."""
    if scan.maps is None:
        return 1.0
    maps = scan.maps.reshape(-1, *scan.maps.shape[-4:])
    seen = sum(int((one != 0).any(axis=0).sum()) for one in maps)
    return min(1.0, seen * scan.acceleration / math.prod(scan.kspace.shape))


def _summary(result: Reconstruction) -> str:
    """The main numbers in a line."""
    line = f"{result.solver}: {result.seconds:.1f} s"
    if "chi_squared" in result.metrics:
        line += f", chi^2 {chi_squared_text(result.metrics['chi_squared'])}"
    return line + "".join(f", {name} {result.metrics[name]:.4g}" for name in SHOWN if name in result.metrics)
