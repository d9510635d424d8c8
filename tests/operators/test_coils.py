"""Noise covariance, whitening and coil compression against known answers and against BART."""

import pickle

import numpy as np
import pytest

from mrrecon import operators
from mrrecon.errors import DataError, ShapeError


def covariance(coils, rng, scale=1.0):
    a = rng.standard_normal((coils, coils)) + 1j * rng.standard_normal((coils, coils))
    return scale * (np.eye(coils) * 4 + a @ a.conj().T / coils)


def noise(cov, shape, rng):
    white = rng.standard_normal((len(cov), *shape)) + 1j * rng.standard_normal((len(cov), *shape))
    return np.tensordot(np.linalg.cholesky(cov) / np.sqrt(2), white, 1).astype(np.complex64)


def object_kspace(shape, coils):
    """K-space of an ellipsoid with smooth coils, hybrid in nothing: all axes in k-space."""
    r = np.meshgrid(*[(np.arange(n) - n // 2) / n for n in shape], indexing="ij")
    edge = np.sqrt((r[0] / 0.36) ** 2 + (r[1] / 0.4) ** 2 + (r[2] / 0.38) ** 2) - 1
    image = (1 + 0.5 * np.sin(9 * r[1])) / (1 + np.exp(0.4 * max(shape) * edge))
    angle = 2 * np.pi * np.arange(coils) / coils
    maps = [
        np.exp(
            -((r[1] - 0.6 * np.cos(a)) ** 2 + (r[2] - 0.6 * np.sin(a)) ** 2 + (r[0] - 0.2 * np.cos(3 * a)) ** 2) / 0.5
        )
        * np.exp(1j * (a + 2 * r[0] * np.sin(a)))
        for a in angle
    ]
    coil_images = np.array(maps) * image
    axes = (1, 2, 3)
    k = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(coil_images, axes), axes=axes, norm="ortho"), axes)
    return k.astype(np.complex64), np.abs(image).mean()


def principal_cosines(a, b):
    """Cosines of the angles between the row spaces of a and b (orthonormalised)."""
    qa, qb = np.linalg.qr(a.conj().T)[0], np.linalg.qr(b.conj().T)[0]
    return np.linalg.svd(qa.conj().T @ qb, compute_uv=False)


class TestNoiseCovariance:
    def test_recovers_the_truth(self, rng):
        cov = covariance(6, rng)
        found = operators.noise_covariance(noise(cov, (200_000,), rng))
        assert np.linalg.norm(found - cov) < 0.02 * np.linalg.norm(cov)
        assert np.allclose(found, found.conj().T)

    def test_bandwidth_scale(self, rng):
        n = noise(np.eye(3), (100,), rng)
        assert np.allclose(operators.noise_covariance(n, 0.5), 0.5 * operators.noise_covariance(n))

    def test_too_few_samples(self, rng):
        with pytest.raises(ShapeError, match="at least as many"):
            operators.noise_covariance(np.ones((8, 4), complex))

    def test_dead_coil(self, rng):
        n = noise(np.eye(3), (100,), rng)
        n[1] = 0
        with pytest.raises(DataError, match="above"):
            operators.noise_covariance(n)

    @pytest.mark.parametrize("snr", [10, 40])
    @pytest.mark.parametrize(
        ("domain", "pattern"),
        [("kspace", "full"), ("kspace", "random"), ("kspace", "3d"), ("image", "full"), ("image", "random")],
    )
    def test_estimate_from_the_scan(self, rng, snr, domain, pattern):
        shape, coils = (64, 72, 68), 6
        signal, level = object_kspace(shape, coils)
        cov = covariance(coils, rng)
        cov *= (0.5 * level / snr) ** 2 / np.trace(cov).real * coils
        k = signal + noise(cov, shape, rng)
        if pattern == "3d":
            mask = rng.random(shape) < 0.4
            k = k * mask
        else:
            mask = rng.random(shape[1:]) < (1.0 if pattern == "full" else 0.25)
            k = k * mask
        if domain == "image":
            k = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(k, 1), axis=1, norm="ortho"), 1)
        found = operators.estimate_noise_covariance(k, mask, domain)
        error = np.linalg.norm(found - cov) / np.linalg.norm(cov)
        assert error < 0.1

    def test_estimate_of_pure_noise_is_unbiased(self, rng):
        ratios = []
        for _ in range(12):
            cov = covariance(4, rng)
            mask = rng.random((48, 40)) < 0.5
            k = noise(cov, (32, 48, 40), rng) * mask
            ratios.append(np.trace(operators.estimate_noise_covariance(k, mask)).real / np.trace(cov).real)
        assert np.mean(ratios) == pytest.approx(1, abs=0.05)

    def test_estimate_ignores_zero_filled_corners(self, rng):
        k = noise(np.eye(4), (1, 64, 64), rng)
        k[:, :, :20] = 0
        found = operators.estimate_noise_covariance(k, np.ones((64, 64), bool))
        assert np.linalg.norm(found - np.eye(4)) < 0.35

    def test_estimate_needs_samples(self):
        with pytest.raises(DataError, match="all of them are zero"):
            operators.estimate_noise_covariance(np.zeros((4, 8, 8, 8), np.complex64), np.ones((8, 8), bool))

    def test_estimate_reads_lazily(self, rng):
        k = noise(np.eye(4), (32, 24, 24), rng)
        lazy = Lazy(k)
        mask = np.ones((24, 24), bool)
        assert np.array_equal(
            operators.estimate_noise_covariance(lazy, mask), operators.estimate_noise_covariance(k, mask)
        )


