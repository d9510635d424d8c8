"""The encoding engine against plain NumPy FFTs of the whole volume."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pretend_cupy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mrrecon.operators.encoding as encoding_module
from mrrecon.errors import DataError, MaskError, ShapeError
from mrrecon.operators import CartesianEncoding, check_adjoint, fourier
from mrrecon.operators.kernels import reference, sense_cpu


def complex_normal(rng, shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def dense_forward(maps, mask, image, readout_domain):
    """``mask F sum_s S_s x_s`` from the definition, in double precision."""
    axes = (1, 2, 3) if readout_domain == "kspace" else (2, 3)
    maps = maps.reshape(-1, *maps.shape[-4:]).astype(np.complex128)
    coil_images = (maps * image.reshape(-1, 1, *maps.shape[2:])).sum(axis=0)
    shifted = np.fft.ifftshift(coil_images, axes)
    return np.fft.fftshift(np.fft.fftn(shifted, axes=axes, norm="ortho"), axes) * mask


def dense_adjoint(maps, mask, kspace, readout_domain):
    axes = (1, 2, 3) if readout_domain == "kspace" else (2, 3)
    shifted = np.fft.ifftshift(kspace.astype(np.complex128) * mask, axes)
    coil_images = np.fft.fftshift(np.fft.ifftn(shifted, axes=axes, norm="ortho"), axes)
    image = (maps.reshape(-1, *maps.shape[-4:]).conj() * coil_images).sum(axis=1)
    return image if maps.ndim == 5 else image[0]


def problem(rng, shape=(6, 8, 10), coils=3, sets=None, mask_axes=2):
    maps = complex_normal(rng, (coils, *shape) if sets is None else (sets, coils, *shape))
    mask = rng.random(shape[-mask_axes:]) < 0.6
    image = complex_normal(rng, shape if sets is None else (sets, *shape))
    return maps, mask, image, complex_normal(rng, (coils, *shape))


def assert_close(a, b, tol=3e-6):
    assert a.shape == b.shape
    assert np.linalg.norm(a - b) <= tol * np.linalg.norm(b)


@pytest.mark.parametrize("readout_domain", ["image", "kspace"])
@pytest.mark.parametrize("mask_axes", [2, 3])
@pytest.mark.parametrize("sets", [None, 1, 2])
@pytest.mark.parametrize("shape", [(6, 8, 10), (5, 7, 9), (1, 12, 5)])
def test_matches_the_definition(rng, shape, sets, mask_axes, readout_domain):
    maps, mask, image, kspace = problem(rng, shape, sets=sets, mask_axes=mask_axes)
    encoding = CartesianEncoding(maps, mask, readout_domain)
    expected = dense_forward(maps, mask, image, readout_domain)
    assert_close(encoding.forward(image), expected)
    assert not encoding.forward(image)[:, np.broadcast_to(~mask, shape)].any()
    assert_close(encoding.adjoint(kspace), dense_adjoint(maps, mask, kspace, readout_domain))
    normal = dense_adjoint(maps, mask, expected, readout_domain)
    assert_close(encoding.normal(image), normal)
    result, energy = encoding.normal_energy(image, out=np.empty_like(image))
    assert_close(result, normal)
    assert energy == pytest.approx(np.linalg.norm(expected) ** 2, rel=1e-5)
    result, energy = encoding.normal_energy(image, ridge=0.5)
    assert_close(result, normal + 0.5 * image)
    assert energy == pytest.approx(np.linalg.norm(expected) ** 2 + 0.5 * np.linalg.norm(image) ** 2, rel=1e-5)


@pytest.mark.parametrize("library", ["fftw", "scipy"])
def test_every_fft_library(rng, monkeypatch, library):
    if library == "fftw":
        pytest.importorskip("pyfftw")
    monkeypatch.setattr(fourier, "fft_library", lambda: library)
    for mask_axes, readout_domain in [(2, "image"), (3, "kspace")]:
        maps, mask, image, _ = problem(rng, (9, 16, 15), mask_axes=mask_axes)
        encoding = CartesianEncoding(maps, mask, readout_domain)
        expected = dense_forward(maps, mask, image, readout_domain)
        assert_close(encoding.forward(image), expected)
        assert_close(encoding.normal(image), dense_adjoint(maps, mask, expected, readout_domain))


@pytest.mark.parametrize("readout_domain", ["image", "kspace"])
@pytest.mark.parametrize("mask_axes", [2, 3])
def test_slabs_and_threads(rng, monkeypatch, mask_axes, readout_domain):
    """Any slab size gives the right numbers, and any number of threads the very same."""
    monkeypatch.setattr(encoding_module, "CPU_THREAD_BYTES", 1)
    maps, mask, image, kspace = problem(rng, (18, 12, 14), coils=6, sets=2, mask_axes=mask_axes)
    slabs = []
    for planes in (1, 2, 5, 12, 18, 1000):
        monkeypatch.setattr(encoding_module, "CPU_SLAB_BYTES", planes * 8 * 12 * 14)
        results = []
        for threads in (1, 2, 40):
            encoding = CartesianEncoding(maps, mask, readout_domain, threads)
            results.append((encoding.forward(image), encoding.adjoint(kspace), encoding.normal(image)))
        slabs.append(encoding.slab_shape[:2])
        for other in results[1:]:
            assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))
        expected = dense_forward(maps, mask, image, readout_domain)
        assert_close(results[0][0], expected)
        assert_close(results[0][1], dense_adjoint(maps, mask, kspace, readout_domain))
        assert_close(results[0][2], dense_adjoint(maps, mask, expected, readout_domain))
    assert slabs == [(1, 1), (2, 1), (3, 1), (6, 2), (6, 3), (6, 18)]


def test_one_plan_serves_several_threads(rng, monkeypatch):
    maps, mask, _, _ = problem(rng, (16, 20, 18))
    images = [complex_normal(rng, (16, 20, 18)) for _ in range(8)]
    monkeypatch.setattr(encoding_module, "CPU_THREAD_BYTES", 1)
    encoding = CartesianEncoding(maps, mask, threads=2)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(encoding.normal, images))
    assert all(np.array_equal(a, encoding.normal(b)) for a, b in zip(together, images, strict=True))


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 8), st.integers(1, 8)),
    coils=st.integers(1, 4),
    sets=st.none() | st.integers(1, 3),
    mask_axes=st.sampled_from([2, 3]),
    readout_domain=st.sampled_from(["image", "kspace"]),
    seed=st.integers(0, 2**16),
)
def test_properties(shape, coils, sets, mask_axes, readout_domain, seed):
    """Adjointness; the normal operator is adjoint times forward, positive, and below the Lipschitz bound."""
    maps, mask, image, _ = problem(np.random.default_rng(seed), shape, coils, sets, mask_axes)
    encoding = CartesianEncoding(maps, mask, readout_domain)
    assert check_adjoint(encoding, seed) <= 1e-4
    normal, energy = encoding.normal_energy(image)
    size = np.linalg.norm(image) ** 2 * encoding.lipschitz()
    assert_close(normal, encoding.adjoint(encoding.forward(image)), 1e-5)
    assert -1e-6 * size <= energy <= (1 + 1e-5) * size


def test_lipschitz_is_reached_with_full_sampling(rng):
    maps = complex_normal(rng, (3, 2, 6, 4))
    encoding = CartesianEncoding(maps, np.ones((6, 4), bool))
    assert encoding.lipschitz() == pytest.approx((np.abs(maps) ** 2).sum(axis=0).max(), rel=1e-5)


def test_zero_mask_gives_zero(rng):
    maps, mask, image, kspace = problem(rng)
    encoding = CartesianEncoding(maps, np.zeros_like(mask))
    assert not encoding.forward(image).any()
    assert not encoding.adjoint(kspace).any()
    assert not encoding.normal(image).any()


def test_operands_of_other_layouts(rng):
    """Read-only, strided, real, double-precision operands are taken; the operands are never written."""
    maps, mask, image, kspace = problem(rng)
    expected = CartesianEncoding(maps, mask).normal(image)
    maps.flags.writeable = image.flags.writeable = False
    encoding = CartesianEncoding(maps.view(), mask.astype(np.uint8))
    copies = maps.copy(), image.copy()
    assert_close(encoding.normal(np.asfortranarray(image)), expected)
    assert_close(encoding.normal(image.astype(np.complex128)), expected)
    assert_close(CartesianEncoding(np.asfortranarray(maps), mask).normal(image.view()), expected)
    assert encoding.normal(image.real).dtype == np.complex64
    kspace.flags.writeable = False
    encoding.adjoint(kspace[:, ::-1])
    assert np.array_equal(maps, copies[0])
    assert np.array_equal(image, copies[1])


def test_unsampled_kspace_is_ignored_whatever_it_holds(rng):
    for mask_axes, readout_domain in [(2, "image"), (3, "image"), (2, "kspace"), (3, "kspace")]:
        maps, mask, _, kspace = problem(rng, mask_axes=mask_axes)
        encoding = CartesianEncoding(maps, mask, readout_domain)
        expected = encoding.adjoint(kspace)
        kspace[:, ~np.broadcast_to(mask, kspace.shape[1:])] = np.nan
        assert np.array_equal(encoding.adjoint(kspace), expected)


def test_memory_mapped_kspace(rng, tmp_path):
    maps, mask, _, kspace = problem(rng)
    np.save(tmp_path / "k.npy", kspace)
    mapped = np.load(tmp_path / "k.npy", mmap_mode="r")
    encoding = CartesianEncoding(maps, mask)
    assert np.array_equal(encoding.adjoint(mapped), encoding.adjoint(kspace))


@pytest.mark.parametrize("mask_axes", [2, 3])
def test_pickle(rng, mask_axes):
    maps, mask, image, _ = problem(rng, sets=2, mask_axes=mask_axes)
    encoding = CartesianEncoding(maps, mask, "kspace", threads=1)
    encoding.normal(image)
    copy = pickle.loads(pickle.dumps(encoding))
    assert repr(copy) == repr(encoding)
    assert np.array_equal(copy.normal(image), encoding.normal(image))


def test_torch_in_torch_out(rng):
    torch = pytest.importorskip("torch")
    maps, mask, image, kspace = problem(rng)
    encoding = CartesianEncoding(torch.from_numpy(maps), torch.from_numpy(mask))
    for operator, operand in [
        (encoding.forward, image),
        (encoding.adjoint, kspace),
        (encoding.normal, image),
    ]:
        result = operator(torch.from_numpy(operand))
        assert isinstance(result, torch.Tensor)
        assert np.array_equal(result.numpy(), operator(operand))
    out = torch.empty(image.shape, dtype=torch.complex64)
    assert encoding.normal(torch.from_numpy(image), out=out) is out
    assert np.array_equal(out.numpy(), encoding.normal(image))


def test_does_not_import_torch_or_sigpy():
    code = (
        "import sys, numpy as np; from mrrecon.operators import CartesianEncoding as E\n"
        "e = E(np.ones((1, 2, 4, 4), np.complex64), np.ones((4, 4), bool))\n"
        "e.normal(np.ones((2, 4, 4), np.complex64))\n"
        "assert not {'torch', 'sigpy', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_memory_stays_small():
    """The normal operator needs its result and a few planes, not coil images or k-space."""
    shape, coils = (48, 64, 64), 8
    maps = np.ones((coils, *shape), np.complex64)
    image = np.ones(shape, np.complex64)
    encoding = CartesianEncoding(maps, np.ones(shape[1:], bool))
    encoding.normal(image)
    tracemalloc.start()
    encoding.normal(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * image.nbytes


def test_errors_name_operand_and_fix(rng):
    maps, mask, image, kspace = problem(rng, (6, 8, 10))
    encoding = CartesianEncoding(maps, mask)
    cases = [
        (
            lambda: encoding.forward(image.swapaxes(1, 2)),
            ShapeError,
            r"image has shape \(6, 10, 8\), maps expect",
        ),
        (
            lambda: encoding.forward(image.swapaxes(1, 2)),
            ShapeError,
            r"\[x y z\]; transpose the last two axes\?",
        ),
        (lambda: encoding.forward(image.swapaxes(0, 2)), ShapeError, r"transpose axes 0 and 2\?"),
        (lambda: encoding.forward(image[:5]), ShapeError, r"give image on the grid of the maps"),
        (lambda: encoding.adjoint(kspace[0]), ShapeError, r"\[coils x y z\]; add the axis of coils"),
        (lambda: encoding.adjoint(kspace[:2]), ShapeError, r"expect \(3, 6, 8, 10\) \[coils x y z\]"),
        (
            lambda: encoding.forward(image.real.astype(int)),
            DataError,
            r"image must be complex .* got dtype int64",
        ),
        (lambda: encoding.normal(image, out=image), DataError, r"separate from the image"),
        (
            lambda: encoding.normal(image, out=image[:3]),
            ShapeError,
            r"out must be a numpy complex64 array of shape",
        ),
        (lambda: CartesianEncoding(maps[0], mask), ShapeError, r"maps must have the axes \(coils, x, y, z\)"),
        (lambda: CartesianEncoding(maps[:0], mask), ShapeError, r"none empty"),
        (lambda: CartesianEncoding(maps, mask.T), MaskError, r"mask has shape \(10, 8\).*transpose it\?"),
        (lambda: CartesianEncoding(maps, mask * 0.5), MaskError, r"mask must be bool"),
        (lambda: CartesianEncoding(maps.real.astype(int), mask), DataError, r"maps must be complex"),
        (lambda: CartesianEncoding(maps, mask, "hybrid"), ValueError, r"readout_domain must be"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize("name", ["expand", "combine", "weigh", "store", "load"])
@pytest.mark.parametrize("shift", [False, True])
def test_kernels_match_reference(rng, name, shift):
    sets, coils, nx, ny, nz = 2, 5, 4, 7, 6
    c, x, padding = 2, 1, 3
    for weight_planes in (1, nx):
        maps, image = complex_normal(rng, (sets, coils, nx, ny, nz)), complex_normal(rng, (sets, nx, ny, nz))
        kspace = complex_normal(rng, (coils, nx, ny, nz))
        weights = rng.random((weight_planes, ny, nz)).astype(np.float32)
        buffer = complex_normal(rng, (3, 2, ny, nz + padding))
        for first in (0, c):
            arguments = {
                "expand": (maps, image, buffer, first, x, shift),
                "combine": (maps, buffer, image, first, x, shift),
                "weigh": (buffer, weights, x),
                "store": (buffer, weights > 0.5, kspace, first, x, 0.3),
                "load": (kspace, weights > 0.5, buffer, first, x, 0.3),
            }[name]
            expected = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
            getattr(reference, name)(*expected)
            getattr(sense_cpu, name)(*arguments)
            for a, b in zip(arguments, expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.fixture
def pretend_gpu(monkeypatch):
    """The engine's GPU path on the CPU: its slabs and its dispatch with the plain reference kernels."""
    return pretend_cupy.install(monkeypatch)


