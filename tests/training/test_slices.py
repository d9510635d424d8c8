"""The slice sampler: batches that depend on the step alone, and the rules for what is in them."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from mrrecon import Grid
from mrrecon.errors import DataError
from mrrecon.training import Augmentation, SliceSampler, TrainingVolume, open_volumes, prefetch

PLAIN = Augmentation(
    intensity=(1.0, 1.0), shading=0, contrast=0, phase=0, local_phase=0, noise=0, blur=0, rotation=0, scale=0
)


def ball(voxel=(1.0, 1.0, 1.0), size=100.0, level=1.0, name="ball"):
    """A ball of 80 % of the field of view, with some structure."""
    shape = [round(size / v) for v in voxel]
    x, y, z = np.meshgrid(*[(np.arange(n) + 0.5) / n - 0.5 for n in shape], indexing="ij")
    image = (x * x + y * y + z * z < 0.16) * (1 + 0.2 * np.cos(30 * x) * np.cos(25 * y) * np.cos(20 * z))
    return TrainingVolume((level * image).astype(np.float32), Grid(shape, voxel), name)


@dataclass
class Recorder:
    """A volume that notes which slices are asked for."""

    volume: TrainingVolume
    asked: list[tuple[int, int, int]] = field(default_factory=list)

    def __getattr__(self, name):
        return getattr(self.volume, name)

    def slab(self, axis, start, stop):
        self.asked.append((axis, start, stop))
        return self.volume.slab(axis, start, stop)


def recorded(voxel, size=100.0):
    return Recorder(ball(voxel, size))


def draw(sampler, steps=12):
    return [sampler.batch(step) for step in range(steps)]


def test_a_batch_depends_on_seed_step_and_rank_alone():
    volumes = [ball(), ball((2.0, 2.0, 2.0))]
    sampler = SliceSampler(volumes, seed=3)
    fifth = sampler.batch(5)
    resumed = SliceSampler(volumes, seed=3)
    resumed.batch(11)
    assert torch.equal(fifth, resumed.batch(5))
    for other in (sampler.batch(6), sampler.batch(5, rank=1), SliceSampler(volumes, seed=4).batch(5)):
        assert other.shape != fifth.shape or not torch.equal(other, fifth)


def test_settings_rebuild_the_sampler():
    sampler = SliceSampler([ball()], "fixed", 2.0, canvas=120, seed=9, augmentation=Augmentation(noise=0.5))
    settings = json.loads(json.dumps(sampler.settings))
    assert torch.equal(SliceSampler([ball()], **settings).batch(2), sampler.batch(2))


def test_slices_are_complex_of_one_shape_per_batch():
    sampler = SliceSampler([ball()], size_multiple=8, max_pixels_per_side=96, max_batch=20, pixels_per_batch=40_000)
    shapes = set()
    for batch in draw(sampler, 30):
        assert batch.dtype == torch.complex64 and torch.isfinite(torch.view_as_real(batch)).all()
        n, height, width = batch.shape
        assert height % 8 == 0 and width % 8 == 0 and min(height, width) >= 16 and max(height, width) <= 96
        assert 2 <= n <= 20 and (n == 20 or n * height * width <= 40_000 < (n + 1) * height * width)
        shapes.add((height, width))
    assert len(shapes) > 10 and any(h != w for h, w in shapes)


def test_fixed_mode_stays_at_its_voxel_size():
    sides = {
        side
        for batch in draw(SliceSampler([ball()], "fixed", 4.0, canvas=224, max_batch=2), 30)
        for side in batch.shape[1:]
    }
    assert sides <= {40, 48, 56, 64} and len(sides) >= 3  # 160, 192, 224 mm at 3.8 to 4.2 mm, multiples of 8


def test_diverse_mode_reaches_from_fine_to_coarse():
    sides = [max(batch.shape[1:]) for batch in draw(SliceSampler([ball()], canvas=112, pixels_per_batch=1), 60)]
    assert min(sides) <= 24 and max(sides) >= 96


def test_thick_slices_are_never_cut_across():
    thick = recorded((1.0, 5.0, 1.0))
    SliceSampler([thick, ball()], "fixed", 1.0)
    thick.asked.clear()
    draw(SliceSampler([thick], "fixed", 1.0), 6)
    assert {axis for axis, _, _ in thick.asked} == {1}
    assert {stop - start for _, start, stop in thick.asked} == {1}  # nor averaged


def test_thin_slices_are_averaged_through_the_plane_half_the_time():
    thin = recorded((1.0, 1.0, 1.0))
    sampler = SliceSampler([thin], "fixed", 4.0, canvas=64)
    thin.asked.clear()
    draw(sampler, 2)
    thickness = np.array([stop - start for _, start, stop in thin.asked])
    assert set(thickness) == {1, 4} and 0.35 < (thickness == 4).mean() < 0.65
    assert {axis for axis, _, _ in thin.asked} == {0, 1, 2}


def test_coarse_volumes_are_not_upsampled():
    fine, coarse = recorded((1.0, 1.0, 1.0)), recorded((2.0, 2.0, 2.0))
    sampler = SliceSampler([fine, coarse], "fixed", 1.0)
    coarse.asked.clear()
    draw(sampler, 8)
    assert not coarse.asked
    sampler = SliceSampler([fine, coarse], "fixed", 2.0)
    coarse.asked.clear()
    draw(sampler, 4)
    assert coarse.asked


def test_planes_of_oblong_voxels_wait_for_their_voxel_size():
    oblong = recorded((1.0, 1.0, 2.0))
    sampler = SliceSampler([oblong], "fixed", 1.0)
    oblong.asked.clear()
    draw(sampler, 8)
    assert {axis for axis, _, _ in oblong.asked} == {2}


@pytest.mark.parametrize(("mode", "voxel"), [("fixed", 1.0), ("diverse", 1.0)])
def test_a_voxel_size_that_no_volume_has_is_refused(mode, voxel):
    with pytest.raises(DataError, match=r"fine enough.*the finest has 3\.00 mm"):
        SliceSampler([ball((3.0, 3.0, 3.0))], mode, voxel)
    with pytest.raises(DataError, match="there are no volumes"):
        SliceSampler([], mode, voxel)


@pytest.mark.parametrize("voxel", [1.0, 2.0, 5.0])
def test_intensities_stay_at_unit_signal(voxel):
    sampler = SliceSampler([ball()], "fixed", voxel, canvas=112, augmentation=PLAIN)
    tops = torch.cat([batch.abs().flatten(1).quantile(0.9, dim=1) for batch in draw(sampler, 4)])
    assert 0.85 < tops.median() < 1.2


def test_the_field_of_view_stays():
    """The ball's diameter in pixels is the one in mm over the voxel size, at every voxel size."""
    for voxel in (1.0, 2.0, 4.0):
        sampler = SliceSampler([ball()], "fixed", voxel, canvas=200, augmentation=PLAIN, max_pixels_per_side=200)
        widest = [int((batch.abs() > 0.5).sum(dim=axis).max()) for batch in draw(sampler, 8) for axis in (1, 2)]
        assert 80 / (1.06 * voxel) - 1 < max(widest) < 80 / (0.94 * voxel) + 2


