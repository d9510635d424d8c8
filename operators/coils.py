"""Coil channels: noise covariance, whitening, and mixing by a matrix (which whitening and compression share).

A matrix acts alike on k-space, sensitivity maps and noise covariance, so that the forward model stays
consistent: with ``y = A(S) x + n`` and mixing matrix M, ``M y = A(M S) x + M n``, and ``M n`` has covariance
``M cov M^H``.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from mrrecon.operators.backend import as_array, as_kind, get_array_module, is_torch, to_numpy
from mrrecon.operators.errors import DataError, ShapeError

__all__ = [
    "estimate_noise_covariance",
    "mix_coils",
    "noise_covariance",
    "transform_covariance",
    "view_or_lazy",
    "whiten",
    "whitening_matrix",
]

SLAB_BYTES = 64 << 20  # input read per step when the k-space is on disk or not contiguous
PERIPHERY = {2: 0.2, 3: 0.01}  # share of the sampled positions, the outermost, taken as noise, by mask axes
QUIET_PLANES = 0.25  # share of the x positions, those with the least energy, that count as noise
MAX_LINES = 4096  # peripheral readouts looked at: enough for 1 % on 64 coils


def view_or_lazy(x: Any) -> Any:
    """View arrays and tensors as :func:`as_array` does; leave arrays on disk, read by slicing, alone."""
    on_disk = hasattr(x, "shape") and not (hasattr(x, "__array_interface__") or is_torch(x))
    return x if on_disk or get_array_module(x) is not np else as_array(x)


# ---- noise -------------------------------------------------------------------------------------------------


def noise_covariance(samples: Any, bandwidth_scale: float = 1.0) -> np.ndarray:
    """Noise covariance between coils from a noise scan (no excitation).

    Parameters
    ----------
    samples
        Complex noise samples ``(coils, n)``; further axes are flattened into n. At least as many as coils.
    bandwidth_scale
        Factor on the covariance when the imaging scan was sampled otherwise than the noise scan: noise dwell
        time over imaging dwell time, times the ratio of the effective to the nominal receiver bandwidth (0.79
        for Siemens' noise adjustment).

    Returns
    -------
    numpy.ndarray
        ``(coils, coils)`` Hermitian ``complex128``, ``E[n n^H]`` of one complex sample (the diagonal is the
        variance of the real plus that of the imaginary part), in squared units of the samples.

    Raises
    ------
    ShapeError
        With fewer samples than coils.
    DataError
        If the samples hold NaN or Inf, or a coil is zero.
    """
    n = to_numpy(samples)
    n = n.reshape(n.shape[0], -1).astype(np.complex128)
    if n.shape[1] < n.shape[0]:
        raise ShapeError(
            f"noise samples have shape (coils, n) = {n.shape}: a covariance needs at least as many samples "
            "as coils; give a longer noise scan, or samples.T if the axes are swapped."
        )
    cov = (n @ n.conj().T) * (bandwidth_scale / n.shape[1])
    diagonal = cov.diagonal().real
    if not np.isfinite(cov).all() or (diagonal <= 0).any():
        raise DataError(
            f"noise samples are unusable: the variances of the coils are {diagonal}; all must be finite and "
            "above zero, so drop dead channels and NaN or Inf samples."
        )
    return cov


def estimate_noise_covariance(
    kspace: Any, mask: Any, readout_domain: Literal["kspace", "image"] = "kspace"
) -> np.ndarray:
    """Noise covariance between coils from the scan itself, when there is no noise scan.

    Where there is least signal: the outermost sampled (y, z) positions and, of those, the x positions (image
    domain) with the least energy. Planes are ranked on one half of the readouts and measured on the other,
    and the reverse, so that picking quiet planes does not bias the result low.

    Parameters
    ----------
    kspace
        ``(coils, x, y, z)``; NumPy, CuPy, torch, or an array on disk (read slab by slab).
    mask
        Sampled positions, ``(y, z)`` or ``(x, y, z)``. Positions that are zero in all coils do not count
        either.
    readout_domain
        Domain of axis x.

    Returns
    -------
    numpy.ndarray
        ``(coils, coils)`` Hermitian ``complex128``, as :func:`noise_covariance`.

    Raises
    ------
    DataError
        If there are too few non-zero samples in the periphery for the number of coils.

    Notes
    -----
    Assumes noise that is white over k-space: no apodisation or interpolation of the data (zero filling is
    fine, as zeros do not count). Signal that reaches the edge of k-space counts as noise: the estimate is
    then too high, never too low, most so for coarse voxels and for (x, y, z) masks, for which there are no
    quiet planes to choose from.
    """
    kspace = view_or_lazy(kspace)
    mask = to_numpy(mask).astype(bool)
    coils, nx = int(kspace.shape[0]), int(kspace.shape[1])
    if mask.ndim == 3 and (mask == mask[:1]).all():
        mask = mask[0]
    position = np.nonzero(mask)
    radius = sum(((p - n // 2) / n) ** 2 for p, n in zip(position, mask.shape, strict=True))
    keep = min(radius.size, max(50 * coils, round(PERIPHERY[mask.ndim] * radius.size)))
    outer = np.argsort(radius, kind="stable")[radius.size - keep :]
    outer = np.sort(outer[:: -(-outer.size // (MAX_LINES if mask.ndim == 2 else MAX_LINES * nx))])
    index = tuple(p[outer] for p in position)

    step = max(1, SLAB_BYTES // max(1, 8 * int(np.prod(kspace.shape)) // nx))
    parts = []
    for start in range(0, nx, step):
        slab = kspace[:, start : start + step]
        if mask.ndim == 2:
            parts.append(to_numpy(slab[:, :, index[0], index[1]]))
        else:
            here = (index[0] >= start) & (index[0] < start + step)
            parts.append(to_numpy(slab[:, index[0][here] - start, index[1][here], index[2][here]]))
    noise = np.concatenate(parts, axis=1)

    if noise.ndim == 2:
        noise = noise[:, np.abs(noise).any(axis=0)]
        groups = [noise]
    else:
        noise = noise[:, :, np.abs(noise).any(axis=(0, 1))]
        if readout_domain == "kspace":  # without shifts: they only permute planes and turn all coils' phase alike
            noise = np.fft.ifft(noise, axis=1, norm="ortho")
        halves = [noise[:, :, 0::2], noise[:, :, 1::2]]
        gain = np.maximum((np.abs(noise) ** 2).sum(axis=(1, 2), keepdims=True), np.finfo(np.float32).tiny)
        quiet = [
            np.argsort((np.abs(half) ** 2 / gain).sum(axis=(0, 2)))[: max(1, round(QUIET_PLANES * nx))]
            for half in halves
        ]
        groups = [halves[0][:, quiet[1]], halves[1][:, quiet[0]]]
    samples = np.concatenate([g.reshape(coils, -1) for g in groups], axis=1)
    if samples.shape[1] < 4 * coils:
        raise DataError(
            f"kspace has only {samples.shape[1]} non-zero samples in its periphery, too few to estimate "
            f"the noise of {coils} coils (at least {4 * coils}); give a covariance from a noise scan instead."
        )
    return noise_covariance(samples)


# ---- whitening ---------------------------------------------------------------------------------------------


def whitening_matrix(cov: Any) -> np.ndarray:
    """Matrix W with ``W cov W^H = I``: the inverse Hermitian square root of the covariance (ZCA).

    Of all whitening matrices this one changes the channels least, so channel c still means coil c, and
    renumbering the coils renumbers the result alike.

    Parameters
    ----------
    cov
        Noise covariance ``(coils, coils)``, Hermitian and positive definite.

    Raises
    ------
    ShapeError, DataError
        If it is not square, not finite, not Hermitian or not positive definite.
    """
    cov = np.asarray(to_numpy(cov), dtype=np.complex128)
    if cov.ndim != 2 or cov.shape[0] != cov.shape[1]:
        raise ShapeError(f"cov must be square (coils, coils), got shape {cov.shape}.")
    if not np.isfinite(cov).all() or not np.allclose(cov, cov.conj().T, rtol=1e-4, atol=1e-6 * np.abs(cov).max()):
        raise DataError("cov must be finite and Hermitian; estimate it again from a noise scan.")
    values, vectors = np.linalg.eigh(cov)
    if values[0] <= 1e-12 * values[-1]:
        raise DataError(
            f"cov is not positive definite (eigenvalues {values[0]:.3g} to {values[-1]:.3g}): too few "
            "noise samples or a dead coil; use more noise samples, and drop dead coils."
        )
    return (vectors / np.sqrt(values)) @ vectors.conj().T


def whiten(x: Any, cov: Any) -> Any:
    """Whiten k-space or maps so that the noise has unit variance and is uncorrelated between coils.

    Parameters
    ----------
    x
        ``(coils, ...)`` or, with five axes, ``(sets, coils, x, y, z)``; NumPy, CuPy, torch or an array on
        disk.
    cov
        Noise covariance ``(coils, coils)``, see :func:`whitening_matrix`.

    Returns
    -------
    Array of the kind and shape of `x`; nothing else of that size is allocated.

    References
    ----------
    Pruessmann et al. 2001, Magn Reson Med 46:638, Appendix A (decorrelated virtual coils).
    """
    return mix_coils(x, whitening_matrix(cov))


def transform_covariance(cov: Any, matrix: Any) -> np.ndarray:
    """Covariance ``M cov M^H``, ``(n, n)`` or ``(x, n, n)``, of noise after mixing its coils by `matrix`."""
    cov, matrix = np.asarray(to_numpy(cov), np.complex128), np.asarray(to_numpy(matrix), np.complex128)
    return matrix @ cov @ matrix.conj().swapaxes(-1, -2)


# ---- mixing ------------------------------------------------------------------------------------------------


def mix_coils(x: Any, matrix: Any) -> Any:
    """Replace the coils by linear combinations of them, ``out[m] = sum_c matrix[m, c] x[c]``.

    Parameters
    ----------
    x
        K-space or maps, ``(coils, ...)`` or, with five axes, ``(sets, coils, x, y, z)``; NumPy, CuPy, torch,
        or an array on disk (then the result is NumPy, in memory).
    matrix
        ``(n, coils)``, or ``(x, n, coils)`` for one matrix per position along x (x in the image domain).

    Returns
    -------
    Array of the kind of `x`, ``complex64``, with n instead of coils.

    Raises
    ------
    ShapeError
        If the matrix does not fit.
    """
    data = view_or_lazy(x)
    shape = tuple(int(n) for n in data.shape)
    m = to_numpy(matrix)
    sets, coils = (shape[0], shape[1]) if len(shape) == 5 else (1, shape[0])
    if m.ndim not in (2, 3) or m.shape[-1] != coils or (m.ndim == 3 and (len(shape) < 4 or m.shape[0] != shape[-3])):
        raise ShapeError(
            f"matrix has shape {m.shape}, expected (n, coils) or (x, n, coils) with {coils} coils for "
            f"data of shape {shape}; make it from data with the same coils and readout length."
        )
    xp = get_array_module(data)
    m = xp.asarray(m, dtype=np.complex64)
    n = int(m.shape[-2])
    out = xp.empty(((sets,) if len(shape) == 5 else ()) + (n, *shape[len(shape) == 5 :][1:]), dtype=np.complex64)
    for s in range(sets):
        _mix(data[s] if len(shape) == 5 else data, m, out[s] if len(shape) == 5 else out, xp)
    return as_kind(out, x) if isinstance(data, xp.ndarray) else out


def _mix(data: Any, m: Any, out: Any, xp: Any) -> None:
    """Write the mixed coils of `data` into `out`: slabs along x, or at once where no copy is needed."""
    if m.ndim == 2 and isinstance(data, xp.ndarray) and data.flags.c_contiguous and data.dtype == np.complex64:
        xp.matmul(m, data.reshape(data.shape[0], -1), out=out.reshape(out.shape[0], -1))
        return
    if len(data.shape) == 1:
        out[...] = m @ xp.asarray(data[:], dtype=np.complex64)
        return
    step = 1 if m.ndim == 3 else max(1, SLAB_BYTES * data.shape[1] // max(1, 8 * int(np.prod(data.shape))))
    read = max(1, SLAB_BYTES * data.shape[1] // max(1, 8 * int(np.prod(data.shape))))
    for first in range(0, data.shape[1], read):
        block = xp.asarray(data[:, first : first + read], dtype=np.complex64)
        for i in range(0, block.shape[1], step):
            slab = xp.ascontiguousarray(block[:, i : i + step])
            mixed = (m if m.ndim == 2 else m[first + i]) @ slab.reshape(slab.shape[0], -1)
            out[:, first + i : first + i + step] = mixed.reshape(out.shape[0], *slab.shape[1:])