GPU_CASES = [
    pytest.mark.parametrize("slab_bytes", [1, 4_000, 1 << 28]),
    pytest.mark.parametrize("readout_domain", ["image", "kspace"]),
    pytest.mark.parametrize("mask_axes", [2, 3]),
    pytest.mark.parametrize("sets", [None, 2]),
    pytest.mark.parametrize("shape", [(6, 8, 10), (5, 7, 9), (29, 8, 6)]),
]


def gpu_cases(test):
    for mark in GPU_CASES:
        test = mark(test)
    return test


def compare_gpu_with_cpu(cupy, monkeypatch, rng, shape, sets, mask_axes, readout_domain, slab_bytes):
    monkeypatch.setattr(encoding_module, "GPU_SLAB_BYTES", slab_bytes)
    maps, mask, image, kspace = problem(rng, shape, sets=sets, mask_axes=mask_axes)
    here = CartesianEncoding(maps, mask, readout_domain)
    there = CartesianEncoding(cupy.asarray(maps), cupy.asarray(mask), readout_domain)
    assert there.xp is cupy
    assert_close(there.forward(cupy.asarray(image)).get(), here.forward(image))
    assert_close(there.adjoint(cupy.asarray(kspace)).get(), here.adjoint(kspace))
    result, energy = there.normal_energy(cupy.asarray(image))
    assert_close(result.get(), here.normal(image))
    assert energy == pytest.approx(here.normal_energy(image)[1], rel=1e-4)
    assert there.lipschitz() == pytest.approx(here.lipschitz(), rel=1e-4)
    assert check_adjoint(there) < 1e-4
    with pytest.raises(DataError, match="on the CPU"):
        there.forward(image)
    with pytest.raises(DataError, match="on a GPU"):
        here.forward(cupy.asarray(image))


@gpu_cases
def test_gpu_path_on_cpu(pretend_gpu, monkeypatch, rng, shape, sets, mask_axes, readout_domain, slab_bytes):
    compare_gpu_with_cpu(pretend_gpu, monkeypatch, rng, shape, sets, mask_axes, readout_domain, slab_bytes)


@pytest.mark.gpu
@gpu_cases
def test_gpu_matches_cpu(monkeypatch, rng, shape, sets, mask_axes, readout_domain, slab_bytes):
    cupy = pytest.importorskip("cupy")
    compare_gpu_with_cpu(cupy, monkeypatch, rng, shape, sets, mask_axes, readout_domain, slab_bytes)
