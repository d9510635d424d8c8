"""Which module of mrrecon imports which, read from the sources of the package that is installed."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

ROOTS = ("mrrecon", "mrrecon.operators", "mrrecon.priors")  # development installs have the last two elsewhere


def modules() -> dict[str, Path]:
    """Sources of all modules, by the names that they are imported by."""
    found = {}
    for root in ROOTS:
        folder = Path(find_spec(root).origin).parent
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join((root, *parts)).removesuffix(".__init__")] = path
    return found


class Imports:
    """Imports at any level of nesting: `needs` of the running program, `types` of type checkers alone.

    A public name of a package is an import of the module that its stub takes it from, however it is reached:
    ``from package import name``, ``package.name``, ``getattr(package, ...)``. What is given to ``import_module`` is an
    import of every module that it makes of a word in the file.
    """

    def __init__(self, sources: dict[str, Path]) -> None:
        self.sources = sources
        self.homes = {name: dict(_stub(name, path.with_suffix(".pyi"))) for name, path in sources.items()}
        self.needs: dict[str, set[str]] = {}
        self.types: dict[str, set[str]] = {}
        for name, path in sources.items():
            tree = ast.parse(path.read_text())
            self.needs[name] = self._imported(tree, list(_run(tree))) - {name}
            self.types[name] = self._imported(tree, list(ast.walk(tree))) - {name} - self.needs[name]

    def _imported(self, tree: ast.Module, nodes: list[ast.AST]) -> set[str]:
        return {self._home(used) for used in self._used(tree, nodes)} - {""}

    def _home(self, used: str) -> str:
        """Module that ``package.name.whatever`` is defined in; none of other packages."""
        module = ""
        for part in used.split("."):
            inside = f"{module}.{part}".lstrip(".")
            if inside not in self.sources:
                home = self.homes[module].get(part) if module else None
                return self._home(home) if home else module
            module = inside
        return module

    def _used(self, tree: ast.Module, nodes: list[ast.AST]) -> Iterator[str]:
        bound: dict[str, set[str]] = {}  # name in the file -> what it stands for
        for node in nodes:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                assert not getattr(node, "level", 0), f"relative import of {node.module}"
                for alias in node.names:
                    used = f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
                    yield used
                    bound.setdefault(alias.asname or alias.name, set()).add(used)
        words = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        for node in nodes:
            if isinstance(node, ast.Attribute):
                name, _, rest = ast.unparse(node).partition(".")
                yield from (f"{used}.{rest}" for used in bound.get(name, ()))
            elif isinstance(node, ast.Call) and node.args:
                called, given = ast.unparse(node.func), node.args[0]
                if called == "getattr":
                    packages = bound.get(ast.unparse(given), set())
                    yield from (f"{package}.{name}" for package in packages for name in self.homes.get(package, ()))
                elif called.endswith("import_module") and isinstance(given, ast.JoinedStr):
                    start = given.values[0].value  # f"mrrecon.io.{name}"
                    yield from (start + word for word in words if start + word in self.sources)


def circles(graph: dict[str, Iterable[str]]) -> list[list[str]]:
    """Groups of modules that need each other, directly or through others."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        front = {start}
        while front:
            front = {module for name in front for module in graph[name]} - seen
            seen |= front
        return seen

    reach = {name: reached(name) for name in graph}
    groups = {tuple(sorted(m for m in reach[name] if name in reach[m])) for name in graph if name in reach[name]}
    return sorted(map(list, groups))


def _stub(package: str, path: Path) -> Iterator[tuple[str, str]]:
    """Public names of a package, and what its stub takes them from."""
    for node in ast.parse(path.read_text()).body if path.exists() else ():
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.name, ".".join(filter(None, (package, node.module, alias.name)))


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """Everything below a node but the blocks that only type checkers read."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from _run(child)