class Lazy:
    """Stands for an array on disk: basic slicing only."""

    def __init__(self, a):
        self.a, self.shape, self.dtype = a, a.shape, a.dtype

    def __getitem__(self, key):
        assert all(isinstance(i, (slice, int)) for i in (key if isinstance(key, tuple) else (key,)))
        return self.a[key].copy()


class TestWhitening:
    def test_noise_becomes_white(self, rng):
        cov = covariance(8, rng, 1e-6)
        white = operators.whiten(noise(cov, (40, 50, 60), rng), cov)
        assert white.dtype == np.complex64
        assert np.abs(operators.noise_covariance(white) - np.eye(8)).max() < 0.02

    def test_matrix(self, rng):
        cov = covariance(5, rng)
        w = operators.whitening_matrix(cov)
        assert np.allclose(w @ cov @ w.conj().T, np.eye(5))
        assert np.allclose(operators.transform_covariance(cov, w), np.eye(5))
        order = rng.permutation(5)
        assert np.allclose(operators.whitening_matrix(cov[np.ix_(order, order)]), w[np.ix_(order, order)])

    def test_map_sets(self, rng):
        cov = covariance(4, rng)
        maps = noise(np.eye(4), (3, 5, 6, 7), rng).transpose(1, 0, 2, 3, 4)
        found = operators.whiten(maps, cov)
        for s in range(3):
            assert np.allclose(found[s], np.tensordot(operators.whitening_matrix(cov), maps[s], 1), atol=1e-5)

    def test_kinds(self, rng):
        torch = pytest.importorskip("torch")
        cov = covariance(4, rng)
        k = noise(cov, (6, 7, 8), rng)
        k.flags.writeable = False
        expected = np.tensordot(operators.whitening_matrix(cov), k, 1)
        for given in (k, np.asfortranarray(k), k.astype(np.complex128), Lazy(k)):
            assert np.allclose(operators.whiten(given, cov), expected, atol=1e-5)
        found = operators.whiten(torch.tensor(k), cov)
        assert isinstance(found, torch.Tensor)
        assert np.allclose(found.numpy(), expected, atol=1e-5)

    @pytest.mark.gpu
    def test_gpu(self, rng):
        import cupy

        cov = covariance(4, rng)
        k = noise(cov, (6, 7, 8), rng)
        found = operators.whiten(cupy.asarray(k), cov)
        assert isinstance(found, cupy.ndarray)
        assert np.allclose(found.get(), operators.whiten(k, cov), atol=1e-5)

    @pytest.mark.parametrize(
        ("cov", "error", "message"),
        [
            (np.ones((2, 3)), ShapeError, "square"),
            (np.ones((2, 2)), DataError, "positive definite"),
            (np.array([[1, 2], [3, 1]]), DataError, "Hermitian"),
            (np.full((2, 2), np.nan), DataError, "finite"),
        ],
    )
    def test_bad_covariance(self, cov, error, message):
        with pytest.raises(error, match=message):
            operators.whitening_matrix(cov)

    def test_wrong_coil_count(self, rng):
        with pytest.raises(ShapeError, match="3 coils"):
            operators.whiten(np.ones((3, 4, 4, 4), np.complex64), np.eye(4))