def test_nearly_empty_slices_are_rare():
    volume = recorded((1.0, 1.0, 1.0))
    sampler = SliceSampler([volume], "fixed", 2.0)
    volume.asked.clear()
    draw(sampler, 20)
    outside = np.mean([start >= 85 or stop <= 15 for _, start, stop in volume.asked])
    assert 0 < outside < 0.12


def test_no_volume_dominates():
    large, small = recorded((1.0, 1.0, 1.0), 100.0), recorded((1.0, 1.0, 1.0), 25.0)
    sampler = SliceSampler([large, small], "fixed", 1.0)
    large.asked.clear()
    small.asked.clear()
    draw(sampler, 40)
    assert 1.4 < len(large.asked) / len(small.asked) < 2.9  # the square root of 4


def test_complex_volumes_keep_their_phase():
    magnitude = ball()
    ramp = np.exp(1j * np.linspace(0, 2, 100)).reshape(1, 1, -1).astype(np.complex64)
    sampler = SliceSampler(
        [TrainingVolume(magnitude.image * ramp, magnitude.grid, "complex")], "fixed", 2.0, augmentation=PLAIN
    )
    steps = []
    for slice_ in itertools.chain.from_iterable(draw(sampler, 3)):
        inside = slice_.abs() > 0.7
        for axis in (0, 1):
            product = slice_.diff(dim=axis) * 0 + slice_.narrow(axis, 1, slice_.shape[axis] - 1)
            product = product * slice_.narrow(axis, 0, slice_.shape[axis] - 1).conj()
            steps.append(float(torch.angle(product[inside.narrow(axis, 1, inside.shape[axis] - 1)].sum()).abs()))
    steps = np.array(steps)
    assert np.sum(steps > 0.03) > 10 and np.median(steps[steps > 0.03]) == pytest.approx(0.04, rel=0.15)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "all"}, "no sampling mode 'all'"),
        ({"voxel_size": -1.0}, "voxel_size must be a positive"),
        ({"min_factor": 0.0}, "min_factor"),
        ({"max_pixels_per_side": 4}, "max_pixels_per_side"),
        ({"max_batch": 1}, "max_batch"),
        ({"canvas": 0.0}, "canvas"),
        ({"augmentation": {"x": 1}}, "no augmentation setting 'x'"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(DataError, match=message):
        SliceSampler([ball()], **settings)


def test_prefetched_batches_come_in_order_from_any_step():
    sampler = SliceSampler([ball()], "fixed", 4.0)
    ahead = prefetch(sampler, start_step=7, rank=1, depth=2)
    for want, (step, batch) in zip(range(7, 12), ahead, strict=False):
        assert step == want and torch.equal(batch, sampler.batch(want, rank=1))
    ahead.close()


def test_worker_processes_draw_the_same():
    sampler = SliceSampler([ball((4.0, 4.0, 4.0))], "fixed", 4.0)
    ahead = prefetch(sampler, start_step=3, workers=2)
    for want, (step, batch) in zip(range(3, 7), ahead, strict=False):
        assert step == want and torch.equal(batch, sampler.batch(want))
    ahead.close()


def test_what_goes_wrong_ahead_is_raised_at_its_step():
    class Failing(SliceSampler):
        def batch(self, step, rank=0):
            if step == 2:
                raise DataError("no slice today")
            return super().batch(step, rank)

    ahead = prefetch(Failing([ball()], "fixed", 4.0))
    assert [next(ahead)[0], next(ahead)[0]] == [0, 1]
    with pytest.raises(DataError, match="no slice today"):
        next(ahead)


@pytest.mark.data
def test_real_volumes_of_every_kind_appear(data_dir):
    names = ("brain_t2_tcga6692", "brain_t1_ixi012_2mm")
    volumes = open_volumes([data_dir / "train" / f"{name}.nii.gz" for name in names])
    sampler = SliceSampler(volumes, "diverse", 2.0, min_factor=0.3, seed=1)
    for batch in draw(sampler, 3):
        level = batch.abs().flatten(1).quantile(0.98, dim=1)
        assert 0.3 < level.median() < 2.5
