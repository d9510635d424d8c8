"""How well priors denoise slices that they were not trained on, beside methods that need no training.

>>> from mrrecon import denoising
>>> cases = denoising.validation_slices(volumes, voxel_sizes=(2.0, 1.0))         # doctest: +SKIP
>>> methods = [denoising.of_prior(prior, "mine"), *denoising.baselines(["wavelet"])]  # doctest: +SKIP
>>> rows = denoising.compare(methods, cases, denoising.reference_levels())      # doctest: +SKIP
>>> print(denoising.markdown(rows))                                              # doctest: +SKIP
"""

import importlib
from typing import Any

_HOME = {  # public name -> module that defines it
    "VoxelSlices": "slices",
    "validation_slices": "slices",
    "POLICY": "comparison",
    "Denoiser": "comparison",
    "compare": "comparison",
    "noise_levels": "comparison",
    "of_prior": "comparison",
    "reference_levels": "comparison",
    "baselines": "untrained",
    "markdown": "tables",
    "means": "tables",
    "write_tables": "tables",
    "draw_curves": "pictures",
    "draw_denoised": "pictures",
    "draw_samples": "pictures",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"mrrecon.denoising.{_HOME[name]}"), name)
    raise AttributeError(f"module 'mrrecon.denoising' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
