"""Zero filling: unsampled k-space taken as zero, and one inverse transform."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mrrecon.operators.backend import get_array_module, to_numpy
from mrrecon.solvers.base import Callback, Solver, Status
from mrrecon.solvers.parts.problem import largest_eigenvalue, whitened

if TYPE_CHECKING:
    from mrrecon.acquisition import Acquisition
    from mrrecon.reconstruction import Reconstruction

__all__ = ["ZeroFilled"]


@dataclass(frozen=True)
class ZeroFilled(Solver):
    """Zero-filled image: the adjoint ``A^H y`` with maps, root-sum-of-squares of the coils without.

    Without maps the result has no phase, and its noise floor is not zero.
    """

    name: ClassVar[str] = "zero-filled"

    def __call__(self, acquisition: Acquisition, callback: Callback | None = None) -> Reconstruction:
        """Reconstruct; see :class:`~mrrecon.solvers.base.Solver`."""
        from mrrecon.operators.encoding import CartesianEncoding
        from mrrecon.reconstruction import Reconstruction

        began = time.perf_counter()
        if acquisition.maps is None:
            scan = acquisition.load()
            volume = _root_sum_of_squares(scan.kspace, scan.domains[0])
        else:
            scan = whitened(acquisition)
            encoding = CartesianEncoding(scan.maps, scan.mask, scan.domains[0])
            volume = encoding.adjoint(scan.kspace)
            volume = volume.reshape(-1, *scan.shape)[0]
            volume *= np.float32(1 / largest_eigenvalue(encoding))
        seconds = time.perf_counter() - began
        if callback is not None:
            callback(Status(1, 1, 0.0, seconds, lambda: to_numpy(volume).astype(np.complex64)))
        combination = "root-sum-of-squares" if acquisition.maps is None else "maps"
        settings = {"combination": combination}
        return Reconstruction.from_solver(acquisition, volume, self.name, settings, seconds=seconds)


def _root_sum_of_squares(kspace: Any, readout_domain: str) -> Any:
    """Combine coil by coil, so that the images of all coils are never held together."""
    from mrrecon.operators.fourier import ifft

    xp = get_array_module(kspace)
    axes = (0, 1, 2) if readout_domain == "kspace" else (1, 2)
    total = xp.zeros(kspace.shape[1:], np.float32)
    for coil in kspace:
        image = ifft(coil, axes=axes)
        total += image.real**2 + image.imag**2
    return xp.sqrt(total)
