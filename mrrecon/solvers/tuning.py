"""Choosing a solver's settings for a scan from the scan itself: by how well it predicts samples it is not shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from mrrecon.errors import DataError, SolverError
from mrrecon.operators.backend import get_array_module, to_device, to_numpy
from mrrecon.operators.calibration_data import block_index, sampled_block
from mrrecon.operators.encoding import CartesianEncoding
from mrrecon.operators.vectors import real_dot
from mrrecon.solvers.parts.problem import whitened

if TYPE_CHECKING:
    from mrrecon.acquisition import Acquisition
    from mrrecon.solvers.base import Solver

__all__ = ["Trial", "Tuned", "tune"]


@dataclass(frozen=True)
class Trial:
    """One combination of settings, and its error over all of k-space, relative to the energy of the data."""

    settings: Mapping[str, Any]
    error: float


@dataclass(frozen=True)
class Tuned:
    """The best solver of a grid, and all that were tried, in the order of the grid."""

    solver: Solver
    trials: tuple[Trial, ...]


def tune(
    solver: Solver,
    acquisition: Acquisition,
    grid: Mapping[str, Sequence[Any]],
    held_out: float = 0.1,
    seed: int = 0,
    report: Callable[[Trial], Any] | None = None,
) -> Tuned:
    """Choose settings without a reference: hold out some of the measured samples, and see which settings predict them.

    What is minimised is the error over all of k-space: that of the samples that were shown, and for all others the mean
    over those held out. (Held-out samples alone, nearly all of them far from the centre, would be content with an
    image of zeros.)

    Parameters
    ----------
    solver
        Any solver; its other settings stay.
    acquisition
        Scan with maps; they are made from all of the data, and kept.
    grid
        Values to try of each setting; every combination is a reconstruction.
    held_out
        Share of the samples that are held out, of those outside the fully sampled centre of k-space.
    seed
        Of which samples.
    report
        Called with each trial.

    Raises
    ------
    DataError
        If the grid is empty, has a setting that the solver has not, or nothing can be held out.
    SolverError
        If the solver fails with all of the settings; those that it fails with are infinitely wrong.

    References
    ----------
    Yaman et al., Self-Supervised Learning of Physics-Guided Reconstruction Neural Networks without Fully Sampled
    Reference Data, 2020 (splitting the measured samples).

    Examples
    --------
    >>> tuned = tune(Variational(), scan, {"lam": [0.1, 0.25, 0.5]})  # doctest: +SKIP
    >>> tuned.solver(scan)                                            # doctest: +SKIP
    """
    unknown = [name for name in grid if not hasattr(solver, name)]
    if unknown or not grid or not all(len(values) for values in grid.values()):
        what = f"{solver.name} has no setting {', '.join(unknown)}" if unknown else "there is nothing to try"
        raise DataError(f"The grid to tune {solver.name} on must give values of its settings, but {what}.")
    scan = whitened(acquisition)
    kept, held = _split(scan, held_out, seed)
    trials: list[Trial] = []
    failure: SolverError | None = None
    for values in product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        try:
            result = replace(solver, **settings)(kept)  # type: ignore[type-var]  # solvers are dataclasses
            trials.append(Trial(settings, _error(scan, kept, held, result.volume)))
        except SolverError as error:  # of these settings, not of the others
            trials.append(Trial(settings, math.inf))
            failure = error
        if report is not None:
            report(trials[-1])
    best = min(trials, key=lambda trial: trial.error)
    if failure is not None and math.isinf(best.error):
        raise failure
    return Tuned(replace(solver, **best.settings), tuple(trials))  # type: ignore[type-var]


def _split(scan: Acquisition, share: float, seed: int) -> tuple[Acquisition, np.ndarray]:
    """The scan without the samples that are held out, and the mask of these."""
    if not 0 < share < 1:
        raise DataError(f"held_out must be between 0 and 1, got {share}.")
    mask = to_numpy(scan.mask)
    outside = mask.copy()
    centre = scan.centre.index[3 - mask.ndim :]
    block = sampled_block(mask, centre, [max(1, n // 2) for n in mask.shape])
    outside[block_index(block, mask.shape)] = False
    places = np.flatnonzero(outside)
    chosen = np.random.default_rng(seed).permutation(places)[: math.ceil(share * len(places))]
    if len(chosen) == 0:
        raise DataError("No samples can be held out: nothing is measured outside the fully sampled centre of k-space.")
    held = np.zeros_like(mask)
    held.flat[chosen] = True
    return scan.undersample(mask & ~held), held


def _error(scan: Acquisition, kept: Acquisition, held: np.ndarray, volume: np.ndarray) -> float:
    """Square of the error over all of k-space, as far as the data can tell; of the first set of maps."""
    maps: Any = scan.maps
    maps = maps if maps.ndim == 4 else maps[0]
    image = to_device(volume, "cpu" if get_array_module(maps) is np else "cuda")

    def missed(mask: Any) -> float:
        encoding = CartesianEncoding(maps, mask, scan.domains[0])
        difference = encoding.forward(image) - scan.kspace * encoding.mask
        return real_dot(difference, difference)

    unseen = (kept.mask.size - np.count_nonzero(kept.mask)) / np.count_nonzero(held)
    return (missed(kept.mask) + unseen * missed(held)) / real_dot(scan.kspace, scan.kspace)
