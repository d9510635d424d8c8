"""Physics of Cartesian multicoil 3D MRI: operators, masks, calibration, coil handling. No neural networks.

Names are loaded on first use, so that importing this package costs nothing.
"""

import importlib
from typing import Any

if __name__ == "operators":
    raise ImportError("operators/ is installed as mrrecon.operators; write: from mrrecon import operators")

_HOME: dict[str, str] = {
    "KspaceCentre": "centre",
    "calibration_region": "calibration_data",
    "central_samples": "calibration_data",
    "sampled_block": "calibration_data",
    "kspace_centre": "centre",
    "MapCoverage": "coverage",
    "map_coverage": "coverage",
    "espirit": "espirit_maps",
    "CartesianEncoding": "encoding",
    "ComposedEncoding": "composed",
    "Encoding": "composed",
    "LinearMap": "composed",
    "fft": "fourier",
    "ifft": "fourier",
    "Resampling": "resampling",
    "kspace_crop": "resampling",
    "autograd": "torch_view",
    "check_adjoint": "checks",
    "ArrayLinop": "linops",
    "FFT": "linops",
    "Sense": "linops",
    "CALIBRATION": "masks",
    "MASK_KINDS": "masks",
    "acceleration": "masks",
    "acceleration_in_ellipse": "masks",
    "calibration_side": "masks",
    "equispaced": "masks",
    "gaussian": "masks",
    "make_mask": "masks",
    "poisson": "masks",
    "uniform": "masks",
    "compress_coils": "compression",
    "geometric_compression_matrices": "compression",
    "mix_coils": "coils",
    "svd_compression_matrix": "compression",
    "transform_covariance": "coils",
    "whiten": "coils",
    "whitening_matrix": "coils",
    "NoiseEstimate": "noise",
    "estimate_noise": "noise",
    "estimate_noise_covariance": "noise",
    "noise_covariance": "noise",
    "outermost_level": "noise",
    "SignalScale": "signal_level",
    "signal_scale": "signal_level",
    "usable_covariance": "noise",
    "CoilMixing": "linops",
    "FiniteDifference": "linops",
    "Interpolation": "linops",
    "Wavelet": "linops",
    "WaveletTransform": "wavelet",
    "dual_step": "total_variation",
    "gradient": "total_variation",
    "gradient_adjoint": "total_variation",
    "tv_norm": "total_variation",
}  # public name -> module that defines it

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"mrrecon.operators.{_HOME[name]}"), name)
    raise AttributeError(f"module 'mrrecon.operators' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
