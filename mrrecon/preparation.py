"""Steps between a file and a solver: undersample, whiten, compress the coils, calibrate, go to hybrid space.

Each takes an :class:`~mrrecon.acquisition.Acquisition` and returns a new one with the step in its provenance. They are
also methods of the acquisition, which is how most code calls them.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mrrecon.errors import CalibrationError, DataError, MaskError
from mrrecon.operators.backend import get_array_module, to_numpy

if TYPE_CHECKING:
    from mrrecon.acquisition import Acquisition

UNEXPLAINED = 0.05  # of the signal, by the maps: right ones leave 0.1 to 1.1 % at SNR 5 and more, wrong ones over 80 %
ABSURD = 10.0  # times the level of the outermost samples: noise that is in none of them
UNCOVERED = 0.01  # of the voxels with signal: less is the rim of the object at low resolution

__all__ = [
    "calibrate",
    "compress_coils",
    "decline_whitening",
    "fit_mask",
    "hybrid",
    "select_coils",
    "undersample",
    "whiten",
]


def undersample(acquisition: Acquisition, mask: Any, how: Mapping[str, Any] | None = None) -> Acquisition:
    """Keep only the samples of `mask` that the scan has too.

    Parameters
    ----------
    acquisition
        The scan.
    mask
        ``(y, z)`` or ``(x, y, z)``, bool; or of lines, ``(1, z)``, ``(y, 1)`` or one axis: see :func:`fit_mask`.
    how
        How the mask was made (kind, seed, ...), for the record.

    Raises
    ------
    MaskError
        If the shape does not fit or nothing would be left.
    """
    scan = acquisition.load()
    mask = fit_mask(mask, scan.shape, scan.readout)
    kept = mask & scan.mask
    if not kept.any():
        raise MaskError("The mask and the acquired samples have nothing in common; make a mask for this scan's size.")
    xp = get_array_module(scan.kspace)
    kspace = scan.kspace * xp.asarray(kept)
    achieved = {"requested": float(mask.size / mask.sum()), "achieved": float(kept.size / kept.sum())}
    settings = {**(how or {}), **achieved}
    return scan.evolve("undersample", settings, kspace=kspace, mask=kept)


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


def whiten(acquisition: Acquisition, noise_covariance: Any = None) -> Acquisition:
    """Make the noise uncorrelated and equally strong in all coils, maps included.

    The mean noise variance, and with it the scale of the image, stays what it was: a whitened scan reconstructs to
    the units of the raw one.

    Parameters
    ----------
    acquisition
        The scan.
    noise_covariance
        Covariance ``(coils, coils)`` to use; by default the scan's own, and if it has none, that of
        :func:`mrrecon.operators.estimate_noise`. One that is singular is mended as far as it must, with a note.

    Raises
    ------
    DataError
        If the covariance given is not finite, or zero.
    """
    from mrrecon import operators

    scan = acquisition.load()
    how: dict[str, Any] = {"source": "given" if noise_covariance is not None else "noise scan"}
    covariance = noise_covariance if noise_covariance is not None else scan.noise_covariance
    if noise_covariance is None and covariance is not None:
        most = operators.outermost_level(scan.kspace, scan.mask, scan.domains[0])
        if most is not None and (scan.noise_std or 0) > ABSURD * most:
            warnings.warn(
                f"the noise scan says {scan.noise_std:.3g}, but even the outermost samples, signal and noise, are "
                f"only {most:.3g}: it is left out, and the noise is estimated from the scan",
                stacklevel=2,
            )
            covariance = None
    if covariance is None:
        estimate = operators.estimate_noise(scan.kspace, scan.mask, scan.domains[0], centre=scan.centre.index)
        covariance, how = estimate.covariance, estimate.settings()
        if estimate.note:
            warnings.warn(estimate.note, stacklevel=2)
    covariance, change = operators.usable_covariance(covariance)
    if change:
        warnings.warn(change, stacklevel=2)
    variance = float(np.diag(covariance).real.mean())
    relative = covariance / variance
    return scan.evolve(
        "whiten",
        {**how, "noise_std": np.sqrt(np.diag(covariance).real).tolist()},
        kspace=operators.whiten(scan.kspace, relative),
        maps=None if scan.maps is None else operators.whiten(scan.maps, relative),
        noise_covariance=variance * np.eye(scan.n_coils),
    )


def decline_whitening(acquisition: Acquisition) -> Acquisition:
    """Take the coils as they are: of a known noise covariance, only the mean variance is kept, as for equal coils.

    Solvers then whiten no more than one has asked for.
    """
    level = acquisition.noise_std
    if level is None or acquisition.is_whitened:
        return acquisition
    return acquisition.evolve("not whitened", noise_covariance=level**2 * np.eye(acquisition.n_coils))


def select_coils(acquisition: Acquisition, keep: Sequence[int]) -> Acquisition:
    """Keep the coils of these indices only, in this order; k-space on disk stays there.

    Raises
    ------
    DataError
        If there are no such coils, one is named twice, or none is left.
    """
    from mrrecon.io.lazy import ChosenCoils

    keep = [int(c) for c in keep]
    bad = [c for c in keep if not 0 <= c < acquisition.n_coils]
    if bad or not keep or len({*keep}) < len(keep):
        raise DataError(
            f"Cannot keep coils {keep}: the scan has coils 0 to {acquisition.n_coils - 1}; name some, each once."
        )
    kspace = acquisition.kspace
    covariance = acquisition.noise_covariance
    return acquisition.evolve(
        "select coils",
        {"keep": keep},
        kspace=ChosenCoils(kspace, tuple(keep)) if acquisition.is_lazy else kspace[keep],
        maps=None if acquisition.maps is None else acquisition.maps[..., keep, :, :, :],
        noise_covariance=None if covariance is None else covariance[np.ix_(keep, keep)],
    )


def hybrid(acquisition: Acquisition) -> Acquisition:
    """Transform the readout to the image domain, if it is not there already (needs a (y, z) mask)."""
    from mrrecon import operators

    if acquisition.domains[0] == "image":
        return acquisition
    if acquisition.mask.ndim != 2:
        raise MaskError("Hybrid space needs a fully sampled readout, that is a (y, z) mask; this one is (x, y, z).")
    scan = acquisition.load()
    return scan.evolve(
        "readout to image", kspace=operators.ifft(scan.kspace, axes=(1,)), domains=("image", "kspace", "kspace")
    )


def compress_coils(
    acquisition: Acquisition, n: int, method: Literal["svd", "geometric"] = "svd", calibration: int = 24
) -> Acquisition:
    """Compress the coils to `n` virtual ones, maps and noise covariance included.

    Whiten first: then the noise stays white and ``"svd"`` keeps the most signal for its noise. ``"geometric"`` has one
    matrix per readout position, keeps more, and takes the scan to hybrid space.

    Raises
    ------
    DataError
        If `n` is not between 1 and the number of coils.
    """
    from mrrecon import operators

    scan = hybrid(acquisition) if method == "geometric" else acquisition.load()
    before = scan.n_coils
    kspace, matrix = operators.compress_coils(
        scan.kspace,
        n,
        method,
        calibration=calibration,
        readout_domain=scan.domains[0],
        centre=acquisition.centre.index,
    )
    covariance = scan.noise_covariance
    if covariance is not None:
        covariance = operators.transform_covariance(covariance, matrix)
        covariance = covariance if covariance.ndim == 2 else covariance.mean(axis=0)
    return scan.evolve(
        "compress coils",
        {"method": method, "from": before, "to": n},
        kspace=kspace,
        maps=None if scan.maps is None else operators.mix_coils(scan.maps, matrix),
        noise_covariance=covariance,
    )


def calibrate(acquisition: Acquisition, *, cover: bool = True, **settings: Any) -> Acquisition:
    """Estimate coil sensitivity maps by ESPIRiT from the calibration region of the scan itself.

    Parameters
    ----------
    acquisition
        The scan, undersampled or not; only its calibration region is read, around the centre of k-space wherever that
        lies.
    cover
        Leave no holes in the maps inside the object (which :func:`mrrecon.operators.espirit_maps` does not by default).
    settings
        Passed to :func:`mrrecon.operators.espirit_maps` (calibration, kernel, threshold, crop, sets, ...).

    Returns
    -------
    Acquisition
        With the maps. The step in its provenance says what share of the signal they leave out
        (:func:`mrrecon.operators.map_coverage`), and a warning does where it is too much.

    Raises
    ------
    CalibrationError
        If there is no fully sampled block of sufficient size in the centre of k-space.
    """
    from mrrecon import operators

    settings = {"cover": cover, **settings}
    maps = operators.espirit(
        acquisition.kspace,
        mask=acquisition.mask,
        readout_domain=acquisition.domains[0],
        centre=acquisition.centre.index,
        **settings,
    )
    known = inspect.signature(operators.espirit).parameters
    recorded = ("calibration", "kernel", "threshold", "crop", "soft_crop", "sets")
    defaults = {name: known[name].default for name in recorded}
    return _with_measured_maps(acquisition, maps, "calibrate", {"method": "ESPIRiT", **defaults, **settings})


def with_maps(acquisition: Acquisition, maps: Any, source: str = "given") -> Acquisition:
    """Take these coil sensitivity maps, and measure what share of the signal they leave out.

    Parameters
    ----------
    acquisition
        The scan.
    maps
        ``(coils, x, y, z)`` or ``(sets, coils, x, y, z)``.
    source
        Where they come from, for the provenance: the file's name.
    """
    return _with_measured_maps(acquisition, maps, "maps", {"source": source})


def _with_measured_maps(acquisition: Acquisition, maps: Any, step: str, settings: dict[str, Any]) -> Acquisition:
    from mrrecon import operators

    scan = acquisition.evolve(step, settings, maps=maps)
    try:
        found = operators.map_coverage(
            scan.maps, scan.kspace, scan.mask, scan.domains[0], centre=acquisition.centre.index
        )
    except CalibrationError:  # maps from elsewhere may be all that such a scan has
        return scan
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
    measured = {"unexplained": round(found.unexplained, 5), "uncovered": round(found.uncovered, 5)}
    return acquisition.evolve(step, {**settings, **measured}, maps=scan.maps)
