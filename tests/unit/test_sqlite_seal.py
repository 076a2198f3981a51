"""The views of an encrypted store: the tables' columns, and not one slower query."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from memora import _queries
from memora.encryption import new_key
from memora.graph_db.sqlite import _seal
from memora.graph_db.sqlite.interface import SQLiteGraph

PACKAGE = "memora.graph_db.sqlite"
FOLDER = Path(_seal.__file__).parent / "queries"
VIEWS = _queries.load(PACKAGE, "queries/sealed.sql")
# What the doctor reads and what the views are made with; the others run all the time.
OTHERS = {"inspect.sql", "sealed.sql", "unsealed.sql", "keys.sql"}
# What a view adds to the way a query takes: by key, for each message.
OWNER_OF_A_MESSAGE = {
    "CORRELATED SCALAR SUBQUERY",
    "SEARCH USING INDEX sqlite_autoindex_interaction_1 (org_id=? AND interaction_id=?)",
}
QUERIES = {
    f"{file.name}: {name}": query
    for file in sorted(FOLDER.glob("*.sql"))
    if file.name not in OTHERS
    for name, query in _queries.load(PACKAGE, f"queries/{file.name}").items()
}


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[SQLiteGraph]:
    async with SQLiteGraph(tmp_path / "plain.sqlite3") as graph:
        yield graph


@pytest.fixture
async def encrypted(tmp_path: Path) -> AsyncIterator[SQLiteGraph]:
    async with SQLiteGraph(tmp_path / "encrypted.sqlite3", encryption_key=new_key()) as graph:
        yield graph


async def fetched(graph: SQLiteGraph, query: str, params: Any = ()) -> list[tuple[Any, ...]]:
    return await graph._store.read(lambda connection: connection.execute(query, params).fetchall())


@pytest.mark.parametrize("view", VIEWS)
async def test_a_view_has_the_columns_of_what_it_stands_for(
    encrypted: SQLiteGraph, view: str
) -> None:
    columns = "SELECT name FROM pragma_table_info(?, ?)"
    assert await fetched(encrypted, columns, (view, "temp")) == await fetched(
        encrypted, columns, (view, "main")
    )


def test_every_sealed_table_has_a_view_and_every_view_can_be_taken_away() -> None:
    assert {table.name for table in _seal.TABLES} | {"memory_version"} == VIEWS.keys()
    assert VIEWS.keys() == _queries.load(PACKAGE, "queries/unsealed.sql").keys()


@pytest.mark.parametrize("table", _seal.TABLES, ids=lambda table: table.name)
def test_the_view_opens_what_is_sealed_with_the_same_key(table: _seal.SealedTable) -> None:
    text = " ".join(VIEWS[table.name].split())
    calls = re.findall(
        r"memora_(open|unmark)\( ?'(\w+)\.(\w+)', t\.(\w+), (.*?) ?\) AS (\w+)", text
    )
    found = {}
    for function, name, column, read, place, shown in calls:
        assert (name, column, column) == (table.name, read, shown)
        key = re.sub(r"\(SELECT i\.(user_id) .*?\)", r"t.\1", place)
        found[column] = function, tuple(re.findall(r"t\.(\w+)", key))
    assert found == {
        **dict.fromkeys(table.columns, ("open", table.key)),
        **dict.fromkeys(table.marks, ("unmark", table.key[:2])),
    }


@pytest.mark.parametrize("name", QUERIES)
async def test_a_query_takes_the_same_way_in_an_encrypted_store(
    plain: SQLiteGraph, encrypted: SQLiteGraph, name: str
) -> None:
    query = QUERIES[name]
    params = dict.fromkeys(re.findall(r":(\w+)", query), "[]")
    plans = [
        [detail for *_ids, detail in await fetched(graph, f"EXPLAIN QUERY PLAN {query}", params)]
        for graph in (plain, encrypted)
    ]
    before, after = (Counter(map(way, plan)) for plan in plans)
    assert not before - after
    assert (after - before).keys() <= OWNER_OF_A_MESSAGE


def way(detail: str) -> str:
    """A step of a plan without the names of its table."""
    return re.sub(r"^(SEARCH|SCAN) \S+", r"\1", re.sub(r"(?i)(subquery)[ -]\d+", r"\1", detail))


_WRITES_A_VIEW = re.compile(
    r"\s*((INSERT|REPLACE)( OR \w+)?+ INTO|UPDATE( OR \w+)?+|DELETE FROM) (?!main\.)"
)


def test_statements_that_write_name_the_table_itself() -> None:
    """In an encrypted store the bare name is a view, which nothing can be written to."""
    wrong = [
        f"{name}: {line}"
        for name, query in QUERIES.items()
        for line in query.splitlines()
        if _WRITES_A_VIEW.match(line)
    ]
    assert not wrong, "\n".join(wrong)
