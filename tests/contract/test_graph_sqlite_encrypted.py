"""The graph contract on an encrypted SQLite store: nobody above it notices."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from memora.encryption import new_key
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.testing.graph_clauses.tenant import Reopen
from memora.testing.graph_contract import GraphContract

KEY = new_key()


class TestEncryptedSQLiteGraph(GraphContract):
    """All clauses, on a file that shows none of their text."""

    @pytest.fixture
    async def graph(self, tmp_path: Path) -> AsyncIterator[SQLiteGraph]:
        async with SQLiteGraph(tmp_path / "graph.sqlite3", encryption_key=KEY) as graph:
            yield graph

    @pytest.fixture
    async def reopen(self, graph: SQLiteGraph, tmp_path: Path) -> AsyncIterator[Reopen]:
        opened: list[SQLiteGraph] = []

        async def reopen() -> SQLiteGraph:
            await graph.close()
            opened.append(SQLiteGraph(tmp_path / "graph.sqlite3", encryption_key=KEY))
            await opened[0].setup()
            return opened[0]

        yield reopen
        for handle in opened:
            await handle.close()
