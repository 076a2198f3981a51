"""How a store gets a new index beside the one in use."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from numpy.typing import NDArray

from memora.core import indexing
from memora.embeddings.base import BaseEmbedder, Kind
from memora.errors import (
    EmbeddingError,
    RebuildRunningError,
    RetryableError,
    SchemaVersionError,
    VectorDBError,
)
from memora.schema.index import IndexDocument, IndexStamp, QueryHits
from memora.schema.scope import OrganizationScope, Scope
from memora.testing.vector_clauses.documents import (
    IDS,
    Clauses,
    OtherEmbedder,
    OtherLexical,
    Reopen,
    document,
    everything,
    find,
    ids,
    stored,
)
from memora.vector_db.base import BaseVectorDB
from memora.vector_db.rebuild import Rebuild

OTHER = "another/model"


class FailingEmbedder(OtherEmbedder):
    """Fails at a text that says so."""

    async def _embed_batch(self, texts: list[str], kind: Kind) -> NDArray[np.float32]:
        if any("poison" in text for text in texts):
            raise EmbeddingError("test", "this text cannot be embedded")
        return await super()._embed_batch(texts, kind)


async def stamp_of(vectors: BaseVectorDB) -> IndexStamp:
    """Return the stamp, which there must be."""
    stamp = await vectors.stamp()
    assert stamp is not None
    return stamp


async def other_model(vectors: BaseVectorDB) -> OtherEmbedder:
    """Return a model whose vectors are as long as those in use: they could be mixed up."""
    return OtherEmbedder(OTHER, (await stamp_of(vectors)).dimensions)


async def staged_ids(staged: Rebuild) -> list[str]:
    """Return all ids of the new index, in small pages."""
    found: list[str] = []
    after = None
    while page := await staged.scan(after=after, limit=3):
        found += [entry.memory_id for entry in page]
        after = page[-1].memory_id
    return found


async def fill(staged: Rebuild, documents: list[IndexDocument]) -> None:
    """Fill a new index in two steps."""
    await staged.upsert(documents[:1])
    await staged.upsert(documents[1:])


class RebuildClauses(Clauses):
    """Filling, switching, discarding.

    A rebuild is of the whole store, so these clauses need one that nobody else is using.
    """

    async def test_b23_the_old_index_answers_by_its_model_until_the_switch(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        documents = [document(text, alice) for text in ("green tea", "black coffee", "milk")]
        await vectors.upsert(documents)
        before, stamp = await find(vectors, "tea", alice), await stamp_of(vectors)
        model = await other_model(vectors)
        async with vectors.rebuilding(model) as staged:
            assert await find(vectors, "tea", alice) == before
            await fill(staged, documents[:2])
            assert await find(vectors, "tea", alice) == before
            assert await vectors.stamp() == stamp
            assert len(await stored(vectors, alice.org_id)) == 3
            assert await staged_ids(staged) == sorted(d.memory_id for d in documents[:2])
            await staged.commit()
        assert (await stamp_of(vectors)).model_id == OTHER
        after = await find(vectors, "tea", alice)
        assert {hit.score for hit in after.dense} == {1.0}
        assert everything(after) == {d.memory_id for d in documents[:2]}
        assert [e.model_id for e in await vectors.scan() if e.org_id == alice.org_id] == [OTHER] * 2

    async def test_the_switched_store_takes_writes_and_deletes(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        tea, coffee = document("tea", alice), document("coffee", alice)
        await vectors.upsert([tea])
        async with vectors.rebuilding(await other_model(vectors)) as staged:
            await staged.upsert([tea])
            await staged.commit()
        await vectors.upsert([coffee])
        assert ids((await find(vectors, "coffee", alice)).lexical) == [coffee.memory_id]
        await vectors.delete_memory(tea.memory_id, alice.org_id, alice.user_id)
        assert await stored(vectors, alice.org_id) == [coffee.memory_id]
        await vectors.delete_all_user_memories(alice.org_id, alice.user_id)
        assert await find(vectors, "coffee", alice) == QueryHits()

    async def test_b23_after_the_switch_the_old_embedder_is_refused(
        self, vectors: BaseVectorDB, reopen: Reopen, alice: Scope
    ) -> None:
        tea = document("tea", alice)
        await vectors.upsert([tea])
        old = await stamp_of(vectors)
        async with vectors.rebuilding(OtherEmbedder(OTHER, 5)) as staged:
            await staged.upsert([tea])
            await staged.commit()
        stranger = await reopen()
        with pytest.raises(SchemaVersionError) as refused:
            await stranger.setup()
        for part in (old.model_id, OTHER, "memora reindex"):
            assert part in str(refused.value)
        await stranger.close()
        async with await reopen(embedder=OtherEmbedder(OTHER, 5)) as again:
            assert everything(await find(again, "tea", alice)) == {tea.memory_id}

    @pytest.mark.parametrize("changed", ["model", "dimensions", "recipe"])
    async def test_b23_a_store_that_refuses_to_open_can_be_rebuilt(
        self, vectors: BaseVectorDB, reopen: Reopen, alice: Scope, changed: str
    ) -> None:
        tea = document("tea", alice)
        await vectors.upsert([tea])
        stamp = await stamp_of(vectors)
        if changed == "recipe":
            other = await reopen(lexical=OtherLexical())
        else:
            length = stamp.dimensions + (changed == "dimensions")
            other = await reopen(embedder=OtherEmbedder(OTHER, length))
        with pytest.raises(SchemaVersionError):
            await other.setup()
        async with other.rebuilding() as staged:
            await staged.upsert([tea])
        with pytest.raises(SchemaVersionError):
            await other.setup()
        async with other.rebuilding() as staged:
            await staged.upsert([tea])
            await staged.commit()
        await other.setup()
        assert everything(await find(other, "tea", alice)) == {tea.memory_id}
        assert await other.stamp() != stamp
        await other.close()

    async def test_without_an_embedder_the_model_stays(
        self, vectors: BaseVectorDB, reopen: Reopen, alice: Scope
    ) -> None:
        documents = [document(f"story {i}", alice) for i in range(5)]
        await vectors.upsert(documents)
        before, stamp = await find(vectors, "story 3", alice), await stamp_of(vectors)
        await vectors.upsert([document("stale", alice)])
        async with vectors.rebuilding() as staged:
            await fill(staged, documents)
            await staged.commit()
        assert await find(vectors, "story 3", alice) == before
        assert await vectors.stamp() == stamp
        async with await reopen() as again:
            assert await find(again, "story 3", alice) == before

    async def test_what_is_not_committed_is_gone(
        self, vectors: BaseVectorDB, reopen: Reopen, alice: Scope
    ) -> None:
        tea = document("tea", alice)
        await vectors.upsert([tea])
        before, stamp = await find(vectors, "tea", alice), await stamp_of(vectors)
        for _ in range(2):
            async with vectors.rebuilding(OtherEmbedder(OTHER, 5)) as staged:
                await staged.upsert([tea, document("coffee", alice)])
            for call in (
                staged.upsert([tea]),
                staged.scan(),
                staged.remove(alice, [tea.memory_id]),
                staged.remove_tenant(alice),
                staged.commit(),
            ):
                with pytest.raises(VectorDBError):
                    await call
            await staged.discard()
        assert await vectors.stamp() == stamp
        async with vectors.rebuilding() as empty:
            assert await empty.scan() == []
        async with await reopen() as again:
            assert await find(again, "tea", alice) == before

    async def test_a_model_that_fails_half_way_changes_nothing(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        documents = [document(text, alice) for text in ("tea", "a poison", "coffee")]
        await vectors.upsert(documents)
        before = await find(vectors, "coffee", alice)
        with pytest.raises(EmbeddingError):
            async with vectors.rebuilding(FailingEmbedder(OTHER, 5)) as staged:
                await fill(staged, documents)
        assert await find(vectors, "coffee", alice) == before
        async with vectors.rebuilding(OtherEmbedder(OTHER, 5)) as staged:
            await fill(staged, documents)
            await staged.commit()
        assert len(everything(await find(vectors, "coffee", alice))) == 3

    async def test_a_second_rebuild_is_refused(self, vectors: BaseVectorDB, alice: Scope) -> None:
        tea = document("tea", alice)
        await vectors.upsert([tea])
        async with vectors.rebuilding(await other_model(vectors)) as staged:
            with pytest.raises(RebuildRunningError) as refused:
                await vectors.begin_rebuild()
            assert isinstance(refused.value, RetryableError)
            with pytest.raises(RebuildRunningError):
                await vectors.clear()
            await staged.upsert([tea])
            await staged.commit()
        async with vectors.rebuilding() as another:
            assert await another.scan() == []
        assert await stored(vectors, alice.org_id) == [tea.memory_id]

    async def test_of_two_at_once_one_begins(self, vectors: BaseVectorDB) -> None:
        begun = await asyncio.gather(
            vectors.begin_rebuild(), vectors.begin_rebuild(), return_exceptions=True
        )
        assert [isinstance(result, Rebuild) for result in begun].count(True) == 1
        assert any(isinstance(result, RebuildRunningError) for result in begun)
        for result in begun:
            if isinstance(result, Rebuild):
                await result.discard()

    async def test_b83_what_is_deleted_meanwhile_leaves_both(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        bob, stranger = Scope(alice.org_id, "bob"), Scope(IDS.short(), "carol")
        mine = [document(f"story {i}", alice) for i in range(3)]
        others, kept = document("story", bob), document("story", stranger)
        await vectors.upsert([*mine, others, kept])
        async with vectors.rebuilding(await other_model(vectors)) as staged:
            await fill(staged, [*mine, others, kept])
            gone = mine[0].memory_id
            await vectors.delete_memory(gone, alice.org_id, alice.user_id)
            assert gone not in await staged_ids(staged)
            await vectors.delete_all_user_memories(bob.org_id, bob.user_id)
            assert others.memory_id not in await staged_ids(staged)
            assert staged.touched.memories == {alice: {gone}}
            assert staged.touched.tenants == {bob}
            assert staged.take_touched().count == 2
            assert staged.touched.count == 0
            await vectors.delete_all_organization_memories(alice.org_id)
            assert await staged_ids(staged) == [kept.memory_id]
            assert staged.touched.tenants == {OrganizationScope(alice.org_id)}
            await staged.commit()
        assert await stored(vectors, alice.org_id) == []
        assert everything(await find(vectors, "story", stranger)) == {kept.memory_id}

    async def test_what_is_written_meanwhile_is_noted(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        tea, coffee = document("tea", alice), document("coffee", Scope(alice.org_id, "bob", "a"))
        await vectors.upsert([tea])
        async with vectors.rebuilding() as staged:
            assert staged.touched.count == 0
            await vectors.upsert([tea, coffee])
            noted = {alice: {tea.memory_id}, Scope(alice.org_id, "bob"): {coffee.memory_id}}
            assert staged.touched.memories == noted
            assert await staged_ids(staged) == []
        assert len(await stored(vectors, alice.org_id)) == 2

    async def test_deletes_from_the_new_index_alone(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        bob = Scope(alice.org_id, "bob")
        documents = [document("tea", alice), document("milk", alice), document("tea", bob)]
        await vectors.upsert(documents)
        async with vectors.rebuilding() as staged:
            await fill(staged, documents)
            await staged.remove(bob, [documents[0].memory_id])
            await staged.remove(alice, [documents[0].memory_id, IDS.memory()])
            assert await staged_ids(staged) == sorted(d.memory_id for d in documents[1:])
            await staged.remove_tenant(bob)
            assert await staged_ids(staged) == [documents[1].memory_id]
            assert len(await stored(vectors, alice.org_id)) == 3
            await staged.upsert(documents[:1])
            await staged.commit()
        expected = sorted(d.memory_id for d in documents[:2])
        assert await stored(vectors, alice.org_id) == expected
        assert sorted(everything(await find(vectors, "tea", alice))) == expected

    async def test_fingerprints_are_those_of_the_documents(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        given = document("tea", alice, tags=("hot", "green"), importance=0.25, archived=True)
        await vectors.upsert([given])
        wanted = indexing.fingerprint(indexing.payload(given))
        async with vectors.rebuilding() as staged:
            await staged.upsert([given])
            [entry] = await staged.scan()
            assert entry.fingerprint == wanted
            assert entry.model_id == (await stamp_of(vectors)).model_id
        [entry] = [e for e in await vectors.scan() if e.org_id == alice.org_id]
        assert entry.fingerprint == wanted
        changed = document("tea", alice, memory_id=given.memory_id, tags=("hot",))
        await vectors.upsert([changed])
        [entry] = [e for e in await vectors.scan() if e.org_id == alice.org_id]
        assert entry.fingerprint != wanted

    async def test_searches_and_writes_go_on_at_the_switch(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        documents = [document(f"story {i}", alice) for i in range(30)]
        await vectors.upsert(documents)
        everyone = {d.memory_id for d in documents}
        done = asyncio.Event()

        async def ask() -> int:
            asked = 0
            while not done.is_set():
                assert everything(await find(vectors, "story", alice)) == everyone
                asked += 1
                await asyncio.sleep(0)
            return asked

        async def write() -> None:
            while not done.is_set():
                await vectors.upsert(documents[:2])
                await asyncio.sleep(0)

        asking, writing = asyncio.create_task(ask()), asyncio.create_task(write())
        model: BaseEmbedder | None = await other_model(vectors)
        for _ in range(2):
            async with vectors.rebuilding(model) as staged:
                await fill(staged, documents)
                await staged.commit()
            model = None
        done.set()
        await writing
        assert await asking
        assert await stored(vectors, alice.org_id) == sorted(everyone)
        assert all(entry.model_id == OTHER for entry in await vectors.scan())

    async def test_b15_cancelled_rebuilds_leave_a_whole_store(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        documents = [document(f"story {i}", alice) for i in range(6)]
        await vectors.upsert(documents)

        async def rebuild() -> None:
            async with vectors.rebuilding() as staged:
                await fill(staged, documents)
                await staged.commit()

        for turns in range(0, 60, 5):
            call = asyncio.ensure_future(rebuild())
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert len(everything(await find(vectors, "story", alice))) == 6
        await rebuild()
        assert await stored(vectors, alice.org_id) == sorted(d.memory_id for d in documents)
