"""Which axis of stored k-space is which, and in which domain: what the file promises, verified on the samples.

K-space is concentrated along an axis and its Fourier transform is spread out; of an image it is the other way round;
of coils neither is much narrower. So the number of samples that hold the energy, before and after a transform along an
axis, tells what the axis is. It is measured on lines through the strongest samples, where there is most signal.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrrecon.errors import DataError, FileFormatError
from mrrecon.io.centring import is_wrapped
from mrrecon.io.file_arrays import FileArray, along, in_order
from mrrecon.io.lines import SHORT, AxisKind, Lines, energy_of
from mrrecon.lazy import LazyPlanes, RolledKspace
from mrrecon.operators.calibration_data import calibration_region

__all__ = ["AxisLayout", "find_layout"]

NAMES = {"x": "x", "y": "y", "z": "z", "c": "coils"}
FEWER_COILS = 1.5  # times as many samples an axis has at least, beside which another can only be that of the coils
MANY_COILS = 64  # more that look like k-space are no coils
WRAPPED, WRAPPED_CENTRED = 0.2, 0.02  # energy in the middle: in FFT order, and where nothing else speaks for a shift
WRAPPED_TOO = 0.9  # where another axis is


@dataclass(frozen=True)
class AxisLayout:
    """What the axes of a stored array are.

    Parameters
    ----------
    axes
        A letter for each axis in the order of the file: ``c`` for coils, ``x``, ``y``, ``z``.
    hybrid
        Whether x is in the image domain.
    roll
        Which of (x, y, z) are in FFT order, zero frequency at index 0.
    chop
        Which of (x, y, z) carry a factor (-1)^k, so that the image is shifted by half the field of view.
    kinds
        What the samples say each of the stored axes is in, ``None`` where they say nothing.
    """

    axes: str
    hybrid: bool
    roll: tuple[bool, bool, bool] = (False, False, False)
    chop: tuple[bool, bool, bool] = (False, False, False)
    kinds: tuple[AxisKind, ...] = ()

    @property
    def order(self) -> tuple[int | None, ...]:
        """For each of (coils, x, y, z) the stored axis, ``None`` for one that is missing."""
        return tuple(self.axes.index(letter) if letter in self.axes else None for letter in "cxyz")

    def centred(self, stored: FileArray) -> LazyPlanes:
        """The array ``(coils, x, y, z)`` with zero frequency of every axis at n // 2."""
        x, y, z = (n // 2 if roll else 0 for n, roll in zip(stored.shape[1:], self.roll, strict=True))
        return RolledKspace(stored, (x, y, z), hybrid=False) if any(self.roll) else stored

    def shape(self, stored: Sequence[int]) -> tuple[int, int, int, int]:
        """Sizes (coils, x, y, z) of an array stored with the sizes `stored`."""
        coils, x, y, z = (1 if axis is None else int(stored[axis]) for axis in self.order)
        return coils, x, y, z


def find_layout(
    stored: Any,
    expected: str,
    path: Path,
    *,
    hybrid_expected: bool = False,
    axes: str | None = None,
    hybrid: bool | None = None,
    recentre: bool = True,
) -> AxisLayout:
    """Verify on the samples that stored k-space has the axes that its format promises, or find out which it has.

    What differs from the promise and can only be one thing is taken as that, with a warning.

    Parameters
    ----------
    stored
        Complex array on disk (memory map or HDF5 dataset); a few planes and lines of it are read.
    expected
        Letters that the format promises, as in :class:`AxisLayout`.
    path
        For messages.
    hybrid_expected
        Whether the format promises x in the image domain.
    axes, hybrid
        What the user says about the letters, and about the domain of x; not put into question.
    recentre
        Find FFT order and half-field-of-view shifts.

    Raises
    ------
    FileFormatError
        If `axes` does not fit the array, or the axes are not those promised and it is not clear what they are.
    DataError
        If y or z is in the image domain.
    """
    shape = tuple(int(n) for n in stored.shape)
    if axes is not None:
        _check_letters(axes, shape, path)
    lines = Lines(stored)
    kinds = tuple(lines.kind(axis) for axis in range(len(shape)))
    letters = axes or _settle(expected, lines, kinds, path)
    x = letters.find("x")
    found = None if x < 0 else kinds[x]
    is_hybrid = _domain(found, x, shape, hybrid_expected, hybrid, letters, kinds, path)
    _refuse_images(letters, lines, kinds, path, given=axes is not None and hybrid is not None)
    layout = AxisLayout(letters, is_hybrid, kinds=kinds)
    return _centring(layout, lines, path) if recentre else layout


def _check_letters(axes: str, shape: tuple[int, ...], path: Path) -> None:
    right = len(set(axes)) == len(axes) == len(shape) and set("yz") <= set(axes) <= set("cxyz")
    if not right:
        raise FileFormatError(
            f"{path}: axes={axes!r} does not name the {len(shape)} axes of an array of shape {shape}; give a letter "
            "for each in the order of the file, c for coils and x, y, z (x the readout), as in 'xyzc'."
        )


def _spell(letters: str, shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(f"{NAMES[letter]}: {n}" for letter, n in zip(letters, shape, strict=True)) + ")"


def _settle(expected: str, lines: Lines, kinds: tuple[AxisKind, ...], path: Path) -> str:
    """Letters of the axes: those expected, unless the samples contradict them and leave one other reading."""
    shape = lines.shape
    coil = expected.find("c")
    wrong = coil >= 0 and kinds[coil] == "kspace" and (lines.is_peak(coil) or shape[coil] > MANY_COILS)
    x = expected.find("x")
    elsewhere = x >= 0 and kinds[x] == "kspace"  # there is an axis that could take its place
    for axis in (expected.index(letter) for letter in "yz"):
        wrong = wrong or ("kspace" in kinds and kinds[axis] == "image" and (elsewhere or lines.certainly_image(axis)))
    one_coil = coil >= 0 and len(shape) == 3 and (all(k == "kspace" for k in kinds) or _is_volume(kinds, coil, shape))
    if not wrong and not one_coil:
        _doubt(expected, kinds, shape, path)
        return expected
    found = "xyz" if one_coil else _other_reading(lines, kinds)
    if found is None:
        raise FileFormatError(
            f"{path}: the array of shape {shape} should have the axes {_spell(expected, shape)}, but its samples say "
            f"{_say(kinds)}; give a letter for each axis in the order of the file, c for coils and x, y, z (x the "
            "readout), as in axes='xyzc'."
        )
    if found != expected:
        warnings.warn(
            f"{path}: the axes are not {_spell(expected, shape)} by the samples; they are read as "
            f"{_spell(found, shape)}, axes={found!r} (or another order) says it.",
            stacklevel=2,
        )
    return found


def _is_volume(kinds: tuple[AxisKind, ...], coil: int, shape: tuple[int, ...]) -> bool:
    """Whether what should be coils are more positions in the image domain than there are coils."""
    return kinds[coil] == "image" and shape[coil] > MANY_COILS


def _doubt(letters: str, kinds: tuple[AxisKind, ...], shape: tuple[int, ...], path: Path) -> None:
    """Say where axes look as if they were others, which coils that are in phase do too."""
    coil, x = letters.find("c"), letters.find("x")
    if coil < 0 or kinds[coil] != "image" or (x >= 0 and (kinds[x] is not None or shape[x] == 1)):
        return
    instead = "xyz" if x < 0 else letters.translate(str.maketrans("cx", "xc"))
    warnings.warn(
        f"{path}: axis {coil}, read as that of the coils, looks like slices or another axis of an image; if it is, "
        f"axes={instead!r} says so.",
        stacklevel=2,
    )


def _other_reading(lines: Lines, kinds: tuple[AxisKind, ...]) -> str | None:
    """Letters of the axes that the samples leave as the only possible ones, or ``None``."""
    inside = [axis for axis, kind in enumerate(kinds) if kind == "kspace"]
    images = [axis for axis, kind in enumerate(kinds) if kind == "image"]
    others = [axis for axis in range(len(kinds)) if axis not in inside]
    if len(kinds) == 3:
        return ("cyz", "ycz", "yzc")[others[0]] if len(others) == 1 else None
    if len(inside) + len(images) == 4 and len(images) < 2:  # coils of which one is strong look like k-space
        found = _least_like_kspace(lines, inside)
        if found is None:
            return None
        inside.remove(found)
        others.append(found)
    letters = [""] * 4
    if len(inside) == 3:
        names = "xyz"
    elif len(inside) == 2 and len(images) == 1:
        names = "yz"
        letters[images[0]] = "x"
        others.remove(images[0])
    else:
        return None
    letters[others[0]] = "c"
    for axis, letter in zip(inside, names, strict=True):
        letters[axis] = letter
    return "".join(letters)


def _least_like_kspace(lines: Lines, axes: list[int]) -> int | None:
    """The one of these axes that may be the coils after all: without the peak of k-space, or clearly the shortest."""
    flat = [axis for axis in axes if not lines.is_peak(axis)]
    if len(flat) == 1:
        return flat[0]
    first, second, *_ = sorted(axes, key=lambda axis: lines.shape[axis])
    return first if FEWER_COILS * lines.shape[first] <= lines.shape[second] else None


def _say(kinds: tuple[AxisKind, ...]) -> str:
    words = {"kspace": "k-space", "image": "image", None: "neither"}
    return ", ".join(f"axis {axis} {words[kind]}" for axis, kind in enumerate(kinds))


def _domain(
    found: AxisKind,
    x: int,
    shape: tuple[int, ...],
    expected: bool,
    given: bool | None,
    letters: str,
    kinds: tuple[AxisKind, ...],
    path: Path,
) -> bool:
    """Whether x is in the image domain, by the user's word, else by the samples, else as the format has it."""
    if x < 0 or shape[x] == 1:
        return True if given is None else given
    says = None if found is None else found == "image"
    domain = {True: "the image domain", False: "k-space"}
    if given is not None:
        if says is not None and says != given:
            warnings.warn(
                f"{path}: x is taken to be in {domain[given]}, as hybrid={given} says, but its samples look like "
                f"{domain[says]}.",
                stacklevel=2,
            )
        return given
    known = any(kinds[letters.index(letter)] == "kspace" for letter in "yz")
    if says is not None and says != expected and known:
        warnings.warn(
            f"{path}: x ({shape[x]} samples) is read as being in {domain[says]}, as its samples show; the format has "
            f"it in {domain[expected]}, which hybrid={expected} says.",
            stacklevel=2,
        )
        return says
    coil = letters.find("c")
    coils = 1 if coil < 0 else shape[coil]
    if says is None and known and not expected and (coils == 1 or shape[x] >= 3 * SHORT):
        warnings.warn(
            f"{path}: the samples do not show whether x ({shape[x]} samples) is in k-space; it is read so, "
            "hybrid=True says that it is in the image domain"
            + (f", axes={letters.replace('c', '').replace('x', 'c')!r} that it is the coils." if coils == 1 else "."),
            stacklevel=2,
        )
    return expected


def _refuse_images(letters: str, lines: Lines, kinds: tuple[AxisKind, ...], path: Path, *, given: bool) -> None:
    images = [letter for letter in "yz" if kinds[letters.index(letter)] == "image"]
    if given or not images:
        return
    what = (
        f"{path}: {' and '.join(images)} of the array {_spell(letters, lines.shape)} "
        f"{'are' if len(images) > 1 else 'is'} in the image domain by "
        f"{'their' if len(images) > 1 else 'its'} samples"
    )
    if any(lines.certainly_image(letters.index(letter)) for letter in images):
        raise DataError(
            f"{what}, so that this is no k-space; transform it (mrrecon.operators.fft), or if that is wrong, give axes "
            "and hybrid explicitly."
        )
    warnings.warn(f"{what}, though not clearly; axes and hybrid say what is what.", stacklevel=2)


# ---- zero frequency at index 0, and the image shifted by half the field of view ---------------------------


def _centring(layout: AxisLayout, lines: Lines, path: Path) -> AxisLayout:
    inside = "yz" if layout.hybrid else "xyz"
    where: dict[str, bool | None] = dict.fromkeys("xyz")
    for letter in inside:
        axis = layout.axes.find(letter)
        if axis >= 0 and layout.kinds[axis] == "kspace":
            where[letter] = _in_fft_order(lines.energy(lines.lines(axis)))
    if True in where.values() and False not in where.values():  # so are the axes too short to tell
        for letter in inside:
            axis = layout.axes.find(letter)
            if axis >= 0 and where[letter] is None and lines.shape[axis] > 1:
                where[letter] = lines.peak[axis] < lines.shape[axis] // 4
    roll = (bool(where["x"]), bool(where["y"]), bool(where["z"]))
    chop = _shifted(layout, roll, lines, inside)
    said = []
    if any(roll):
        said.append(f"zero frequency of {_list(roll)} lies at index 0 (FFT order) and is moved to the middle")
    if any(chop):
        said.append(f"the object wraps around the edges along {_list(chop)} and is shifted by half the field of view")
    if said:
        warnings.warn(f"{path}: {'; '.join(said)}; recentre=False leaves the samples as they are.", stacklevel=2)
    return AxisLayout(layout.axes, layout.hybrid, roll, chop, layout.kinds)


def _list(which: Sequence[bool]) -> str:
    return " and ".join(letter for letter, yes in zip("xyz", which, strict=True) if yes)


def _in_fft_order(profile: np.ndarray) -> bool:
    """Whether k-space energy peaks around index 0 and falls on both sides of it, round the end."""
    n, at = profile.size, int(profile.argmax())
    if min(at, n - at) > max(1, n // 8):
        return False
    reach = max(2, n // 12)
    around = np.roll(profile, reach - at)
    before, after = around[:reach].sum(), around[reach + 1 : 2 * reach + 1].sum()
    return bool(min(before, after) > 0.02 * max(before, after))


def _shifted(layout: AxisLayout, roll: tuple[bool, bool, bool], lines: Lines, inside: str) -> tuple[bool, bool, bool]:
    """Along which axes the object wraps around the edges of the field of view, from the centre of k-space."""
    shape = layout.shape(lines.shape)
    index: list[Any] = [slice(None)] * len(lines.shape)
    for letter, n, rolled in zip("xyz", shape[1:], roll, strict=True):
        axis = layout.axes.find(letter)
        if axis < 0:
            continue
        index[axis] = lines.window(axis)
        if letter in inside:
            width = min(32, n)
            start = (0 if rolled else n // 2) - width // 2
            index[axis] = np.arange(start, start + width) % n
    block = np.asarray(_take(lines.stored, index)).astype(np.complex128)
    block = in_order(block, layout.order)
    widths = calibration_region((block != 0).any(axis=(0, 1)))
    if not np.isfinite(block).all() or min(widths) < 1:
        return (False, False, False)
    for axis, width in zip((2, 3), widths, strict=True):
        n = block.shape[axis]
        block = np.take(block, np.arange(n // 2 - width // 2, n // 2 - width // 2 + width), axis)
    axes = (2, 3) if layout.hybrid else (1, 2, 3)
    for axis in axes:  # else what rings fills the gap
        block = block * along(np.hanning(block.shape[axis] + 2)[1:-1], axis)
    image = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(block, axes=axes), axes=axes), axes=axes)
    power = energy_of(image).sum(axis=0)
    profiles = [power.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    sure = [letter in inside and profile.size >= 2 * SHORT for letter, profile in zip("xyz", profiles, strict=True)]
    contrasts = [WRAPPED if rolled else WRAPPED_CENTRED for rolled in roll]
    found = [t and is_wrapped(p, c) for t, p, c in zip(sure, profiles, contrasts, strict=True)]
    if any(found):  # whoever left out one shift left out all
        found = [t and is_wrapped(p, WRAPPED_TOO) for t, p in zip(sure, profiles, strict=True)]
    return (found[0], found[1], found[2])


def _take(stored: Any, index: Sequence[Any]) -> np.ndarray:
    """Read a block that is given by slices and index arrays, one axis after the other."""
    bounds = [i if isinstance(i, slice) else slice(int(i.min()), int(i.max()) + 1) for i in index]
    block = np.asarray(stored[tuple(bounds)])
    for axis, i in enumerate(index):
        if not isinstance(i, slice):
            block = np.take(block, i - int(i.min()), axis)
    return block
