"""The same scripted run on every pair of stores gives the same public results."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import AsyncQdrantClient

from memora import Memora
from memora.embeddings import HashingEmbedder
from memora.errors import MemoraError, VectorDBConnectionError, VectorDBError
from memora.graph_db.base import BaseGraphDB, MemoryListing
from memora.graph_db.neo4j.interface import Neo4jGraphInterface
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.schema.index import IndexDocument
from memora.schema.scope import Scope
from memora.testing.clocks import FrozenClock, SequentialIds
from memora.testing.fakes import Answer, Call, OutageError, ScriptedBackendLLM
from memora.vector_db import EmbeddedVectorDB, QdrantDB
from memora.vector_db.base import BaseVectorDB
from tests.neo4j_server.process import Neo4jServer

MAY = datetime(2025, 5, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)


def script(call: Call) -> Answer:
    """Hears "X is Y" as a statement; a newer one about the same X contradicts the older."""
    if call.schema == "MemoryExtractionResponse":
        memories: list[dict[str, Any]] = []
        for message in call.data["new_messages"]:
            if message["content"] == "crash":
                return OutageError()
            if message["role"] == "user" and " is " in message["content"]:
                memories.append(
                    {
                        "memory": f"[[user]] says {message['content']}",
                        "msg_source_ids": [message["id"]],
                        "memory_type": "preference",
                        "importance": 0.6,
                    }
                )
        return {"memories": memories}
    if call.schema == "MemoryComparisonResponse":
        verdicts: list[dict[str, Any]] = []
        for candidate in call.data["candidates"]:
            subject = candidate["memory"].split(" is ")[0]
            same = [m for m in call.data["existing"] if m["memory"].split(" is ")[0] == subject]
            verdicts.append(
                {
                    "candidate": candidate["number"],
                    "verdict": "contradiction" if same else "new",
                    "existing": same[0]["number"] if same else None,
                }
            )
        return {"verdicts": verdicts}
    if call.schema == "SearchQueries":
        return {"queries": [call.data["latest_message"]]}
    return {"relevant": []}


@asynccontextmanager
async def pair(
    graph: str, vectors: str, folder: Path, server: Neo4jServer | None, *, models: bool = True
) -> AsyncIterator[Memora]:
    clock = FrozenClock(step=timedelta(milliseconds=1))
    # One server is shared by all runs: ids of this run lie in a range of their own, which has the
    # same length everywhere, so that ties sort alike.
    ids = SequentialIds("pair-")
    graph_db: BaseGraphDB
    if graph == "sqlite":
        graph_db = SQLiteGraph(folder / "graph.sqlite3", clock=clock, ids=ids)
    else:
        assert server is not None
        graph_db = Neo4jGraphInterface(
            server.uri, server.username, str(server.password), server.database, clock=clock, ids=ids
        )
    vector_db: BaseVectorDB
    if vectors == "embedded":
        vector_db = EmbeddedVectorDB(folder / "vectors", embedder=HashingEmbedder())
        client = None
    else:
        client = AsyncQdrantClient(":memory:")
        vector_db = QdrantDB(client, "pair", embedder=HashingEmbedder())
    model = ScriptedBackendLLM(script) if models else None
    try:
        async with Memora(vector_db, graph_db, None, model) as memora:
            yield memora
    finally:
        if client is not None:
            await client.close()


def plain(value: Any) -> Any:
    """Return public results as JSON-like values; of scores only the order is in them."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return value


