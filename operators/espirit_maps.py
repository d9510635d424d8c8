"""Coil sensitivity maps from the fully sampled centre of k-space: ESPIRiT in 3D.

The steps, each a function: find and read the calibration block, correlate all its patches (a Gram matrix),
keep the signal space, turn its kernels into the Fourier coefficients of a coil-by-coil operator G(r), and
take the dominant eigenvectors of G at every voxel. G is a trigonometric polynomial of a few coefficients, so
it is evaluated exactly at any matrix size, row by row, and never stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from mrrecon.errors import CalibrationError, DataError, ShapeError
from mrrecon.operators.backend import as_kind, get_array_module, num_threads, to_numpy
from mrrecon.operators.calibration_data import read_calibration
from mrrecon.operators.centre import from_centre
from mrrecon.operators.coils import view_or_lazy
from mrrecon.operators.coverage import coarse_grid, covered, low_resolution
from mrrecon.operators.patches import patch_gram, signal_space

__all__ = ["espirit"]

KERNEL = 6  # width, unless the calibration block is narrower than two of them
SLAB_BYTES = 256 << 20  # matrices of one slab of voxels on the GPU, with the work space of their solver
SOLVER_ELEMENTS = 1024  # about what cuSOLVER's batched solver needs for each small matrix (CuPy issue 7261)


def espirit(
    kspace: Any,
    *,
    calibration: int | Sequence[int] | None = 24,
    kernel: int | Sequence[int] | None = None,
    threshold: float = 0.001,
    crop: float = 0.8,
    soft_crop: bool = False,
    cover: bool = False,
    sets: int = 1,
    mask: Any = None,
    readout_domain: Literal["kspace", "image"] = "kspace",
    centre: Sequence[int] | None = None,
    phase_reference: Literal["principal"] | int = "principal",
    return_eigenvalues: bool = False,
) -> Any:
    """Estimate coil sensitivity maps by ESPIRiT.

    Parameters
    ----------
    kspace
        ``(coils, x, y, z)``, zero where unsampled; NumPy, CuPy, torch or an array on disk. Only the calibration block
        is read, and a few planes that tell where the centre is. An axis of size 1 makes the method 2D.
    calibration
        Width of the calibration block at most, along (x, y, z) or one for all; the largest fully sampled
        block in it is used. ``None``: the largest block there is, up to 32.
    kernel
        Width of the k-space kernels (patches), along (x, y, z) or one for all; cut to the matrix size. By default 6,
        or half the calibration block where that is narrower than 12, which has too few patches of that width.
    threshold
        Patches belong to the signal where their squared singular value exceeds `threshold` times the largest
        (as ``bart ecalib -t``).
    crop
        Maps are zero where the eigenvalue is not above this.
    soft_crop
        Weight the maps by a smooth function of the eigenvalue instead (as ``bart ecalib -S``).
    cover
        Do not crop inside the object, whatever the eigenvalue: where the low-resolution image of the calibration block
        has signal, and between voxels that are kept. A strong local phase or a small block leave holes there else.
        Of the first set only.
    sets
        Number of map sets: the leading eigenvectors, each cropped by its own eigenvalue (soft SENSE).
    mask
        Sampled positions, ``(y, z)`` or ``(x, y, z)``; by default those where the k-space is not zero.
    readout_domain
        Domain of axis x.
    centre
        Index (x, y, z) of the centre of k-space; by default it is located, see :func:`mrrecon.operators.kspace_centre`.
    phase_reference
        Coil whose map is made real and positive; ``"principal"``: the first principal component of the
        calibration data, normalised so that its last coil is real and positive (as BART).
    return_eigenvalues
        Return the eigenvalue maps too, ``float32``.

    Returns
    -------
    maps
        ``(coils, x, y, z)``, or ``(sets, coils, x, y, z)`` if `sets` > 1, ``complex64``, of the kind of
        `kspace` (NumPy for an array on disk). The sum of squares over coils is 1 in the support and exactly 0
        outside.
    eigenvalues
        ``(x, y, z)`` or ``(sets, x, y, z)``, only with `return_eigenvalues`.

    Raises
    ------
    CalibrationError
        If the centre of k-space is not sampled, is smaller than the kernel, or holds no signal.
    DataError
        If it holds NaN or Inf.
    ShapeError
        If an argument does not fit the k-space.

    References
    ----------
    Uecker et al. 2014, Magn Reson Med 71:990 (sections Theory; soft SENSE); Lobos et al. 2023,
    arXiv:2302.00431 (PISCO: Gram matrix, few Fourier coefficients, power iteration).
    """
    data = view_or_lazy(kspace)
    if len(data.shape) != 4:
        raise ShapeError(f"kspace must have the axes (coils, x, y, z), got shape {tuple(data.shape)}.")
    coils, *shape = (int(n) for n in data.shape)
    if not 1 <= sets <= coils:
        raise ShapeError(f"sets must be from 1 to the number of coils {coils}, got {sets}.")
    if isinstance(phase_reference, int) and not 0 <= phase_reference < coils:
        raise ShapeError(f"phase_reference must name a coil from 0 to {coils - 1}, got {phase_reference}.")
    chosen = KERNEL if kernel is None else kernel
    widths = (chosen,) * 3 if isinstance(chosen, int) else tuple(chosen)
    if len(widths) != 3 or min(widths) < 1:
        raise ShapeError(f"kernel must be one or three positive widths, got {kernel}.")
    widths = tuple(min(int(k), n) for k, n in zip(widths, shape, strict=True))

    block = read_calibration(data, calibration, widths, mask, readout_domain, centre)
    if kernel is None:
        widths = tuple(min(k, max(1, n // 2)) for k, n in zip(widths, block.shape[1:], strict=True))
    xp = get_array_module(block)
    scale = float(xp.abs(block).max())
    if not np.isfinite(scale):
        raise DataError("The calibration region of kspace holds NaN or Inf; repair or drop these samples first.")
    if scale == 0:
        raise CalibrationError(
            f"The centre of kspace ({'x'.join(map(str, block.shape[1:]))} samples) is zero, no signal to "
            "calibrate on; check that mask and k-space belong together, or give maps."
        )
    block = block / scale
    with threadpool_limits(1, "blas"):  # see _product of patches
        kernels = signal_space(patch_gram(block, widths), threshold)
        operator = operator_coefficients(kernels, coils, widths)
        reference = _phase_reference(block, phase_reference)
    evaluate = voxel_eigenvectors if xp is not np else _voxel_eigenvectors_cpu
    size = (shape[0], shape[1], shape[2])
    keep = _covered(evaluate, operator, reference, block, size, crop) if cover else None
    maps, values = evaluate(operator, reference, size, sets, crop, soft_crop, return_eigenvalues, keep)
    if sets == 1:
        maps, values = maps[0], None if values is None else values[0]
    template = np.empty(0) if hasattr(data, "__getitem__") and not hasattr(data, "flags") else kspace
    maps = as_kind(maps, template)
    return (maps, as_kind(values, template)) if return_eigenvalues else maps


def _covered(
    evaluate: Callable[..., Any],
    operator: Any,
    reference: np.ndarray,
    block: Any,
    shape: tuple[int, int, int],
    crop: float,
) -> np.ndarray:
    """Voxels ``(x, y, z)`` that belong to the object, decided on a coarse grid."""
    grid = coarse_grid(shape, block.shape[1:])
    values = evaluate(operator, reference, grid, 1, crop, False, True)[1][0]
    return covered(to_numpy(values), to_numpy(low_resolution(block, grid)), block.shape[1:], crop, shape)


def _phase_reference(block: Any, choice: Literal["principal"] | int) -> np.ndarray:
    """Coil vector ``(coils,)`` whose inner product with the maps is to be real and positive."""
    coils = block.shape[0]
    if choice != "principal":
        return np.eye(coils, dtype=np.complex64)[choice]
    samples = to_numpy(block).reshape(coils, -1).astype(np.complex128)
    principal = np.linalg.eigh(samples @ samples.conj().T)[1][:, -1]
    return (principal * np.exp(-1j * np.angle(principal[-1]))).astype(np.complex64)


def operator_coefficients(kernels: Any, coils: int, kernel: Sequence[int]) -> Any:
    """Fourier coefficients of the coil-by-coil operator G(r), for the coil pairs c <= c'.

    ``G(r) = sum_n w_n(r) w_n(r)^H / prod(kernel)`` with w_n(r) the image-domain value of kernel n; its
    eigenvalues lie in [0, 1], and the sensitivities are its eigenvectors of eigenvalue 1.

    Parameters
    ----------
    kernels
        ``(coils * kx * ky * kz, r)``, orthonormal columns.
    coils, kernel
        How to read the rows.

    Returns
    -------
    Array ``(pairs, 2 kx - 1, 2 ky - 1, 2 kz - 1)`` complex64, zero frequency in the middle.
    """
    xp = get_array_module(kernels)
    full = tuple(2 * k - 1 for k in kernel)
    points = int(np.prod(full))
    total = xp.zeros((points, coils, coils), dtype=np.complex64)
    step = max(1, (128 << 20) // (16 * coils * points))
    for first in range(0, kernels.shape[1], step):
        part = kernels[:, first : first + step].T.reshape(-1, coils, *kernel)
        spectrum = xp.fft.fftn(part, s=full, axes=(2, 3, 4)).astype(np.complex64)
        spectrum = xp.ascontiguousarray(spectrum.reshape(-1, coils, points).transpose(2, 1, 0))
        total += spectrum @ spectrum.conj().swapaxes(1, 2)
    upper = np.triu_indices(coils)
    pairs = total[:, upper[0], upper[1]].T.reshape(-1, *full)
    coefficients = xp.fft.fftshift(xp.fft.ifftn(pairs, axes=(1, 2, 3)), axes=(1, 2, 3))
    return xp.ascontiguousarray((coefficients / int(np.prod(kernel))).astype(np.complex64))


# ---- eigenvectors of every voxel
# -------------------------------------------------------------------------------


def _fourier_factors(n: int, width: int) -> np.ndarray:
    """Factors ``(n, width)`` of the frequencies -(width // 2) ... width // 2 at the n voxel positions."""
    return np.exp(2j * np.pi / n * np.outer(from_centre(n), from_centre(width)))


def _crop_weight(values: Any, crop: float, soft: bool, xp: Any) -> Any:
    if not soft:
        return (values > crop).astype(np.float32)
    w = xp.clip((xp.sqrt(xp.maximum(values, 0)) - crop) / (1 - crop), -1, 1)
    return (0.5 + w / (1 + w * w)).astype(np.float32)


def _checked_eigh(matrices: Any, sets: int, xp: Any) -> tuple[Any, Any]:
    """Eigenvalues and eigenvectors of matrices of norm 1 at most, in double precision if single goes wrong.

    In single precision, cuSOLVER's batched solver has been seen to return vectors that are none, without an
    error (PyTorch issue 192483), so the leading ones are put to the test.
    """
    values, vectors = xp.linalg.eigh(matrices)
    leading = vectors[..., -sets:]
    misfit = xp.abs(matrices @ leading - leading * values[..., None, -sets:]).max()
    length = xp.abs((xp.abs(leading) ** 2).sum(axis=-2) - 1).max()
    if not float(xp.maximum(misfit, length)) < 1e-3:
        values, vectors = xp.linalg.eigh(matrices.astype(np.complex128))
    return values.astype(np.float32), vectors.astype(np.complex64)


def voxel_eigenvectors(
    operator: Any,
    reference: np.ndarray,
    shape: tuple[int, int, int],
    sets: int,
    crop: float,
    soft: bool,
    keep_values: bool,
    keep: np.ndarray | None = None,
) -> tuple[Any, Any]:
    """Leading eigenvectors of G at every voxel, by full decompositions: plain reference, and the GPU's own
    way.

    Parameters
    ----------
    operator
        Result of :func:`operator_coefficients`.
    reference
        Coil vector of the phase, ``(coils,)``.
    shape
        Matrix size (x, y, z) of the maps.
    sets, crop, soft, keep_values
        As in :func:`espirit`.
    keep
        Voxels ``(x, y, z)`` where the first set is not cropped.

    Returns
    -------
    maps, values
        ``(sets, coils, x, y, z)`` complex64 and ``(sets, x, y, z)`` float32, or ``None``.
    """
    xp = get_array_module(operator)
    coils = reference.shape[0]
    ex, ey, ez = (
        xp.asarray(_fourier_factors(n, w), dtype=np.complex64) for n, w in zip(shape, operator.shape[1:], strict=True)
    )
    upper = np.triu_indices(coils)
    reference = xp.asarray(reference)
    maps = xp.empty((sets, coils, *shape), dtype=np.complex64)
    values = xp.empty((sets, *shape), dtype=np.float32) if keep_values else None
    step = max(1, SLAB_BYTES // (8 * (coils * coils + SOLVER_ELEMENTS) * shape[2]))
    for x in range(shape[0]):
        plane = xp.tensordot(operator, ex[x], axes=(1, 0))
        for y in range(0, shape[1], step):
            rows = xp.tensordot(xp.tensordot(plane, ey[y : y + step], axes=(1, 1)), ez, axes=(1, 1))
            matrices = xp.empty((*rows.shape[1:], coils, coils), dtype=np.complex64)
            matrices[..., upper[1], upper[0]] = xp.moveaxis(rows, 0, -1).conj()
            matrices[..., upper[0], upper[1]] = xp.moveaxis(rows, 0, -1)
            found, vectors = _checked_eigh(matrices, sets, xp)
            for s in range(sets):
                value, vector = found[..., coils - 1 - s], vectors[..., coils - 1 - s]
                turn = vector.conj() @ reference
                size = xp.abs(turn)
                turn = xp.where(size > 0, turn / xp.where(size > 0, size, 1), 1)
                weight = _crop_weight(value, crop, soft, xp)
                if keep is not None and s == 0:
                    weight = xp.where(xp.asarray(keep[x, y : y + step]), np.float32(1), weight)
                weighted = vector * (turn * weight)[..., None]
                maps[s, :, x, y : y + step] = xp.moveaxis(weighted + 0, -1, 0)  # + 0: no -0
                if values is not None:
                    values[s, x, y : y + step] = value
    return maps, values


def _voxel_eigenvectors_cpu(
    operator: np.ndarray,
    reference: np.ndarray,
    shape: tuple[int, int, int],
    sets: int,
    crop: float,
    soft: bool,
    keep_values: bool,
    keep: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    from mrrecon.operators.kernels.espirit_cpu import eigen_rows

    nx, ny, nz = shape
    ex = _fourier_factors(nx, operator.shape[1]).astype(np.complex64)
    ey = _fourier_factors(ny, operator.shape[2]).astype(np.complex64)
    ez = _fourier_factors(nz, operator.shape[3])[:, operator.shape[3] // 2 :].T
    cosz, sinz = (np.ascontiguousarray(part, dtype=np.float32) for part in (ez.real, ez.imag))
    maps = np.empty((sets, reference.shape[0], *shape), np.complex64)
    values = np.empty((sets, *shape) if keep_values else (0, 0, 0, 0), np.float32)
    floor = 0.0 if keep_values else 0.9 * max(0.0, 2 * crop - 1) ** 2 if soft else 0.75 * crop
    kept = np.zeros((0, 0, 0), bool) if keep is None else keep
    rows = max(8, -(-nx * ny // (8 * num_threads())))  # a few jobs per thread, long enough for warm starts
    jobs = [(x, y, min(ny, y + rows)) for x in range(nx) for y in range(0, ny, rows)]

    def work(job: tuple[int, int, int]) -> None:
        settings = (np.float32(crop), soft, np.float32(floor))
        eigen_rows(operator, ex, ey, cosz, sinz, reference, *settings, kept, *job, maps, values)

    with ThreadPoolExecutor(num_threads()) as pool:
        list(pool.map(work, jobs))
    return maps, values if keep_values else None
