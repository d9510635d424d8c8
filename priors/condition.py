"""What is known about slices besides their pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from mrrecon.errors import PriorInputError

__all__ = ["KNOWN", "Condition", "cut_known"]

KNOWN = ("image", "mask", "features")  # parts of a condition that users give


@dataclass(frozen=True)
class Condition:
    """What is known about a batch of slices besides their pixels; priors use what they can and ignore the rest.

    Parameters
    ----------
    plane
        Axis of the volume that the slices are perpendicular to: 0, 1 or 2.
    depth
        Position along that axis, -1 (first slice) to 1 (last slice), one number or one per slice.
    voxel_size
        In-plane voxel edges, mm.
    image
        Picture that the slices belong to (an acquired slice, an X-ray, a projection), ``(H, W)`` or ``(B, H, W)``.
    mask
        Segmentation of the slices, ``(B, H, W)``, whole numbers.
    features
        Vector of descriptors (class, diagnosis, contrast), ``(F,)`` or ``(B, F)``.
    reversed
        Along which of (H, W) the slices run backwards: what is cut for them from volumes must too.
    """

    plane: int | None = None
    depth: Any = None
    voxel_size: tuple[float, float] | None = None
    image: Any = None
    mask: Any = None
    features: Any = None
    reversed: tuple[bool, bool] = (False, False)

    def __post_init__(self) -> None:
        if self.plane not in (None, 0, 1, 2):
            raise PriorInputError(f"Condition.plane must be 0, 1 or 2, got {self.plane!r}.")
        if self.voxel_size is not None and not (len(self.voxel_size) == 2 and min(self.voxel_size) > 0):
            raise PriorInputError(f"Condition.voxel_size must be two positive edges in mm, got {self.voxel_size!r}.")

    def part(self, chosen: slice) -> Condition:
        """Return the condition of some slices of the batch."""
        batched = {"depth": 1, "image": 3, "mask": 3, "features": 2}
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, ndim in batched.items():
            if values[name] is not None and np.ndim(values[name]) == ndim:
                values[name] = values[name][chosen]
        return Condition(**values)


def cut_known(known: Mapping[str, Any], condition: Condition | None) -> Condition:
    """Condition of some slices with what is known of their volume added, parts of a :class:`Condition` by name.

    An image or a mask of three axes is a volume ``(x, y, z)`` where the condition says which slices are asked for
    (plane and depth); everything else is passed on as it is.
    """
    condition = Condition() if condition is None else condition
    return replace(condition, **{name: _slices_of(value, condition) for name, value in known.items()})


def _slices_of(value: Any, condition: Condition) -> Any:
    """The slices of a volume that a condition is about; one picture for all of them runs backwards as they do."""
    height, width = (slice(None, None, -1 if backwards else 1) for backwards in condition.reversed)
    if np.ndim(value) == 2 and any(condition.reversed):
        return np.ascontiguousarray(np.asarray(value)[height, width])
    if condition.plane is None or condition.depth is None or np.ndim(value) != 3:
        return value
    volume = np.moveaxis(np.asarray(value), condition.plane, 0)
    index = np.rint((np.atleast_1d(np.asarray(condition.depth)) + 1) / 2 * (len(volume) - 1)).astype(int)
    return np.ascontiguousarray(volume[index, height, width])
