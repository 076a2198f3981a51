"""Stores of the same memories under other ids give the same ranking."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from qdrant_client import AsyncQdrantClient

from memora import Memora, RankingConfig
from memora.embeddings import HashingEmbedder
from memora.graph_db.neo4j.interface import Neo4jGraphInterface
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.schema.models import Memory
from memora.schema.ranking import Fusion
from memora.testing.clocks import FrozenClock
from memora.vector_db import EmbeddedVectorDB, QdrantDB
from tests.neo4j_server.process import Neo4jServer

MAY = datetime(2025, 5, 1, 9, tzinfo=UTC)
# Engines add up in another order; scaled to 0..1 that is less than this.
NOISE = 1e-4
# More memories than a list has candidates, names with more of them than a hop follows, and hits
# that mention more names than a hop follows.
NAMES = ["Anna", "Bela", "Cleo", "Dora", "Elsa", "Fred", "Gina", "Hans"]
PEOPLE = [f"{name} Berg" for name in NAMES]
PLACES = ["Lisbon", "Oslo", "Porto", "Quito", "Tallinn", "Lima", "Osaka", "Bergen", "Vienna"]
THINGS = ["green tea", "old books", "loud music", "long walks"]
QUESTIONS = ["Who likes green tea?", "What does Anna Berg like?", "likes", "music in Oslo or Lima"]
RANKINGS = [
    RankingConfig(),
    RankingConfig(entity_weight=0.3),
    RankingConfig(entity_weight=0.3, entity_hops=2),
    RankingConfig(entity_weight=0.3, fusion=Fusion.RRF),
    RankingConfig(diversity=0.3),
]


class RandomIds:
    """Ids that are the same in every run with a seed, and in another order with another one."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def short(self) -> str:
        return f"{self._random.getrandbits(64):016x}"

    def memory(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))


def said() -> list[str]:
    texts = [
        f"I heard that {person} likes {thing} in {place}."
        for person, place, thing in itertools.product(PEOPLE, PLACES, THINGS)
    ]
    return Random(7).sample(texts, len(texts))


@asynccontextmanager
async def embedded(folder: Path, seed: int) -> AsyncIterator[Memora]:
    graph = SQLiteGraph(folder / "graph.sqlite3", clock=FrozenClock(), ids=RandomIds(seed))
    vectors = EmbeddedVectorDB(folder / "vectors", embedder=HashingEmbedder())
    async with Memora(vectors, graph) as memora:
        yield memora


@asynccontextmanager
async def on_servers(server: Neo4jServer, seed: int) -> AsyncIterator[Memora]:
    graph = Neo4jGraphInterface(
        server.uri,
        server.username,
        str(server.password),
        server.database,
        clock=FrozenClock(),
        ids=RandomIds(seed),
    )
    client = AsyncQdrantClient(":memory:")
    async with Memora(QdrantDB(client, "ties", embedder=HashingEmbedder()), graph) as memora:
        yield memora
    await client.close()


async def answers(memora: Memora) -> list[list[Memory]]:
    org_id = f"ties-{uuid.uuid4().hex}"
    await memora.for_user("jake", org_id=org_id).ensure()
    texts = said()
    for session in range(3):
        await memora.save_or_update_interaction_and_memories(
            org_id,
            "jake",
            interaction=[{"role": "user", "content": text} for text in texts[session::3]],
            current_datetime=MAY + timedelta(days=session),
        )
    found: list[list[Memory]] = []
    for question, ranking in itertools.product(QUESTIONS, RANKINGS):
        memories, _ids = await memora.recall_memories_for_message(
            org_id, "jake", question, ranking=ranking, limit=40
        )
        found.append(memories)
    await memora.graph.delete_organization(org_id)
    return found


def assert_same_ranking(one: list[list[Memory]], other: list[list[Memory]]) -> None:
    """Assert that each place has what the other answer has there, or what ties with that."""
    for mine, theirs in zip(one, other, strict=True):
        assert len(mine) == len(theirs) == 40
        scores = {memory.memory: memory.score for memory in mine}
        for here, there in zip(mine, theirs, strict=True):
            assert there.score == pytest.approx(here.score, abs=NOISE)
            assert there.score == pytest.approx(scores.get(there.memory, mine[-1].score), abs=NOISE)
    orders = [[[memory.memory for memory in found] for found in each] for each in (one, other)]
    same = sum(a == b for a, b in zip(*orders, strict=True))
    assert same >= len(one) - 2


async def test_ids_decide_nothing_that_another_store_decides_otherwise(tmp_path: Path) -> None:
    found: list[list[list[Memory]]] = []
    for seed in (1, 2):
        async with embedded(tmp_path / str(seed), seed) as memora:
            found.append(await answers(memora))
    assert_same_ranking(*found)


@pytest.mark.neo4j
@pytest.mark.timeout(300)
async def test_neo4j_and_qdrant_rank_as_the_embedded_pair(
    tmp_path: Path, neo4j_server: Neo4jServer
) -> None:
    async with embedded(tmp_path, 1) as memora:
        expected = await answers(memora)
    async with on_servers(neo4j_server, 2) as memora:
        assert_same_ranking(expected, await answers(memora))
