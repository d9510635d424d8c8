"""Sorting readouts onto the Cartesian grid, in batches, as an array on disk; a source says where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from mrrecon.errors import FileFormatError
from mrrecon.io.checks import array_bytes, require_memory
from mrrecon.io.ismrmrd_header import FLAGS, Header
from mrrecon.io.lazy import FileArray
from mrrecon.operators.fourier import fft, ifft

__all__ = ["Layout", "LinesArray", "Source", "noise_covariance", "plan_layout", "read_samples"]

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


@dataclass(frozen=True, eq=False)
class Layout:
    """Where each readout goes.

    Parameters
    ----------
    rows
        Row numbers in the file, increasing.
    first, second
        For each row its position along (y, z) of a 3D scan, or (slice, z) of a 2D one.
    reversed_rows
        For each row whether it was sampled backwards.
    start, skip, used
        Readout: where its first used sample lies in the encoded readout, how many samples to discard
        before, and how many to use.
    readout, kept
        Encoded readout length, and its length after oversampling is removed.
    shape
        ``(coils, x, y, z)`` of the result.
    averages
        Mean number of readouts per sampled position.
    samples
        Samples of each readout in the file.
    wrapped
        Axes of the result along which the samples carry (-1)^k, which is to be undone.
    resampling
        Matrix ``(samples, samples)`` from ramp samples to equal steps, or ``None``.
    """

    rows: np.ndarray
    first: np.ndarray
    second: np.ndarray
    reversed_rows: np.ndarray
    start: int
    skip: int
    used: int
    readout: int
    kept: int
    volumetric: bool
    shape: tuple[int, int, int, int]
    averages: float
    samples: int
    wrapped: str = ""
    resampling: np.ndarray | None = None

    @property
    def coils(self) -> int:
        """Number of coils."""
        return self.shape[0]

    @property
    def partial_echo(self) -> bool:
        """Whether part of the readout was not sampled."""
        return self.used < self.readout

    @property
    def keeps_readout(self) -> bool:
        """Whether the x axis of the result is in the k-space domain: a 3D scan with a partial echo."""
        return self.volumetric and self.partial_echo

    def _signs(self, n: int, axis: str) -> np.ndarray:
        """The factor that undoes the wrapping along one axis of n positions."""
        odd = (np.arange(n) - n // 2) % 2 == 1
        return np.where(odd & (axis in self.wrapped), -1, 1).astype(np.float32)

    @property
    def readout_signs(self) -> np.ndarray:
        """Factor over the encoded readout."""
        return self._signs(self.readout, "x" if self.volumetric else "y")

    @property
    def plane_signs(self) -> np.ndarray:
        """Factor over the phase encodings, ``(y, z)`` of a 3D scan or ``(1, z)`` of a 2D one."""
        z = self._signs(self.shape[3], "z")
        return np.outer(self._signs(self.shape[2], "y"), z) if self.volumetric else z[None]

    def _readout_mask(self) -> np.ndarray:
        """Positions of the kept readout that were sampled."""
        position = (np.arange(self.kept) - self.kept // 2) * self.readout / self.kept + self.readout // 2
        return (position >= self.start) & (position <= self.start + self.used - 1)

    def mask(self) -> np.ndarray:
        """Sampling mask ``(y, z)``, or ``(x, y, z)`` with a partial echo in 3D."""
        if self.volumetric:
            lines = np.zeros(self.shape[2:], bool)
            lines[self.first, self.second] = True
            return self._readout_mask()[:, None, None] & lines if self.partial_echo else lines
        columns = np.zeros((self.shape[1], self.shape[3]), bool)
        columns[self.first, self.second] = True
        if not (columns == columns[:1]).all():
            raise FileFormatError("The slices of this 2D scan are sampled differently; read them one by one.")
        return self._readout_mask()[:, None] & columns[0]

    def straight(self, lines: np.ndarray, part: np.ndarray) -> np.ndarray:
        """Readouts of the rows `part`, ``(rows, coils, samples)``, as if all were acquired forwards at equal steps."""
        backwards = self.reversed_rows[part]
        lines[backwards] = lines[backwards, :, ::-1]
        return lines if self.resampling is None else lines @ self.resampling.T

    def slice_positions(self, heads: np.ndarray) -> np.ndarray:
        """Centre of each slice of a 2D scan, ``(slices, 3)``, mm."""
        centres = np.zeros((self.shape[1], 3))
        centres[self.first] = heads["position"][self.rows]
        return centres


def plan_layout(
    header: Header,
    heads: np.ndarray,
    rows: np.ndarray,
    volumetric: bool,
    remove_oversampling: bool,
    path: Path,
) -> Layout:
    """Decide where the readouts `rows` go.

    Raises
    ------
    FileFormatError
        If a readout falls outside the encoded matrix, or the readouts disagree in coils or centre.
    """
    chosen = heads[rows]
    forward = (chosen["flags"] & np.uint64(1 << (FLAGS["reverse"] - 1))) == 0
    alike = chosen[forward] if forward.any() else chosen  # a reversed readout is flipped onto the forward ones
    for field in ("active_channels", "center_sample", "discard_pre", "discard_post"):
        values = np.unique(alike[field])
        if len(values) > 1:
            raise FileFormatError(
                f"{path}: the readouts differ in {field}, {values.tolist()[:8]}; it cannot be put on one grid."
            )
    reference = alike[0]
    coils, samples = int(reference["active_channels"]), int(reference["number_of_samples"])
    if coils == 0 or samples == 0:
        raise FileFormatError(f"{path} has readouts with {coils} coils and {samples} samples; nothing to read.")
    readout = header.encoded_matrix[0]
    skip = int(reference["discard_pre"])
    used = samples - skip - int(reference["discard_post"])
    center = int(reference["center_sample"])
    if center == 0 and samples >= readout:  # some converters leave it out
        center = samples // 2
    start = readout // 2 - center + skip
    if used <= 0 or start < 0 or start + used > readout:
        raise FileFormatError(
            f"{path}: readouts of {samples} samples with centre {center} do not fit the encoded matrix of {readout}."
        )
    lines = _positions(chosen, header, 1, path)
    if volumetric:
        first, second = lines, _positions(chosen, header, 2, path)
    else:
        slices, first = np.unique(chosen["idx"]["slice"], return_inverse=True)
        second = lines
    imaging = (chosen["flags"] & np.uint64(1 << (FLAGS["calibration"] - 1))) == 0
    spot = first.astype(np.int64) * 2**20 + second
    keep = imaging | ~np.isin(spot, spot[imaging])  # calibration-only lines fill the gaps
    # far more cells than any scan leaves out: ask before memory is taken for them
    cells = header.encoded_matrix[1] * (header.encoded_matrix[2] if volumetric else 1)
    if cells > 256 * len(np.unique(spot)) or readout > 16 * used:
        raise FileFormatError(
            f"{path}: the header's matrix {header.encoded_matrix} cannot belong to {len(rows)} readouts "
            f"of {used} samples; the header is damaged."
        )
    kept = readout
    if remove_oversampling:
        ratio = round(readout / header.oversampled_fov)
        kept = ratio if 0 < ratio < readout else readout
    if volumetric:
        shape = (coils, kept, header.encoded_matrix[1], header.encoded_matrix[2])
    else:
        shape = (coils, len(slices), kept, header.encoded_matrix[1])
    return Layout(
        rows=rows[keep],
        first=first[keep],
        second=second[keep],
        reversed_rows=~forward[keep],
        start=start,
        skip=skip,
        used=used,
        readout=readout,
        kept=kept,
        volumetric=volumetric,
        shape=shape,
        averages=float(keep.sum() / len(np.unique(spot[keep]))),
        samples=samples,
        resampling=header.resampling,
    )


def _positions(chosen: np.ndarray, header: Header, step: int, path: Path) -> np.ndarray:
    """Grid position of each readout along phase encoding `step`, zero frequency at n // 2."""
    n = header.encoded_matrix[step]
    index = chosen["idx"][f"kspace_encode_step_{step}"].astype(np.int64)
    limit = header.limits.get(f"kspace_encoding_step_{step}")
    center = n // 2
    if limit is not None and (limit.center > 0 or limit.maximum < n // 2):
        center = limit.center
    position = index - center + n // 2
    if position.min() < 0 or position.max() >= n:
        raise FileFormatError(
            f"{path}: phase-encoding step {step} runs from {index.min()} to {index.max()} around the centre "
            f"{center}, "
            f"which does not fit the encoded matrix of {n}; the header is inconsistent."
        )
    return position


def read_samples(source: Source, heads: np.ndarray, rows: np.ndarray, coils: int) -> list[np.ndarray]:
    """Samples of some readouts, each ``(coils, samples)``, those with another number of coils left out."""
    there = (heads["active_channels"][rows] == coils) & (heads["number_of_samples"][rows] > 0)
    return [source.lines(np.array([row]))[0] for row in rows[there]]


def noise_covariance(
    samples: list[np.ndarray], dwells: np.ndarray, imaging_dwell: float, header: Header
) -> np.ndarray | None:
    """Noise covariance of one imaging sample, from noise readouts.

    Noise power is proportional to the receiver bandwidth, so the covariance is scaled by the ratio of the
    dwell times, and by the header's relative receiver noise bandwidth. ``None`` when there are fewer
    samples than coils.
    """
    noise = np.concatenate(samples, axis=1).astype(np.complex128) if samples else np.zeros((1, 0))
    if noise.shape[1] < noise.shape[0] or not np.isfinite(noise).all():
        return None
    covariance = noise @ noise.conj().T / noise.shape[1]
    dwell = float(np.median(dwells))
    if dwell > 0 and imaging_dwell > 0:
        covariance = covariance * dwell / (imaging_dwell * header.relative_noise_bandwidth)
    return covariance if np.linalg.eigvalsh(covariance).min() > 0 else None


@dataclass(frozen=True, eq=False, repr=False)
class LinesArray(FileArray):
    """K-space ``(coils, x, y, z)`` sorted from a table of readouts at each read.

    Reading some slices of a 2D scan touches only their readouts. An x slab of a 3D scan needs every
    readout, but only one batch of them and the slab are in memory at a time.
    """

    source: Source
    layout: Layout

    def _planes(self, coils: slice, xs: slice) -> np.ndarray:
        plan = self.layout
        n_coils, n_x = coils.stop - coils.start, xs.stop - xs.start
        n_y, n_z = self.shape[2:]
        require_memory(2 * array_bytes((n_coils, n_x, n_y, n_z)), f"Sorting the readouts of {self.path}")
        take = np.arange(len(plan.rows))
        if plan.volumetric:
            grid = np.zeros((n_y, n_z, n_coils, n_x), np.complex64)
        else:
            take = take[(plan.first >= xs.start) & (plan.first < xs.stop)]
            grid = np.zeros((n_x, n_z, n_coils, n_y), np.complex64)
        counts = np.zeros(grid.shape[:2], np.int32)
        batch = max(1, _BATCH_BYTES // (8 * plan.samples * plan.coils))
        for begin in range(0, len(take), batch):
            part = take[begin : begin + batch]
            lines = plan.straight(self.source.lines(plan.rows[part])[:, coils], part)
            if plan.volumetric:
                lines = self._readout(lines)[:, :, xs]
                at = plan.first[part], plan.second[part]
            else:
                lines = self._readout(lines)
                at = plan.first[part] - xs.start, plan.second[part]
            np.add.at(counts, at, 1)
            if counts[at].max(initial=0) > 1:
                np.add.at(grid, at, lines)
            else:
                grid[at] = lines
        if self.layout.wrapped:
            grid *= plan.plane_signs[:, :, None, None]
        if counts.max(initial=0) > 1:
            grid /= np.maximum(counts, 1)[:, :, None, None]
        return grid.transpose(2, 3, 0, 1) if plan.volumetric else grid.transpose(2, 0, 3, 1)

    def _readout(self, lines: np.ndarray) -> np.ndarray:
        """Place samples in the encoded readout and remove its oversampling."""
        plan = self.layout
        if plan.used < plan.readout or plan.samples > plan.used:
            full = np.zeros((*lines.shape[:2], plan.readout), np.complex64)
            full[:, :, plan.start : plan.start + plan.used] = lines[:, :, plan.skip : plan.skip + plan.used]
            lines = full
        if plan.wrapped:
            lines = lines * plan.readout_signs
        in_kspace = plan.keeps_readout or not plan.volumetric
        if in_kspace and plan.kept == plan.readout:
            return lines
        image = ifft(np.ascontiguousarray(lines), axes=(2,))
        begin = plan.readout // 2 - plan.kept // 2
        image = image[:, :, begin : begin + plan.kept]
        if not in_kspace:
            return image
        kspace = fft(np.ascontiguousarray(image), axes=(2,))
        return kspace * plan._readout_mask() if plan.partial_echo else kspace
