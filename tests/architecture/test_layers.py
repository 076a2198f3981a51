"""The layer law: who may import whom inside memora, as a table, and the code held against it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from graphlib import TopologicalSorter

from tests.architecture.source import imports, is_ours, modules, top


@dataclass(frozen=True)
class Layer:
    """One row of the table.

    Attributes:
        name: What other rows call it.
        modules: Module names; one that ends in `*` stands for all that begin like it.
        may: Names of the rows it may import from.
        siblings: Whether modules of the row may import each other; adapters may not.
    """

    name: str
    modules: tuple[str, ...]
    may: tuple[str, ...] = ()
    siblings: bool = True

    def holds(self, module: str) -> int:
        """How closely the row names the module; -1 if it does not."""
        fitting = [pattern for pattern in self.modules if fnmatchcase(module, pattern)]
        return max((2 * len(p.rstrip("*")) + (p == module) for p in fitting), default=-1)


PORTS = (
    "embeddings.base",
    "llm_backends.base",
    "rerankers.base",
    "vector_db.base",
    "graph_db.base",
    "graph_db.outbox",
)
ADAPTERS = (
    "llm_backends",
    "embeddings",
    "embeddings.lexical",
    "embeddings.static",
    "rerankers",
    "vector_db.qdrant",
    "vector_db.embedded",
    "graph_db.neo4j",
    "graph_db.sqlite",
)
# Packages that look an adapter up when its name is used.
NAMES = (
    "llm_backends.names",
    "embeddings.names",
    "rerankers.names",
    "vector_db.names",
    "graph_db.names",
)
_PURE = ("errors", "schema", "core")
_VECTOR_SHARED = (
    *_PURE,
    "vector_db.base",
    "embeddings.base",
    "embeddings.lexical",
    "embeddings.static",
)
_VECTOR_ADAPTER = (*_VECTOR_SHARED, "vector_db.shared", "logging")

LAYERS = (
    Layer("errors", ("memora.errors",)),
    Layer("logging", ("memora._logging",)),
    Layer("background", ("memora._background",), ("errors",)),
    Layer("schema", ("memora.schema", "memora.schema.*"), ("errors",)),
    Layer("seeding", ("memora.seeding",), ("schema",)),
    Layer("core", ("memora.core", "memora.core.*"), ("errors", "schema")),
    Layer("text", ("memora.text", "memora.text.*"), ("errors",)),
    Layer("prompts", ("memora.prompts", "memora.prompts.*"), ("schema",)),
    Layer("queries", ("memora._queries",), ("errors",)),
    Layer(
        "sqlite",
        (
            "memora._sqlite",
            "memora._sqlite_reads",
            "memora._sqlite_schema",
            "memora._sqlite_snapshot",
            "memora._sqlite_backup",
            "memora._process_lock",
        ),
        ("errors", "schema"),
    ),
    Layer("encryption", ("memora.encryption",), ("errors",)),
    Layer("config", ("memora.config",), ("errors",)),
    # Ports
    Layer("embeddings.base", ("memora.embeddings.base",), ("errors",)),
    Layer("llm_backends.base", ("memora.llm_backends.base",), ("errors",)),
    Layer("rerankers.base", ("memora.rerankers.base",), ("errors",)),
    Layer(
        "vector_db.base",
        ("memora.vector_db.base", "memora.vector_db.rebuild"),
        (*_PURE, "encryption", "embeddings.base"),
    ),
    Layer("graph_db.outbox", ("memora.graph_db.outbox",), ("errors", "schema", "vector_db.base")),
    Layer(
        "graph_db.base", ("memora.graph_db.base",), (*_PURE, "vector_db.base", "graph_db.outbox")
    ),
    # Adapters; what those of one port share is in modules with an underscore.
    Layer("llm_backends.shared", ("memora.llm_backends._*",), ("errors", "llm_backends.base")),
    Layer(
        "llm_backends",
        ("memora.llm_backends.*",),
        ("errors", "llm_backends.base", "llm_backends.shared"),
        siblings=False,
    ),
    Layer("embeddings", ("memora.embeddings.*",), ("errors", "embeddings.base"), siblings=False),
    Layer("embeddings.static", ("memora.embeddings.static",), ("errors", "embeddings.base")),
    Layer(
        "embeddings.lexical",
        ("memora.embeddings.lexical",),
        ("errors", "embeddings.base", "text"),
    ),
    Layer("rerankers", ("memora.rerankers.*",), ("errors", "rerankers.base"), siblings=False),
    Layer(
        "vector_db.shared",
        ("memora.vector_db._encoding", "memora.vector_db._lazy"),
        _VECTOR_SHARED,
    ),
    Layer(
        "vector_db.qdrant",
        ("memora.vector_db.qdrant", "memora.vector_db._qdrant*"),
        _VECTOR_ADAPTER,
    ),
    Layer(
        "vector_db.embedded",
        # Its rows and its engine are in modules with an underscore.
        ("memora.vector_db.embedded", "memora.vector_db.embedded.*", "memora.vector_db._*"),
        (*_VECTOR_ADAPTER, "sqlite", "queries", "encryption"),
    ),
    Layer(
        "graph_db.neo4j",
        ("memora.graph_db.neo4j", "memora.graph_db.neo4j.*"),
        (*_PURE, "graph_db.base", "vector_db.base", "queries", "logging"),
    ),
    Layer(
        "graph_db.sqlite",
        ("memora.graph_db.sqlite", "memora.graph_db.sqlite.*"),
        (
            *(*_PURE, "graph_db.base", "vector_db.base", "queries", "sqlite", "encryption"),
            "logging",
        ),
    ),
    # Engine
    Layer("ops", ("memora.ops", "memora.ops.*"), (*_PURE, *PORTS)),
    Layer("importers", ("memora.importers", "memora.importers.*"), ("errors", "schema")),
    Layer(
        "agent",
        ("memora.agent", "memora.agent.*"),
        (*_PURE, "text", "prompts", *PORTS, "ops", "logging"),
    ),
    Layer(
        "bootstrap", ("memora.bootstrap",), (*_PURE, "config", "agent", *PORTS, *ADAPTERS, *NAMES)
    ),
    # Entrypoints
    # Generated; what it takes from the ports are names and defaults of signatures.
    Layer(
        "sync", ("memora.sync",), ("errors", "schema", "agent", "bootstrap", "background", *PORTS)
    ),
    Layer(
        "server",
        ("memora.server", "memora.server.*", "memora.mcp", "memora.mcp.*"),
        ("errors", "schema", "config", "agent", "bootstrap"),
    ),
    Layer(
        "cli",
        ("memora.cli", "memora.cli.*", "memora.__main__"),
        # memora itself for the version only
        (
            *("errors", "schema", "config", "agent", "bootstrap", "importers", "server", "memora"),
            "encryption",  # to make a new key
        ),
    ),
    Layer("testing", ("memora.testing", "memora.testing.*"), (*_PURE, *PORTS)),
    # The names people import; each is looked up when it is used.
    Layer("memora", ("memora",), ("errors", "schema", "seeding", "vector_db.base", "agent")),
    Layer("llm_backends.names", ("memora.llm_backends",), ("llm_backends.base", "llm_backends")),
    Layer(
        "embeddings.names",
        ("memora.embeddings",),
        ("embeddings.base", "embeddings", "embeddings.lexical", "embeddings.static"),
    ),
    Layer("rerankers.names", ("memora.rerankers",), ("rerankers.base", "rerankers")),
    Layer(
        "vector_db.names",
        ("memora.vector_db",),
        ("vector_db.base", "vector_db.qdrant", "vector_db.embedded"),
    ),
    Layer(
        "graph_db.names",
        ("memora.graph_db",),
        ("graph_db.base", "graph_db.neo4j", "graph_db.sqlite"),
    ),
)

# The one upward call: these class methods hand over to the composition root in their body.
UPWARD = {
    ("memora.agent.main", ("Memora", "embedded"), "memora.bootstrap"),
    ("memora.agent.main", ("Memora", "from_settings"), "memora.bootstrap"),
}
# Seen by type checkers only, for signatures.
TYPES_ONLY = {
    ("memora.agent.main", "memora.config"),
    ("memora.sync", "memora.config"),
    ("memora.sync", "memora.core.filters"),
    ("memora.sync", "memora.encryption"),
    ("memora.sync", "memora.ops.backup"),
    ("memora.sync", "memora.ops.doctor"),
    ("memora.sync", "memora.ops.export"),
    ("memora.sync", "memora.ops.importing"),
    ("memora.sync", "memora.ops.reconcile"),
    ("memora.sync", "memora.ops.reindex"),
}

# Third parties of the pure packages (pydantic's own core has the error type that its validators
# raise); everything else there is the standard library.
PURE = {
    "memora.errors": set[str](),
    "memora.schema": {"pydantic", "pydantic_core"},
    "memora.core": {"pydantic", "numpy"},
    "memora.prompts": {"pydantic"},
}


def layer_of(module: str) -> Layer:
    best = max(LAYERS, key=lambda layer: layer.holds(module))
    assert best.holds(module) >= 0, f"{module} has no row in LAYERS: add one, and to the docs"
    return best


def test_every_module_has_a_row() -> None:
    for name in modules():
        layer_of(name)


def test_rows_name_rows_and_have_no_circle() -> None:
    rows = {layer.name: set(layer.may) for layer in LAYERS}
    assert len(rows) == len(LAYERS)
    assert set().union(*rows.values()) <= rows.keys()
    TopologicalSorter(rows).prepare()


def test_imports_follow_the_table() -> None:
    wrong: list[str] = []
    for module in modules().values():
        layer = layer_of(module.name)
        for found in imports(module):
            if not is_ours(found.target) or found.target == module.name:
                continue
            if (module.name, found.scope, found.target) in UPWARD:
                continue
            if found.for_types and (module.name, found.target) in TYPES_ONLY:
                continue
            target = layer_of(found.target)
            allowed = layer.siblings if target is layer else target.name in layer.may
            if not allowed:
                wrong.append(f"{found.at}: {layer.name} may not import {found.target}")
    assert not wrong, "\n".join(wrong)


def test_pure_packages_use_no_third_party_but_theirs() -> None:
    wrong: list[str] = []
    for module in modules().values():
        for package, allowed in PURE.items():
            if module.name != package and not module.name.startswith(f"{package}."):
                continue
            wrong += [
                f"{found.at}: {package} may not import {found.target}"
                for found in imports(module)
                if top(found.target) not in {"memora", *allowed, *sys.stdlib_module_names}
            ]
    assert not wrong, "\n".join(wrong)
