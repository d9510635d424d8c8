"""Mean intensities are those of the object: whatever the method, however much air there is, however weak the echo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from solver_scans import centred_fft, coil_maps, make_scan

from mrrecon.acquisition import Acquisition
from mrrecon.operators import make_mask
from mrrecon.operators.signal_level import signal_scale
from mrrecon.solvers import CGSense, L1Wavelet, TotalVariation, Variational, ZeroFilled
from mrrecon.solvers.parts.intensity import restored
from mrrecon.solvers.parts.problem import Problem

AXES = (1, 2, 3)
METHODS = [CGSense(), L1Wavelet(), TotalVariation(), Variational(prior="brain-small")]


def ball(side: int, radius: float, snr: float, acceleration: float = 1, level: float = 1.0, seed: int = 0):
    """A uniform ball, radius in voxels, in a cube of air; noise of 1 / snr per component; and its inside."""
    place = np.stack(np.meshgrid(*[np.arange(side) - side // 2] * 3, indexing="ij"))
    distance = np.sqrt((place**2).sum(0))
    image = level * (distance < radius)
    maps = coil_maps((side,) * 3, 4)
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((2, 4, side, side, side)) / snr
    mask = make_mask("poisson", (side, side), acceleration, seed=0) if acceleration > 1 else np.ones((side, side), bool)
    kspace = (centred_fft(maps * image, AXES) + noise[0] + 1j * noise[1]) * mask
    scan = Acquisition(kspace.astype(np.complex64), mask, maps, 2 / snr**2 * np.eye(4), (2.0, 2.0, 2.0))
    return scan, image, distance < 0.8 * radius


def bias(solver, side, radius, snr, acceleration):
    scan, image, inside = ball(side, radius, snr, acceleration)
    return float(solver(scan).volume[inside].real.mean() / image[inside].mean() - 1)


@pytest.mark.parametrize("solver", METHODS, ids=lambda s: s.name)
@pytest.mark.parametrize(("acceleration", "snr"), [(1, 10), (4, 10), (4, 50)])
def test_a_large_object_has_its_true_intensity(solver, acceleration, snr):
    assert abs(bias(solver, 48, 19, snr, acceleration)) < 0.005


@pytest.mark.parametrize("solver", METHODS, ids=lambda s: s.name)
@pytest.mark.parametrize("side", [24, 40])
def test_it_does_not_depend_on_the_air_around(solver, side):
    assert abs(bias(solver, side, 9, 10, 1)) < 0.01  # of 22 and 5 % of the voxels; CG-SENSE lost 9 and 17 %


@pytest.mark.parametrize("solver", METHODS[:2], ids=lambda s: s.name)
def test_decay_over_five_echoes(solver):
    levels = np.exp(-np.arange(5) / 2.5)  # to a fifth; SNR 40 at first, 8 at last
    found = []
    for echo, level in enumerate(levels):
        scan, _, inside = ball(40, 15, 40, 2, level, seed=echo)
        found.append(np.abs(solver(scan).volume[inside].mean()))
    assert np.allclose(np.array(found) / levels, 1, atol=0.01)
    slope = np.polyfit(np.arange(5), np.log(found), 1)[0]
    assert abs(slope * -2.5 - 1) < 0.01


@pytest.mark.parametrize("radius", [3, 4, 6])
def test_a_prior_does_not_spoil_a_tiny_object(radius):
    scan, image, _ = ball(64, radius, 30, 3)  # 0.05 % of the voxels and more
    near = np.zeros(image.shape, bool)
    near[tuple(slice(32 - radius - 3, 32 + radius + 4) for _ in range(3))] = True
    error = {s.name: np.linalg.norm((s(scan).volume - image)[near]) for s in (ZeroFilled(), METHODS[3])}
    assert error["variational"] < error["zero-filled"]


def test_scale_is_the_object_s_whatever_the_air():
    levels, powers = [], []
    for side in (28, 40, 56):
        scan, _, _ = ball(side, 12, 50)
        found = signal_scale(scan.kspace, scan.mask)
        levels.append(found.level)
        powers.append(found.power)
    assert np.allclose(levels, 1, atol=0.12) and np.ptp(levels) < 0.1
    assert np.ptp(powers) < 0.25 * np.mean(powers)  # over the field of view it would be a factor of eight


def test_only_low_frequencies_are_put_back_and_only_where_coils_see():
    scan = make_scan(snr=20, fraction=0.3)
    problem = Problem.of(scan, "test")
    image = problem.backprojection * np.float32(0.5)
    change = restored(problem, image) - image
    energy = np.abs(centred_fft(change[0], (0, 1, 2))) ** 2
    inside = np.zeros(energy.shape, bool)
    inside[tuple(slice(n // 2 - round(0.2 * n), n // 2 + round(0.2 * n) + 1) for n in energy.shape)] = True
    assert energy[~inside].sum() < 1e-6 * energy.sum() and energy.sum() > 0

    blind = scan.maps.copy()
    blind[:, :, :10] = 0
    problem = Problem.of(replace(scan, maps=blind), "test")
    assert not restored(problem, np.zeros_like(problem.backprojection))[0, :, :10].any()


def test_the_minimiser_itself_is_to_be_had():
    scan = make_scan(snr=10)
    plain, restored_one = (CGSense(lam=0.5, true_intensity=t)(scan) for t in (False, True))
    centre = tuple(slice(n // 2 - 2, n // 2 + 3) for n in scan.shape)
    total = [np.abs(r.volume[centre]).mean() for r in (plain, restored_one)]
    assert total[0] < 0.8 * total[1] and plain.settings["true_intensity"] is False


def test_slices_of_a_2d_scan_stay_apart():
    scan = make_scan(snr=None, shape=(6, 24, 20), fraction=1.0)
    slices = np.fft.ifftshift(np.fft.ifft(np.fft.ifftshift(scan.kspace, 1), axis=1, norm="ortho"), 1)
    slices[:, 3] = 0  # one slice is empty
    two_d = replace(
        scan, kspace=slices.astype(np.complex64), domains=("image", "kspace", "kspace"), readout="y", reference=None
    )
    volume = np.abs(CGSense(lam=0.3)(two_d).volume)
    assert volume[3].max() < 1e-5 * volume.max()
