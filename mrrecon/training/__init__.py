"""Training of slice priors: from volumes to weights.

Volumes are read, packed into one small file, and sampled as batches of clean complex slices:

>>> from mrrecon import training
>>> volumes = training.open_volumes("train.h5")           # doctest: +SKIP
>>> sampler = training.SliceSampler(volumes, seed=1)      # doctest: +SKIP
>>> slices = sampler.batch(step=0)                        # doctest: +SKIP
"""

import importlib
from typing import Any

_HOME = {  # public name -> module that defines it
    "TrainingVolume": "volumes",
    "find_volumes": "volumes",
    "read_volumes": "volumes",
    "PackedVolume": "packing",
    "open_volumes": "packing",
    "pack": "packing",
    "quantise": "packing",
    "read_pack": "packing",
    "SliceSampler": "slices",
    "prefetch": "slices",
    "Augmentation": "augmentation",
    "TrainingConfig": "config",
    "Trainer": "trainer",
    "make_trainer": "assembly",
    "model_card": "card",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"mrrecon.training.{_HOME[name]}"), name)
    raise AttributeError(f"module 'mrrecon.training' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
