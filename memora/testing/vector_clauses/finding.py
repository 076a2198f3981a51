"""What a search finds, in which order."""

from __future__ import annotations

from typing import Any

import pytest

from memora.errors import InvalidInputError
from memora.schema.index import QueryHits
from memora.schema.scope import Scope
from memora.testing.vector_clauses.documents import (
    Clauses,
    document,
    find,
    ids,
    stored,
)
from memora.vector_db.base import BaseVectorDB

HOSTILE = [
    '"', "'", '"unbalanced', "NEAR(a b)", "a AND OR NOT", "*:* AND -", "tea*", "-tea", "col:tea",
    "'; DROP TABLE vector; --", "}) DETACH DELETE n //", "$param", "%_", "{0.__class__}", "{{7*7}}",
    "\\", "🎉🎉", "👨‍👩‍👧‍👦", "é\u0301\u0302\u0303", "\u202eabc", "\uff26\uff35", "наука",
    "日本語の文章", "İıß",
    "the of and to", "?!…", "\x00nul", "\ufeffbom", "1e400", "None", "a" * 5000, "ab " * 5000,
]  # fmt: skip


class FindingClauses(Clauses):
    """Finding."""

    async def test_finds_by_words_and_by_likeness(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        tea, dogs = document("I drink green tea", alice), document("My dogs bark at night", alice)
        await vectors.upsert([tea, dogs])
        hits = await find(vectors, "dogs that barked at night", alice)
        assert ids(hits.dense) == [dogs.memory_id, tea.memory_id]
        assert ids(hits.lexical) == [dogs.memory_id]
        assert 0 < hits.dense[0].score <= 1 + 1e-4
        assert hits.lexical[0].score > 0
        assert (hits.dense[0].org_id, hits.dense[0].user_id) == (alice.org_id, alice.user_id)

    async def test_equal_texts_have_cosine_one(self, vectors: BaseVectorDB, alice: Scope) -> None:
        await vectors.upsert([document("green tea in the morning", alice)])
        hits = await find(vectors, "green tea in the morning", alice)
        assert hits.dense[0].score == pytest.approx(1, abs=1e-4)

    async def test_nothing_stored_is_nothing_found(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        assert await find(vectors, "tea", alice) == QueryHits()

    async def test_batch_equals_singles(self, vectors: BaseVectorDB, alice: Scope) -> None:
        texts = ["green tea", "black tea with milk", "a dog", "two dogs and a cat", "rain"]
        await vectors.upsert([document(text, alice) for text in texts])
        queries = ["tea", "dogs", "milk in tea", "xyzzy", "cat"]
        together = await vectors.search_memories(queries, "user", alice.org_id, alice.user_id)
        assert together == [await find(vectors, query, alice) for query in queries]

    async def test_b59_every_query_has_an_answer(self, vectors: BaseVectorDB, alice: Scope) -> None:
        nobody = Scope(alice.org_id, "nobody")
        await vectors.upsert([document("green tea", alice)])
        search = vectors.search_memories
        assert await search(["tea", "milk", "?"], "user", nobody.org_id, nobody.user_id) == [
            QueryHits(),
            QueryHits(),
            QueryHits(),
        ]
        answers = await search(["???", "tea", "zzz"], "user", alice.org_id, alice.user_id)
        assert [bool(answer.lexical) for answer in answers] == [False, True, False]

    async def test_no_queries_have_no_answers(self, vectors: BaseVectorDB, alice: Scope) -> None:
        assert await vectors.search_memories([], "user", alice.org_id, alice.user_id) == []

    async def test_best_first_and_ties_by_id(self, vectors: BaseVectorDB, alice: Scope) -> None:
        twins = [document("the same old story", alice) for _ in range(60)]
        better = document("story", alice)
        await vectors.upsert([*twins, better])
        hits = await find(vectors, "story", alice, limit=6)
        tied = sorted(twin.memory_id for twin in twins)[:5]
        assert ids(hits.dense) == [better.memory_id, *tied]
        assert ids(hits.lexical) == [better.memory_id, *tied]
        assert hits.lexical[0].score > hits.lexical[1].score == hits.lexical[5].score

    async def test_limit_counts_each_list(self, vectors: BaseVectorDB, alice: Scope) -> None:
        await vectors.upsert([document(f"story number {i}", alice) for i in range(70)])
        for limit in (1, 3, 70, 1000):
            hits = await find(vectors, "story", alice, limit=limit)
            assert len(hits.dense) == len(hits.lexical) == min(limit, 70)

    async def test_the_lexical_list_has_its_own_limit(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        await vectors.upsert([document(f"story number {i}", alice) for i in range(70)])
        whole = await find(vectors, "story", alice, limit=70)
        for limit, lexical in ((50, 3), (3, 50), (1, 1)):
            hits = await find(vectors, "story", alice, limit=limit, lexical_limit=lexical)
            assert (hits.dense, hits.lexical) == (whole.dense[:limit], whole.lexical[:lexical])
        for refused in (0, 1001, "5"):
            with pytest.raises(InvalidInputError, match="lexical_limit"):
                await find(vectors, "tea", alice, lexical_limit=refused)

    async def test_b44_limits_out_of_range_are_refused(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        for limit in (0, -1, 1001, True, "5", None):
            with pytest.raises(InvalidInputError, match="limit"):
                await find(vectors, "tea", alice, limit=limit)

    async def test_queries_out_of_range_are_refused(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        long = "x" * (1024 * 1024 + 1)
        wrong: list[Any] = [["tea"] * 17, "tea", [""], ["  "], [None], ["\ud800"], [long]]
        for queries in wrong:
            with pytest.raises(InvalidInputError, match="queries"):
                await vectors.search_memories(queries, "user", alice.org_id, alice.user_id)

    async def test_hostile_texts_are_texts(self, vectors: BaseVectorDB, alice: Scope) -> None:
        documents = [document(text, alice) for text in HOSTILE]
        await vectors.upsert(documents)
        assert await stored(vectors, alice.org_id) == sorted(d.memory_id for d in documents)
        answered = 0
        for start in range(0, len(HOSTILE), 16):
            queries = HOSTILE[start : start + 16]
            answers = await vectors.search_memories(queries, "user", alice.org_id, alice.user_id)
            for same, hits in zip(documents[start:], answers, strict=False):
                for found in (hits.dense, hits.lexical):
                    assert not found or same.memory_id in ids(found)
                answered += bool(hits.lexical)
        assert answered > len(HOSTILE) / 2

    async def test_a_text_of_one_mebibyte(self, vectors: BaseVectorDB, alice: Scope) -> None:
        long = document("needle " * (1024 * 1024 // 7), alice)
        await vectors.upsert([long, document("hay", alice)])
        hits = await find(vectors, long.dense_text, alice)
        assert ids(hits.lexical) == [long.memory_id]

    async def test_a_text_without_any_token(self, vectors: BaseVectorDB, alice: Scope) -> None:
        bare, tea = document("?!", alice), document("tea", alice)
        await vectors.upsert([bare, tea])
        assert await find(vectors, "…", alice) == QueryHits()
        assert ids((await find(vectors, "tea", alice)).lexical) == [tea.memory_id]
        assert await stored(vectors, alice.org_id) == sorted([bare.memory_id, tea.memory_id])
