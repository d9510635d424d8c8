"""Where each readout goes on the Cartesian grid; a source says where they come from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mrrecon.errors import FileFormatError
from mrrecon.io.file_arrays import alternating
from mrrecon.io.ismrmrd_header import Header, flagged

__all__ = ["ReadoutKind", "ReadoutLayout", "Source", "in_batches", "plan_layout"]

_BATCH_BYTES = 64 * 2**20


class Source(Protocol):
    """Where the samples of readouts come from; picklable, opens its file for each call and closes it again."""

    @property
    def path(self) -> Path:
        """The file, for messages and to notice when it is replaced."""

    def lines(self, rows: np.ndarray) -> np.ndarray:
        """Samples of some readouts as acquired, ``(rows, coils, samples)``, ``complex64``, the caller's to change.

        Parameters
        ----------
        rows
            Indices into the table of readout headers that belongs to this source, increasing. All of them have
            the same ``active_channels`` and ``number_of_samples``.

        Raises
        ------
        FileFormatError
            If the file does not hold what the headers of these readouts state.
        """


@dataclass(frozen=True)
class ReadoutKind:
    """Readouts that are sampled alike, once reversed ones are flipped.

    Parameters
    ----------
    samples
        Samples of each readout in the file.
    skip, used
        How many samples to discard before, and how many to use.
    start
        Where the first used sample lies in the encoded readout.
    backwards
        Whether they were sampled backwards.
    """

    samples: int
    skip: int
    used: int
    start: int
    backwards: bool


@dataclass(frozen=True, eq=False)
class ReadoutLayout:
    """Where each readout goes.

    Parameters
    ----------
    rows
        Row numbers in the file, increasing.
    first, second
        For each row its position along (y, z) of a 3D scan, or (slice, z) of a 2D one.
    kinds, kind
        How readouts are sampled, and for each row which of them it is.
    readout, kept
        Encoded readout length, and its length after oversampling is removed.
    shape
        ``(coils, x, y, z)`` of the result.
    wrapped
        Axes of the result along which the samples carry (-1)^k, which is to be undone.
    resampling
        Matrix ``(samples, samples)`` from ramp samples to equal steps, or ``None``.
    correction
        For each row constant and linear phase (rad, rad per pixel of the encoded readout from its middle) that is to
        be taken off its image, ``(rows, 2)``, or ``None``.
    gain
        For each row a factor, or ``None``.
    """

    rows: np.ndarray
    first: np.ndarray
    second: np.ndarray
    kinds: tuple[ReadoutKind, ...]
    kind: np.ndarray
    readout: int
    kept: int
    volumetric: bool
    shape: tuple[int, int, int, int]
    wrapped: str = ""
    resampling: np.ndarray | None = None
    correction: np.ndarray | None = None
    gain: np.ndarray | None = None

    @property
    def coils(self) -> int:
        """Number of coils."""
        return self.shape[0]

    @property
    def spots(self) -> np.ndarray:
        """For each row one number for its position."""
        return self.first.astype(np.int64) * 2**20 + self.second

    @property
    def averages(self) -> float:
        """Mean number of readouts per sampled position."""
        return float(len(self.rows) / len(np.unique(self.spots)))

    @property
    def backwards(self) -> np.ndarray:
        """For each row whether it was sampled backwards."""
        return np.asarray(np.array([kind.backwards for kind in self.kinds])[self.kind])

    @property
    def partial_echo(self) -> bool:
        """Whether part of a readout was not sampled."""
        return any(kind.used < self.readout for kind in self.kinds)

    @property
    def keeps_readout(self) -> bool:
        """Whether the x axis of the result is in the k-space domain: a 3D scan with a partial echo."""
        return self.volumetric and self.partial_echo

    def of(self, keep: np.ndarray) -> ReadoutLayout:
        """The same with some of the rows, by a mask or by indices."""
        of_rows = {n: getattr(self, n) for n in ("rows", "first", "second", "kind", "correction", "gain")}
        chosen: dict[str, Any] = {n: None if values is None else values[keep] for n, values in of_rows.items()}
        return replace(self, **chosen)

    def _signs(self, n: int, axis: str) -> np.ndarray:
        """The factor that undoes the wrapping along one axis of n positions."""
        return alternating(n) if axis in self.wrapped else np.ones(n, np.float32)

    @property
    def readout_signs(self) -> np.ndarray:
        """Factor over the encoded readout."""
        return self._signs(self.readout, "x" if self.volumetric else "y")

    @property
    def plane_signs(self) -> np.ndarray:
        """Factor over the phase encodings, ``(y, z)`` of a 3D scan or ``(1, z)`` of a 2D one."""
        z = self._signs(self.shape[3], "z")
        return np.outer(self._signs(self.shape[2], "y"), z) if self.volumetric else z[None]

    def covered(self) -> np.ndarray:
        """Positions of the kept readout that each kind samples, ``(kinds, kept)``."""
        position = (np.arange(self.kept) - self.kept // 2) * self.readout / self.kept + self.readout // 2
        return np.array([(position >= k.start) & (position <= k.start + k.used - 1) for k in self.kinds])

    def mask(self) -> np.ndarray:
        """Sampling mask ``(y, z)``, or ``(x, y, z)`` with a partial echo in 3D.

        Raises
        ------
        FileFormatError
            If the slices of a 2D scan are sampled differently.
        """
        covered = self.covered()
        lines = self.shape[2:] if self.volumetric else (self.shape[1], self.shape[3])
        taken = np.zeros((len(self.kinds), *lines), bool)
        taken[self.kind, self.first, self.second] = True
        if self.volumetric:
            return np.einsum("kx,kyz->xyz", covered, taken) if self.partial_echo else np.any(taken, axis=0)
        slices = np.einsum("ky,ksz->syz", covered, taken)
        if not (slices == slices[:1]).all():
            raise FileFormatError(
                "The slices of this 2D scan are sampled differently, and one mask cannot say that; "
                "read them one by one with slice=0, slice=1 ..."
            )
        return slices[0]

    def placed(self, lines: np.ndarray, part: np.ndarray) -> np.ndarray:
        """Readouts of the rows `part`, all of one kind, in the encoded readout, ``(rows, coils, readout)``."""
        kind = self.kinds[self.kind[part[0]]]
        if kind.backwards:
            lines = lines[:, :, ::-1]
        if self.resampling is not None:
            lines = lines @ self.resampling.T
        if kind.used < self.readout or kind.samples > kind.used:
            full = np.zeros((*lines.shape[:2], self.readout), np.complex64)
            full[:, :, kind.start : kind.start + kind.used] = lines[:, :, kind.skip : kind.skip + kind.used]
            lines = full
        if self.wrapped:
            lines = lines * self.readout_signs
        return lines if self.gain is None else lines * self.gain[part, None, None]


def _kinds(
    heads: np.ndarray, every: np.ndarray, readout: int, path: Path
) -> tuple[tuple[ReadoutKind, ...], np.ndarray]:
    """How readouts are sampled.

    ``center_sample`` counts in the order of acquisition; a converter that writes the same middle for both
    directions means the one after flipping.
    """
    backwards = flagged(heads, "reverse")
    forward = np.unique(every["center_sample"][~flagged(every, "reverse")])
    columns = np.stack(
        [heads[n].astype(np.int64) for n in ("number_of_samples", "center_sample", "discard_pre", "discard_post")]
        + [backwards.astype(np.int64)],
        axis=1,
    )
    different, kind = np.unique(columns, axis=0, return_inverse=True)
    kinds = []
    for samples, center, before, after, turned in different.tolist():
        if center == 0 and samples >= readout:  # some converters leave it out
            center = samples // 2
        elif turned:
            middle = center == samples // 2 and samples % 2 == 0 and (not forward.size or center in forward)
            center = center if middle else samples - 1 - center
        skip = after if turned else before
        used, start = samples - before - after, readout // 2 - center + skip
        if used <= 0 or start < 0 or start + used > readout:
            raise FileFormatError(
                f"{path}: readouts of {samples} samples with centre {center} do not fit the encoded matrix of "
                f"{readout}."
            )
        kinds.append(ReadoutKind(samples, skip, used, start, bool(turned)))
    return tuple(kinds), kind.reshape(-1)


def plan_layout(
    header: Header,
    heads: np.ndarray,
    rows: np.ndarray,
    volumetric: bool,
    remove_oversampling: bool,
    path: Path,
    *,
    slices: np.ndarray | None = None,
    center_lines: tuple[int, int] | None = None,
) -> ReadoutLayout:
    """Decide where the readouts `rows` go.

    Parameters
    ----------
    header, heads, rows
        Header, all readout headers, and which of them to sort.
    volumetric
        Whether the scan is 3D.
    remove_oversampling
        Crop the readout to the reconstructed field of view.
    path
        The file, for messages.
    slices
        Slice counters of a 2D scan in the order in which they are to come.
    center_lines
        Counters of the lines at the centre instead of the header's.

    Raises
    ------
    FileFormatError
        If a readout does not fit the encoded matrix, or the readouts disagree in coils.
    """
    chosen = heads[rows]
    channels = np.unique(chosen["active_channels"])
    if len(channels) > 1:
        raise FileFormatError(
            f"{path}: the readouts differ in active_channels, {channels.tolist()[:8]}; it cannot be put on one grid."
        )
    coils, samples = int(channels[0]), int(chosen["number_of_samples"].max())
    if coils == 0 or chosen["number_of_samples"].min() == 0:
        raise FileFormatError(f"{path} has readouts with {coils} coils and 0 samples; nothing to read.")
    readout = header.encoded_matrix[0]
    kinds, kind = _kinds(chosen, heads, readout, path)
    lengths = np.unique(chosen["number_of_samples"])
    if header.resampling is not None and (len(lengths) > 1 or len(header.resampling) != samples):
        raise FileFormatError(
            f"{path}: readouts of {lengths.tolist()} samples cannot be resampled by a matrix for "
            f"{len(header.resampling)}."
        )
    y = _positions(chosen, header, 1, path, None if center_lines is None else center_lines[0])
    if volumetric:
        first, second = y, _positions(chosen, header, 2, path, None if center_lines is None else center_lines[1])
    else:
        order = np.unique(chosen["idx"]["slice"]) if slices is None else slices
        place = np.zeros(int(chosen["idx"]["slice"].max()) + 1, np.int64)
        place[order] = np.arange(len(order))
        first, second = place[chosen["idx"]["slice"]], y
    # far more cells than any scan leaves out: ask before memory is taken for them
    cells = header.encoded_matrix[1] * (header.encoded_matrix[2] if volumetric else 1)
    if cells > 256 * len(np.unique(first.astype(np.int64) * 2**20 + second)) or readout > 16 * samples:
        raise FileFormatError(
            f"{path}: the header's matrix {header.encoded_matrix} cannot belong to {len(rows)} readouts "
            f"of {samples} samples; the header is damaged."
        )
    kept = readout
    if remove_oversampling:
        ratio = round(readout / header.oversampled_fov)
        kept = ratio if 0 < ratio < readout else readout
    if volumetric:
        shape = (coils, kept, header.encoded_matrix[1], header.encoded_matrix[2])
    else:
        shape = (coils, len(order), kept, header.encoded_matrix[1])
    return ReadoutLayout(
        rows, first, second, kinds, kind, readout, kept, volumetric, shape, resampling=header.resampling
    )


def _positions(chosen: np.ndarray, header: Header, step: int, path: Path, given: int | None) -> np.ndarray:
    """Grid position of each readout along phase encoding `step`, zero frequency at n // 2.

    Lines that do not fit around the header's centre are placed around it circularly: where k-space really has its
    centre is found on the data, and a roll puts all of them right.
    """
    n = header.encoded_matrix[step]
    index = chosen["idx"][f"kspace_encode_step_{step}"].astype(np.int64)
    limit = header.limits.get(f"kspace_encoding_step_{step}")
    center = n // 2
    if given is not None:
        center = given
    elif limit is not None and (limit.center > 0 or limit.maximum < n // 2):
        center = limit.center
    position = index - center + n // 2
    if position.min() >= 0 and position.max() < n:
        return position
    if given is not None or index.max() - index.min() >= n:
        raise FileFormatError(
            f"{path}: phase-encoding step {step} runs from {index.min()} to {index.max()} around the centre "
            f"{center}, which does not fit the encoded matrix of {n}; the header is inconsistent "
            "(center_lines=(y, z) says which lines are at the centre)."
        )
    return position % n


def in_batches(layout: ReadoutLayout, take: np.ndarray) -> list[np.ndarray]:
    """Split some indices of rows into pieces of one kind that fit in memory."""
    pieces = []
    for number, kind in enumerate(layout.kinds):
        mine = take[layout.kind[take] == number]
        size = max(1, _BATCH_BYTES // (8 * kind.samples * layout.coils))
        pieces += [mine[begin : begin + size] for begin in range(0, len(mine), size)]
    return pieces