async def play(memora: Memora, org_id: str) -> list[Any]:
    """Play the whole scenario and return everything that a caller sees."""
    seen: list[Any] = []
    graph = memora.graph

    async def note(call: Any) -> Any:
        try:
            result = await call
        except MemoraError as error:
            seen.append([type(error).__name__, str(error)])
            return None
        seen.append(plain(result))
        return result

    await note(graph.create_organization("Acme", org_id=org_id))
    await note(graph.create_user(org_id, "Jake", user_id="jake"))
    await note(graph.create_user(org_id, "Ann", user_id="ann"))
    agent = await note(graph.create_agent(org_id, "Jenny", agent_id="jenny"))

    def talk(*texts: str) -> list[dict[str, str]]:
        return [
            message
            for text in texts
            for message in (
                {"role": "user", "content": text},
                {"role": "assistant", "content": "ok"},
            )
        ]

    async def save(user: str, *texts: str, at: datetime = MAY, **options: Any) -> Any:
        return await note(
            memora.save_or_update_interaction_and_memories(
                org_id, user, interaction=talk(*texts), current_datetime=at, **options
            )
        )

    first = await save("jake", "the sky is blue", "tea is good", agent_id=agent.agent_id)
    await save("jake", "the sky is grey", at=MAY + 2 * DAY)
    await save("jake", "the sky is pink", at=MAY + DAY)
    await save("ann", "the sky is black")
    await save("jake", "the sky is blue", "tea is awful", interaction_id=first[0])
    await save("jake", "the sky is blue", "tea is awful", interaction_id=first[0])
    await save("jake", "keyed is kept", idempotency_key="k")
    await save("jake", "keyed is kept", idempotency_key="k")
    await save("jake", "keyed is other", idempotency_key="k")
    await save("jake", "stale", interaction_id=first[0], expected_revision=1)
    await save("jake", "crash")
    await save("jake", "x", interaction_id="missing")
    await save("nobody", "x")
    await note(graph.get_interaction(org_id, "jake", first[0]))
    await note(graph.get_all_user_interactions(org_id, "jake"))
    memories = await note(graph.get_all_user_memories(org_id, "jake"))
    for memory in memories:
        await note(memora.memory_history(org_id, "jake", memory.memory_id))
        await note(memora.memory_history(org_id, "ann", memory.memory_id))
    for question in ("what colour is the sky", "is tea good", "keyed"):
        await note(memora.recall_memories_for_message(org_id, "jake", question))
        await note(memora.recall_memories_for_message(org_id, "jake", question, as_of=MAY))
        await note(
            memora.search_memories_as_batch(
                org_id, [question, "zzz"], memory_search_scope="organization"
            )
        )
    head = memories[0]
    await note(memora.update_memory(org_id, "jake", head.memory_id, "the sky is green"))
    await note(memora.retract_memory(org_id, "jake", head.memory_id))
    await note(memora.revert_memory(org_id, "jake", head.memory_id))
    await note(memora.delete_memory(org_id, "jake", head.memory_id))
    await note(memora.delete_memory(org_id, "jake", head.memory_id))
    await note(graph.update_user(org_id, "jake", "Jay"))
    await note(graph.get_all_user_memories(org_id, "jake"))
    await note(graph.delete_agent(org_id, "jenny"))
    await note(graph.get_interaction(org_id, "jake", first[0]))
    await note(graph.delete_user_interaction_and_its_memories(org_id, "jake", first[0]))
    await note(graph.get_all_user_memories(org_id, "jake"))
    await note(memora.recall_memories_for_message(org_id, "jake", "sky tea"))
    await note(graph.delete_user(org_id, "jake"))
    await note(graph.get_all_user_memories(org_id, "jake"))
    await note(memora.recall_memories_for_message(org_id, "ann", "sky"))
    counts = await graph.delete_organization(org_id)
    seen.append(plain(replace(counts, outbox_entries=0)))
    await note(graph.get_organization(org_id))
    findings = [f for f in (await memora.doctor()).findings if f.record_id.startswith(org_id)]
    assert findings == []
    return seen


@pytest.fixture(scope="module")
def org_id() -> str:
    """An organization of this run, the same on both pairs."""
    return f"pair-{uuid.uuid4().hex}"


async def test_sqlite_with_local_qdrant_equals_the_embedded_pair(
    tmp_path: Path, org_id: str
) -> None:
    async with pair("sqlite", "embedded", tmp_path / "a", None) as memora:
        expected = await play(memora, org_id)
    async with pair("sqlite", "qdrant", tmp_path / "b", None) as memora:
        found = await play(memora, org_id)
    assert found == expected
    assert len(expected) > 50


@pytest.mark.neo4j
@pytest.mark.timeout(300)
@pytest.mark.parametrize("vectors", ["qdrant", "embedded"])
async def test_neo4j_equals_the_embedded_pair(
    tmp_path: Path, org_id: str, vectors: str, neo4j_server: Neo4jServer
) -> None:
    async with pair("sqlite", "embedded", tmp_path / "a", None) as memora:
        expected = await play(memora, org_id)
    async with pair("neo4j", vectors, tmp_path / "b", neo4j_server) as memora:
        found = await play(memora, org_id)
    assert found == expected


async def forget(memora: Memora, org_id: str) -> list[Any]:
    """Add at once, let expire, disuse and sweep; return what a caller sees on the way."""
    handle = memora.for_user("jake", org_id=org_id)
    now = memora.graph.clock.now()
    await handle.ensure()
    receipts = await asyncio.gather(*(handle.add_memory("Tea is fine.") for _ in range(8)))
    seen: list[Any] = [len({receipt.id for receipt in receipts})]
    await handle.add_memory("Gone soon.", expires_at=now + timedelta(days=1))
    await handle.add_memory("Short.", memory_type="short_term")
    await handle.add_memory("Kept.", pinned=True, obtained_at=now - timedelta(days=90))
    clock = memora.graph.clock
    assert isinstance(clock, FrozenClock)
    for days in (0, 1, 6, 23):
        clock.advance(timedelta(days=days))
        listed = await memora.list_memories(org_id)
        found = await handle.search_memories_as_one(["tea short gone kept"]) if days < 2 else []
        seen.append(sorted(memory.memory for memory in listed))
        seen.append(sorted(memory.memory for memory in found))
    await memora.drain_outbox()
    clock.advance(timedelta(days=8))
    dry = await memora.sweep(org_id, dry_run=True)
    swept = await memora.sweep(org_id, batch_size=1)
    again = await memora.sweep(org_id)
    seen += [(sweep.expired, sweep.archived) for sweep in (dry, swept, again)]
    archived = await handle.list_memories(filters={"include_archived": True})
    seen.append(sorted((memory.memory, memory.archived) for memory in archived))
    health = await handle.memory_health(sample=0)
    seen.append((health.by_status, health.by_type, health.pinned, health.unused, health.ages))
    assert health.index_pending == 0
    scope = Scope(org_id, "jake")
    stored = await memora.graph.list_memories(scope, MemoryListing(current_only=False))
    seen.append(len(stored) == await memora.vector_db.count(scope))
    return seen


