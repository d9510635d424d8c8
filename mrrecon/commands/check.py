"""``mrrecon check``: does this installation work, on this machine, with this hardware?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

__all__ = ["check"]

SHAPE = (24, 40, 36)
# Of poisson((64, 48), 4, calibration=24, seed=0); the same on every machine.
MASK_DIGEST = "b4ace5a734255dffb64a8e3c854258ee04724a7d2b871dcb29bf8499f4fe2c3c"


def check(device: Literal["auto", "cpu", "cuda"] = "auto") -> int:
    """Test this installation: backends, adjointness, CPU/GPU parity, one small reconstruction.

    Parameters
    ----------
    device
        cpu, cuda, or auto: the GPU too, when there is one.
    """
    from mrrecon.operators.backend import has_cupy

    for line in _environment():
        print(line)
    gpu = device == "cuda" or (device == "auto" and has_cupy())
    failed = 0
    for name, test in _tests(gpu):
        start = time.perf_counter()
        try:
            outcome = test()
        except Exception as error:
            outcome, failed = f"FAILED: {type(error).__name__}: {error}", failed + 1
        print(f"{name:<44} {outcome} ({time.perf_counter() - start:.1f} s)")
    print("all checks passed" if not failed else f"{failed} checks failed")
    return 1 if failed else 0


def _environment() -> Iterator[str]:
    from mrrecon.operators.backend import has_cupy, num_threads
    from mrrecon.operators.fourier import fft_library
    from mrrecon.reconstruction import versions

    yield "versions   " + ", ".join(f"{package} {number}" for package, number in versions().items())
    library = {"fftw": "FFTW (pyfftw)", "scipy": "scipy (faster with pip install 'mrrecon[fftw]')"}[fft_library()]
    yield f"CPU        {num_threads()} threads, FFT by {library}"
    if has_cupy():
        import cupy

        properties = cupy.cuda.runtime.getDeviceProperties(0)
        yield f"GPU        {properties['name'].decode()}, {properties['totalGlobalMem'] / 2**30:.0f} GiB"
    else:
        yield "GPU        none found by CuPy (pip install mrrecon[cuda12] or [cuda13] on a machine with an NVIDIA GPU)"


def _tests(gpu: bool) -> Iterator[tuple[str, Callable[[], str]]]:
    yield "masks are the same as everywhere", _masks
    yield "operator is adjoint, hybrid space, (y, z) mask", lambda: _adjoint(SHAPE[1:], "image")
    yield "operator is adjoint, k-space, (x, y, z) mask", lambda: _adjoint(SHAPE, "kspace")
    yield "operator agrees with plain FFTs", _agrees
    yield "calibrate and reconstruct a phantom", _reconstruct
    if gpu:
        yield "GPU agrees with CPU", _parity


def _draw(*shape: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def _masks() -> str:
    import hashlib

    from mrrecon import operators

    digest = hashlib.sha256(
        np.packbits(operators.make_mask("poisson", (64, 48), 4, calibration=24)).tobytes()
    ).hexdigest()
    if digest != MASK_DIGEST:
        raise AssertionError(f"mask digest is {digest[:16]}, expected {MASK_DIGEST[:16]}")
    return "ok"


def _adjoint(mask_shape: tuple[int, ...], domain: Any) -> str:
    from mrrecon import operators

    mask = np.random.default_rng(1).random(mask_shape) < 0.4
    error = operators.check_adjoint(operators.Sense(_draw(4, *SHAPE), mask, readout_domain=domain))
    return f"ok, error {error:.1e}"


def _agrees() -> str:
    from mrrecon import operators

    maps, image = _draw(4, *SHAPE), _draw(*SHAPE)
    mask = np.random.default_rng(1).random(SHAPE[1:]) < 0.4
    axes = (1, 2, 3)
    coil_images = np.fft.ifftshift(maps * image, axes=axes)
    plain = mask * np.fft.fftshift(np.fft.fftn(coil_images, axes=axes, norm="ortho"), axes=axes)
    ours = operators.Sense(maps, mask, readout_domain="kspace")(image)
    error = float(np.linalg.norm(ours - plain) / np.linalg.norm(plain))
    if not error < 1e-5:
        raise AssertionError(f"relative difference {error:.1e}")
    return f"ok, difference {error:.1e}"


def _phantom() -> Any:
    """Simulate an ellipsoid with two inclusions, 8 coils, R = 4."""
    from mrrecon import operators, simulation
    from mrrecon.grid import Grid

    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in (48, 64, 64)), indexing="ij")
    radius = np.sqrt(sum((g / 0.8) ** 2 for g in grids))
    anatomy = 1.0 * (radius < 1) + 0.5 * (np.hypot(grids[1] - 0.2, grids[2]) < 0.25) * (radius < 0.8)
    scan = simulation.simulate(anatomy, Grid(anatomy.shape, (4, 3, 3)), n_coils=8, snr=60, seed=3)
    return scan.undersample(operators.make_mask("poisson", (64, 64), 4, seed=3))


def _reconstruct() -> str:
    from mrrecon import metrics, solvers

    scan = _phantom().whiten().calibrate()
    psnr = metrics.evaluate(solvers.CGSense()(scan), scan.reference)["psnr"]
    if not psnr > 25:
        raise AssertionError(f"PSNR {psnr:.1f} dB, expected more than 25 dB")
    return f"ok, PSNR {psnr:.1f} dB"


def _parity() -> str:
    from mrrecon import solvers
    from mrrecon.operators.backend import to_numpy

    scan = _phantom().whiten()
    maps = scan.calibrate().maps
    maps_gpu = to_numpy(scan.to("cuda").calibrate().maps)
    agreement = float(np.abs((maps * maps_gpu.conj()).sum(axis=0)).sum() / (np.abs(maps) ** 2).sum())
    scan = scan.evolve("maps", maps=maps)
    cpu, cuda = (solvers.CGSense()(s).volume for s in (scan, scan.to("cuda")))
    error = float(np.linalg.norm(cpu - cuda) / np.linalg.norm(cpu))
    if not (error < 1e-3 and agreement > 0.999):
        raise AssertionError(f"CG-SENSE differs by {error:.1e}, maps agree to {agreement:.5f}")
    return f"ok, CG-SENSE differs by {error:.1e}, maps agree to {agreement:.5f}"
