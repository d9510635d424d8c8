"""Priors that must be given something, and priors that look at neighbouring slices, in every solver."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from solver_scans import make_scan, nrmse

from mrrecon import priors, solvers
from mrrecon.errors import PriorInputError
from mrrecon.solvers.parts.problem import Problem

SHORT = {"published": 3, "red-diff": 30}  # iterations
METHODS = ("variational", "ensemble", "red-diff", "published", "dds", "tpdm", "diffusion-mbir", "dps")


class AroundAnImage(priors.SlicePrior):
    """Gaussian pixels around an image that must be given."""

    name = "around"
    needs = frozenset({"image"})

    def __init__(self, variance=1e-4):
        self.variance = variance

    def _denoise(self, noisy, sigma, condition):
        mean = torch.as_tensor(condition.image)
        return mean + (noisy - mean) * self.variance / (self.variance + sigma**2)


class AverageOfFive(priors.SlicePrior):
    """The mean of a slice, its neighbours and theirs; keeps the depths of the stacks that it is given."""

    name = "five"
    window = 5

    def __init__(self):
        self.stacks = []

    def _denoise(self, noisy, sigma, condition):
        self.stacks.append((condition.plane, np.atleast_1d(condition.depth)))
        padded = torch.cat([noisy[:1]] * 2 + [noisy] + [noisy[-1:]] * 2)
        mean = torch.stack([padded[i : i + len(noisy)] for i in range(5)]).mean(0)
        share = sigma**2 / (0.1 + sigma**2)
        return noisy + share * (mean - noisy)


def method(name, prior):
    return solvers.get(name)(prior=prior, max_iter=SHORT.get(name, 6))


@pytest.mark.parametrize("name", METHODS)
def test_known_image_guides_every_solver(name):
    scan = make_scan(snr=20, fraction=0.1)
    scale = Problem.of(scan, "test").scale
    right, none = scan.reference / scale, np.zeros_like(scan.reference)
    errors = [
        nrmse(method(name, AroundAnImage().given(image=image))(scan).volume, scan.reference) for image in (right, none)
    ]
    if name == "published":  # three steps of Adam with its small weight are a beginning
        assert errors[0] != errors[1]
    else:
        assert errors[0] < min(0.15, 0.75 * errors[1])


@pytest.mark.parametrize("name", METHODS)
def test_prior_without_what_it_needs_is_refused_before_any_work(name):
    scan = make_scan()
    with pytest.raises(PriorInputError, match="The prior around needs image"):
        method(name, AroundAnImage()).check(scan)


@pytest.mark.parametrize("name", METHODS)
def test_prior_of_neighbouring_slices_gets_stacks(name):
    scan, prior = make_scan(snr=20), AverageOfFive()
    solver = solvers.get(name)(prior=prior, max_iter=3)
    volume = solver(scan).volume
    assert np.isfinite(volume).all() and volume.any() and prior.stacks
    for plane, depth in prior.stacks:
        step = 2 / (scan.shape[plane] - 1)
        np.testing.assert_allclose(np.diff(depth), step, rtol=1e-6)  # neighbours, in order
    if name not in ("red-diff", "published"):
        assert all(len(depth) in (scan.shape[plane], 1) for plane, depth in prior.stacks)
