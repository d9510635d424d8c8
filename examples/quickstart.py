"""From an anatomical volume to an accelerated scan and back: the whole toolkit in a dozen lines.

python examples/quickstart.py ANATOMY.nii.gz
"""

import sys

import mrrecon as mr
from mrrecon import operators, solvers


def main(anatomy: str) -> None:
    """Simulate an 8-coil scan of `anatomy`, keep one sample in six, reconstruct it twice, and compare."""
    volume, grid = mr.io.read_volume(anatomy)
    scan = mr.simulate(volume, grid, n_coils=8, snr=40, seed=0)

    mask = operators.make_mask("poisson", scan.shape[1:], accel=6, seed=0)
    scan = scan.undersample(mask).whiten().calibrate()
    print(scan)

    for solver in (solvers.CGSense(), solvers.L1Wavelet()):
        result = solver(scan)
        numbers = mr.evaluate(result, scan.reference)
        print(f"{result}: PSNR {numbers['psnr']:.1f} dB, SSIM {numbers['ssim']:.3f}")
        result.save(f"{result.solver}.nii.gz")


if __name__ == "__main__":
    main(sys.argv[1])
