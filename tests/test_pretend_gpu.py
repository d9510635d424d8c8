"""Everything that runs on a GPU, on the strict stand-in for CuPy, compared with the CPU."""

from __future__ import annotations

import importlib
import inspect
import shutil
import sys
import types

import numpy as np
import pretend_cupy
import pytest
import sigpy.backend
import sigpy.config
from cuda_on_cpu import compile_kernels, launcher
from pretend_cupy import DeviceArray, traffic
from solver_scans import coil_maps, head_like, make_scan, nrmse

import mrrecon.operators.encoding as encoding_module
from mrrecon import io, metrics, operators, solvers
from mrrecon.acquisition import Acquisition
from mrrecon.cli import main
from mrrecon.errors import DataError, MaskError, MissingDependencyError
from mrrecon.operators import (
    FFT,
    FiniteDifference,
    Interpolation,
    Sense,
    Wavelet,
    backend,
    check_adjoint,
    total_variation,
    vectors,
)
from mrrecon.operators.encoding import CartesianEncoding
from mrrecon.operators.kernels import cuda, sense_cpu
from mrrecon.reconstruction import Reconstruction
from mrrecon.resolution import crop_kspace

SHAPE = (12, 18, 16)


@pytest.fixture(autouse=True)
def cupy(monkeypatch):
    return pretend_cupy.install(monkeypatch)


def draw(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def same(there, here, tolerance=2e-5):
    """The device result is on the device, of the dtype of the CPU's, and equal up to rounding."""
    assert isinstance(there, DeviceArray)
    assert (there.shape, there.dtype) == (here.shape, here.dtype)
    assert np.linalg.norm(there.get() - here) <= tolerance * np.linalg.norm(here)


def scan_of(sets=1, volume_mask=False, noise=False):
    """A scan whose calibration block is 12 wide, with as many sets of maps as asked for."""
    scan = make_scan(shape=SHAPE, volume_mask=volume_mask)
    maps = scan.maps if sets == 1 else np.stack([scan.maps, 0.3 * scan.maps[::-1]])
    rng = np.random.default_rng(1)
    a = draw(rng, 4, 4)
    covariance = 1e-3 * (np.eye(4) + 0.1 * a @ a.conj().T) if noise else None
    return Acquisition(scan.kspace, scan.mask, maps, covariance, reference=scan.reference)


# ---- the stand-in itself ---------------------------------------------------------------------------------


def test_stand_in_is_strict(cupy, rng):
    a, b = cupy.asarray(draw(rng, 3, 4)), draw(rng, 3, 4)
    refused = [
        lambda: np.asarray(a),
        lambda: np.array([a, a]),
        lambda: a + b,
        lambda: b + a,
        lambda: np.multiply(a, b),
        lambda: a.__setitem__(0, b[0]),
        lambda: cupy.vdot(a, b),
        lambda: cupy.abs(a, where=True),
        lambda: np.add(a, a, out=b),
        lambda: np.copyto(b, a),
        lambda: cupy.where(b.real > 0, a, a),
        lambda: a.sum(initial=0),
        lambda: cupy.ascontiguousarray(b),
        lambda: np.fft.fftn(b, axes=a),
    ]
    for call in refused:
        with pytest.raises(TypeError):
            call()
    b += 0
    with pytest.raises(TypeError):
        b *= a
    for name in ("ctypes", "setflags", "__array_interface__"):
        assert not hasattr(a, name)
    assert not hasattr(a.flags, "writeable")
    with pytest.raises(AttributeError):
        cupy.errstate  # noqa: B018
    assert isinstance(np.float32(2) * a, DeviceArray)
    assert isinstance(a.sum(), DeviceArray)
    assert isinstance(np.sqrt(a.sum()), DeviceArray)
    assert float(cupy.abs(a).max()) == np.abs(a.get()).max()


@pytest.mark.gpu
def test_stand_in_has_only_what_cupy_has(monkeypatch):
    monkeypatch.undo()  # the real one
    for module, functions in (
        ("cupy", pretend_cupy.FUNCTIONS),
        ("cupy.fft", pretend_cupy.FFT),
        ("cupy.linalg", pretend_cupy.LINALG),
        ("cupyx.scipy.fft", pretend_cupy.SCIPY_FFT),
    ):
        check_names(importlib.import_module(module), functions)


def check_names(real: types.ModuleType, functions: dict[str, str]) -> None:
    for name, keywords in functions.items():
        found = getattr(real, name)
        if keywords != pretend_cupy.UFUNC and name != "einsum":  # whose keywords are **kwargs
            assert set(keywords.split()) <= set(inspect.signature(found).parameters), name


# ---- backend ---------------------------------------------------------------------------------------------


def test_backend(cupy, rng):
    a = draw(rng, 3)
    assert backend.has_cupy()
    there = backend.to_device(a, "cuda")
    assert isinstance(there, DeviceArray)
    assert backend.get_array_module(a, there) is cupy
    assert backend.as_array(there) is there
    assert backend.as_kind(a, there).dtype == a.dtype
    for back in (backend.to_device(there, "cpu"), backend.to_numpy(there), backend.as_kind(there, a)):
        assert np.array_equal(back, a)


def test_no_gpu(cupy, monkeypatch):
    def fails():
        raise cupy.cuda.runtime.CUDARuntimeError

    for count in (lambda: 0, fails):
        monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", count)
        assert not backend.has_cupy()
        with pytest.raises(MissingDependencyError, match="needs CuPy and an NVIDIA GPU"):
            backend.to_device(np.ones(3), "cuda")
    monkeypatch.setitem(sys.modules, "cupy", None)  # not installed, or without its CUDA libraries
    assert not backend.has_cupy()


# ---- operators -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [None, 0, (1, 2), (1, 2, 3), (0, 3), -1])
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128, np.float32])
def test_fft(cupy, rng, axes, dtype):
    a = draw(rng, 3, 5, 6, 7).astype(dtype) if dtype != np.float32 else draw(rng, 3, 5, 6, 7).real
    for function in (operators.fft, operators.ifft):
        same(function(cupy.asarray(a), axes), function(a, axes))
        out = cupy.empty(a.shape, dtype=function(a, axes).dtype)
        assert function(cupy.asarray(a), axes, out=out) is out
        same(out, function(a, axes))
    in_place = cupy.asarray(draw(rng, 3, 5, 6, 7))
    expected = operators.fft(in_place.get(), axes)
    operators.fft(in_place, axes, out=in_place)
    same(in_place, expected)


