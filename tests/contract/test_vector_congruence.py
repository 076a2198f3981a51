"""Every vector backend gives the same ids, in the same order, with the same scores."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from qdrant_client import AsyncQdrantClient

from memora.core.filters import AnyOf, Condition, Range
from memora.core.ids import RandomIds
from memora.embeddings.hashing import HashingEmbedder
from memora.schema.index import IndexDocument, QueryHits
from memora.schema.scope import Scope
from memora.testing.vector_clauses.documents import document
from memora.vector_db import BaseVectorDB, EmbeddedVectorDB, QdrantDB
from tests.attach import QdrantServer

SEED = 20260314
TOLERANCE = 1e-4
START = datetime(2025, 1, 1, tzinfo=UTC)
SUBJECTS = ["I", "my sister", "the neighbour", "our dog", "Jake", "grandmother"]
VERBS = ["drinks", "forgot", "bought", "hates", "loves", "painted", "repaired", "lost"]
OBJECTS = [
    "green tea",
    "the old car",
    "a red bicycle",
    "two concert tickets",
    "the garden fence",
    "a cake",
]
PLACES = ["in Lisbon", "at work", "on Sunday", "after lunch", "in the rain", "last summer"]
FILTERS: list[tuple[Condition, ...]] = [
    (),
    (AnyOf("tags", ("even",)),),
    (Range("importance", gte=0.3, lt=0.8), AnyOf("memory_type", ("fact", "rule"))),
    (Range("obtained_at", gt=(START + timedelta(days=60)).timestamp()),),
]


def corpus(org_id: str) -> list[IndexDocument]:
    """300 statements of three users and two agents; some twice, some rare, some without a word."""
    rng = random.Random(SEED)
    documents: list[IndexDocument] = []
    for i in range(300):
        words = " ".join(rng.choice(part) for part in (SUBJECTS, VERBS, OBJECTS, PLACES))
        text = {0: "!?", 1: "The same sentence, again"}.get(i % 50, f"{words} {'again ' * (i % 4)}")
        documents.append(
            document(
                text,
                Scope(org_id, rng.choice(["ann", "bo", "cy"]), rng.choice([None, "a", "b"])),
                memory_id=str(UUID(int=rng.getrandbits(128))),
                memory_type=rng.choice(["fact", "rule", "event"]),
                importance=round(rng.random(), 2),
                tags=("even",) if i % 2 == 0 else ("odd", "more"),
                obtained_at=START + timedelta(days=i),
            )
        )
    return documents


QUERIES = [
    "Who drinks green tea?",
    "the same sentence",
    "lost tickets after lunch on Sunday",
    "dogs repairing fences",
    "again",
    "…",
    "Lisbon",
    "nothing of the kind xyzzy",
]


@pytest.fixture
def org_id() -> str:
    return RandomIds().short()


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[AsyncExitStack]:
    """What is closed before the folder of the test is deleted."""
    del tmp_path
    async with AsyncExitStack() as stack:
        yield stack


async def embedded(stack: AsyncExitStack, path: Path) -> BaseVectorDB:
    return await stack.enter_async_context(EmbeddedVectorDB(path, embedder=HashingEmbedder(64)))


async def qdrant(stack: AsyncExitStack, org_id: str, **server: Any) -> BaseVectorDB:
    client = AsyncQdrantClient(**server)
    stack.push_async_callback(client.close)
    store = QdrantDB(client, f"memora_test_{org_id}", embedder=HashingEmbedder(64))
    stack.push_async_callback(client.delete_collection, store.collection_name)
    return await stack.enter_async_context(store)


async def answers(store: BaseVectorDB, org_id: str) -> list[QueryHits]:
    """Everything that a few hundred searches give, after writes, changes and deletes."""
    documents = corpus(org_id)
    await store.upsert(documents)
    await store.upsert(documents[:20])
    gone = [d.memory_id for d in documents if d.user_id == "cy"][:5]
    await store.delete_memories(gone, org_id, "cy")
    found: list[QueryHits] = []
    for conditions in FILTERS:
        for user, agent, limit in (("ann", None, 50), ("bo", "a", 7), ("cy", None, 1000)):
            found += await store.search_memories(
                QUERIES, "user", org_id, user, agent, limit=limit, conditions=conditions
            )
        found += await store.search_memories(
            QUERIES, "organization", org_id, limit=40, conditions=conditions
        )
    return found


def assert_congruent(one: list[QueryHits], other: list[QueryHits]) -> None:
    assert len(one) == len(other)
    compared = 0
    for left, right in zip(one, other, strict=True):
        for mine, theirs in ((left.dense, right.dense), (left.lexical, right.lexical)):
            assert [hit.memory_id for hit in mine] == [hit.memory_id for hit in theirs]
            assert [hit.score for hit in mine] == pytest.approx(
                [hit.score for hit in theirs], abs=TOLERANCE
            )
            compared += len(mine)
    assert compared > 4000


@pytest.mark.timeout(60)
async def test_edge_and_local_mode(stack: AsyncExitStack, tmp_path: Path, org_id: str) -> None:
    local = await qdrant(stack, org_id, location=":memory:")
    edge = await embedded(stack, tmp_path)
    assert_congruent(await answers(edge, org_id), await answers(local, org_id))


async def test_edge_after_a_rewrite_and_reopening(tmp_path: Path, org_id: str) -> None:
    async with AsyncExitStack() as stack:
        first = await answers(await embedded(stack, tmp_path), org_id)
    async with EmbeddedVectorDB(tmp_path, embedder=HashingEmbedder(64)) as store:
        await store.rewrite()
        assert await answers(store, org_id) == first


async def test_edge_and_a_server(
    stack: AsyncExitStack, tmp_path: Path, org_id: str, qdrant_server: QdrantServer
) -> None:
    server = await qdrant(stack, org_id, url=qdrant_server.url, api_key=qdrant_server.api_key)
    edge = await embedded(stack, tmp_path)
    assert_congruent(await answers(edge, org_id), await answers(server, org_id))
