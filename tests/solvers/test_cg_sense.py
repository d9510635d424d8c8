"""CG-SENSE against a dense solve and against BART."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from solver_scans import centred_fft, make_scan, nrmse

from mrrecon import operators
from mrrecon.acquisition import Acquisition
from mrrecon.solvers import CGSense
from mrrecon.solvers.parts.intensity import restored
from mrrecon.solvers.parts.loop import Start
from mrrecon.solvers.parts.problem import Problem


def dense_solution(scan: Acquisition, lam: float) -> np.ndarray:
    """Build A column by column and solve the normal equations in double precision."""
    n = int(np.prod(scan.shape))
    columns = np.eye(n).reshape(n, 1, *scan.shape) * scan.maps.astype(np.complex128)
    a = (centred_fft(columns, (2, 3, 4)) * scan.mask).reshape(n, -1).T
    y = (scan.kspace * scan.mask).reshape(-1)
    return np.linalg.solve(a.conj().T @ a + lam * np.eye(n), a.conj().T @ y).reshape(scan.shape)


@pytest.mark.parametrize("volume_mask", [False, True])
@pytest.mark.parametrize("lam", [0.01, 0.3])
def test_dense_solve(lam, volume_mask):
    scan = make_scan(shape=(6, 9, 8), volume_mask=volume_mask, fraction=0.4)
    result = CGSense(lam=lam, max_iter=300, tolerance=1e-7, true_intensity=False)(scan)
    assert nrmse(result.volume, dense_solution(scan, lam)) < 1e-4


def test_lam_is_relative_to_the_maps():
    scan = make_scan()
    doubled = Acquisition(scan.kspace, scan.mask, scan.maps * np.float32(2))
    one, two = CGSense(lam=0.05)(scan), CGSense(lam=0.05)(doubled)
    np.testing.assert_allclose(2 * two.volume, one.volume, atol=1e-4)


def test_default_is_near_the_best_strength():
    for snr in (10, 40):
        scan = make_scan(snr=snr, shape=(24, 40, 36), fraction=0.2)
        best = min(nrmse(CGSense(lam=lam)(scan).volume, scan.reference) for lam in (0.003, 0.01, 0.03, 0.1, 0.3))
        assert nrmse(CGSense()(scan).volume, scan.reference) < 1.1 * best  # 0.8 dB


def test_complete_data_without_noise_are_reproduced():
    scan = make_scan(snr=None, fraction=1.0)
    assert nrmse(CGSense(lam=0)(scan).volume, scan.reference) < 1e-5


@pytest.mark.bart
@pytest.mark.parametrize("iterations", [5, 15])
def test_agrees_with_bart(bart, iterations):
    scan = make_scan(shape=(24, 40, 36), fraction=0.2)
    theirs = bart(f"pics -S -l2 -r 0.02 -i{iterations}", scan.kspace, scan.maps)
    ours = CGSense(lam=0.02, max_iter=iterations, tolerance=0, true_intensity=False)(scan).volume
    assert nrmse(ours, theirs) < 1e-3


def test_solved_problems_end_without_dividing_by_nothing():
    scan = make_scan(snr=None, fraction=1.0)
    result = CGSense(lam=0, max_iter=300, tolerance=0)(scan)
    assert nrmse(result.volume, scan.reference) < 1e-4


def test_unknown_on_a_finer_grid_is_solved_by_the_same_method():
    """Least squares over A P, P averaging a finer grid, against dense algebra."""
    scan = make_scan(shape=(6, 8, 8), snr=20, fraction=0.6, coils=2)
    problem = Problem.of(scan, "test")
    finer = problem.grid.with_shape((9, 12, 8))
    composed = problem.over(operators.Resampling(finer.shape, problem.grid.shape), finer)
    columns = np.eye(int(np.prod(finer.shape)), dtype=np.complex64).reshape(-1, 1, *finer.shape)
    normal = np.array([composed.encoding.normal(column).ravel() for column in columns]).T
    lam = 0.05
    ridge = lam * composed.lipschitz * np.eye(len(normal))
    expected = np.linalg.solve(normal + ridge, composed.backprojection.ravel()).reshape(1, *finer.shape)
    for step in islice(CGSense().iterations(composed, lam, Start(composed.start(None))), 60):  # noqa: B007
        pass
    assert nrmse(step.image, expected) < 1e-3
    assert np.linalg.eigvalsh(normal)[-1] <= composed.lipschitz * 1.001
    assert composed.noise**2 * composed.lipschitz == pytest.approx(problem.noise**2 * problem.lipschitz)


def test_intensities_are_restored_on_another_grid_too():
    problem = Problem.of(make_scan(shape=(16, 18, 20), snr=None, fraction=1.0, coils=4), "test")
    finer = problem.grid.with_shape((20, 25, 20))
    composed = problem.over(operators.Resampling(finer.shape, problem.grid.shape), finer)
    image = operators.Resampling(problem.grid.shape, finer.shape).forward(problem.backprojection)
    error, left = (
        abs((composed.backprojection - composed.encoding.normal(x)).sum())
        for x in (0.7 * image, restored(composed, 0.7 * image))
    )
    assert left < 0.3 * error
