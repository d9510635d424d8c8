"""The measured data of one scan, with everything a solver needs to know about them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np

from mrrecon import preparation, recentring
from mrrecon.errors import DataError, MaskError, ShapeError
from mrrecon.grid import Grid
from mrrecon.operators.backend import as_array, get_array_module, is_torch, to_device, to_numpy
from mrrecon.operators.centre import KspaceCentre, kspace_centre

__all__ = ["Acquisition", "Domain", "LazyArray", "Step"]

Domain = Literal["kspace", "image"]
Axis = Literal["x", "y", "z"]
AXES = ("x", "y", "z")
LEAST_SAMPLED = 2 / 3  # of k-space, without gaps: an ellipse with partial Fourier, not a reduced resolution


class LazyArray(Protocol):
    """An array on disk: indexing with slices reads just that part and returns NumPy.

    ``complex64``, four axes ``(coils, x, y, z)``. The readers in :mod:`mrrecon.io` return such objects.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes (coils, x, y, z)."""

    @property
    def dtype(self) -> np.dtype:
        """Always complex64."""

    def __getitem__(self, key: Any) -> np.ndarray: ...


@dataclass(frozen=True)
class Step:
    """One processing step of an acquisition: its name and its settings (JSON-able)."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def _is_lazy(a: Any) -> bool:
    return not hasattr(a, "flags") and not type(a).__module__.startswith("cupy")


def _operand(value: Any, what: str) -> Any:
    """Return `value` as a NumPy, CuPy or lazy array; torch tensors are viewed, lists copied."""
    if is_torch(value):
        value = as_array(value)
    elif isinstance(value, (list, tuple)):
        value = _numbers(value, what, None)
    if not all(hasattr(value, part) for part in ("shape", "dtype", "__getitem__")):
        raise DataError(f"{what} must be an array, got {type(value).__name__}.")
    return value


def _numbers(value: Any, what: str, dtype: Any) -> np.ndarray:
    """Return a small array of numbers, or say what it is instead."""
    try:
        return np.asarray(to_numpy(value), dtype=dtype)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} must be an array of numbers, got {type(value).__name__}: {error}.") from error


def _frozen(a: Any) -> Any:
    """View a NumPy array as read-only; CuPy arrays have no such flag."""
    if isinstance(a, np.ndarray):
        a = a.view()
        a.flags.writeable = False
    return a


def _require_finite(a: Any, what: str) -> None:
    xp = get_array_module(a)
    for c in range(a.shape[0]):
        part = a[c]
        energy = float(xp.vdot(part, part).real)  # one fast pass; NaN and Inf both survive a sum of squares
        if not math.isfinite(energy) and not bool(xp.isfinite(part).all()):
            bad = int((~xp.isfinite(part)).sum())
            raise DataError(
                f"{what} of coil {c} has {bad} NaN or Inf values of {part.size}; repair or drop them "
                "before reconstruction (for example numpy.nan_to_num with a mask that leaves them out)."
            )
        if energy == 0.0 and not bool(part.any()):
            raise DataError(
                f"{what} of coil {c} is zero everywhere: the channel is dead or was not read; "
                "leave it out with acquisition.select_coils(...), or --read.coils on the command line."
            )


