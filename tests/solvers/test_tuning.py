"""Choosing settings by held-out samples: near what the unknown truth would choose, and clear about wrong grids."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from solver_scans import make_scan, psnr

from mrrecon.errors import DataError
from mrrecon.solvers import CGSense, L1Wavelet, tune

LAMS = (0.01, 0.1, 1.0, 10.0)


@pytest.mark.parametrize("solver", [CGSense(true_intensity=False), L1Wavelet(max_iter=15)])
def test_chooses_nearly_what_the_truth_would(solver):
    scan = make_scan(snr=8)
    reported = []
    tuned = tune(solver, scan, {"lam": LAMS}, report=reported.append)
    quality = [psnr(replace(solver, lam=lam)(scan).volume, scan.reference) for lam in LAMS]
    chosen = quality[LAMS.index(tuned.solver.lam)]
    assert chosen > max(quality) - 0.5 and chosen > min(quality) + 2
    assert [trial.settings["lam"] for trial in tuned.trials] == list(LAMS)
    assert tuple(reported) == tuned.trials and min(t.error for t in tuned.trials) > 0


def test_every_combination_and_only_these():
    tuned = tune(CGSense(tolerance=0), make_scan(), {"lam": [0.1, 1.0], "max_iter": [1, 2]}, seed=3)
    assert [tuple(trial.settings.values()) for trial in tuned.trials] == [(0.1, 1), (0.1, 2), (1.0, 1), (1.0, 2)]
    assert tuned.solver.tolerance == 0


def test_held_out_samples_are_not_seen():
    scan = make_scan(volume_mask=True)
    seen = []

    class Watches(CGSense):
        def __call__(self, acquisition, *args):
            seen.append(acquisition.mask)
            return super().__call__(acquisition, *args)

    tune(Watches(max_iter=1), scan, {"lam": [0.1]}, held_out=0.25)
    left = np.count_nonzero(seen[0]) / np.count_nonzero(scan.mask)
    assert 0.7 < left < 0.85 and not np.any(seen[0] & ~scan.mask)
    assert seen[0][10, 16, 14]  # the centre of k-space stays


def test_soft_sense_maps():
    scan = make_scan()
    two = scan.evolve("two sets", maps=np.stack([scan.maps, scan.maps * np.float32(0.1)]))
    assert np.isfinite(tune(CGSense(max_iter=2), two, {"lam": [0.1]}).trials[0].error)


@pytest.mark.parametrize(
    ("grid", "held_out", "message"),
    [({}, 0.1, "nothing to try"), ({"lam": []}, 0.1, "nothing to try"), ({"magic": [1]}, 0.1, "no setting magic"),
     ({"lam": [1.0]}, 0.0, "held_out")],
)  # fmt: skip
def test_refusals(grid, held_out, message):
    with pytest.raises(DataError, match=message):
        tune(CGSense(), make_scan(), grid, held_out)
