"""Queries live in files: loadable, used, defined, and bound to an organization."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import LiteralString

from memora import _queries
from tests.architecture.source import PACKAGE, ROOT, Module, modules

# Methods that send a query, on drivers, connections and our own transactions.
SENDERS = {
    "execute",
    "executemany",
    "executescript",
    "run",
    "execute_query",
    "fetch",
    "row",
    "rows",
}
SENDERS = {*SENDERS, "begin_transaction", "read", "write"}
ADAPTERS = ("memora.graph_db.", "memora.vector_db.", "memora._sqlite")
# Queries that belong to no tenant, by the stem of their file, and why.
NO_TENANT = {
    "schema": "constraints, version and server",
    "indexes": "constraints and indexes",
    "inspect": "the doctor reads the whole store",
    "keys": "the whole store is encrypted anew",
    "sealed": "views, which take over the conditions of what reads them",
    "unsealed": "views",
    "mask": "the whole index is masked anew",
    "index": "what the vector index lacks, over the whole store",
    "organization.page": "administration lists all organizations",
    "organization.list_organizations": "administration lists all organizations",
    "transfer.organizations": "an export of the whole store",
    "outbox.claim": "the relay works for every organization; below, for what it has claimed",
    "outbox.claimed": "the relay",
    "outbox.lock_claims": "the relay",
    "outbox.ack": "the relay",
    "outbox.fail": "the relay",
    "outbox.release_all": "the relay",
    "outbox.retry": "administration of the outbox",
    "outbox.list": "administration of the outbox",
    "outbox.page": "administration of the outbox",
    "outbox.status": "administration of the outbox",
    "check": "doctor compares the vectors of all owners",
    "repair.indexes": "the database's indexes",
    "repair.has_data": "whether memora wrote here at all",
    "repair.restore_counter": "the outbox's counter",
    "repair.renumber_entries": "the outbox's counter, and entries that share a number",
    "repair.drop_second_meta": "stamp and counters",
    "jobs.release_all": "whoever opens the store takes over what a dead process had",
}

Loaded = Mapping[str, LiteralString]


@cache
def files() -> dict[str, tuple[str, Loaded]]:
    """Per file: its stem, and its queries."""
    found: dict[str, tuple[str, Loaded]] = {}
    for path in sorted((*PACKAGE.rglob("queries/*.sql"), *PACKAGE.rglob("queries/*.cypher"))):
        if not (path.parents[1] / "__init__.py").exists():
            continue
        package = ".".join(path.parents[1].relative_to(ROOT).parts)
        import_module(package)  # before, not while, one of its files is loaded
        name = str(path.relative_to(ROOT))
        found[name] = (path.stem, _queries.load(package, f"queries/{path.name}"))
    return found


def query_variables(module: Module) -> dict[str, str]:
    """Global names of a module that hold a file's queries; a file is one object everywhere."""
    by_identity = {id(queries): name for name, (_, queries) in files().items()}
    return {
        name: by_identity[id(value)]
        for name, value in vars(import_module(module.name)).items()
        if id(value) in by_identity
    }


def uses() -> tuple[dict[str, set[str]], list[str]]:
    """Used names per file, and the places that ask for a name that is not there."""
    used: dict[str, set[str]] = {name: set() for name in files()}
    undefined: list[str] = []
    for module in modules().values():
        if not module.name.startswith(ADAPTERS):
            continue
        variables = query_variables(module)
        parents = {
            child: node for node in ast.walk(module.tree) for child in ast.iter_child_nodes(node)
        }
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Name) or node.id not in variables:
                continue
            if not isinstance(node.ctx, ast.Load):
                continue
            file = variables[node.id]
            _, queries = files()[file]
            parent = parents[node]
            key = parent.slice if isinstance(parent, ast.Subscript) else None
            if not isinstance(key, ast.Constant):
                used[file] |= set(queries)  # all of them, or one that is chosen at run time
            elif key.value in queries:
                used[file].add(str(key.value))
            else:
                undefined.append(f"{module.where(node)}: {file} has no {key.value!r}")
    return used, undefined


def test_every_file_loads_and_says_something() -> None:
    assert all(queries for _, queries in files().values())


def test_every_used_query_is_defined() -> None:
    _, undefined = uses()
    assert not undefined


def test_every_query_is_used() -> None:
    used, _ = uses()
    unused = [
        f"{file}: {name}"
        for file, (_, queries) in files().items()
        for name in queries
        if name not in used[file]
    ]
    assert not unused, "\n".join(unused)


def test_b01_every_query_of_a_tenant_names_the_organization() -> None:
    bare = [
        f"{file}: {name}"
        for file, (stem, queries) in files().items()
        for name, text in queries.items()
        if not {stem, f"{stem}.{name}"} & NO_TENANT.keys() and not names_organization(text)
    ]
    assert not bare, "\n".join(bare)


def test_exempted_queries_exist() -> None:
    known = {stem for stem, _ in files().values()}
    known |= {f"{stem}.{name}" for stem, queries in files().values() for name in queries}
    assert not NO_TENANT.keys() - known


def names_organization(text: str) -> bool:
    """Whether a parameter, or a row of one, is the organization."""
    return bool(re.search(r"[$:]\w*org_id\b|\b\w+\.org_id\b", text))


def test_no_query_is_put_together_where_it_is_sent() -> None:
    wrong: list[str] = []
    for module in modules().values():
        if not module.name.startswith(ADAPTERS):
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                sent = node.args[0] if node.func.attr in SENDERS and node.args else None
                if sent is not None and is_assembled(sent):
                    wrong.append(f"{module.where(node)}: {ast.unparse(sent)[:80]}")
    assert not wrong, "\n".join(wrong)


def is_assembled(node: ast.AST) -> bool:
    if isinstance(node, ast.JoinedStr | ast.BinOp):
        return True
    method = node.func if isinstance(node, ast.Call) else None
    return isinstance(method, ast.Attribute) and method.attr in {"format", "join", "replace"}


def test_nothing_outside_of_the_loader_calls_text_a_literal() -> None:
    casts = [
        module.where(node)
        for module in modules().values()
        if module.name != "memora._queries"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "cast"
        and "LiteralString" in ast.unparse(node.args[0])
    ]
    assert not casts
