"""Coil maps and image jointly: an image with the maps there are, maps with that image, and so on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mrrecon.errors import MRReconError
from mrrecon.solvers.cg_sense import CGSense

if TYPE_CHECKING:
    from mrrecon.acquisition import Acquisition
    from mrrecon.reconstruction import Reconstruction

__all__ = ["joint_maps"]

ROUNDS = 3  # at most; the second matters where the block is hardly wider than a kernel, the third hardly ever
LESS = 0.87  # of chi^2 that fitted maps may leave at most: less than this gains nothing where noise hides the errors


def joint_maps(acquisition: Acquisition, *, always: bool = True) -> Acquisition:
    """Estimate the coil maps of a scan jointly with its image, from all samples.

    In turn, an image by CG-SENSE, which takes seconds, and maps fitted to it (:meth:`Acquisition.fit_maps`), until
    chi^2 is down to one. A round counts if it takes at least an eighth off the chi^2 of the image before; else its maps
    are not taken, and that is the end. Any method does better with these maps, those with a prior or sparsity most. It
    runs once, after that, so that checkpoints, warm starts and time budgets are its own as ever.

    Parameters
    ----------
    acquisition
        Scan with one set of maps to begin with.
    always
        Do it in any case; else only where chi^2 asks for it, being above one with the maps there are.

    Returns
    -------
    Acquisition
        With the maps that explain the data best, and in its provenance the number of rounds that counted, and chi^2
        before and after. The same object where nothing was tried.

    Raises
    ------
    MRReconError
        If there are no maps, or the noise is not known and cannot be estimated, and it is to be done in any case.
    ShapeError
        If there are several sets of maps.

    References
    ----------
    Ying, Sheng 2007, Magn Reson Med 57:1196 (JSENSE).
    """
    try:
        image = _image(acquisition)
    except MRReconError:  # of its noise
        if always:
            raise
        return acquisition
    scan, first = acquisition, image.metrics["chi_squared"]
    if not (always or 1 < first < math.inf):
        return acquisition
    rounds, left = 0, first
    while rounds < ROUNDS and (left > 1 or not rounds):
        with _quiet():  # chi^2 judges the maps: the low-resolution image, of a small block, knows less
            tried = acquisition.fit_maps(image)
        image = _image(tried)
        chi_squared = image.metrics["chi_squared"]
        if not chi_squared <= LESS * left:
            break
        scan, left, rounds = tried, chi_squared, rounds + 1
    return scan.evolve("joint maps", {"rounds": rounds, "chi_squared": [round(first, 4), round(left, 4)]})


def _image(scan: Acquisition) -> Reconstruction:
    """By CG-SENSE; what it would warn of, every method says again."""
    with _quiet():
        return CGSense()(scan)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
