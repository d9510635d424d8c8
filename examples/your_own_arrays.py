"""Reconstruct k-space that is already in a NumPy array, and use the operators without any solver of ours.

python examples/your_own_arrays.py
"""

import numpy as np
import sigpy as sp

import mrrecon as mr
from mrrecon import operators, solvers


def main() -> None:
    """Build an acquisition from arrays, reconstruct it, and hand our operator to sigpy's own solver."""
    # Your data: k-space (coils, x, y, z), zero frequency in the middle, zeros where nothing was sampled.
    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in (32, 48, 48)), indexing="ij")
    anatomy = (sum((g / 0.7) ** 2 for g in grids) < 1).astype(float)
    full = mr.simulate(anatomy, mr.Grid(anatomy.shape, (2, 2, 2)), n_coils=6, snr=50, seed=1)
    mask = operators.make_mask("poisson", (48, 48), accel=4, calibration=20, seed=1)
    kspace = np.asarray(full.kspace) * mask

    scan = mr.Acquisition(kspace, mask, voxel_size=(2, 2, 2)).calibrate()
    ours = solvers.CGSense(lam=0.01, tolerance=0)(scan).volume

    # The same operator is a sigpy Linop: compose it, or give it to any sigpy app.
    A = operators.Sense(scan.maps, mask, readout_domain="kspace")
    operators.check_adjoint(A)
    theirs = sp.app.LinearLeastSquares(A, kspace, lamda=0.01, max_iter=30, show_pbar=False).run()
    print(f"difference between our solver and sigpy's: {np.linalg.norm(ours - theirs) / np.linalg.norm(theirs):.3f}")


if __name__ == "__main__":
    main()
