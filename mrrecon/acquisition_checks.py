"""What k-space, mask, maps and noise of a scan must be; functions of arrays that return them in their proper type."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from mrrecon.errors import DataError, MaskError, ShapeError
from mrrecon.lazy import is_lazy
from mrrecon.operators.backend import as_array, get_array_module, is_torch, to_numpy

__all__ = [
    "Domain",
    "checked_domains",
    "checked_image",
    "checked_kspace",
    "checked_mask",
    "checked_noise",
    "described",
    "is_one_block",
    "is_white",
    "numbers",
    "read_only",
    "require_coils",
]

Domain = Literal["kspace", "image"]
LEAST_SAMPLED = 2 / 3  # of k-space, without gaps: an ellipse with partial Fourier, not a reduced resolution


def _operand(value: Any, what: str) -> Any:
    """Return `value` as a NumPy, CuPy or lazy array; torch tensors are viewed, lists copied."""
    if is_torch(value):
        value = as_array(value)
    elif isinstance(value, (list, tuple)):
        value = numbers(value, what, None)
    if not all(hasattr(value, part) for part in ("shape", "dtype", "__getitem__")):
        raise DataError(f"{what} must be an array, got {type(value).__name__}.")
    return value


def numbers(value: Any, what: str, dtype: Any) -> np.ndarray:
    """Return a small array of numbers.

    Raises
    ------
    DataError
        If it is none, naming `what` it should be.
    """
    try:
        return np.asarray(to_numpy(value), dtype=dtype)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} must be an array of numbers, got {type(value).__name__}: {error}.") from error


def read_only(array: Any) -> Any:
    """View a NumPy array as read-only; CuPy arrays have no such flag."""
    if isinstance(array, np.ndarray):
        array = array.view()
        array.flags.writeable = False
    return array


def checked_kspace(kspace: Any) -> Any:
    """K-space ``(coils, x, y, z)``, ``complex64``; in memory without NaN, Inf and dead coils.

    Raises
    ------
    DataError, ShapeError
        If it is not.
    """
    k = _operand(kspace, "kspace")
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
    if is_lazy(k):
        if np.dtype(k.dtype) != np.complex64:
            raise DataError(f"A lazy kspace must give complex64, got {k.dtype}.")
        return k
    with np.errstate(over="ignore"):  # what does not fit becomes Inf, and is refused as such
        k = k.astype(np.complex64, copy=False)
    for coil in range(shape[0]):
        _require_signal(k[coil], coil)
    return k


def _require_signal(part: Any, coil: int) -> None:
    xp = get_array_module(part)
    energy = float(xp.vdot(part, part).real)  # one fast pass; NaN and Inf both survive a sum of squares
    if not math.isfinite(energy) and not bool(xp.isfinite(part).all()):
        bad = int((~xp.isfinite(part)).sum())
        raise DataError(
            f"kspace of coil {coil} has {bad} NaN or Inf values of {part.size}; repair or drop them "
            "before reconstruction (for example numpy.nan_to_num with a mask that leaves them out)."
        )
    if energy == 0.0 and not bool(part.any()):
        raise DataError(
            f"kspace of coil {coil} is zero everywhere: the channel is dead or was not read; "
            "leave it out with acquisition.select_coils(...), or --read.coils on the command line."
        )


def checked_domains(domains: Any, readout: str) -> tuple[Domain, ...]:
    """Domains of the axes (x, y, z), of a scan read out along `readout`.

    Raises
    ------
    DataError
        If they are none, or a phase encoding is in the image domain.
    """
    domains = tuple(domains or ())
    if len(domains) != 3 or any(d not in ("kspace", "image") for d in domains):
        raise DataError(f"domains must name 'kspace' or 'image' for each of x, y, z, got {domains}.")
    if domains[1] != "kspace" or domains[2] != "kspace":
        raise DataError(
            f"The phase-encoding axes y and z must be in k-space, got domains {domains}; "
            "transform them back with operators.fft before building the acquisition."
        )
    if readout not in ("x", "y", "z"):
        raise DataError(f"readout must name the axis that was read out, 'x', 'y' or 'z', got {readout!r}.")
    if readout != "x" and domains[0] != "image":
        raise DataError(
            f"readout {readout!r} means a 2D multi-slice scan, whose x is the slice, in the image domain; "
            f"got domains {domains}."
        )
    return domains


def checked_mask(mask: Any, shape: tuple[int, int, int], readout_domain: str) -> np.ndarray:
    """Sampling mask of a scan of the size `shape`, bool, ``(y, z)`` or ``(x, y, z)``; the former in hybrid space.

    Raises
    ------
    MaskError
        If it does not fit, holds anything but 0 and 1, or is empty.
    """
    mask = np.asarray(to_numpy(mask))
    if mask.dtype.kind not in "biuf":
        raise MaskError(f"mask must be boolean, got dtype {mask.dtype}.")
    if mask.dtype.kind != "b":
        if not np.isin(mask, (0, 1)).all():
            raise MaskError("mask must hold only 0 and 1 (sampled or not); sampling weights are not masks.")
        mask = mask.astype(bool)
    allowed = (shape[1:], shape)
    if mask.shape not in allowed:
        swapped = mask.shape[::-1] in allowed
        raise MaskError(
            f"mask has shape {mask.shape}, kspace expects (y, z) = {shape[1:]} or (x, y, z) = {shape}; "
            + ("its axes look transposed: pass mask.T." if swapped else "make a mask of the k-space's own size.")
        )
    if mask.ndim == 3 and readout_domain == "image":
        if not (mask == mask[:1]).all():
            raise MaskError("An (x, y, z) mask needs x in the k-space domain; in hybrid space give a (y, z) mask.")
        mask = mask[0]
    if not mask.any():
        raise MaskError("mask is empty: no sample is acquired.")
    return mask


def is_white(covariance: np.ndarray) -> bool:
    """Whether noise of this covariance is uncorrelated and equally strong in all coils."""
    variance = np.diag(covariance).real.mean()
    return bool(np.allclose(covariance, variance * np.eye(len(covariance)), atol=1e-3 * variance))


def is_one_block(mask: np.ndarray) -> bool:
    """Whether a mask is one block without gaps along any line, corners or one side missing at most."""
    for axis in range(mask.ndim):
        edges = np.abs(np.diff(mask.astype(np.int8), axis=axis, prepend=0, append=0)).sum(axis=axis)
        if edges.max() > 2:
            return False
    return bool(mask.mean() >= LEAST_SAMPLED)


def checked_image(value: Any, name: str, shape: tuple[int, ...]) -> Any:
    """Coil maps ``(coils, x, y, z)``, perhaps of several sets before that, or a reference ``(x, y, z)``, complex64.

    Parameters
    ----------
    value
        The array, or ``None``.
    name
        What it is, for messages.
    shape
        Its axes, without sets.

    Raises
    ------
    DataError, ShapeError
        If it has another shape, is not of numbers, or has NaN or Inf.
    """
    if value is None:
        return None
    value, of_coils = _operand(value, name), len(shape) == 4
    if np.dtype(value.dtype).kind not in "fciu":
        raise DataError(f"{name} must hold numbers, got dtype {value.dtype}.")
    got = tuple(value.shape)
    if got != shape and not (of_coils and len(got) == 5 and got[1:] == shape):
        axes = "(coils, x, y, z) or (sets, coils, x, y, z)" if of_coils else "(x, y, z)"
        hint = " (same sizes in another order: transpose them)" if sorted(got) == sorted(shape) else ""
        raise ShapeError(f"{name} has shape {got}, expected {axes} with {shape}{hint}.")
    if is_lazy(value):
        return value
    value = value.astype(np.complex64, copy=False)
    if not math.isfinite(float(get_array_module(value).vdot(value, value).real)):
        raise DataError(f"{name} has NaN or Inf values; estimate or load it again.")
    return value


def checked_noise(covariance: Any, coils: int) -> np.ndarray | None:
    """Noise covariance ``(coils, coils)``, complex128, if there is one.

    Raises
    ------
    DataError, ShapeError
        If it has another shape, or is not finite, Hermitian and positive definite.
    """
    if covariance is None:
        return None
    cov = numbers(covariance, "noise_covariance", np.complex128)
    if cov.shape != (coils, coils):
        raise ShapeError(f"noise_covariance has shape {cov.shape}, expected (coils, coils) = {(coils, coils)}.")
    if not np.isfinite(cov).all() or not np.allclose(cov, cov.conj().T, rtol=1e-4, atol=1e-6 * abs(cov).max()):
        raise DataError("noise_covariance must be finite and Hermitian; estimate it again from a noise scan.")
    if np.linalg.eigvalsh(cov).min() <= 0:
        raise DataError(
            "noise_covariance is not positive definite: too few noise samples or a dead coil; "
            "use at least as many noise samples as coils, and drop dead coils."
        )
    return cov


def require_coils(keep: list[int], coils: int) -> None:
    """Refuse a choice of coils that the scan does not have, that names one twice, or none."""
    if not keep or not {*keep} <= {*range(coils)} or len({*keep}) < len(keep):
        raise DataError(f"Cannot keep coils {keep}: the scan has coils 0 to {coils - 1}; name some, each once.")


def described(scan: Any) -> str:
    """What an :class:`mrrecon.acquisition.Acquisition` is, in a line."""
    x, y, z = scan.shape
    axes = "|".join(a if d == "image" else f"k{a}" for a, d in zip("xyz", scan.domains, strict=True))
    voxel = "x".join(f"{v:g}" for v in scan.voxel_size)
    noise = "whitened" if scan.is_whitened else "unknown" if scan.noise_covariance is None else "known"
    sets = 0 if scan.maps is None else (scan.maps.shape[0] if scan.maps.ndim == 5 else 1)
    return (
        f"Acquisition({scan.n_coils} coils, {x}x{y}x{z}, {axes}, {voxel} mm, R={scan.acceleration:.2f}, "
        f"maps: {sets or 'none'}, noise: {noise}{', on disk' if scan.is_lazy else ''})"
    )
