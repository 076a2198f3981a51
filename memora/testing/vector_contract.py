"""What every vector store must do; subclass `VectorContract` and give it two fixtures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from memora.core.filters import AnyOf, Condition, Range
from memora.core.hashing import exact_hash
from memora.core.ids import RandomIds
from memora.core.indexing import metadata_terms
from memora.embeddings.base import BaseEmbedder, Kind, SparseVector
from memora.errors import InvalidInputError, SchemaVersionError
from memora.schema.index import Hit, IndexDocument, QueryHits
from memora.schema.scope import Scope
from memora.vector_db.base import BaseVectorDB, MemorySearchScope

# Closes the store of the fixture `vectors` and returns another one over the same data, which is
# not set up yet; with arguments it has another embedder or lexical encoder.
Reopen = Callable[..., Awaitable[BaseVectorDB]]

_IDS = RandomIds()
_NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)

HOSTILE = [
    '"', "'", '"unbalanced', "NEAR(a b)", "a AND OR NOT", "*:* AND -", "tea*", "-tea", "col:tea",
    "'; DROP TABLE vector; --", "}) DETACH DELETE n //", "$param", "%_", "{0.__class__}", "{{7*7}}",
    "\\", "🎉🎉", "👨‍👩‍👧‍👦", "é\u0301\u0302\u0303", "\u202eabc", "\uff26\uff35", "наука",
    "日本語の文章", "İıß",
    "the of and to", "?!…", "\x00nul", "\ufeffbom", "1e400", "None", "a" * 5000, "ab " * 5000,
]  # fmt: skip

# Conditions, and which of the three documents of `_three` they leave.
CONDITIONS: list[tuple[tuple[Condition, ...], str]] = [
    ((), "abc"),
    ((AnyOf("interaction_id", ("i1",)),), "a"),
    ((AnyOf("interaction_id", ("i1", "i2")),), "ab"),
    ((AnyOf("memory_type", ("rule", "event")),), "bc"),
    ((AnyOf("tags", ("red",)),), "ab"),
    ((AnyOf("tags", ("blue", "none")),), "b"),
    ((AnyOf("tags", ("red",)), AnyOf("tags", ("blue",))), "b"),
    ((AnyOf("tags", ()),), ""),
    ((AnyOf("entities", ("Jake O'Brien",)),), "a"),
    ((AnyOf("source_role", ("assistant",)),), "c"),
    ((AnyOf("process_id", ("p",)),), "a"),
    ((AnyOf("import_id", ("im",)),), "c"),
    ((AnyOf("agent_id", ("agent",)),), "c"),
    ((AnyOf("user_id", ("bob",)),), ""),
    ((AnyOf("meta", metadata_terms({"n": 1})),), "a"),
    ((AnyOf("meta", metadata_terms({"n": 1.0})),), "a"),
    ((AnyOf("meta", metadata_terms({"n": "1"})),), "b"),
    ((AnyOf("meta", metadata_terms({"n": True})),), "c"),
    ((AnyOf("meta", metadata_terms({"list": ["x", "y"]})),), "ab"),
    ((AnyOf("meta", metadata_terms({"list": "z"})),), "b"),
    ((AnyOf("meta", metadata_terms({"empty": None})),), "c"),
    ((Range("importance", gte=0.5),), "bc"),
    ((Range("importance", gt=0.5),), "c"),
    ((Range("importance", lte=0.5),), "ab"),
    ((Range("importance", lt=0.5),), "a"),
    ((Range("importance", gte=0.2, lt=0.9),), "b"),
    ((Range("importance"),), "abc"),
    ((Range("obtained_at", gt=_NOON.timestamp()),), "bc"),
    ((Range("obtained_at", gte=_NOON.timestamp(), lte=_NOON.timestamp()),), "a"),
    ((Range("archived", lt=1),), "ac"),
    ((Range("archived", gte=1),), "b"),
    ((Range("expires_at", gt=_NOON.timestamp()),), "ab"),
    ((Range("archived", lt=1), Range("expires_at", gt=_NOON.timestamp())), "a"),
]


class OtherEmbedder(BaseEmbedder):
    """Constant rows under a chosen name and length, to be refused."""

    def __init__(self, model_id: str, dimensions: int) -> None:
        super().__init__()
        self._model_id = model_id
        self._dimensions = dimensions

    @property
    def model_id(self) -> str:
        return self._model_id

    @property
    def dimensions(self) -> int:
        return self._dimensions

    async def _embed_batch(self, texts: list[str], kind: Kind) -> NDArray[np.float32]:  # noqa: ARG002
        return np.ones((len(texts), self._dimensions), dtype=np.float32)


class OtherLexical:
    """A lexical encoder of another recipe, to be refused."""

    recipe = "another"

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        """One term for everything."""
        return [SparseVector((1,), (1.0,)) for _ in texts]

    def encode_queries(self, texts: Sequence[str]) -> list[SparseVector]:
        """One term for everything."""
        return self.encode_documents(texts)


def document(text: str, scope: Scope, **fields: Any) -> IndexDocument:
    """Return a document of the scope's user and agent."""
    given: dict[str, Any] = {
        "memory_id": _IDS.memory(),
        "org_id": scope.org_id,
        "user_id": scope.user_id,
        "agent_id": scope.agent_id,
        "interaction_id": None,
        "dense_text": text,
        "lexical_text": text,
        "text_hash": exact_hash(text),
        "memory_type": "fact",
        "obtained_at": _NOON,
    }
    return IndexDocument(**given | fields)


