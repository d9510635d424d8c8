"""Coil compression: fewer virtual coils that keep most of the signal; one matrix for all, or one per x."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mrrecon.errors import DataError, ShapeError
from mrrecon.operators.backend import to_numpy
from mrrecon.operators.calibration_data import located, read_block
from mrrecon.operators.centre import around
from mrrecon.operators.coils import mix_coils, view_or_lazy

__all__ = ["compress_coils", "geometric_compression_matrices", "svd_compression_matrix"]


def _calibration_data(
    kspace: Any, calibration: int, readout_domain: Literal["kspace", "image"], centre: Sequence[int] | None
) -> np.ndarray:
    """Read the centre of k-space: `calibration` wide, but all of x when that is in the image domain."""
    if len(kspace.shape) != 4:
        raise ShapeError(f"kspace must have the axes (coils, x, y, z), got shape {tuple(kspace.shape)}.")
    shape, centre, _ = located(kspace, None, readout_domain, centre)
    block = [around(c, calibration, n) for c, n in zip(centre, shape, strict=True)]
    if readout_domain == "image":
        block[0] = range(shape[0])
    return to_numpy(read_block(kspace, block)).astype(np.complex128)


def _check_count(n: int, coils: int) -> None:
    if not 1 <= n <= coils:
        raise ShapeError(f"Cannot compress {coils} coils to {n}: give a number from 1 to {coils}.")


def svd_compression_matrix(
    kspace: Any,
    n: int,
    *,
    calibration: int = 24,
    readout_domain: Literal["kspace", "image"] = "kspace",
    centre: Sequence[int] | None = None,
) -> np.ndarray:
    """Matrix ``(n, coils)`` with orthonormal rows that keeps most energy of the calibration region.

    Parameters
    ----------
    kspace
        ``(coils, x, y, z)``; only its centre is read.
    n
        Number of virtual coils.
    calibration
        Width of the central region, in samples, along the axes that are in k-space.
    readout_domain
        Domain of axis x; when ``"image"``, all of x is used.
    centre
        Index (x, y, z) of the centre of k-space; by default it is located.

    References
    ----------
    Buehrer et al. 2007, Magn Reson Med 57:1131; Huang et al. 2008, Magn Reson Imaging 26:133.
    """
    kspace = view_or_lazy(kspace)
    _check_count(n, int(kspace.shape[0]))
    data = _calibration_data(kspace, calibration, readout_domain, centre).reshape(int(kspace.shape[0]), -1)
    vectors = np.linalg.eigh(data @ data.conj().T)[1]
    return np.ascontiguousarray(vectors[:, ::-1][:, :n].conj().T)


def geometric_compression_matrices(
    kspace: Any, n: int, *, calibration: int = 24, centre: Sequence[int] | None = None
) -> np.ndarray:
    """Matrices ``(x, n, coils)``: the best compression at each x, aligned so that virtual coils vary
    smoothly.

    Parameters
    ----------
    kspace
        ``(coils, x, y, z)`` in hybrid space (x in the image domain); only the central (y, z) is read.
    n
        Number of virtual coils.
    calibration
        Width of the central (y, z) region, in samples.
    centre
        Index (x, y, z) of the centre of k-space; by default it is located.

    Notes
    -----
    Alignment starts at the x with most energy and goes both ways: each matrix is turned within its own row
    space (an orthogonal Procrustes problem) towards its neighbour's, which leaves the energy kept at each x
    as it is.

    References
    ----------
    Zhang et al. 2013, Magn Reson Med 69:571, equations 5 to 8.
    """
    kspace = view_or_lazy(kspace)
    _check_count(n, int(kspace.shape[0]))
    data = _calibration_data(kspace, calibration, "image", centre)
    coils, nx = data.shape[:2]
    data = data.transpose(1, 0, 2, 3).reshape(nx, coils, -1)
    values, vectors = np.linalg.eigh(data @ data.conj().swapaxes(1, 2))
    matrices = np.ascontiguousarray(vectors[:, :, ::-1][:, :, :n].conj().swapaxes(1, 2))
    start = int(np.argmax(values.sum(axis=1)))
    for order in (range(start + 1, nx), range(start - 1, -1, -1)):
        previous = matrices[start]
        for i in order:
            u, _, vh = np.linalg.svd(previous @ matrices[i].conj().T)
            matrices[i] = previous = (u @ vh) @ matrices[i]
    return matrices


def compress_coils(
    kspace: Any,
    n: int,
    method: Literal["svd", "geometric"] = "svd",
    *,
    calibration: int = 24,
    readout_domain: Literal["kspace", "image"] = "kspace",
    centre: Sequence[int] | None = None,
) -> tuple[Any, np.ndarray]:
    """Compress the coils to `n` virtual ones; whiten first, so that the noise stays white.

    Parameters
    ----------
    kspace
        ``(coils, x, y, z)``; NumPy, CuPy, torch or an array on disk.
    n
        Number of virtual coils.
    method
        ``"svd"``: one matrix for all. ``"geometric"``: one per x, keeps more energy; needs x in the image
        domain.
    calibration, readout_domain, centre
        As in :func:`svd_compression_matrix`.

    Returns
    -------
    kspace
        ``(n, x, y, z)``, of the kind given.
    matrix
        ``(n, coils)`` or ``(x, n, coils)``, rows orthonormal: ``mix_coils(maps, matrix)`` takes maps along.

    Raises
    ------
    DataError
        If geometric compression is asked for with x in k-space.
    ShapeError
        If `n` is not from 1 to the number of coils.
    """
    if method == "svd":
        matrix = svd_compression_matrix(
            kspace, n, calibration=calibration, readout_domain=readout_domain, centre=centre
        )
    elif method == "geometric":
        if readout_domain != "image":
            raise DataError(
                "Geometric coil compression needs x in the image domain, got readout_domain='kspace'; apply "
                "operators.ifft(kspace, axes=1) first, or use method='svd'."
            )
        matrix = geometric_compression_matrices(kspace, n, calibration=calibration, centre=centre)
    else:
        raise ValueError(f"method must be 'svd' or 'geometric', got {method!r}.")
    return mix_coils(kspace, matrix), matrix
