"""ESPIRiT maps against simulated truth, a plain dense reference, and BART."""

import numpy as np
import pytest

from mrrecon import operators
from mrrecon.errors import CalibrationError, DataError, ShapeError
from mrrecon.operators import espirit_maps
from mrrecon.operators.patches import patch_gram, signal_space

SHAPE = (32, 40, 36)


def simulate(shape, coils, snr=60, seed=3):
    """K-space of a soft-edged ellipsoid with inner structure seen by smooth loop-like coils; maps; object."""
    r = np.meshgrid(*[(np.arange(n) - n // 2) / n for n in shape], indexing="ij", sparse=True)
    radius = np.sqrt((r[0] / 0.37) ** 2 + (r[1] / 0.35) ** 2 + (r[2] / 0.39) ** 2)
    image = (1 + 0.4 * np.cos(11 * r[0]) * np.cos(13 * r[1] + 3 * r[2])) / (
        1 + np.exp(np.clip(20 * (radius - 1), -50, 50))
    )
    maps = []
    for c in range(coils):
        angle = 2 * np.pi * c / coils
        centre = (0.25 * (-1) ** c, 0.6 * np.cos(angle), 0.6 * np.sin(angle))
        d = [a - b for a, b in zip(r, centre, strict=True)]
        square = sum(a * a for a in d) + 0.08
        dot = -sum(a * b for a, b in zip(d, centre, strict=True)) / np.linalg.norm(centre)
        normal = -np.array(centre) / np.linalg.norm(centre)
        field = [3 * dot * a / square**2.5 - n / square**1.5 for a, n in zip(d, normal, strict=True)]
        maps.append(field[1] - 1j * field[2])
    maps = np.array(maps)
    axes = (1, 2, 3)
    signal = maps * image * np.exp(1j * (1.2 * r[1] + 2 * r[0] ** 2))
    k = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(signal, axes), axes=axes, norm="ortho"), axes)
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(k.shape) + 1j * rng.standard_normal(k.shape)
    sigma = np.sqrt((np.abs(signal) ** 2).sum(0)[radius < 0.9].mean()) / snr
    k = k + sigma * noise / np.sqrt(2)
    return k.astype(np.complex64), maps.astype(np.complex64), radius < 1.0


@pytest.fixture(scope="module")
def scan():
    return simulate(SHAPE, 6)


@pytest.fixture(scope="module")
def default_maps(scan):
    return operators.espirit(scan[0])


def support(maps):
    return np.abs(maps).sum(axis=-4) > 0


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def unit(maps):
    size = np.sqrt((np.abs(maps) ** 2).sum(axis=-4, keepdims=True))
    return maps / np.where(size > 0, size, 1)


def agreement(a, b, where):
    """<a, b> over the coils of unit maps, in `where`; complex: its real part also judges the phase."""
    return (unit(a).conj() * unit(b)).sum(axis=-4)[..., where]


class Lazy:
    """Stands for an array on disk: basic slicing only; counts what is read."""

    def __init__(self, a):
        self.a, self.shape, self.dtype, self.read = a, a.shape, a.dtype, 0

    def __getitem__(self, key):
        part = self.a[key].copy()
        self.read += part.size
        return part


class TestTruth:
    def test_recovers_the_maps(self, scan, default_maps):
        (k, truth, inside), maps = scan, default_maps
        assert maps.dtype == np.complex64
        assert maps.shape == k.shape
        assert np.abs(agreement(maps, truth, inside)).mean() > 0.999
        assert support(maps)[inside].mean() > 0.99

    def test_normalised_in_the_support_and_zero_outside(self, default_maps):
        energy = (np.abs(default_maps) ** 2).sum(0)
        assert np.all((np.abs(energy - 1) < 1e-5) | (energy == 0))
        assert 0.1 < (energy == 0).mean() < 0.95

    @pytest.mark.parametrize("domain", ["kspace", "image"])
    def test_undersampled_with_calibration_block(self, scan, domain, rng):
        k, truth, inside = scan
        mask = rng.random(SHAPE[1:]) < 0.2
        mask[10:30, 8:28] = True
        k = k * mask
        if domain == "image":
            k = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(k, 1), axis=1, norm="ortho"), 1)
        maps = operators.espirit(k, readout_domain=domain)
        assert np.abs(agreement(maps, truth, inside)).mean() > 0.999
        assert np.abs(maps - operators.espirit(k, readout_domain=domain, mask=mask)).max() == 0

    def test_readout_domain_makes_no_difference(self, scan, default_maps):
        k = scan[0]
        hybrid = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(k, 1), axis=1, norm="ortho"), 1)
        found, expected = operators.espirit(hybrid, readout_domain="image"), default_maps
        assert dice(support(found), support(expected)) > 0.999
        both = support(found) & support(expected)
        assert agreement(found, expected, both).real.min() > 0.9999

    @pytest.mark.parametrize(
        ("shape", "kept"), [((1, 64, 60), 0.95), ((31, 33, 35), 0.95), ((32, 40, 8), 0.5), ((16, 5, 40), 0.1)]
    )
    def test_unusual_shapes(self, shape, kept):  # few partitions leave few patches: less of the object is kept
        k, truth, inside = simulate(shape, 6)
        maps = operators.espirit(k)
        both = support(maps) & inside
        assert both.sum() > kept * inside.sum()
        assert np.abs(agreement(maps, truth, both)).mean() > 0.998

    def test_soft_crop_is_smooth(self, scan, default_maps):
        hard, soft = default_maps, operators.espirit(scan[0], soft_crop=True)
        weight = np.sqrt((np.abs(soft) ** 2).sum(0))
        assert weight.max() <= 1 + 1e-5
        assert ((weight > 0.05) & (weight < 0.95)).mean() > 0.01
        assert weight[support(hard)].min() > 0.5
        assert agreement(hard, soft, support(hard)).real.min() > 0.9999


