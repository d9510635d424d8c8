"""Coil channels: whitening, and mixing by a matrix (which whitening and compression share).

A matrix acts alike on k-space, sensitivity maps and noise covariance, so that the forward model stays
consistent: with ``y = A(S) x + n`` and mixing matrix M, ``M y = A(M S) x + M n``, and ``M n`` has covariance
``M cov M^H``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mrrecon.errors import DataError, ShapeError
from mrrecon.operators.backend import as_array, as_kind, get_array_module, is_torch, to_numpy

__all__ = ["mix_coils", "transform_covariance", "view_or_lazy", "whiten", "whitening_matrix"]

SLAB_BYTES = 64 << 20  # input read per step when the k-space is on disk or not contiguous


def view_or_lazy(x: Any) -> Any:
    """View arrays and tensors as :func:`as_array` does; leave arrays on disk, read by slicing, alone."""
    on_disk = hasattr(x, "shape") and not (hasattr(x, "__array_interface__") or is_torch(x))
    return x if on_disk or get_array_module(x) is not np else as_array(x)


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
