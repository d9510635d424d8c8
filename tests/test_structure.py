"""The rules of docs/design.md that a machine can check: import directions, module sizes, public names."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
import statistics

import pytest
from import_graph import Imports, circles, modules

SOURCES = modules()
IMPORTS = Imports(SOURCES)
PACKAGES = [name for name, path in SOURCES.items() if path.name == "__init__.py"]
PUBLIC = [*(name for name in PACKAGES if SOURCES[name].with_suffix(".pyi").exists()), "mrrecon.errors"]
LONGEST, MEDIAN = 400, 130  # lines of a module

LAYERS = (  # bottom up: a room imports from lower lines only, and nothing from the rooms beside it
    "errors",
    "settings",
    "operators priors",
    "atomic grid interrupts lazy metrics progress settings_file",
    "acquisition_checks coil_models",
    "preparation recentring",
    "acquisition",
    "pictures resolution simulation",
    "io",
    "reconstruction",
    "solvers",
    "denoising",
    "training",
    "studies",
    "report",
    "commands",
    "cli",
    "__main__",
)
INSIDE = {  # the same inside a room; "." are its own modules
    "operators": ("backend", "kernels", "."),
    "priors": ("networks", ".", "adapters"),
    "solvers": ("base", "parts", "."),
}
RANK = {room: level for level, line in enumerate(LAYERS) for room in line.split()}


def short(name: str) -> str:
    return name.removeprefix("mrrecon.")


ARROWS = {  # the package itself left out: it has the version, and imports nothing
    (short(name), short(other))
    for name in SOURCES
    for other in IMPORTS.needs[name] | IMPORTS.types[name]
    if other != "mrrecon"
}


def goes_down(importer: str, imported: str) -> bool:
    """Whether an import stays in its room or goes to a lower one, of the package and inside a room."""
    (room, *own), (other_room, *other) = importer.split("."), imported.split(".")
    if room != other_room:
        return RANK[other_room] < RANK[room]
    inside = INSIDE.get(room, (".",))
    part, other_part = (parts[0] if parts and parts[0] in inside else "." for parts in (own, other))
    return inside.index(other_part) <= inside.index(part)


def test_the_layers_are_those_of_the_package():
    assert set(RANK) == {short(name).split(".")[0] for name in SOURCES} - {"mrrecon"}
    parts = {f"mrrecon.{room}.{part}" for room, inside in INSIDE.items() for part in inside if part != "."}
    assert parts <= set(SOURCES)
    assert {name for name in PACKAGES if name.count(".") == 2} <= parts


def test_imports_go_down_only():
    assert sorted(arrow for arrow in ARROWS if not goes_down(*arrow)) == []


@pytest.mark.parametrize("room", ["operators", "priors"])
def test_physics_and_priors_know_nothing_else(room):
    used = {other.split(".")[0] for name, other in ARROWS if name.split(".")[0] == room}
    assert used <= {room, "errors", "settings"}


def test_nothing_imports_in_a_circle():
    assert circles(IMPORTS.needs) == []


def test_circles_are_found_however_they_are_hidden(tmp_path):
    """By names of packages, getattr, functions and import_module; not by what only type checkers read."""
    written = {
        "a": "def f():\n    from p import thing\n    return thing",
        "b": "import p\n\ndef f():\n    return p.other",
        "c": "import importlib\nNAMES = ('c_of',)\ndef f(n):\n    return importlib.import_module(f'p.{n}')",
        "d": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.e import f",
        "e": "import p.d",
        "c_of": "import p as q\ndef f(n):\n    return getattr(q, n)",
        "__init__": "",
    }
    for name, text in written.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "__init__.pyi").write_text("from .a import other as other\nfrom .b import thing as thing\n")
    sources = {f"p.{name}".removesuffix(".__init__"): tmp_path / f"{name}.py" for name in written}
    imports = Imports(sources)
    assert circles(imports.needs) == [["p.a", "p.b"]]
    assert imports.needs["p.c"] == {"p.c_of"} and {"p.a", "p.b"} <= imports.needs["p.c_of"]
    assert imports.types["p.d"] == {"p.e"} and imports.needs["p.e"] == {"p.d"}


@pytest.mark.parametrize("name", SOURCES)
def test_modules_stay_small_and_say_what_they_are_for(name):
    text = SOURCES[name].read_text()
    assert len(text.splitlines()) <= LONGEST
    assert ast.get_docstring(ast.parse(text)), f"{name} has no docstring"


def test_half_of_the_modules_are_short():
    median = statistics.median(len(path.read_text().splitlines()) for path in SOURCES.values())
    assert median <= MEDIAN


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_import_nothing_and_define_nothing(name):
    tree = ast.parse(SOURCES[name].read_text())
    assert not IMPORTS.needs[name]
    assert not any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in ast.walk(tree))


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_exist_and_are_documented(name):
    module = importlib.import_module(name)
    assert module.__all__
    modules = {info.name for info in pkgutil.iter_modules(getattr(module, "__path__", []))}
    for public in module.__all__:
        thing = getattr(module, public)
        hidden = public in modules and thing is not importlib.import_module(f"{name}.{public}")
        assert not hidden, f"the module {name}.{public} would hide the public name once it is imported"
        assert thing.__doc__, f"{name}.{public} has no docstring"


@pytest.mark.parametrize("name", PUBLIC)
def test_misspelt_names_are_errors(name):
    with pytest.raises(AttributeError, match="raed"):
        importlib.import_module(name).raed  # noqa: B018


WITH_EXAMPLES = [name for name, path in SOURCES.items() if ">>> " in path.read_text()]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_docstrings_hold(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
