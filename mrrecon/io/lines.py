"""Lines of a stored array through its strongest samples: is an axis in k-space, in the image domain, or neither?"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

__all__ = ["AxisKind", "Lines", "energy_of"]

AxisKind = Literal["kspace", "image"] | None
SHORT = 8  # an axis of fewer samples cannot be told
KSPACE, IMAGE = 2.0, 0.4  # samples that hold the energy after a transform over those before: above, below (see axes.py)
CERTAIN_IMAGE = 0.25  # below which an axis that ought to be in k-space is not
NEAR = 4  # half width of the lines around the strongest sample
PART = 1 << 17  # samples looked at in one go: in the cache


class Lines:
    """Lines of an array through its strongest samples, along each axis; what they say."""

    def __init__(self, stored: Any) -> None:
        self.stored, self.shape = stored, tuple(int(n) for n in stored.shape)
        self._read: dict[int, np.ndarray] = {}
        self.peak = self._strongest()
        slow = self._slow()
        along = self.energy(self.lines(slow))
        if np.isfinite(along).all() and along.any():
            self.peak[slow] = int(along.argmax())
            self._read = {slow: self._read[slow]}

    def _slow(self) -> int:
        """Axis along which neighbours lie farthest apart in the file."""
        flags = getattr(self.stored, "flags", None)
        return len(self.shape) - 1 if flags is not None and flags.f_contiguous and not flags.c_contiguous else 0

    def _strongest(self) -> list[int]:
        """Where the energy peaks along each axis but the slow one, from some planes across that."""
        slow, n = self._slow(), self.shape[self._slow()]
        profiles = [np.zeros(size) for size in self.shape]
        wanted = {0, n - 1, n // 2, max(0, n // 2 - 1), *np.linspace(0, n - 1, 6).astype(int).tolist()}
        rest = [axis for axis in range(len(self.shape)) if axis != slow]
        longest = rest[0] if slow == 0 else rest[-1]
        step = max(1, PART * self.shape[longest] // max(1, int(np.prod([self.shape[a] for a in rest]))))
        work = np.empty((2, PART), np.float64)
        for at in sorted(wanted):
            for start in range(0, self.shape[longest], step):
                index: list[Any] = [slice(None)] * len(self.shape)
                index[slow], index[longest] = slice(at, at + 1), slice(start, start + step)
                energy = energy_of(np.asarray(self.stored[tuple(index)]), work)
                for axis in range(len(self.shape)):
                    part = energy.sum(axis=tuple(a for a in range(energy.ndim) if a != axis))
                    where = {slow: slice(at, at + 1), longest: slice(start, start + step)}.get(axis, slice(None))
                    profiles[axis][where] += part
        return [int(profile.argmax()) for profile in profiles]

    def window(self, axis: int) -> slice:
        """Positions along an axis near the strongest sample."""
        return slice(max(0, self.peak[axis] - NEAR), self.peak[axis] + NEAR + 1)

    def lines(self, axis: int) -> np.ndarray:
        """``(n, lines)``: whole lines along `axis` near the strongest sample."""
        if axis not in self._read:
            index = tuple(slice(None) if a == axis else self.window(a) for a in range(len(self.shape)))
            part = np.asarray(self.stored[index]).astype(np.complex128)
            self._read[axis] = np.moveaxis(part, axis, 0).reshape(self.shape[axis], -1)
        return self._read[axis]

    @staticmethod
    def energy(lines: np.ndarray) -> np.ndarray:
        """Energy ``(n,)`` of lines ``(n, lines)``."""
        return np.asarray(energy_of(lines).sum(axis=1))

    def ratio(self, axis: int) -> float:
        """Samples that hold the energy after a transform along the axis, over those before; 1 where nothing is."""
        lines = self.lines(axis)
        level = np.sqrt(energy_of(lines).sum(axis=0))
        lines = lines[:, level > 0] / np.sqrt(level[level > 0])  # strong lines count more, but do not decide alone
        if not lines.size or not np.isfinite(lines).all():
            return 1.0
        return _spread(self.energy(np.fft.fft(lines, axis=0))) / _spread(self.energy(lines))

    def kind(self, axis: int) -> AxisKind:
        """Domain of an axis, ``None`` where its samples do not tell."""
        if self.shape[axis] < SHORT:
            return None
        ratio = self.ratio(axis)
        return "kspace" if ratio > KSPACE else "image" if ratio < IMAGE else None

    def certainly_image(self, axis: int) -> bool:
        """Whether an axis that ought to be in k-space is not, beyond doubt."""
        return self.shape[axis] >= SHORT and self.ratio(axis) < CERTAIN_IMAGE

    def is_peak(self, axis: int) -> bool:
        """Whether the energy falls on both sides of zero frequency, in the middle or at index 0, as of no coils."""
        n, profile = self.shape[axis], self.energy(self.lines(axis))
        at = int(profile.argmax())
        if n < 2 * SHORT or min(abs(at - n // 2), at, n - at) > max(1, n // 12):
            return False
        rings = np.split(np.arange(1, n // 2), [2, 2 + n // 8])
        sides = [[profile[(at + sign * ring) % n].mean() for ring in rings] for sign in (1, -1)]
        return bool((np.diff(sides) < 0).all())


def energy_of(part: np.ndarray, work: np.ndarray | None = None) -> np.ndarray:
    """Squared magnitude in double precision; what does not fit is Inf.

    `work`, ``(2, part.size)`` or longer, is memory for the result, which costs as much to get as the squares do.
    """
    work = np.empty((2, part.size)) if work is None or work.shape[1] < part.size else work
    order: Literal["C", "F"] = "F" if part.flags.f_contiguous else "C"
    energy, imaginary = (one[: part.size].reshape(part.shape, order=order) for one in work)
    with np.errstate(over="ignore", invalid="ignore"):
        np.multiply(part.real, part.real, out=energy, dtype=np.float64)
        np.multiply(part.imag, part.imag, out=imaginary, dtype=np.float64)
        return np.add(energy, imaginary, out=energy)


def _spread(energy: np.ndarray) -> float:
    """Number of samples that hold the energy: its participation number."""
    share = energy / energy.sum()
    return float(1.0 / (share**2).sum())