class TestReference:
    """The fast parts against plain ones."""

    def test_patch_gram(self, rng):
        block = (rng.standard_normal((3, 9, 8, 7)) + 1j * rng.standard_normal((3, 9, 8, 7))).astype(np.complex64)
        kernel = (4, 3, 2)
        windows = np.lib.stride_tricks.sliding_window_view(block, kernel, axis=(1, 2, 3))
        patches = windows.transpose(0, 4, 5, 6, 1, 2, 3).reshape(3 * 24, -1)
        expected = patches @ patches.conj().T
        found = patch_gram(block, kernel)
        assert np.allclose(found, expected, rtol=1e-4, atol=1e-3)
        assert np.array_equal(np.triu(found, 1), np.tril(found, -1).conj().T)

    @pytest.mark.parametrize("decay", [0.02, 0.1, 0.0])
    def test_signal_space(self, rng, decay):
        a = rng.standard_normal((800, 800)) + 1j * rng.standard_normal((800, 800))
        q = np.linalg.qr(a)[0]
        values = np.exp(-decay * np.arange(800))
        values[values < 1e-5] = 1e-5
        gram = ((q * values) @ q.conj().T).astype(np.complex64)
        found = signal_space(gram, 0.001)
        expected = q[:, values > 0.001]
        assert abs(found.shape[1] - expected.shape[1]) <= 1
        assert np.linalg.svd(found.conj().T @ expected, compute_uv=False)[: expected.shape[1] - 2].min() > 0.999

    @pytest.mark.parametrize(("sets", "soft"), [(1, False), (2, False), (2, True)])
    def test_eigenvectors(self, scan, sets, soft):
        block = scan[0][:, 6:26, 10:30, 8:28]
        block = block / np.abs(block).max()
        kernels = signal_space(patch_gram(block, (5, 5, 5)), 0.001)
        operator = espirit_maps.operator_coefficients(kernels, 6, (5, 5, 5))
        reference = espirit_maps._phase_reference(block, "principal")
        arguments = (operator, reference, (20, 21, 22), sets, 0.6, soft, True)
        maps, values = espirit_maps._voxel_eigenvectors_cpu(*arguments)
        expected, exact = espirit_maps.voxel_eigenvectors(*arguments)
        assert np.abs(values - exact)[exact > 0.5].max() < 1e-3
        for s in range(sets):
            a, b = support(maps[s]), support(expected[s])
            assert (a ^ b).sum() <= 0.002 * b.sum() + 2
            gap = exact[s] - (exact[s + 1] if s + 1 < sets else 0)
            clear = a & b & (gap > 0.1) & (exact[s] > 0.4)
            if clear.any():
                assert agreement(maps[s], expected[s], clear).real.mean() > 0.9995

    @pytest.mark.gpu
    @pytest.mark.parametrize("sets", [1, 2])
    def test_gpu(self, scan, sets):
        import cupy

        found = operators.espirit(cupy.asarray(scan[0]), sets=sets)
        assert isinstance(found, cupy.ndarray)
        found, expected = found.get(), operators.espirit(scan[0], sets=sets)
        first, second = (found, expected) if sets == 1 else (found[0], expected[0])
        assert dice(support(first), support(second)) > 0.999
        assert agreement(first, second, support(first) & support(second)).real.mean() > 0.9999


