"""The graph contract on SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.testing.graph_clauses.tenant import Reopen
from memora.testing.graph_contract import GraphContract


class TestSQLiteGraph(GraphContract):
    """All clauses, on a file."""

    @pytest.fixture
    async def graph(self, tmp_path: Path) -> AsyncIterator[SQLiteGraph]:
        async with SQLiteGraph(tmp_path / "graph.sqlite3") as graph:
            yield graph

    @pytest.fixture
    async def reopen(self, graph: SQLiteGraph, tmp_path: Path) -> AsyncIterator[Reopen]:
        opened: list[SQLiteGraph] = []

        async def reopen() -> SQLiteGraph:
            await graph.close()
            opened.append(SQLiteGraph(tmp_path / "graph.sqlite3"))
            await opened[0].setup()
            return opened[0]

        yield reopen
        for handle in opened:
            await handle.close()
