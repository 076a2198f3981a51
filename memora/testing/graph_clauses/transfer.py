"""Clauses on dumps and loads: all there is, in order, from one state, and back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

import pytest

from memora.core.transfer import Whole, encode
from memora.errors import ConflictError
from memora.graph_db.base import BaseGraphDB
from memora.schema.imports import ImportCounts, ImportRun, ImportStatus
from memora.schema.jobs import JobStatus
from memora.schema.transfer import (
    AgentRecord,
    JobRecord,
    MemoryRecord,
    MessageRecord,
    OrganizationRecord,
    TransferRecord,
    UserRecord,
)
from memora.schema.write_plan import IdempotencyRecord
from memora.testing.graph_clauses.chains import of_one_time
from memora.testing.graph_clauses.hostile import TEXTS
from memora.testing.graph_clauses.tenant import LEASE, MakeTenant, Tenant, TenantFixtures


async def dump(graph: BaseGraphDB, org_id: str | None) -> list[TransferRecord]:
    """Return all records of an organization."""
    async with aclosing(graph.dump_records(org_id)) as pages:
        return [record async for page in pages for record in page]


def renamed(records: Sequence[TransferRecord], org_id: str) -> list[TransferRecord]:
    """Return the records as those of another organization."""
    return [record.model_copy(update={"org_id": org_id}) for record in records]


def lines(records: Sequence[TransferRecord]) -> list[bytes]:
    """Return the records as an export writes them, but for the organization."""
    return [encode(record) for record in renamed(records, "any")]


class TransferClauses(TenantFixtures):
    """Whole organizations, out of a store and into it."""

    async def furnish(self, tenant: Tenant) -> None:
        """Leave a record of every kind."""
        await tenant.other_user("\uff21")
        await tenant.other_user("\U0001f600")
        await tenant.graph.create_agent(tenant.org_id, "Own", tenant.user_id, agent_id="own")
        await tenant.graph.create_agent(tenant.org_id, "Gone", agent_id="gone")
        talk = await tenant.begin("talk", *TEXTS, agent_id="gone", external_id="e", title="T")
        await tenant.begin("empty")
        sources = (talk.source(11), talk.source(2))
        first = await tenant.store("first", sources=sources, interaction_id="talk", agent_id="own")
        await tenant.grow(first, "second", obtained_at=tenant.at(5), agent_id="gone")
        await tenant.grow(first, "between", obtained_at=tenant.at(3), tags=("a", "b"))
        gone = await tenant.store("gone", sources=(talk.source(0),))
        await tenant.graph.purge_memories(tenant.scope, [gone], tenant.later())
        key = IdempotencyRecord("key", "body", {"a": [1, None]})
        await tenant.apply(job=tenant.job(talk, 0, 5), idempotency=key)
        await self.import_some(tenant)
        await tenant.graph.remove_agent(tenant.org_id, "gone", tenant.later())

    async def import_some(self, tenant: Tenant) -> None:
        """Import a conversation, and update one that was there."""
        run = ImportRun(
            org_id=tenant.org_id,
            import_id="import",
            user_id=tenant.user_id,
            agent_id="gone",
            process_id="process",
            started_at=tenant.clock.now(),
        )
        await tenant.graph.begin_import(run)
        await tenant.graph.note_import(tenant.scope, "import", ImportCounts(1, 2, 3, 4))
        await tenant.begin("imported", "x", import_id="import")
        mine = await tenant.begin("updated", *TEXTS, title="T")
        await tenant.store("cut off", obtained_at=tenant.at(9), sources=(mine.source(5),))
        await tenant.edit(mine, 1, "y", import_id="import", title="U")
        key = IdempotencyRecord("seed:key", "body", {}, "import")
        await tenant.apply(idempotency=key)
        await tenant.graph.finish_import(tenant.scope, "import", ImportStatus.DONE, tenant.later())

    async def test_a_dump_is_whole_and_in_order(self, tenant: Tenant) -> None:
        """Every kind is there, each record in its place, and all that is named is there, too."""
        await self.furnish(tenant)
        records = await dump(tenant.graph, tenant.org_id)
        whole = Whole()
        for number, record in enumerate(records):
            whole.add(record, number)
        whole.end()
        assert {record.org_id for record in records} == {tenant.org_id}
        assert len({record.kind for record in records}) == 11
        users = [record.user_id for record in records if isinstance(record, UserRecord)]
        assert users == ["the-user", "\uff21", "\U0001f600"]
        messages = [record for record in records if isinstance(record, MessageRecord)]
        assert [m.content for m in messages if m.interaction_id == "talk"] == list(TEXTS)
        agents = {record.agent_id: record for record in records if isinstance(record, AgentRecord)}
        assert agents.keys() == {"own", "gone", tenant.agent_id}
        assert agents["gone"].deleted_at == tenant.clock.now()
        first = next(record for record in records if isinstance(record, MemoryRecord))
        assert [source.position for source in first.sources] == [2, 11]

    async def test_a_dump_of_everything_has_it_in_the_order_of_ids(
        self, make_tenant: MakeTenant
    ) -> None:
        """Organizations follow each other by id, each with what the dump of it alone has."""
        tenants = [await make_tenant() for _ in range(2)]
        await self.furnish(tenants[1])
        everything = await dump(tenants[0].graph, None)
        organizations = [r.org_id for r in everything if isinstance(r, OrganizationRecord)]
        assert organizations == sorted(organizations)
        for tenant in tenants:
            own = [record for record in everything if record.org_id == tenant.org_id]
            assert own == await dump(tenant.graph, tenant.org_id)

    async def test_nothing_is_dumped_of_what_is_not_there(self, tenant: Tenant) -> None:
        """An unknown or erased organization has no records."""
        assert await dump(tenant.graph, "nobody") == []
        await tenant.graph.erase_organization(tenant.org_id, tenant.clock.now())
        assert await dump(tenant.graph, tenant.org_id) == []

    async def test_a_job_under_way_is_dumped_as_one_that_waits(self, tenant: Tenant) -> None:
        """Nobody holds its lease where it is loaded."""
        talk = await tenant.begin("talk", "x")
        await tenant.apply(job=tenant.job(talk, 0, 1))
        now = tenant.clock.now()
        await tenant.graph.claim_job(tenant.org_id, "job", now=now, lease_until=now + LEASE)
        (job,) = [r for r in await dump(tenant.graph, tenant.org_id) if isinstance(r, JobRecord)]
        assert (job.status, job.attempts) == (JobStatus.PENDING.value, 1)

    async def test_what_is_loaded_is_dumped_again(
        self, tenant: Tenant, make_tenant: MakeTenant
    ) -> None:
        """All fields come back, chains are whole, and the vectors' work is enqueued with it."""
        await self.furnish(tenant)
        records = await dump(tenant.graph, tenant.org_id)
        other = await make_tenant()
        await other.graph.erase_organization(other.org_id, other.clock.now())
        await other.empty_queue()
        copies = renamed(records, other.org_id)
        for start in range(0, len(copies), 7):
            await other.graph.load_records(copies[start : start + 7], other.later())
        assert lines(await dump(other.graph, other.org_id)) == lines(records)
        versions = [record for record in records if isinstance(record, MemoryRecord)]
        ids = [version.memory_id for version in versions]
        assert sorted(await other.queued_ids()) == sorted(ids)
        memories = [v.memory_id for v in versions if v.chain_id == tenant.memory_id("first")]
        history = await other.history(memories[0])
        assert history == list(reversed(memories))
        assert await other.current(memories[0]) == history[0]
        await other.grow(memories[0], "after it", obtained_at=other.at(60))
        assert len(await other.history(memories[0])) == 4

    async def test_versions_of_one_time_keep_their_order_in_a_copy(
        self, tenant: Tenant, make_tenant: MakeTenant
    ) -> None:
        """They are dumped by their ids, and follow each other as they did."""
        ids = await of_one_time(tenant)
        records = await dump(tenant.graph, tenant.org_id)
        other = await make_tenant()
        await other.graph.erase_organization(other.org_id, other.clock.now())
        await other.graph.load_records(renamed(records, other.org_id), other.later())
        assert await other.history(ids[0]) == ids[::-1]
        last = await other.grow(ids[0], "last", obtained_at=other.at(0.5))
        assert await other.history(ids[0]) == [last, *ids[::-1]]

    async def test_a_prefix_is_dumped_as_itself(
        self, tenant: Tenant, make_tenant: MakeTenant
    ) -> None:
        """However far a load came, the dump is the beginning of what is to be loaded."""
        await self.furnish(tenant)
        records = await dump(tenant.graph, tenant.org_id)
        other = await make_tenant()
        await other.graph.erase_organization(other.org_id, other.clock.now())
        copies = renamed(records, other.org_id)
        for number, record in enumerate(copies):
            if number % 7 == 0:
                assert await dump(other.graph, other.org_id) == copies[:number]
            await other.graph.load_records([record], other.clock.now())

    async def test_a_load_overwrites_nothing(self, tenant: Tenant) -> None:
        """Records that are there are refused, and none of the call is written."""
        await self.furnish(tenant)
        before = await dump(tenant.graph, tenant.org_id)
        for record in {record.kind: record for record in before}.values():
            new = UserRecord.model_validate(
                {
                    "org_id": tenant.org_id,
                    "user_id": "new",
                    "user_name": "New",
                    "created_at": tenant.start,
                    "salt": "salt",
                }
            )
            with pytest.raises(ConflictError):
                await tenant.graph.load_records([new, record], tenant.clock.now())
            assert await dump(tenant.graph, tenant.org_id) == before

    async def test_a_load_needs_what_the_records_belong_to(
        self, tenant: Tenant, make_tenant: MakeTenant
    ) -> None:
        """Nothing is loaded for an owner, an interaction or a message that is not there."""
        await self.furnish(tenant)
        records = {record.kind: record for record in await dump(tenant.graph, tenant.org_id)}
        memory = next(
            record
            for record in await dump(tenant.graph, tenant.org_id)
            if isinstance(record, MemoryRecord) and record.sources
        )
        without_sources = memory.model_copy(update={"sources": ()})
        needing = [memory, without_sources, records["message"], records["job"]]
        owned = ["agent", "interaction", "message", "memory", "tombstone", "idempotency_key", "job"]
        owned += ["import", "import_change"]
        needing.append(records["import_change"])
        needing += [records[kind].model_copy(update={"user_id": "nobody"}) for kind in owned]
        other = await make_tenant()
        before = await dump(other.graph, other.org_id)
        for record in renamed(needing, other.org_id):
            with pytest.raises(ConflictError):
                await other.graph.load_records([record], other.clock.now())
        assert await dump(other.graph, other.org_id) == before
