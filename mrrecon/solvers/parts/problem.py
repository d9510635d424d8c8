"""From an acquisition to the least-squares problem that the iterative methods solve, at unit signal scale."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mrrecon.errors import DataError, MRReconError, ShapeError
from mrrecon.grid import Grid
from mrrecon.operators.backend import get_array_module, to_device, to_numpy
from mrrecon.operators.signal_level import signal_scale
from mrrecon.operators.vectors import real_dot

if TYPE_CHECKING:
    from mrrecon.acquisition import Acquisition
    from mrrecon.operators.composed import Encoding, LinearMap
    from mrrecon.operators.encoding import CartesianEncoding

__all__ = ["Problem", "largest_eigenvalue", "whitened"]


@dataclass(frozen=True)
class Problem:
    """Minimise ``|A x - y|^2`` over images x; everything is divided by `scale`, so that tissue is about 1.

    Images are ``(sets, x, y, z)`` everywhere: one for each set of coil maps.

    Parameters
    ----------
    encoding
        A: all that solvers know of it is :class:`~mrrecon.operators.composed.Encoding`.
    backprojection
        ``A^H y``.
    grid
        Of the image.
    scale
        What the data were divided by; multiply the solution with it.
    lipschitz
        Largest eigenvalue of ``A^H A`` (an upper bound that is nearly reached); 1 for normalised maps, white
        data.
    measure_noise
        Gives :attr:`noise`; called only where it is needed, because not every scan lets it be estimated.
    acceleration
        Achieved R.
    power
        Mean square of the image over the object.
    energy
        ``|y|^2``.
    samples
        Number of measured complex samples, all coils together.
    complete
        Along (x, y, z), indices of the fully sampled block around the centre of k-space; ``None`` for slices.
    """

    encoding: Encoding
    backprojection: Any
    grid: Grid
    scale: float
    lipschitz: float
    measure_noise: Callable[[], float]
    acceleration: float
    power: float
    energy: float
    samples: int
    complete: tuple[range | None, range | None, range | None]

    @classmethod
    def of(cls, acquisition: Acquisition, method: str) -> Problem:
        """Load, whiten and scale a scan with maps, and set up its encoding operator; `method` is named in messages.

        Raises
        ------
        DataError
            If the scan has no maps, or no signal.
        """
        from mrrecon.operators.encoding import CartesianEncoding

        if acquisition.maps is None:
            raise DataError(
                f"{method} needs coil sensitivity maps and the acquisition has none; estimate them first with "
                "acquisition.calibrate() (mrrecon recon on the command line does so itself)."
            )
        scan = whitened(acquisition)
        maps = scan.maps if scan.maps.ndim == 5 else scan.maps[None]
        encoding = CartesianEncoding(maps, scan.mask, scan.domains[0])
        lipschitz = largest_eigenvalue(encoding)
        measured = signal_scale(scan.kspace, scan.mask, scan.domains[0], centre=scan.centre.index)
        root = lipschitz**0.5
        scale = measured.level / root
        backprojection = encoding.adjoint(scan.kspace)
        backprojection *= np.float32(1 / scale)
        return cls(
            encoding=encoding,
            backprojection=backprojection,
            grid=Grid(scan.shape, scan.voxel_size, scan.affine),
            scale=scale,
            lipschitz=lipschitz,
            measure_noise=cache(lambda: float(_noise_level(scan) / root / scale)),
            acceleration=scan.acceleration,
            power=float(measured.power / lipschitz / scale**2),
            energy=_energy(scan.kspace) / scale**2,
            samples=round(math.prod(scan.kspace.shape) / scan.acceleration),
            complete=_complete(scan),
        )

    def over(self, inner: LinearMap, grid: Grid) -> Problem:
        """The same data, explained by ``A P x``: for unknowns x on another grid, or in another basis.

        P, `inner`, takes images on `grid` to those of this problem.
        """
        from mrrecon.operators.composed import ComposedEncoding

        encoding = ComposedEncoding(self.encoding, inner)
        lipschitz = encoding.lipschitz()
        return replace(
            self,
            encoding=encoding,
            backprojection=inner.adjoint(self.backprojection),
            grid=grid,
            complete=self._complete_on(grid),
            lipschitz=lipschitz,
            measure_noise=lambda: self.noise * math.sqrt(self.lipschitz / lipschitz),
        )

    def _complete_on(self, grid: Grid) -> tuple[range | None, range | None, range | None]:
        """The fully sampled centre on another grid over the same field of view; unknown on any other."""
        if not np.allclose(grid.field_of_view, self.grid.field_of_view, rtol=1e-6):
            return None, None, None
        moved = (new // 2 - old // 2 for new, old in zip(grid.shape, self.grid.shape, strict=True))
        x, y, z = (
            None if block is None else range(block.start + by, block.stop + by)
            for block, by in zip(self.complete, moved, strict=True)
        )
        return x, y, z

    @cached_property
    def seen(self) -> Any:
        """Voxels that the data can say anything about, bool, of the shape of an image."""
        return self.encoding.support()

    @property
    def noise(self) -> float:
        """Standard deviation of the noise of one complex sample of y, over the square root of `lipschitz`.

        That is the noise of a fully sampled image.

        Raises
        ------
        MRReconError
            If it is not known and cannot be estimated.
        """
        return self.measure_noise()

    @cached_property
    def known_noise(self) -> float | None:
        """:attr:`noise`, or None if it is not known and cannot be estimated."""
        try:
            return self.noise
        except MRReconError:
            return None

    @property
    def zero_filled_noise(self) -> float:
        """Standard deviation of the noise in the zero-filled image: only 1/R of the samples add to it."""
        return self.noise / self.acceleration**0.5

    def start(self, initial: Any) -> Any:
        """Return the first iterate: zero, or a copy of the volume `initial` (warm start) at unit scale.

        Raises
        ------
        ShapeError, DataError
            If `initial` is of another shape than the volume, is not numbers, or has NaN or Inf.
        """
        xp = get_array_module(self.backprojection)
        image = xp.zeros_like(self.backprojection)
        if initial is not None:
            image[0] = to_device(_checked_start(initial, image.shape[1:], self.scale), _device(image))
        return image

    def volume(self, image: Any) -> np.ndarray:
        """Return an iterate as the caller gets it: the first set, on the CPU, in the scale of the data.

        It is zero where no coil sees anything: there, the data say nothing and a prior whatever it likes.
        """
        return to_numpy(image[0] * self.seen[0]) * np.float32(self.scale)

    def on_device(self, array: np.ndarray) -> Any:
        """Copy of an array where the problem is."""
        return to_device(array.copy(), _device(self.backprojection))

    def misfit(self, image: Any) -> float:
        """``|A x - y|^2``."""
        fitted = real_dot(image, self.encoding.normal(image)) - 2 * real_dot(image, self.backprojection)
        misfit = fitted + self.energy
        return 0.0 if misfit < 0 else misfit  # rounding; what is not a number stays so

    def chi_squared(self, image: Any) -> float:
        """Mean square of the data residual in units of the noise: ``|A x - y|^2 / (m s^2)`` over m measured samples.

        About one, or less by the share of the samples that went into the image, if the image explains the data up to
        their noise; well above one if it does not (motion, wrong maps, too strong a prior).

        References
        ----------
        Discrepancy principle: Morozov 1966, Soviet Math Dokl 7:414.
        """
        noise = self.noise**2 * self.lipschitz
        return self.misfit(image) / (self.samples * noise) if noise > 0 else math.inf


def whitened(acquisition: Acquisition) -> Acquisition:
    """Load the scan and whiten it, maps included, if its noise covariance is known and not the identity."""
    scan = acquisition.load()
    return scan if scan.noise_covariance is None or scan.is_whitened else scan.whiten()


def largest_eigenvalue(encoding: CartesianEncoding) -> float:
    """Of ``A^H A``, as a close upper bound.

    Raises
    ------
    DataError
        If it is zero.
    """
    bound = encoding.lipschitz()
    if not bound > 0:
        raise DataError("maps are zero everywhere; estimate them again with acquisition.calibrate().")
    return bound


def _complete(scan: Acquisition) -> tuple[range | None, range | None, range | None]:
    """The fully sampled centre; of a readout that is complete, as many samples as across it."""
    from mrrecon.operators.calibration_data import sampled_block

    centre = scan.centre.index
    block = sampled_block(scan.mask, centre[3 - scan.mask.ndim :], symmetric=True)
    side = min(max(map(len, block)), scan.shape[0])
    x = block[0] if len(block) == 3 else range(centre[0] - side // 2, centre[0] - side // 2 + side)
    return None if scan.readout != "x" else x, block[-2], block[-1]


def _checked_start(initial: Any, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """The volume of a warm start at unit scale."""
    try:
        volume = to_numpy(getattr(initial, "volume", initial))
    except (TypeError, ValueError) as error:
        raise DataError(f"initial must be a reconstruction or a volume, got {type(initial).__name__}.") from error
    if volume.dtype.kind not in "fciu":
        raise DataError(f"initial must be a reconstruction or a volume of numbers, got dtype {volume.dtype}.")
    if volume.shape != shape:
        raise ShapeError(f"initial has shape {volume.shape}, the scan needs (x, y, z) = {shape}.")
    with np.errstate(all="ignore"):  # what overflows is found below
        start = volume.astype(np.complex64) / np.float32(scale)
    bad = int(start.size - np.isfinite(start).sum())
    if bad:
        raise DataError(
            f"initial has {bad} voxels that are NaN, Inf or too large for single precision; start from a good volume, "
            "or leave initial out."
        )
    return start


def _energy(kspace: Any) -> float:
    """Sum of squares, coil by coil."""
    return sum(float(get_array_module(coil).vdot(coil, coil).real) for coil in kspace)


def _noise_level(scan: Acquisition) -> float:
    """Standard deviation of one complex sample: as known, else as estimated, with a note where in doubt."""
    if scan.noise_std is not None:
        return scan.noise_std
    from mrrecon.operators.noise import estimate_noise

    estimate = estimate_noise(scan.kspace, scan.mask, scan.domains[0], centre=scan.centre.index)
    if estimate.note:
        warnings.warn(estimate.note, stacklevel=4)
    return estimate.level


def _device(array: Any) -> str:
    return "cpu" if get_array_module(array) is np else "cuda"
