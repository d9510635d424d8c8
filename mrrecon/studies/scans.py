"""The scans of a study: read or simulated, undersampled and calibrated; the last one is kept for the next run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mrrecon.errors import DataError, ShapeError
from mrrecon.studies.files import StudyFile
from mrrecon.studies.runs import Run
from mrrecon.studies.study import Study

if TYPE_CHECKING:
    from mrrecon.acquisition import Acquisition

__all__ = ["Scans", "complete_scan"]

SAME_AFFINE = 1e-2  # mm: grids that agree this well are the same


class Scans:
    """Gives the scan of each run of a study; runs on the same scan should follow each other."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._complete: tuple[Any, Acquisition] | None = None
        self._ready: tuple[Any, Acquisition] | None = None

    def get(self, run: Run) -> Acquisition:
        """Undersampled scan with maps, whitened, with its reference; on the CPU.

        Raises
        ------
        MRReconError
            If the file cannot be read or used, or there is no such mask, or no maps can be estimated.
        """
        key = (run.file, run.acceleration, run.seed)
        if self._ready is None or self._ready[0] != key:
            self._ready = None  # before the next one takes its memory
            if self._complete is None or self._complete[0] != run.file:
                self._complete = None
                self._complete = (run.file, complete_scan(run.file, self._study))
            self._ready = (key, self._undersampled(self._complete[1], run))
        return self._ready[1]

    def _undersampled(self, scan: Acquisition, run: Run) -> Acquisition:
        from mrrecon.operators import make_mask
        from mrrecon.solvers import joint_maps

        sampling = self._study.sampling
        plane = scan.phase_encodes
        side = sampling.side(plane, run.acceleration)
        settings = {"calibration": side, "elliptical": sampling.elliptical, "seed": run.seed}
        made = make_mask(sampling.mask, plane, run.acceleration, **settings)
        found = scan.undersample(made, {"mask": sampling.mask, "accel": run.acceleration, **settings})
        if self._study.maps == "given":
            return found
        found = found.calibrate(calibration=sampling.calibration)  # along the readout there may be more than `side`
        return found if self._study.maps == "estimated" else joint_maps(found, always=False)


def complete_scan(file: StudyFile, study: Study) -> Acquisition:
    """Scan with a reference, before it is undersampled; with maps if the study takes the given ones.

    Raises
    ------
    MRReconError
        If the file cannot be read; if k-space has no reference and gaps, or no maps where they are asked for.
    """
    return _simulated(file, study) if file.is_anatomy else _measured(file, study)


def _simulated(file: StudyFile, study: Study) -> Acquisition:
    from mrrecon import io, resolution
    from mrrecon.simulation import simulate

    volume, grid = io.read_volume(file.path)
    if file.brain is not None:
        mask, where = io.read_volume(file.brain)
        if where.shape != grid.shape or not np.allclose(where.affine, grid.affine, atol=SAME_AFFINE):
            raise ShapeError(f"{file.brain} and {file.path} are not on the same grid; resample one to the other.")
        volume = volume * (mask != 0)
    settings = study.simulation
    if settings.voxel_size is not None:
        edge = settings.voxel_size
        volume, grid = resolution.change_resolution(volume, grid, (edge, edge, edge), settings.resample)
        if np.isrealobj(volume):
            volume = np.maximum(volume, 0)  # what rings below zero is no magnitude
    volume = _even(volume)
    scan = simulate(
        volume,
        replace(grid, shape=volume.shape),
        n_coils=settings.coils,
        snr=settings.snr,
        noise_correlation=settings.noise_correlation,
        coil_model=settings.coil_model,
        keep_maps=study.maps == "given",
        seed=settings.seed,
    )
    return scan if settings.snr is None else scan.whiten()


def _even(volume: np.ndarray) -> np.ndarray:
    """Add a plane of air to odd axes, for all methods alike: BART 0.8 goes wrong on them (its pull request 328)."""
    return np.pad(volume, [(0, n % 2) for n in volume.shape])


def _measured(file: StudyFile, study: Study) -> Acquisition:
    """K-space as it is; without a reference, that is what all of its samples give."""
    from mrrecon import io
    from mrrecon.solvers.zero_filled import ZeroFilled

    scan = io.read(file.path, **file.read)
    if scan.noise_covariance is not None and not scan.is_whitened:
        scan = scan.whiten()
    if study.maps == "given" and scan.maps is None:
        raise DataError(f"{file.path} has no maps; write 'maps: estimated' in the study, or give a file with maps.")
    if scan.reference is None:
        if not scan.is_fully_sampled:
            raise DataError(
                f"{file.path} is undersampled (R = {scan.acceleration:.2f}) and has no reference, so that there is "
                "nothing to compare with; leave it out."
            )
        complete = scan if scan.maps is not None else scan.calibrate()
        scan = scan.evolve("reference from all samples", reference=ZeroFilled()(complete).volume)
    return scan
