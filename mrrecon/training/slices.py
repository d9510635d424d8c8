"""Batches of clean complex slices for training, at one voxel size or at all of them.

A batch depends on the seed, the step and the rank and on nothing else: training resumes exactly, and processes that
train together see different slices without talking to each other.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import torch

from mrrecon.errors import DataError
from mrrecon.interrupts import deaf_to_interrupts
from mrrecon.training.augmentation import Augmentation, augment
from mrrecon.training.packing import PackedVolume
from mrrecon.training.resampling import cut_off, fit_canvas, resample, rotate
from mrrecon.training.volumes import TrainingVolume

__all__ = ["SliceSampler", "prefetch"]

Mode = Literal["diverse", "fixed"]
Volume = PackedVolume | TrainingVolume

JITTER = 0.05  # of the voxel size in mode "fixed"
LARGEST_UPSAMPLING = 1.15  # a volume with larger voxels is not eligible for a batch
NEARLY_EQUAL = 0.12  # voxels this near to the target may stay as they are
EMPTY = 0.15  # mean magnitude of a slice, of the fullest of its volume, below which there is hardly anything in it
EMPTY_RATE = 0.03  # such slices are kept this often
FIELDS = (1.0, 6 / 7, 5 / 7)  # 224, 192 and 160 mm, of the full field of view
LEAST_PIXELS = 16  # side of the smallest canvas


class _Plane:
    """One volume cut along one axis: which of its slices are worth showing, and from which voxel size on."""

    def __init__(self, volume: Volume, axis: int, isotropic: bool) -> None:
        self.volume, self.axis, self.isotropic = volume, axis, isotropic
        self.count = volume.grid.shape[axis]
        self.spacing = volume.grid.voxel_size[axis]
        self.edges = list(volume.grid.slice_edges(axis))
        means = np.array([np.abs(volume.slab(axis, i, i + 1)[0, ::2, ::2]).mean() for i in range(self.count)])
        full = means >= EMPTY * means.max()
        self.full, self.empty = np.flatnonzero(full), np.flatnonzero(~full)


class SliceSampler:
    """Random clean slices at unit signal.

    Parameters
    ----------
    volumes
        :class:`~mrrecon.training.packing.PackedVolume` or :class:`~mrrecon.training.volumes.TrainingVolume`.
    mode
        ``"diverse"``: the voxel size of a batch is `voxel_size` / f with f uniform between `min_factor` and 1, at the
        same field of view. ``"fixed"``: it is `voxel_size`, jittered by ±5 %.
    voxel_size
        Pixel edge, mm: of the finest slices in mode "diverse", of all slices in mode "fixed".
    min_factor
        Smallest f in mode "diverse".
    canvas
        Field of view of the slices, mm; half of the sides are shorter, by one or two sevenths.
    max_pixels_per_side, size_multiple
        Slices are at most this large, and a multiple of this (and at least 16).
    pixels_per_batch, max_batch
        Number of pixels in a batch, about: small slices come in larger batches, of 2 to `max_batch`.
    seed
        Of everything.
    augmentation
        How slices are varied; settings of :class:`~mrrecon.training.augmentation.Augmentation`.

    Attributes
    ----------
    settings : dict
        All of these, JSON-able: ``SliceSampler(volumes, **settings)`` draws the same slices.

    Raises
    ------
    DataError
        If a setting is out of range, or no volume is fine enough.

    Notes
    -----
    Volumes are drawn in proportion to the square root of their number of usable slices, then a plane among those that
    the volume allows (stacks of thick slices: in-plane only) and that are fine enough for the voxel size of the batch,
    then a slice. In half the cases neighbouring slices are averaged, so that the voxel is about isotropic.

    References
    ----------
    Training on diverse resolutions at a fixed field of view: Resolution-Robust 3D MRI Reconstruction with 2D Diffusion
    Priors, 2024, section on training. Here the factor is drawn anew for every batch.
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        mode: Mode = "diverse",
        voxel_size: float = 1.0,
        *,
        min_factor: float = 0.1,
        canvas: float = 224.0,
        max_pixels_per_side: int = 160,
        size_multiple: int = 8,
        pixels_per_batch: int = 8 * 112 * 112,
        max_batch: int = 64,
        seed: int = 0,
        augmentation: Augmentation | Mapping[str, Any] | None = None,
    ) -> None:
        if mode not in ("diverse", "fixed"):
            raise DataError(f"There is no sampling mode {mode!r}; choose 'diverse' or 'fixed'.")
        if not (math.isfinite(voxel_size) and voxel_size > 0):
            raise DataError(f"voxel_size must be a positive length in mm, got {voxel_size}.")
        if not 0 < min_factor <= 1:
            raise DataError(f"min_factor must be above 0 and at most 1, got {min_factor}.")
        if size_multiple < 1 or max_pixels_per_side < max(LEAST_PIXELS, size_multiple) or max_batch < 2:
            raise DataError(
                f"max_pixels_per_side must be at least {LEAST_PIXELS} and size_multiple, and max_batch at least 2; "
                f"got {max_pixels_per_side}, {size_multiple} and {max_batch}."
            )
        if not (math.isfinite(canvas) and canvas > 0 and pixels_per_batch > 0):
            raise DataError(f"canvas and pixels_per_batch must be positive, got {canvas} and {pixels_per_batch}.")
        if augmentation is None or isinstance(augmentation, Mapping):
            augmentation = Augmentation.from_settings(augmentation or {})
        self._augmentation = augmentation
        self.settings: dict[str, Any] = {
            "mode": mode,
            "voxel_size": voxel_size,
            "min_factor": min_factor,
            "canvas": canvas,
            "max_pixels_per_side": max_pixels_per_side,
            "size_multiple": size_multiple,
            "pixels_per_batch": pixels_per_batch,
            "max_batch": max_batch,
            "seed": seed,
            "augmentation": asdict(augmentation),
        }
        axes = [(volume, volume.grid.planes()) for volume in volumes]
        self._volumes = [[_Plane(volume, axis, len(all_) == 3) for axis in all_] for volume, all_ in axes]
        finest = voxel_size if mode == "diverse" else voxel_size * (1 - JITTER)
        if not any(self._eligible(planes, finest) for planes in self._volumes):
            have = min((max(p.edges) for planes in self._volumes for p in planes), default=None)
            found = "there are no volumes" if have is None else f"the finest has {have:.2f} mm"
            raise DataError(
                f"No training volume is fine enough for slices of {finest:.2f} mm: {found}; choose a larger voxel_size."
            )

    # ---- drawing -------------------------------------------------------------------------------------------

    def batch(self, step: int, rank: int = 0) -> torch.Tensor:
        """Slices ``(batch, height, width)``, complex64, for one step of one process; always the same ones."""
        s = self.settings
        rng = np.random.default_rng((s["seed"], step, rank))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        target = self._target(rng)
        height, width = self._side(target, rng), self._side(target, rng)
        size = int(np.clip(s["pixels_per_batch"] / (height * width), 2, s["max_batch"]))
        choices = [planes for planes in (self._eligible(v, target) for v in self._volumes) if planes]
        weights = np.sqrt([sum(len(p.full) for p in planes) / len(planes) for planes in choices])
        slices = torch.zeros((size, height, width), dtype=torch.complex64)
        has_phase = torch.zeros(size, dtype=torch.bool)
        for i in range(size):
            planes = choices[rng.choice(len(choices), p=weights / weights.sum())]
            plane = planes[rng.integers(len(planes))]
            image = self._draw(plane, target, rng)
            slices[i] = fit_canvas(image, (height, width), rng)
            has_phase[i] = plane.volume.is_complex
        return augment(slices, has_phase, target, self._augmentation, generator)

    @staticmethod
    def _eligible(planes: list[_Plane], target: float) -> list[_Plane]:
        return [p for p in planes if max(p.edges) <= LARGEST_UPSAMPLING * target]

    def _target(self, rng: np.random.Generator) -> float:
        """Voxel size of a batch, mm."""
        s = self.settings
        if s["mode"] == "fixed":
            return float(s["voxel_size"] * rng.uniform(1 - JITTER, 1 + JITTER))
        return float(s["voxel_size"] / rng.uniform(s["min_factor"], 1.0))

    def _side(self, target: float, rng: np.random.Generator) -> int:
        s = self.settings
        multiple = s["size_multiple"]
        full = min(s["canvas"] / target, s["max_pixels_per_side"])
        share = 1.0 if rng.random() < 0.5 else FIELDS[rng.integers(1, len(FIELDS))]
        pixels = multiple * max(1, round(full * share / multiple), math.ceil(LEAST_PIXELS / multiple))
        return min(pixels, multiple * (s["max_pixels_per_side"] // multiple))

    def _draw(self, plane: _Plane, target: float, rng: np.random.Generator) -> torch.Tensor:
        """One slice at about the target voxel size, in any of its eight orientations, real or complex."""
        scarce = len(plane.empty) > 0 and rng.random() < EMPTY_RATE
        index = int(rng.choice(plane.empty if scarce else plane.full))
        start, stop = index, index + 1
        if plane.isotropic and rng.random() < 0.5:
            thickness = min(plane.count, max(1, round(target / plane.spacing)))
            start = min(max(0, index - thickness // 2), plane.count - thickness)
            stop = start + thickness
        image = plane.volume.slab(plane.axis, start, stop).mean(axis=0)
        edges = [e * f for e, f in zip(plane.edges, self._scales(plane.edges, target, rng), strict=True)]
        if rng.random() < 0.5:
            image, edges = image.T, edges[::-1]
        image = image[:: int(rng.choice((-1, 1))), :: int(rng.choice((-1, 1)))]
        slice_ = torch.from_numpy(np.ascontiguousarray(image))
        if rng.random() < self._augmentation.rotation:
            slice_ = rotate(slice_, edges, float(rng.uniform(-1, 1) * self._augmentation.angle))
        near = all(abs(e / target - 1) < NEARLY_EQUAL for e in edges)
        if near and rng.random() < 0.5:
            return slice_
        kernels = ["cubic"] if near else ["cubic", "linear"]
        if not any(cut_off(slice_, 0) + cut_off(slice_, 1)):  # else its ringing would reappear at the opposite border
            kernels.append("k-space")
        return resample(slice_, [e / target for e in edges], kernels[rng.integers(len(kernels))])

    def _scales(self, edges: list[float], target: float, rng: np.random.Generator) -> list[float]:
        """Make the object larger or smaller by calling its voxels so; never to be upsampled beyond the limit."""
        spread = self._augmentation.scale
        common = rng.uniform(1 - spread, 1 + spread)
        scales = common * (1 + 0.3 * spread * rng.uniform(-1, 1, 2))
        return [min(float(f), LARGEST_UPSAMPLING * target / e) for e, f in zip(edges, scales, strict=True)]


def prefetch(
    sampler: SliceSampler, start_step: int = 0, rank: int = 0, depth: int = 4, workers: int = 1
) -> Iterator[tuple[int, torch.Tensor]]:
    """Draw batches ahead: yields ``(step, batch)`` in order, without end.

    Parameters
    ----------
    sampler
        What to draw from.
    start_step
        First step, for example where an interrupted training goes on.
    rank
        Of this process.
    depth
        Number of batches that are drawn ahead.
    workers
        1: a thread, which shares the cores with the training. More: so many processes, for a GPU that is faster than
        one core can draw; each holds a copy of the volumes.

    Notes
    -----
    Close the iterator (``iterator.close()``, or leave the loop and drop it) to end the workers. What goes wrong in
    them is raised here, at its step.
    """
    executor: Executor
    if workers > 1:
        spawn = multiprocessing.get_context("spawn")  # a fork would copy the locks of torch's threads
        executor = ProcessPoolExecutor(workers, spawn, _start_worker, (sampler,))
        draw: Callable[[int, int], np.ndarray] = _draw_in_worker
    else:
        executor = ThreadPoolExecutor(1, "slices", torch.set_num_threads, (1,))
        draw = _as_array(sampler)
    ahead: deque[Future[np.ndarray]] = deque()
    try:
        for step in itertools.count(start_step):
            while len(ahead) < max(depth, workers):
                with deaf_to_interrupts():  # Ctrl-C is for the training, which ends its workers
                    ahead.append(executor.submit(draw, step + len(ahead), rank))
            yield step, torch.from_numpy(ahead.popleft().result())
    finally:
        executor.shutdown(cancel_futures=True)


def _as_array(sampler: SliceSampler) -> Callable[[int, int], np.ndarray]:
    return lambda step, rank: sampler.batch(step, rank).numpy()


_worker: dict[str, Callable[[int, int], np.ndarray]] = {}  # of a worker process: what it draws from


def _start_worker(sampler: SliceSampler) -> None:
    torch.set_num_threads(1)
    _worker["draw"] = _as_array(sampler)


def _draw_in_worker(step: int, rank: int) -> np.ndarray:
    return _worker["draw"](step, rank)
