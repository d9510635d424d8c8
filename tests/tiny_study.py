"""For the tests of studies: a small head as a file, and the smallest study of it that means something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import yaml
from solver_scans import head_like

from mrrecon.studies import Study

SHAPE = (16, 24, 22)


def write_head(path: Path, scale: float = 1000, shape: tuple[int, int, int] = SHAPE) -> Path:
    """A phantom of ellipsoids, voxels of 4 mm."""
    image = (scale * np.abs(head_like(shape))).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(image, np.diag([4.0, 4.0, 4.0, 1.0])), path)
    return path


def settings(**changes: Any) -> dict[str, Any]:
    """Settings of a study of head.nii.gz: two runs of a fraction of a second."""
    return {
        "name": "tiny",
        "files": ["head.nii.gz"],
        "accelerations": [3],
        "maps": "given",
        "simulation": {"coils": 4},
        "sampling": {"calibration": 8},
        "solvers": ["zero-filled", {"name": "cg-sense", "settings": {"max_iter": 3}}],
        "device": "cpu",
        **changes,
    }


def make_study(folder: Path, **changes: Any) -> Study:
    """The study, its head in `folder`."""
    if not (folder / "head.nii.gz").exists():
        write_head(folder / "head.nii.gz")
    return Study.from_settings(settings(**changes), folder)


def write_study(folder: Path, **changes: Any) -> Path:
    """The same as a YAML file."""
    make_study(folder, **changes)
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(settings(**changes)))
    return path
