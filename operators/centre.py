"""Where k-space has its centre: the peak of its low-resolution energy; and the arithmetic of windows around it.

Files and scanners put it at index n // 2 of every axis, at 0, or elsewhere: an asymmetric echo, partial Fourier whose
header names a wrong line, a gradient delay. Whatever needs the centre asks here, so that there is one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import numpy as np

from mrrecon.errors import ShapeError
from mrrecon.operators.backend import get_array_module, to_numpy
from mrrecon.operators.coils import view_or_lazy

__all__ = [
    "KspaceCentre",
    "around",
    "crop_or_pad",
    "from_centre",
    "hann_windowed",
    "kspace_centre",
    "largest_near",
    "wrapped",
]

SHORT = 8  # an axis of fewer samples is taken as centred
TOLERANCE = 1  # samples: so far does the phase of a real object move the peak, at no cost (see docs/design.md)
CLEAR = 4.0  # energy of the peak over the median, below which there is no peak (noise has less than 3)
TRUST = 2.0  # energy of a sample over the largest beside it that is believed: more is a spike
REACH = 2  # samples beside it that are asked
PLANES = 16  # positions along x that are looked at first
BROAD = 0.2  # share of an axis over which the energy is spread in the image domain, and never in k-space
SAMPLES = 8  # a peak is not broad before it is this many samples wide
NEAR = 8  # half width in (y, z) of the lines that tell where the peak lies along x
TRIANGLE = {-2: 1 / 9, -1: 2 / 9, 0: 3 / 9, 1: 2 / 9, 2: 1 / 9}
COHERENT = 0.3  # of neighbouring x positions in the image domain, below which they have no common phase slope


@dataclass(frozen=True)
class KspaceCentre:
    """Centre of k-space.

    Parameters
    ----------
    index
        Sample along (x, y, z); ``n // 2`` where nothing else can be told. Of an axis in the image domain: the sample
        that its transform would have there.
    clear
        Along which axes the energy has a peak at all: none in noise, none along a short axis.
    sharp
        Along which axes the peak is as narrow as in k-space; an axis in the image domain has a broad one.
    """

    index: tuple[int, int, int]
    clear: tuple[bool, bool, bool]
    sharp: tuple[bool, bool, bool]


def kspace_centre(
    kspace: Any,
    mask: Any = None,
    readout_domain: Literal["kspace", "image"] = "kspace",
    *,
    axes: Sequence[int] = (0, 1, 2),
) -> KspaceCentre:
    """Locate the centre of k-space: the peak of the energy over all coils, smoothed over five samples.

    Parameters
    ----------
    kspace
        ``(coils, x, y, z)``; NumPy, CuPy, torch, or an array on disk, of which at most some 40 planes are read.
    mask
        Sampled positions, ``(y, z)`` or ``(x, y, z)``; by default those where the k-space is not zero.
    readout_domain
        Domain of axis x. From the image domain, the phase slope along x tells where the centre of its transform lies.
    axes
        Axes to look along, 0 to 2; the others are taken as centred (the slices of a 2D scan, for example).

    Returns
    -------
    KspaceCentre
        An index not more than one sample from ``n // 2`` is given as ``n // 2``.

    Raises
    ------
    ShapeError
        If the mask does not fit.

    Notes
    -----
    Every coil counts in units of its own median energy, so that a noisy one does not drown the others. A sample of more
    than twice the largest energy beside it, along y or along z, counts with twice that: neither a spike
    nor a bad line (along any axis) makes a peak, while the centre of k-space always has strong neighbours. In
    partly sampled data the centre is looked for where samples lie side by side.
    """
    data = view_or_lazy(kspace)
    if len(data.shape) != 4:
        raise ShapeError(f"kspace must have the axes (coils, x, y, z), got shape {tuple(data.shape)}.")
    shape = (int(data.shape[1]), int(data.shape[2]), int(data.shape[3]))
    middle = (shape[0] // 2, shape[1] // 2, shape[2] // 2)
    energies = _Energies(data, None if mask is None else to_numpy(mask).astype(bool), shape)
    hybrid = readout_domain == "image"
    coarse = _spread(shape[0], PLANES // 2 if hybrid else PLANES)  # in pairs of neighbours, if hybrid
    at, clear, sharp = _plane_peak(energies(coarse), middle[1:])
    found_x = (middle[0], False, True)
    if 0 in axes and shape[0] >= SHORT:
        find = _phase_slope if hybrid else _line_peak
        found_x = find(energies, coarse, at)
        if not hybrid:
            beside = [(found_x[0] + d) % shape[0] for d in (-1, 0, 1)]
            at, clear, sharp = _plane_peak(energies(beside), middle[1:])
    index = [found_x[0], *at]
    is_clear, is_sharp = [found_x[1], *clear], [found_x[2], *sharp]
    for axis, n in enumerate(shape):
        looked = axis in axes and n >= SHORT
        is_clear[axis], is_sharp[axis] = is_clear[axis] and looked, is_sharp[axis] or not looked
        if not is_clear[axis] or abs(index[axis] - middle[axis]) <= TOLERANCE:
            index[axis] = middle[axis]
    return KspaceCentre(
        (index[0], index[1], index[2]), (is_clear[0], is_clear[1], is_clear[2]), (is_sharp[0], is_sharp[1], is_sharp[2])
    )


class _Energies:
    """Energy over the coils of planes ``(y, z)``, each read once, and which of their samples were taken."""

    def __init__(self, data: Any, mask: np.ndarray | None, shape: tuple[int, int, int]) -> None:
        if mask is not None and mask.shape not in (shape, shape[1:]):
            raise ShapeError(f"mask has shape {mask.shape}, expected (y, z) = {shape[1:]} or (x, y, z) = {shape}.")
        self.data, self.mask, self.shape = data, mask, shape
        self.weights = np.zeros(0)
        self.known: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.kept: dict[int, np.ndarray] = {}

    def __call__(self, xs: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Energies and samples taken, both ``(len(xs), y, z)``."""
        self._read([x for x in xs if x not in self.known])
        return tuple(np.stack([self.known[x][i] for x in xs]) for i in (0, 1))  # type: ignore[return-value]

    def plane(self, x: int) -> np.ndarray:
        """Samples ``(coils, y, z)`` at one x, each coil in units of its median magnitude."""
        kept = self.kept.get(x)
        plane = to_numpy(self.data[:, x : x + 1])[:, 0] if kept is None else kept
        return plane.astype(np.complex128) * np.sqrt(self.weights)[:, None, None]

    def _read(self, xs: Sequence[int]) -> None:
        at_once = getattr(self.data, "planes_at", None)  # where each plane needs the whole file
        found = at_once(xs).swapaxes(0, 1) if at_once and xs else [self.data[:, x : x + 1][:, 0] for x in xs]
        self.kept.update(zip(xs, found, strict=True) if at_once else ())
        taken = [self._taken(x, plane) for x, plane in zip(xs, found, strict=True)]
        samples = [_energy(to_numpy(plane[:, where])) for plane, where in zip(found, taken, strict=True)]
        if not self.weights.size:
            self.weights = np.array([_inverse_median(np.concatenate(coil)) for coil in zip(*samples, strict=True)])
        for x, where, energies in zip(xs, taken, samples, strict=True):
            energy = np.zeros(where.shape)
            energy[where] = np.nan_to_num(self.weights @ energies, posinf=0.0)
            self.known[x] = energy, where

    def _taken(self, x: int, plane: Any) -> np.ndarray:
        """Samples ``(y, z)`` of a plane ``(coils, y, z)`` that were taken."""
        if self.mask is None:
            return to_numpy((plane != 0).any(axis=0))
        return self.mask if self.mask.ndim == 2 else self.mask[x]


