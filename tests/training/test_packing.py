"""Packed training volumes: what is kept, what is dropped, and files that are no packs."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from mrrecon import Grid
from mrrecon.errors import DataError, FileFormatError
from mrrecon.training import TrainingVolume, open_volumes, pack, quantise, read_pack
from mrrecon.training.differences import differences, undo_differences


def ball(shape=(40, 44, 36), voxel=(1.0, 1.0, 1.0), noise=0.0, seed=0, name="ball", **more):
    """A textured ball of 28 mm in diameter at unit signal, with a dark cavity inside and noise everywhere."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * v for n, v in zip(shape, voxel, strict=True)], indexing="ij")
    r = np.sqrt(x * x + y * y + z * z)
    image = (r < 14) * (1 + 0.3 * np.sin(0.5 * x) * np.cos(0.4 * y + 0.3 * z)) * (r > 6)
    image = np.abs(image + noise * rng.standard_normal(shape))
    return TrainingVolume(image.astype(np.float32), Grid(shape, voxel), name, **more)


def place(packed, volume):
    """Where in the volume the cropped, packed one lies, by correlation of the profiles along each axis."""
    starts = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        whole, part = volume.image.sum(axis=others), packed.unpack().image.sum(axis=others)
        errors = [np.abs(whole[s : s + len(part)] - part).sum() for s in range(len(whole) - len(part) + 1)]
        starts.append(int(np.argmin(errors)))
    return tuple(slice(s, s + n) for s, n in zip(starts, packed.grid.shape, strict=True))


@pytest.mark.parametrize(("bits", "largest", "typical"), [(8, 1 / 250, 1 / 350), (7, 1 / 120, 1 / 180)])
def test_rounding_to_bytes_is_far_below_the_signal(bits, largest, typical):
    volume = ball()
    packed = quantise(volume, bits=bits)
    error = packed.unpack().image - volume.image[place(packed, volume)]
    assert np.abs(error).max() < largest * volume.image.max()
    assert np.sqrt(np.mean(error[packed.magnitude > 0] ** 2)) < typical


def test_complex_volumes_keep_their_phase():
    volume = ball()
    ramp = np.exp(1j * np.linspace(-4, 4, 40)).reshape(-1, 1, 1).astype(np.complex64)
    packed = quantise(TrainingVolume(volume.image * ramp, volume.grid, "ball"))
    box = place(quantise(volume), volume)
    truth = (volume.image * ramp)[box]
    assert packed.is_complex
    assert np.abs(packed.unpack().image - truth).max() < 0.025  # 2 pi / 512 and the rounding of the magnitude


def test_outer_air_is_cropped_and_cleared_but_cavities_stay():
    packed = quantise(ball(noise=0.02))
    assert max(packed.grid.shape) <= 36 and packed.magnitude.size < 0.75 * 40 * 44 * 36
    image = packed.unpack().image
    middle = tuple(n // 2 for n in packed.grid.shape)
    assert image[0].max() == 0 and image[middle].max() < 0.1
    assert (image[tuple(slice(m - 3, m + 3) for m in middle)] > 0).mean() > 0.9  # noise of the cavity, not air


def test_fine_voxels_are_resampled_and_coarse_ones_stay():
    fine = quantise(ball((80, 44, 36), (0.5, 1.0, 1.2)), voxel_size=1.0)
    np.testing.assert_allclose(fine.grid.voxel_size, (1.0, 1.0, 1.2))
    coarse = quantise(ball(), voxel_size=1.0)
    np.testing.assert_allclose(np.array(fine.grid.shape[:2]), np.array(coarse.grid.shape[:2]), atol=2)
    both = fine.unpack().image[fine.grid.shape[0] // 2], coarse.unpack().image[coarse.grid.shape[0] // 2]
    assert both[0].max() == pytest.approx(both[1].max(), rel=0.1)


def test_of_thick_slices_only_the_plane_is_resampled():
    volume = quantise(ball((80, 88, 10), (0.5, 0.5, 4.0)), voxel_size=1.0)
    np.testing.assert_allclose(volume.grid.voxel_size, (1.0, 1.0, 4.0))
    assert volume.grid.shape[2] >= 8


def test_slabs_are_the_slices_of_the_volume():
    packed = quantise(ball())
    whole = packed.unpack().image
    for axis in range(3):
        np.testing.assert_array_equal(packed.slab(axis, 3, 5), np.moveaxis(whole, axis, 0)[3:5])


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (16, 17, 9), (8, 1, 24)])
def test_differences_are_undone_exactly(shape, rng):
    codes = rng.integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(undo_differences(differences(codes)), codes)


def test_differences_of_smooth_images_are_small():
    codes = quantise(ball()).magnitude
    inside = codes[6:-6, 6:-6, 6:-6]
    assert np.abs(differences(inside).astype(np.int8).astype(int)).mean() < 0.3 * inside.mean()


