"""Receive sensitivities of coil arrays from physics: fields of wire loops, or of the rods of a birdcage.

By reciprocity, the sensitivity of a coil is the field B1- = Bx - i By that a unit current in it makes, with
B0 along z of the scanner (Hoult and Richards, "The signal-to-noise ratio of the NMR experiment", J. Magn.
Reson. 24, 1976).
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from mrrecon.errors import DataError
from mrrecon.grid import Grid

__all__ = ["CoilModel", "coil_maps", "combined_sensitivity"]

CoilModel = Literal["loops", "birdcage"]

_CLEARANCE = 1.3  # radii of the array over the half lengths of the object
_OVERLAP = 0.55  # loop radius over the distance to the next loop; 0.5 would make them touch
_COARSE = 40  # grid points per axis where the fields are computed, to be interpolated from


def coil_maps(
    grid: Grid, n_coils: int, *, region: np.ndarray | None = None, model: CoilModel = "loops", seed: int = 0
) -> np.ndarray:
    """Sensitivities of an array of receive coils around an object.

    Parameters
    ----------
    grid
        Where the voxels lie.
    n_coils
        Number of coils.
    region
        Object ``(x, y, z)``, bool: the array is placed around it. The whole volume by default.
    model
        ``"loops"``: circular loops side by side on staggered rings of an elliptic cylinder around the
        object, along the bore; their field is that of Biot and Savart. The combined sensitivity falls
        towards the centre, as in a real array. ``"birdcage"``: straight rods along the bore with individual
        receivers, scaled to a combined sensitivity of one everywhere; no variation along the bore.
    seed
        Seed of the small irregularities: displacements of the loops, and each receiver's own phase.

    Returns
    -------
    numpy.ndarray
        Maps ``(coils, x, y, z)``, ``complex64``, not unit norm: for ``"loops"``, the mean over the object
        of the root sum of squares over coils is one.

    Raises
    ------
    DataError
        If the number of coils or the model is not usable, or if the object is empty.

    References
    ----------
    Roemer et al., "The NMR phased array", Magn. Reson. Med. 16 (1990).
    """
    if n_coils < 1:
        raise DataError(f"n_coils must be at least 1, got {n_coils}.")
    if model not in ("loops", "birdcage"):
        raise DataError(f"There is no coil model {model!r}; choose 'loops' or 'birdcage'.")
    rng = np.random.default_rng((seed, 1))
    centre, half = _extent(grid, region)
    axes = [np.linspace(0, n - 1, min(n, _COARSE)) for n in grid.shape]
    places = grid.positions(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)) - centre
    field = _loops if model == "loops" else _rods
    coarse = field(places, half, n_coils, rng)
    coarse *= np.exp(2j * np.pi * rng.random(n_coils))[:, None, None, None]
    maps = _interpolate(coarse, axes, grid.shape)
    combined = combined_sensitivity(maps)
    scale = combined if model == "birdcage" else combined.mean() if region is None else combined[region].mean()
    maps /= scale
    return maps


def combined_sensitivity(maps: np.ndarray) -> np.ndarray:
    """Root sum of squares over coils of maps ``(coils, x, y, z)``, real ``(x, y, z)``."""
    total = np.zeros(maps.shape[1:], maps.real.dtype)
    for one in maps:
        total += one.real**2 + one.imag**2
    return np.sqrt(total)


def _extent(grid: Grid, region: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Centre and half lengths of the object's box along the scanner axes, mm."""
    low, high = np.zeros(3), np.asarray(grid.shape, np.float64) - 1
    if region is not None:
        if not region.any():
            raise DataError("The object is empty, so there is nothing to place coils around; check the anatomy.")
        for i in range(3):
            present = np.flatnonzero(region.any(axis=tuple(j for j in range(3) if j != i)))
            low[i], high[i] = present[0], present[-1]
    corners = np.stack(np.meshgrid(*zip(low - 0.5, high + 0.5, strict=True), indexing="ij"), axis=-1).reshape(-1, 3)
    corners = grid.positions(corners)
    return corners.mean(axis=0), np.ptp(corners, axis=0) / 2


