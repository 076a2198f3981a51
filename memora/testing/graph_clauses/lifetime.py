"""Clauses on how long memories stay: usage, expiry, archiving, counts."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from memora.graph_db.base import MemoryListing
from memora.schema.lifetime import Access, DueMemory, TypeCounts
from memora.schema.scope import OrganizationScope, Scope, SearchScope
from memora.schema.sources import SourceKind, SourceSelector
from memora.testing.graph_clauses.tenant import Tenant, TenantFixtures

DAY = 24 * 60


async def expired(tenant: Tenant, now: datetime, scope: SearchScope | None = None) -> list[str]:
    """Return the ids of what is expired by then, found one at a time."""
    found: list[DueMemory] = []
    after: DueMemory | None = None
    while page := await tenant.graph.find_expired(scope or tenant.scope, now, after=after, limit=1):
        found += page
        after = page[-1]
    return [due.memory_id for due in found]


async def disused(tenant: Tenant, since: datetime, scope: SearchScope | None = None) -> list[str]:
    """Return the ids of what was not used since, found one at a time."""
    found: list[DueMemory] = []
    after: DueMemory | None = None
    while page := await tenant.graph.find_disused(
        scope or tenant.scope, since, tenant.clock.now(), after=after, limit=1
    ):
        found += page
        after = page[-1]
    return [due.memory_id for due in found]


class LifetimeClauses(TenantFixtures):
    """How long memories stay."""

    async def test_d8_usage_is_counted_beside_the_versions(self, tenant: Tenant) -> None:
        """Counts add up, the last use never goes back, and nothing else changes."""
        memory_id = await tenant.store("m")
        await tenant.empty_queue()
        before = await tenant.memory(memory_id)
        graph, scope = tenant.graph, tenant.scope
        await graph.count_accesses(scope, {memory_id: Access(2, tenant.at(5))})
        await graph.count_accesses(
            scope, {memory_id: Access(1, tenant.at(3)), "missing": Access(1, tenant.at(9))}
        )
        after = await tenant.memory(memory_id)
        assert (after.access_count, after.last_accessed_at) == (3, tenant.at(5))
        ignored: dict[str, Any] = {"access_count": 0, "last_accessed_at": None}
        assert after.model_copy(update=ignored) == before
        assert await tenant.queue() == []

    async def test_d8_usage_counted_at_the_same_time_adds_up(self, tenant: Tenant) -> None:
        """No count is lost to another one."""
        memory_id = await tenant.store("m")
        uses = {memory_id: Access(1, tenant.at(0))}
        await asyncio.gather(*(tenant.graph.count_accesses(tenant.scope, uses) for _ in range(10)))
        assert (await tenant.memory(memory_id)).access_count == 10

    async def test_what_is_expired_is_found_to_the_second(self, tenant: Tenant) -> None:
        """From the moment of its end on, history included, by the time of the end."""
        late = await tenant.store("late", expires_at=tenant.at(20))
        early = await tenant.store("early", expires_at=tenant.at(10))
        await tenant.store("never")
        later = await tenant.grow(late, "newer", obtained_at=tenant.at(1))
        assert await expired(tenant, tenant.at(9.999)) == []
        assert await expired(tenant, tenant.at(10)) == [early]
        assert await expired(tenant, tenant.at(20)) == [early, late]
        assert await tenant.current(late) == later

    async def test_what_is_expired_is_found_in_a_whole_organization(self, tenant: Tenant) -> None:
        """A user sees its own, an organization those of all its users."""
        mine = await tenant.store("mine", expires_at=tenant.at(1))
        other = await tenant.other_user()
        write = tenant.statement("theirs", expires_at=tenant.at(2))
        await tenant.apply(other, memories=(write,))
        now = tenant.at(3)
        assert await expired(tenant, now) == [mine]
        assert await expired(tenant, now, other) == [write.memory_id]
        assert await expired(tenant, now, tenant.whole) == [mine, write.memory_id]
        page = await tenant.graph.find_expired(tenant.whole, now, after=None, limit=10)
        assert [due.user_id for due in page] == [tenant.user_id, other.user_id]
        assert await expired(tenant, now, OrganizationScope("missing")) == []

    async def test_what_is_not_used_is_archived(self, tenant: Tenant) -> None:
        """The later of last use and `obtained_at` counts; pinned and past versions stay."""
        old = await tenant.store("old")
        used = await tenant.store("used")
        await tenant.store("pinned", pinned=True)
        await tenant.store("gone", expires_at=tenant.clock.now())
        new = await tenant.store("new", obtained_at=tenant.at(5))
        past = await tenant.store("past")
        head = await tenant.grow(past, "head", obtained_at=tenant.at(6))
        graph, scope = tenant.graph, tenant.scope
        await graph.count_accesses(scope, {used: Access(1, tenant.at(8))})
        await tenant.empty_queue()
        assert await disused(tenant, tenant.at(-1)) == []
        assert await disused(tenant, tenant.at(4)) == [old]
        assert await disused(tenant, tenant.at(6), tenant.whole) == [old, new, head]
        every = [old, used, new, past, head]
        assert await graph.archive_memories(scope, every, tenant.at(4), tenant.at(9)) == [old]
        assert await tenant.queued_ids() == [old]
        assert (await tenant.memory(old)).archived
        assert await disused(tenant, tenant.at(4)) == []
        assert await graph.archive_memories(scope, every, tenant.at(4), tenant.at(9)) == []
        assert await tenant.queued_ids() == [old]
        assert await tenant.current(old) == old

    async def test_b47_nobody_archives_for_a_user_who_is_not_there(self, tenant: Tenant) -> None:
        """A missing user has nothing to archive, and no work is left behind for it."""
        memory_id = await tenant.store("m")
        await tenant.empty_queue()
        missing = Scope(tenant.org_id, "missing")
        archived = await tenant.graph.archive_memories(
            missing, [memory_id], tenant.at(9), tenant.at(9)
        )
        assert archived == []
        assert await tenant.queue() == []

    async def test_an_organization_is_listed_newest_first(self, tenant: Tenant) -> None:
        """All users' memories in one order, by pages, filtered as a user's are."""
        graph, whole = tenant.graph, tenant.whole
        other = await tenant.other_user()
        for minute in range(3):
            await tenant.store(f"mine {minute}", obtained_at=tenant.at(2 * minute))
            write = tenant.statement(f"theirs {minute}", obtained_at=tenant.at(2 * minute + 1))
            await tenant.apply(other, memories=(write,))
        await tenant.store("gone", obtained_at=tenant.at(-1), expires_at=tenant.at(1))
        old = await tenant.store("archived", obtained_at=tenant.at(-2))
        await graph.archive_memories(tenant.scope, [old], tenant.at(-2), tenant.at(0))
        agents = await tenant.store("agent's", obtained_at=tenant.at(-3), agent_id=tenant.agent_id)
        live = [f"{who} {minute}" for minute in (2, 1, 0) for who in ("theirs", "mine")]
        now = tenant.at(1)

        async def listed(live_at: datetime | None = None, **asked: Any) -> list[str]:
            listing = MemoryListing(**asked)
            if live_at is None:
                page = await graph.list_memories(whole, listing)
            else:
                page = await graph.list_live_memories(whole, listing, live_at)
            return [memory.memory for memory in page]

        assert await listed(now) == [*live, "agent's"]
        assert await listed() == [*live, "gone", "archived", "agent's"]
        assert await listed(now, skip=2, limit=3) == live[2:5]
        assert await listed(agent_id=tenant.agent_id) == ["agent's"]
        assert await listed(now, agent_id=tenant.agent_id) == ["agent's"]
        place = (tenant.at(-2), old)
        assert await listed(after=place) == ["agent's"]
        await tenant.grow(agents, "newer", obtained_at=tenant.at(-2.5))
        assert await listed(after=place) == ["newer"]
        assert await listed(after=place, current_only=False) == ["newer", "agent's"]
        nobody = OrganizationScope("missing")
        assert await graph.list_memories(nobody, MemoryListing()) == []

    async def test_an_expired_version_comes_from_nowhere(self, tenant: Tenant) -> None:
        """What is expired is not listed by its source any more."""
        await tenant.begin("talk", "a")
        await tenant.store("m", interaction_id="talk", expires_at=tenant.at(2))
        source = SourceSelector(SourceKind.INTERACTION, "talk")

        async def listed(now: datetime) -> int:
            found = await tenant.graph.list_source_memories(
                tenant.scope, source, now, current_only=False, skip=0, limit=10
            )
            return len(found)

        assert await listed(tenant.at(1)) == 1
        assert await listed(tenant.at(2)) == 0

    async def test_what_there_is_is_counted(self, tenant: Tenant) -> None:
        """Every version once, by type and by what it is at that time; the queue of this owner."""
        graph, scope = tenant.graph, tenant.scope
        now = tenant.at(400 * DAY)
        await tenant.store("year old", obtained_at=tenant.at(0), pinned=True)
        used = await tenant.store("month old", obtained_at=tenant.at(360 * DAY))
        await tenant.store("rule", obtained_at=tenant.at(399.5 * DAY), memory_type="rule")
        await tenant.store("gone", expires_at=now)
        past = await tenant.store("past", obtained_at=tenant.at(398 * DAY))
        await tenant.grow(past, "head", obtained_at=tenant.at(399 * DAY), memory_type="rule")
        old = await tenant.store("archived", obtained_at=tenant.at(1))
        await graph.archive_memories(scope, [old], tenant.at(1), tenant.at(1))
        await graph.count_accesses(scope, {used: Access(1, now)})
        counts = await graph.count_memories(scope, now)
        assert counts.by_type == {
            "fact": TypeCounts(current=2, archived=1, expired=1, past=1, pinned=1, unused=1),
            "rule": TypeCounts(current=2, unused=2),
        }
        assert (counts.oldest, counts.newest) == (tenant.at(0), tenant.at(399.5 * DAY))
        assert counts.ages == {1: 1, 7: 1, 30: 0, 365: 1, None: 1}
        assert (counts.pending, counts.dead) == (8, 0)
        assert counts.waiting_since == tenant.start
        assert await graph.count_memories(tenant.whole, now) == counts
        other = await tenant.other_user()
        nothing = await graph.count_memories(other, now)
        assert (nothing.by_type, nothing.oldest, nothing.pending) == ({}, None, 0)
        nobody = await graph.count_memories(Scope(tenant.org_id, "missing"), now)
        assert (nobody.by_type, nobody.pending, sum(nobody.ages.values())) == ({}, 0, 0)
        assert sum(nothing.ages.values()) == 0
