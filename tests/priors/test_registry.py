"""Priors by name: built in, packaged, registered, of other packages; and what is said when there is none."""

import importlib.metadata
import subprocess
import sys
import warnings

import numpy as np
import pytest

from mrrecon import priors
from mrrecon.errors import PriorError, PriorFileError, PriorInputError, UnknownPriorError
from mrrecon.priors import registry
from mrrecon.priors.classical import TotalVariationPrior, WaveletPrior
from mrrecon.priors.diffusion import DiffusionPrior

NETWORK = {"type": "unet", "channels": [8, 8], "blocks": 1, "attention": False, "embedding": 8, "groups": 4}


@pytest.fixture(autouse=True)
def own_names(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})


@pytest.fixture
def small(tmp_path):
    return DiffusionPrior(NETWORK, "small", voxel_sizes=(0.5, 1.5)).save(tmp_path / "small", "# Small\n")


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Other packages with entry points, as pip would install them."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "good_priors.py").write_text(
        "from mrrecon.priors import TikhonovPrior\n"
        "def smooth(strength=3.0):\n    return TikhonovPrior(strength)\n"
        "ready = TikhonovPrior(5.0)\n"
        "def number():\n    return 3\n"
        "def fails():\n    raise RuntimeError('no weights here')\n"
    )
    (site / "broken_priors.py").write_text("import a_package_that_is_not_there\n")
    for package, points in {
        "good-priors": {name: f"good_priors:{name}" for name in ("smooth", "ready", "number", "fails")},
        "broken-priors": {"broken": "broken_priors:prior", "gone": "module_that_is_gone:prior"},
    }.items():
        info = site / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {value}\n" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[mrrecon.priors]\n{lines}")
    monkeypatch.syspath_prepend(str(site))
    yield
    for module in ("good_priors", "broken_priors"):
        sys.modules.pop(module, None)


def test_classical_priors_with_settings():
    prior = priors.load("total-variation", strength=0.7, device="auto", precision="auto")
    assert isinstance(prior, TotalVariationPrior) and prior.strength == 0.7
    assert {"tikhonov", "total-variation", "wavelet"} <= set(priors.names())


@pytest.mark.parametrize(
    "options, said",
    [
        ({"strenght": 1.0}, "no setting 'strenght'; did you mean 'strength'"),
        ({"levels": "four"}, "'levels' of WaveletPrior must be a whole number, got 'four'"),
        ({"strength": -1.0}, "strength"),
        ({"device": "tpu"}, "'tpu'"),
        ({"precision": "bf16"}, "'bf16'"),
    ],
    ids=str,
)
def test_options_that_a_prior_does_not_have(options, said):
    with pytest.raises(PriorInputError, match=said):
        priors.load("wavelet", **options)


def test_folders_with_options(small):
    prior = priors.load(small, device="cpu", precision="fp32")
    assert (prior.name, prior.precision, prior.device.type) == ("small", "fp32", "cpu")
    assert priors.load(str(small)).precision == "auto"
    with pytest.raises(PriorInputError, match="has its settings; it takes device and precision, not strength"):
        priors.load(small, strength=2)
    with pytest.raises(PriorInputError, match="precision must be"):
        priors.load(small, precision="fp8")
    with pytest.raises(PriorInputError, match="cannot be moved to 'nowhere'"):
        priors.load(small, device="nowhere")


def test_a_name_comes_before_a_folder_of_this_name(small, monkeypatch):
    monkeypatch.chdir(small.parent)
    small.rename("wavelet")
    assert isinstance(priors.load("wavelet"), WaveletPrior)
    assert priors.load("./wavelet").name == "small"


def test_unknown_names_say_what_there_is():
    with pytest.raises(UnknownPriorError) as caught:
        priors.load("wavelt")
    assert "did you mean 'wavelet'" in str(caught.value) and "total-variation" in str(caught.value)
    for name in ("brain", "a\0b", "x" * 5000, ""):
        with pytest.raises(UnknownPriorError, match="There is no prior"):
            priors.load(name)
        with pytest.raises(UnknownPriorError, match="There is no prior"):
            priors.describe(name)
    with pytest.raises(PriorFileError, match="There is no folder"):
        priors.load("weights/brain")


