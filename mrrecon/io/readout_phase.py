"""Phase difference between readouts of opposite directions (echo-planar scans), from navigators."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mrrecon.io.ismrmrd_header import flagged
from mrrecon.io.readout_layout import ReadoutLayout, Source
from mrrecon.operators.fourier import ifft

__all__ = ["corrected"]


def corrected(source: Source, heads: np.ndarray, layout: ReadoutLayout, correct: bool) -> tuple[ReadoutLayout, str]:
    """Layout that takes the phase of reversed readouts against forward ones off, and a note.

    Navigators (phase-correction readouts of both directions, one after the other) give constant and linear phase
    along the readout, over all coils; each imaging line takes those last measured before it in its slice (Bruder
    et al., Magn Reson Med 23:311, 1992).
    """
    backwards = layout.backwards
    if not correct or not backwards.any() or backwards.all():
        return layout, ""
    lines = heads[layout.rows]
    navigators = np.flatnonzero(
        flagged(heads, "phase_correction")
        & (heads["encoding_space_ref"] == 0)
        & (heads["active_channels"] == layout.coils)
    )
    phases: dict[int, list[tuple[int, np.ndarray]]] = {}  # slice -> last row of a block of navigators, its phase
    other_slice = np.diff(heads["idx"]["slice"][navigators].astype(np.int64)) != 0
    for block in np.split(navigators, np.flatnonzero((np.diff(navigators) > 1) | other_slice) + 1):
        phase = _difference(source, heads, block, layout)
        if phase is not None:
            phases.setdefault(int(heads["idx"]["slice"][block[0]]), []).append((int(block[-1]), phase))
    missing = [s for s in np.unique(lines["idx"]["slice"]).tolist() if s not in phases]
    if missing:
        why = "no navigators of both directions" + ("" if not phases else f" for {len(missing)} slices")
        return layout, (
            f"lines of this image were read out in both directions and there are {why}: expect ghosts half a field of "
            "view away"
        )
    correction = np.zeros((len(layout.rows), 2))
    for at in np.flatnonzero(backwards):
        blocks = phases[int(lines["idx"]["slice"][at])]
        before = [phase for last, phase in blocks if last < layout.rows[at]]
        correction[at] = before[-1] if before else blocks[0][1]
    return replace(layout, correction=correction), ""


def _difference(source: Source, heads: np.ndarray, block: np.ndarray, layout: ReadoutLayout) -> np.ndarray | None:
    """Constant and linear phase of the reversed over the forward readouts of a block; ``None`` without both."""
    turned = flagged(heads[block], "reverse")
    means = []
    for direction in (False, True):
        number = next((i for i, k in enumerate(layout.kinds) if k.backwards == direction), None)
        rows = block[turned == direction]
        if number is None:
            return None
        rows = rows[heads["number_of_samples"][rows] == layout.kinds[number].samples]
        if not rows.size:
            return None
        like = np.flatnonzero(layout.kind == number)[:1].repeat(len(rows))
        placed = replace(layout, correction=None, gain=None).placed(source.lines(rows), like)
        means.append(ifft(placed.mean(axis=0), axes=(1,)))
    product = (means[1] * means[0].conj()).sum(axis=0)
    slope = np.angle((product[1:] * product[:-1].conj()).sum())
    x = np.arange(layout.readout) - layout.readout // 2
    return np.array([np.angle((product * np.exp(-1j * slope * x)).sum()), slope])
