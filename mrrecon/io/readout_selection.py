"""Which readouts make up one image: what each is by its flags, and which of the images in a file is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mrrecon.errors import FileFormatError
from mrrecon.io.ismrmrd_header import NO_IMAGE, flagged

__all__ = ["Selection", "select"]

_IMAGES = ("contrast", "repetition", "set", "phase")


@dataclass
class Selection:
    """Readouts of one image.

    Parameters
    ----------
    imaging, reference
        Rows of image data, and of calibration-only lines.
    chosen, counts
        Which one of each counter was taken, and how many there are.
    notes
        What the user should know.
    """

    imaging: np.ndarray
    reference: np.ndarray
    chosen: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def _named(values: np.ndarray) -> str:
    return ", ".join(map(str, values.tolist()[:20])) + (" ..." if len(values) > 20 else "")


def select(heads: np.ndarray, asked: Mapping[str, int | None], path: Path) -> Selection:
    """Choose the readouts of one image.

    Parameters
    ----------
    heads
        All readout headers.
    asked
        Value of each counter that is wanted, or ``None``: of those that count images the first there is, of
        ``average`` all.
    path
        The file, for messages.

    Raises
    ------
    FileFormatError
        If there are no imaging readouts, or not the one that is asked for.
    """
    usable = ~flagged(heads, *NO_IMAGE)
    here = usable & (heads["encoding_space_ref"] == 0)
    imaging = here & ~flagged(heads, "calibration")
    if not imaging.any():
        raise FileFormatError(f"{path} holds no imaging readouts, only noise, navigation or calibration ones.")
    reference = here & flagged(heads, "calibration")
    found = Selection(np.zeros(0, np.int64), np.zeros(0, np.int64))
    others = usable & ~here
    if others.any():
        found.notes.append(
            f"{np.count_nonzero(others)} readouts of other encoding spaces, or of other scans, are left out"
        )
    if flagged(heads, "multiband_reference").any():
        found.notes.append(
            f"{np.count_nonzero(flagged(heads, 'multiband_reference'))} reference lines of slice acceleration are "
            "left out"
        )
    several = []
    for name in (*_IMAGES, "average"):
        index = asked.get(name)
        found.counts[name] = len(np.unique(heads["idx"][name][imaging]))
        there = np.unique(heads["idx"][name][imaging])
        if name == "average" and index is None:
            if len(there) > 1:
                several.append(f"{len(there)} averages which are averaged")
            continue
        found.chosen[name] = int(there[0]) if index is None else index
        if found.chosen[name] not in there:
            raise FileFormatError(f"{path} has no {name} {index}; it has {_named(there)}.")
        if len(there) > 1 and index is None:
            several.append(f"{len(there)} {name}s, of which {name}={found.chosen[name]} is read")
        imaging &= heads["idx"][name] == found.chosen[name]
        if (reference & (heads["idx"][name] == found.chosen[name])).any():
            reference &= heads["idx"][name] == found.chosen[name]
    if several:
        found.notes.append(f"it holds {'; '.join(several)} (choose with these options)")
    found.imaging, found.reference = np.flatnonzero(imaging), np.flatnonzero(reference)
    for name in ("segment", *(f"user_{i}" for i in range(8))):
        _choose_among_repeats(heads, found, name, asked.get(name), path)
    _check_alike(heads, found, path)
    return found


def _counter(heads: np.ndarray, name: str) -> np.ndarray:
    return heads["idx"]["user"][:, int(name[-1])] if name.startswith("user_") else heads["idx"][name]


def _spots(heads: np.ndarray, average: bool) -> np.ndarray:
    """For each readout a number of its place in k-space, and of its average."""
    idx = heads["idx"]
    names = ["kspace_encode_step_1", "kspace_encode_step_2", "slice", *(["average"] if average else [])]
    rows = np.stack([idx[n].astype(np.int64) for n in names], axis=1)
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def _choose_among_repeats(heads: np.ndarray, found: Selection, name: str, asked: int | None, path: Path) -> None:
    """Of lines that were measured several times with different values of a counter, keep one value.

    Values that complement each other (the segments of a segmented scan) are all kept. Which value is a choice that
    the option of that name makes; by default the first at each place.
    """
    rows = found.imaging
    values = _counter(heads[rows], name).astype(np.int64)
    there = np.unique(values)
    if asked is not None:
        if asked not in there:
            raise FileFormatError(f"{path} has no {name} {asked}; it has {_named(there)}.")
        found.imaging, found.chosen[name] = rows[values == asked], asked
        return
    if len(there) == 1:
        return
    spots = _spots(heads[rows], average=False)
    lowest = np.full(spots.max() + 1, there[-1] + 1)
    np.minimum.at(lowest, spots, values)
    first = values == lowest[spots]
    if first.all():
        return
    found.imaging, found.counts[name] = rows[first], len(there)
    option = f"user=({name[-1]}, value)" if name.startswith("user_") else f"{name}="
    found.notes.append(
        f"{np.count_nonzero(~first)} lines were measured with several of the {len(there)} values of the counter "
        f"{name}; the first is read ({option} chooses)"
    )


def _check_alike(heads: np.ndarray, found: Selection, path: Path) -> None:
    """Refuse readouts that cannot share one grid; leave out reference lines that do not fit."""
    imaging = heads[found.imaging]
    if not len(imaging):
        raise FileFormatError(f"{path} has no readouts with all that was chosen: {found.chosen}.")
    samples, dwell = imaging["number_of_samples"], imaging["sample_time_us"]
    for direction in (flagged(imaging, "reverse"), ~flagged(imaging, "reverse")):
        if len(np.unique(samples[direction])) > 1:
            raise FileFormatError(
                f"{path} has imaging readouts of different lengths, {np.unique(samples).tolist()[:8]}; "
                "it cannot be put on one grid."
            )
    if len(np.unique(dwell)) > 1 and dwell.max() > 1.01 * dwell.min():
        raise FileFormatError(
            f"{path} has imaging readouts of different dwell times, {np.unique(dwell).tolist()[:8]} us; "
            "it cannot be put on one grid."
        )
    reference = heads[found.reference]
    fits = reference["active_channels"] == imaging["active_channels"][0]
    if not fits.all():
        found.notes.append(f"{np.count_nonzero(~fits)} reference lines of another number of coils are left out")
        found.reference = found.reference[fits]
    repeated = len(imaging) - len(np.unique(_spots(imaging, average=True)))
    if repeated:
        found.notes.append(f"{repeated} lines repeat others without a counter that tells them apart; they are averaged")