def ids(hits: Iterable[Hit]) -> list[str]:
    """Return the memory ids of hits."""
    return [hit.memory_id for hit in hits]


def everything(hits: QueryHits) -> set[str]:
    """Return the memory ids of both lists."""
    return {*ids(hits.dense), *ids(hits.lexical)}


async def stored(vectors: BaseVectorDB, org_id: str) -> list[str]:
    """Return all ids of an organization, as `scan` shows them in small pages."""
    found: list[str] = []
    after = None
    while page := await vectors.scan(after=after, limit=7):
        found += [entry.memory_id for entry in page if entry.org_id == org_id]
        after = page[-1].memory_id
    return found


class VectorContract:
    """Subclasses bring the fixtures `vectors`, a store that is set up, and `reopen` (`Reopen`).

    Every test works in organizations of its own, so that a store may be shared.
    """

    @pytest.fixture
    def alice(self) -> Scope:
        """A user in an organization that nobody else has."""
        return Scope(_IDS.short(), "alice")

    async def find(self, vectors: BaseVectorDB, query: str, scope: Scope, **further: Any) -> Any:
        """Search as one user."""
        return await vectors.search_memory(query, "user", scope.org_id, scope.user_id, **further)

    # Finding

    async def test_finds_by_words_and_by_likeness(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        tea, dogs = document("I drink green tea", alice), document("My dogs bark at night", alice)
        await vectors.upsert([tea, dogs])
        hits = await self.find(vectors, "dogs that barked at night", alice)
        assert ids(hits.dense) == [dogs.memory_id, tea.memory_id]
        assert ids(hits.lexical) == [dogs.memory_id]
        assert 0 < hits.dense[0].score <= 1 + 1e-4
        assert hits.lexical[0].score > 0
        assert (hits.dense[0].org_id, hits.dense[0].user_id) == (alice.org_id, alice.user_id)

    async def test_equal_texts_have_cosine_one(self, vectors: BaseVectorDB, alice: Scope) -> None:
        await vectors.upsert([document("green tea in the morning", alice)])
        hits = await self.find(vectors, "green tea in the morning", alice)
        assert hits.dense[0].score == pytest.approx(1, abs=1e-4)

    async def test_nothing_stored_is_nothing_found(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        assert await self.find(vectors, "tea", alice) == QueryHits()

    async def test_batch_equals_singles(self, vectors: BaseVectorDB, alice: Scope) -> None:
        texts = ["green tea", "black tea with milk", "a dog", "two dogs and a cat", "rain"]
        await vectors.upsert([document(text, alice) for text in texts])
        queries = ["tea", "dogs", "milk in tea", "xyzzy", "cat"]
        together = await vectors.search_memories(queries, "user", alice.org_id, alice.user_id)
        assert together == [await self.find(vectors, query, alice) for query in queries]

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
        twins = [document("the same old story", alice) for _ in range(20)]
        better = document("story", alice)
        await vectors.upsert([*twins, better])
        hits = await self.find(vectors, "story", alice, limit=6)
        tied = sorted(twin.memory_id for twin in twins)[:5]
        assert ids(hits.dense) == [better.memory_id, *tied]
        assert ids(hits.lexical) == [better.memory_id, *tied]
        assert hits.lexical[0].score > hits.lexical[1].score == hits.lexical[5].score

    async def test_limit_counts_each_list(self, vectors: BaseVectorDB, alice: Scope) -> None:
        await vectors.upsert([document(f"story number {i}", alice) for i in range(70)])
        for limit in (1, 3, 70, 1000):
            hits = await self.find(vectors, "story", alice, limit=limit)
            assert len(hits.dense) == len(hits.lexical) == min(limit, 70)

    async def test_b44_limits_out_of_range_are_refused(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        for limit in (0, -1, 1001, True, "5", None):
            with pytest.raises(InvalidInputError, match="limit"):
                await self.find(vectors, "tea", alice, limit=limit)

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
        hits = await self.find(vectors, long.dense_text, alice)
        assert ids(hits.lexical) == [long.memory_id]

    async def test_a_text_without_any_token(self, vectors: BaseVectorDB, alice: Scope) -> None:
        bare, tea = document("?!", alice), document("tea", alice)
        await vectors.upsert([bare, tea])
        assert await self.find(vectors, "…", alice) == QueryHits()
        assert ids((await self.find(vectors, "tea", alice)).lexical) == [tea.memory_id]
        assert await stored(vectors, alice.org_id) == sorted([bare.memory_id, tea.memory_id])

    # Scope

    async def test_b01_scopes_by_name_and_by_member(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        bob, stranger = Scope(alice.org_id, "bob"), Scope(_IDS.short(), alice.user_id)
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
        hits = await self.find(vectors, "green tea", alice, limit=3)
        expected = {document.memory_id for document in mine}
        assert set(ids(hits.dense)) == set(ids(hits.lexical)) == expected

    async def test_b04_owners_are_not_joined_into_one_key(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        org = alice.org_id
        one, other = Scope(f"{org}:b", "c"), Scope(org, "b:c")
        mine, theirs = document("green tea", one), document("green tea", other)
        await vectors.upsert([mine, theirs])
        assert everything(await self.find(vectors, "tea", one)) == {mine.memory_id}
        assert everything(await self.find(vectors, "tea", other)) == {theirs.memory_id}

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
            hits = await self.find(vectors, "tea", owner)
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
        assert everything(await self.find(vectors, "tea", alice, agent_id="a")) == {of_a.memory_id}
        assert everything(await self.find(vectors, "tea", alice)) == {
            document.memory_id for document in (of_a, of_b, of_none)
        }
        hits = await vectors.search_memory("tea", "organization", alice.org_id, agent_id="b")
        assert everything(hits) == {of_b.memory_id}
        assert hits.dense[0].agent_id == "b"
        assert await self.find(vectors, "tea", alice, agent_id="c") == QueryHits()

    async def test_idf_is_the_tenants_own(self, vectors: BaseVectorDB, alice: Scope) -> None:
        bob, stranger = Scope(alice.org_id, "bob"), Scope(_IDS.short(), alice.user_id)
        await vectors.upsert([document(t, alice) for t in ("green tea", "black tea", "rare herb")])
        before = await self.find(vectors, "tea or a herb", alice)
        others = [document("a herb, another herb", owner) for owner in (bob, stranger) * 15]
        await vectors.upsert(others)
        assert await self.find(vectors, "tea or a herb", alice) == before
        await vectors.delete_all_user_memories(bob.org_id, bob.user_id)
        assert await self.find(vectors, "tea or a herb", alice) == before

    async def test_idf_ignores_agent_and_conditions(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        agent = Scope(alice.org_id, alice.user_id, "a")
        mine = document("green tea", agent, tags=("x",))
        await vectors.upsert([mine, document("green grass", alice), document("green leaf", alice)])
        wide = {hit.memory_id: hit for hit in (await self.find(vectors, "tea", alice)).lexical}
        by_agent = await self.find(vectors, "tea", alice, agent_id="a")
        by_tag = await self.find(vectors, "tea", alice, conditions=(AnyOf("tags", ("x",)),))
        assert list(by_agent.lexical) == list(by_tag.lexical) == [wide[mine.memory_id]]

    # Conditions

    async def test_conditions(self, vectors: BaseVectorDB, alice: Scope) -> None:
        names = await self._three(vectors, alice)
        for conditions, expected in CONDITIONS:
            hits = await self.find(vectors, "green tea", alice, conditions=conditions)
            for found in (hits.dense, hits.lexical):
                labels = "".join(sorted(names[memory_id] for memory_id in ids(found)))
                assert labels == expected, conditions

    async def _three(self, vectors: BaseVectorDB, alice: Scope) -> dict[str, str]:
        agent = Scope(alice.org_id, alice.user_id, "agent")
        documents = {
            "a": document(
                "green tea", alice, interaction_id="i1", importance=0.1, tags=("red",),
                entities=("Jake O'Brien",), process_id="p", metadata={"n": 1, "list": ["x"]},
            ),
            "b": document(
                "green tea, again", alice, interaction_id="i2", memory_type="rule",
                tags=("red", "blue"), obtained_at=_NOON + timedelta(seconds=1), archived=True,
                expires_at=_NOON + timedelta(days=1), metadata={"n": "1", "list": ["y", "z"]},
            ),
            "c": document(
                "more green tea", agent, memory_type="event", importance=1.0,
                source_role="assistant", import_id="im", obtained_at=_NOON + timedelta(days=400),
                expires_at=_NOON, metadata={"n": True, "empty": None, "deep": {"n": 1}},
            ),
        }  # fmt: skip
        await vectors.upsert(list(documents.values()))
        return {document.memory_id: name for name, document in documents.items()}

    async def test_b11_only_indexed_fields_are_filtered(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        for condition in (AnyOf("text", ("x",)), AnyOf("archived", ("1",)), Range("tags")):
            with pytest.raises(InvalidInputError, match="conditions"):
                await self.find(vectors, "tea", alice, conditions=(condition,))

    # Writing

    async def test_upsert_replaces(self, vectors: BaseVectorDB, alice: Scope) -> None:
        old = document("green tea", alice, tags=("hot",))
        await vectors.upsert([old])
        await vectors.upsert([old])
        assert await stored(vectors, alice.org_id) == [old.memory_id]
        await vectors.upsert([document("black coffee", alice, memory_id=old.memory_id)])
        assert await stored(vectors, alice.org_id) == [old.memory_id]
        assert not (await self.find(vectors, "tea", alice)).lexical
        assert ids((await self.find(vectors, "coffee", alice)).lexical) == [old.memory_id]
        tagged = await self.find(vectors, "coffee", alice, conditions=(AnyOf("tags", ("hot",)),))
        assert tagged == QueryHits()

    async def test_upsert_of_nothing(self, vectors: BaseVectorDB) -> None:
        await vectors.upsert([])

    async def test_of_equal_ids_the_last_counts(self, vectors: BaseVectorDB, alice: Scope) -> None:
        memory_id = _IDS.memory()
        await vectors.upsert(
            [document(text, alice, memory_id=memory_id) for text in ("tea", "milk", "coffee")]
        )
        assert await stored(vectors, alice.org_id) == [memory_id]
        assert ids((await self.find(vectors, "coffee", alice)).lexical) == [memory_id]

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
        hits = await self.find(vectors, "story 17", owners[17 % 7], limit=1)
        assert ids(hits.lexical) == [documents[17].memory_id]

    async def test_b02_anothers_id_is_not_taken_over(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        bob, stranger = Scope(alice.org_id, "bob"), Scope(_IDS.short(), alice.user_id)
        mine = document("green tea", alice)
        await vectors.upsert([mine])
        for thief in (bob, stranger):
            await vectors.upsert([document("coffee", thief, memory_id=mine.memory_id)])
            assert await self.find(vectors, "coffee", thief) == QueryHits()
        assert ids((await self.find(vectors, "tea", alice)).lexical) == [mine.memory_id]

    async def test_add_memories(self, vectors: BaseVectorDB, alice: Scope) -> None:
        org, user = alice.org_id, alice.user_id
        new = [_IDS.memory(), _IDS.memory().upper()]
        texts = ["green tea", "black coffee"]
        await vectors.add_memories(org, user, "a", new, texts, "2026-03-14T12:00:00+00:00")
        hits = await self.find(vectors, "coffee", alice, agent_id="a")
        assert ids(hits.lexical) == [new[1].lower()]
        for memory_ids, memories, time in (
            (new, ["one"], _NOON),
            (["7", "8"], texts, _NOON),
            (new, ["", "x"], _NOON),
            (new, texts, "yesterday"),
        ):
            with pytest.raises(InvalidInputError):
                await vectors.add_memories(org, user, None, memory_ids, memories, time)

    # Deleting

    async def test_delete(self, vectors: BaseVectorDB, alice: Scope) -> None:
        tea, coffee, milk = (document(text, alice) for text in ("tea", "coffee", "milk"))
        await vectors.upsert([tea, coffee, milk])
        await vectors.delete_memory(tea.memory_id, alice.org_id, alice.user_id)
        assert not (await self.find(vectors, "tea", alice)).lexical
        await vectors.delete_memories(
            [coffee.memory_id.upper(), tea.memory_id], alice.org_id, alice.user_id
        )
        assert await stored(vectors, alice.org_id) == [milk.memory_id]
        assert everything(await self.find(vectors, "tea", alice)) == {milk.memory_id}
        await vectors.upsert([tea])
        assert ids((await self.find(vectors, "tea", alice)).lexical) == [tea.memory_id]

    async def test_delete_of_unknown_ids(self, vectors: BaseVectorDB, alice: Scope) -> None:
        tea = document("tea", alice)
        await vectors.upsert([tea])
        unknown = [_IDS.memory(), "7", "*", "%", "no uuid", f"{tea.memory_id}0"]
        await vectors.delete_memories(unknown, alice.org_id, alice.user_id)
        await vectors.delete_memories([], alice.org_id, alice.user_id)
        assert await stored(vectors, alice.org_id) == [tea.memory_id]

    async def test_b02_foreign_deletes_change_nothing(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        tea = document("tea", alice)
        await vectors.upsert([tea])
        for org, user in ((alice.org_id, "bob"), (_IDS.short(), alice.user_id)):
            await vectors.delete_memory(tea.memory_id, org, user)
            await vectors.delete_all_user_memories(org, user)
        await vectors.delete_all_organization_memories(_IDS.short())
        assert everything(await self.find(vectors, "tea", alice)) == {tea.memory_id}

    async def test_b83_delete_all_of_a_user(self, vectors: BaseVectorDB, alice: Scope) -> None:
        bob = Scope(alice.org_id, "bob")
        gone, kept = [document("tea", alice) for _ in range(9)], document("tea", bob)
        await vectors.upsert([*gone, kept])
        for _ in range(2):
            await vectors.delete_all_user_memories(alice.org_id, alice.user_id)
            assert await stored(vectors, alice.org_id) == [kept.memory_id]
            assert await self.find(vectors, "tea", alice) == QueryHits()
            assert everything(await self.find(vectors, "tea", bob)) == {kept.memory_id}

    async def test_b83_delete_all_of_an_organization(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        bob, stranger = Scope(alice.org_id, "bob"), Scope(_IDS.short(), alice.user_id)
        kept = document("tea", stranger)
        await vectors.upsert([document("tea", alice), document("tea", bob), kept])
        for _ in range(2):
            await vectors.delete_all_organization_memories(alice.org_id)
            assert await stored(vectors, alice.org_id) == []
            hits = await vectors.search_memory("tea", "organization", alice.org_id)
            assert hits == QueryHits()
            assert everything(await self.find(vectors, "tea", stranger)) == {kept.memory_id}

    # Living

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
            calls = [
                asyncio.ensure_future(vectors.upsert(documents)),
                asyncio.ensure_future(self.find(vectors, "story", alice)),
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
        assert sorted(everything(await self.find(vectors, "story", alice))) == expected

    async def test_many_calls_at_once(self, vectors: BaseVectorDB, alice: Scope) -> None:
        documents = [document(f"story {i}", alice) for i in range(48)]
        await asyncio.gather(
            *(vectors.upsert(documents[start : start + 4]) for start in range(0, 48, 4)),
            *(self.find(vectors, "story", alice) for _ in range(12)),
            *(vectors.scan(limit=10) for _ in range(3)),
        )
        gone = documents[:8]
        await asyncio.gather(
            *(vectors.delete_memory(d.memory_id, alice.org_id, alice.user_id) for d in gone),
            *(vectors.upsert(documents[start : start + 4]) for start in range(8, 48, 4)),
        )
        expected = sorted(document.memory_id for document in documents[8:])
        assert await stored(vectors, alice.org_id) == expected
        assert sorted(everything(await self.find(vectors, "story", alice))) == expected

    async def test_b33_the_event_loop_is_never_blocked(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        from blockbuster import blockbuster_ctx  # noqa: PLC0415 - for this clause only

        with blockbuster_ctx():
            documents = [document(f"story {i}", alice) for i in range(20)]
            await vectors.setup()
            await vectors.upsert(documents)
            await self.find(vectors, "story", alice)
            await vectors.scan()
            await vectors.stamp()
            await vectors.delete_memory(documents[0].memory_id, alice.org_id, alice.user_id)
            await vectors.delete_all_user_memories(alice.org_id, alice.user_id)
            await vectors.close()

    # The whole store

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
        assert await self.find(again, "tea", alice) == QueryHits()
        await again.close()
