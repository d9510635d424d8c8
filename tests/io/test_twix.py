"""Siemens twix: files laid out byte by byte as the format is, and files of real scanners with right answers."""

import json

import numpy as np
import pytest

import mrrecon as mr
from mrrecon.errors import FileFormatError
from mrrecon.io.regridding import RampSampling, positions

pytest.importorskip("twixtools")
from twix_scans import block, protocol, sync_block, write_twix, write_vb

OVERSAMPLED = {"flReadoutOSFactor": 2.0}


def volume_blocks(kspace, keep=None, flags=(), **more):
    _, n_x, n_y, n_z = kspace.shape
    return [
        block(kspace[:, :, y, z], flags, center=(n_x // 2, n_y // 2, n_z // 2), Lin=y, Par=z, **more)
        for y in range(n_y)
        for z in range(n_z)
        if keep is None or keep[y, z]
    ]


def plane_blocks(kspace, flags=(), **more):
    """Lines of one slice ``(coils, x, y)``."""
    _, n_x, n_y = kspace.shape
    return [block(kspace[:, :, y], flags, center=(n_x // 2, n_y // 2, 0), Lin=y, **more) for y in range(n_y)]


def magnitude(scan, make):
    """Root of the sum of squares of the coil images, ``(x, y, z)``."""
    axes = tuple(axis + 1 for axis, domain in enumerate(scan.domains) if domain == "kspace")
    return np.sqrt((np.abs(make.ifft(np.asarray(scan.kspace), axes)) ** 2).sum(axis=0))


def test_3d_with_noise_scan_and_other_readouts(tmp_path, make, rng):
    images = make.phantom((16, 12, 10), 3)
    images[:, :4] = images[:, 12:] = 0
    kspace = make.fft(images, (1, 2, 3))
    noise = (rng.standard_normal((3, 256)) + 1j * rng.standard_normal((3, 256))).astype(np.complex64)
    keep = rng.random((12, 10)) < 0.6
    keep[0, 0] = keep[6, 5] = True
    scan_blocks = volume_blocks(kspace, keep, position=(10.0, 20.0, 30.0))
    junk = [block(np.full((3, 16), 1e6), flags=[f]) for f in ("PHASCOR", "RTFEEDBACK")]
    path = write_twix(tmp_path / "meas.dat", [[block(noise, flags=["NOISEADJSCAN"])], junk + scan_blocks])
    scan = mr.read(path)
    assert scan.shape == (8, 12, 10) and scan.domains == ("image", "kspace", "kspace")
    np.testing.assert_array_equal(scan.mask, keep)
    expected = make.fft(images[:, 4:12], (2, 3)) * keep
    np.testing.assert_allclose(scan.kspace, expected, atol=3e-6)
    np.testing.assert_allclose(scan.noise_covariance, noise @ noise.conj().T / 256, rtol=1e-5)
    assert scan.voxel_size == pytest.approx((20.0, 10.0, 5.0))
    np.testing.assert_allclose(scan.affine @ [4, 6, 5, 1], [-10, -20, 30, 1], atol=1e-4)


def test_averages_reflected_lines_and_partial_fourier(tmp_path, make):
    """Two averages; every other line sampled backwards; the first three lines never measured."""
    kspace = make.fft(make.phantom((16, 12, 10), 2), (1, 2, 3))
    blocks = []
    for average, factor in ((0, 1.5), (1, 0.5)):
        for y in range(3, 12):
            for z in range(10):
                line = factor * kspace[:, :, y, z]
                line, flags = (line[:, ::-1], ["REFLECT"]) if y % 2 == 1 else (line, [])
                blocks.append(block(line, flags, center=(8, 3, 5), Lin=y - 3, Par=z, Ave=average))
    scan = mr.read(write_twix(tmp_path / "meas.dat", [blocks]), remove_oversampling=False)
    keep = np.zeros((12, 10), bool)
    keep[3:] = True
    np.testing.assert_array_equal(scan.mask, keep)
    np.testing.assert_allclose(make.fft(scan.kspace, (1,)), kspace * keep, atol=3e-6)


def test_2d_slices_and_repetitions(tmp_path, make):
    images = make.phantom((4, 16, 12), 2)
    kspace = make.fft(images, (2, 3))
    blocks = [
        block((1 + rep) * kspace[:, s, :, y], center=(8, 6, 0), position=(0, 0, 6.0 * s), Lin=y, Sli=s, Rep=rep)
        for rep in range(2)
        for s in range(4)
        for y in range(12)
    ]
    path = write_twix(tmp_path / "meas.dat", [blocks], protocol(12, 1, (80, 60, 5)))
    scan = mr.read(path, repetition=1, remove_oversampling=False)
    np.testing.assert_allclose(make.ifft(scan.kspace, (2, 3)), 2 * images, atol=5e-6)
    assert scan.voxel_size == pytest.approx((6.0, 10.0, 5.0)) and scan.readout == "y"
    with pytest.raises(FileFormatError, match="no repetition 2"):
        mr.read(path, repetition=2)


def test_truncated_and_damaged(tmp_path, make):
    kspace = make.fft(make.phantom((16, 12, 10), 2), (1, 2, 3))
    path = write_twix(tmp_path / "meas.dat", [volume_blocks(kspace)])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileFormatError, match="truncated"):
        mr.read(path)
    header = int.from_bytes(whole[10240:10244], "little")
    broken = bytearray(whole)
    broken[10240 + header + 40 : 10240 + header + 52] = bytes([32] + [0] * 11)  # SYNCDATA of no length: never ends
    broken[10240 + header : 10240 + header + 4] = bytes(4)
    path.write_bytes(bytes(broken))
    with pytest.raises(FileFormatError, match="damaged at byte"):
        mr.read(path)
    path.write_bytes(write_twix(path, [[]]).read_bytes())
    with pytest.raises(FileFormatError, match="no imaging readouts"):
        mr.read(path)
    rng = np.random.default_rng(3)
    for _ in range(60):  # any other damage too ends in one of our errors, or goes unnoticed in the samples
        broken = bytearray(whole)
        for at in rng.integers(0, 12000, 6):
            broken[at] = rng.integers(0, 256)
        path.write_bytes(bytes(broken))
        try:
            mr.read(path)
        except mr.errors.MRReconError as error:
            assert "meas.dat" in str(error)


# ---- measured by scanners ---------------------------------------------------------------------------------------


def blocks_of(image):
    """Means of 8 x 8 blocks, over the largest."""
    means = np.array([[part.mean() for part in np.array_split(row, 8, 1)] for row in np.array_split(image, 8, 0)])
    return means / means.max()


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "answer", "options", "said"),
    [
        ("twixtools_gre", "twixtools_gre", {}, None),
        ("twixtools_gre_bodycoil", "twixtools_gre_bodycoil", {}, "holds 2 repetitions; read repetition=0"),
        ("twixtools_gre_bodycoil", "twixtools_gre_bodycoil repetition 1", {"repetition": 1}, "2 repetitions"),
        ("twixtools_singlechannel", "twixtools_singlechannel", {}, None),
        ("twixtools_epi", "twixtools_epi regridded, ghost-corrected", {}, None),
        ("pulseq_brain_gre", "pulseq_brain_gre", {}, "no centre line; it is taken as 64 of 128"),
    ],
)
def test_files_of_scanners_have_the_right_answers(data_dir, make, recwarn, name, answer, options, said):
    expected = json.loads((data_dir / "raw" / "expected.json").read_text())[answer]
    scan = mr.read(data_dir / "raw" / f"{name}.dat", **options)
    image = magnitude(scan, make)[0]
    assert scan.shape == (1, *expected["shape"]) and scan.readout == "y"
    np.testing.assert_allclose(scan.voxel_size, expected["voxel_mm"], rtol=1e-6)
    assert scan.acceleration == pytest.approx(256 / 214 if name.endswith("singlechannel") else 1, abs=1e-3)
    assert np.corrcoef(blocks_of(image).ravel(), np.ravel(expected["blocks_8x8"]))[0, 1] > (
        0.99 if "epi" in name else 0.999
    )
    weights = image**2 / (image**2).sum()
    centroid = [(np.arange(n) * weights.sum(axis=1 - axis)).sum() for axis, n in enumerate(image.shape)]
    np.testing.assert_allclose(centroid, expected["centroid_of_squared_image"], atol=0.05)
    assert np.linalg.norm(image) == pytest.approx(expected["norm"], rel=5e-3)
    notes = [str(w.message) for w in recwarn]
    assert any(said in note for note in notes) if said else not notes


@pytest.mark.data
def test_the_phantom_lies_where_the_scanner_saw_it(data_dir, make):
    """A ring of the phantom, and the brightest quarter (the resolution insert) at the patient's back."""
    scan = mr.read(data_dir / "raw" / "twixtools_gre.dat")
    np.testing.assert_allclose((scan.affine @ [0, 41.5, 119.4, 1])[:3], (50.7, -4.7, -52.1), atol=0.3)
    centre = scan.affine @ [0, 80, 80, 1]
    np.testing.assert_allclose(centre[:3], (2.59, -53.92, -54.0), atol=0.05)