@pytest.fixture
def sigpy_with_cupy(monkeypatch, cupy):
    monkeypatch.setattr(sigpy.config, "cupy_enabled", True)
    monkeypatch.setattr(sigpy.backend, "cp", cupy, raising=False)


@pytest.mark.parametrize("sets", [1, 2])
@pytest.mark.parametrize("mask_axes", [2, 3])
def test_sense(cupy, sigpy_with_cupy, rng, sets, mask_axes):
    maps = draw(rng, sets, 3, *SHAPE) if sets > 1 else draw(rng, 3, *SHAPE)
    mask = rng.random(SHAPE[-mask_axes:]) < 0.5
    here, there = Sense(maps, mask, "kspace"), Sense(cupy.asarray(maps), mask, "kspace")
    image, kspace = draw(rng, *here.ishape), draw(rng, *here.oshape)
    same(there(cupy.asarray(image)), here(image))
    same(there.H(cupy.asarray(kspace)), here.H(kspace))
    same(there.N(cupy.asarray(image)), here.N(image))
    out = cupy.empty(image.shape, np.complex64)
    assert there.encoding.normal(cupy.asarray(image), out=out) is out
    assert check_adjoint(there) < 1e-4
    assert there.lipschitz() == pytest.approx(here.lipschitz(), rel=1e-4)
    with pytest.raises(DataError, match="separate from the image"):
        there.encoding.normal(out, out=out)
    with pytest.raises(MaskError, match="hold only 0 and 1"):
        Sense(cupy.asarray(maps), cupy.asarray(mask * 0.5))


