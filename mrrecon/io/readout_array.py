"""Readouts sorted onto the Cartesian grid, in batches, as an array on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrrecon.io.checks import array_bytes, reading, require_memory
from mrrecon.io.file_arrays import FileArray
from mrrecon.io.readout_layout import ReadoutLayout, Source, in_batches
from mrrecon.operators.fourier import fft, ifft

__all__ = ["SortedReadouts"]


@dataclass(frozen=True, eq=False, repr=False)
class SortedReadouts(FileArray):
    """K-space ``(coils, x, y, z)`` sorted from a table of readouts at each read.

    Reading some slices of a 2D scan touches only their readouts. An x slab of a 3D scan needs every
    readout, but only one batch of them and the slab are in memory at a time.
    """

    source: Source
    layout: ReadoutLayout

    def planes_at(self, xs: Sequence[int]) -> np.ndarray:
        """Planes of all coils at some x, ``(coils, len(xs), y, z)``, from one pass over the readouts of a 3D scan."""
        if not self.layout.volumetric:
            return np.concatenate([self[:, x : x + 1] for x in xs], axis=1)
        with reading(self.path, "k-space"):
            return self._planes(slice(0, self.shape[0]), np.asarray(xs))

    def _planes(self, coils: slice, xs: Any) -> np.ndarray:
        plan = self.layout
        n_coils, n_x = coils.stop - coils.start, xs.stop - xs.start if isinstance(xs, slice) else len(xs)
        n_y, n_z = self.shape[2:]
        require_memory(2 * array_bytes((n_coils, n_x, n_y, n_z)), f"Sorting the readouts of {self.path}")
        take = np.arange(len(plan.rows))
        if plan.volumetric:
            grid = np.zeros((n_y, n_z, n_coils, n_x), np.complex64)
        else:
            take = take[(plan.first >= xs.start) & (plan.first < xs.stop)]
            grid = np.zeros((n_x, n_z, n_coils, n_y), np.complex64)
        covered = plan.covered()
        counts = np.zeros((len(plan.kinds), *grid.shape[:2]), np.int32)
        for part in in_batches(plan, take):
            lines = self._readout(self.source.lines(plan.rows[part])[:, coils], part)
            at = plan.first[part] - (0 if plan.volumetric else xs.start), plan.second[part]
            np.add.at(counts[plan.kind[part[0]]], at, 1)
            if counts[:, *at].sum(axis=0).max(initial=0) > 1:
                np.add.at(grid, at, lines[:, :, xs] if plan.volumetric else lines)
            else:
                grid[at] = lines[:, :, xs] if plan.volumetric else lines
        if self.layout.wrapped:
            grid *= plan.plane_signs[:, :, None, None]
        if counts.sum(axis=0).max(initial=0) > 1:
            if plan.keeps_readout or not plan.volumetric:  # some kinds leave out samples
                every = np.einsum("kx,kab->abx", covered[:, xs] if plan.volumetric else covered, counts)
                grid /= np.maximum(every, 1)[:, :, None]
            else:
                grid /= np.maximum(counts.sum(axis=0), 1)[:, :, None, None]
        return grid.transpose(2, 3, 0, 1) if plan.volumetric else grid.transpose(2, 0, 3, 1)

    def _readout(self, lines: np.ndarray, part: np.ndarray) -> np.ndarray:
        """Place samples in the encoded readout, correct their phase and remove the oversampling."""
        plan = self.layout
        lines = plan.placed(lines, part)
        phase = None if plan.correction is None else plan.correction[part]
        in_kspace = plan.keeps_readout or not plan.volumetric
        if in_kspace and plan.kept == plan.readout and (phase is None or not phase.any()):
            return lines
        image = ifft(np.ascontiguousarray(lines), axes=(2,))
        if phase is not None and phase.any():
            x = np.arange(plan.readout) - plan.readout // 2
            image *= np.exp(-1j * (phase[:, :1] + phase[:, 1:] * x)).astype(np.complex64)[:, None]
        begin = plan.readout // 2 - plan.kept // 2
        image = image[:, :, begin : begin + plan.kept]
        if not in_kspace:
            return image
        kspace = fft(np.ascontiguousarray(image), axes=(2,))
        return kspace * plan.covered()[plan.kind[part[0]]] if plan.partial_echo else kspace
