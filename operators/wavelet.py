"""Orthonormal 3D wavelet transform of complex volumes: Daubechies filters, periodic, any size.

References
----------
I. Daubechies, Ten Lectures on Wavelets, SIAM 1992, chapter 6 (the filters); S. Mallat, A Wavelet Tour of
Signal Processing, chapter 7 (the separable transform and its layout).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from mrrecon.errors import ShapeError
from mrrecon.operators.backend import as_array, as_kind, get_array_module, num_threads, writeable_view
from mrrecon.operators.parallel import run_ranges

__all__ = ["WaveletTransform", "daubechies"]

Triple = tuple[int, int, int]
WAVELETS = ("haar", *(f"db{n}" for n in range(1, 11)))
SMALL = 30_000  # voxels, below which threads cost more than they bring


@cache
def daubechies(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Low- and high-pass synthesis filters of the Daubechies wavelet `name`, with N vanishing moments.

    Parameters
    ----------
    name
        ``"haar"`` or ``"db1"`` to ``"db10"``.

    Returns
    -------
    low, high
        ``2 N`` taps each, ``float64``, with unit norm, orthogonal to their even shifts and to each other:
        ``rec_lo`` and ``rec_hi`` of PyWavelets.

    Raises
    ------
    ValueError
        If the wavelet is not known.
    """
    if name not in WAVELETS:
        raise ValueError(f"wavelet must be 'haar' or 'db1' to '{WAVELETS[-1]}', got {name!r}.")
    import pywt

    wavelet = pywt.Wavelet(name)
    return np.array(wavelet.rec_lo), np.array(wavelet.rec_hi)