def test_sparsifying_linops(cupy, sigpy_with_cupy, rng):
    image = draw(rng, *SHAPE)
    for linop in (FFT(SHAPE), Wavelet(SHAPE), FiniteDifference(SHAPE), Interpolation(SHAPE, (8, 20, 16))):
        same(linop(cupy.asarray(image)), linop(image))
        same(linop.H(linop(cupy.asarray(image))), linop.H(linop(image)))
        assert check_adjoint(linop, like=cupy.empty(0)) < 1e-4


def test_composed(cupy, rng):
    maps, mask = draw(rng, 1, 3, *SHAPE), rng.random(SHAPE[1:]) < 0.5
    grid = operators.Resampling((14, 20, 12), SHAPE)
    here, there = (
        operators.ComposedEncoding(CartesianEncoding(m, mask, "kspace"), grid) for m in (maps, cupy.asarray(maps))
    )
    image = draw(rng, *here.ishape)
    out = cupy.empty(image.shape, np.complex64)
    result, energy = there.normal_energy(cupy.asarray(image), out=out, ridge=0.2)
    assert result is out
    same(out, here.normal_energy(image, ridge=0.2)[0])
    assert energy == pytest.approx(here.normal_energy(image, ridge=0.2)[1], rel=1e-5)
    assert there.trace() == pytest.approx(here.trace(), rel=1e-5)
    assert (there.support().get() == here.support()).all()


def test_kspace_crop(cupy, rng):
    image = draw(rng, 2, *SHAPE)
    same(operators.kspace_crop(cupy.asarray(image), (8, 20, 16)), operators.kspace_crop(image, (8, 20, 16)))


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("readout_domain", ["image", "kspace"])
def test_engine_with_cuda_kernels(cupy, rng, monkeypatch, tmp_path, readout_domain):
    """The engine with cuda.py and sense.cu, compiled for the CPU; slabs of some planes that overlap."""
    monkeypatch.setattr(encoding_module, "encoding_kernels", lambda xp: sense_cpu if xp is np else cuda)
    monkeypatch.setattr(cuda, "_launch", launcher(compile_kernels(tmp_path)))
    monkeypatch.setattr(encoding_module, "GPU_SLAB_BYTES", 20_000 if readout_domain == "kspace" else 40_000)
    maps = draw(rng, 2, 3, *SHAPE)
    image, kspace = draw(rng, 2, *SHAPE), draw(rng, 3, *SHAPE)
    for mask_axes in (2, 3):
        mask = rng.random(SHAPE[-mask_axes:]) < 0.5
        here = CartesianEncoding(maps, mask, readout_domain)
        there = CartesianEncoding(cupy.asarray(maps), cupy.asarray(mask), readout_domain)
        assert SHAPE[0] % there.slab_shape[1]
        same(there.forward(cupy.asarray(image)), here.forward(image))
        same(there.adjoint(cupy.asarray(kspace)), here.adjoint(kspace))
        same(there.normal(cupy.asarray(image)), here.normal(image))


def test_vectors(cupy, rng):
    here = [draw(rng, 4, 5, 6) for _ in range(4)]
    there = [cupy.asarray(a) for a in here]
    assert vectors.real_dot(*there[:2]) == pytest.approx(vectors.real_dot(*here[:2]), rel=1e-5)
    for ridge in (0.0, 0.3):
        assert vectors.cg_curvature(*there[:2], ridge) == pytest.approx(
            vectors.cg_curvature(*here[:2], ridge), rel=1e-5
        )
    assert vectors.cg_update(*there, 0.7) == pytest.approx(vectors.cg_update(*here, 0.7), rel=1e-5)
    vectors.cg_direction(there[2], there[1], 0.4)
    vectors.cg_direction(here[2], here[1], 0.4)
    for a, b in zip(there, here, strict=True):
        same(a, b)


def test_proximal(cupy, rng):
    here = [draw(rng, 4, 5, 6) for _ in range(3)]
    there = [cupy.asarray(a) for a in here]
    for arrays in (here, there):
        vectors.gradient_step(*arrays, 0.3)
    assert vectors.extrapolate(*there, 0.9) == pytest.approx(vectors.extrapolate(*here, 0.9), rel=1e-5)
    assert vectors.average(*there[:2], 0.2) == pytest.approx(vectors.average(*here[:2], 0.2), rel=1e-5)
    for a, b in zip(there, here, strict=True):
        same(a, b)