class TestCompression:
    @pytest.mark.parametrize("method", ["svd", "geometric"])
    def test_keeps_energy_and_whiteness(self, rng, method):
        k, _ = object_kspace((32, 30, 28), 12)
        k = np.fft.ifft(k, axis=1, norm="ortho").astype(np.complex64)
        small, matrix = operators.compress_coils(k, 7, method, readout_domain="image")
        assert small.shape == (7, 32, 30, 28)
        assert np.linalg.norm(small) > 0.999 * np.linalg.norm(k)
        gram = matrix @ matrix.conj().swapaxes(-1, -2)
        assert np.allclose(gram, np.eye(7), atol=1e-6)
        white = operators.mix_coils(noise(np.eye(12), (32, 30, 28), rng), matrix)
        assert np.abs(operators.noise_covariance(white) - np.eye(7)).max() < 0.03

    def test_geometric_keeps_at_least_as_much_and_is_smooth(self):
        k, _ = object_kspace((32, 30, 28), 12)
        k = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(k, 1), axis=1, norm="ortho"), 1).astype(np.complex64)
        svd, _ = operators.compress_coils(k, 3, "svd", readout_domain="image")
        geometric, matrix = operators.compress_coils(k, 3, "geometric", readout_domain="image")
        assert np.linalg.norm(geometric) >= np.linalg.norm(svd)
        inside = matrix[6:26]
        assert np.linalg.norm(np.diff(inside, axis=0), axis=(1, 2)).max() < 0.3 * np.sqrt(3)

    def test_maps_follow(self, rng):
        k, _ = object_kspace((8, 16, 16), 6)
        _, matrix = operators.compress_coils(k, 4, "geometric", readout_domain="image")
        maps = noise(np.eye(6), (8, 16, 16), rng)
        found = operators.mix_coils(maps, matrix)
        assert np.allclose(found[:, 3], np.tensordot(matrix[3], maps[:, 3], 1), atol=1e-5)
        assert np.allclose(operators.mix_coils(Lazy(maps), matrix), found)

    def test_geometric_needs_hybrid_space(self):
        with pytest.raises(DataError, match="image domain"):
            operators.compress_coils(np.ones((4, 8, 8, 8), np.complex64), 2, "geometric")

    @pytest.mark.parametrize("n", [0, 5])
    def test_bad_count(self, n):
        with pytest.raises(ShapeError, match="from 1 to 4"):
            operators.compress_coils(np.ones((4, 8, 8, 8), np.complex64), n)

    @pytest.mark.bart
    def test_svd_is_bart_svd(self, bart, rng):
        k, _ = object_kspace((32, 30, 28), 10)
        ours, matrix = operators.compress_coils(k, 5)
        theirs = bart("cc -S -p 5 -r 24:24:24", k)
        assert np.linalg.norm(ours) == pytest.approx(np.linalg.norm(theirs), rel=1e-4)
        their_matrix = np.linalg.lstsq(k.reshape(10, -1).T, theirs.reshape(5, -1).T, rcond=None)[0].T
        assert principal_cosines(matrix, their_matrix).min() > 0.9999

    @pytest.mark.bart
    def test_geometric_is_bart_geometric(self, bart, rng):
        k, level = object_kspace((32, 30, 28), 10)
        k = k + noise(np.eye(10) * (level / 50) ** 2, k.shape[1:], rng)
        theirs = bart("cc -G -p 4 -r 32:24:24", k)
        theirs = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(theirs, 1), axis=1, norm="ortho"), 1)
        hybrid = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(k, 1), axis=1, norm="ortho"), 1).astype(np.complex64)
        ours, matrix = operators.compress_coils(hybrid, 4, "geometric", readout_domain="image")
        assert np.linalg.norm(ours) == pytest.approx(np.linalg.norm(theirs), rel=1e-3)
        for x in range(8, 24):
            rows = np.linalg.lstsq(hybrid[:, x].reshape(10, -1).T, theirs[:, x].reshape(4, -1).T, rcond=None)[0].T
            assert principal_cosines(matrix[x], rows).min() > 0.999


@pytest.mark.parametrize("per_readout", [False, True])
def test_mixing_as_a_linop(rng, per_readout):
    matrix = rng.standard_normal((5, 2, 4) if per_readout else (2, 4)) + 1j
    mixing = operators.CoilMixing(matrix, (4, 5, 6, 7))
    assert mixing.oshape == [2, 5, 6, 7]
    assert operators.check_adjoint(mixing) < 1e-5
    x = rng.standard_normal((4, 5, 6, 7)).astype(np.complex64)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(mixing))(x), operators.mix_coils(x, matrix))
