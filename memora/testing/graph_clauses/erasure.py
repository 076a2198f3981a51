"""Clauses on deleting: everything goes, nothing else does, and vectors follow."""

from __future__ import annotations

from dataclasses import replace

from memora.core.hashing import content_hash, tombstone
from memora.graph_db.base import BaseGraphDB
from memora.schema.scope import OrganizationScope, Scope
from memora.schema.write_plan import DeleteCounts, IdempotencyRecord, OutboxOp
from memora.testing.graph_clauses.tenant import MakeTenant, Reopen, Tenant, TenantFixtures


async def fill(tenant: Tenant) -> dict[str, str]:
    """Give the user one of everything; return memory ids by name."""
    graph, org_id = tenant.graph, tenant.org_id
    await graph.create_agent(org_id, "Personal", tenant.user_id, agent_id="personal")
    talk = await tenant.begin("talk", "a", "b", agent_id="personal", external_id="thread")
    await tenant.begin("empty")
    ids = {
        "old": await tenant.store("old", interaction_id="talk", sources=(talk.source(0),)),
        "free": await tenant.store("free", agent_id=tenant.agent_id, sources=(talk.source(1),)),
        "purged": await tenant.store("purged", sources=(talk.source(1),)),
    }
    ids["new"] = await tenant.grow(ids["old"], "new", obtained_at=tenant.at(1))
    await graph.purge_memories(tenant.scope, [ids.pop("purged")], tenant.clock.now())
    await tenant.apply(
        job=tenant.job(talk, 0, 2), idempotency=IdempotencyRecord("key", "body", {"a": 1})
    )
    return ids


# What `fill` leaves, without the outbox entries.
OF_USER = DeleteCounts(
    interactions=2,
    messages=2,
    memories=3,
    agents=1,
    users=1,
    jobs=1,
    idempotency_keys=1,
    tombstones=1,
)