@pytest.mark.parametrize("shape", [(8, 12, 16), (9, 1, 13)])
@pytest.mark.parametrize("wavelet", ["haar", "db3"])
def test_wavelet(cupy, rng, shape, wavelet):
    transform = operators.WaveletTransform(shape, wavelet, 2)
    volume, shift = draw(rng, *shape), (1, 0, 2)
    here, there = transform.forward(volume, shift), transform.forward(cupy.asarray(volume), shift)
    same(there, here)
    for thresholds in (0.5, [0.5, 0.2][: transform.levels]):
        same(transform.shrink(there.copy(), thresholds), transform.shrink(here.copy(), thresholds))
    same(transform.inverse(there, shift), volume)
    same(there, here)
    out = cupy.empty(shape, np.complex64)
    assert transform.inverse(there, shift, out=out) is out
    same(out, volume)


def test_total_variation(cupy, rng):
    volume, dual = draw(rng, 5, 6, 7), draw(rng, 3, 5, 6, 7)
    there, field = cupy.asarray(volume), cupy.asarray(dual)
    same(total_variation.gradient(there), total_variation.gradient(volume))
    same(total_variation.gradient_adjoint(field), total_variation.gradient_adjoint(dual))
    out = cupy.empty(volume.shape, np.complex64)
    assert total_variation.gradient_adjoint(field, out=out) is out
    same(out, total_variation.gradient_adjoint(dual))
    assert total_variation.tv_norm(there) == pytest.approx(total_variation.tv_norm(volume), rel=1e-5)
    same(total_variation.dual_step(field, there, 0.3, 0.7), total_variation.dual_step(dual, volume, 0.3, 0.7))


# ---- coils and calibration -------------------------------------------------------------------------------


@pytest.mark.parametrize("volume_mask", [False, True])
def test_noise_and_whitening(cupy, rng, volume_mask):
    scan = make_scan(shape=SHAPE, volume_mask=volume_mask)
    there = cupy.asarray(scan.kspace)
    here = operators.estimate_noise_covariance(scan.kspace, scan.mask)
    np.testing.assert_allclose(operators.estimate_noise_covariance(there, cupy.asarray(scan.mask)), here, rtol=1e-6)
    same(operators.whiten(there, here), operators.whiten(scan.kspace, here))
    same(operators.whiten(there, cupy.asarray(here)), operators.whiten(scan.kspace, here))
    noise = draw(rng, 4, 100)
    np.testing.assert_allclose(operators.noise_covariance(cupy.asarray(noise)), operators.noise_covariance(noise))


def test_mixing(cupy, rng):
    for shape in ((4, 6), (4, 5, 6, 7), (2, 4, 5, 6, 7)):
        a, matrix = draw(rng, *shape), draw(rng, 3, 4)
        same(operators.mix_coils(cupy.asarray(a), cupy.asarray(matrix)), operators.mix_coils(a, matrix))
    a, matrices = draw(rng, 4, 5, 6, 7), draw(rng, 5, 3, 4)
    same(operators.mix_coils(cupy.asarray(a), matrices), operators.mix_coils(a, matrices))
    turned = a.transpose(0, 3, 2, 1)
    same(operators.mix_coils(cupy.asarray(a).transpose(0, 3, 2, 1), matrix), operators.mix_coils(turned, matrix))
    same(operators.mix_coils(cupy.asarray(a[:, 0, 0, 0]), matrix), operators.mix_coils(a[:, 0, 0, 0], matrix))