def test_registering():
    @priors.register("gentle")
    def gentle(levels=3):
        return WaveletPrior(strength=0.5, levels=levels)

    priors.register("strong", lambda: WaveletPrior(strength=5.0))
    assert priors.load("gentle", levels=2).depth == 2
    assert priors.load("strong").strength == 5.0
    assert {"gentle", "strong"} <= set(priors.names())
    assert priors.describe("gentle")["source"] == "registered"
    priors.register("gentle", gentle)  # the same again is no conflict
    for taken in ("gentle", "wavelet"):
        with pytest.raises(PriorError, match=f"There already is a prior '{taken}'"):
            priors.register(taken, WaveletPrior)
    with pytest.raises(PriorError, match="without slashes"):
        priors.register("a/b", WaveletPrior)
    with pytest.raises(PriorError, match="'gentle' cannot be made: TypeError"):
        priors.load("gentle", colour=3)


def test_packaged_priors(small, monkeypatch):
    zoo = small.parent / "zoo"
    zoo.mkdir()
    small.rename(zoo / "brain-small")
    (zoo / "not-a-prior").mkdir()
    monkeypatch.setattr(importlib.resources, "files", lambda package: small.parent)
    assert "brain-small" in priors.names() and "not-a-prior" not in priors.names()
    assert priors.load("brain-small").name == "small"
    described = priors.describe("brain-small")
    assert described["source"] == "packaged" and described["name"] == "brain-small"
    (zoo / "brain-small" / "config.json").write_text("{")
    with pytest.warns(UserWarning, match="'brain-small' cannot be used"):
        assert "wavelet" in {d["name"] for d in priors.describe_all()}


def test_description_of_a_folder(small):
    weights = priors.load(small).parameters()
    assert priors.describe(small) == {
        "name": "small",
        "kind": "diffusion",
        "source": "folder",
        "voxel_sizes": [0.5, 1.5],
        "parameters": weights,
        "bytes": sum(p.stat().st_size for p in small.iterdir()),
        "folder": small,
        "card": small / "README.md",
    }
    (small / "README.md").unlink()
    assert priors.describe(small)["card"] is None


def test_descriptions_do_not_load_torch(small):
    script = (
        "import sys, mrrecon.priors as p; p.describe_all(); "
        f"print(p.describe({str(small)!r})['parameters'] > 0, 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "False"]


def test_priors_of_other_packages(packages, rng):
    assert {"smooth", "ready", "broken", "gone"} <= set(priors.names())
    assert priors.load("smooth").strength == 3.0
    assert priors.load("smooth", strength=4.0).strength == 4.0
    assert priors.load("ready").strength == 5.0
    assert priors.describe("smooth")["source"] == "good-priors"
    x = rng.standard_normal((5, 4)).astype(np.complex64)
    np.testing.assert_array_equal(priors.load("ready").denoise(x, 0.1), priors.TikhonovPrior(5.0).denoise(x, 0.1))
    with pytest.raises(PriorInputError, match="ready-made"):
        priors.load("ready", strength=1.0)
    with pytest.raises(PriorError, match="must be or return a SlicePrior, got int"):
        priors.load("number")
    with pytest.raises(PriorError, match="RuntimeError: no weights here"):
        priors.load("fails")


def test_broken_packages_do_not_break_the_others(packages):
    for name, said in {"broken": "a_package_that_is_not_there", "gone": "module_that_is_gone"}.items():
        with pytest.raises(PriorError, match=f"broken-priors cannot be imported: .*{said}"):
            priors.load(name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = {d["name"] for d in priors.describe_all()}
    assert {"smooth", "ready", "wavelet"} <= found and not {"broken", "gone"} & found
    assert sum("cannot be used" in str(w.message) for w in caught) == 2
