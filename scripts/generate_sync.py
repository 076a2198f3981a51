#!/usr/bin/env python3
"""Write memora/sync.py from the async classes that it mirrors.

Usage: scripts/generate_sync.py [--check]   (--check: exit 1 if the committed file is not current)

Signatures and docstrings are read from the syntax trees, never by importing memora. Only the code
counts for --check, not its formatting.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "memora" / "sync.py"

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Twin:
    """A blocking class and the async class that it is made from.

    Attributes:
        docstring: Of the blocking class; None: the async one's, with its example rewritten.
    """

    name: str
    module: str
    source: str
    docstring: str | None = None


TWINS = (
    Twin(
        "BoundMemora",
        "memora.agent.bound",
        "BoundMemora",
        "What `Memora.for_user` returns; each method is the one of `Memora` with that name.",
    ),
    Twin("GraphDB", "memora.graph_db.base", "BaseGraphDB", "A graph store, for blocking callers."),
    Twin(
        "VectorDB", "memora.vector_db.base", "BaseVectorDB", "A vector store, for blocking callers."
    ),
    Twin("Memora", "memora.agent.main", "Memora"),
)
# Seams of the engine: pairing stores, which callers do by constructing `Memora`, and the steps of
# what has a verb of its own.
LEFT_OUT = {
    ("GraphDB", "with_vector_db"),
    ("GraphDB", "without_drains"),
    ("GraphDB", "pin_with_vectors"),
    ("GraphDB", "with_one_key"),
    ("VectorDB", "begin_rebuild"),
    ("VectorDB", "rebuilding"),
    ("VectorDB", "is_unverified"),
    ("VectorDB", "mark_verified"),
    *(
        (store, name)
        for store in ("GraphDB", "VectorDB")
        for name in ("dump_records", "load_records", "pin", "replace_with")
    ),
}
# Blocking methods of the async class, and what they are called among those that all block.
BLOCKING = {("Memora", "seed_sync"): "seed"}
# What callers get instead of an object whose methods they would have to await.
WRAPPED = {"BaseGraphDB": "GraphDB", "BaseVectorDB": "VectorDB", "BoundMemora": "BoundMemora"}
ITERATORS = {"AsyncIterator": "Iterator", "AsyncGenerator": "Iterator"}

HEADER = '''\
"""The engine for callers that do not await: `memora.sync.Memora`.

Every call runs on an event loop in the background and blocks until it is done, whether the
caller's thread has a loop of its own or not. Written by scripts/generate_sync.py, not by hand.
"""
# ruff: noqa: FBT001, FBT002 - signatures and docstrings are those of the async classes

from __future__ import annotations
'''

IMPORTED = re.compile(r"from (?P<module>memora\.[\w.]+) import (?P<name>\w+)$")

# {name}, {source}, {docstring}: of the twin.
WRAPPER = '''
class {name}:
    """{docstring}"""

    def __init__(self, background: BackgroundLoop, wrapped: _{source}) -> None:
        self._background = background
        self._wrapped = wrapped
'''
MEMORA = '''
class Memora:
    """{docstring}"""

    def __init__({parameters}) -> None:
        self._bind(_Memora({arguments}))

    def _bind(self, wrapped: _Memora) -> None:
        self._background = BackgroundLoop()
        self._wrapped = wrapped

    @classmethod
    def _around(cls, wrapped: _Memora) -> Self:
        made = cls.__new__(cls)
        made._bind(wrapped)
        return made
'''
ENTER = """
    def __enter__(self) -> Self:
        try:
            self.setup()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
