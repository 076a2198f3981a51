"""Whom a search reaches."""

from __future__ import annotations

from typing import Any

import pytest

from memora.core.filters import AnyOf
from memora.errors import InvalidInputError
from memora.schema.index import QueryHits
from memora.schema.scope import Scope
from memora.testing.vector_clauses.documents import (
    IDS,
    Clauses,
    Reopen,
    document,
    everything,
    find,
    ids,
)
from memora.vector_db.base import BaseVectorDB, MemorySearchScope


class ScopeClauses(Clauses):
    """Tenants, agents, and the IDF of each."""

    async def test_b01_scopes_by_name_and_by_member(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        bob, stranger = Scope(alice.org_id, "bob"), Scope(IDS.short(), alice.user_id)
        mine, bobs = document("green tea", alice), document("green tea", bob)
        await vectors.upsert([mine, bobs, document("green tea", stranger)])
        for kind in ("user", MemorySearchScope.USER):
            hits = await vectors.search_memory("green tea", kind, alice.org_id, alice.user_id)
            assert ids(hits.dense) == ids(hits.lexical) == [mine.memory_id]
        for kind in ("organization", MemorySearchScope.ORGANIZATION):
            hits = await vectors.search_memory("green tea", kind, alice.org_id)
            ours = sorted([mine.memory_id, bobs.memory_id])
            assert ids(hits.dense) == ids(hits.lexical) == ours

    async def test_b01_scopes_that_are_none_are_refused(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        await vectors.upsert([document("green tea", alice)])
        kinds: list[Any] = [None, "", "USER", "all", "*", 1, True, ["user"]]
        for kind in kinds:
            with pytest.raises(InvalidInputError, match="memory_search_scope"):
                await vectors.search_memory("tea", kind, alice.org_id, alice.user_id)
        users: list[Any] = [None, "", " ", "a\x00", 5, {"$ne": ""}]
        for user_id in users:
            with pytest.raises(InvalidInputError, match="user_id"):
                await vectors.search_memory("tea", "user", alice.org_id, user_id)

    async def test_b03_the_tenant_is_filtered_inside_the_engine(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        bob = Scope(alice.org_id, "bob")
        mine = [document(f"green tea with {thing}", alice) for thing in ("milk", "ice", "honey")]
        await vectors.upsert([document("green tea", bob) for _ in range(60)])
        await vectors.upsert(mine)
        # Bob's sixty match better, so a filter after the search would leave nothing.
        hits = await find(vectors, "green tea", alice, limit=3)
        expected = {document.memory_id for document in mine}
        assert set(ids(hits.dense)) == set(ids(hits.lexical)) == expected

    async def test_b03_the_only_tenant_is_as_alone_when_others_come_and_go(
        self, vectors: BaseVectorDB, reopen: Reopen, alice: Scope
    ) -> None:
        bob, org = Scope(alice.org_id, "bob"), alice.org_id
        mine, bobs = document("green tea with milk", alice), document("green tea", bob)
        only = {mine.memory_id}
        await vectors.upsert([mine])
        assert everything(await find(vectors, "green tea", bob)) == set()
        alone = await find(vectors, "green tea", alice)
        await vectors.upsert([bobs])
        beside = await find(vectors, "green tea", alice)
        assert everything(beside) == only
        assert everything(await find(vectors, "green tea", bob)) == {bobs.memory_id}
        await vectors.delete_all_user_memories(org, bob.user_id)
        assert await find(vectors, "green tea", alice) == beside == alone
        await vectors.upsert([bobs])
        async with await reopen() as again:
            assert await find(again, "green tea", alice) == alone
            assert everything(await find(again, "green tea", bob)) == {bobs.memory_id}

    async def test_b04_owners_are_not_joined_into_one_key(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        org = alice.org_id
        one, other = Scope(f"{org}:b", "c"), Scope(org, "b:c")
        mine, theirs = document("green tea", one), document("green tea", other)
        await vectors.upsert([mine, theirs])
        assert everything(await find(vectors, "tea", one)) == {mine.memory_id}
        assert everything(await find(vectors, "tea", other)) == {theirs.memory_id}

    async def test_confusable_owners_are_different_owners(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        users = [
            "user",
            "user1",
            "User",
            "us",
            "*",
            "%",
            "_",
            "us?r",
            "\u0443ser",
            "user.",
            "\uff55ser",
        ]
        owners = [Scope(alice.org_id, user) for user in users]
        mine = {owner: document("green tea", owner) for owner in owners}
        await vectors.upsert(list(mine.values()))
        for owner in owners:
            hits = await find(vectors, "tea", owner)
            assert everything(hits) == {mine[owner].memory_id}

    async def test_composed_and_decomposed_ids_are_one(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        rene = Scope(alice.org_id, "Rene\u0301")
        mine = document("green tea", rene)
        await vectors.upsert([mine])
        hits = await vectors.search_memory("tea", "user", alice.org_id, "Ren\u00e9")
        assert everything(hits) == {mine.memory_id}

    async def test_agent_filter(self, vectors: BaseVectorDB, alice: Scope) -> None:
        a, b = (Scope(alice.org_id, alice.user_id, agent) for agent in ("a", "b"))
        of_a, of_b, of_none = (document("green tea", scope) for scope in (a, b, alice))
        await vectors.upsert([of_a, of_b, of_none])
        assert everything(await find(vectors, "tea", alice, agent_id="a")) == {of_a.memory_id}
        assert everything(await find(vectors, "tea", alice)) == {
            document.memory_id for document in (of_a, of_b, of_none)
        }
        hits = await vectors.search_memory("tea", "organization", alice.org_id, agent_id="b")
        assert everything(hits) == {of_b.memory_id}
        assert hits.dense[0].agent_id == "b"
        assert await find(vectors, "tea", alice, agent_id="c") == QueryHits()

    async def test_idf_is_the_tenants_own(self, vectors: BaseVectorDB, alice: Scope) -> None:
        bob, stranger = Scope(alice.org_id, "bob"), Scope(IDS.short(), alice.user_id)
        await vectors.upsert([document(t, alice) for t in ("green tea", "black tea", "rare herb")])
        before = await find(vectors, "tea or a herb", alice)
        others = [document("a herb, another herb", owner) for owner in (bob, stranger) * 15]
        await vectors.upsert(others)
        assert await find(vectors, "tea or a herb", alice) == before
        await vectors.delete_all_user_memories(bob.org_id, bob.user_id)
        assert await find(vectors, "tea or a herb", alice) == before

    async def test_idf_ignores_agent_and_conditions(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        agent = Scope(alice.org_id, alice.user_id, "a")
        mine = document("green tea", agent, tags=("x",))
        await vectors.upsert([mine, document("green grass", alice), document("green leaf", alice)])
        wide = {hit.memory_id: hit for hit in (await find(vectors, "tea", alice)).lexical}
        by_agent = await find(vectors, "tea", alice, agent_id="a")
        by_tag = await find(vectors, "tea", alice, conditions=(AnyOf("tags", ("x",)),))
        assert list(by_agent.lexical) == list(by_tag.lexical) == [wide[mine.memory_id]]
