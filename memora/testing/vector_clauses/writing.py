"""What writes and deletes change."""

from __future__ import annotations

import pytest

from memora.core.filters import AnyOf
from memora.errors import InvalidInputError
from memora.schema.index import QueryHits
from memora.schema.scope import Scope
from memora.testing.vector_clauses.documents import (
    IDS,
    NOON,
    Clauses,
    document,
    everything,
    find,
    ids,
    stored,
)
from memora.vector_db.base import BaseVectorDB


class WritingClauses(Clauses):
    """Writing and deleting."""

    async def test_upsert_replaces(self, vectors: BaseVectorDB, alice: Scope) -> None:
        old = document("green tea", alice, tags=("hot",))
        await vectors.upsert([old])
        await vectors.upsert([old])
        assert await stored(vectors, alice.org_id) == [old.memory_id]
        await vectors.upsert([document("black coffee", alice, memory_id=old.memory_id)])
        assert await stored(vectors, alice.org_id) == [old.memory_id]
        assert not (await find(vectors, "tea", alice)).lexical
        assert ids((await find(vectors, "coffee", alice)).lexical) == [old.memory_id]
        tagged = await find(vectors, "coffee", alice, conditions=(AnyOf("tags", ("hot",)),))
        assert tagged == QueryHits()

    async def test_b03_a_hit_is_of_whom_it_was_written_for_last(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        agent = Scope(alice.org_id, alice.user_id, "agent")
        memory_id = IDS.memory()
        for scope in (alice, agent, alice):
            await vectors.upsert([document("green tea", scope, memory_id=memory_id)])
            hits = await find(vectors, "tea", alice)
            assert [hit.agent_id for hit in (*hits.dense, *hits.lexical)] == [scope.agent_id] * 2
        bob = Scope(alice.org_id, "bob")
        await vectors.remove(alice, [memory_id])
        await vectors.upsert([document("green tea", bob, memory_id=memory_id)])
        assert await find(vectors, "tea", alice) == QueryHits()
        hits = await find(vectors, "tea", bob)
        assert {hit.user_id for hit in (*hits.dense, *hits.lexical)} == {"bob"}

    async def test_upsert_of_nothing(self, vectors: BaseVectorDB) -> None:
        await vectors.upsert([])

    async def test_of_equal_ids_the_last_counts(self, vectors: BaseVectorDB, alice: Scope) -> None:
        memory_id = IDS.memory()
        await vectors.upsert(
            [document(text, alice, memory_id=memory_id) for text in ("tea", "milk", "coffee")]
        )
        assert await stored(vectors, alice.org_id) == [memory_id]
        assert ids((await find(vectors, "coffee", alice)).lexical) == [memory_id]

    async def test_upsert_needs_uuids(self, vectors: BaseVectorDB, alice: Scope) -> None:
        fine = document("green tea", alice)
        with pytest.raises(InvalidInputError, match="memory_id"):
            await vectors.upsert([fine, document("green tea", alice, memory_id="7")])
        assert await stored(vectors, alice.org_id) == []

    async def test_b20_many_documents_in_one_call(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        owners = [Scope(alice.org_id, f"user {i}") for i in range(7)]
        documents = [document(f"story {i}", owners[i % 7]) for i in range(600)]
        await vectors.upsert(documents)
        assert await stored(vectors, alice.org_id) == sorted(d.memory_id for d in documents)
        hits = await find(vectors, "story 17", owners[17 % 7], limit=1)
        assert ids(hits.lexical) == [documents[17].memory_id]

    async def test_b02_anothers_id_is_not_taken_over(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        bob, stranger = Scope(alice.org_id, "bob"), Scope(IDS.short(), alice.user_id)
        mine = document("green tea", alice)
        await vectors.upsert([mine])
        for thief in (bob, stranger):
            await vectors.upsert([document("coffee", thief, memory_id=mine.memory_id)])
            assert await find(vectors, "coffee", thief) == QueryHits()
        assert ids((await find(vectors, "tea", alice)).lexical) == [mine.memory_id]

    async def test_add_memories(self, vectors: BaseVectorDB, alice: Scope) -> None:
        org, user = alice.org_id, alice.user_id
        new = [IDS.memory(), IDS.memory().upper()]
        texts = ["green tea", "black coffee"]
        await vectors.add_memories(org, user, "a", new, texts, "2026-03-14T12:00:00+00:00")
        hits = await find(vectors, "coffee", alice, agent_id="a")
        assert ids(hits.lexical) == [new[1].lower()]
        for memory_ids, memories, time in (
            (new, ["one"], NOON),
            (["7", "8"], texts, NOON),
            (new, ["", "x"], NOON),
            (new, texts, "yesterday"),
        ):
            with pytest.raises(InvalidInputError):
                await vectors.add_memories(org, user, None, memory_ids, memories, time)

    async def test_delete(self, vectors: BaseVectorDB, alice: Scope) -> None:
        tea, coffee, milk = (document(text, alice) for text in ("tea", "coffee", "milk"))
        await vectors.upsert([tea, coffee, milk])
        await vectors.delete_memory(tea.memory_id, alice.org_id, alice.user_id)
        assert not (await find(vectors, "tea", alice)).lexical
        await vectors.delete_memories(
            [coffee.memory_id.upper(), tea.memory_id], alice.org_id, alice.user_id
        )
        assert await stored(vectors, alice.org_id) == [milk.memory_id]
        assert everything(await find(vectors, "tea", alice)) == {milk.memory_id}
        await vectors.upsert([tea])
        assert ids((await find(vectors, "tea", alice)).lexical) == [tea.memory_id]

    async def test_delete_of_unknown_ids(self, vectors: BaseVectorDB, alice: Scope) -> None:
        tea = document("tea", alice)
        await vectors.upsert([tea])
        unknown = [IDS.memory(), "7", "*", "%", "no uuid", f"{tea.memory_id}0"]
        await vectors.delete_memories(unknown, alice.org_id, alice.user_id)
        await vectors.delete_memories([], alice.org_id, alice.user_id)
        assert await stored(vectors, alice.org_id) == [tea.memory_id]

    async def test_b02_foreign_deletes_change_nothing(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        tea = document("tea", alice)
        await vectors.upsert([tea])
        for org, user in ((alice.org_id, "bob"), (IDS.short(), alice.user_id)):
            await vectors.delete_memory(tea.memory_id, org, user)
            await vectors.delete_all_user_memories(org, user)
        await vectors.delete_all_organization_memories(IDS.short())
        assert everything(await find(vectors, "tea", alice)) == {tea.memory_id}

    async def test_b83_delete_all_of_a_user(self, vectors: BaseVectorDB, alice: Scope) -> None:
        bob = Scope(alice.org_id, "bob")
        gone, kept = [document("tea", alice) for _ in range(9)], document("tea", bob)
        await vectors.upsert([*gone, kept])
        for _ in range(2):
            await vectors.delete_all_user_memories(alice.org_id, alice.user_id)
            assert await stored(vectors, alice.org_id) == [kept.memory_id]
            assert await find(vectors, "tea", alice) == QueryHits()
            assert everything(await find(vectors, "tea", bob)) == {kept.memory_id}

    async def test_b83_delete_all_of_an_organization(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        bob, stranger = Scope(alice.org_id, "bob"), Scope(IDS.short(), alice.user_id)
        kept = document("tea", stranger)
        await vectors.upsert([document("tea", alice), document("tea", bob), kept])
        for _ in range(2):
            await vectors.delete_all_organization_memories(alice.org_id)
            assert await stored(vectors, alice.org_id) == []
            hits = await vectors.search_memory("tea", "organization", alice.org_id)
            assert hits == QueryHits()
            assert everything(await find(vectors, "tea", stranger)) == {kept.memory_id}
