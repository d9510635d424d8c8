"""Acquisition: validated on construction, immutable, provenance kept, lazy by slab."""

import dataclasses

import numpy as np
import pytest

import mrrecon as mr
from mrrecon.errors import DataError, MaskError, MRReconError, ShapeError

SHAPE = (2, 4, 5, 3)


@pytest.fixture
def parts(rng):
    kspace = (rng.standard_normal(SHAPE) + 1j * rng.standard_normal(SHAPE)).astype(np.complex64)
    return {"kspace": kspace, "mask": np.ones((5, 3), bool)}


def set_value(array, index, value):
    changed = np.array(array)
    changed[index] = value
    return changed


BAD = [
    ("kspace", lambda k: k[0], ShapeError, "four axes .coils, x, y, z., got shape .4, 5, 3."),
    ("kspace", lambda k: k[:0], ShapeError, "empty axis"),
    ("kspace", lambda k: k.real, DataError, "must be complex, got dtype float32"),
    ("kspace", lambda k: k.astype(object), DataError, "object"),
    ("kspace", lambda k: None, DataError, "must be an array, got NoneType"),
    (
        "kspace",
        lambda k: set_value(k, (1, 0, 0, 0), np.nan),
        DataError,
        "coil 1 has 1 NaN or Inf values of 60",
    ),
    ("kspace", lambda k: set_value(k, (0, 2), np.inf), DataError, "coil 0 has 15 NaN or Inf"),
    ("kspace", lambda k: set_value(k.astype(complex), (0, 0, 0, 0), 1e60), DataError, "NaN or Inf"),
    ("kspace", lambda k: set_value(k, 1, 0), DataError, "coil 1 is zero everywhere.*select_coils"),
    ("mask", lambda m: m.T, MaskError, r"pass mask\.T"),
    ("mask", lambda m: m[:4], MaskError, "expects .y, z. = .5, 3."),
    ("mask", lambda m: np.ones((3, 5, 4)), MaskError, "transposed"),
    ("mask", lambda m: m * 0.5, MaskError, "weights"),
    ("mask", lambda m: m & False, MaskError, "empty"),
    ("mask", lambda m: None, MaskError, "boolean"),
    ("maps", lambda _: np.ones((4, 2, 5, 3)), ShapeError, "another order"),
    ("maps", lambda _: np.ones((3, 4, 5, 3)), ShapeError, "expected .coils, x, y, z."),
    ("maps", lambda _: np.full(SHAPE, np.nan), DataError, "NaN"),
    ("maps", lambda _: np.full(SHAPE, "a"), DataError, "must hold numbers"),
    ("reference", lambda _: np.ones((5, 4, 3)), ShapeError, "reference has shape"),
    ("noise_covariance", lambda _: np.eye(3), ShapeError, "expected .coils, coils. = .2, 2."),
    ("noise_covariance", lambda _: [[1, 2], [0, 1]], DataError, "Hermitian"),
    ("noise_covariance", lambda _: np.ones((2, 2)), DataError, "not positive definite"),
    ("noise_covariance", lambda _: "diagonal", DataError, "array of numbers"),
    ("voxel_size", lambda _: (1, 1, -1), DataError, "three positive lengths"),
    ("voxel_size", lambda _: 2.0, DataError, "three positive lengths"),
    ("voxel_size", lambda _: "abc", DataError, "three positive lengths"),
    ("affine", lambda _: np.zeros((4, 4)), DataError, "invertible"),
    ("affine", lambda _: "RAS", DataError, "array of numbers"),
    ("domains", lambda _: ("image", "image", "kspace"), DataError, "y and z must be in k-space"),
    ("domains", lambda _: ("k", "k", "k"), DataError, "'kspace' or 'image'"),
    ("domains", lambda _: None, DataError, "'kspace' or 'image'"),
]


