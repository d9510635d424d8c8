"""Reference lines: part of the image, or a scan of their own that only tells the coils' sensitivities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mrrecon.io.readout_layout import ReadoutLayout, Source, in_batches

__all__ = ["Verdict", "compare"]

_LINES = 64  # positions that are compared
_ALIKE = 0.9  # correlation of the same contrast
_BRIGHTNESS = 0.1  # relative difference from one that needs a correction
_NEIGHBOURS = 3.0  # ratio of amplitudes of lines side by side in one scan


@dataclass(frozen=True)
class Verdict:
    """What reference lines are to the image.

    Parameters
    ----------
    fill
        Whether they may fill positions that the imaging lines leave free.
    gain
        Factor that brings them to the brightness and phase of the image.
    note
        How that was found, where the header does not say it.
    """

    fill: bool
    gain: complex = 1.0
    note: str = ""


def compare(source: Source, imaging: ReadoutLayout, reference: ReadoutLayout, stated: bool) -> Verdict:
    """Decide from the data whether reference lines may become image data.

    Where both were measured at the same positions, their correlation tells contrast, and their ratio brightness.
    Every sample counts alike, whatever its energy: else the mean brightness alone would decide. Where they
    complement each other, the amplitudes of neighbouring lines must be similar.

    Parameters
    ----------
    source
        Of the samples.
    imaging, reference
        Where the lines go, in one grid.
    stated
        Whether the header says that they are part of the image.
    """
    n = len(reference.rows)
    common = np.intersect1d(imaging.spots, reference.spots)
    if not common.size:
        beside = _beside(source, imaging, reference)
        if 1 / _NEIGHBOURS < beside < _NEIGHBOURS:
            return Verdict(True)
        return Verdict(
            False,
            note=f"its {n} reference lines are {beside:.2g} times as strong as the imaging lines beside them, so "
            "they are another scan: they are kept out of the image",
        )
    middle = np.array([np.median(reference.first), np.median(reference.second)])
    places = np.stack([common >> 20, common & (2**20 - 1)], axis=1)
    common = common[np.argsort(np.abs(places - middle).sum(axis=1), kind="stable")[:_LINES]]
    a, b = _at(source, imaging, common), _at(source, reference, common)
    energy = (np.abs(a) ** 2).sum(axis=1), (np.abs(b) ** 2).sum(axis=1)
    strong = (energy[0] > np.quantile(energy[0], 0.75)) & (energy[1] > 0)
    if not strong.any():
        return Verdict(True)
    scaled = [part / np.sqrt(np.where(strong, e, np.inf))[:, None] for part, e in zip((a, b), energy, strict=True)]
    alike = float(abs(complex(np.vdot(scaled[1], scaled[0]))) / np.count_nonzero(strong))
    ratio = np.vdot(scaled[1], scaled[0]) / np.count_nonzero(strong)
    size = float(np.sqrt(np.median(energy[0][strong] / energy[1][strong])))
    if alike < _ALIKE:
        return Verdict(
            False,
            note=f"its {n} reference lines have another contrast than the image (correlation {alike:.2f} where both "
            "are measured): they are kept out of the image",
        )
    gain = complex(size * ratio / abs(ratio))
    if abs(gain - 1) > _BRIGHTNESS:
        return Verdict(
            True, gain, f"its {n} reference lines are {1 / size:.3g} times as strong as the image; they are corrected"
        )
    note = "" if stated else f"its {n} reference lines agree with the image (correlation {alike:.2f}) and fill gaps"
    return Verdict(True, note=note)


def _at(source: Source, layout: ReadoutLayout, spots: np.ndarray) -> np.ndarray:
    """First readout at each of some positions, ``(spots, coils, readout)``."""
    order = np.argsort(layout.spots, kind="stable")
    take = order[np.searchsorted(layout.spots[order], spots)]
    lines = np.zeros((len(spots), layout.coils, layout.readout), np.complex64)
    place = {int(row): i for i, row in enumerate(take)}
    for part in in_batches(layout, np.sort(take)):
        lines[[place[int(row)] for row in part]] = layout.placed(source.lines(layout.rows[part]), part)
    return lines


def _beside(source: Source, imaging: ReadoutLayout, reference: ReadoutLayout) -> float:
    """Typical amplitude of reference lines over that of the imaging lines on both sides of them."""
    known = imaging.spots
    ratios = []
    for step in (2**20, 1):
        middle = reference.spots[np.isin(reference.spots - step, known) & np.isin(reference.spots + step, known)]
        middle = np.unique(middle)[:: max(1, len(np.unique(middle)) // _LINES)]
        if not middle.size:
            continue
        here = [np.linalg.norm(line) for line in _at(source, reference, middle)]
        below, above = (
            [np.linalg.norm(line) for line in _at(source, imaging, middle + shift)] for shift in (-step, step)
        )
        ratios += [h / np.sqrt(x * y) for h, x, y in zip(here, below, above, strict=True) if x * y > 0]
    return float(np.median(ratios)) if ratios else 1.0
