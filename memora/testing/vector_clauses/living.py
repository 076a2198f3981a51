"""What a store survives."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from memora.errors import SchemaVersionError
from memora.schema.index import QueryHits
from memora.schema.scope import Scope
from memora.testing.vector_clauses.documents import (
    Clauses,
    OtherEmbedder,
    OtherLexical,
    Reopen,
    document,
    everything,
    find,
    stored,
)
from memora.vector_db.base import BaseVectorDB


class LivingClauses(Clauses):
    """Opening, cancelling, sharing, scanning, stamping."""

    async def test_setup_and_close_may_be_repeated(
        self, vectors: BaseVectorDB, reopen: Reopen, alice: Scope
    ) -> None:
        tea = document("tea", alice)
        await vectors.upsert([tea])
        await vectors.setup()
        assert await stored(vectors, alice.org_id) == [tea.memory_id]
        await vectors.close()
        await vectors.close()
        again = await reopen()
        await again.setup()
        await again.setup()
        assert await stored(again, alice.org_id) == [tea.memory_id]

    async def test_everything_survives_reopening(
        self, vectors: BaseVectorDB, reopen: Reopen, alice: Scope
    ) -> None:
        documents = [document(f"story {i}", alice, tags=(f"t{i}",)) for i in range(40)]
        await vectors.upsert(documents)
        await vectors.upsert([document("retold", alice, memory_id=documents[3].memory_id)])
        await vectors.delete_memory(documents[5].memory_id, alice.org_id, alice.user_id)
        queries = ["story 7", "retold", "story 5"]
        search = (queries, "user", alice.org_id, alice.user_id)
        before, stamp = await vectors.search_memories(*search), await vectors.stamp()
        async with await reopen() as again:
            assert await again.search_memories(*search) == before
            assert await again.stamp() == stamp
            expected = {document.memory_id for document in documents} - {documents[5].memory_id}
            assert await stored(again, alice.org_id) == sorted(expected)

    async def test_b15_cancelled_calls_leave_a_whole_store(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        documents = [document(f"story {i}", alice) for i in range(12)]
        for turns in range(12):
            calls: list[asyncio.Future[Any]] = [
                asyncio.ensure_future(vectors.upsert(documents)),
                asyncio.ensure_future(find(vectors, "story", alice)),
                asyncio.ensure_future(
                    vectors.delete_memory(documents[0].memory_id, alice.org_id, alice.user_id)
                ),
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        await vectors.upsert(documents)
        expected = sorted(document.memory_id for document in documents)
        assert await stored(vectors, alice.org_id) == expected
        assert sorted(everything(await find(vectors, "story", alice))) == expected

    async def test_many_calls_at_once(self, vectors: BaseVectorDB, alice: Scope) -> None:
        documents = [document(f"story {i}", alice) for i in range(48)]
        await asyncio.gather(
            *(vectors.upsert(documents[start : start + 4]) for start in range(0, 48, 4)),
            *(find(vectors, "story", alice) for _ in range(12)),
            *(vectors.scan(limit=10) for _ in range(3)),
        )
        gone = documents[:8]
        await asyncio.gather(
            *(vectors.delete_memory(d.memory_id, alice.org_id, alice.user_id) for d in gone),
            *(vectors.upsert(documents[start : start + 4]) for start in range(8, 48, 4)),
        )
        expected = sorted(document.memory_id for document in documents[8:])
        assert await stored(vectors, alice.org_id) == expected
        assert sorted(everything(await find(vectors, "story", alice))) == expected

    async def test_b33_the_event_loop_is_never_blocked(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        from blockbuster import blockbuster_ctx  # noqa: PLC0415 - for this clause only

        with blockbuster_ctx():
            documents = [document(f"story {i}", alice) for i in range(20)]
            await vectors.setup()
            await vectors.upsert(documents)
            await find(vectors, "story", alice)
            await vectors.scan()
            await vectors.stamp()
            await vectors.delete_memory(documents[0].memory_id, alice.org_id, alice.user_id)
            await vectors.delete_all_user_memories(alice.org_id, alice.user_id)
            await vectors.close()

    async def test_scan_shows_everything_once(self, vectors: BaseVectorDB, alice: Scope) -> None:
        documents = {d.memory_id: d for d in (document(f"s {i}", alice) for i in range(23))}
        await vectors.upsert(list(documents.values()))
        stamp = await vectors.stamp()
        assert stamp is not None
        seen: list[str] = []
        after = None
        while page := await vectors.scan(after=after, limit=5):
            assert len(page) <= 5
            seen += [entry.memory_id for entry in page]
            after = page[-1].memory_id
            for entry in page:
                if entry.org_id == alice.org_id:
                    assert entry.user_id == alice.user_id
                    assert entry.text_hash == documents[entry.memory_id].text_hash
                    assert entry.model_id == stamp.model_id
        assert seen == sorted(set(seen))
        assert documents.keys() <= set(seen)

    async def test_scan_goes_on_after_an_id_that_is_gone(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        documents = [document(f"s {i}", alice) for i in range(3)]
        await vectors.upsert(documents)
        first, second, third = sorted(document.memory_id for document in documents)
        await vectors.delete_memory(second, alice.org_id, alice.user_id)
        rest = await vectors.scan(after=second)
        assert third in [entry.memory_id for entry in rest]
        assert first not in [entry.memory_id for entry in rest]

    @pytest.mark.parametrize("other", ["model", "dimensions", "recipe"])
    async def test_b23_a_store_of_another_model_is_refused(
        self, vectors: BaseVectorDB, reopen: Reopen, alice: Scope, other: str
    ) -> None:
        tea = document("tea", alice)
        await vectors.upsert([tea])
        stamp = await vectors.stamp()
        assert stamp is not None
        different: dict[str, dict[str, Any]] = {
            "model": {"embedder": OtherEmbedder("another/model", stamp.dimensions)},
            "dimensions": {"embedder": OtherEmbedder(stamp.model_id, stamp.dimensions + 1)},
            "recipe": {"lexical": OtherLexical()},
        }
        stranger = await reopen(**different[other])
        with pytest.raises(SchemaVersionError):
            await stranger.setup()
        await stranger.close()
        async with await reopen() as again:
            assert await again.stamp() == stamp
            assert await stored(again, alice.org_id) == [tea.memory_id]

    async def test_clear_starts_again_with_this_objects_model(
        self, vectors: BaseVectorDB, reopen: Reopen, alice: Scope
    ) -> None:
        stamp = await vectors.stamp()
        assert stamp is not None
        await vectors.upsert([document("tea", alice)])
        other = await reopen(embedder=OtherEmbedder("another/model", 5))
        await other.clear()
        assert await stored(other, alice.org_id) == []
        found = await other.stamp()
        assert found is not None
        assert (found.model_id, found.dimensions) == ("another/model", 5)
        await other.upsert([document("tea", alice)])
        assert len(await stored(other, alice.org_id)) == 1
        await other.close()
        again = await reopen()
        await again.clear()
        assert await again.stamp() == stamp
        assert await find(again, "tea", alice) == QueryHits()
        await again.close()
