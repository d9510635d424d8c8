"""How well priors denoise slices that they were not trained on, beside methods that need no training.

>>> from mrrecon import denoising
>>> cases = denoising.validation_slices(volumes, voxel_sizes=(2.0, 1.0))         # doctest: +SKIP
>>> methods = [denoising.of_prior(prior, "mine"), *denoising.baselines(["wavelet"])]  # doctest: +SKIP
>>> rows = denoising.compare(methods, cases, denoising.reference_levels())      # doctest: +SKIP
>>> print(denoising.markdown(rows))                                              # doctest: +SKIP
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