def _loops(places: np.ndarray, half: np.ndarray, n_coils: int, rng: np.random.Generator) -> np.ndarray:
    """B1- of loops on staggered rings around the object; `places` is ``(x, y, z, 3)`` in mm from its centre."""
    radii = _CLEARANCE * half[:2]
    n_rings = max(1, round(math.sqrt(n_coils / 3)))
    members = np.array_split(np.arange(n_coils), n_rings)
    height = 2 * half[2] / n_rings
    maps = np.empty((n_coils, *places.shape[:3]), np.complex128)
    for ring, coils in enumerate(members):
        arc = 2 * math.pi * float(radii.mean()) / len(coils)
        radius = _OVERLAP * math.sqrt(arc * min(height, 1.5 * arc))
        for i, c in enumerate(coils):
            angle = 2 * math.pi * (i + 0.5 * (ring % 2) + 0.06 * rng.standard_normal()) / len(coils)
            normal = np.array([math.cos(angle), math.sin(angle), 0.0])
            middle = np.array([*(radii * normal[:2]), (ring + 0.5) * height - half[2]])
            middle[2] += 0.05 * height * rng.standard_normal()
            normal[:2] /= radii  # of the ellipse at that angle
            field = _loop_field(places - middle, -normal / np.linalg.norm(normal), radius)
            maps[c] = field[..., 0] - 1j * field[..., 1]
    return maps


def _loop_field(r: np.ndarray, normal: np.ndarray, radius: float) -> np.ndarray:
    """Magnetic field ``(..., 3)`` at positions `r` of a circular loop around the origin, arbitrary units.

    Closed form with complete elliptic integrals (Jackson, Classical Electrodynamics, section 5.5); the wire
    is given a thickness, so that the field is finite everywhere.
    """
    from scipy.special import ellipe, ellipk

    along = r @ normal
    outward = r - along[..., None] * normal
    rho = np.maximum(np.linalg.norm(outward, axis=-1), 1e-6 * radius)
    height = along**2 + (0.08 * radius) ** 2
    far = (radius + rho) ** 2 + height
    near = (radius - rho) ** 2 + height
    k, e = ellipk(1 - near / far), ellipe(1 - near / far)
    axial = (k + (radius**2 - rho**2 - height) / near * e) / np.sqrt(far)
    radial = along / rho * (-k + (radius**2 + rho**2 + height) / near * e) / np.sqrt(far)
    return axial[..., None] * normal + (radial / rho)[..., None] * outward


def _rods(places: np.ndarray, half: np.ndarray, n_coils: int, rng: np.random.Generator) -> np.ndarray:
    """B1- of long straight wires along the bore, evenly spaced on a circle around the object."""
    position = places[..., 0] + 1j * places[..., 1]
    reach = _CLEARANCE * float(half[:2].max())
    angles = 2 * math.pi * (np.arange(n_coils) + rng.random()) / n_coils
    distance = position - (reach * np.exp(1j * angles))[:, None, None, None]
    return distance.conj() / (np.abs(distance) ** 2 + (0.1 * reach) ** 2)


def _interpolate(coarse: np.ndarray, axes: list[np.ndarray], shape: tuple[int, int, int]) -> np.ndarray:
    """Cubic-spline interpolation ``(coils, ...)`` from the coarse to the full grid, axis by axis."""
    from scipy.interpolate import make_interp_spline

    maps = coarse
    for i, (points, n) in enumerate(zip(axes, shape, strict=True)):
        if points.size < n:
            spline = make_interp_spline(points, np.eye(points.size), k=min(3, points.size - 1))
            weights = spline(np.arange(n)).astype(np.float32)
            maps = np.moveaxis(np.tensordot(maps.astype(np.complex64), weights, axes=(i + 1, 1)), -1, i + 1)
    return np.ascontiguousarray(maps, dtype=np.complex64)
