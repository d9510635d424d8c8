"""Image priors of complex MR slices behind one interface: trained, classical, or from other packages.

Names are loaded on first use, so that importing this package costs nothing.
"""

import importlib
from typing import Any

if __name__ == "priors":
    raise ImportError("priors/ is installed as mrrecon.priors; write: from mrrecon import priors")

_HOME: dict[str, str] = {
    "describe": "registry",
    "describe_all": "registry",
    "identity": "registry",
    "load": "registry",
    "names": "registry",
    "register": "registry",
    "from_callable": "adapters.functions",
    "from_denoiser": "adapters.denoisers",
    "from_diffusers": "adapters.unets",
    "from_monai": "adapters.unets",
    "Condition": "condition",
    "NoisePredictor": "base",
    "SlicePrior": "base",
    "NoiseSchedule": "schedule",
    "complex_noise": "schedule",
    "DiffusionPrior": "diffusion",
    "TikhonovPrior": "classical",
    "TotalVariationPrior": "classical",
    "WaveletPrior": "classical",
    "GaussianMixturePrior": "analytic",
    "GaussianPrior": "analytic",
    "Posterior": "analytic",
    "SamplingStatus": "sampling",
    "ddim_step": "sampling",
    "sample": "sampling",
}  # public name -> module that defines it

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"mrrecon.priors.{_HOME[name]}"), name)
    raise AttributeError(f"module 'mrrecon.priors' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
