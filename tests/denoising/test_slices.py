"""Slices that priors are evaluated on."""

import numpy as np
import pytest
import torch

from mrrecon import Grid
from mrrecon.denoising import validation_slices
from mrrecon.errors import DataError
from mrrecon.training import TrainingVolume


def ball(shape=(24, 28, 32), voxel_size=(1.0, 1.0, 1.0), name="ball", dtype=np.float32):
    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    image = (sum((g / 0.7) ** 2 for g in grids) < 1).astype(dtype)
    return TrainingVolume(image, Grid(shape, voxel_size), name)


def test_every_plane_at_every_voxel_size_once():
    cases = validation_slices([ball()], voxel_sizes=(2.0, 1.0, 2.0), per_plane=3)
    assert [(c.voxel_size, c.plane) for c in cases] == [(2.0, 0), (2.0, 1), (2.0, 2), (1.0, 0), (1.0, 1), (1.0, 2)]
    assert [tuple(c.slices.shape) for c in cases[3:]] == [(3, 28, 32), (3, 24, 32), (3, 24, 28)]
    assert tuple(cases[0].slices.shape) == (3, 14, 16)
    assert all(c.slices.dtype == torch.complex64 for c in cases)
    assert cases[1].condition.plane == 1 and cases[1].condition.voxel_size == (2.0, 2.0)


def test_slices_are_those_of_the_volume_with_a_smooth_phase():
    volume = ball()
    for case in validation_slices([volume], voxel_sizes=[1.0], per_plane=2):
        truth = np.moveaxis(volume.image, case.plane, 0)[list(case.positions)]
        np.testing.assert_allclose(case.slices.abs().numpy(), truth, atol=1e-6)
        inside = case.slices.numpy()[:, 12:15, 12:15]
        steps = np.angle(inside[:, 1:] * inside[:, :-1].conj())
        assert 0 < np.abs(steps).max() < 0.5


def test_empty_slices_are_left_out():
    volume = ball()
    (case, *_) = validation_slices([volume], voxel_sizes=[1.0], per_plane=50)
    level = np.abs(volume.image).mean(axis=(1, 2))
    assert len(case.positions) == len(set(case.positions)) > 5
    assert min(level[list(case.positions)]) > 0.05


def test_one_slice_is_the_middle_one():
    (case, *_) = validation_slices([ball()], voxel_sizes=[1.0], per_plane=1)
    assert abs(case.positions[0] - 12) <= 1


def test_complex_volumes_keep_their_phase_and_seeds_change_the_others():
    complex_ball = ball(dtype=np.complex64)
    own = TrainingVolume(complex_ball.image * np.complex64(1j), complex_ball.grid, "own")
    for case in validation_slices([own], voxel_sizes=[1.0], per_plane=1):
        assert case.slices.real.abs().max() < 1e-6
    one, two = (validation_slices([ball()], [1.0], 1, seed=s)[0].slices for s in (0, 1))
    assert not torch.allclose(one, two)


def test_coarse_and_thick_volumes_are_left_out():
    fine, coarse = ball(name="fine"), ball((12, 14, 16), (2.0, 2.0, 2.0), "coarse")
    thick = ball((24, 28, 8), (1.0, 1.0, 4.0), "thick")
    cases = validation_slices([fine, coarse, thick], voxel_sizes=(1.0, 2.0), per_plane=1)
    assert {(c.volume, c.voxel_size) for c in cases} == {("fine", 1.0), ("fine", 2.0), ("coarse", 2.0)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"voxel_sizes": (1.0, 0.5)}, "0.5 mm"),
        ({"voxel_sizes": (0.0,)}, "positive"),
        ({"voxel_sizes": ()}, "positive"),
        ({"per_plane": 0}, "at least 1"),
    ],
)
def test_settings_that_give_no_slices_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        validation_slices([ball()], **{"voxel_sizes": (1.0,), **options})


@pytest.mark.data
def test_validation_volumes_show_bright_tissue_at_about_one(data_dir):
    from mrrecon.training import read_volumes

    volumes = read_volumes(data_dir / "validation" / "brain_t1_ixi015_2mm.nii.gz")
    for case in validation_slices(volumes, voxel_sizes=(2.0, 4.0), per_plane=2):
        assert 0.7 < float(torch.quantile(case.slices.abs().flatten(), 0.995)) < 2.0
