"""Coil maps from an image: the smooth fields with which it explains all samples, not only the calibration block.

Maps by ESPIRiT are trigonometric polynomials in the field of view, of no higher order than the kernels, which are no
wider than half the calibration block: 4 samples at R = 16 and voxels of 3 mm. So they are off by some 5 %, noise or
none, most where the object leaves the field of view. Smooth fields that need not be the same at its opposite ends are
closer to the maps of real coils, and all samples are enough to tell them, as soon as there is an image to compare with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Literal

import numpy as np

from mrrecon.errors import DataError, ShapeError
from mrrecon.operators.backend import as_array, as_kind, get_array_module
from mrrecon.operators.composed import ComposedEncoding
from mrrecon.operators.encoding import CartesianEncoding
from mrrecon.operators.vectors import cg_direction, cg_update, real_dot

__all__ = ["SmoothFields", "fit_maps"]

PERIOD = 1.5  # fields of view after which the maps repeat: they need not be the same at its opposite ends
FINEST, KNEE = 5.0, 2.2  # cycles in the field of view: the most, and where what is expected of them begins to fall
STEPS, TOLERANCE = 100, 3e-3  # of conjugate gradients: what the last ones add comes from errors of the image


class SmoothFields:
    """Linear map from few Fourier coefficients to fields that are smooth: the coefficients are of unit variance.

    The field has a standard deviation of `spread` everywhere, and its spectrum falls like ``(1 + (f / 2.2)^2)^-4``, f
    being the frequency in cycles in the field of view. It repeats after 1.5 of these.

    Parameters
    ----------
    shape
        Of the fields, (x, y, z).
    spread
        Standard deviation.
    xp
        NumPy or CuPy.

    Attributes
    ----------
    ishape, oshape
        Number of coefficients along each axis, and `shape`.
    """

    def __init__(self, shape: Sequence[int], spread: float = 1.0, xp: ModuleType = np) -> None:
        self.oshape = tuple(shape)
        waves, cycles = [], []
        for n in shape:
            most = min(int(FINEST * PERIOD), (n - 1) // 2)
            turns = np.arange(-most, most + 1) / PERIOD
            waves.append(np.exp(2j * np.pi / n * np.outer(np.arange(n) - n // 2, turns)))
            cycles.append(turns)
        self._waves = [xp.asarray(w, np.complex64) for w in waves]
        self.ishape = tuple(len(c) for c in cycles)
        squared = sum(f**2 for f in np.meshgrid(*cycles, indexing="ij", sparse=True))
        weight = np.where(squared <= FINEST**2, (1 + squared / KNEE**2) ** -2.0, 0)
        self._weight = xp.asarray(spread * weight / np.sqrt((weight**2).sum()), np.float32)

    def forward(self, coefficients: Any) -> Any:
        """Field ``(x, y, z)``."""
        x, y, z = self._waves
        xp, (a, b, c), (nx, ny, nz) = get_array_module(x), self.ishape, self.oshape
        field = xp.matmul(x, (self._weight * coefficients).reshape(a, b * c)).reshape(nx, b, c)
        return xp.matmul(xp.matmul(y, field).reshape(nx * ny, c), z.T).reshape(nx, ny, nz)

    def adjoint(self, field: Any) -> Any:
        """Coefficients."""
        x, y, z = self._waves
        xp, (a, b, c), (nx, ny, nz) = get_array_module(x), self.ishape, self.oshape
        found = xp.matmul(field.reshape(nx * ny, nz), z.conj()).reshape(nx, ny, c)
        found = xp.matmul(y.conj().T, found).reshape(nx, b * c)
        return self._weight * xp.matmul(x.conj().T, found).reshape(a, b, c)

    def lipschitz(self) -> float:
        """Upper bound of the largest eigenvalue of ``P^H P``: waves are orthogonal over a whole period."""
        return float((self._weight**2).max()) * math.prod(math.ceil(PERIOD * n) for n in self.oshape)


def fit_maps(
    maps: Any,
    image: Any,
    kspace: Any,
    mask: Any,
    noise: Sequence[float],
    readout_domain: Literal["kspace", "image"] = "kspace",
) -> Any:
    """Fit coil maps to all samples of a scan, given an image of it.

    For each coil c by itself, minimise ``|M F S_c x - y_c|^2 / s_c^2 + |d|^2`` over maps ``S_c = P d``, P being
    :class:`SmoothFields` with the standard deviation that maps of length 1 have: one over the root of the number of
    coils. So the noise alone decides how smooth they are, but that conjugate gradients end at a residual of 0.3 %: what
    later ones would add comes from the errors of the image. The maps given only say where the object is, how long maps
    are there, and, through the image, which phase all coils share.

    Parameters
    ----------
    maps
        Maps that the image was made with, ``(coils, x, y, z)``; NumPy, CuPy or torch. Where they are zero, the fitted
        ones are zero too, and their sum of squares over coils stays what it is: what the fit says of it is the image's.
    image
        x, ``(x, y, z)``, in the scale of the data. That of a few steps of CG-SENSE is good enough.
    kspace
        y, ``(coils, x, y, z)``.
    mask
        Sampled positions, ``(y, z)`` or ``(x, y, z)``.
    noise
        s_c, standard deviation of a complex sample of each coil.
    readout_domain
        Domain of axis x.

    Returns
    -------
    Maps ``(coils, x, y, z)``, ``complex64``, of the kind of `maps`.

    Raises
    ------
    ShapeError
        If the operands do not fit each other, or there are several sets of maps.
    DataError
        If the image is zero wherever there are maps, or the noise is not positive.

    References
    ----------
    Ying, Sheng 2007, Magn Reson Med 57:1196 (JSENSE: image and few coefficients of maps in turn); Uecker et al. 2008,
    Magn Reson Med 60:674 (NLINV: smooth maps by a weight in k-space).
    """
    given, y = as_array(maps), as_array(kspace)
    xp = get_array_module(given)
    if given.ndim != 4 or tuple(y.shape) != tuple(given.shape):
        raise ShapeError(
            f"fit_maps needs one set of maps (coils, x, y, z) of the shape of the k-space {tuple(y.shape)}, got "
            f"{tuple(given.shape)}."
        )
    x = xp.asarray(as_array(image), np.complex64)
    if x.shape != given.shape[1:]:
        raise ShapeError(f"image has shape {tuple(x.shape)}, the maps need (x, y, z) = {tuple(given.shape[1:])}.")
    deviation = np.asarray(noise, np.float64)
    if deviation.shape != (len(given),) or not (np.isfinite(deviation) & (deviation > 0)).all():
        raise DataError(
            f"noise must be a positive standard deviation for each of the {len(given)} coils, got {list(noise)}."
        )
    length = _length(given)
    x = x * length
    scale = math.sqrt(real_dot(x, x) / x.size)
    if not (math.isfinite(scale) and scale > 0):
        raise DataError(
            "The image must be finite, and not zero wherever there are maps, to say anything of them; give the "
            "reconstruction of this scan with these maps."
        )
    x /= np.float32(scale)

    through = CartesianEncoding(x[None], mask, readout_domain)  # of a map of length 1: its samples
    smooth = ComposedEncoding(through, SmoothFields(x.shape, len(given) ** -0.5, xp))
    fitted = xp.empty_like(given)
    for c, s in enumerate(deviation):
        d = _solved(smooth, smooth.adjoint(y[c : c + 1] / np.float32(scale)), float(s / scale) ** 2)
        fitted[c] = smooth.inner.forward(d) * (length > 0)
    fitted *= length / xp.maximum(_length(fitted), np.finfo(np.float32).tiny)
    return as_kind(fitted, maps)


def _length(maps: Any) -> Any:
    """Root sum of squares over coils, ``(x, y, z)``."""
    xp = get_array_module(maps)
    return xp.sqrt(sum(one.real**2 + one.imag**2 for one in maps))


def _solved(encoding: ComposedEncoding, b: Any, ridge: float) -> Any:
    """Solve ``(A^H A + ridge) d = b`` by conjugate gradients from zero (Hestenes, Stiefel 1952)."""
    d, r = b * 0, b.copy()
    p, energy = r.copy(), real_dot(b, b)
    least = TOLERANCE**2 * energy
    for _ in range(STEPS):
        if energy <= least:
            break
        q, curvature = encoding.normal_energy(p, ridge=ridge)
        before, energy = energy, cg_update(d, r, p, q, energy / curvature)
        cg_direction(p, r, energy / before)
    return d