@pytest.mark.parametrize("method", ["svd", "geometric"])
def test_compression(cupy, method):
    kspace = scan_of().hybrid().kspace
    here, matrix = operators.compress_coils(kspace, 2, method, readout_domain="image")
    there, same_matrix = operators.compress_coils(cupy.asarray(kspace), 2, method, readout_domain="image")
    same(there, here)
    np.testing.assert_allclose(same_matrix, matrix)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"soft_crop": True, "return_eigenvalues": True},
        {"sets": 2},
        {"calibration": None, "kernel": (3, 5, 4)},
        {"phase_reference": 2},
        {"kernel": (4, 8, 8)},  # so many patches that the signal space is found by iteration
    ],
)
@pytest.mark.parametrize("hybrid", [False, True])
def test_espirit(cupy, settings, hybrid):
    scan = scan_of().hybrid() if hybrid else scan_of()
    settings = {"calibration": 12, "kernel": 5, "crop": 0.7, "readout_domain": scan.domains[0], **settings}
    here = operators.espirit(scan.kspace, mask=scan.mask, **settings)
    there = operators.espirit(cupy.asarray(scan.kspace), mask=cupy.asarray(scan.mask), **settings)
    if "return_eigenvalues" in settings:
        (here, values), (there, values_there) = here, there
        same(values_there, values, 2e-3)
    assert isinstance(there, DeviceArray)
    first = (0,) if settings.get("sets") else ()
    differ = np.linalg.norm(there.get()[first] - here[first], axis=0)
    assert np.quantile(differ, 0.98) < 0.02  # a voxel at the edge of the support may fall to either side
    assert settings.get("sets") or np.count_nonzero(differ) > 100


def test_espirit_survives_a_solver_that_fails_in_single_precision(cupy, monkeypatch):
    """What cuSOLVER has been seen to do with batches of complex64: wrong vectors, no error."""
    kspace, eigh = scan_of().kspace, cupy.linalg.eigh
    settings = {"calibration": 12, "kernel": 4}
    expected = operators.espirit(cupy.asarray(kspace), **settings)

    def broken(a):
        values, vectors = eigh(a)
        if a.ndim > 2 and a.dtype == np.complex64:
            vectors[9, 8, :, -1] += 0.2
        return values, vectors

    monkeypatch.setattr(cupy.linalg, "eigh", broken)
    same(operators.espirit(cupy.asarray(kspace), **settings), expected.get(), 1e-3)


def test_espirit_without_mask(cupy):
    kspace = scan_of().kspace
    assert operators.calibration_region(cupy.asarray(kspace)) == operators.calibration_region(kspace)
    there = operators.espirit(cupy.asarray(kspace), calibration=12, kernel=4)
    assert nrmse(there.get(), operators.espirit(kspace, calibration=12, kernel=4)) < 0.1


# ---- acquisition and its steps ---------------------------------------------------------------------------


def test_acquisition(cupy):
    scan = scan_of(noise=True)
    there = scan.to("cuda")
    assert isinstance(there.kspace, DeviceArray)
    assert isinstance(there.maps, DeviceArray)
    assert not there.is_lazy
    assert repr(there) == repr(scan)
    back = there.to("cpu")
    assert np.array_equal(back.kspace, scan.kspace)
    made = Acquisition(
        there.kspace,
        cupy.asarray(scan.mask),
        there.maps,
        cupy.asarray(scan.noise_covariance),
        affine=cupy.asarray(scan.affine),
        reference=cupy.asarray(scan.reference),
    )
    for name in ("mask", "noise_covariance", "affine"):
        assert np.array_equal(getattr(made, name), getattr(scan, name))
    assert isinstance(made.slab(2, 4), DeviceArray)


def test_bad_acquisitions(cupy):
    scan = scan_of()
    broken = scan.kspace.copy()
    broken[1, 2, 3, 4] = np.nan
    with pytest.raises(DataError, match="coil 1 has 1 NaN"):
        Acquisition(cupy.asarray(broken), scan.mask)
    with pytest.raises(DataError, match="coil 2 is zero everywhere"):
        Acquisition(cupy.asarray(scan.kspace * np.array([1, 1, 0, 1]).reshape(4, 1, 1, 1)), scan.mask)
    with pytest.raises(DataError, match="maps has NaN"):
        Acquisition(cupy.asarray(scan.kspace), scan.mask, maps=cupy.asarray(broken))
    with pytest.raises(DataError, match="kspace must be complex"):
        Acquisition(cupy.asarray(scan.kspace.real), scan.mask)


