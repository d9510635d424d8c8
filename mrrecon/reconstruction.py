"""The result of a solver: a complex volume that knows where it lies and how it was made."""

from __future__ import annotations

import difflib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from mrrecon.acquisition import Acquisition, Step
from mrrecon.errors import DataError, ShapeError, SolverError
from mrrecon.grid import Grid
from mrrecon.operators.backend import to_numpy

__all__ = ["Reconstruction", "versions"]


def versions() -> dict[str, str]:
    """Versions of mrrecon, Python and the numerical packages, as stored in every result."""
    found = {"python": platform.python_version()}
    for package in ("mrrecon", "numpy", "scipy", "numba", "sigpy", "h5py", "torch", "cupy-cuda12x", "cupy-cuda13x"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A reconstructed volume with its geometry and full record.

    Parameters
    ----------
    volume
        Complex image ``(x, y, z)``, ``complex64``, in the scale of the k-space it came from. A solver that worked
        with soft SENSE (several map sets) gives the first set here.
    voxel_size, affine
        Geometry, millimetres, as in :class:`~mrrecon.acquisition.Acquisition`.
    solver, settings
        Name of the method and every setting that it was given (JSON-able), the seed included.
    estimates
        What the method found out by itself: ``"lam"``, the strength that it used, and ``"noise"``, relative to the
        signal.
    stopped
        How it ended: ``"converged"``, ``"max_iter"``, ``"time budget"``, ``"interrupted"``, ``"callback"``, or what
        went wrong; empty for methods without iterations.
    scale
        The factor that the solver divided the data by to work at unit signal scale (already undone in `volume`).
    acceleration
        Achieved R of the data.
    history
        One mapping per iteration (iteration, residual, ... ), oldest first.
    seconds
        Wall time of the solver.
    extras
        Further volumes ``(x, y, z)`` on the same grid by name, real (``float32``) or complex (``complex64``), which the
        solver found beside the image: ``"error"``, the standard deviation that the error of the image is expected to
        have, of its magnitude and of each real component alike; ``"prior_influence"``, the part of the image that the
        data do not determine; ``"deviation"``, the standard deviation over posterior samples, per real component.
    metrics
        ``"chi_squared"``, how well the image explains the data, where the solver knows it (see ``chi_squared`` of
        :class:`mrrecon.solvers.parts.problem.Problem`); and numbers from :func:`mrrecon.metrics.evaluate`, with their
        policy, when a reference was at hand.
    provenance
        The steps of the acquisition.
    versions
        Package versions that produced it.
    """

    volume: np.ndarray
    voxel_size: tuple[float, float, float]
    affine: np.ndarray
    solver: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    estimates: Mapping[str, float | None] = field(default_factory=dict)
    stopped: str = ""
    scale: float = 1.0
    acceleration: float = 1.0
    history: Sequence[Mapping[str, float]] = ()
    seconds: float = 0.0
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    provenance: tuple[Step, ...] = ()
    versions: Mapping[str, str] = field(default_factory=versions)

    def __post_init__(self) -> None:
        volume = to_numpy(self.volume)
        if volume.ndim != 3:
            raise ShapeError(f"volume must have the three axes (x, y, z), got shape {volume.shape}.")
        if volume.dtype.kind not in "fc":
            raise DataError(f"volume must be floating point or complex, got dtype {volume.dtype}.")
        object.__setattr__(self, "volume", _read_only(volume, np.complex64))
        grid = self.grid
        object.__setattr__(self, "voxel_size", grid.voxel_size)
        object.__setattr__(self, "affine", grid.affine)
        extras = {name: _checked_extra(extra, name, volume.shape) for name, extra in self.extras.items()}
        object.__setattr__(self, "extras", extras)

    @classmethod
    def from_solver(
        cls, acquisition: Acquisition, volume: Any, solver: str, settings: Mapping[str, Any], **record: Any
    ) -> Reconstruction:
        """Build the result of `solver` on `acquisition`: geometry, R and provenance are taken from the latter.

        Raises
        ------
        SolverError
            If the volume has NaN or Inf.
        """
        volume = to_numpy(volume)
        bad = int(volume.size - np.isfinite(volume).sum())
        if bad:
            raise SolverError(f"{solver} failed: {bad} of the {volume.size} voxels of its image are NaN or Inf.")
        return cls(
            volume=volume,
            voxel_size=acquisition.voxel_size,
            affine=acquisition.affine,
            solver=solver,
            settings=dict(settings),
            acceleration=acquisition.acceleration,
            provenance=acquisition.provenance,
            **record,
        )

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        return Grid(self.volume.shape, self.voxel_size, self.affine)

    @property
    def magnitude(self) -> np.ndarray:
        """Magnitude image ``(x, y, z)``, ``float32``."""
        return np.abs(self.volume)

    @property
    def phase(self) -> np.ndarray:
        """Phase image ``(x, y, z)``, radians, ``float32``."""
        return np.angle(self.volume)

    def part(self, name: str) -> np.ndarray:
        """One volume of the result by name.

        Parameters
        ----------
        name
            ``"magnitude"``, ``"phase"``, ``"real"``, ``"imag"`` or ``"complex"`` of the image, or one of `extras`.

        Returns
        -------
        numpy.ndarray
            ``(x, y, z)``, float32 or complex64.

        Raises
        ------
        DataError
            If there is none of this name.
        """
        if name in self.extras:
            return self.extras[name]
        if name == "complex":
            return self.volume
        if name in ("magnitude", "phase"):
            return self.magnitude if name == "magnitude" else self.phase
        if name in ("real", "imag"):
            return np.ascontiguousarray(getattr(self.volume, name))
        known = [*self.extras, "magnitude", "phase", "real", "imag", "complex"]
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]!r}? It has" if close else "it has"
        raise DataError(f"The result of {self.solver} has no {name!r}; {hint} {', '.join(known)}.")

    def with_metrics(self, metrics: Mapping[str, Any]) -> Reconstruction:
        """Return a copy that carries `metrics` too."""
        return replace(self, metrics={**self.metrics, **metrics})

    def save(self, path: str | Path) -> Path:
        """Write to `path`; the suffix chooses the format (.nii, .nii.gz, .h5, .cfl, .png, or a DICOM folder)."""
        from mrrecon.io.registry import write

        return write(self, path)

    @classmethod
    def load(cls, path: str | Path) -> Reconstruction:
        """Read a reconstruction back from the HDF5 file that :meth:`save` wrote."""
        from mrrecon.io.mrrecon_h5 import reconstruction_fields

        return cls(**reconstruction_fields(path))

    def __repr__(self) -> str:
        x, y, z = self.volume.shape
        return f"Reconstruction({self.solver}, {x}x{y}x{z}, R={self.acceleration:.2f}, {self.seconds:.1f} s)"


def _checked_extra(values: Any, name: Any, shape: tuple[int, ...]) -> np.ndarray:
    """One of the volumes beside the image, or an error that names it."""
    if not (isinstance(name, str) and name.replace("-", "_").isidentifier()):
        raise DataError(f"The names of extras must be words of letters, digits and hyphens, got {name!r}.")
    extra = to_numpy(values)
    if extra.shape != shape:
        raise ShapeError(f"The extra {name!r} has shape {extra.shape}, expected that of the volume, {shape}.")
    if extra.dtype.kind not in "fc":
        raise DataError(f"The extra {name!r} must be floating point or complex, got dtype {extra.dtype}.")
    return _read_only(extra, np.complex64 if extra.dtype.kind == "c" else np.float32)


def _read_only(array: np.ndarray, dtype: Any) -> np.ndarray:
    """View, or converted copy, that cannot be written to."""
    view = array.astype(dtype, copy=False).view()
    view.flags.writeable = False
    return view