@pytest.mark.parametrize("graph", ["sqlite", pytest.param("neo4j", marks=pytest.mark.neo4j)])
@pytest.mark.timeout(120)
async def test_forgetting_is_the_same_on_every_pair(
    request: pytest.FixtureRequest, tmp_path: Path, org_id: str, graph: str
) -> None:
    server: Neo4jServer | None = None
    if graph == "neo4j":
        server = request.getfixturevalue("neo4j_server")
    async with pair(graph, "embedded", tmp_path / "a", server, models=False) as memora:
        seen = await forget(memora, org_id)
    kept, tea = "Kept.", "Tea is fine."
    assert seen == [
        1,
        *[["Gone soon.", kept, "Short.", tea]] * 2,
        *[[kept, "Short.", tea]] * 2,
        [kept, tea], [],
        [kept, tea], [],
        (2, 1), (2, 1), (0, 0),
        [(kept, False), (tea, True)],
        (
            {"current": 1, "archived": 1, "expired": 0, "past": 0},
            {"fact": 1}, 1, 0,
            {"1d": 0, "7d": 0, "30d": 0, "365d": 1, "older": 0},
        ),
        True,
    ]  # fmt: skip


class Failing(EmbeddedVectorDB):
    """A vector store that is down for a while, before or after it applied a write."""

    down = ""

    async def remove_user(self, org_id: str, user_id: str) -> None:
        if self.down == "before":
            raise VectorDBConnectionError("embedded", "down")
        await super().remove_user(org_id, user_id)

    async def remove_organization(self, org_id: str) -> None:
        if self.down == "before":
            raise VectorDBConnectionError("embedded", "down")
        await super().remove_organization(org_id)

    async def upsert(self, documents: list[IndexDocument]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self.down == "before":
            raise VectorDBError("embedded", "down")
        await super().upsert(documents)
        if self.down == "after":
            raise VectorDBError("embedded", "answer lost")


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_b18_a_vector_failure_between_commit_and_drain_only_delays(
    tmp_path: Path, moment: str
) -> None:
    clock = FrozenClock(step=timedelta(milliseconds=1))
    vectors = Failing(tmp_path / "vectors", embedder=HashingEmbedder())
    graph = SQLiteGraph(tmp_path / "graph.sqlite3", clock=clock)
    async with Memora(vectors, graph) as memora:
        user = memora.for_user("jake")
        vectors.down = moment
        await user.save([{"role": "user", "content": "I like tea."}])
        assert [memory.memory for memory in await user.memories()] == ["I like tea."]
        assert (await memora.graph.outbox_status()).pending == 1
        vectors.down = ""
        clock.advance(timedelta(minutes=10))
        report = await memora.drain_outbox()
        assert (report.applied, report.failed) == (1, 0)
        assert [memory.memory for memory in await user.recall("tea")] == ["I like tea."]
        assert (await memora.doctor()).clean


@pytest.mark.parametrize("erased", ["user", "organization"])
async def test_b83_vectors_that_a_waiting_drop_removes_are_no_orphans(
    tmp_path: Path, erased: str
) -> None:
    """I6 is broken by a vector that nobody will remove, not by one that is about to go."""
    clock = FrozenClock()
    vectors = Failing(tmp_path / "vectors", embedder=HashingEmbedder())
    async with Memora(vectors, SQLiteGraph(tmp_path / "graph.sqlite3", clock=clock)) as memora:
        user = memora.for_user("jake")
        await user.save([{"role": "user", "content": "I like tea."}])
        vectors.down = "before"
        if erased == "user":
            await memora.graph.delete_user("default", "jake")
        else:
            await memora.graph.delete_organization("default")
        diagnosis = await memora.doctor()
        assert (diagnosis.clean, diagnosis.vectors, diagnosis.pending) == (True, 1, 1)
        vectors.down = ""
        clock.advance(timedelta(minutes=10))
        assert (await memora.drain_outbox()).applied == 1
        assert (await memora.doctor()).vectors == 0
