"""Where the voxels of a volume lie: matrix size, voxel size and scanner coordinates, and how they change together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mrrecon.errors import DataError, ShapeError
from mrrecon.operators.backend import to_numpy

__all__ = ["Anchor", "Grid"]

Anchor = Literal["edges", "centre"]

LEAST_SIDE = 8  # voxels; thinner slices carry nothing that a 2D prior knows
MOST_OBLONG = 2.5  # ratio of in-plane voxel edges beyond which a plane is left out; at 2.2 it still helps
SAME_EDGE = 0.01  # relative difference up to which voxel edges and the columns of an affine agree


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxels ``(x, y, z)`` and where they lie.

    Parameters
    ----------
    shape
        Matrix size.
    voxel_size
        Voxel edges, mm; by default those of `affine`, else 1 mm.
    affine
        4x4 matrix from voxel indices to scanner coordinates (RAS+, mm), of the voxels' centres. Made from the voxel
        size, index ``n // 2`` at the origin, when not given.

    Raises
    ------
    ShapeError, DataError
        If there are not three sizes, a number is not usable, or voxel size and affine disagree.
    """

    shape: tuple[int, int, int]
    voxel_size: tuple[float, float, float] = None  # type: ignore[assignment]
    affine: Any = None

    def __post_init__(self) -> None:
        shape = tuple(self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise ShapeError(f"A grid has three axes (x, y, z) of at least one voxel, got shape {shape}.")
        affine = None if self.affine is None else _checked_affine(self.affine)
        found = np.ones(3) if affine is None else np.linalg.norm(affine[:3, :3], axis=0)
        voxel = _lengths(found if self.voxel_size is None else self.voxel_size)
        if affine is None:
            affine = np.diag([*voxel, 1.0])
            affine[:3, 3] = [-v * (n // 2) for v, n in zip(voxel, shape, strict=True)]
        elif not np.allclose(found, voxel, rtol=SAME_EDGE):
            raise DataError(
                f"voxel_size {voxel} and affine, whose voxels are {tuple(map(float, found))} mm, disagree; leave one "
                "of them out."
            )
        affine.flags.writeable = False
        for name, value in (("shape", tuple(map(int, shape))), ("voxel_size", voxel), ("affine", affine)):
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

    def positions(self, indices: Any) -> np.ndarray:
        """Scanner coordinates, mm, of voxel indices ``(..., 3)``, whole or not."""
        return np.asarray(indices) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def require(self, volume: Any, name: str) -> None:
        """Refuse a volume that is not of this matrix size, by its name.

        Raises
        ------
        ShapeError
            If so.
        """
        if tuple(volume.shape) != self.shape:
            raise ShapeError(f"{name} has shape {tuple(volume.shape)}, its grid the three axes (x, y, z) {self.shape}.")

    def resized(self, voxel_size: Sequence[float], anchor: Anchor = "edges") -> Grid:
        """Grid of about this voxel size over the same field of view.

        The matrix becomes the nearest whole numbers, and the voxel size what then fills the field of view.

        Parameters
        ----------
        voxel_size
            Voxel edges (x, y, z), mm.
        anchor
            See :meth:`with_shape`.

        Raises
        ------
        DataError
            If `voxel_size` is not three positive lengths.
        """
        wanted = _lengths(voxel_size)
        x, y, z = (max(1, math.floor(f / w + 0.5)) for f, w in zip(self.field_of_view, wanted, strict=True))
        return self.with_shape((x, y, z), anchor)

    def with_shape(self, shape: Sequence[int], anchor: Anchor = "edges") -> Grid:
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
        here, there = (old // 2, new // 2) if anchor == "centre" else (np.full(3, -0.5), np.full(3, -0.5))
        return self._scaled(new, self.voxel_size * (old / new), here, there)

    def with_voxel_size(self, voxel_size: Sequence[float]) -> Grid:
        """Grid of the same matrix with other voxel edges, voxel ``n // 2`` staying where it is.

        Raises
        ------
        DataError
            If `voxel_size` is not three positive lengths.
        """
        middle = np.asarray(self.shape) // 2
        return self._scaled(self.shape, _lengths(voxel_size), middle, middle)

    def _scaled(self, shape: Any, voxel_size: Any, here: np.ndarray, there: np.ndarray) -> Grid:
        """Grid whose index `there` lies where `here` does."""
        affine = self.affine.copy()
        affine[:3, :3] *= np.divide(voxel_size, self.voxel_size)
        affine[:3, 3] = self.positions(here) - affine[:3, :3] @ there
        return Grid(shape, voxel_size, affine)

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
        such plane. Solvers, training and evaluation go by this one rule.

        >>> Grid((64, 64, 64), (1.0, 1.0, 2.2)).planes(), Grid((64, 64, 20), (0.9, 0.9, 5.5)).planes()
        ((0, 1, 2), (2,))
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


def _lengths(value: Any) -> tuple[float, float, float]:
    """Three positive lengths in mm, or a refusal."""
    try:
        voxel = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        voxel = ()
    if len(voxel) != 3 or not all(math.isfinite(v) and v > 0 for v in voxel):
        raise DataError(f"voxel_size must be three positive lengths in mm (x, y, z), got {value}.")
    return voxel[0], voxel[1], voxel[2]


def _checked_affine(value: Any) -> np.ndarray:
    """Copy of a usable affine in double precision, or a refusal."""
    try:
        affine = np.array(to_numpy(value), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"affine must be an array of numbers, got {type(value).__name__}: {error}.") from error
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise DataError(f"affine must be an invertible, finite 4x4 matrix, got shape {affine.shape}.")
    return affine