@pytest.mark.parametrize(("name", "change", "error", "match"), BAD)
@pytest.mark.filterwarnings("error")
def test_bad_input_is_named_with_its_fix(parts, name, change, error, match):
    with pytest.raises(error, match=match) as caught:
        mr.Acquisition(**{**parts, name: change(parts.get(name))})
    assert isinstance(caught.value, MRReconError)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_three_axis_mask_needs_the_readout_in_kspace(parts):
    mask = np.ones((4, 5, 3), bool)
    mask[0, 0, 0] = False
    with pytest.raises(MaskError, match="hybrid space"):
        mr.Acquisition(parts["kspace"], mask, domains=("image", "kspace", "kspace"))
    same = np.broadcast_to(mask[0], (4, 5, 3))  # the same pattern at every x is a (y, z) mask
    scan = mr.Acquisition(parts["kspace"], same, domains=("image", "kspace", "kspace"))
    assert scan.mask.shape == (5, 3)
    assert mr.Acquisition(parts["kspace"], mask).mask.shape == (4, 5, 3)


def test_what_is_taken_and_what_comes_of_it(parts):
    torch = pytest.importorskip("torch")
    maps = np.ones((3, *SHAPE))
    scan = mr.Acquisition(
        torch.from_numpy(parts["kspace"]).to(torch.complex128), parts["mask"].astype(int).tolist(), maps=maps,
        noise_covariance=np.eye(2), voxel_size=[1, 2, 3],
    )  # fmt: skip
    assert scan.kspace.dtype == np.complex64 and scan.maps.dtype == np.complex64 and scan.mask.dtype == bool
    assert scan.n_coils == 2 and scan.shape == (4, 5, 3) and scan.voxel_size == (1.0, 2.0, 3.0)
    assert scan.is_whitened and not scan.is_lazy
    np.testing.assert_array_equal(scan.kspace, parts["kspace"])
    # the middle voxel n // 2 lies at the origin unless an affine says otherwise
    np.testing.assert_allclose(scan.affine @ [2, 2, 1, 1], [0, 0, 0, 1])
    text = repr(scan)
    assert "2 coils" in text and "4x5x3" in text and "kx|ky|kz" in text and "R=1.00" in text and "maps: 3" in text


def test_immutable(parts):
    scan = mr.Acquisition(**parts)
    with pytest.raises(dataclasses.FrozenInstanceError):
        scan.mask = None
    with pytest.raises(ValueError, match="read-only"):
        scan.kspace[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        scan.mask[0] = False
    parts["kspace"][0, 0, 0, 0] = 1  # the caller's array stays the caller's


def test_steps_are_kept(parts):
    first = mr.Acquisition(**parts)
    second = first.evolve("crop", {"to": 3}, voxel_size=(2, 2, 2), affine=None).evolve("compress")
    assert [s.name for s in second.provenance] == ["crop", "compress"]
    assert second.provenance[0].settings == {"to": 3}
    assert first.provenance == () and first.voxel_size == (1.0, 1.0, 1.0)
    with pytest.raises(MaskError):  # a step is validated like anything else
        first.evolve("bad", mask=np.ones((2, 2), bool))


def test_acceleration_counts_every_position(parts, rng):
    mask = rng.random((5, 3)) < 0.5
    mask[2, 1] = True
    assert mr.Acquisition(parts["kspace"], mask).acceleration == pytest.approx(15 / mask.sum())


class OnDisk:
    """A lazy array that counts what is read."""

    def __init__(self, array, dtype=np.complex64):
        self.array, self.shape, self.dtype, self.read = array, array.shape, np.dtype(dtype), 0

    def __getitem__(self, key):
        part = np.array(self.array[key])
        self.read += part.nbytes
        return part


def test_lazy_kspace_is_read_by_slab(parts):
    disk = OnDisk(parts["kspace"])
    scan = mr.Acquisition(disk, parts["mask"])
    assert scan.is_lazy and "on disk" in repr(scan) and disk.read == 0
    part = scan.slab(1, 3)
    np.testing.assert_array_equal(part, parts["kspace"][:, 1:3])
    assert disk.read == part.nbytes
    loaded = scan.load()
    assert not loaded.is_lazy
    np.testing.assert_array_equal(loaded.kspace, parts["kspace"])
    assert loaded.load() is loaded


def test_lazy_kspace_is_checked_when_loaded(parts):
    bad = parts["kspace"].copy()
    bad[1] = 0
    scan = mr.Acquisition(OnDisk(bad), parts["mask"])
    with pytest.raises(DataError, match="coil 1 is zero everywhere"):
        scan.load()
    with pytest.raises(DataError, match="complex64"):
        mr.Acquisition(OnDisk(bad.astype(np.complex128), np.complex128), parts["mask"])
