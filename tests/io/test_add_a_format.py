"""The format of docs/add_a_format.md works as the page says."""

import importlib.util
import re
import sys

import numpy as np
import pytest
from helpers import REPOSITORY

import mrrecon as mr
from mrrecon.cli import main
from mrrecon.io import registry


@pytest.fixture
def path(tmp_path, monkeypatch, rng):
    """A file of the format, which the registry knows."""
    (source,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/add_a_format.md").read_text(), re.DOTALL)
    (tmp_path / "ksp.py").write_text(source)
    spec = importlib.util.spec_from_file_location("ksp", tmp_path / "ksp.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "ksp", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(registry, "_MODULES", (module, *registry._MODULES))
    kspace = rng.standard_normal((3, 8, 10, 12)) + 1j * rng.standard_normal((3, 8, 10, 12))
    mask = rng.random((10, 12)) < 0.6
    return mr.write(mr.Acquisition(kspace * mask, mask), tmp_path / "scan.ksp")


@pytest.mark.filterwarnings("ignore:.*no clear peak")
def test_read_written_and_listed(path, capsys):
    scan = mr.read(path, lazy=True)
    assert scan.is_lazy and scan.provenance[0].settings["format"] == "ksp"
    np.testing.assert_array_equal(scan.kspace[...], mr.read(path).kspace)
    np.testing.assert_array_equal(scan.slab(2, 4), scan.kspace[:, 2:4])
    assert mr.read(path, hybrid=True, coils=[2]).domains[0] == "image"
    with pytest.raises(mr.errors.FileFormatError, match="no option 'hybird'; did you mean 'hybrid'"):
        mr.read(path, hybird=True)
    assert main(["info", str(path)]) == 0
    assert "--read.hybrid (false)" in capsys.readouterr().out


def test_a_damaged_file_is_one_sentence(path):
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(mr.errors.FileFormatError, match="copy or download it again"):
        mr.read(path)
