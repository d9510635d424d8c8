"""Total variation against sigpy's primal-dual algorithm on the same objective, and on quality."""

from __future__ import annotations

import numpy as np
import pytest
import sigpy
from solver_scans import make_scan, nrmse, psnr

from mrrecon.operators.total_variation import tv_norm
from mrrecon.solvers import CGSense, TotalVariation
from mrrecon.solvers.parts.problem import Problem


def numpy_difference(shape: tuple[int, ...]) -> sigpy.linop.Linop:
    """Forward differences out of sigpy's own pieces, zero at the last index of each axis."""
    parts = []
    for axis in range(3):
        upper, lower = (
            tuple(part if a == axis else slice(None) for a in range(3)) for part in (slice(1, None), slice(0, -1))
        )
        difference = sigpy.linop.Slice(shape, upper) - sigpy.linop.Slice(shape, lower)
        parts.append(sigpy.linop.Reshape((1, *shape), shape) * sigpy.linop.Embed(shape, lower) * difference)
    return sigpy.linop.Vstack(parts, axis=0)


def sigpy_sense(scan) -> sigpy.linop.Linop:
    maps = sigpy.linop.Multiply(scan.shape, scan.maps)
    fourier = sigpy.linop.FFT(maps.oshape, axes=(-3, -2, -1))
    return sigpy.linop.Multiply(maps.oshape, scan.mask.astype(np.float32)) * fourier * maps


def test_reaches_the_objective_of_sigpys_algorithm():
    scan = make_scan(shape=(12, 20, 18), fraction=0.4)
    lam = 0.6
    problem = Problem.of(scan, "test")
    weight, b = lam * problem.zero_filled_noise, problem.backprojection[0]

    def objective(x: np.ndarray) -> float:
        misfit = 0.5 * np.vdot(x, problem.encoding.normal(x[None])).real - np.vdot(b, x).real
        return float(misfit + weight * tv_norm(x))

    samples = int(scan.kspace.size)
    data = scan.kspace.reshape(-1) / np.float32(problem.scale)

    def dual_prox(step: float, u: np.ndarray) -> np.ndarray:
        """Of the conjugates of ``|. - data|^2 / 2`` and of the sum of lengths."""
        field = u[samples:].reshape(3, -1)
        field = field * np.minimum(1, weight / np.maximum(np.sqrt((np.abs(field) ** 2).sum(axis=0)), 1e-20))
        return np.concatenate([(u[:samples] - step * data) / (1 + step), field.reshape(-1)])

    stacked = sigpy.linop.Vstack([sigpy_sense(scan), numpy_difference(scan.shape)])
    x, u = np.zeros(scan.shape, np.complex64), np.zeros(stacked.oshape, np.complex64)
    step = 1 / np.sqrt(13)
    algorithm = sigpy.alg.PrimalDualHybridGradient(
        dual_prox, lambda step, v: v, stacked, stacked.H, x, u, tau=step, sigma=step, max_iter=1000
    )
    while not algorithm.done():
        algorithm.update()
    ours = TotalVariation(lam=lam, max_iter=300, tolerance=1e-6, true_intensity=False)(scan).volume / np.float32(
        problem.scale
    )
    assert objective(ours) <= objective(x) + 1e-4 * abs(objective(x))
    assert nrmse(ours, x) < 0.01


def test_default_is_near_the_best_strength_and_beats_cg():
    for snr in (10, 40):
        scan = make_scan(snr=snr, shape=(24, 40, 36), fraction=0.2)
        best = max(psnr(TotalVariation(lam=s)(scan).volume, scan.reference) for s in (0.1, 0.2, 0.3, 0.5, 0.8))
        default = psnr(TotalVariation()(scan).volume, scan.reference)
        assert default > best - 1.0
        assert default > psnr(CGSense()(scan).volume, scan.reference) + 1


def test_no_regularisation_is_least_squares():
    scan = make_scan(snr=None, fraction=1.0)
    assert nrmse(TotalVariation(lam=0)(scan).volume, scan.reference) < 1e-4


@pytest.mark.parametrize("lam", [1e4])
def test_overwhelming_strength_gives_a_constant(lam):
    scan = make_scan(shape=(8, 12, 10), fraction=1.0)
    volume = TotalVariation(lam=lam, max_iter=3000, tolerance=1e-7, true_intensity=False)(scan).volume
    assert np.abs(volume - volume.mean()).max() < 0.02 * np.abs(volume).mean()
