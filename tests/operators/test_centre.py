"""Where k-space has its centre, and the block of samples around it."""

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from mrrecon import operators, simulation
from mrrecon.errors import ShapeError
from mrrecon.operators.calibration_data import central_samples, sampled_block

SHAPE = (40, 52, 47)


def ellipsoid(shape):
    r = np.meshgrid(*[(np.arange(n) - n // 2) / n for n in shape], indexing="ij", sparse=True)
    radius = np.sqrt((r[0] / 0.4) ** 2 + (r[1] / 0.36) ** 2 + (r[2] / 0.38) ** 2)
    return ((radius < 1) * (1 + 0.5 * np.cos(20 * r[1] + 9 * r[2]) * np.cos(15 * r[0]))).astype(np.float32)


@pytest.fixture(scope="module")
def kspace():
    return simulation.simulate(ellipsoid(SHAPE), n_coils=4, snr=30, seed=2).kspace


def hybrid(kspace):
    return operators.ifft(kspace, axes=(1,))


def moved(kspace, by):
    index = tuple((n // 2 + d) % n for n, d in zip(SHAPE, by, strict=True))
    return np.roll(kspace, by, (1, 2, 3)), index


MOVES = [(0, 0, 0), (2, 0, 0), (0, -2, 3), (-3, 4, -4), (8, 0, 8), (20, 26, 24), (0, -26, -23), (-12, 17, 15)]


class TestKspaceCentre:
    @pytest.mark.parametrize("by", MOVES)
    @pytest.mark.parametrize("accel", [1, 8])
    def test_found_wherever_it_lies(self, kspace, by, accel):
        k, index = moved(kspace, by)
        mask = np.ones(SHAPE[1:], bool)
        if accel > 1:
            mask = operators.make_mask("poisson", SHAPE[1:], accel, calibration=14, seed=1)
        mask = np.roll(mask, by[1:], (0, 1))
        for data, domain in ((k * mask, "kspace"), (hybrid(k * mask), "image")):
            found = operators.kspace_centre(data, mask, domain)
            assert found.index == index
            assert all(found.clear) and all(found.sharp)

    @pytest.mark.parametrize("by", [(0, 4, -5), (3, -6, 6)])
    def test_mask_that_stays_in_the_middle(self, kspace, by):
        k, index = moved(kspace, by)
        mask = operators.make_mask("poisson", SHAPE[1:], 6, calibration=16, seed=1)
        assert operators.kspace_centre(k * mask, mask).index == index

    @pytest.mark.parametrize("by", [(0, 0, 0), (0, 4, -5)])
    @pytest.mark.parametrize(
        "fault", ["spike", "line", "plane", "noisy coil", "nan", "partial Fourier", "partial echo"]
    )
    def test_not_fooled(self, kspace, by, fault, rng):
        k, index = moved(kspace, by)
        k, top = k.copy(), np.abs(k).max()
        if fault == "spike":
            k[:, 7, 9, 30] = 1e6 * top
        elif fault == "line":
            k[2, :, 40, 11] = 100 * top * rng.standard_normal(SHAPE[0])
        elif fault == "plane":
            k[:, :, 45] += 3 * top
        elif fault == "noisy coil":
            k[1] += 3 * top * (rng.standard_normal(k.shape[1:]) + 1j * rng.standard_normal(k.shape[1:]))
        elif fault == "nan":
            k[0, 20, 3, 3] = np.nan
        elif fault == "partial Fourier":
            k[:, :, :, :15] = 0
        else:
            k[:, :12] = 0
        assert operators.kspace_centre(k).index == index

    def test_noise_has_none(self, rng):
        noise = rng.standard_normal((2, 1, 64, 60)) + 1j * rng.standard_normal((2, 1, 64, 60))
        found = operators.kspace_centre(noise)
        assert found.index == (0, 32, 30)
        assert not any(found.clear)
        assert operators.kspace_centre(0 * noise).index == (0, 32, 30)

    def test_short_axes_count_as_centred(self, kspace):
        k = np.roll(kspace, (0, 5), (2, 3))[:, :, :, :6]
        found = operators.kspace_centre(k)
        assert found.index[2] == 3 and not found.clear[2]
        assert operators.kspace_centre(np.roll(kspace, 9, 2), axes=(0, 2)).index == tuple(n // 2 for n in SHAPE)

    def test_peak_of_one_sample_beside_the_middle_is_the_middle(self, kspace):
        assert operators.kspace_centre(np.roll(kspace, (1, -1), (2, 3))).index == tuple(n // 2 for n in SHAPE)

    def test_an_image_is_broad(self, kspace):
        found = operators.kspace_centre(operators.ifft(kspace, axes=(2,)))
        assert not found.sharp[1] and found.sharp[0] and found.sharp[2]
        assert not operators.kspace_centre(hybrid(kspace)).sharp[0]

    def test_reads_a_few_planes(self, rng):
        long = simulation.simulate(ellipsoid((160, 20, 24)), n_coils=2, seed=1).kspace

        class Lazy:
            shape, dtype, read = long.shape, long.dtype, 0

            def __getitem__(self, key):
                part = long[key]
                Lazy.read += part.size
                return part

        for data, domain in ((long, "kspace"), (hybrid(long), "image")):
            long, Lazy.read = np.roll(data, 9, 1) if domain == "kspace" else data, 0
            found = operators.kspace_centre(Lazy(), None, domain)
            assert found.index == ((89 if domain == "kspace" else 80), 10, 12)
            assert Lazy.read <= 45 * 2 * 20 * 24

    def test_wrong_shapes(self, kspace):
        with pytest.raises(ShapeError, match="coils, x, y, z"):
            operators.kspace_centre(kspace[0])
        with pytest.raises(ShapeError, match="mask has shape"):
            operators.kspace_centre(kspace, np.ones((3, 3), bool))


class TestBlock:
    def test_goes_on_to_one_side(self):
        mask = np.zeros((40, 44), bool)
        mask[10:30, 12:32] = True
        assert sampled_block(mask, (14, 24)) == (range(10, 30), range(12, 32))
        assert sampled_block(mask, (14, 24), 12) == (range(10, 22), range(18, 30))
        assert sampled_block(mask, (14, 24), symmetric=True) == (range(10, 19), range(16, 32))

    def test_is_circular(self):
        mask = np.zeros((16, 20), bool)
        mask[[13, 14, 15, 0, 1]] = True
        block = sampled_block(mask, (15, 3))
        assert sorted(i % 16 for i in block[0]) == [0, 1, 13, 14, 15]
        assert len(block[1]) == 20

    @pytest.mark.parametrize("by", [(0, 6, -7), (5, 26, 24), (20, -26, -23)])
    @pytest.mark.parametrize("domain", ["kspace", "image"])
    def test_samples_do_not_depend_on_where_the_centre_lies(self, kspace, by, domain):
        k, _ = moved(kspace, by)
        mask = np.ones(SHAPE[1:], bool)
        if domain == "image":
            kspace, k = hybrid(kspace), hybrid(k)
        expected, found = (central_samples(a, mask, 16, domain) for a in (kspace, k))
        assert expected.shape == (4, 16, 16, 16)
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()

    def test_middle_of_the_samples_is_the_centre(self, kspace):
        mask = np.ones(SHAPE[1:], bool)
        assert np.array_equal(central_samples(kspace, mask, 8), kspace[:, 16:24, 22:30, 19:27])

    def test_samples_of_a_mask_without_a_block(self, kspace):
        mask = np.zeros(SHAPE[1:], bool)
        mask[::2, ::2] = True
        assert central_samples(kspace * mask, mask, 16).shape == (4, 16, 16, 16)


class TestMaps:
    """ESPIRiT wherever the centre lies."""

    @pytest.mark.parametrize("by", [(0, 0, 4), (3, -6, 8), (20, 26, 24)])
    @pytest.mark.parametrize("domain", ["kspace", "image"])
    def test_same_maps(self, kspace, by, domain):
        k, _ = moved(kspace, by)
        if domain == "image":
            k = hybrid(k)
        expected = operators.espirit(kspace, calibration=16, kernel=4)
        maps = operators.espirit(k, calibration=16, kernel=4, readout_domain=domain)
        both = np.abs(expected).any(axis=0) & np.abs(maps).any(axis=0)
        assert both.sum() > 0.99 * np.abs(expected).any(axis=0).sum()
        assert np.abs((maps.conj() * expected).sum(axis=0))[both].min() > 0.999

    def test_block_beside_the_centre(self, kspace):
        """A mask that was drawn around n // 2 of data whose centre is elsewhere: all of its block is used."""
        k, _ = moved(kspace, (0, 5, -5))
        mask = np.zeros(SHAPE[1:], bool)
        mask[16:36, 13:33] = True
        maps = operators.espirit(k * mask, mask=mask, kernel=5)
        expected = operators.espirit(kspace, calibration=20, kernel=5)
        both = np.abs(expected).any(axis=0) & np.abs(maps).any(axis=0)
        inside = ellipsoid(SHAPE) > 0
        assert both[inside].mean() > 0.99
        assert np.abs((maps.conj() * expected).sum(axis=0))[both & inside].mean() > 0.999


@pytest.fixture(scope="module")
def dephased():
    """An object with a phase that turns the signal of a part of it out of the centre of k-space."""
    shape = (40, 60, 60)
    image, r = ellipsoid(shape), np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij", sparse=True)
    phase = 40 * np.exp(-((r[0] - 0.1) ** 2 + (r[1] - 0.2) ** 2 + (r[2] + 0.1) ** 2) / (2 * 0.2**2))
    scan = simulation.simulate((image * np.exp(1j * phase)).astype(np.complex64), n_coils=6, snr=40, seed=1)
    return scan.undersample(operators.make_mask("poisson", shape[1:], 10, calibration=12, seed=1)), image > 0


class TestCoverage:
    def test_no_holes(self, dephased):
        scan, inside = dephased
        cropped, maps = (operators.espirit(scan.kspace, mask=scan.mask, cover=cover) for cover in (False, True))
        hole = ~np.abs(cropped).any(axis=0) & inside
        assert hole.mean() > 0.01 * inside.mean()
        assert np.abs(maps).any(axis=0)[binary_erosion(inside)].all()
        assert np.abs(maps).any(axis=0)[inside].mean() > 0.996  # the outermost voxels are air at low resolution
        support = np.abs(cropped).any(axis=0)
        assert np.abs(maps - cropped)[:, support].max() < 1e-3  # nothing else changes

    def test_air_is_still_cropped(self, kspace):
        cropped, maps = (operators.espirit(kspace, cover=cover) for cover in (False, True))
        share = [1 - np.abs(m).any(axis=0).mean() for m in (cropped, maps)]
        assert share[1] > 0.9 * share[0] > 0.1

    def test_soft_crop_and_sets(self, dephased):
        scan, inside = dephased
        maps = operators.espirit(scan.kspace, mask=scan.mask, cover=True, soft_crop=True, sets=2)
        assert (np.abs(maps[0]) ** 2).sum(axis=0)[inside].min() > 0.2
        plain = operators.espirit(scan.kspace, mask=scan.mask, soft_crop=True, sets=2)
        assert np.abs(np.abs(maps[1]) - np.abs(plain[1])).max() < 0.05

    def test_one_slice(self):
        image = ellipsoid((1, 64, 60))
        scan = simulation.simulate(image, n_coils=4, snr=50)
        assert np.abs(operators.espirit(scan.kspace, cover=True)).any(axis=0)[image > 0].mean() > 0.995

    def test_what_maps_leave_out(self, kspace):
        maps = operators.espirit(kspace)
        good = operators.map_coverage(maps, kspace)
        assert good.unexplained < 0.01 and good.uncovered < 0.005
        assert operators.map_coverage(maps, hybrid(kspace), None, "image").unexplained < 0.01
        assert operators.map_coverage(maps[::-1], kspace).unexplained > 0.3
        holed = maps.copy()
        holed[:, :20] = 0
        found = operators.map_coverage(holed, kspace)
        assert 0.3 < found.uncovered < 0.7 and 0.3 < found.unexplained < 0.7
        sets = np.stack([0 * maps, maps])
        assert operators.map_coverage(sets, kspace).unexplained < 0.01
        with pytest.raises(ShapeError, match="maps have shape"):
            operators.map_coverage(maps[:, 1:], kspace)