def test_a_file_gives_the_volumes_back(tmp_path):
    phase = np.exp(0.3j).astype(np.complex64)
    volumes = [ball(name="one", subject="A", source="one.nii"), ball(name="two", seed=1, subject="A", level=7.0)]
    volumes[1] = TrainingVolume(volumes[1].image * phase, volumes[1].grid, "two", "A", 7.0)
    path = pack(volumes, tmp_path / "pack.h5", validation=[ball(name="three", noise=0.01, subject="B")])
    found = read_pack(path)
    assert [v.name for v in found] == ["one", "two"] and [v.name for v in read_pack(path, "validation")] == ["three"]
    for got, volume in zip(found, volumes, strict=True):
        want = quantise(volume)
        np.testing.assert_array_equal(got.magnitude, want.magnitude)
        np.testing.assert_array_equal(got.unpack().image, want.unpack().image)
        assert (got.grid, got.subject, got.level, got.source) == (
            want.grid,
            want.subject,
            want.level,
            want.source,
        )
    assert not found[0].is_complex and found[1].is_complex
    assert found[0].magnitude.dtype == np.uint8


def test_packed_files_and_images_open_alike(tmp_path):
    import nibabel

    path = pack([ball(name="one")], tmp_path / "pack.h5", validation=[ball(name="two")])
    nibabel.save(nibabel.Nifti1Image(ball().image, np.eye(4)), tmp_path / "three.nii.gz")
    assert [v.name for v in open_volumes([path, tmp_path / "three.nii.gz"])] == ["one", "three"]
    assert [v.name for v in open_volumes(path, "validation")] == ["two"]


def test_a_subject_is_never_on_both_sides(tmp_path):
    with pytest.raises(DataError, match=r"Subject 'A'.*split by subject"):
        pack([ball(subject="A")], tmp_path / "p.h5", validation=[ball(name="other", subject="A")])
    with pytest.raises(DataError, match="Two volumes are called 'ball'"):
        pack([ball()], tmp_path / "p.h5", validation=[ball()])
    assert not list(tmp_path.iterdir())  # nothing half written


@pytest.mark.parametrize(
    ("settings", "message"), [({"bits": 9}, "bits"), ({"bits": 3}, "bits"), ({"voxel_size": 0.0}, "voxel_size")]
)
def test_settings_are_checked(settings, message):
    with pytest.raises(DataError, match=message):
        quantise(ball(), **settings)


def test_air_alone_is_no_volume(tmp_path):
    air = TrainingVolume(np.full((20, 20, 20), 0.01, np.float32), Grid((20, 20, 20)), "air")
    with pytest.raises(DataError, match="air has no voxels above"):
        quantise(air)
    with pytest.raises(DataError, match="no volumes to pack"):
        pack([], tmp_path / "p.h5")


def test_truncated_packs_are_told_in_a_sentence(tmp_path):
    path = pack([ball(noise=0.05)], tmp_path / "pack.h5")
    content = path.read_bytes()
    for size in (4, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(FileFormatError, match=r"pack\.h5"):
            read_pack(path)


def test_damaged_bytes_are_told_in_a_sentence(tmp_path):
    path = pack([ball(noise=0.05)], tmp_path / "pack.h5")
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        chunk = file["train/0000/magnitude"].id.get_chunk_info(0)
    content[chunk.byte_offset + 50 : chunk.byte_offset + 90] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"pack\.h5"):
        read_pack(path)


def test_foreign_files_are_no_packs(tmp_path):
    (tmp_path / "a.h5").write_text("not HDF5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["kspace"] = np.zeros(3)
    for name in ("a.h5", "b.h5"):
        with pytest.raises(FileFormatError, match="is not a file of packed training volumes"):
            read_pack(tmp_path / name)
    with pytest.raises(FileFormatError, match="does not exist"):
        read_pack(tmp_path / "c.h5")
    path = pack([ball()], tmp_path / "d.h5")
    with h5py.File(path, "a") as file:
        file.attrs["version"] = 99
    with pytest.raises(FileFormatError, match=r"version 99.*reads up to 1"):
        read_pack(path)


@pytest.mark.data
def test_a_real_volume_survives_packing(data_dir):
    from mrrecon.training import read_volumes

    (volume,) = read_volumes(data_dir / "train" / "brain_t2_cstar_stroke.nii.gz")
    packed = quantise(volume)
    error = packed.unpack().image - np.maximum(volume.image[place(packed, volume)], 0)
    kept = packed.magnitude > 0
    assert np.sqrt(np.mean(error[kept] ** 2)) < 1 / 200
    assert np.abs(error[~kept]).max() < 0.5 and np.mean(np.abs(error[~kept])) < 0.01
