"""Grids: what stays in place when the matrix changes, which planes suit a 2D prior, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import mrrecon as mr
from mrrecon import Grid
from mrrecon.errors import DataError, ShapeError

TURNED = np.array([[0, 0, 2.0, -30], [1, 0, 0, -50], [0, -1.5, 0, 40], [0, 0, 0, 1]])  # voxels of 1 x 1.5 x 2 mm


def turned(shape=(90, 61, 44)):
    return Grid(shape, affine=TURNED)


def test_voxel_size_and_affine_are_made_from_each_other():
    assert turned().voxel_size == (1.0, 1.5, 2.0)
    grid = Grid((4, 5, 6), (1, 2, 3))
    np.testing.assert_array_equal(grid.affine, [[1, 0, 0, -2], [0, 2, 0, -4], [0, 0, 3, -9], [0, 0, 0, 1]])
    np.testing.assert_array_equal(grid.positions((2, 2, 3)), 0)  # the middle voxel lies at the origin
    assert Grid((4, 5, 6)).voxel_size == (1.0, 1.0, 1.0) and grid.field_of_view == (4.0, 10.0, 18.0)


def test_equal_grids_are_one_key_and_their_affine_is_read_only():
    assert turned() == turned() and len({turned(), turned(), turned((90, 61, 45)), Grid((90, 61, 44))}) == 3
    affine = TURNED.copy()
    grid = Grid((4, 4, 4), affine=affine)
    affine[:] = 0
    np.testing.assert_array_equal(grid.affine, TURNED)
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 0


@pytest.mark.parametrize(
    ("wanted", "shape"), [((2, 3, 4), (45, 31, 22)), ((0.5, 1, 1.5), (180, 92, 59)), ((1, 1.5, 2), (90, 61, 44))]
)
def test_resizing_keeps_the_edges_of_the_field_of_view(wanted, shape):
    grid = turned().resized(wanted)
    assert grid.shape == shape
    np.testing.assert_allclose(grid.field_of_view, (90, 91.5, 88))
    for corner in (np.zeros(3), np.ones(3), [1, 0, 1]):
        np.testing.assert_allclose(
            grid.positions(np.multiply(corner, grid.shape) - 0.5),
            turned().positions(np.multiply(corner, (90, 61, 44)) - 0.5),
        )


def test_half_as_many_voxels_lie_between_pairs_of_the_old_ones():
    grid = Grid((8, 4, 6), affine=np.eye(4)).resized((2, 2, 2))
    np.testing.assert_allclose(grid.positions((0, 0, 0)), (0.5, 0.5, 0.5))
    assert grid.shape == (4, 2, 3) and grid.voxel_size == (2.0, 2.0, 2.0)


@pytest.mark.parametrize("shape", [(45, 60, 44), (31, 31, 31), (91, 62, 45)])
def test_cropping_kspace_keeps_the_middle_voxel(shape):
    grid = turned().with_shape(shape, anchor="centre")
    np.testing.assert_allclose(grid.positions([n // 2 for n in shape]), turned().positions((45, 30, 22)))
    np.testing.assert_allclose(grid.field_of_view, (90, 91.5, 88))


@pytest.mark.parametrize("anchor", ["edges", "centre"])
def test_there_and_back(anchor):
    back = turned().resized((2, 3, 5), anchor).with_shape((90, 61, 44), anchor)
    np.testing.assert_allclose(back.affine, TURNED, atol=1e-12)
    np.testing.assert_allclose(back.voxel_size, (1.0, 1.5, 2.0))


def test_other_voxel_edges_for_the_same_matrix():
    grid = turned().with_voxel_size((3, 3, 3))
    assert grid.shape == (90, 61, 44) and grid.voxel_size == (3.0, 3.0, 3.0)
    np.testing.assert_allclose(grid.positions((45, 30, 22)), turned().positions((45, 30, 22)))


@pytest.mark.parametrize("towards", ["RAS", "LPS", "PIL"])
def test_turning_moves_no_voxel(towards, rng):
    volume = rng.random((5, 6, 7))
    values, grid = turned(volume.shape).turned(volume, towards)
    assert values.shape == grid.shape
    for index in ((0, 0, 0), (4, 2, 1)):
        (there,) = np.argwhere(values == volume[index])
        np.testing.assert_allclose(grid.positions(there), turned(volume.shape).positions(index))
    edges = {"R": 2.0, "L": 2.0, "A": 1.0, "P": 1.0, "S": 1.5, "I": 1.5}  # mm along the axes of the patient
    assert grid.voxel_size == tuple(edges[letter] for letter in towards)


@pytest.mark.parametrize(
    ("shape", "voxel", "planes"),
    [
        ((64, 64, 64), (1.0, 1.0, 1.0), (0, 1, 2)),
        ((64, 64, 30), (2.0, 2.0, 4.4), (0, 1, 2)),  # three planes are as good as one
        ((64, 64, 30), (2.0, 2.0, 5.1), (2,)),
        ((64, 64, 20), (0.9, 0.9, 5.5), (2,)),
        ((20, 64, 64), (5.0, 1.0, 1.0), (0,)),
        ((64, 64, 40), (1.0, 2.0, 4.0), (0, 2)),
        ((64, 64, 7), (1.0, 1.0, 1.0), (2,)),
        ((64, 7, 7), (1.0, 1.0, 1.0), ()),
    ],
)
def test_planes_are_wide_and_not_too_oblong(shape, voxel, planes):
    assert Grid(shape, voxel).planes() == planes


def test_slices_have_the_edges_of_the_other_axes():
    assert [turned().slice_edges(plane) for plane in range(3)] == [(1.5, 2.0), (1.0, 2.0), (1.0, 1.5)]


def test_scans_and_results_know_their_grid():
    kspace = np.ones((1, 4, 5, 6), np.complex64)
    scan = mr.Acquisition(kspace, np.ones((5, 6), bool), affine=TURNED)
    result = mr.Reconstruction(kspace[0], scan.voxel_size, scan.affine, "test")
    assert scan.grid == result.grid == turned((4, 5, 6)) and scan.voxel_size == (1.0, 1.5, 2.0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"shape": (4, 4)}, ShapeError, "three axes"),
        ({"shape": (4, 4, 0)}, ShapeError, "at least one voxel"),
        ({"voxel_size": (1, 2)}, DataError, "three positive lengths"),
        ({"voxel_size": (1, 2, np.nan)}, DataError, "three positive lengths"),
        ({"voxel_size": 1.0}, DataError, "three positive lengths"),
        ({"affine": np.eye(3)}, DataError, "4x4"),
        ({"affine": np.diag([1, 0, 1, 1])}, DataError, "invertible"),
        ({"affine": np.full((4, 4), np.inf)}, DataError, "finite"),
        ({"affine": "RAS"}, DataError, "array of numbers"),
        (
            {"affine": np.eye(4), "voxel_size": (2, 2, 2)},
            DataError,
            r"\(2.0, 2.0, 2.0\) .* \(1.0, 1.0, 1.0\) mm, disagree",
        ),
    ],
)
def test_what_is_no_grid_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Grid(**{"shape": (4, 4, 4), **arguments})


def test_volumes_of_another_shape_are_refused_by_name():
    turned().require(np.zeros((90, 61, 44)), "anatomy")
    with pytest.raises(ShapeError, match=r"anatomy has shape \(90, 61\)"):
        turned().require(np.zeros((90, 61)), "anatomy")
    for wrong in ((1, 1), (1, -1, 1)):
        with pytest.raises(DataError, match="three positive lengths"):
            turned().resized(wrong)
