"""Where a volume meets 2D priors: its slices along three axes, at unit signal, through one prior or one per plane."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from mrrecon.errors import DataError
from mrrecon.operators.backend import get_array_module

if TYPE_CHECKING:
    from mrrecon.priors.base import Condition, SlicePrior

__all__ = ["PriorChoice", "SlicedPrior", "usable_planes"]

PriorChoice = Union[str, "SlicePrior", Sequence[Union[str, "SlicePrior"]]]
"""A prior, its name or folder; or three, one for each axis of the volume."""

LEAST_SIDE = 8  # voxels; thinner slices carry nothing that a 2D prior knows
MOST_OBLONG = 2.5  # ratio of in-plane voxel edges beyond which a plane is left out
VOXEL_TOLERANCE = 0.1  # share by which voxels may leave the range of a prior without a warning


class SlicedPrior:
    """One or three slice priors, applied to slices of a volume.

    Parameters
    ----------
    choice
        See :data:`PriorChoice`.
    voxel_size
        Voxel edges of the volume, mm.
    planes
        Axes that slices are cut perpendicular to.
    device
        ``"cpu"`` or ``"cuda"``: where networks compute.

    Attributes
    ----------
    evaluations : int
        Number of slices that have gone through a prior so far: the cost that counts.

    Raises
    ------
    PriorError
        If a prior cannot be loaded.
    DataError
        If there are neither one nor three priors.
    """

    def __init__(
        self,
        choice: PriorChoice,
        voxel_size: tuple[float, float, float],
        planes: Sequence[int] = (0, 1, 2),
        device: str = "cpu",
    ) -> None:
        from mrrecon import priors

        chosen: list[Any] = list(choice) if isinstance(choice, (list, tuple)) else [choice] * 3
        if len(chosen) != 3:
            raise DataError(f"There must be one prior or three, one for each axis of the volume, got {len(chosen)}.")
        loaded = {name: priors.load(name) for name in {prior for prior in chosen if isinstance(prior, str)}}
        self.priors: list[SlicePrior] = [
            _moved(loaded[prior] if isinstance(prior, str) else prior, device) for prior in chosen
        ]
        self.planes = tuple(planes)
        self.voxel_size = voxel_size
        self.evaluations = 0
        told = {(id(self.priors[plane]), self.edges(plane)): plane for plane in reversed(self.planes)}
        for plane in sorted(told.values()):  # the same thing is said once
            self._check_voxels(plane)

    def edges(self, plane: int) -> tuple[float, float]:
        """Pixel edges of the slices of a plane, mm."""
        first, second = (edge for axis, edge in enumerate(self.voxel_size) if axis != plane)
        return first, second

    def denoise(self, volume: Any, plane: int, sigma: float, chosen: Any = None) -> Any:
        """Tweedie estimate of slices of a volume.

        Parameters
        ----------
        volume
            ``(x, y, z)``, complex64, at unit signal.
        plane
            Axis that the slices are perpendicular to.
        sigma
            Noise level, per real component.
        chosen
            Indices of slices; by default all.

        Returns
        -------
        slices
            ``(slices, ...)``: the plane's axis comes first, the other two keep their order.
        """
        slices = self.slices(volume, plane, chosen)
        self.evaluations += len(slices)
        return self.priors[plane].denoise(slices, sigma, self._condition(plane, volume.shape[plane], chosen))

    def predict_noise(self, states: Any, plane: int, t: Any, number: int, chosen: Any = None) -> Any:
        """Noise in diffusion states ``(slices, ...)`` that belong to the slices `chosen` of `number` slices."""
        self.evaluations += len(states)
        return self.priors[plane].predict_noise(states, t, self._condition(plane, number, chosen))

    @staticmethod
    def slices(volume: Any, plane: int, chosen: Any = None) -> Any:
        """Slices of a volume, contiguous; see :meth:`denoise`."""
        xp = get_array_module(volume)
        moved = xp.moveaxis(volume, plane, 0)
        return xp.ascontiguousarray(moved if chosen is None else moved[xp.asarray(chosen)])

    @staticmethod
    def volume(slices: Any, plane: int) -> Any:
        """Put all slices of a plane together again."""
        xp = get_array_module(slices)
        return xp.ascontiguousarray(xp.moveaxis(slices, 0, plane))

    def _condition(self, plane: int, number: int, chosen: Any) -> Condition:
        from mrrecon.priors.base import Condition

        index = np.arange(number) if chosen is None else np.asarray(chosen)
        depth = np.zeros(len(index)) if number == 1 else 2 * index / (number - 1) - 1
        return Condition(plane=plane, depth=depth, voxel_size=self.edges(plane))

    def _check_voxels(self, plane: int) -> None:
        prior, edge = self.priors[plane], math.sqrt(math.prod(self.edges(plane)))
        if prior.voxel_sizes is None:
            return
        low, high = prior.voxel_sizes
        if not low * (1 - VOXEL_TOLERANCE) <= edge <= high * (1 + VOXEL_TOLERANCE):
            warnings.warn(
                f"The prior {prior.name} was made for voxels of {_range(low, high)} and slices perpendicular to axis "
                f"{'xyz'[plane]} have {edge:.2g} mm; {_advice(prior.name, edge)}.",
                stacklevel=2,
            )


def usable_planes(shape: Sequence[int], voxel_size: Sequence[float]) -> tuple[int, ...]:
    """Axes along which a volume can be cut into slices that a 2D prior understands.

    Slices must be at least eight voxels wide, their voxels not too oblong: a stack of thick slices has one such plane.

    Parameters
    ----------
    shape, voxel_size
        Of the volume: voxels and mm, along (x, y, z).

    Raises
    ------
    DataError
        If there is none.
    """
    planes = []
    for plane in range(3):
        others = [axis for axis in range(3) if axis != plane]
        wide = min(shape[axis] for axis in others) >= LEAST_SIDE
        square = max(voxel_size[axis] for axis in others) <= MOST_OBLONG * min(voxel_size[axis] for axis in others)
        if wide and square:
            planes.append(plane)
    if not planes:
        raise DataError(
            f"No plane of a volume of {'x'.join(map(str, shape))} voxels of {'x'.join(f'{e:g}' for e in voxel_size)} "
            f"mm suits a 2D prior: slices must be at least {LEAST_SIDE} voxels wide and voxels at most "
            f"{MOST_OBLONG:g} times as long as wide; use cg-sense or l1-wavelet."
        )
    return tuple(planes)


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
