"""One scan, any solver, any prior: a dozen lines.

python examples/swap.py SCAN.h5 [R]
"""

import sys

import mrrecon as mr
from mrrecon import operators, priors, solvers

SOFT = priors.from_callable(lambda slices, sigma: slices / (1 + sigma[:, None, None] ** 2), name="soft")


def main(file: str, accel: float = 8.0) -> None:
    """Undersample a scan and reconstruct it with several solvers and priors."""
    scan = mr.read(file)
    scan = scan.undersample(operators.make_mask("poisson", scan.shape[1:], accel, seed=0)).calibrate()
    any_prior = ("brain-small", "total-variation", ["brain-small", "wavelet", "wavelet"], SOFT)  # three: one per axis
    for solver, prior in [("variational", p) for p in any_prior] + [("dds", "brain-small"), ("tpdm", "brain-small")]:
        result = solvers.get(solver)(prior=prior)(scan)
        print(f"{solver}, {result.settings['prior']}: {result.seconds:.1f} s", end="")
        print("" if scan.reference is None else f", PSNR {mr.evaluate(result, scan.reference)['psnr']:.1f} dB")


if __name__ == "__main__":
    main(sys.argv[1], *map(float, sys.argv[2:3]))
