"""L1-wavelet: the objective it minimises, its default strength, and its quality against BART."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from solver_scans import make_scan, psnr

from mrrecon.operators.wavelet import WaveletTransform
from mrrecon.solvers import CGSense, L1Wavelet
from mrrecon.solvers.parts.problem import Problem

SHAPE = (24, 40, 36)


def objective(scan, volume, lam, shifts=8):
    """Data term plus penalty, the penalty averaged over shifts, at the solver's unit scale."""
    problem = Problem.of(scan, "test")
    x = volume / np.float32(problem.scale)
    normal, b = problem.encoding.normal(x[None])[0], problem.backprojection[0]
    transform = WaveletTransform(scan.shape, "haar", 3)
    details = transform.level_map() > 0
    penalty = np.mean([np.abs(transform.forward(x, (s, s + 1, 2 * s)))[details].sum() for s in range(shifts)])
    misfit = 0.5 * np.vdot(x, normal).real - np.vdot(b, x).real
    return float(misfit + lam * problem.zero_filled_noise * penalty)


def test_objective_decreases_to_its_end():
    scan = make_scan(shape=SHAPE, fraction=0.2)
    values = [objective(scan, np.zeros(SHAPE, np.complex64), 0.75)]
    for iterations in (1, 3, 8, 20):
        values.append(objective(scan, L1Wavelet(max_iter=iterations, tolerance=0)(scan).volume, 0.75))
    assert all(b < a for a, b in pairwise(values))
    settled = objective(scan, L1Wavelet(max_iter=60, tolerance=0)(scan).volume, 0.75)
    assert abs(values[-1] - settled) < 0.01 * abs(settled)


def test_the_result_is_a_minimum():
    scan = make_scan(shape=SHAPE, fraction=0.2)
    volume = L1Wavelet(max_iter=80, tolerance=0)(scan).volume
    lowest = objective(scan, volume, 0.75)
    for other in (1.02 * volume, 0.98 * volume, CGSense()(scan).volume, L1Wavelet(lam=0.3)(scan).volume):
        assert objective(scan, other, 0.75) > lowest


@pytest.mark.parametrize(("snr", "fraction"), [(10, 0.3), (40, 0.3), (10, 0.15), (40, 0.15)])
def test_default_is_near_the_best_strength(snr, fraction):
    scan = make_scan(snr=snr, shape=SHAPE, fraction=fraction)
    best = max(psnr(L1Wavelet(lam=lam)(scan).volume, scan.reference) for lam in (0.3, 0.5, 0.75, 1.1, 1.6))
    assert psnr(L1Wavelet()(scan).volume, scan.reference) > best - 0.7
    assert psnr(L1Wavelet()(scan).volume, scan.reference) > psnr(CGSense()(scan).volume, scan.reference) + 1


def test_seed_decides_the_shifts():
    scan = make_scan()
    first, other = (L1Wavelet(seed=s, max_iter=5)(scan).volume for s in (0, 1))
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(L1Wavelet(seed=0, max_iter=5)(scan).volume, first)


def test_settings_of_the_wavelet_are_checked():
    with pytest.raises(ValueError, match="wavelet must be"):
        L1Wavelet(wavelet="db99")
    with pytest.raises(ValueError, match="levels"):
        L1Wavelet(levels=0)


@pytest.mark.bart
def test_at_least_as_good_as_bart_at_its_best_strength(bart, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # BART's threads cost more than they bring at this size
    scan = make_scan(fraction=0.2)
    theirs = max(
        psnr(bart(f"pics -S -l1 -r {strength} -i40", scan.kspace, scan.maps), scan.reference)
        for strength in (0.005, 0.01, 0.02)
    )
    assert psnr(L1Wavelet()(scan).volume, scan.reference) > theirs - 0.05
