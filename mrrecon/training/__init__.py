"""Training of slice priors: from volumes to weights.

Volumes are read, packed into one small file, and sampled as batches of clean complex slices:

>>> from mrrecon import training
>>> volumes = training.open_volumes("train.h5")           # doctest: +SKIP
>>> sampler = training.SliceSampler(volumes, seed=1)      # doctest: +SKIP
>>> slices = sampler.batch(step=0)                        # doctest: +SKIP
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
