"""Fixtures and the rules for skipping: tests that need data or tools skip for strangers and must run in CI.

With MRRECON_REQUIRE_ALL=1 (set by .ci/run) a missing data folder or tool is a failure instead of a skip.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import find_data_dir, run_bart

from mrrecon.operators.backend import has_cupy
from mrrecon.priors import registry

REQUIRED = {
    "data": (lambda: find_data_dir() is not None, "the shared data folder (set MRRECON_DATA)"),
    "bart": (lambda: shutil.which("bart") is not None, "the BART command-line tools (apt-get install bart)"),
    "ismrmrd_tools": (
        lambda: shutil.which("ismrmrd_generate_cartesian_shepp_logan") is not None,
        "ismrmrd-tools (apt-get install ismrmrd-tools)",
    ),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what cannot run here; in CI only the GPU tests may be skipped."""
    required = os.environ.get("MRRECON_REQUIRE_ALL") == "1"
    missing = {mark: what for mark, (present, what) in REQUIRED.items() if not present()}
    if missing and required:
        raise pytest.UsageError(f"MRRECON_REQUIRE_ALL=1, but this machine lacks {' and '.join(missing.values())}.")
    gpu = has_cupy()
    for item in items:
        for mark, what in missing.items():
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=f"needs {what}"))
        if item.get_closest_marker("gpu") and not gpu:
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU and CuPy"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """In CI, a skipped test that is not a GPU test has failed."""
    report = yield
    if report.skipped and os.environ.get("MRRECON_REQUIRE_ALL") == "1" and not item.get_closest_marker("gpu"):
        report.outcome, report.longrepr = "failed", f"skipped where everything must run: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the shared volumes and measured k-space."""
    found = find_data_dir()
    assert found is not None, "tests that use data_dir must be marked @pytest.mark.data"
    return found


@pytest.fixture(scope="session")
def bart():
    """``bart("ecalib -m1", kspace)``: run BART on arrays in our axis order."""
    return run_bart


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded random generator."""
    return np.random.default_rng(20261121)


@pytest.fixture(autouse=True)
def _registered_priors(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
