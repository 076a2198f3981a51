"""The package as text: modules, syntax trees, imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "memora"


@dataclass(frozen=True)
class Module:
    """A source file of the package."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    def where(self, node: ast.AST) -> str:
        """File and line of a node, as an editor understands them."""
        return f"{self.path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


@dataclass(frozen=True)
class Import:
    """One imported name: `target` is the deepest module of the package that it leads to.

    Attributes:
        target: Such as `memora.core.ids`, or a foreign module's name.
        at: File and line.
        scope: Names of the classes and functions around it.
        for_types: Whether only a type checker sees it.
    """

    target: str
    at: str
    scope: tuple[str, ...]
    for_types: bool = False


@cache
def modules() -> dict[str, Module]:
    """Every module of the package by its dotted name."""
    found: dict[str, Module] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        text = path.read_text("utf-8")
        found[name] = Module(name, path, text, ast.parse(text, str(path)))
    return found


def imports(module: Module) -> list[Import]:
    """All imports of a module, those in functions and for type checkers included."""
    return list(_imports(module, module.tree, (), for_types=False))


def _imports(
    module: Module, node: ast.AST, scope: tuple[str, ...], *, for_types: bool
) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, module.where(child), scope, for_types)
        elif isinstance(child, ast.ImportFrom):
            base = _absolute(module, child)
            for alias in child.names:
                deeper = f"{base}.{alias.name}"
                target = deeper if deeper in modules() else base
                yield Import(target, module.where(child), scope, for_types)
        elif isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _imports(module, child, (*scope, child.name), for_types=for_types)
        else:
            guarded = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            yield from _imports(module, child, scope, for_types=for_types or guarded)


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return str(node.module)
    package = module.name.split(".")
    if not module.is_package:
        package = package[:-1]
    parts = package[: len(package) - node.level + 1]
    return ".".join([*parts, node.module] if node.module else parts)


def is_ours(target: str) -> bool:
    return target == "memora" or target.startswith("memora.")


def top(target: str) -> str:
    """The outermost package of a dotted name."""
    return target.partition(".")[0]