@dataclass(frozen=True, eq=False)
class Acquisition:
    """K-space of one 3D scan with its mask, maps, noise and geometry. Immutable, validated on construction.

    Parameters
    ----------
    kspace
        Samples ``(coils, x, y, z)``, ``complex64``; NumPy, CuPy or a :class:`LazyArray`. Zero where
        unsampled. Centred: zero frequency at index ``n // 2`` of every axis in the k-space domain (see
        :meth:`recentre`).
    mask
        Sampling pattern, bool, ``(y, z)`` when the readout x is fully sampled, else ``(x, y, z)``.
    maps
        Coil sensitivity maps ``(coils, x, y, z)`` or ``(sets, coils, x, y, z)``, ``complex64``, in the
        image domain.
    noise_covariance
        Noise covariance between coils ``(coils, coils)``, of one complex k-space sample; identity after
        whitening.
    voxel_size, affine
        Voxel edges (x, y, z), mm, and 4x4 matrix from voxel indices to scanner coordinates (RAS+, mm); each is made
        from the other when not given, see :class:`~mrrecon.grid.Grid`.
    domains
        Which domain each of the axes (x, y, z) is in. ``("image", "kspace", "kspace")`` is hybrid space: the
        readout has been transformed already (also a 2D multi-slice scan, x being the slice).
    readout
        Axis that was read out: ``"x"``, or ``"y"`` of a 2D multi-slice scan, whose x is the slice. What a scanner
        samples or leaves out are whole lines along it.
    reference
        Known true volume ``(x, y, z)`` of a simulated scan, or ``None``.
    provenance
        The steps that led here, oldest first.

    Raises
    ------
    ShapeError, DataError, MaskError
        When an operand does not fit, naming it, what was expected, what was got, and the fix.
    """

    kspace: Any
    mask: Any
    maps: Any = None
    noise_covariance: Any = None
    voxel_size: tuple[float, float, float] = None  # type: ignore[assignment]
    affine: Any = None
    domains: tuple[Domain, Domain, Domain] = ("kspace", "kspace", "kspace")
    readout: Axis = "x"
    reference: Any = None
    provenance: tuple[Step, ...] = ()
    _centre: KspaceCentre | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._check_kspace()
        self._check_geometry()
        self._check_mask()
        self._check_maps()
        self._check_noise()
        for name in ("kspace", "mask", "maps", "noise_covariance", "reference"):
            object.__setattr__(self, name, _frozen(getattr(self, name)))

    # ---- validation ----------------------------------------------------------------------------------------

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_kspace(self) -> None:
        k = _operand(self.kspace, "kspace")
        shape = tuple(int(n) for n in k.shape)
        if len(shape) != 4:
            raise ShapeError(
                f"kspace must have the four axes (coils, x, y, z), got shape {shape}; "
                "add the missing axis with kspace[None] (one coil) or kspace[:, None] (one slice)."
            )
        if min(shape) == 0:
            raise ShapeError(f"kspace has an empty axis: shape (coils, x, y, z) = {shape}; nothing to reconstruct.")
        if np.dtype(k.dtype).kind != "c":
            raise DataError(
                f"kspace must be complex, got dtype {k.dtype}; if real and imaginary parts are interleaved "
                "along an axis, join them first (re + 1j * im)."
            )
        if not _is_lazy(k):
            with np.errstate(over="ignore"):  # what does not fit becomes Inf, and is refused as such
                k = k.astype(np.complex64, copy=False)
            _require_finite(k, "kspace")
        elif np.dtype(k.dtype) != np.complex64:
            raise DataError(f"A lazy kspace must give complex64, got {k.dtype}.")
        self._set("kspace", k)

    def _check_geometry(self) -> None:
        grid = self.grid
        self._set("voxel_size", grid.voxel_size)
        self._set("affine", grid.affine)
        domains = tuple(self.domains or ())
        if len(domains) != 3 or any(d not in ("kspace", "image") for d in domains):
            raise DataError(f"domains must name 'kspace' or 'image' for each of x, y, z, got {self.domains}.")
        if domains[1] != "kspace" or domains[2] != "kspace":
            raise DataError(
                f"The phase-encoding axes y and z must be in k-space, got domains {domains}; "
                "transform them back with operators.fft before building the acquisition."
            )
        self._set("domains", domains)
        if self.readout not in AXES:
            raise DataError(f"readout must name the axis that was read out, 'x', 'y' or 'z', got {self.readout!r}.")
        if self.readout != "x" and domains[0] != "image":
            raise DataError(
                f"readout {self.readout!r} means a 2D multi-slice scan, whose x is the slice, in the image domain; "
                f"got domains {domains}."
            )
        self._set("provenance", tuple(self.provenance))

    def _check_mask(self) -> None:
        mask = np.asarray(to_numpy(self.mask))
        if mask.dtype.kind not in "biuf":
            raise MaskError(f"mask must be boolean, got dtype {mask.dtype}.")
        if mask.dtype.kind != "b":
            if not np.isin(mask, (0, 1)).all():
                raise MaskError("mask must hold only 0 and 1 (sampled or not); sampling weights are not masks.")
            mask = mask.astype(bool)
        allowed = (self.shape[1:], self.shape)
        if mask.shape not in allowed:
            swapped = mask.shape[::-1] in allowed
            raise MaskError(
                f"mask has shape {mask.shape}, kspace expects (y, z) = {self.shape[1:]} or (x, y, z) = "
                f"{self.shape}; "
                + ("its axes look transposed: pass mask.T." if swapped else "make a mask of the k-space's own size.")
            )
        if mask.ndim == 3 and self.domains[0] == "image":
            if not (mask == mask[:1]).all():
                raise MaskError("An (x, y, z) mask needs x in the k-space domain; in hybrid space give a (y, z) mask.")
            mask = mask[0]
        if not mask.any():
            raise MaskError("mask is empty: no sample is acquired.")
        self._set("mask", mask)

    def _check_maps(self) -> None:
        for name, leading in (("maps", "coils"), ("reference", "")):
            if getattr(self, name) is None:
                continue
            value = _operand(getattr(self, name), name)
            if np.dtype(value.dtype).kind not in "fciu":
                raise DataError(f"{name} must hold numbers, got dtype {value.dtype}.")
            want = (self.n_coils, *self.shape) if leading else self.shape
            got = tuple(value.shape)
            if got != want and not (leading and len(got) == 5 and got[1:] == want):
                axes = "(coils, x, y, z) or (sets, coils, x, y, z)" if leading else "(x, y, z)"
                hint = " (same sizes in another order: transpose them)" if sorted(got) == sorted(want) else ""
                raise ShapeError(f"{name} has shape {got}, expected {axes} with {want}{hint}.")
            if not _is_lazy(value):
                value = value.astype(np.complex64, copy=False)
                xp = get_array_module(value)
                if not math.isfinite(float(xp.vdot(value, value).real)):
                    raise DataError(f"{name} has NaN or Inf values; estimate or load it again.")
            self._set(name, value)

    def _check_noise(self) -> None:
        if self.noise_covariance is None:
            return
        cov = _numbers(self.noise_covariance, "noise_covariance", np.complex128)
        want = (self.n_coils, self.n_coils)
        if cov.shape != want:
            raise ShapeError(f"noise_covariance has shape {cov.shape}, expected (coils, coils) = {want}.")
        if not np.isfinite(cov).all() or not np.allclose(cov, cov.conj().T, rtol=1e-4, atol=1e-6 * abs(cov).max()):
            raise DataError("noise_covariance must be finite and Hermitian; estimate it again from a noise scan.")
        if np.linalg.eigvalsh(cov).min() <= 0:
            raise DataError(
                "noise_covariance is not positive definite: too few noise samples or a dead coil; "
                "use at least as many noise samples as coils, and drop dead coils."
            )
        self._set("noise_covariance", cov)

    # ---- what it is ----------------------------------------------------------------------------------------

    @property
    def n_coils(self) -> int:
        """Number of receive coils."""
        return int(self.kspace.shape[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Matrix size (x, y, z)."""
        x, y, z = self.kspace.shape[1:]
        return int(x), int(y), int(z)

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        return Grid(self.shape, self.voxel_size, self.affine)

    @property
    def phase_encodes(self) -> tuple[int, int]:
        """Size (y, z) of a mask that a scanner can measure: 1 along the readout of a 2D scan, else as the matrix."""
        _, y, z = self.shape
        return (1 if self.readout == "y" else y, 1 if self.readout == "z" else z)

    @property
    def centre(self) -> KspaceCentre:
        """Centre of k-space: located once, and kept by all steps; :meth:`recentre` moves it to ``n // 2``."""
        if self._centre is None:
            axes = (0, 1, 2) if self.readout == "x" else (1, 2)
            self._set("_centre", kspace_centre(self.kspace, self.mask, self.domains[0], axes=axes))
        assert self._centre is not None
        return self._centre

    @property
    def is_lazy(self) -> bool:
        """Whether the k-space is still on disk."""
        return _is_lazy(self.kspace)

    @property
    def acceleration(self) -> float:
        """Achieved acceleration R: all positions of the mask over the sampled ones, calibration included."""
        return float(self.mask.size / np.count_nonzero(self.mask))

    @property
    def noise_std(self) -> float | None:
        """Standard deviation of the noise of one complex sample (root mean variance over coils), if known."""
        return None if self.noise_covariance is None else float(np.sqrt(np.diag(self.noise_covariance).real.mean()))

    @property
    def is_fully_sampled(self) -> bool:
        """Whether the mask is one block without gaps along any line, corners or one side missing at most."""
        for axis in range(self.mask.ndim):
            edges = np.abs(np.diff(self.mask.astype(np.int8), axis=axis, prepend=0, append=0)).sum(axis=axis)
            if edges.max() > 2:
                return False
        return bool(self.mask.mean() >= LEAST_SAMPLED)

    @property
    def is_whitened(self) -> bool:
        """Whether the noise is known to be uncorrelated and equally strong in all coils."""
        if self.noise_covariance is None:
            return False
        variance = np.diag(self.noise_covariance).real.mean()
        return bool(np.allclose(self.noise_covariance, variance * np.eye(self.n_coils), atol=1e-3 * variance))

    def __repr__(self) -> str:
        x, y, z = self.shape
        axes = "|".join(a if d == "image" else f"k{a}" for a, d in zip(AXES, self.domains, strict=True))
        voxel = "x".join(f"{v:g}" for v in self.voxel_size)
        noise = "whitened" if self.is_whitened else "unknown" if self.noise_covariance is None else "known"
        sets = 0 if self.maps is None else (self.maps.shape[0] if self.maps.ndim == 5 else 1)
        return (
            f"Acquisition({self.n_coils} coils, {x}x{y}x{z}, {axes}, {voxel} mm, R={self.acceleration:.2f}, "
            f"maps: {sets or 'none'}, noise: {noise}{', on disk' if self.is_lazy else ''})"
        )

    # ---- steps: each returns a new acquisition with the step in its provenance -----------------------

    def evolve(self, step: str, settings: Mapping[str, Any] | None = None, **changes: Any) -> Acquisition:
        """Return a copy with `changes`, and `step` with its `settings` appended to the provenance."""
        evolved = replace(self, **changes, provenance=(*self.provenance, Step(step, dict(settings or {}))))
        return evolved._keeping_centre_of(self) if evolved.shape == self.shape else evolved

    def _keeping_centre_of(self, other: Acquisition) -> Acquisition:
        self._set("_centre", other._centre)
        return self

    def slab(self, start: int, stop: int) -> Any:
        """Read k-space of the x positions ``start:stop`` only, ``(coils, stop - start, y, z)``."""
        return self.kspace[:, start:stop]

    def load(self) -> Acquisition:
        """Return the acquisition with its k-space in memory, checked for NaN, Inf and dead coils."""
        return replace(self, kspace=self.kspace[...])._keeping_centre_of(self) if self.is_lazy else self

    def to(self, device: str) -> Acquisition:
        """Move k-space and maps to ``"cpu"`` or ``"cuda"``; masks, geometry, covariance stay on the CPU."""
        moved = self.load()
        maps = None if moved.maps is None else to_device(moved.maps, device)
        return replace(moved, kspace=to_device(moved.kspace, device), maps=maps)._keeping_centre_of(self)

    def centred(self) -> Acquisition:
        """Return a copy that is known to have the centre of its k-space at ``n // 2`` of every axis."""
        x, y, z = (n // 2 for n in self.shape)
        copy = replace(self)
        copy._set("_centre", KspaceCentre((x, y, z), (True, True, True), (True, True, True)))
        return copy

    def recentre(self, center: Sequence[int] | None = None) -> Acquisition:
        """Move the centre of k-space to ``n // 2``; see :func:`mrrecon.recentring.recentre`."""
        return recentring.recentre(self, center)

    def undersample(self, mask: Any, how: Mapping[str, Any] | None = None) -> Acquisition:
        """Keep only the samples of `mask`; see :func:`mrrecon.preparation.undersample`."""
        return preparation.undersample(self, mask, how)

    def whiten(self, noise_covariance: Any = None) -> Acquisition:
        """Decorrelate the coils, noise of unit variance; see :func:`mrrecon.preparation.whiten`."""
        return preparation.whiten(self, noise_covariance)

    def compress_coils(self, n: int, method: Literal["svd", "geometric"] = "svd", calibration: int = 24) -> Acquisition:
        """Compress to `n` virtual coils; see :func:`mrrecon.preparation.compress_coils`."""
        return preparation.compress_coils(self, n, method, calibration)

    def calibrate(self, **settings: Any) -> Acquisition:
        """Estimate sensitivity maps by ESPIRiT; see :func:`mrrecon.preparation.calibrate`."""
        return preparation.calibrate(self, **settings)

    def with_maps(self, maps: Any, source: str = "given") -> Acquisition:
        """Take these coil maps; see :func:`mrrecon.preparation.with_maps`."""
        return preparation.with_maps(self, maps, source)

    def select_coils(self, keep: Sequence[int]) -> Acquisition:
        """Keep the coils of these indices; see :func:`mrrecon.preparation.select_coils`."""
        return preparation.select_coils(self, keep)

    def hybrid(self) -> Acquisition:
        """Transform the readout to the image domain; see :func:`mrrecon.preparation.hybrid`."""
        return preparation.hybrid(self)
