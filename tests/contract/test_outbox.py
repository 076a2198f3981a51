"""Draining: order, failures, and leases that were lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from memora.core.hashing import content_hash
from memora.embeddings import HashingEmbedder
from memora.errors import VectorDBConnectionError, VectorDBError
from memora.graph_db.outbox import LEASE, MAX_ATTEMPTS, drain
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.schema.index import IndexDocument
from memora.schema.scope import Scope
from memora.schema.write_plan import MemoryWrite, WritePlan
from memora.testing.clocks import FrozenClock
from memora.vector_db import EmbeddedVectorDB


class Moody(EmbeddedVectorDB):
    """An embedded vector store that refuses some memories, or everything."""

    refused: frozenset[str] = frozenset()
    unreachable = False
    upserts = 0

    async def upsert(self, documents: Sequence[IndexDocument]) -> None:
        self.upserts += 1
        if self.unreachable:
            raise VectorDBConnectionError("embedded", "out of reach")
        if any(document.memory_id in self.refused for document in documents):
            raise VectorDBError("embedded", "will never work")
        await super().upsert(documents)


@pytest.fixture
async def graph(tmp_path: Path, clock: FrozenClock) -> AsyncIterator[SQLiteGraph]:
    async with SQLiteGraph(tmp_path / "graph.sqlite3", clock=clock) as graph:
        await graph.create_organization("o", org_id="o")
        for user in ("u", "v"):
            await graph.create_user("o", user, user_id=user)
        yield graph


@pytest.fixture
async def vectors(tmp_path: Path) -> AsyncIterator[Moody]:
    async with Moody(tmp_path / "vectors", embedder=HashingEmbedder()) as vectors:
        yield vectors


async def remember(graph: SQLiteGraph, text: str, user: str = "u") -> str:
    memory_id = graph.ids.memory()
    now = graph.clock.now()
    write = MemoryWrite(memory_id, text, now, memory_id, content_hash(text))
    await graph.apply(WritePlan(Scope("o", user), now, memories=(write,)))
    return memory_id


async def stored(vectors: Moody) -> set[str]:
    return {entry.memory_id for entry in await vectors.scan()}


async def test_one_bad_entry_does_not_hold_up_the_others(
    graph: SQLiteGraph, vectors: Moody, clock: FrozenClock
) -> None:
    ids = [await remember(graph, f"text {number}") for number in range(4)]
    vectors.refused = frozenset({ids[1]})
    report = await drain(graph, vectors, clock.now())
    assert (report.applied, report.failed) == (3, 1)
    assert await stored(vectors) == {ids[0], ids[2], ids[3]}
    (left,) = await graph.list_outbox()
    assert left.memory_ids == (ids[1],)
    assert left.error == "VectorDBError: embedded: will never work"
    for _try in range(MAX_ATTEMPTS):
        clock.advance(timedelta(minutes=30))
        await drain(graph, vectors, clock.now())
    assert (await graph.outbox_status()).dead == 1
    vectors.refused = frozenset()
    assert await graph.retry_outbox(clock.now()) == 1
    assert (await drain(graph, vectors, clock.now())).applied == 1
    assert await stored(vectors) == set(ids)


async def test_an_outage_is_waited_for_and_never_given_up(
    graph: SQLiteGraph, vectors: Moody, clock: FrozenClock
) -> None:
    ids = {await remember(graph, f"text {number}") for number in range(3)}
    vectors.unreachable = True
    for _try in range(MAX_ATTEMPTS + 5):
        await drain(graph, vectors, clock.now())
        clock.advance(timedelta(minutes=30))
    status = await graph.outbox_status()
    assert (status.pending, status.dead) == (3, 0)
    vectors.unreachable = False
    await drain(graph, vectors, clock.now())
    assert await stored(vectors) == ids


async def test_a_failed_entry_waits_before_the_next_try(
    graph: SQLiteGraph, vectors: Moody, clock: FrozenClock
) -> None:
    await remember(graph, "text")
    vectors.unreachable = True
    await drain(graph, vectors, clock.now())
    tried = vectors.upserts
    await drain(graph, vectors, clock.now())
    assert vectors.upserts == tried


async def test_b17_a_memory_deleted_before_the_drain_gets_no_vector(
    graph: SQLiteGraph, vectors: Moody, clock: FrozenClock
) -> None:
    gone = await remember(graph, "gone")
    kept = await remember(graph, "kept")
    await graph.delete_user_memory("o", "u", gone)
    await drain(graph, vectors, clock.now())
    assert await stored(vectors) == {kept}


async def test_what_a_slow_worker_wrote_too_late_is_put_right(
    graph: SQLiteGraph, vectors: Moody, clock: FrozenClock
) -> None:
    memory_id = await remember(graph, "text")
    now = clock.now()
    slow = await graph.claim_outbox(now=now, lease_until=now + LEASE, limit=10)
    documents = await graph.read_index_documents(Scope("o", "u"), slow[0].memory_ids)
    clock.advance(2 * LEASE)
    await graph.delete_user_memory("o", "u", memory_id)
    await drain(graph, vectors, clock.now())
    await vectors.upsert(documents)
    assert await stored(vectors) == {memory_id}
    lost = await graph.ack_outbox(slow)
    assert [entry.seq for entry in lost] == [slow[0].seq]
    for entry in lost:
        await graph.enqueue_sync(Scope("o", "u"), entry.memory_ids, clock.now())
    await drain(graph, vectors, clock.now())
    assert await stored(vectors) == set()


async def test_b83_a_deleted_user_is_dropped_after_what_was_queued(
    graph: SQLiteGraph, vectors: Moody, clock: FrozenClock
) -> None:
    await remember(graph, "mine")
    other = await remember(graph, "theirs", user="v")
    await drain(graph, vectors, clock.now())
    await remember(graph, "queued")
    await graph.delete_user("o", "u")
    await drain(graph, vectors, clock.now())
    assert await stored(vectors) == {other}
    await graph.create_user("o", "u", user_id="u")
    again = await remember(graph, "again")
    await drain(graph, vectors, clock.now())
    assert await stored(vectors) == {other, again}


async def test_b15_a_drain_that_is_cancelled_leaves_nothing_leased(
    graph: SQLiteGraph, vectors: Moody
) -> None:
    """Wherever it was, also while it claimed: the next one waits for no lease."""
    for steps in range(60):
        await remember(graph, f"Tea number {steps}.")
        draining = asyncio.create_task(drain(graph, vectors, graph.clock.now()))
        for _ in range(steps):
            await asyncio.sleep(0)
        draining.cancel()
        await asyncio.wait([draining])
        await drain(graph, vectors, graph.clock.now())
        assert await graph.list_outbox() == [], steps
