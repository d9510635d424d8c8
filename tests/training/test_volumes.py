"""Training volumes: the scale they are brought to, what may be cut from them, and what is refused."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

import mrrecon as mr
from mrrecon import Grid
from mrrecon.errors import DataError, FileFormatError, ShapeError
from mrrecon.operators.signal_level import signal_scale
from mrrecon.training import TrainingVolume, find_volumes, read_volumes

SHAPE = (48, 56, 52)


def head(shape=SHAPE, voxel=1.0):
    """An ellipsoid with a dark core, bright tissue being about 400."""
    axes = [(np.arange(n) - (n - 1) / 2) / (0.4 * n) for n in shape]
    r = np.sqrt(sum(a.reshape([-1 if i == j else 1 for j in range(3)]) ** 2 for i, a in enumerate(axes)))
    return (400.0 * (r < 1) - 250.0 * (r < 0.4)).astype(np.float32)


def save_nifti(path, image, voxel=(1.0, 1.0, 1.0)):
    nibabel.save(nibabel.Nifti1Image(image, np.diag([*voxel, 1.0])), path)
    return path


def test_the_scale_is_that_of_the_solvers():
    scan = mr.simulate(head(), n_coils=6, seed=1)
    seen_by_solvers = signal_scale(scan.kspace, scan.mask).level
    volume = TrainingVolume.from_image(np.abs(scan.reference), Grid(SHAPE), "head")
    assert volume.level == pytest.approx(seen_by_solvers, rel=0.02)


def test_bright_tissue_is_about_one_whatever_the_units():
    one = TrainingVolume.from_image(head(), Grid(SHAPE), "head")
    other = TrainingVolume.from_image(1e-6 * head(), Grid(SHAPE), "head")
    assert 0.7 < np.median(one.image[one.image > 0.5 * one.image.max()]) < 1.4
    np.testing.assert_allclose(one.image, other.image, rtol=1e-4)


def test_nifti_is_a_magnitude_image_with_its_voxel_size(tmp_path):
    save_nifti(tmp_path / "head.nii.gz", head(), (1.0, 1.5, 2.0))
    (volume,) = read_volumes(tmp_path / "head.nii.gz")
    assert not volume.is_complex
    assert volume.name == "head" and volume.source == "head.nii.gz"
    np.testing.assert_allclose(volume.grid.voxel_size, (1.0, 1.5, 2.0), rtol=1e-6)
    np.testing.assert_allclose(volume.image * volume.level, head(), rtol=1e-5)


def test_reconstructions_keep_their_phase(tmp_path):
    image = head() * np.exp(1j * np.linspace(-1, 1, 48)).reshape(-1, 1, 1)
    mr.Reconstruction(image, (1.0, 1.0, 1.0), np.eye(4), "test").save(tmp_path / "volume.h5")
    (volume,) = read_volumes(tmp_path / "volume.h5")
    assert volume.is_complex
    np.testing.assert_allclose(volume.image * volume.level, image, atol=1e-3)


@pytest.mark.parametrize("keep_maps", [True, False], ids=["own maps", "calibrated"])
def test_complete_kspace_becomes_the_combined_complex_image(tmp_path, keep_maps):
    scan = mr.simulate(head(), n_coils=6, snr=100, phase=True, keep_maps=keep_maps, seed=2)
    mr.write(scan, tmp_path / "scan.h5")
    (volume,) = read_volumes(tmp_path / "scan.h5")
    assert volume.is_complex and volume.grid == scan.grid
    truth = np.abs(scan.reference)
    inside = truth > 0.5 * truth.max()
    np.testing.assert_allclose((np.abs(volume.image) * volume.level)[inside], truth[inside], rtol=0.1)
    assert np.ptp(np.angle(volume.image[inside])) > 0.5  # the phase of the object is still there


def test_undersampled_kspace_is_refused(tmp_path):
    scan = mr.simulate(head(), n_coils=4, snr=50, seed=3)
    mask = np.ones(scan.shape[1:], bool)
    mask[::4] = False
    mask[20:36] = True
    mr.write(scan.undersample(mask), tmp_path / "fast.h5")
    with pytest.raises(DataError, match=r"fast\.h5 is undersampled \(R = 1\.\d+\).*reconstruct it first"):
        list(read_volumes(tmp_path / "fast.h5"))


def test_kspace_that_lacks_only_an_end_is_complete_enough(tmp_path):
    scan = mr.simulate(head(), n_coils=4, snr=50, keep_maps=True, seed=3)
    mask = np.ones(scan.shape[1:], bool)
    mask[:, -8:] = False
    mr.write(scan.undersample(mask), tmp_path / "scan.h5")
    assert len(list(read_volumes(tmp_path / "scan.h5"))) == 1


def test_low_resolution_kspace_in_a_large_matrix_is_refused(tmp_path):
    scan = mr.simulate(head(), n_coils=4, snr=50, keep_maps=True, seed=3)
    mask = np.zeros(scan.shape[1:], bool)
    mask[14:42, 13:39] = True
    mr.write(scan.undersample(mask), tmp_path / "scan.h5")
    with pytest.raises(DataError, match="undersampled"):
        list(read_volumes(tmp_path / "scan.h5"))


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.ones((8, 8)), ShapeError, "three axes"),
        (np.ones((8, 8, 9)), ShapeError, "three axes"),
        (np.full((8, 8, 8), np.nan), DataError, "512 NaN or Inf"),
        (np.zeros((8, 8, 8)), DataError, "zero everywhere"),
        (np.full((8, 8, 8), "a"), DataError, "numbers"),
    ],
)
def test_what_is_no_volume_is_refused_by_name(image, error, message):
    with pytest.raises(error, match=f"thing .*{message}"):
        TrainingVolume.from_image(image, Grid((8, 8, 8)), "thing")


def test_a_volume_has_two_voxels_a_side():
    with pytest.raises(ShapeError, match=r"thing .*at least two voxels"):
        TrainingVolume.from_image(np.ones((8, 8, 1)), Grid((8, 8, 1)), "thing")


def test_sources_are_files_folders_and_patterns(tmp_path):
    for name in ("b.nii.gz", "a.nii"):
        save_nifti(tmp_path / name, head())
    (tmp_path / "notes.txt").write_text("not a volume")
    assert [p.name for p in find_volumes(tmp_path)] == ["a.nii", "b.nii.gz"]
    assert [p.name for p in find_volumes(str(tmp_path / "*.gz"))] == ["b.nii.gz"]
    assert len(find_volumes([tmp_path, tmp_path / "a.nii"])) == 2  # once each
    for source in (tmp_path / "*.mgz", tmp_path / "none.nii", tmp_path.parent / "nowhere"):
        with pytest.raises(FileFormatError, match="No training volumes in"):
            find_volumes(source)


def test_an_empty_folder_says_what_it_lacks(tmp_path):
    with pytest.raises(FileFormatError, match="the folder holds none"):
        find_volumes(tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        save_nifti(tmp_path / folder / "head.nii", head())
    with pytest.raises(DataError, match="Two training files are called 'head'"):
        read_volumes([tmp_path / "one", tmp_path / "two"])


@pytest.mark.data
def test_real_volumes_have_bright_tissue_at_about_one(data_dir):
    names = ("brain_t1_cstar_stroke", "brain_t2_tcga6692", "brain_t1_prisma_xa30")
    for volume in read_volumes([data_dir / "train" / f"{name}.nii.gz" for name in names]):
        tissue = volume.image[volume.image > 0.3]
        assert 0.5 < np.median(tissue) < 1.3, volume.name


@pytest.mark.data
def test_no_validation_file_is_read_when_the_training_folder_is_given(data_dir, monkeypatch):
    opened = []

    def spy(path):
        opened.append(path)
        return head(), Grid(SHAPE)

    monkeypatch.setattr("mrrecon.training.volumes.read_volume", spy)
    names = {volume.name for volume in read_volumes(data_dir / "train")}
    assert len(names) == len(opened) == len(list((data_dir / "train").glob("*.nii.gz"))) > 30
    assert {path.resolve().parent for path in opened} == {(data_dir / "train").resolve()}
    assert not names & {path.name.removesuffix(".nii.gz") for path in (data_dir / "validation").iterdir()}
