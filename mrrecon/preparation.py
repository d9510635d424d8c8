"""What the steps between a file and a solver need to find out: which mask, which noise, how good the maps are.

Functions of arrays; the steps themselves are methods of :class:`mrrecon.acquisition.Acquisition`.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from mrrecon import operators
from mrrecon.acquisition_checks import Domain
from mrrecon.errors import CalibrationError, DataError, MaskError
from mrrecon.operators.backend import get_array_module, to_numpy

Index = tuple[int, int, int]
UNEXPLAINED = 0.05  # of the signal, by the maps: right ones leave 0.1 to 1.1 % at SNR 5 and more, wrong ones over 80 %
ABSURD = 10.0  # times the level of the outermost samples: noise that is in none of them
UNCOVERED = 0.01  # of the voxels with signal: less is the rim of the object at low resolution

__all__ = ["calibrated_maps", "fit_mask", "fitted_maps", "measured_coverage", "noise_to_whiten"]


def fit_mask(mask: Any, shape: tuple[int, int, int], readout: str = "x") -> np.ndarray:
    """Bring a mask, perhaps one of lines, to the size of a scan.

    Parameters
    ----------
    mask
        ``(y, z)`` or ``(x, y, z)``, bool, is taken as it is; ``(1, z)`` is repeated along y and ``(y, 1)`` along z. One
        axis are the lines of a 2D scan across its readout; for a 3D scan it is whichever of y and z has that length.
    shape
        Matrix size (x, y, z) of the scan.
    readout
        Its readout axis.

    Returns
    -------
    numpy.ndarray
        Bool, ``(y, z)`` or ``(x, y, z)``.

    Raises
    ------
    MaskError
        If it does not fit, or only its axis could tell which lines it means and both have that length.
    """
    mask = np.asarray(to_numpy(mask)).astype(bool)
    y, z = shape[1:]
    if mask.ndim == 1:
        across = {"y": [2], "z": [1]}.get(readout, [a for a in (1, 2) if shape[a] == mask.size])
        if len(across) == 2:
            raise MaskError(
                f"mask has one axis, of length {mask.size} like both y and z of the scan; give it as (y, 1) or (1, z)."
            )
        if across and shape[across[0]] == mask.size:
            mask = mask[:, None] if across[0] == 1 else mask[None]
    if mask.shape in ((1, z), (y, 1)):
        return np.array(np.broadcast_to(mask, (y, z)))
    if mask.shape not in (shape, shape[1:]):
        hint = "; its axes look transposed: pass mask.T" if mask.shape[::-1] == shape[1:] else ""
        raise MaskError(
            f"mask has shape {mask.shape}, the scan needs (y, z) = {shape[1:]} or (x, y, z) = {shape}{hint}."
        )
    return mask


def noise_to_whiten(
    kspace: Any,
    mask: np.ndarray,
    domain: Domain,
    centre: Callable[[], Index],
    *,
    given: Any,
    scanned: np.ndarray | None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Noise covariance that k-space can be whitened by, ``(coils, coils)``, and how it was found, for the record.

    Parameters
    ----------
    kspace, mask, domain
        The scan's own, as in :func:`mrrecon.operators.estimate_noise`.
    centre
        Finds the centre of k-space, where it is needed.
    given
        Covariance to use in any case.
    scanned
        That of the noise scan, used unless it is far above all samples; without one, the noise is estimated.

    Raises
    ------
    DataError
        If the covariance given is not finite, or zero.
    """
    how: dict[str, Any] = {"source": "noise scan" if given is None else "given"}
    covariance = scanned if given is None else given
    if given is None and scanned is not None:
        level = float(np.sqrt(np.diag(scanned).real.mean()))
        most = operators.outermost_level(kspace, mask, domain)
        if most is not None and level > ABSURD * most:
            warnings.warn(
                f"the noise scan says {level:.3g}, but even the outermost samples, signal and noise, are "
                f"only {most:.3g}: it is left out, and the noise is estimated from the scan",
                stacklevel=3,
            )
            covariance = None
    if covariance is None:
        estimate = operators.estimate_noise(kspace, mask, domain, centre=centre())
        covariance, how = estimate.covariance, estimate.settings()
        if estimate.note:
            warnings.warn(estimate.note, stacklevel=3)
    covariance, change = operators.usable_covariance(covariance)
    if change:
        warnings.warn(change, stacklevel=3)
    return covariance, how


def calibrated_maps(
    kspace: Any, mask: np.ndarray, domain: Domain, centre: Index, **settings: Any
) -> tuple[Any, dict[str, Any]]:
    """Coil maps by ESPIRiT, see :func:`mrrecon.operators.espirit`, and all settings that made them, for the record."""
    maps = operators.espirit(kspace, mask=mask, readout_domain=domain, centre=centre, **settings)
    known = inspect.signature(operators.espirit).parameters
    recorded = ("calibration", "kernel", "threshold", "crop", "soft_crop", "sets")
    return maps, {"method": "ESPIRiT", **{name: known[name].default for name in recorded}, **settings}


def measured_coverage(maps: Any, kspace: Any, mask: np.ndarray, domain: Domain, centre: Index) -> dict[str, float]:
    """Shares of the signal that coil maps leave unexplained and uncovered; a warning says so where it is too much.

    Nothing is known of a scan without calibration data, for which maps from elsewhere may be all there is. Parameters
    as in :func:`mrrecon.operators.map_coverage`.
    """
    try:
        found = operators.map_coverage(maps, kspace, mask, domain, centre=centre)
    except CalibrationError:
        return {}
    if found.unexplained > UNEXPLAINED:
        warnings.warn(
            f"The coil maps leave {found.unexplained:.0%} of the signal in the calibration data unexplained: they "
            "belong to other coils, another order of the coils or another position, or there is too much noise to "
            "calibrate on; expect a wrong image.",
            stacklevel=4,
        )
    if found.uncovered > UNCOVERED:
        warnings.warn(
            f"The coil maps are zero in {found.uncovered:.1%} of the voxels with signal, where the image will be zero; "
            "give maps that cover the object, or calibrate with cover=True.",
            stacklevel=4,
        )
    return {"unexplained": round(found.unexplained, 5), "uncovered": round(found.uncovered, 5)}


def fitted_maps(
    kspace: Any,
    mask: np.ndarray,
    domain: Domain,
    centre: Index,
    covariance: np.ndarray | None,
    *,
    maps: Any,
    volume: Any,
) -> tuple[Any, dict[str, Any]]:
    """Coil maps fitted to all samples, see :func:`mrrecon.operators.fit_maps`, and by what image, for the record.

    Raises
    ------
    DataError, ShapeError
        If there are no maps to begin with, or several sets; if the volume does not fit.
    """
    if maps is None:
        raise DataError("There are no maps to begin with; estimate them first with scan.calibrate().")
    if covariance is None:
        covariance = operators.estimate_noise(kspace, mask, domain, centre=centre).covariance
    image = get_array_module(maps).asarray(getattr(volume, "volume", volume))
    fitted = operators.fit_maps(maps, image, kspace, mask, np.sqrt(np.diag(covariance).real), domain)
    return fitted, {"image": getattr(volume, "solver", "given")}
