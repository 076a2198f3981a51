"""Clauses on the outbox: order, leases, failures, drops."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from memora.schema.scope import Scope
from memora.schema.write_plan import LONGEST_PAUSE, OutboxEntry, OutboxOp
from memora.testing.graph_clauses.tenant import LEASE, Tenant, TenantFixtures

MOMENT = timedelta(microseconds=1)


def ids(entries: Sequence[OutboxEntry]) -> list[str]:
    """Return the first memory id of each entry, or its operation."""
    return [entry.memory_ids[0] if entry.memory_ids else entry.op.value for entry in entries]


class OutboxClauses(TenantFixtures):
    """The outbox."""

    async def enqueue(self, tenant: Tenant, *memory_ids: str, scope: Scope | None = None) -> None:
        """Add one entry per memory id."""
        for memory_id in memory_ids:
            await tenant.graph.enqueue_sync(scope or tenant.scope, [memory_id], tenant.clock.now())

    async def test_entries_are_claimed_in_order_and_once(self, tenant: Tenant) -> None:
        """Claims follow the order of commit and carry the lease; who has them acknowledges them."""
        await self.enqueue(tenant, "a", "b", "c")
        listed = await tenant.queue()
        claimed = await tenant.claim()
        assert ids(claimed) == ["a", "b", "c"]
        assert [entry.seq for entry in claimed] == [entry.seq for entry in listed]
        assert all(entry.lease for entry in claimed)
        assert [entry.lease for entry in await tenant.queue()] == [None, None, None]
        assert await tenant.claim() == []
        assert await tenant.graph.ack_outbox(claimed[:2]) == []
        assert ids(await tenant.queue()) == ["c"]
        assert await tenant.graph.ack_outbox(claimed[2:]) == []
        assert await tenant.queue() == []

    async def test_a_sync_of_nothing_is_no_work(self, tenant: Tenant) -> None:
        """Nothing is enqueued for no memories."""
        await tenant.graph.enqueue_sync(tenant.scope, [], tenant.clock.now())
        assert await tenant.queue() == []

    async def test_concurrent_claims_share_nothing(self, tenant: Tenant) -> None:
        """Each entry is leased by one of the workers that claim at the same time."""
        scopes = [await tenant.other_user(f"user{number}") for number in range(6)]
        for scope in scopes:
            await self.enqueue(tenant, scope.user_id, scope=scope)
        now = tenant.clock.now()
        batches = await asyncio.gather(
            *(
                tenant.graph.claim_outbox(now=now, lease_until=now + LEASE, limit=500)
                for _ in range(3)
            )
        )
        own = [e for batch in batches for e in batch if e.org_id == tenant.org_id]
        assert sorted(ids(own)) == [scope.user_id for scope in scopes]
        assert await tenant.graph.ack_outbox(own) == []

    async def test_b20_an_expired_lease_is_taken_over(self, tenant: Tenant) -> None:
        """After the lease another worker gets the entry, and the first one's ack is refused."""
        await self.enqueue(tenant, "a")
        first = await tenant.claim()
        late = tenant.clock.now() + LEASE
        assert await tenant.claim(late - MOMENT) == []
        second = await tenant.claim(late)
        assert [entry.seq for entry in second] == [entry.seq for entry in first]
        assert second[0].lease != first[0].lease
        assert await tenant.graph.ack_outbox(first) == first
        await tenant.graph.fail_outbox(first, error="late", not_before=late, dead=True)
        (entry,) = await tenant.queue()
        assert (entry.attempts, entry.error, entry.dead) == (0, None, False)
        assert await tenant.graph.ack_outbox(second) == []
        assert await tenant.queue() == []

    async def test_a_failed_entry_waits_for_its_time(self, tenant: Tenant) -> None:
        """A failure counts, is noted, and the entry is due again at the time given."""
        await self.enqueue(tenant, "a")
        (claimed,) = await tenant.claim()
        due = tenant.at(5)
        await tenant.graph.fail_outbox([claimed], error="Error: é", not_before=due, dead=False)
        (entry,) = await tenant.queue()
        assert (entry.attempts, entry.error, entry.not_before) == (1, "Error: é", due)
        assert (entry.dead, entry.enqueued_at) == (False, tenant.start)
        assert await tenant.claim(due - MOMENT) == []
        (again,) = await tenant.claim(due)
        assert (again.attempts, again.error) == (1, "Error: é")
        assert await tenant.graph.ack_outbox([again]) == []

    async def test_dead_entries_rest_until_they_are_retried(self, tenant: Tenant) -> None:
        """A dead entry is never due; a retry makes it, and those that wait, due at once."""
        await self.enqueue(tenant, "dead", "waits")
        dead, waits = await tenant.claim()
        far = tenant.at(1000)
        await tenant.graph.fail_outbox([dead], error="x", not_before=tenant.start, dead=True)
        await tenant.graph.fail_outbox([waits], error="x", not_before=far, dead=False)
        status = await tenant.graph.outbox_status()
        assert status.dead >= 1
        assert status.pending >= 1
        assert ids(await tenant.claim(far)) == ["waits"]
        now = far + LEASE
        assert await tenant.graph.retry_outbox(now) >= 1
        claimed = await tenant.claim(now)
        assert ids(claimed) == ["dead", "waits"]
        assert await tenant.graph.ack_outbox(claimed) == []

    async def test_entries_of_a_user_wait_for_each_other(self, tenant: Tenant) -> None:
        """While an entry of a user is leased, later ones of that user are passed over."""
        other = await tenant.other_user()
        await self.enqueue(tenant, "a")
        first = await tenant.claim()
        await self.enqueue(tenant, "b")
        await self.enqueue(tenant, "other", scope=other)
        theirs = await tenant.claim()
        assert ids(theirs) == ["other"]
        assert await tenant.graph.ack_outbox([*first, *theirs]) == []
        assert ids(await tenant.claim()) == ["b"]

    async def test_a_sync_that_waits_holds_nothing_up(self, tenant: Tenant) -> None:
        """Later entries of the user overtake one that failed or is dead."""
        await self.enqueue(tenant, "waits", "dead")
        waits, dead = await tenant.claim()
        far = tenant.at(10)
        await tenant.graph.fail_outbox([waits], error="x", not_before=far, dead=False)
        await tenant.graph.fail_outbox([dead], error="x", not_before=far, dead=True)
        await self.enqueue(tenant, "later")
        assert ids(await tenant.claim()) == ["later"]

    async def test_b83_erasing_a_user_leaves_only_the_drop(self, tenant: Tenant) -> None:
        """The user's older entries go, also one whose worker was given up; other users' stay."""
        other = await tenant.other_user()
        await self.enqueue(tenant, "stale")
        stale = await tenant.claim()
        late = tenant.clock.now() + LEASE
        await self.enqueue(tenant, "waits")
        await self.enqueue(tenant, "other", scope=other)
        await tenant.graph.erase_user(tenant.scope, late)
        queue = await tenant.queue()
        assert ids(queue) == ["other", "drop_user"]
        assert (queue[1].user_id, queue[1].memory_ids) == (tenant.user_id, ())
        assert await tenant.graph.ack_outbox(stale) == stale

    async def test_b14_the_drop_of_an_erased_user_waits_for_who_writes_its_vectors(
        self, tenant: Tenant
    ) -> None:
        """What a worker has leased stays until it is done or given up; nothing is written after."""
        await self.enqueue(tenant, "leased")
        leased = await tenant.claim()
        await self.enqueue(tenant, "waits")
        await tenant.graph.erase_user(tenant.scope, tenant.clock.now())
        assert ids(await tenant.queue()) == ["leased", "drop_user"]
        assert await tenant.claim() == []
        assert ids(await tenant.claim(tenant.clock.now() + LEASE)) == ["leased", "drop_user"]
        await tenant.empty_queue()
        assert await tenant.graph.ack_outbox(leased) == leased

    async def test_b14_an_acknowledgement_lets_the_drop_go_on(self, tenant: Tenant) -> None:
        """The drop is due as soon as the worker is done."""
        await self.enqueue(tenant, "leased")
        leased = await tenant.claim()
        await tenant.graph.erase_user(tenant.scope, tenant.clock.now())
        assert await tenant.graph.ack_outbox(leased) == []
        assert ids(await tenant.claim()) == ["drop_user"]

    async def test_b83_a_drop_can_be_made_due_again(self, tenant: Tenant) -> None:
        """All that waits for an erased user becomes one drop; of one who exists nothing does."""
        graph, far = tenant.graph, tenant.at(1000)
        await graph.enqueue_drop(tenant.scope, tenant.clock.now())
        await graph.enqueue_drop(tenant.whole, tenant.clock.now())
        assert await tenant.queue() == []
        await graph.erase_user(tenant.scope, tenant.clock.now())
        (drop,) = await tenant.claim()
        await graph.fail_outbox([drop], error="x", not_before=far, dead=True)
        await self.enqueue(tenant, "late")
        await graph.enqueue_drop(tenant.scope, tenant.clock.now())
        (again,) = await tenant.claim()
        assert (again.op, again.user_id, again.attempts) == (OutboxOp.DROP_USER, tenant.user_id, 0)
        await graph.erase_organization(tenant.org_id, tenant.clock.now())
        assert await graph.ack_outbox([again]) == []
        await graph.enqueue_drop(tenant.whole, tenant.clock.now())
        (whole,) = await tenant.claim()
        assert (whole.op, whole.user_id) == (OutboxOp.DROP_ORGANIZATION, "")
        assert await graph.ack_outbox([whole]) == []
        assert await tenant.queue() == []

    async def test_b83_nothing_overtakes_a_drop(self, tenant: Tenant) -> None:
        """Entries of a user wait for an earlier drop, be it leased, waiting, or dead."""
        await tenant.graph.erase_user(tenant.scope, tenant.clock.now())
        await tenant.graph.create_user(tenant.org_id, "Jake", user_id=tenant.user_id)
        await self.enqueue(tenant, "after")
        (drop,) = await tenant.claim()
        assert drop.op is OutboxOp.DROP_USER
        far = tenant.at(10)
        await tenant.graph.fail_outbox([drop], error="x", not_before=far, dead=False)
        assert await tenant.claim() == []
        (drop,) = await tenant.claim(far)
        await tenant.graph.fail_outbox([drop], error="x", not_before=far, dead=True)
        assert await tenant.claim(far + LEASE) == []
        await tenant.graph.retry_outbox(far)
        (drop,) = await tenant.claim(far + LEASE)
        assert drop.op is OutboxOp.DROP_USER
        assert await tenant.graph.ack_outbox([drop]) == []
        assert ids(await tenant.claim(far + LEASE)) == ["after"]

    async def test_b83_dropping_an_organization_waits_for_all_its_users(
        self, tenant: Tenant
    ) -> None:
        """The drop is claimed when nothing of the organization is leased, and then holds all up."""
        other = await tenant.other_user()
        await self.enqueue(tenant, "late", scope=other)
        leased = await tenant.claim()
        await tenant.graph.erase_organization(tenant.org_id, tenant.clock.now())
        assert ids(await tenant.queue()) == ["late", "drop_organization"]
        assert await tenant.claim() == []
        assert await tenant.graph.ack_outbox(leased) == []
        # What a worker wrote too late has to be looked at again, but after the drop.
        await self.enqueue(tenant, "late", scope=other)
        (drop,) = await tenant.claim()
        assert (drop.op, drop.user_id) == (OutboxOp.DROP_ORGANIZATION, "")
        assert await tenant.claim() == []
        assert await tenant.graph.ack_outbox([drop]) == []
        rest = await tenant.claim()
        assert ids(rest) == ["late"]
        assert await tenant.graph.ack_outbox(rest) == []

    async def test_b83_deleting_an_organization_again_after_it_came_back(
        self, tenant: Tenant
    ) -> None:
        """A second drop waits while the first is leased, and the later one remains."""
        graph, org_id = tenant.graph, tenant.org_id
        await graph.erase_organization(org_id, tenant.clock.now())
        (first,) = await tenant.claim()
        await tenant.create()
        await self.enqueue(tenant, "new")
        await graph.erase_organization(org_id, tenant.clock.now())
        assert await tenant.claim() == []
        assert await graph.ack_outbox([first]) == []
        (second,) = await tenant.claim()
        assert second.op is OutboxOp.DROP_ORGANIZATION
        assert second.seq > first.seq
        assert await graph.ack_outbox([second]) == []

    async def test_the_operator_sees_the_queue(self, tenant: Tenant) -> None:
        """Entries are listed by number, page by page, and the oldest tells the lag."""
        await self.enqueue(tenant, "a", "b", "c")
        queue = await tenant.queue()
        assert ids(queue) == ["a", "b", "c"]
        page = await tenant.graph.list_outbox(after=queue[0].seq, limit=1)
        assert page[0].seq <= queue[1].seq
        status = await tenant.graph.outbox_status()
        assert status.pending >= 3
        assert status.oldest is not None
        assert status.oldest <= tenant.start

    # A clock that was set back

    async def test_a_clock_that_was_set_back_delays_an_entry_by_a_pause_at_most(
        self, tenant: Tenant
    ) -> None:
        """What waits until a time that no pause reaches is due, and a near time is kept."""
        await self.enqueue(tenant, "waits")
        day = tenant.at(24 * 60)
        (claimed,) = await tenant.claim(day)
        await tenant.graph.fail_outbox(
            [claimed], error="x", not_before=day + LONGEST_PAUSE, dead=False
        )
        near = day - LONGEST_PAUSE
        assert await tenant.claim(near) == []
        assert ids(await tenant.claim(near - MOMENT)) == ["waits"]

    async def test_a_clock_that_was_set_back_prolongs_a_lease_by_a_lease_at_most(
        self, tenant: Tenant
    ) -> None:
        """An entry that is leased until next day is taken over, and holds up no other one."""
        day = tenant.at(24 * 60)
        await self.enqueue(tenant, "leased")
        first = await tenant.claim(day)
        await self.enqueue(tenant, "behind")
        near = day - LEASE
        assert await tenant.claim(near) == []
        second = await tenant.claim(near - MOMENT)
        assert ids(second) == ["leased", "behind"]
        assert await tenant.graph.ack_outbox(first) == first
        assert await tenant.graph.ack_outbox(second) == []

    async def test_a_clock_that_was_set_back_does_not_keep_a_job(self, tenant: Tenant) -> None:
        """A job that is leased until next day can be claimed; one whose lease is near cannot."""
        await tenant.apply(job=tenant.job(await tenant.begin("talk", "a"), 0, 1))
        graph, org_id, day = tenant.graph, tenant.org_id, tenant.at(24 * 60)
        assert await graph.claim_job(org_id, "job", now=day, lease_until=day + LEASE)
        near = day - LEASE
        assert await graph.claim_job(org_id, "job", now=near, lease_until=day) is None
        early = near - MOMENT
        taken = await graph.claim_job(org_id, "job", now=early, lease_until=early + LEASE)
        assert taken is not None
        assert taken.attempts == 2