@pytest.mark.parametrize(
    "step",
    [
        lambda scan: scan.undersample(np.arange(16) % 2 == np.zeros((18, 1))),
        lambda scan: scan.undersample(backend.as_kind(np.ones(SHAPE, bool), scan.kspace)),
        lambda scan: scan.whiten(),
        lambda scan: scan.compress_coils(3),
        lambda scan: scan.compress_coils(3, "geometric"),
        lambda scan: scan.calibrate(calibration=12, kernel=4),
        lambda scan: scan.hybrid(),
        lambda scan: scan.select_coils([2, 0]),
        lambda scan: crop_kspace(scan, (1.5, 2, 1)).evolve("maps", maps=scan.maps[..., :8, :9, :]),
    ],
)
@pytest.mark.parametrize("sets", [1, 2])
@pytest.mark.parametrize("noise", [False, True])
def test_steps(step, sets, noise):
    scan = scan_of(sets=sets, noise=noise)
    here, there = step(scan), step(scan.to("cuda"))
    same(there.kspace, here.kspace)
    assert np.array_equal(there.mask, here.mask)
    assert there.domains == here.domains
    assert [s.name for s in there.provenance] == [s.name for s in here.provenance]
    assert isinstance(there.maps, DeviceArray)
    assert nrmse(there.maps.get(), here.maps) < 0.1
    if noise:
        np.testing.assert_allclose(there.noise_covariance, here.noise_covariance, rtol=1e-5, atol=1e-9)


def test_joint_maps(cupy):
    scan = scan_of(noise=True)
    here, there = solvers.joint_maps(scan), solvers.joint_maps(scan.to("cuda"))
    assert isinstance(there.maps, DeviceArray)
    assert nrmse(scan.to("cuda").fit_maps(scan.reference).maps.get(), scan.fit_maps(scan.reference).maps) < 1e-2
    assert there.provenance[-1].settings["rounds"] == here.provenance[-1].settings["rounds"]


def test_write(tmp_path):
    scan = scan_of(noise=True)
    io.write(scan.to("cuda"), tmp_path / "scan.h5")
    back = io.read(tmp_path / "scan.h5").load()
    assert np.array_equal(back.kspace, scan.kspace)
    assert np.array_equal(back.maps, scan.maps)


def test_metrics(cupy):
    volume = head_like(SHAPE)
    other = volume + np.float32(0.01)
    there = metrics.evaluate(cupy.asarray(other), cupy.asarray(volume))
    assert there == metrics.evaluate(other, volume)


# ---- solvers ---------------------------------------------------------------------------------------------

SOLVERS = {
    "zero-filled": solvers.ZeroFilled(),
    "cg-sense": solvers.CGSense(max_iter=6, tolerance=0),
    "l1-wavelet": solvers.L1Wavelet(max_iter=25, tolerance=0),
    "tv": solvers.TotalVariation(max_iter=8, tolerance=0),
}


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("sets", [1, 2])
@pytest.mark.parametrize("volume_mask", [False, True])
@pytest.mark.parametrize("noise", [False, True])
def test_solvers(name, sets, volume_mask, noise):
    scan = scan_of(sets, volume_mask, noise)
    here, there = SOLVERS[name](scan), SOLVERS[name](scan.to("cuda"))
    assert type(there.volume) is np.ndarray
    assert nrmse(there.volume, here.volume) < 1e-4
    assert there.scale == pytest.approx(here.scale)
    residuals = [[h["residual"] for h in r.history] for r in (there, here)]
    np.testing.assert_allclose(*residuals, rtol=1e-2)


@pytest.mark.parametrize("hybrid", [False, True])
def test_zero_filled_without_maps(cupy, hybrid):
    scan = scan_of()
    scan = Acquisition(scan.kspace, scan.mask)
    scan = scan.hybrid() if hybrid else scan
    there = solvers.ZeroFilled()(scan.to("cuda"))
    assert nrmse(there.volume, solvers.ZeroFilled()(scan).volume) < 1e-5