@pytest.mark.bart
class TestBart:
    @pytest.mark.parametrize(
        ("command", "settings"),
        [
            ("-m1 -r20 -k5", {"calibration": 20, "kernel": 5}),
            ("-m1 -r16 -k4 -t 0.01 -c 0.9", {"calibration": 16, "kernel": 4, "threshold": 0.01, "crop": 0.9}),
            ("-m1 -r16 -k4 -S", {"calibration": 16, "kernel": 4, "soft_crop": True}),
        ],
    )
    def test_same_maps(self, bart, command, settings):
        k, _, inside = simulate((24, 30, 28), 5)
        ours, theirs = operators.espirit(k, **settings), bart(f"ecalib -d0 {command}", k)
        assert dice(support(ours), support(theirs)) > 0.99
        weights = [np.sqrt((np.abs(m) ** 2).sum(0)) for m in (ours, theirs)]
        inner = agreement(theirs, ours, (weights[0] > 0.6) & (weights[1] > 0.6))
        assert np.abs(inner).mean() > 0.9999
        assert inner.real.mean() > 0.9999  # phase convention included
        assert np.abs(weights[0] - weights[1])[inside].mean() < 1e-3

    def test_same_two_sets(self, bart):
        k, _, _ = simulate((1, 64, 64), 8)
        folded = k[:, :, :, ::2]  # a field of view of half the object: two sensitivities in a voxel
        settings = "-m2 -r1:24:24 -c 0.7"
        theirs = bart(f"ecalib -d0 {settings}", folded)
        ours = operators.espirit(folded, sets=2, crop=0.7)
        assert ours.shape == (2, 8, 1, 64, 32)
        for s in range(2):
            assert dice(support(ours[s]), support(theirs[s])) > 0.97
        both = support(ours[1]) & support(theirs[1])
        assert both.sum() > 100
        a, b = (np.moveaxis(m[:, :, both], -1, 0) for m in (ours, theirs))  # (voxels, sets, coils)
        cosines = np.linalg.svd(a @ b.conj().swapaxes(1, 2), compute_uv=False)  # the space the two sets span
        assert cosines.min(axis=1).mean() > 0.999

    @pytest.mark.data
    @pytest.mark.parametrize(
        ("name", "calibration"), [("brain_sigpy_poisson_8ch.npy", 24), ("phantom_siemens_gre_2ch.npy", 24)]
    )
    def test_measured_data(self, bart, data_dir, name, calibration):
        k = np.load(data_dir / "kspace" / name).astype(np.complex64)
        k = k.reshape(k.shape[0], 1, *k.shape[-2:])
        ours, theirs = (
            operators.espirit(k, calibration=calibration),
            bart(f"ecalib -d0 -m1 -r {calibration}", k),
        )
        both = support(ours) & support(theirs)
        assert dice(support(ours), support(theirs)) > 0.99
        assert np.abs(agreement(theirs, ours, both)).mean() > 0.999
        assert agreement(theirs, ours, both).real.mean() > 0.999