class WaveletTransform:
    """Plan of an orthonormal separable wavelet transform of ``(x, y, z)`` volumes.

    Periodic, in the layout of Mallat: the coarsest approximation in the corner ``[0, 0, 0]``, detail bands
    outside. It is square and orthonormal for every size: an odd axis keeps its last entry as it is at that
    level, and an axis is split only as long as it is at least as long as the filter.

    Parameters
    ----------
    shape
        Volume ``(x, y, z)``.
    wavelet
        ``"haar"`` or ``"db1"`` to ``"db10"``.
    levels
        Largest number of decomposition levels.
    """

    def __init__(self, shape: Sequence[int], wavelet: str = "db2", levels: int = 4) -> None:
        if len(shape) != 3 or min(shape) < 1:
            raise ShapeError(f"shape must be three positive sizes (x, y, z), got {tuple(shape)}.")
        if levels < 1:
            raise ValueError(f"levels must be at least 1, got {levels}.")
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        self.wavelet = wavelet
        self._low, self._high = daubechies(wavelet)
        self._blocks: list[tuple[tuple[int, int, int], tuple[bool, bool, bool]]] = []  # per level: size, axes split
        block = self.shape
        for _ in range(levels):
            split = (block[0] >= self._low.size, block[1] >= self._low.size, block[2] >= self._low.size)
            if not any(split):
                break
            self._blocks.append((block, split))
            x, y, z = (n // 2 if s else n for n, s in zip(block, split, strict=True))
            block = (x, y, z)
        self.levels = len(self._blocks)
        self._exits = [self._axis_exits(axis) for axis in range(3)]

    def __repr__(self) -> str:
        return f"WaveletTransform({self.shape}, wavelet={self.wavelet!r}, levels={self.levels})"

    # ---- public --------------------------------------------------------------------------------------------

    def forward(self, volume: Any, shift: Sequence[int] = (0, 0, 0), out: Any = None) -> Any:
        """Return the coefficients of `volume` rotated by `shift`: those of ``roll(volume, -shift)``.

        Parameters
        ----------
        volume
            Complex ``(x, y, z)``; NumPy, CuPy or torch.
        shift
            Voxels along (x, y, z); costs nothing.
        out
            Array of the same kind for the result; must not be `volume`.
        """
        return self._apply(volume, shift, out, self._analyse, self._plain_analysis)

    def inverse(self, coefficients: Any, shift: Sequence[int] = (0, 0, 0), out: Any = None) -> Any:
        """Return the volume whose transform with `shift` is `coefficients` (also the adjoint).

        With `out` given, `coefficients` serves as work space and is overwritten.
        """
        if out is None:
            coefficients = as_kind(as_array(coefficients).copy(), coefficients)
        return self._apply(coefficients, shift, out, self._synthesise, self._plain_synthesis)

    def shrink(self, coefficients: Any, thresholds: float | Sequence[float]) -> Any:
        """Soft-threshold the moduli of the detail coefficients in place, and return them.

        Parameters
        ----------
        coefficients
            Complex ``(x, y, z)``, from :meth:`forward`.
        thresholds
            One for all detail bands, or one a level, finest first. The approximation is left alone.
        """
        table = np.zeros(self.levels + 2, np.float32)
        table[1 : self.levels + 1] = thresholds
        array = self._checked(coefficients)
        xp = get_array_module(array)
        if xp is not np or not array.flags.c_contiguous:
            t = xp.asarray(table)[self.level_map(xp)]
            size = xp.maximum(xp.abs(array), xp.maximum(t, np.finfo(np.float32).tiny))
            array *= 1 - t / size
            return coefficients
        from mrrecon.operators.kernels import wavelet_cpu

        exits_x, exits_y, exits_z = self._exits
        rows = np.zeros((self.levels + 2, 2, self.shape[2]), np.float32)
        for level in range(1, self.levels + 2):
            for detail in (0, 1):
                exit_z = np.minimum(exits_z[:, 0], level)
                is_detail = np.where(exits_z[:, 0] < level, 0, detail) | np.where(
                    exits_z[:, 0] <= level, exits_z[:, 1], 0
                )
                rows[level, detail] = np.where(is_detail, table[exit_z], 0)
        shrink = partial(wavelet_cpu.soft_threshold_rows, array.view(np.float32), exits_x, exits_y, rows)
        self._in_threads(self.shape[0], shrink)
        return coefficients

    def level_map(self, xp: Any = np) -> Any:
        """Return ``(x, y, z)`` integers: the level of each detail coefficient (1 is the finest), else 0."""
        ex, ey, ez = (xp.asarray(e) for e in self._exits)
        axes = (ex[:, None, None], ey[None, :, None], ez[None, None, :])
        level = xp.minimum(xp.minimum(axes[0][..., 0], axes[1][..., 0]), axes[2][..., 0])
        detail = sum((e[..., 0] == level) & (e[..., 1] == 1) for e in axes) > 0
        return xp.where(detail, level, 0)

    # ---- inside --------------------------------------------------------------------------------------------

    def _axis_exits(self, axis: int) -> np.ndarray:
        """For each index of `axis`: the level at which it leaves the low band; 1 if into a detail band."""
        exits = np.zeros((self.shape[axis], 2), np.int64)
        exits[:, 0] = self.levels + 1
        for level in range(self.levels, 0, -1):
            block, split = self._blocks[level - 1]
            if split[axis]:
                n, half = block[axis], block[axis] // 2
                exits[half:n, 0] = level
                exits[half:n, 1] = 0
                exits[half : 2 * half, 1] = 1
        return exits

    def _checked(self, volume: Any) -> Any:
        array = as_array(volume)
        if array.shape != self.shape:
            raise ShapeError(f"Wavelet: volume has shape {array.shape}, the plan expects (x, y, z) = {self.shape}.")
        return array

    def _apply(self, volume: Any, shift: Sequence[int], out: Any, fast: Callable, plain: Callable) -> Any:
        array = self._checked(volume)
        xp = get_array_module(array)
        target = xp.empty(self.shape, np.complex64) if out is None else self._checked(out)
        x, y, z = (int(s) % n for s, n in zip(shift, self.shape, strict=True))
        moves = (x, y, z)
        if xp is np:
            array = writeable_view(np.ascontiguousarray(array, np.complex64))
            if not target.flags.c_contiguous:
                raise ShapeError("Wavelet: out must be C-contiguous; allocate it with numpy.empty(shape, complex64).")
            fast(array, target, moves)
        else:
            plain(array, target, moves)
        return as_kind(target, volume) if out is None else out

    def _in_threads(self, n: int, part: Callable[[int, int], None]) -> None:
        """Run ``part(start, stop)`` over ``0:n`` in as many threads as there are cores."""
        run_ranges(n, part, num_threads() if np.prod(self.shape) > SMALL else 1)

    def _analyse(self, source: np.ndarray, target: np.ndarray, shift: Triple) -> None:
        from mrrecon.operators.kernels import wavelet_cpu as cpu

        filters = self._low.astype(np.float32), self._high.astype(np.float32)
        real = target.view(np.float32)
        if not self._blocks:
            target[...] = np.roll(source, tuple(-s for s in shift), (0, 1, 2))
        for block, split in self._blocks:
            self._in_threads(block[0], partial(cpu.analyse_planes, source, real, block, shift, split, *filters))
            if split[0]:
                self._in_threads(block[1], partial(cpu.analyse_columns, real, block, *filters))
            source, shift = target, (0, 0, 0)

    def _synthesise(self, work: np.ndarray, target: np.ndarray, shift: Triple) -> None:
        from mrrecon.operators.kernels import wavelet_cpu as cpu

        filters = self._low.astype(np.float32), self._high.astype(np.float32)
        real = work.view(np.float32)
        if not self._blocks:
            target[...] = np.roll(work, shift, (0, 1, 2))
        for level in range(self.levels, 0, -1):
            block, split = self._blocks[level - 1]
            if split[0]:
                self._in_threads(block[1], partial(cpu.synthesise_columns, real, block, *filters))
            into, moves = (target, shift) if level == 1 else (work, (0, 0, 0))
            self._in_threads(block[0], partial(cpu.synthesise_planes, real, into, block, moves, split, *filters))

    def _plain_analysis(self, source: Any, target: Any, shift: Triple) -> None:
        xp = get_array_module(source)
        target[...] = xp.roll(source, tuple(-s for s in shift), (0, 1, 2))
        for block, split in self._blocks:
            part = target[tuple(slice(n) for n in block)]
            for axis in range(3):
                if split[axis]:
                    self._plain_split(xp.moveaxis(part, axis, 0), xp)

    def _plain_synthesis(self, work: Any, target: Any, shift: Triple) -> None:
        xp = get_array_module(work)
        for block, split in reversed(self._blocks):
            part = work[tuple(slice(n) for n in block)]
            for axis in range(3):
                if split[axis]:
                    self._plain_merge(xp.moveaxis(part, axis, 0), xp)
        target[...] = xp.roll(work, shift, (0, 1, 2))

    def _plain_split(self, a: Any, xp: Any) -> None:
        """One level along the first axis, in place: the reference of the CPU kernels, and the GPU path."""
        half = a.shape[0] // 2
        taps = self._low.size
        before = taps // 2 - 1
        m = 2 * half
        wrapped = xp.take(a, xp.arange(-before, m + taps) % m, axis=0)
        low = sum(float(c) * wrapped[i : i + m : 2] for i, c in enumerate(self._low))
        high = sum(float(c) * wrapped[i : i + m : 2] for i, c in enumerate(self._high))
        a[:half] = low
        a[half:m] = high

    def _plain_merge(self, a: Any, xp: Any) -> None:
        """Transpose of :meth:`_plain_split`."""
        half = a.shape[0] // 2
        before = self._low.size // 2 - 1
        merged = xp.zeros((half, 2, *a.shape[1:]), a.dtype)
        for i, (c, d) in enumerate(zip(self._low, self._high, strict=True)):
            q, phase = divmod(i - before, 2)
            merged[:, phase] += xp.roll(float(c) * a[:half] + float(d) * a[half : 2 * half], q, axis=0)
        a[: 2 * half] = merged.reshape(2 * half, *a.shape[1:])
