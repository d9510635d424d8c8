"""The rules of docs/design.md that a machine can check: import directions, module sizes, public names."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil

import pytest
from helpers import REPOSITORY

SOURCES = sorted(p for room in ("mrrecon", "operators", "priors") for p in (REPOSITORY / room).rglob("*.py"))
SHARED = ("mrrecon.errors", "mrrecon.settings")  # what operators and priors may import beside themselves
PUBLIC = (
    "mrrecon",
    "mrrecon.errors",
    "mrrecon.io",
    "mrrecon.operators",
    "mrrecon.priors",
    "mrrecon.solvers",
    "mrrecon.training",
)


def imported(path):
    """Every module that a source file imports, at any level of nesting."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_imports_go_one_way_only(path):
    room = path.relative_to(REPOSITORY).parts[0]
    for name in imported(path):
        if room in ("operators", "priors") and name.split(".")[0] == "mrrecon":
            assert name.startswith((f"mrrecon.{room}", *SHARED)) or name == "mrrecon", f"{path} imports {name}"
        assert name.split(".")[0] not in ("operators", "priors"), f"{path} imports {name}: write mrrecon.{name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_modules_stay_small_and_say_what_they_are_for(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 420
    assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_exist_and_are_documented(name):
    module = importlib.import_module(name)
    assert module.__all__
    modules = {info.name for info in pkgutil.iter_modules(getattr(module, "__path__", []))}
    lazy = set(module.__all__) & modules - set(getattr(module, "_MODULES", ()))
    assert not lazy, f"{lazy}: a module of this name would hide the public name once it is imported"
    for public in module.__all__:
        thing = getattr(module, public)
        assert thing.__doc__, f"{name}.{public} has no docstring"


WITH_EXAMPLES = [
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCES
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_docstrings_hold(name):
    module = importlib.import_module(name if name.startswith("mrrecon") else f"mrrecon.{name}")
    assert doctest.testmod(module).failed == 0
