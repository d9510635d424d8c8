"""How well priors denoise slices that they were not trained on, beside methods that need no training.

>>> from mrrecon import evaluation
>>> cases = evaluation.validation_slices(volumes, voxel_sizes=(2.0, 1.0))         # doctest: +SKIP
>>> methods = [evaluation.of_prior(prior, "mine"), *evaluation.baselines(["wavelet"])]  # doctest: +SKIP
>>> rows = evaluation.compare(methods, cases, evaluation.reference_levels())      # doctest: +SKIP
>>> print(evaluation.markdown(rows))                                              # doctest: +SKIP
"""

import importlib
from typing import Any

_HOME = {  # public name -> module that defines it
    "VoxelSlices": "cases",
    "validation_slices": "cases",
    "POLICY": "denoising",
    "Method": "denoising",
    "compare": "denoising",
    "denoising_psnr": "denoising",
    "noise_levels": "denoising",
    "of_prior": "denoising",
    "reference_levels": "denoising",
    "baselines": "references",
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
        return getattr(importlib.import_module(f"mrrecon.evaluation.{_HOME[name]}"), name)
    raise AttributeError(f"module 'mrrecon.evaluation' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