"""


@dataclass
class Source:
    """One module of async code, and what its annotations refer to."""

    module: str
    tree: ast.Module
    imports: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, module: str) -> Source:
        path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        source = cls(module, ast.parse(path.read_text("utf-8"), str(path)))
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    renamed = f" as {alias.asname}" if alias.asname else ""
                    statement = f"from {node.module} import {alias.name}{renamed}"
                    source.imports[alias.asname or alias.name] = statement
        for node in source.tree.body:
            if isinstance(node, ast.ClassDef):
                source.imports[node.name] = f"from {module} import {node.name}"
        return source

    def cls(self, name: str) -> ast.ClassDef:
        return next(n for n in self.tree.body if isinstance(n, ast.ClassDef) and n.name == name)


class Generator:
    """Collects the text of the classes, and the imports that it needs on the way."""

    def __init__(self) -> None:
        self._sources = {twin.module: Source.read(twin.module) for twin in TWINS}
        self._for_types: set[str] = set()
        self._at_runtime: set[str] = {
            "from typing import TYPE_CHECKING",
            "from typing import Self",
            "from memora._background import BackgroundLoop",
            "from memora.agent.main import Memora as _Memora",
        }

    def text(self) -> str:
        classes = "\n".join(self._class(twin) for twin in TWINS)
        guarded = sorted(self._for_types - self._at_runtime)
        return "\n".join(
            [
                HEADER,
                *sorted(self._at_runtime),
                "\nif TYPE_CHECKING:",
                *(f"    {line}" for line in guarded),
                classes,
            ]
        )

    def _class(self, twin: Twin) -> str:
        source = self._sources[twin.module]
        cls = source.cls(twin.source)
        if twin.name != "Memora":
            self._for_types.add(f"from {twin.module} import {twin.source} as _{twin.source}")
        docstring = twin.docstring or blocking(str(ast.get_docstring(cls, clean=False)))
        parts = [self._head(twin, source, cls, docstring)]
        methods = dict(self._methods(source, cls))
        if "setup" in methods:
            parts.append(ENTER)
        if twin.name == "BoundMemora":
            parts.append(self._scope(source))
        parts += [
            self._method(twin, *found)
            for name, found in methods.items()
            if (twin.name, name) not in LEFT_OUT
        ]
        return "".join(parts)

    def _methods(
        self, source: Source, cls: ast.ClassDef
    ) -> Iterator[tuple[str, tuple[Source, Function]]]:
        """Own public methods and those of base classes from modules of memora, by name."""
        for node in public_functions(cls):
            yield node.name, (source, node)
        for base in cls.bases:
            imported = IMPORTED.match(source.imports.get(ast.unparse(base), ""))
            if imported is not None:
                module = Source.read(imported["module"])
                yield from self._methods(module, module.cls(imported["name"]))

    def _head(self, twin: Twin, source: Source, cls: ast.ClassDef, docstring: str) -> str:
        if twin.name != "Memora":
            return WRAPPER.format(name=twin.name, source=twin.source, docstring=docstring)
        init = next(n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
        return MEMORA.format(
            docstring=docstring, parameters=self._signature(source, init), arguments=passed_on(init)
        )

    def _scope(self, source: Source) -> str:
        self._for_types.add(source.imports["Scope"])
        return '''
    @property
    def scope(self) -> Scope:
        """Organization, user and agent of every call."""
        return self._wrapped.scope
'''

    def _method(self, twin: Twin, source: Source, node: Function) -> str:
        decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
        returns = ast.unparse(node.returns) if node.returns else "None"
        docstring = ast.get_docstring(node, clean=False)
        lines = [f"@{name}" for name in sorted(decorators & {"classmethod", "property"})]
        lines.append(f"def {node.name}({self._signature(source, node)}) -> {{returns}}:")
        if docstring is not None:
            lines.append(f'    """{blocking(docstring)}"""')
        if "classmethod" in decorators:
            lines.append(f"    return cls._around(_Memora.{node.name}({passed_on(node)}))")
        elif "property" in decorators:
            returns, body = wrapping(returns, f"self._wrapped.{node.name}")
            lines += body
        else:
            returns, body = self._call(twin, node, returns, f"self._wrapped.{node.name}")
            lines += body
        self._refer(source, returns)
        text = "\n".join(f"    {line}" if line else "" for line in lines)
        return f"\n{text}\n".replace("{returns}", returns)

    def _call(self, twin: Twin, node: Function, returns: str, name: str) -> tuple[str, list[str]]:
        call = f"{name}({passed_on(node)})"
        container = returns.partition("[")[0]
        if container in ITERATORS:
            iterator = returns.replace(container, ITERATORS[container], 1)
            return iterator, [f"    yield from self._background.iterate({call})"]
        if (twin.name, node.name) in BLOCKING:
            return returns, [f"    return self.{BLOCKING[twin.name, node.name]}({passed_on(node)})"]
        if not isinstance(node, ast.AsyncFunctionDef):
            return wrapping(returns, call)
        if (twin.name, node.name) == ("Memora", "close"):
            return returns, [f"    self._background.close({name})"]
        if returns == "None":
            return returns, [f"    self._background.run({call})"]
        return returns, [f"    return self._background.run({call})"]

    def _signature(self, source: Source, node: Function) -> str:
        for annotated in every_argument(node.args):
            if annotated.annotation is not None:
                self._refer(source, ast.unparse(annotated.annotation))
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self._refer(source, ast.unparse(default), at_runtime=True)
        return ast.unparse(node.args)

    def _refer(self, source: Source, expression: str, *, at_runtime: bool = False) -> None:
        """Import what the expression names, unless it is one of the classes written here."""
        own = {twin.name for twin in TWINS}
        for node in ast.walk(ast.parse(expression, mode="eval")):
            if isinstance(node, ast.Name) and node.id not in own:
                needed = self._at_runtime if at_runtime else self._for_types
                if node.id in ITERATORS.values():
                    needed.add(f"from collections.abc import {node.id}")
                elif node.id in source.imports:
                    needed.add(source.imports[node.id])


def public_functions(cls: ast.ClassDef) -> Iterator[Function]:
    for node in cls.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
            yield node


def every_argument(args: ast.arguments) -> list[ast.arg]:
    stars = [arg for arg in (args.vararg, args.kwarg) if arg is not None]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *stars]


def passed_on(node: Function) -> str:
    """The arguments of a call that hands all parameters on."""
    args = node.args
    given = [arg.arg for arg in (*args.posonlyargs, *args.args)][1:]
    given += [f"{arg.arg}={arg.arg}" for arg in args.kwonlyargs]
    if args.kwarg is not None:
        given.append(f"**{args.kwarg.arg}")
    return ", ".join(given)


def wrapping(returns: str, value: str) -> tuple[str, list[str]]:
    """Annotation and body that return a blocking object in place of an async one."""
    found, optional, _nothing = returns.partition(" | None")
    if found not in WRAPPED:
        return returns, [f"    return {value}"]
    made = WRAPPED[found]
    if not optional:
        return made, [f"    return {made}(self._background, {value})"]
    return f"{made} | None", [
        f"    found = {value}",
        f"    return None if found is None else {made}(self._background, found)",
    ]


def blocking(docstring: str) -> str:
    return docstring.replace("async with ", "with ").replace("await ", "").replace("\\", "\\\\")


def formatted(text: str) -> str:
    ruff = [sys.executable, "-m", "ruff"]
    name = ["--stdin-filename", str(TARGET)]
    for command in (["check", "--select", "I", "--fix", "--quiet"], ["format", "--quiet"]):
        done = subprocess.run(
            [*ruff, *command, *name, "-"], input=text, capture_output=True, text=True, check=True
        )
        text = done.stdout
    return text


def code_of(text: str) -> str:
    """The syntax tree without the order in which names are imported."""
    tree = ast.parse(text)
    imported = sorted(
        f"{node.module}.{alias.name} {alias.asname}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    )
    defined = [ast.dump(node) for node in tree.body if isinstance(node, ast.ClassDef)]
    return "\n".join([*imported, *defined])


def main(*arguments: str) -> int:
    text = Generator().text()
    if "--check" in arguments:
        if TARGET.exists() and code_of(TARGET.read_text("utf-8")) == code_of(text):
            return 0
        print("memora/sync.py is not current: run scripts/generate_sync.py", file=sys.stderr)
        return 1
    TARGET.write_text(formatted(text), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