class TestCalls:
    def test_phase_reference_coil(self, scan):
        maps = operators.espirit(scan[0], phase_reference=2)
        assert np.abs(maps[2].imag).max() < 1e-5
        assert maps[2].real.min() >= 0

    def test_array_on_disk(self, scan, default_maps):
        assert np.array_equal(operators.espirit(Lazy(scan[0])), default_maps)

    def test_eigenvalues(self, scan):
        maps, values = operators.espirit(scan[0], return_eigenvalues=True)
        assert values.shape == SHAPE
        assert values.dtype == np.float32
        assert np.array_equal(values > 0.8, support(maps))
        assert 0.9 < np.median(values[scan[2]]) <= 1.001

    def test_torch(self, scan, default_maps):
        torch = pytest.importorskip("torch")
        maps = operators.espirit(torch.from_numpy(scan[0]))
        assert isinstance(maps, torch.Tensor)
        assert np.array_equal(maps.numpy(), default_maps)

    def test_read_only_input_and_no_side_effect(self, scan):
        k = scan[0].copy()
        k.flags.writeable = False
        operators.espirit(k, kernel=4, calibration=16)
        assert np.array_equal(k, scan[0])

    def test_automatic_and_oversized_calibration(self, scan):
        automatic = operators.espirit(scan[0], calibration=None)
        assert np.array_equal(automatic, operators.espirit(scan[0], calibration=32))
        small = scan[0][:, 8:24, 12:28, 10:26]
        assert np.array_equal(operators.espirit(small, calibration=99), operators.espirit(small, calibration=16))

    @pytest.mark.parametrize("width", [8, 9, 10])
    def test_kernels_fit_into_narrow_calibration_blocks(self, scan, width):
        kspace, truth, inside = scan
        block = (16, width, width)
        maps = operators.espirit(kspace, calibration=block)
        assert np.array_equal(maps, operators.espirit(kspace, calibration=block, kernel=(6, width // 2, width // 2)))
        wide = operators.espirit(kspace, calibration=block, kernel=6)
        apart, before = (1 - np.abs(agreement(m, truth, inside)).mean() for m in (maps, wide))
        assert apart < 0.02 and apart < 0.5 * before
        assert np.array_equal(  # wide enough for the usual width
            operators.espirit(kspace, calibration=12), operators.espirit(kspace, calibration=12, kernel=6)
        )

    def test_pure_noise_and_one_coil(self, rng):
        shape = (4, 12, 12, 12)
        noise = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
        assert np.isfinite(operators.espirit(noise, kernel=4)).all()
        assert np.isfinite(operators.espirit(noise[:1], kernel=4)).all()


class TestErrors:
    def test_no_calibration_region(self, scan):
        with pytest.raises(CalibrationError, match="0x0x0"):
            operators.espirit(scan[0] * 0)
        mask = np.zeros(SHAPE[1:], bool)
        mask[18:22, 16:20] = True
        with pytest.raises(CalibrationError, match=r"x4x4 .*smaller than the kernel 6x6x6"):
            operators.espirit(scan[0] * mask)

    def test_no_signal(self, scan):
        with pytest.raises(CalibrationError, match="no signal"):
            operators.espirit(scan[0] * 0, mask=np.ones(SHAPE[1:], bool))

    def test_nan(self, scan):
        k = scan[0].copy()
        k[1, 16, 20, 18] = np.nan
        with pytest.raises(DataError, match="NaN"):
            operators.espirit(k)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"sets": 7}, "sets must be"),
            ({"phase_reference": 6}, "phase_reference"),
            ({"kernel": 0}, "kernel"),
            ({"calibration": (24, 24)}, "calibration"),
            ({"mask": np.ones((3, 3), bool)}, "mask has shape"),
        ],
    )
    def test_bad_arguments(self, scan, settings, message):
        with pytest.raises(ShapeError, match=message):
            operators.espirit(scan[0], **settings)

    def test_wrong_axes(self):
        with pytest.raises(ShapeError, match="coils, x, y, z"):
            operators.espirit(np.ones((8, 8, 8), np.complex64))


class TestRegion:
    @pytest.mark.parametrize(("width", "shape"), [((24, 24), (64, 60)), ((7, 12), (33, 40)), ((20, 8), (50, 8))])
    def test_finds_the_block(self, rng, width, shape):
        mask = rng.random(shape) < 0.2
        start = [n // 2 - w // 2 for n, w in zip(shape, width, strict=True)]
        mask[start[0] : start[0] + width[0], start[1] : start[1] + width[1]] = True
        found = operators.calibration_region(mask)
        assert all(f >= w for f, w in zip(found, width, strict=True))
        assert sum(found) <= sum(width) + 3  # random samples may extend it by chance
        block = tuple(slice(n // 2 - w // 2, n // 2 - w // 2 + w) for n, w in zip(shape, found, strict=True))
        assert mask[block].all()

    def test_from_kspace_and_3d_mask(self, scan):
        mask = np.zeros(SHAPE, bool)
        mask[8:24, 14:26, 13:23] = True
        assert operators.calibration_region(mask) == (16, 12, 10)
        assert operators.calibration_region(scan[0] * mask) == (16, 12, 10)

    def test_unsampled_centre(self):
        mask = np.ones((8, 8), bool)
        mask[4, 4] = False
        assert operators.calibration_region(mask) == (0, 0)

    def test_wrong_shape(self):
        with pytest.raises(ShapeError):
            operators.calibration_region(np.ones(5, bool))
