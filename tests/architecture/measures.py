"""The house's numbers: sizes, docstrings, and habits that must not appear."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from tests.architecture.source import ROOT, Module, modules

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
# Made by a script from other modules; nobody reads or edits it.
GENERATED = {"memora.sync"}
Documented = FunctionNode | ast.ClassDef


@dataclass(frozen=True, order=True)
class Size:
    """Lines of a file or function."""

    lines: int
    name: str


def file_sizes() -> list[Size]:
    """Every written file of the package, the largest first."""
    found = [
        Size(len(module.text.splitlines()), str(module.path.relative_to(ROOT)))
        for module in modules().values()
        if module.name not in GENERATED
    ]
    return sorted(found, reverse=True)


def function_sizes() -> list[Size]:
    """Every function and method with its docstring left out, the longest first."""
    found: list[Size] = []
    for module in modules().values():
        for node in functions(module):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1 - docstring_lines(node)
            found.append(Size(lines, f"{module.where(node)} {node.name}"))
    return sorted(found, reverse=True)


def functions(module: Module) -> Iterator[FunctionNode]:
    for node in ast.walk(module.tree):
        if isinstance(node, FunctionNode):
            yield node


def docstring_share() -> float:
    """Lines of docstrings per line of the package, in percent."""
    total = docstrings = 0
    for module in modules().values():
        total += len(module.text.splitlines())
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Module | Documented):
                docstrings += docstring_lines(node)
    return 100 * docstrings / total


def docstring_lines(node: ast.Module | Documented) -> int:
    if ast.get_docstring(node, clean=False) is None:
        return 0
    first = node.body[0]
    return (first.end_lineno or first.lineno) - first.lineno + 1


def broad_handlers() -> list[str]:
    """`except Exception` (or wider) that hands nothing on, outside of process boundaries."""
    boundaries = (
        *("memora.cli", "memora.server", "memora.mcp", "memora.testing"),
        "memora.vector_db._shard_worker",
    )
    found: list[str] = []
    for module in modules().values():
        if module.name.startswith(boundaries):
            continue
        handlers = (n for n in ast.walk(module.tree) if isinstance(n, ast.ExceptHandler))
        found += [module.where(n) for n in handlers if _is_broad(n) and not hands_on(n)]
    return found


def _is_broad(handler: ast.ExceptHandler) -> bool:
    names = ast.walk(handler.type) if handler.type else iter(())
    broad = {"Exception", "BaseException"}
    return handler.type is None or any(isinstance(n, ast.Name) and n.id in broad for n in names)


def hands_on(handler: ast.ExceptHandler) -> bool:
    """Whether it raises, or keeps the error itself for whoever waits: in a future, an attribute."""
    return any(
        isinstance(node, ast.Raise)
        or (isinstance(node, ast.Attribute) and node.attr == "set_exception")
        or (isinstance(node, ast.Assign) and _keeps(node, handler.name))
        for node in ast.walk(handler)
    )


def _keeps(assignment: ast.Assign, error: str | None) -> bool:
    """Whether an object has the error afterwards, and not just its text or that there was one."""
    value = assignment.value
    given = value.values if isinstance(value, ast.BoolOp) else [value]
    return any(isinstance(each, ast.Name) and each.id == error for each in given) and all(
        isinstance(target, ast.Attribute) for target in assignment.targets
    )


def builders(class_name: str) -> list[str]:
    """Places that build an object of this class by its name."""
    found: list[str] = []
    for module in modules().values():
        calls = (node for node in ast.walk(module.tree) if isinstance(node, ast.Call))
        found += [module.where(n) for n in calls if ast.unparse(n.func) == class_name]
    return found
