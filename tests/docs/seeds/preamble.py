"""The one preamble of the seed documents' calls: what their reader has and a test has not.

- Names that the pages use without importing them: `asyncio` (the event loop that runs `main`),
  `os`, `datetime`.
- Test stores behind the constructors as they are written there. `AsyncQdrantClient(url=…)` is
  qdrant-client's own in-process store. `Neo4jGraphInterface(uri=…, username=…, password=…,
  database=…)` takes exactly the arguments of the real class and opens the session's live Neo4j,
  or, where the parameter says so, the embedded SQLite graph.
- A scripted model in place of the provider: the SDKs are real, the transport below is played.
- Scripted lines for `input`.
- Real ids in place of upper-case and `…_uuid` placeholders.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import memora.graph_db
from memora.graph_db import BaseGraphDB, Neo4jGraphInterface, SQLiteGraph
from tests.docs.provider import Provider, scripted
from tests.neo4j_server.process import Neo4jServer

Open = Callable[[], BaseGraphDB]


class GraphSubstitute:
    """Stands for the class `Neo4jGraphInterface` and hands out the test's graph.

    Args:
        open_graph: Opens it, as a client of its own.
    """

    def __init__(self, open_graph: Open) -> None:
        self._open = open_graph
        self._signature = inspect.signature(Neo4jGraphInterface)

    def __call__(self, *args: Any, **options: Any) -> BaseGraphDB:
        self._signature.bind(*args, **options)
        return self._open()


@pytest.fixture(params=["sqlite", pytest.param("neo4j", marks=pytest.mark.neo4j)])
async def graphs(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[GraphSubstitute]:
    """`memora.graph_db.Neo4jGraphInterface` opens a store of the test."""
    async with AsyncExitStack() as stack:
        if request.param == "neo4j":
            server: Neo4jServer = request.getfixturevalue("neo4j_server")
            substitute = GraphSubstitute(partial(_client_of, server, stack))
        else:
            store = SQLiteGraph(tmp_path / "graph.sqlite3")
            stack.push_async_callback(store.close)
            substitute = GraphSubstitute(partial(_handle_on, store))
        monkeypatch.setattr(memora.graph_db, "Neo4jGraphInterface", substitute)
        yield substitute


def _client_of(server: Neo4jServer, stack: AsyncExitStack) -> BaseGraphDB:
    graph = Neo4jGraphInterface(server.uri, server.username, server.password or "", server.database)
    stack.push_async_callback(graph.close)
    return graph


def _handle_on(store: SQLiteGraph) -> BaseGraphDB:
    """Return a handle that, like a client of a server, does not take the store with it."""
    handle = copy.copy(store)

    async def close() -> None:
        pass

    handle.close = close
    return handle


class Reader:
    """A model that remembers what it was told to find.

    Args:
        provider: Where it answers.
        facts: Statement by a phrase of the message that states it.
        replies: Answer of the assistant by a word of the prompt.
    """

    def __init__(self, provider: Provider, facts: dict[str, str], replies: dict[str, str]) -> None:
        self.facts = facts
        self.replies = replies
        self.contradictions: dict[str, str] = {}
        self.prompts: list[str] = []
        provider.script = self._answer

    def _answer(self, messages: Sequence[dict[str, Any]]) -> Any:
        content = messages[-1]["content"]
        try:
            data = json.loads(content)
        except ValueError:
            self.prompts.append(content)
            return next(reply for word, reply in self.replies.items() if word in content)
        if "new_messages" in data:
            return {"memories": self._found(data["new_messages"])}
        if "candidates" in data:
            return {"verdicts": self._verdicts(data["candidates"], data["existing"])}
        return scripted(messages)

    def _found(self, said: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {
                "memory": fact,
                "msg_source_ids": [message["id"]],
                "memory_type": "fact",
                "importance": 0.5,
            }
            for message in said
            for phrase, fact in self.facts.items()
            if phrase in message["content"]
        ]

    def _verdicts(
        self, candidates: list[dict[str, Any]], existing: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        return [
            {"candidate": new["number"], "verdict": "contradiction", "existing": old["number"]}
            for new in candidates
            for old in existing
            if any(
                after in new["memory"] and before in old["memory"]
                for after, before in self.contradictions.items()
            )
        ]
