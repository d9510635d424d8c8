"""Studies: grids of runs (files x accelerations x solvers x priors x seeds), each of them one row of JSON.

>>> from mrrecon import studies
>>> study = studies.Study.from_yaml("study.yaml")             # doctest: +SKIP
>>> studies.perform(study, "runs/study")                      # doctest: +SKIP
>>> rows = studies.Results("runs/study").rows()               # doctest: +SKIP

Names are loaded on first use.
"""

import importlib
from typing import Any

_HOME = {  # public name -> module that defines it
    "BartL1Wavelet": "peers",
    "Method": "method",
    "Results": "results",
    "Run": "runs",
    "Sampling": "study",
    "Simulation": "study",
    "Study": "study",
    "StudyFile": "files",
    "expand": "runs",
    "perform": "execution",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"mrrecon.studies.{_HOME[name]}"), name)
    raise AttributeError(f"module 'mrrecon.studies' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
