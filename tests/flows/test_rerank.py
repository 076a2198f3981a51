"""A reranker has the last word on the order, and costs nothing but its help when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from memora import Memora
from memora.embeddings import HashingEmbedder
from memora.errors import InvalidInputError, RerankConnectionError, RerankError
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.rerankers import BaseReranker
from memora.vector_db.embedded import EmbeddedVectorDB

SAID = ["Tea is what I drink.", "I drink coffee on Sundays.", "My car is red.", "We drink tea."]


class Scripted(BaseReranker):
    """Scores by a function, and remembers what it was shown."""

    def __init__(self, score: Callable[[str], float], error: RerankError | None = None) -> None:
        self.score = score
        self.error = error
        self.shown: list[list[str]] = []
        self.closed = 0

    @property
    def model_id(self) -> str:
        return "scripted"

    async def _score(self, query: str, texts: list[str]) -> list[float]:
        self.shown.append(texts)
        if self.error is not None:
            raise self.error
        return [self.score(text) for text in texts]

    async def close(self) -> None:
        self.closed += 1


class Silent(Scripted):
    async def _score(self, query: str, texts: list[str]) -> list[float]:
        self.shown.append(texts)
        await asyncio.Event().wait()
        return []


@pytest.fixture
async def engines(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Memora]]]:
    async with AsyncExitStack() as stack:

        async def opened(reranker: BaseReranker | None, rerank_candidates: int = 50) -> Memora:
            vectors = EmbeddedVectorDB(tmp_path / "vectors", embedder=HashingEmbedder())
            memora = Memora(
                vectors,
                SQLiteGraph(tmp_path / "graph.sqlite3"),
                reranker=reranker,
                rerank_candidates=rerank_candidates,
            )
            await stack.enter_async_context(memora)
            await memora.for_user("jake").save([{"role": "user", "content": t} for t in SAID])
            return memora

        yield opened


def by_length(text: str) -> float:
    return -float(len(text))


async def test_the_reranker_decides_the_order_among_more_than_asked_for(engines) -> None:
    reranker = Scripted(lambda text: float("car" in text))
    memora = await engines(reranker)
    ((found,), _ids) = await memora.for_user("jake").recall_memories_for_message(
        "drink tea", limit=1, explain=True
    )
    assert found.memory == "My car is red."
    assert found.score == 1.0
    assert found.score_parts["rerank"] == 1.0
    assert found.score_parts["search"] < 1.0
    assert len(reranker.shown[0]) == len(SAID)
    assert all(text.endswith(")") for text in reranker.shown[0])


async def test_of_equal_scores_the_newest_is_first(engines) -> None:
    memora = await engines(Scripted(lambda _text: 0.5))
    found = await memora.for_user("jake").recall("drink tea")
    order = [(-m.obtained_at.timestamp(), m.content_hash, m.memory_id) for m in found]
    assert order == sorted(order)
    assert len(order) == len(SAID)


async def test_it_reads_as_many_as_the_setting_says(engines) -> None:
    reranker = Scripted(by_length)
    memora = await engines(reranker, rerank_candidates=2)
    assert len(await memora.for_user("jake").recall("drink tea", limit=1)) == 1
    assert [len(shown) for shown in reranker.shown] == [2]


async def test_one_that_fails_leaves_the_order_of_the_search(engines, caplog) -> None:
    failing = Scripted(by_length, RerankConnectionError("scripted", "is down"))
    memora = await engines(failing)
    found = await memora.for_user("jake").recall("drink tea", limit=2)
    memora._ports = memora._ports.__class__(memora.graph, memora.vector_db)
    assert found == await memora.for_user("jake").recall("drink tea", limit=2)
    assert "not reranked: RerankConnectionError" in caplog.text
    assert "tea" not in caplog.text


async def test_one_that_is_late_is_skipped(engines) -> None:
    silent = Silent(by_length)
    memora = await engines(silent)
    found, _ids = await memora.for_user("jake").recall_memories_for_message(
        "drink tea", limit=2, deadline_ms=150
    )
    assert len(found) == 2
    assert len(silent.shown) == 1


async def test_it_is_closed_with_the_engine(engines) -> None:
    reranker = Scripted(by_length)
    memora = await engines(reranker)
    await memora.close()
    assert reranker.closed == 1


async def test_candidates_are_checked(engines) -> None:
    with pytest.raises(InvalidInputError, match="rerank_candidates"):
        await engines(Scripted(by_length), rerank_candidates=0)
