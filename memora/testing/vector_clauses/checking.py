"""What doctor and reconcile ask of a vector store."""

from __future__ import annotations

from dataclasses import replace

from memora.core.indexing import fingerprint, payload
from memora.schema.index import IndexEntry
from memora.schema.scope import Scope
from memora.testing.vector_clauses.documents import Clauses, document
from memora.vector_db.base import BaseVectorDB


class CheckingClauses(Clauses):
    """Looking vectors up, and dropping what was seen."""

    async def test_a_lookup_tells_everything_about_a_vector(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        """Owner, hash, model and payload are as they were written, and the engine has them."""
        one = document("a red bicycle", alice, tags=("toy",), importance=0.25)
        two = document("a green boat", Scope(alice.org_id, "bob"))
        await vectors.upsert([one, two])
        stamp = await vectors.stamp()
        assert stamp is not None
        found = await vectors.lookup([one.memory_id, two.memory_id])
        assert {entry.memory_id: entry for entry in found} == {
            each.memory_id: IndexEntry(
                each.memory_id,
                each.org_id,
                each.user_id,
                each.text_hash,
                stamp.model_id,
                fingerprint(payload(each)),
                payload(each),
            )
            for each in (one, two)
        }
        assert await vectors.lookup([document("never stored", alice).memory_id]) == []

    async def test_b02_a_vector_is_discarded_only_as_it_was_seen(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        """One that belongs to somebody else by now stays."""
        one = document("a red bicycle", alice)
        two = document("a green boat", Scope(alice.org_id, "bob"))
        await vectors.upsert([one, two])
        ids = [one.memory_id, two.memory_id]
        seen = {entry.memory_id: entry for entry in await vectors.lookup(ids)}
        mistaken = replace(seen[two.memory_id], user_id="alice")
        await vectors.discard([mistaken, replace(mistaken, org_id="", user_id="")])
        assert len(await vectors.lookup(ids)) == 2
        await vectors.discard([seen[one.memory_id]])
        await vectors.discard([seen[one.memory_id]])
        await vectors.discard([])
        left = await vectors.lookup(ids)
        assert [entry.memory_id for entry in left] == [two.memory_id]

    async def test_a_whole_store_has_nothing_to_mend(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        """Nothing is found, and mending changes nothing."""
        one = document("a red bicycle", alice)
        await vectors.upsert([one])
        assert await vectors.inspect() == []
        await vectors.mend()
        assert await vectors.inspect() == []
        assert len(await vectors.lookup([one.memory_id])) == 1