@pytest.mark.parametrize("name", [n for n in SOLVERS if n != "zero-filled"])
@pytest.mark.parametrize("sets", [1, 2])
def test_warm_start(cupy, name, sets):
    scan = scan_of(sets)
    start = head_like(SHAPE)
    here = SOLVERS[name](scan, initial=start)
    for initial in (start, cupy.asarray(start)):
        assert nrmse(SOLVERS[name](scan.to("cuda"), initial=initial).volume, here.volume) < 1e-4


@pytest.mark.parametrize("name", SOLVERS)
def test_callback_gets_numpy(name):
    seen = []
    SOLVERS[name](scan_of().to("cuda"), callback=lambda status: seen.append(status.image()))
    assert all(type(image) is np.ndarray and image.dtype == np.complex64 for image in seen)
    assert seen


@pytest.mark.parametrize("name", [n for n in SOLVERS if n != "zero-filled"])
@pytest.mark.parametrize("volume_mask", [False, True])
def test_loop_stays_on_the_device(name, volume_mask):
    """Between two callbacks nothing is fetched or sent, and at most four numbers are waited for."""
    scan = scan_of(volume_mask=volume_mask).to("cuda")
    marks = []
    SOLVERS[name](scan, callback=lambda _: marks.append((len(traffic.fetched), sum(traffic.sent), traffic.numbers)))
    fetched, sent, numbers = np.diff(np.array(marks), axis=0).T
    assert not fetched.any()
    assert sent.max() <= 200  # the table of thresholds, and where bands lie
    assert numbers.max() <= 4


def test_checkpoints_belong_to_data_on_any_device(cupy, tmp_path):
    scan, path = make_scan(shape=SHAPE), tmp_path / "run.checkpoint"
    solver = solvers.L1Wavelet(max_iter=4, tolerance=0)
    for first, second in (("cuda", "cuda"), ("cpu", "cuda"), ("cuda", "cpu")):
        solver(scan.to(first), lambda status: status.iteration == 2, checkpoint=path)
        with pytest.raises(DataError, match="another k-space and another maps"):
            other = scan.to(second)
            solver(other.evolve("other", kspace=other.kspace[::-1], maps=other.maps[::-1]), checkpoint=path)
        assert len(solver(scan.to(second), checkpoint=path).history) == 4


def test_cg_fetches_only_the_result():
    """Scale and noise are measured on the host from a small part of the data; no other array leaves the device."""
    shape = (12, 48, 40)
    scan, voxels = make_scan(shape=shape).to("cuda"), int(np.prod(shape))
    traffic.__init__()
    solvers.CGSense(max_iter=5)(scan)
    assert traffic.fetched.count(voxels) == 1
    assert traffic.fetched[-1] == voxels
    assert max(traffic.fetched[:-1], default=0) < scan.kspace.size / 4


def test_coil_maps_are_used(cupy):
    """The reference of these tests: the maps of the scan give back the object."""
    maps = coil_maps(SHAPE, 4)
    scan = Acquisition(operators.fft(maps * head_like(SHAPE), (1, 2, 3)), np.ones(SHAPE[1:], bool), maps)
    assert nrmse(solvers.CGSense(lam=0)(scan.to("cuda")).volume, head_like(SHAPE)) < 1e-3


# ---- command line ----------------------------------------------------------------------------------------


def test_commands(tmp_path, capsys):
    scan = scan_of(noise=True)
    io.write(scan, tmp_path / "scan.h5")
    results = []
    for device in ("cpu", "cuda"):
        output = tmp_path / f"{device}.h5"
        words = ["recon", tmp_path / "scan.h5", "-o", output, "--device", device]
        assert main([str(word) for word in words]) == 0
        results.append(Reconstruction.load(output))
    assert nrmse(results[1].volume, results[0].volume) < 1e-4
    assert results[1].metrics["psnr"] == pytest.approx(results[0].metrics["psnr"], abs=0.01)


def test_check_finds_the_gpu(capsys):
    assert main(["check"]) == 0
    printed = capsys.readouterr().out
    assert "Pretended, 8 GiB" in printed
    assert "GPU agrees with CPU" in printed
