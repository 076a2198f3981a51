"""What filters leave."""

from __future__ import annotations

from datetime import timedelta

import pytest

from memora.core.filters import AnyOf, Condition, Range
from memora.core.indexing import metadata_terms
from memora.errors import InvalidInputError
from memora.schema.scope import Scope
from memora.testing.vector_clauses.documents import (
    NOON,
    Clauses,
    document,
    everything,
    find,
    ids,
)
from memora.vector_db.base import BaseVectorDB

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
    ((Range("obtained_at", gt=NOON.timestamp()),), "bc"),
    ((Range("obtained_at", gte=NOON.timestamp(), lte=NOON.timestamp()),), "a"),
    ((Range("archived", lt=1),), "ac"),
    ((Range("archived", gte=1),), "b"),
    ((Range("expires_at", gt=NOON.timestamp()),), "ab"),
    ((Range("archived", lt=1), Range("expires_at", gt=NOON.timestamp())), "a"),
]


class ConditionClauses(Clauses):
    """Filters inside the engine."""

    async def test_conditions(self, vectors: BaseVectorDB, alice: Scope) -> None:
        names = await self._three(vectors, alice)
        for conditions, expected in CONDITIONS:
            hits = await find(vectors, "green tea", alice, conditions=conditions)
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
                tags=("red", "blue"), obtained_at=NOON + timedelta(seconds=1), archived=True,
                expires_at=NOON + timedelta(days=1), metadata={"n": "1", "list": ["y", "z"]},
            ),
            "c": document(
                "more green tea", agent, memory_type="event", importance=1.0,
                source_role="assistant", import_id="im", obtained_at=NOON + timedelta(days=400),
                expires_at=NOON, metadata={"n": True, "empty": None, "deep": {"n": 1}},
            ),
        }  # fmt: skip
        await vectors.upsert(list(documents.values()))
        return {document.memory_id: name for name, document in documents.items()}

    @pytest.mark.parametrize("excluded", [3, 99, 140])
    async def test_b03_what_a_range_excludes_takes_no_place_in_the_answer(
        self, vectors: BaseVectorDB, alice: Scope, excluded: int
    ) -> None:
        bob = Scope(alice.org_id, "bob")
        live = [document(f"green tea with {n} kinds of honey", alice) for n in range(4)]
        gone = [
            document("green tea", alice, archived=True)
            if number % 2
            else document("green tea", alice, expires_at=NOON)
            for number in range(excluded)
        ]
        await vectors.upsert([*live, *gone, document("green tea", bob, archived=True)])
        conditions = (Range("archived", lt=1), Range("expires_at", gt=NOON.timestamp()))
        hits = await find(vectors, "green tea", alice, conditions=conditions, limit=4)
        assert set(ids(hits.dense)) == set(ids(hits.lexical)) == {one.memory_id for one in live}
        hits = await vectors.search_memory(
            "green tea", "organization", alice.org_id, conditions=conditions, limit=4
        )
        assert everything(hits) == {one.memory_id for one in live}
        all_of_alice = await find(vectors, "green tea", alice, limit=1000)
        assert len(all_of_alice.dense) == len(live) + len(gone)

    async def test_b11_only_indexed_fields_are_filtered(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        for condition in (AnyOf("text", ("x",)), AnyOf("archived", ("1",)), Range("tags")):
            with pytest.raises(InvalidInputError, match="conditions"):
                await find(vectors, "tea", alice, conditions=(condition,))
