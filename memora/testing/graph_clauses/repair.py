"""Clauses on what doctor and reconcile ask of a graph store."""

from __future__ import annotations

from datetime import timedelta

import pytest

from memora.schema.findings import Finding, FindingKind
from memora.schema.write_plan import OutboxEntry
from memora.testing.clocks import FrozenClock
from memora.testing.graph_clauses.tenant import Tenant, TenantFixtures

_DECADE = timedelta(days=3650)


async def found(tenant: Tenant, kind: FindingKind) -> list[Finding]:
    """Return what `inspect` says of a tenant, of one kind."""
    findings = await tenant.graph.inspect()
    return [each for each in findings if each.org_id == tenant.org_id and each.kind is kind]


async def mend(tenant: Tenant, kind: FindingKind) -> list[Finding]:
    """Repair the tenant's findings of one kind; return them."""
    findings = await found(tenant, kind)
    for finding in findings:
        await tenant.graph.repair(finding, tenant.clock.now())
    assert await found(tenant, kind) == []
    return findings


class RepairClauses(TenantFixtures):
    """Check and repair."""

    async def test_opening_an_open_store_as_it_is_changes_nothing(self, tenant: Tenant) -> None:
        """Doctor opens what is not open, and leaves alone what is."""
        await tenant.store("a")
        before = await tenant.snapshot()
        await tenant.graph.open_as_is()
        assert await tenant.snapshot() == before

    async def test_known_memories_are_those_of_the_named_owner(self, tenant: Tenant) -> None:
        """A memory is known under its organization, its user and its id together."""
        other = await tenant.other_user()
        memory_id = await tenant.store("a")
        key = (tenant.org_id, tenant.user_id, memory_id)
        foreign = [
            (tenant.org_id, other.user_id, memory_id),
            ("nowhere", tenant.user_id, memory_id),
            (tenant.org_id, tenant.user_id, "nothing"),
        ]
        assert await tenant.graph.known_memories([key, *foreign]) == {key}
        assert await tenant.graph.known_memories([]) == set()

    @pytest.mark.parametrize("kind", FindingKind)
    async def test_a_repair_of_what_is_in_order_changes_nothing(
        self, tenant: Tenant, kind: FindingKind
    ) -> None:
        """A finding that somebody else repaired, or that was never one, is looked at again."""
        talk = await tenant.begin("talk", "x", "y", external_id="chat")
        first, second = await tenant.chain("a", "b")
        sourced = await tenant.store("c", sources=(talk.source(0),))
        await tenant.apply(job=tenant.job(talk, 0, 1))
        await tenant.store("d", agent_id=tenant.agent_id)
        await tenant.empty_queue()
        before = await tenant.snapshot()
        records = [first, second, sourced, "talk", "job", tenant.agent_id, tenant.user_id]
        if kind is FindingKind.HALF_MIGRATION:
            records = []  # a name of the schema, which all tests share
        for record_id in [*records, "nothing", "1"]:
            finding = Finding("I0", record_id, "", kind, tenant.org_id, tenant.user_id)
            if kind is not FindingKind.DANGLING_AGENT or record_id == tenant.agent_id:
                await tenant.graph.repair(finding, tenant.clock.now())
        assert await tenant.snapshot() == before

    async def test_b47_an_agent_that_is_lost_comes_back_as_a_deleted_one(
        self, tenant: Tenant
    ) -> None:
        """Nobody writes as it, and whoever creates it again gets it under the new label."""
        lost = Finding("I3", "lost", "", FindingKind.DANGLING_AGENT, tenant.org_id)
        await tenant.graph.repair(lost, tenant.clock.now())
        assert await tenant.graph.find_agent(tenant.org_id, "lost") is None
        _names, labels = await tenant.graph.read_names(tenant.org_id, [], ["lost"])
        assert labels == {"lost": "deleted agent"}
        again = await tenant.graph.create_agent(tenant.org_id, "Back", agent_id="lost")
        assert again.agent_label == "Back"

    async def test_work_that_was_given_up_is_due_again(self, tenant: Tenant) -> None:
        """Dead entries are found one by one, and a repair revives them with all their tries."""
        await tenant.store("a")
        entries = await tenant.claim()
        await tenant.graph.fail_outbox(entries, error="x", not_before=tenant.clock.now(), dead=True)
        [finding] = await mend(tenant, FindingKind.STUCK_OUTBOX)
        assert finding.record_id == str(entries[0].seq)
        [entry] = await self._due(tenant)
        assert (entry.seq, entry.attempts) == (entries[0].seq, 0)

    async def test_work_that_was_leased_by_a_clock_that_was_ahead_is_due_again(
        self, tenant: Tenant
    ) -> None:
        """A lease of a minute is nothing, one of ten years is stuck."""
        await tenant.store("a")
        now = tenant.clock.now()
        await tenant.claim()
        assert await found(tenant, FindingKind.STUCK_OUTBOX) == []
        ahead = now + timedelta(minutes=2)
        await tenant.graph.claim_outbox(now=ahead, lease_until=now + _DECADE, limit=1000)
        await mend(tenant, FindingKind.STUCK_OUTBOX)
        assert len(await self._due(tenant)) == 1

    async def test_a_job_that_was_leased_by_a_clock_that_was_ahead_is_free(
        self, tenant: Tenant
    ) -> None:
        """It can be claimed again."""
        talk = await tenant.begin("talk", "x")
        await tenant.apply(job=tenant.job(talk, 0, 1))
        now = tenant.clock.now()
        org_id = tenant.org_id
        await tenant.graph.claim_job(org_id, "job", now=now, lease_until=now + _DECADE)
        [finding] = await mend(tenant, FindingKind.STUCK_OUTBOX)
        assert finding.record_id == "job"
        assert await tenant.graph.claim_job(org_id, "job", now=now, lease_until=now)

    async def test_b65_times_of_a_clock_that_was_ahead_are_put_back(self, tenant: Tenant) -> None:
        """What the store recorded in its future is recorded now; the conversation's times stay."""
        late = FrozenClock(tenant.clock.now() + _DECADE)
        tenant.graph.clock, tenant.clock = late, late
        await tenant.begin("talk", "x", at=tenant.start)
        memory_id = await tenant.store("a", obtained_at=tenant.start)
        now = FrozenClock(tenant.start)
        tenant.graph.clock, tenant.clock = now, now
        findings = await mend(tenant, FindingKind.CLOCK_REGRESSION)
        assert {finding.record_id for finding in findings} == {"talk", memory_id}
        memory = await tenant.memory(memory_id)
        assert (memory.obtained_at, memory.recorded_at) == (tenant.start, tenant.start)
        talk = await tenant.graph.find_interaction(tenant.scope, "talk")
        assert talk is not None
        assert talk.updated_at == tenant.start

    async def test_b55_a_statement_that_came_back_from_a_purge_is_ended(
        self, tenant: Tenant
    ) -> None:
        """All messages that it comes from bear its tombstone; its history stays."""
        talk = await tenant.begin("talk", "I like tea", "ok")
        buried, kept = talk.source(0), talk.source(1)
        purged = await tenant.store("m", "Likes tea.", sources=(buried,))
        await tenant.graph.delete_user_memory(tenant.org_id, tenant.user_id, purged)
        tenant.later()
        back = await tenant.store("n", "Likes tea.", sources=(buried, kept))
        assert await found(tenant, FindingKind.TOMBSTONE_VIOLATION) == []
        await tenant.edit(talk, 1)
        await tenant.empty_queue()
        [finding] = await mend(tenant, FindingKind.TOMBSTONE_VIOLATION)
        assert (finding.record_id, finding.invariant) == (back, "I12")
        assert await tenant.current(back) is None
        assert await tenant.history(back) == [back]
        assert await tenant.queued_ids() == [back]

    async def test_b55_a_statement_that_was_there_at_the_purge_is_left_alone(
        self, tenant: Tenant
    ) -> None:
        """Another memory says it too, from the same first words of another conversation.

        Who purges one of them does not purge the other, which was not extracted again.
        """
        first = await tenant.begin("first", "I like tea")
        second = await tenant.begin("second", "I like tea")
        assert first.source(0).prefix_hash == second.source(0).prefix_hash
        purged = await tenant.store("m", "Likes tea.", sources=(first.source(0),))
        stays = await tenant.store(
            "n", "Likes tea.", sources=(second.source(0),), agent_id=tenant.agent_id
        )
        await tenant.graph.delete_user_memory(tenant.org_id, tenant.user_id, purged)
        assert await found(tenant, FindingKind.TOMBSTONE_VIOLATION) == []
        owner = (tenant.org_id, tenant.user_id)
        named = Finding("I12", stays, "", FindingKind.TOMBSTONE_VIOLATION, *owner)
        tenant.later(5)
        await tenant.graph.repair(named, tenant.clock.now())
        assert (await tenant.memory(stays)).superseded_at is None

    async def _due(self, tenant: Tenant) -> list[OutboxEntry]:
        tenant.later(5)
        return await tenant.claim()
