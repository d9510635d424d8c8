"""Where the voxels of a volume lie: matrix size, voxel size and scanner coordinates, and how they change together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrrecon.errors import DataError

__all__ = ["Grid"]

AXES = ("x", "y", "z")
LEAST_SIDE = 8  # voxels; thinner slices carry nothing that a 2D prior knows
MOST_OBLONG = 2.5  # ratio of in-plane voxel edges beyond which a plane is left out


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxels ``(x, y, z)`` and where they lie.

    Parameters
    ----------
    shape
        Matrix size.
    voxel_size
        Voxel edges, mm.
    affine
        4x4 matrix from voxel indices to scanner coordinates (RAS+, mm), of the voxels' centres. Made from the voxel
        size, index ``n // 2`` at the origin, when not given.

    Raises
    ------
    DataError
        If a number is not usable.
    """

    shape: tuple[int, int, int]
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0)
    affine: Any = None

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise DataError(f"A grid needs three sizes (x, y, z) of at least 1, got {tuple(self.shape)}.")
        voxel = edges(self.voxel_size, "voxel_size")
        if self.affine is None:
            affine = np.diag([*voxel, 1.0])
            affine[:3, 3] = [-v * (n // 2) for v, n in zip(voxel, shape, strict=True)]
        else:
            try:
                affine = np.array(self.affine, dtype=np.float64)
            except (TypeError, ValueError) as error:
                raise DataError(f"affine must be a 4x4 matrix of numbers, got {type(self.affine).__name__}.") from error
            if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
                raise DataError(f"affine must be an invertible, finite 4x4 matrix, got shape {affine.shape}.")
        affine.flags.writeable = False
        for name, value in (("shape", shape), ("voxel_size", voxel), ("affine", affine)):
            object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        same = self.shape == other.shape and self.voxel_size == other.voxel_size
        return same and bool(np.array_equal(self.affine, other.affine))

    def __hash__(self) -> int:
        return hash((self.shape, self.voxel_size, self.affine.tobytes()))

    @property
    def field_of_view(self) -> tuple[float, float, float]:
        """Edges of the whole volume (x, y, z), mm."""
        x, y, z = (n * v for n, v in zip(self.shape, self.voxel_size, strict=True))
        return x, y, z

    def resized(self, voxel_size: Sequence[float]) -> Grid:
        """Grid of about this voxel size over the same field of view, whose edges stay where they are.

        The matrix becomes the nearest whole numbers, and the voxel size what then fills the field of view.

        Raises
        ------
        DataError
            If `voxel_size` is not three positive lengths.
        """
        wanted = edges(voxel_size, "voxel_size")
        x, y, z = (max(1, math.floor(f / w + 0.5)) for f, w in zip(self.field_of_view, wanted, strict=True))
        return self.with_shape((x, y, z))

    def with_shape(self, shape: Sequence[int], anchor: str = "edges") -> Grid:
        """Grid of this matrix size over the same field of view.

        Parameters
        ----------
        shape
            Matrix size (x, y, z).
        anchor
            What stays in place: ``"edges"`` of the field of view, as in images (half-pixel alignment), or
            ``"centre"``, voxel ``n // 2``, as when k-space is cropped.
        """
        old, new = np.asarray(self.shape), np.asarray(shape)
        factors = old / new
        here, there = (old // 2, new // 2) if anchor == "centre" else (np.full(3, -0.5), np.full(3, -0.5))
        affine = self.affine.copy()
        affine[:3, :3] = self.affine[:3, :3] * factors
        affine[:3, 3] = self.affine[:3, :3] @ here + self.affine[:3, 3] - affine[:3, :3] @ there
        x, y, z = (float(v * f) for v, f in zip(self.voxel_size, factors, strict=True))
        return Grid((int(new[0]), int(new[1]), int(new[2])), (x, y, z), affine)

    def turned(self, volume: np.ndarray, towards: str = "RAS") -> tuple[np.ndarray, Grid]:
        """Swap and flip the axes of a volume ``(x, y, z)`` to the closest directions of the patient.

        Parameters
        ----------
        volume
            Lies on this grid.
        towards
            Where the axes run to: right or left, anterior or posterior, superior or inferior, in any order.

        Returns
        -------
        volume, grid
            The turned volume, and where it lies: the same voxels at the same places.
        """
        from nibabel import orientations

        own = orientations.io_orientation(self.affine)
        turn = orientations.ornt_transform(own, orientations.axcodes2ornt(towards))
        turned = orientations.apply_orientation(volume, turn)
        x, y, z = (self.voxel_size[axis] for axis in np.argsort(turn[:, 0]))
        affine = self.affine @ orientations.inv_ornt_aff(turn, volume.shape)
        return turned, Grid(turned.shape, (x, y, z), affine)

    def slice_edges(self, plane: int) -> tuple[float, float]:
        """Pixel edges, mm, of slices perpendicular to an axis."""
        first, second = (edge for axis, edge in enumerate(self.voxel_size) if axis != plane)
        return first, second

    def planes(self) -> tuple[int, ...]:
        """Axes along which the volume can be cut into slices that a 2D prior understands: may be none.

        Slices must be at least eight voxels wide and their voxels not too oblong: a stack of thick slices has one
        such plane. Solvers and training go by this one rule.
        """
        found = []
        for plane in range(3):
            sides = [n for axis, n in enumerate(self.shape) if axis != plane]
            short, long = sorted(self.slice_edges(plane))
            if min(sides) >= LEAST_SIDE and long <= MOST_OBLONG * short:
                found.append(plane)
        return tuple(found)

    def __repr__(self) -> str:
        return f"Grid({'x'.join(map(str, self.shape))}, {'x'.join(f'{v:g}' for v in self.voxel_size)} mm)"


def edges(value: Any, name: str) -> tuple[float, float, float]:
    """Three positive lengths in mm, refused by name otherwise."""
    try:
        voxel = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        voxel = ()
    if len(voxel) != 3 or not all(math.isfinite(v) and v > 0 for v in voxel):
        raise DataError(f"{name} must be three positive lengths in mm (x, y, z), got {value}.")
    return voxel[0], voxel[1], voxel[2]
