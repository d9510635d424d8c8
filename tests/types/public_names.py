"""What the public names are to a type checker: mypy reads this beside the installed package (``make check``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import mrrecon as mr
from mrrecon import denoising, errors, io, operators, priors, report, solvers, studies, training
from mrrecon.acquisition import Acquisition
from mrrecon.denoising.slices import VoxelSlices
from mrrecon.grid import Grid
from mrrecon.operators.encoding import CartesianEncoding
from mrrecon.operators.linops import Sense
from mrrecon.priors.base import SlicePrior
from mrrecon.priors.diffusion import DiffusionPrior
from mrrecon.reconstruction import Reconstruction
from mrrecon.solvers.base import Solver
from mrrecon.solvers.variational import Variational
from mrrecon.studies.study import Study
from mrrecon.training.trainer import Trainer


def classes() -> None:
    assert_type(mr.Acquisition, type[Acquisition])
    assert_type(mr.Grid, type[Grid])
    assert_type(mr.Reconstruction, type[Reconstruction])
    assert_type(mr.errors.ShapeError, type[errors.ShapeError])
    assert_type(denoising.VoxelSlices, type[VoxelSlices])
    assert_type(operators.CartesianEncoding, type[CartesianEncoding])
    assert_type(operators.Sense, type[Sense])
    assert_type(priors.SlicePrior, type[SlicePrior])
    assert_type(priors.DiffusionPrior, type[DiffusionPrior])
    assert_type(solvers.Solver, type[Solver])
    assert_type(solvers.Variational, type[Variational])
    assert_type(studies.Study, type[Study])
    assert_type(training.Trainer, type[Trainer])


def functions(scan: mr.Acquisition) -> None:
    assert_type(mr.read("scan.h5"), Acquisition)
    assert_type(mr.io.read("scan.h5", lazy=True), Acquisition)
    assert_type(mr.write(scan, "copy.h5"), Path)
    assert_type(mr.solvers.Variational(max_iter=10)(scan), Reconstruction)
    assert_type(mr.evaluate(scan.reference, scan.reference), dict[str, Any])
    assert_type(io.formats(), dict[str, io.Format])
    assert_type(priors.load("wavelet"), SlicePrior)
    assert_type(priors.load("wavelet").save("folder"), Path)
    assert_type(report.write_report("runs", "report"), Path)
    assert_type(solvers.get("tv"), type[Solver])
    assert_type(solvers.names(), list[str])


def misspelt_names_are_errors() -> None:
    assert mr.raed  # type: ignore[attr-defined]
    assert io.raed  # type: ignore[attr-defined]
    assert operators.Sence  # type: ignore[attr-defined]
    assert priors.laod  # type: ignore[attr-defined]
    assert solvers.Variatonal  # type: ignore[attr-defined]
    assert studies.Stuty  # type: ignore[attr-defined]
    assert training.Trainr  # type: ignore[attr-defined]
    assert denoising.comapre  # type: ignore[attr-defined]
    assert report.write_repord  # type: ignore[attr-defined]
