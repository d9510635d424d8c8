"""Where a volume meets 2D priors: its slices along three axes, at unit signal, through one prior or one per plane."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from mrrecon.errors import DataError
from mrrecon.grid import LEAST_SIDE, MOST_OBLONG, Grid
from mrrecon.operators.backend import get_array_module

if TYPE_CHECKING:
    from mrrecon.priors.base import SlicePrior
    from mrrecon.priors.condition import Condition
    from mrrecon.priors.schedule import Spacing

__all__ = ["PlanePriors", "PriorChoice"]

PriorChoice = Union[str, "SlicePrior", Sequence[Union[str, "SlicePrior"]]]
"""A prior, its name or folder; or three, one for each axis of the volume."""

VOXEL_TOLERANCE = 0.1  # share by which voxels may leave the range of a prior without a warning


class PlanePriors:
    """One or three slice priors, applied to the slices of volumes on a grid.

    Parameters
    ----------
    choice
        See :data:`PriorChoice`.
    grid
        Of the volumes.
    device
        ``"cpu"`` or ``"cuda"``: where networks compute.

    Attributes
    ----------
    planes : tuple of int
        Axes that slices are cut perpendicular to: those that suit a 2D prior, see :meth:`mrrecon.grid.Grid.planes`.
    evaluations : int
        Number of slices that have gone through a prior so far: the cost that counts.
    used : set of int
        Planes whose slices have gone through a prior.

    Raises
    ------
    PriorError
        If a prior cannot be loaded, or needs something that it was not given.
    DataError
        If there are neither one nor three priors, or no plane suits them.
    """

    def __init__(self, choice: PriorChoice, grid: Grid, device: str = "cpu") -> None:
        from mrrecon import priors

        chosen: list[Any] = list(choice) if isinstance(choice, (list, tuple)) else [choice] * 3
        if len(chosen) != 3:
            raise DataError(f"There must be one prior or three, one for each axis of the volume, got {len(chosen)}.")
        loaded = {name: priors.load(name) for name in {prior for prior in chosen if isinstance(prior, str)}}
        self.priors: list[SlicePrior] = [
            _moved(loaded[prior] if isinstance(prior, str) else prior, device) for prior in chosen
        ]
        self.grid, self.planes, self.evaluations = grid, grid.planes(), 0
        self.used: set[int] = set()
        if not self.planes:
            raise DataError(
                f"No plane of a volume of {'x'.join(map(str, grid.shape))} voxels of "
                f"{'x'.join(f'{e:g}' for e in grid.voxel_size)} mm suits a 2D prior: slices must be at least "
                f"{LEAST_SIDE} voxels wide and voxels at most {MOST_OBLONG:g} times as long as wide; use cg-sense or "
                "l1-wavelet."
            )
        asked = {(id(self.priors[plane]), grid.slice_edges(plane)): plane for plane in reversed(self.planes)}
        for plane in sorted(asked.values()):  # the same thing is said once
            self.priors[plane].require_given()
            self._check_voxels(plane)

    def levels(self, steps: int | None = None, first: float | None = None, spacing: Spacing = "noise-level") -> Any:
        """Falling noise levels that all priors in use know; see :meth:`mrrecon.priors.SlicePrior.levels`."""
        models = [self.priors[plane] for plane in self.planes]
        return min(models, key=lambda model: model.levels(1)[0]).levels(steps, first, spacing)

    def denoise(self, image: Any, plane: int, level: float, reverse: tuple[bool, bool] = (False, False)) -> Any:
        """Tweedie estimate of an image plus white noise, from its slices of one plane.

        Parameters
        ----------
        image
            ``(sets, x, y, z)``, complex64, at unit signal.
        plane
            Axis that the slices are perpendicular to.
        level
            Noise level, per real component.
        reverse
            Axes of the slices along which the prior sees them backwards.
        """
        xp, turns = get_array_module(image), list(reverse)
        turns.insert(plane, False)
        turned = (slice(None), *(slice(None, None, -1 if backwards else 1) for backwards in turns))
        condition = self.condition(plane, reverse=reverse)
        self.used.add(plane)
        clean = []
        for volume in image[turned]:
            self.evaluations += volume.shape[plane]
            slices = self.priors[plane].denoise(self.slices(volume, plane), level, condition)
            clean.append(xp.moveaxis(slices, 0, plane))
        return xp.ascontiguousarray(xp.stack(clean)[turned])

    def denoise_slices(self, slices: Any, plane: int, levels: np.ndarray, chosen: np.ndarray) -> Any:
        """Tweedie estimate of noisy slices ``(n, ...)`` of their own levels, which have the indices `chosen`."""
        self.evaluations += len(slices)
        self.used.add(plane)
        return self.priors[plane].denoise(slices, levels, self.condition(plane, chosen))

    @staticmethod
    def slices(volume: Any, plane: int, chosen: Any = None) -> Any:
        """Slices ``(n, ...)`` of a volume ``(x, y, z)``, contiguous; the other two axes keep their order."""
        xp = get_array_module(volume)
        moved = xp.moveaxis(volume, plane, 0)
        return xp.ascontiguousarray(moved if chosen is None else moved[xp.asarray(chosen)])

    def condition(self, plane: int, chosen: Any = None, reverse: tuple[bool, bool] = (False, False)) -> Condition:
        """What is known of some slices of a plane, by default all."""
        from mrrecon.priors.condition import Condition

        number = self.grid.shape[plane]
        index = np.arange(number) if chosen is None else np.asarray(chosen)
        depth = np.zeros(len(index)) if number == 1 else 2 * index / (number - 1) - 1
        return Condition(plane=plane, depth=depth, voxel_size=self.grid.slice_edges(plane), reversed=reverse)

    def _check_voxels(self, plane: int) -> None:
        prior, edge = self.priors[plane], math.sqrt(math.prod(self.grid.slice_edges(plane)))
        if prior.voxel_sizes is None:
            return
        low, high = prior.voxel_sizes
        if not low * (1 - VOXEL_TOLERANCE) <= edge <= high * (1 + VOXEL_TOLERANCE):
            warnings.warn(
                f"The prior {prior.name} was made for voxels of {_range(low, high)} and slices perpendicular to axis "
                f"{'xyz'[plane]} have {edge:.2g} mm; {_advice(prior.name, edge)}.",
                stacklevel=2,
            )


def _moved(prior: SlicePrior, device: str) -> SlicePrior:
    return prior.to(device) if hasattr(prior, "to") else prior


def _range(low: float, high: float) -> str:
    return f"{low:g} mm" if low == high else f"{low:g} to {high:g} mm"


def _advice(name: str, edge: float) -> str:
    """Which packaged priors fit the voxels instead."""
    from mrrecon import priors

    fitting = [
        found["name"]
        for found in priors.describe_all()
        if found["name"] != name
        and found["voxel_sizes"] is not None
        and found["voxel_sizes"][0] * (1 - VOXEL_TOLERANCE) <= edge <= found["voxel_sizes"][1] * (1 + VOXEL_TOLERANCE)
    ]
    return f"use {' or '.join(fitting)}" if fitting else "results may be poor; compare with l1-wavelet"
