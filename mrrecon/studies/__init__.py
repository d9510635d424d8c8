"""Studies: grids of runs (files x accelerations x solvers x priors x seeds), each of them one row of JSON.

>>> from mrrecon import studies
>>> study = studies.Study.from_yaml("study.yaml")             # doctest: +SKIP
>>> studies.perform(study, "runs/study")                      # doctest: +SKIP
>>> rows = studies.Results("runs/study").rows()               # doctest: +SKIP

Names are loaded on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
