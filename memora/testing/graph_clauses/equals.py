"""Clauses on equal statements: one that was planned as the only one of its text stays it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from memora.errors import ConflictError
from memora.schema.scope import Scope
from memora.schema.write_plan import EqualGuard, MemoryEnd, MemoryWrite
from memora.testing.graph_clauses.tenant import Tenant, TenantFixtures


class EqualClauses(TenantFixtures):
    """The guard on equal current memories."""

    async def refused(self, tenant: Tenant, *writes: MemoryWrite) -> None:
        """Check that a plan of these is a conflict about a memory, and writes nothing."""
        before = await tenant.snapshot()
        with pytest.raises(ConflictError) as caught:
            await tenant.apply(memories=writes)
        assert caught.value.record == "memory"
        assert await tenant.snapshot() == before

    async def test_b28_a_statement_that_somebody_else_stored_meanwhile_is_refused(
        self, tenant: Tenant
    ) -> None:
        """Who found no equal memory writes only while there is none; who asked not, always."""
        guarded = tenant.statement("a", "likes tea", equal=EqualGuard())
        other = tenant.statement("other", "hates rain", equal=EqualGuard())
        await tenant.apply(memories=(guarded, other))
        late = tenant.statement("late", "likes tea", equal=EqualGuard())
        await self.refused(tenant, tenant.statement("more"), late)
        await tenant.apply(memories=(replace(late, equal=EqualGuard(guarded.memory_id)),))
        await tenant.store("third", "likes tea")
        assert len(await tenant.all_memories()) == 4

    async def test_b28_the_newest_equal_memory_is_the_one_that_counts(self, tenant: Tenant) -> None:
        """The guard asks as `find_current_by_hash` does, also after that one is gone."""
        old = await tenant.store("old", "likes tea", obtained_at=tenant.at(-1))
        new = await tenant.store("new", "likes tea")
        late = tenant.statement("late", "likes tea", equal=EqualGuard(old))
        found = await tenant.graph.find_current_by_hash(tenant.scope, [late.content_hash])
        assert found[late.content_hash].memory_id == new
        await self.refused(tenant, late)
        await tenant.apply(ends=(MemoryEnd(new, tenant.at(1)),))
        await tenant.apply(memories=(late,))

    async def test_b28_a_version_is_guarded_like_a_statement(self, tenant: Tenant) -> None:
        """A version that would repeat another statement's text is refused; its own head counts."""
        first = await tenant.store("a", "likes tea")
        await tenant.store("b", "likes coffee")
        version = await tenant.version(first, "v", text="likes coffee", equal=EqualGuard())
        await self.refused(tenant, version)
        again = await tenant.version(first, "w", text="likes tea", equal=EqualGuard(first))
        await tenant.apply(memories=(again,))
        assert await tenant.current(first) == again.memory_id

    async def test_b28_guards_see_what_was_there_before_the_plan(self, tenant: Tenant) -> None:
        """What a plan writes itself violates none of its own guards."""
        first = await tenant.store("a", "likes tea")
        version = await tenant.version(first, "v", text="likes coffee", obtained_at=tenant.at(1))
        beside = tenant.statement("b", "likes tea", equal=EqualGuard(first))
        twin = tenant.statement("c", "likes coffee", equal=EqualGuard())
        await tenant.apply(memories=(version, beside, twin))
        assert len(await tenant.all_memories()) == 4

    async def test_b08_equal_memories_of_others_do_not_count(self, tenant: Tenant) -> None:
        """Another user's memory is not seen, nor, where an agent is named, another agent's."""
        theirs = await tenant.other_user()
        await tenant.apply(theirs, memories=(tenant.statement("theirs", "likes tea"),))
        mine = tenant.statement("mine", "likes tea", equal=EqualGuard())
        await tenant.apply(memories=(mine,))
        own = EqualGuard(agent_id=tenant.agent_id)
        scope = Scope(tenant.org_id, tenant.user_id, tenant.agent_id)
        agents = tenant.statement("agents", "likes tea", agent_id=tenant.agent_id, equal=own)
        await tenant.apply(scope, memories=(agents,))
        await self.refused(tenant, tenant.statement("again", "likes tea", equal=own))

    async def test_b28_equal_statements_at_once_are_one(self, tenant: Tenant) -> None:
        """Of concurrent plans that found nothing equal one is written."""
        outcomes = await asyncio.gather(
            *(
                tenant.apply(memories=(tenant.statement(f"m{n}", "likes tea", equal=EqualGuard()),))
                for n in range(5)
            ),
            return_exceptions=True,
        )
        refused = [each for each in outcomes if isinstance(each, ConflictError)]
        assert len(refused) == 4
        assert len(await tenant.all_memories()) == 1