def _energy(samples: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return samples.real.astype(np.float64) ** 2 + samples.imag.astype(np.float64) ** 2


def _inverse_median(energies: np.ndarray) -> float:
    values = energies[energies > 0]
    return 1.0 / float(np.median(values)) if values.size else 0.0


def _spread(n: int, count: int) -> list[int]:
    """Positions spread evenly over an axis, n // 2 among them."""
    step = max(1, n // count)
    return sorted({(n // 2 + i * step) % n for i in range(-(-n // step))})


def _believable(energy: np.ndarray) -> np.ndarray:
    """Energies ``(..., y, z)``, no sample above TRUST times the largest beside it along y, and along z."""
    trusted = energy
    for axis in (-2, -1):
        if energy.shape[axis] >= SHORT:
            across = -3 - axis
            largest = energy
            if energy.shape[across] >= SHORT:
                largest = largest_near(energy, across, range(-REACH, REACH + 1))
            beside = largest_near(largest, axis, [d for d in range(-REACH, REACH + 1) if d])
            trusted = np.minimum(trusted, TRUST * beside)
    return trusted


def largest_near(values: np.ndarray, axis: int, shifts: Iterable[int]) -> np.ndarray:
    """Largest of the values that lie so many samples away along an axis, circular."""
    return reduce(np.maximum, (np.roll(values, shift, axis) for shift in shifts))


def _smooth(values: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Triangular moving mean over five samples, circular: zero frequency may lie at index 0."""
    for axis in axes:
        if values.shape[axis] >= SHORT:
            values = np.asarray(sum(weight * np.roll(values, shift, axis) for shift, weight in TRIANGLE.items()))
    return values


def _plane_peak(
    planes: tuple[np.ndarray, np.ndarray], middle: tuple[int, int]
) -> tuple[tuple[int, int], tuple[bool, bool], tuple[bool, bool]]:
    """Peak along (y, z), and along which of the two it is clear and sharp."""
    energy = _believable(planes[0]).sum(axis=0)
    density = planes[1].mean(axis=0)
    smooth = _smooth(energy, (0, 1)) / np.maximum(_smooth(density, (0, 1)), 0.5)
    sampled = smooth[density > 0]
    if not sampled.size or not smooth.max() > CLEAR * np.median(sampled):
        return middle, (False, False), (True, True)
    at = tuple(int(i) for i in np.unravel_index(smooth.argmax(), smooth.shape))
    lines = [_about(energy, 1 - axis, at[1 - axis], REACH).sum(axis=1 - axis) for axis in (0, 1)]
    sharp = tuple(_is_sharp(line, 1) for line in lines)
    return (at[0], at[1]), (True, True), (sharp[0], sharp[1])


def _about(values: np.ndarray, axis: int, index: int, reach: int) -> np.ndarray:
    """Samples within `reach` of `index` along an axis, circular; all of a shorter one."""
    n = values.shape[axis]
    return np.take(values, wrapped(around(index, 2 * reach + 1, n), n), axis)


def _around(values: np.ndarray, at: tuple[int, int], reach: int) -> np.ndarray:
    """Samples ``(..., y, z)`` within `reach` of `at` along y and z."""
    return _about(_about(values, -2, at[0], reach), -1, at[1], reach)


def _is_sharp(profile: np.ndarray, step: int) -> bool:
    """Whether the energy along an axis, taken every `step` samples, is concentrated as in k-space."""
    above = np.maximum(profile - np.median(profile), 0)
    width = step * above.sum() ** 2 / max(float((above**2).sum()), np.finfo(np.float64).tiny)
    return bool(width <= max(SAMPLES, BROAD * step * profile.size))


def _line_peak(energies: _Energies, coarse: Sequence[int], at: tuple[int, int]) -> tuple[int, bool, bool]:
    """Peak along x in k-space, found on ever finer positions; whether it is clear and sharp."""
    n = energies.shape[0]

    def level(xs: Sequence[int]) -> np.ndarray:
        energy, taken = energies(xs)
        near = _believable(_around(energy, at, NEAR + REACH)), _around(taken, at, NEAR + REACH)
        inside = [slice(REACH, -REACH) if n > 2 * (NEAR + REACH) + 1 else slice(None) for n in energy.shape[1:]]
        total, count = (part[:, inside[0], inside[1]].sum(axis=(1, 2)) for part in near)
        return np.asarray(total / np.maximum(count, 1))

    first = level(coarse)
    best = coarse[int(first.argmax())]
    step = coarse[1] - coarse[0] if len(coarse) > 1 else 1
    clear = bool(first.max() > CLEAR * np.median(first))
    sharp = _is_sharp(first, step)
    best = _refined(level, best, step, n)
    return best, clear, sharp


def _refined(level: Callable[[Sequence[int]], np.ndarray], best: int, step: int, n: int) -> int:
    """Go from steps of `step` to steps of one around the best so far, smoothed at the end."""
    while step > 1:
        finer = max(1, step // 4)
        xs = [(best + d) % n for d in range(-step, step + 1, finer)]
        best, step = xs[int(level(xs).argmax())], finer
    xs = [(best + d) % n for d in range(-2 * REACH, 2 * REACH + 1)]
    smooth = np.convolve(level(xs), [1, 2, 3, 2, 1], mode="valid")
    return xs[REACH + int(smooth.argmax())]


def _phase_slope(energies: _Energies, coarse: Sequence[int], at: tuple[int, int]) -> tuple[int, bool, bool]:
    """Centre of the transform along x of data in the image domain: their mean phase from one x to the next."""
    n = energies.shape[0]
    total, size = 0j, 0.0
    energies([(x + 1) % n for x in coarse])  # together, which may be one pass over a file
    for x in coarse:
        here, there = (_believable_samples(energies, i % n, at) for i in (x, x + 1))
        total += complex(np.vdot(here, there))
        size += float(np.linalg.norm(here) * np.linalg.norm(there))
    offset = round(np.angle(total) * n / (2 * np.pi))
    return (n // 2 + offset) % n, abs(total) > COHERENT * size > 0, True


def _believable_samples(energies: _Energies, x: int, at: tuple[int, int]) -> np.ndarray:
    """Samples of all coils around `at`, each scaled to the energy that is believed."""
    energy = energies([x])[0][0]
    gain = np.sqrt(_believable(energy) / np.maximum(energy, np.finfo(np.float64).tiny))
    plane = energies.plane(x) * gain
    return _around(plane, at, REACH)


# ---- arithmetic of the centre ------------------------------------------------------------------------------


def from_centre(n: int) -> np.ndarray:
    """Indices of an axis of n samples counted from its centre, ``n // 2``."""
    return np.arange(n) - n // 2


def around(centre: int, width: int, n: int) -> range:
    """Indices of a window of an axis of n samples, modulo n: not wider than that, the centre in its middle."""
    width = min(width, n)
    return range(centre - width // 2, centre - width // 2 + width)


def wrapped(block: range, n: int) -> np.ndarray:
    """Indices of a block that may reach over the ends of an axis of n samples."""
    return np.arange(block.start, block.stop) % n


def crop_or_pad(array: Any, shape: Sequence[int]) -> Any:
    """Crop or zero-pad the last axes of a NumPy or CuPy array to this shape, index ``n // 2`` staying the centre."""
    before = array.shape[array.ndim - len(shape) :]
    taken, inside = [], []
    for old, new in zip(before, shape, strict=True):
        n = min(old, new)
        taken.append(slice(old // 2 - n // 2, old // 2 - n // 2 + n))
        inside.append(slice(new // 2 - n // 2, new // 2 - n // 2 + n))
    cropped = array[(..., *taken)]
    if cropped.shape[array.ndim - len(shape) :] == tuple(shape):
        return cropped
    result = get_array_module(array).zeros((*array.shape[: array.ndim - len(shape)], *shape), dtype=array.dtype)
    result[(..., *inside)] = cropped
    return result


def hann_windowed(block: Any) -> Any:
    """Block of k-space ``(coils, lx, ly, lz)``, its centre in the middle, times a Hann window along (x, y, z)."""
    xp = get_array_module(block)
    for axis, n in enumerate(block.shape[1:], start=1):
        window = np.hanning(n + 2)[1:-1] if n > 2 else np.ones(n)
        block = block * xp.asarray(window.reshape([-1 if i == axis else 1 for i in range(4)]), dtype=np.float32)
    return block
