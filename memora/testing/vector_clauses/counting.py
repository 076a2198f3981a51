"""Clauses on counting and dropping a tenant."""

from __future__ import annotations

from memora.schema.scope import OrganizationScope, Scope
from memora.testing.vector_clauses.documents import Clauses, document
from memora.vector_db.base import BaseVectorDB


class CountingClauses(Clauses):
    """What an erasure relies on."""

    async def test_b83_vectors_are_counted_by_owner(
        self, vectors: BaseVectorDB, alice: Scope
    ) -> None:
        """A user's, an organization's, and nobody else's; none is left after a drop."""
        bob, all_of_them = Scope(alice.org_id, "bob"), OrganizationScope(alice.org_id)
        other = Scope(f"{alice.org_id}-x", alice.user_id)
        with_agent = Scope(alice.org_id, alice.user_id, "jenny")
        for scope, count in ((alice, 3), (with_agent, 1), (bob, 2), (other, 1)):
            await vectors.upsert([document(f"story {i}", scope) for i in range(count)])
        asked = (alice, with_agent, bob, all_of_them, other)
        assert [await vectors.count(scope) for scope in asked] == [4, 4, 2, 6, 1]
        await vectors.delete_all_user_memories(alice.org_id, alice.user_id)
        assert [await vectors.count(scope) for scope in asked] == [0, 0, 2, 2, 1]
        await vectors.delete_all_organization_memories(alice.org_id)
        assert [await vectors.count(scope) for scope in asked] == [0, 0, 0, 0, 1]
