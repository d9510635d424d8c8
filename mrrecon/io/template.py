"""The MNI152 head, 1 mm and T1-weighted, that the package nilearn carries: an anatomy that everybody has."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from mrrecon.errors import MissingDependencyError

__all__ = ["TEMPLATE", "find_template"]

TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"  # inside nilearn, which is not imported


def find_template() -> Path:
    """Path of the head inside the installed nilearn.

    Raises
    ------
    MissingDependencyError
        If nilearn is not installed.
    """
    spec = importlib.util.find_spec("nilearn")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            "The template head is in the package nilearn: install it with pip install 'mrrecon[demo]'."
        )
    return Path(spec.submodule_search_locations[0]) / TEMPLATE