class ErasureClauses(TenantFixtures):
    """Deleting."""

    async def test_b83_records_are_counted_by_owner(self, tenant: Tenant) -> None:
        """Every kind of record of a user or an organization is counted, and nobody else's."""
        graph = tenant.graph
        other = await tenant.other_user()
        await tenant.begin("theirs", "x", scope=other)
        nothing = DeleteCounts()
        assert await graph.count_records(Scope(tenant.org_id, "missing")) == nothing
        assert await graph.count_records(OrganizationScope(f"{tenant.org_id}-x")) == nothing
        await fill(tenant)
        entries = len(await tenant.queue())
        of_user = replace(OF_USER, outbox_entries=entries)
        assert await graph.count_records(tenant.scope) == of_user
        theirs = DeleteCounts(interactions=1, messages=1, users=1)
        assert await graph.count_records(other) == theirs
        # The organization's own agent is no user's.
        rest = DeleteCounts(agents=1, organizations=1)
        assert await graph.count_records(tenant.whole) == of_user + theirs + rest
        assert await graph.scrub()

    async def test_b83_b85_a_deleted_user_is_gone_with_everything(self, tenant: Tenant) -> None:
        """Nothing that belonged to a user is there when the id is used again."""
        graph, org_id, user_id = tenant.graph, tenant.org_id, tenant.user_id
        other = await tenant.other_user()
        await tenant.begin("theirs", "x", scope=other)
        await tenant.apply(other, memories=(tenant.statement("theirs"),))
        ids = await fill(tenant)
        salt = await graph.read_salt(tenant.scope)
        counts = await graph.delete_user(org_id, user_id)
        assert counts == replace(OF_USER, outbox_entries=counts.outbox_entries)
        assert await graph.count_records(tenant.scope) == DeleteCounts(outbox_entries=1)
        await graph.create_user(org_id, "Jake", user_id=user_id)
        assert await graph.get_all_user_interactions(org_id, user_id) == []
        assert await tenant.all_memories() == []
        assert await graph.resolve_memories(tenant.scope, list(ids.values()), None) == {}
        assert await graph.find_interaction(tenant.scope, "thread") is None
        assert await graph.read_messages(tenant.scope, "talk", 0, None) == []
        assert await graph.find_idempotency(tenant.scope, "key") is None
        assert await graph.list_jobs(org_id, user_id=user_id) == []
        assert await graph.find_agent(org_id, "personal") is None
        assert await graph.find_agent(org_id, tenant.agent_id) is not None
        assert await graph.read_salt(tenant.scope) != salt
        assert [m.memory for m in await graph.get_all_user_memories(org_id, other.user_id)] == [
            "theirs"
        ]
        assert len(await graph.read_messages(other, "theirs", 0, None)) == 1

    async def test_b83_a_deleted_organization_is_gone_with_everything(
        self, tenant: Tenant, make_tenant: MakeTenant
    ) -> None:
        """Nothing of an organization is there when its id is used again; others keep theirs."""
        graph = tenant.graph
        neighbour = await make_tenant()
        await fill(neighbour)
        before = await neighbour.snapshot()
        await fill(tenant)
        await tenant.other_user()
        counts = await graph.delete_organization(tenant.org_id)
        wanted = replace(OF_USER, agents=2, users=2, organizations=1)
        assert counts == replace(wanted, outbox_entries=counts.outbox_entries)
        assert await graph.count_records(tenant.whole) == DeleteCounts(outbox_entries=1)
        assert await graph.find_organization(tenant.org_id) is None
        assert await graph.find_user(tenant.scope) is None
        assert [entry.op for entry in await tenant.queue()] == [OutboxOp.DROP_ORGANIZATION]
        await tenant.create()
        assert await graph.get_all_user_interactions(tenant.org_id, tenant.user_id) == []
        assert await tenant.all_memories() == []
        assert await graph.list_jobs(tenant.org_id) == []
        assert len(await graph.get_all_org_agents(tenant.org_id)) == 1
        assert await neighbour.snapshot() == before

    async def test_deleting_again_counts_nothing(self, tenant: Tenant) -> None:
        """Every delete is idempotent, and enqueues nothing for what is not there."""
        graph, org_id, user_id = tenant.graph, tenant.org_id, tenant.user_id
        queue = await tenant.queue()
        missing = tenant.memory_id("missing")
        for _ in range(2):
            nothing = [
                await graph.delete_user_memory(org_id, user_id, missing),
                await graph.delete_all_user_memories(org_id, user_id),
                await graph.delete_user_interaction_and_its_memories(org_id, user_id, "missing"),
                await graph.delete_all_user_interactions_and_their_memories(org_id, user_id),
                await graph.delete_user(org_id, "missing"),
                await graph.delete_organization(f"{org_id}-missing"),
            ]
            assert nothing == [DeleteCounts()] * 6
            await graph.delete_agent(org_id, "missing")
        assert await tenant.queue() == queue
        assert (await graph.delete_user(org_id, user_id)).users == 1
        assert (await graph.delete_user(org_id, user_id)) == DeleteCounts()

    async def test_b84_an_interaction_without_messages_can_be_deleted(self, tenant: Tenant) -> None:
        """Interactions with none, one and many messages go, with what was obtained in them."""
        graph, org_id, user_id = tenant.graph, tenant.org_id, tenant.user_id
        for name, texts in (("none", ()), ("one", "a"), ("many", "abcdef")):
            await tenant.begin(name, *texts)
            memory_id = await tenant.store(name, interaction_id=name)
            await tenant.empty_queue()
            counts = await graph.delete_user_interaction_and_its_memories(org_id, user_id, name)
            assert counts == DeleteCounts(interactions=1, messages=len(texts), memories=1)
            assert await graph.find_interaction(tenant.scope, name) is None
            assert await graph.read_memories(tenant.scope, [memory_id]) == []
            assert await tenant.queued_ids() == [memory_id]

    async def test_b17_deleting_an_interaction_relinks_and_leaves_no_tombstone(
        self, tenant: Tenant
    ) -> None:
        """Versions obtained elsewhere stay, linked; links to its messages and its jobs go."""
        graph = tenant.graph
        talk = await tenant.begin("talk", "a")
        first = await tenant.store("a")
        middle = await tenant.grow(
            first, "b", obtained_at=tenant.at(1), interaction_id="talk", sources=(talk.source(0),)
        )
        head = await tenant.grow(first, "c", obtained_at=tenant.at(2), sources=(talk.source(0),))
        await tenant.apply(job=tenant.job(talk, 0, 1))
        await tenant.empty_queue()
        counts = await graph.erase_interactions(tenant.scope, ["talk", "missing"], tenant.later())
        assert counts == DeleteCounts(interactions=1, messages=1, memories=1, jobs=1)
        assert await tenant.history(first) == [head, first]
        assert await tenant.current(first, tenant.at(1.5)) is None
        assert (await tenant.memory(head)).message_sources == []
        assert await graph.list_jobs(tenant.org_id) == []
        assert middle in await tenant.queued_ids()
        salt = await graph.read_salt(tenant.scope)
        mark = tombstone(salt, talk.messages[0].prefix_hash, content_hash("b"))
        assert await graph.find_tombstones(tenant.scope, [mark]) == set()

    async def test_deleting_all_interactions_keeps_what_was_told_directly(
        self, tenant: Tenant
    ) -> None:
        """Memories obtained outside of interactions stay; another user loses nothing."""
        graph, org_id, user_id = tenant.graph, tenant.org_id, tenant.user_id
        other = await tenant.other_user()
        await tenant.begin("theirs", "x", scope=other)
        ids = await fill(tenant)
        counts = await graph.delete_all_user_interactions_and_their_memories(org_id, user_id)
        assert counts == DeleteCounts(interactions=2, messages=2, memories=1, jobs=1)
        assert await graph.get_all_user_interactions(org_id, user_id) == []
        left = {memory.memory_id for memory in await tenant.all_memories()}
        assert left == {ids["free"], ids["new"]}
        assert await graph.find_interaction(other, "theirs") is not None
        assert ids["old"] in await tenant.queued_ids()

    async def test_deleting_all_memories_keeps_the_interactions(self, tenant: Tenant) -> None:
        """A purge of everything leaves transcripts, and tombstones for all that had sources."""
        graph, org_id, user_id = tenant.graph, tenant.org_id, tenant.user_id
        ids = await fill(tenant)
        await tenant.empty_queue()
        counts = await graph.delete_all_user_memories(org_id, user_id)
        assert counts == DeleteCounts(memories=3)
        assert await tenant.all_memories() == []
        assert len((await graph.get_interaction(org_id, user_id, "talk")).messages or []) == 2
        assert sorted(await tenant.queued_ids()) == sorted(ids.values())
        salt = await graph.read_salt(tenant.scope)
        stored = await graph.read_messages(tenant.scope, "talk", 0, None)
        marks = {
            tombstone(salt, stored[0].prefix_hash, content_hash("old")),
            tombstone(salt, stored[1].prefix_hash, content_hash("free")),
        }
        assert await graph.find_tombstones(tenant.scope, marks) == marks

    async def test_b02_purging_foreign_ids_does_nothing(self, tenant: Tenant) -> None:
        """A foreign id counts like a missing one, and the owner keeps memory and vector."""
        other = await tenant.other_user()
        own = await tenant.store("own")
        await tenant.apply(other, memories=(tenant.statement("theirs"),))
        await tenant.empty_queue()
        theirs = tenant.memory_id("theirs")
        counts = await tenant.graph.purge_memories(
            tenant.scope, [theirs, own, own, tenant.memory_id("missing")], tenant.later()
        )
        assert counts == DeleteCounts(memories=1)
        assert await tenant.queued_ids() == [own]
        assert len(await tenant.graph.read_memories(other, [theirs])) == 1

    async def test_b37_a_big_user_can_be_erased(self, tenant: Tenant) -> None:
        """Many interactions, messages and memories go in one call."""
        for number in range(10):
            name = f"talk{number}"
            talk = await tenant.begin(name, *(f"{name} message {i}" for i in range(60)))
            await tenant.apply(
                memories=tuple(
                    tenant.statement(
                        f"{name} memory {i}",
                        interaction_id=name,
                        sources=(talk.source(i), talk.source(59 - i)),
                    )
                    for i in range(30)
                )
            )
        counts = await tenant.graph.delete_user(tenant.org_id, tenant.user_id)
        wanted = DeleteCounts(interactions=10, messages=600, memories=300, users=1)
        assert counts == replace(wanted, outbox_entries=10)
        assert [entry.op for entry in await tenant.queue()] == [OutboxOp.DROP_USER]

    async def test_i1_everything_is_there_after_reopening(
        self, tenant: Tenant, reopen: Reopen
    ) -> None:
        """What was acknowledged is read the same by a new handle on the store."""
        ids = await fill(tenant)
        before = await tenant.snapshot()
        salt = await tenant.graph.read_salt(tenant.scope)
        graph: BaseGraphDB = await reopen()
        graph.clock = tenant.clock
        tenant.graph = graph
        assert await tenant.snapshot() == before
        assert await graph.read_salt(tenant.scope) == salt
        found = await graph.find_idempotency(tenant.scope, "key")
        assert found == IdempotencyRecord("key", "body", {"a": 1})
        newest = await tenant.grow(ids["new"], "newest", obtained_at=tenant.at(5))
        assert await tenant.current(ids["old"]) == newest

    async def test_inspect_finds_nothing_after_everything(self, tenant: Tenant) -> None:
        """Each kind of write and delete leaves the invariants intact."""
        graph = tenant.graph

        async def violated() -> list[str]:
            findings = await graph.inspect()
            return [
                f"{f.invariant} {f.detail}" for f in findings if f.record_id in tenant.record_ids
            ]

        ids = await fill(tenant)
        assert await violated() == []
        await graph.purge_memories(tenant.scope, [ids["old"]], tenant.later())
        assert await violated() == []
        await graph.remove_agent(tenant.org_id, tenant.agent_id, tenant.later())
        assert await violated() == []
        await graph.erase_interactions(tenant.scope, None, tenant.later())
        assert await violated() == []
        await graph.erase_user(Scope(tenant.org_id, tenant.user_id), tenant.later())
        assert await violated() == []
