"""The kernels of the encoding engine in plain array expressions, NumPy or CuPy: readable, the ones to compare
with.

All take whole arrays and the place of a slab in them: `maps` ``(sets, coils, x, y, z)``, `image` ``(sets, x,
y, z)``, `kspace` ``(coils, x, y, z)``; `buffer` is the slab ``(coils, x, y, z + padding)`` that starts at
coil `c` and plane `x`. `weights` and `mask` are ``(1, y, z)`` or ``(x, y, z)``. Where `shift` is true, the
halves of y and z are exchanged on the way, from centred order to FFT order (into the buffer) or back (out of
it).

One forward FFT serves both directions, since ``F^-1 v = conj(F conj(v)) / n``: kernels that prepare an
inverse transform write conjugates, and :func:`combine`, which follows it, takes them.
"""

from __future__ import annotations

from typing import Any

from mrrecon.operators.backend import get_array_module

__all__ = ["combine", "expand", "load", "store", "weigh"]

PLANE = (-2, -1)


def _planes(weights: Any, x: int, count: int) -> Any:
    return weights if weights.shape[0] == 1 else weights[x : x + count]


def expand(maps: Any, image: Any, buffer: Any, c: int, x: int, shift: bool) -> None:
    """Write coil images: ``buffer[c] = sum_s maps[s, c] image[s]``."""
    coils, planes = buffer.shape[:2]
    result = (maps[:, c : c + coils, x : x + planes] * image[:, None, x : x + planes]).sum(axis=0)
    buffer[..., : maps.shape[-1]] = get_array_module(buffer).fft.ifftshift(result, PLANE) if shift else result


def combine(maps: Any, buffer: Any, image: Any, c: int, x: int, shift: bool) -> None:
    """Combine ``v = conj(buffer)``: ``image[s] (+)= sum_c conj(maps[s, c]) v[c]``, adding unless c = 0."""
    coils, planes = buffer.shape[:2]
    source = buffer[..., : maps.shape[-1]]
    if shift:
        source = get_array_module(buffer).fft.fftshift(source, PLANE)
    result = (maps[:, c : c + coils, x : x + planes] * source[None]).sum(axis=1).conj()
    if c == 0:
        image[:, x : x + planes] = result
    else:
        image[:, x : x + planes] += result


def weigh(buffer: Any, weights: Any, x: int) -> None:
    """Conjugate the slab and multiply it by real weights in FFT order: the mask and the scale of the FFTs."""
    slab = buffer[..., : weights.shape[-1]]
    slab[...] = slab.conj() * _planes(weights, x, slab.shape[1])


def store(buffer: Any, mask: Any, kspace: Any, c: int, x: int, scale: float) -> None:
    """Write the slab to centred k-space, scaled, zero where the mask is false."""
    coils, planes = buffer.shape[:2]
    xp = get_array_module(buffer)
    kept = xp.fft.fftshift(buffer[..., : mask.shape[-1]], PLANE) * xp.float32(scale)
    kspace[c : c + coils, x : x + planes] = xp.where(_planes(mask, x, planes), kept, xp.complex64(0))


def load(kspace: Any, mask: Any, buffer: Any, c: int, x: int, scale: float) -> None:
    """Read the slab from centred k-space, scaled, zero where the mask is false, conjugated."""
    coils, planes = buffer.shape[:2]
    xp = get_array_module(buffer)
    kept = kspace[c : c + coils, x : x + planes].conj() * xp.float32(scale)
    kept = xp.where(_planes(mask, x, planes), kept, xp.complex64(0))
    buffer[..., : mask.shape[-1]] = xp.fft.ifftshift(kept, PLANE)
