"""Clauses on isolation: a foreign id answers like a missing one, and nothing leaks or moves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from memora.core.hashing import tombstone
from memora.errors import MemoraError
from memora.graph_db.base import BaseGraphDB, MemoryListing
from memora.schema.jobs import ExtractionJob
from memora.schema.lifetime import Access
from memora.schema.scope import Scope
from memora.schema.storage_schema import (
    ContraryMemoryToStore,
    MemoriesAndInteraction,
    MemoryToStore,
)
from memora.schema.write_plan import (
    Beginning,
    IdempotencyRecord,
    MemoryEnd,
    MemoryWrite,
    SourceLink,
    SourceRef,
    WritePlan,
)
from memora.testing.graph_clauses.tenant import MakeTenant, Talk, Tenant, TenantFixtures


@dataclass(frozen=True)
class Target:
    """Ids that a call aims at."""

    talk: Talk
    external_id: str
    memory_id: str
    content_hash: str
    tombstone: str
    key: str
    job: ExtractionJob
    agent_id: str
    user_id: str

    def ids(self) -> list[str]:
        """Return every id, to blank them out of answers."""
        return [
            self.talk.interaction_id,
            self.external_id,
            self.memory_id,
            self.key,
            self.job.job_id,
            self.agent_id,
            self.user_id,
        ]


@dataclass(frozen=True)
class Actor:
    """Who makes the call."""

    tenant: Tenant
    scope: Scope

    @property
    def graph(self) -> BaseGraphDB:
        """The store."""
        return self.tenant.graph

    def write(self, **parts: Any) -> Awaitable[object]:
        """Apply a plan."""
        return self.graph.apply(WritePlan(self.scope, self.tenant.clock.now(), **parts))

    def statement(self, **fields: Any) -> MemoryWrite:
        """Return a new statement of the actor's."""
        return self.tenant.statement("the actor's own", **fields)

    def contrary(self, target: Target) -> MemoriesAndInteraction:
        """Return an interaction that contradicts the target's memory."""
        return MemoriesAndInteraction(
            interaction=[{"role": "user", "content": "x"}],
            contrary_memories=[
                ContraryMemoryToStore(memory="no", existing_contrary_memory_id=target.memory_id)
            ],
        )


Call = Callable[[Actor, Target], Awaitable[object]]

GIVEN = MemoriesAndInteraction(
    interaction=[{"role": "user", "content": "x"}], memories=[MemoryToStore(memory="y")]
)

# Calls that a user of the same organization must not get anything out of either.
OF_ANOTHER_USER: dict[str, Call] = {
    "get_interaction": lambda a, t: a.graph.get_interaction(
        a.scope.org_id, a.scope.user_id, t.talk.interaction_id
    ),
    "get_interaction by external id": lambda a, t: a.graph.get_interaction(
        a.scope.org_id, a.scope.user_id, t.external_id
    ),
    "get_interaction_messages": lambda a, t: a.graph.get_interaction_messages(
        a.scope.org_id, a.scope.user_id, t.talk.interaction_id
    ),
    "get_all_interaction_memories": lambda a, t: a.graph.get_all_interaction_memories(
        a.scope.org_id, a.scope.user_id, t.talk.interaction_id
    ),
    "update_interaction_and_memories": lambda a, t: a.graph.update_interaction_and_memories(
        a.scope.org_id, None, a.scope.user_id, t.talk.interaction_id, GIVEN
    ),
    "save contrary": lambda a, t: a.graph.save_interaction_with_memories(
        a.scope.org_id, None, a.scope.user_id, a.contrary(t)
    ),
    "delete interaction": lambda a, t: a.graph.delete_user_interaction_and_its_memories(
        a.scope.org_id, a.scope.user_id, t.talk.interaction_id
    ),
    "get_user_memory": lambda a, t: a.graph.get_user_memory(
        a.scope.org_id, a.scope.user_id, t.memory_id
    ),
    "get_user_memory_history": lambda a, t: a.graph.get_user_memory_history(
        a.scope.org_id, a.scope.user_id, t.memory_id
    ),
    "delete_user_memory": lambda a, t: a.graph.delete_user_memory(
        a.scope.org_id, a.scope.user_id, t.memory_id
    ),
    "fetch resolved": lambda a, t: a.graph.fetch_user_memories_resolved(
        [t.memory_id], org_id=a.scope.org_id, user_id=a.scope.user_id
    ),
    "fetch resolved by owner": lambda a, t: a.graph.fetch_user_memories_resolved(
        [{"org_id": a.scope.org_id, "user_id": t.user_id, "memory_id": t.memory_id}],
        org_id=a.scope.org_id,
        user_id=a.scope.user_id,
    ),
    "list agent's memories": lambda a, t: a.graph.get_all_user_memories(
        a.scope.org_id, a.scope.user_id, t.agent_id
    ),
    "find_interaction": lambda a, t: a.graph.find_interaction(a.scope, t.talk.interaction_id),
    "find_interaction by external id": lambda a, t: a.graph.find_interaction(
        a.scope, t.external_id
    ),
    "read_messages": lambda a, t: a.graph.read_messages(a.scope, t.talk.interaction_id, 0, None),
    "read_prefix_hashes": lambda a, t: a.graph.read_prefix_hashes(a.scope, t.talk.interaction_id),
    "read_memories": lambda a, t: a.graph.read_memories(a.scope, [t.memory_id]),
    "resolve_memories": lambda a, t: a.graph.resolve_memories(a.scope, [t.memory_id], None),
    "resolve_memories as of": lambda a, t: a.graph.resolve_memories(
        a.scope, [t.memory_id], a.tenant.at(0)
    ),
    "read_chains": lambda a, t: a.graph.read_chains(a.scope, [t.memory_id]),
    "read_origins": lambda a, t: a.graph.read_origins(a.scope, [t.memory_id]),
    "list_memories of interaction": lambda a, t: a.graph.list_memories(
        a.scope, MemoryListing(interaction_id=t.talk.interaction_id, current_only=False)
    ),
    "list_live_memories of interaction": lambda a, t: a.graph.list_live_memories(
        a.scope, MemoryListing(interaction_id=t.talk.interaction_id), a.tenant.at(0)
    ),
    "find_current_by_hash": lambda a, t: a.graph.find_current_by_hash(a.scope, [t.content_hash]),
    "find_tombstones": lambda a, t: a.graph.find_tombstones(a.scope, [t.tombstone]),
    "find_idempotency": lambda a, t: a.graph.find_idempotency(a.scope, t.key),
    "erase_interactions": lambda a, t: a.graph.erase_interactions(
        a.scope, [t.talk.interaction_id], a.tenant.at(0)
    ),
    "purge_memories": lambda a, t: a.graph.purge_memories(a.scope, [t.memory_id], a.tenant.at(0)),
    "count_accesses": lambda a, t: a.graph.count_accesses(
        a.scope, {t.memory_id: Access(1, a.tenant.at(0))}
    ),
    "archive_memories": lambda a, t: a.graph.archive_memories(
        a.scope, [t.memory_id], a.tenant.at(60 * 24 * 365), a.tenant.at(0)
    ),
    "save_job": lambda a, t: a.graph.save_job(
        replace(t.job, org_id=a.scope.org_id, user_id=a.scope.user_id)
    ),
    "apply edit": lambda a, t: a.write(interaction=a.tenant.change(t.talk, 1, 1, "cut")),
    "apply memory of interaction": lambda a, t: a.write(
        memories=(a.statement(interaction_id=t.talk.interaction_id),)
    ),
    "apply memory of agent": lambda a, t: a.write(memories=(a.statement(agent_id=t.agent_id),)),
    "apply interaction of agent": lambda a, t: a.write(
        interaction=a.tenant.creation("the actor's", "x", agent_id=t.agent_id)
    ),
    "apply successor": lambda a, t: a.write(
        memories=(
            a.statement(
                chain_id=t.memory_id,
                predecessor_id=t.memory_id,
                predecessor_superseded_at=a.tenant.at(1),
                replaces_head=t.memory_id,
            ),
        )
    ),
    "apply predecessor": lambda a, t: a.write(
        memories=(
            a.statement(
                chain_id=t.memory_id, successor_id=t.memory_id, superseded_at=a.tenant.at(1)
            ),
        )
    ),
    "apply end": lambda a, t: a.write(ends=(MemoryEnd(t.memory_id, a.tenant.at(1)),)),
    "apply link": lambda a, t: a.write(links=(SourceLink(t.memory_id, (t.talk.source(0),)),)),
    "apply earlier": lambda a, t: a.write(
        links=(SourceLink(t.memory_id, (), Beginning(a.tenant.at(-1), a.tenant.at(0), "user")),)
    ),
    "apply job": lambda a, t: a.write(
        job=replace(t.job, org_id=a.scope.org_id, user_id=a.scope.user_id)
    ),
    "apply required job": lambda a, t: a.write(
        job=replace(t.job, org_id=a.scope.org_id, user_id=a.scope.user_id), job_must_exist=True
    ),
}
# Calls that only another organization must not get anything out of.
OF_ANOTHER_ORGANIZATION: dict[str, Call] = {
    **OF_ANOTHER_USER,
    "get_user": lambda a, t: a.graph.get_user(a.scope.org_id, t.user_id),
    "update_user": lambda a, t: a.graph.update_user(a.scope.org_id, t.user_id, "Mine"),
    "delete_user": lambda a, t: a.graph.delete_user(a.scope.org_id, t.user_id),
    "read_salt": lambda a, t: a.graph.read_salt(Scope(a.scope.org_id, t.user_id)),
    "list user's agents": lambda a, t: a.graph.get_all_user_agents(a.scope.org_id, t.user_id),
    "list user's interactions": lambda a, t: a.graph.get_all_user_interactions(
        a.scope.org_id, t.user_id
    ),
    "list user's memories": lambda a, t: a.graph.get_all_user_memories(a.scope.org_id, t.user_id),
    "create user's agent": lambda a, t: a.graph.create_agent(a.scope.org_id, "Mine", t.user_id),
    "delete all interactions": lambda a, t: a.graph.delete_all_user_interactions_and_their_memories(
        a.scope.org_id, t.user_id
    ),
    "delete all memories": lambda a, t: a.graph.delete_all_user_memories(a.scope.org_id, t.user_id),
    "get_agent": lambda a, t: a.graph.get_agent(a.scope.org_id, t.agent_id),
    "update_agent": lambda a, t: a.graph.update_agent(a.scope.org_id, t.agent_id, "Mine"),
    "delete_agent": lambda a, t: a.graph.delete_agent(a.scope.org_id, t.agent_id),
    "read_names": lambda a, t: a.graph.read_names(a.scope.org_id, [t.user_id], [t.agent_id]),
    "get_job": lambda a, t: a.graph.get_job(a.scope.org_id, t.job.job_id),
    "claim_job": lambda a, t: a.graph.claim_job(
        a.scope.org_id, t.job.job_id, now=a.tenant.at(9), lease_until=a.tenant.at(99)
    ),
    "fetch resolved of organization": lambda a, t: a.graph.fetch_user_memories_resolved(
        [{"user_id": t.user_id, "memory_id": t.memory_id}], org_id=a.scope.org_id
    ),
    "apply for user": lambda a, t: a.graph.apply(
        WritePlan(Scope(a.scope.org_id, t.user_id), a.tenant.at(0), memories=(a.statement(),))
    ),
}


def parameters(calls: dict[str, Call]) -> list[Any]:
    """Return the calls as parameters with their names as ids."""
    return [pytest.param(call, id=name) for name, call in calls.items()]


async def outcome(actor: Actor, call: Call, target: Target) -> str:
    """Return answer or error of a call as text, without the ids that were asked for."""
    try:
        text = repr(await call(actor, target))
    except MemoraError as error:
        text = f"{type(error).__name__}: {error}"
    for index, record_id in enumerate(target.ids()):
        text = text.replace(record_id, f"<{index}>")
    # Of an answer, only whether there is one: it may hold ids that were just made.
    return text if "Error" in text else text.partition("(")[0]


class IsolationClauses(TenantFixtures):
    """Isolation."""

    async def victim(self, tenant: Tenant) -> Target:
        """Store one of everything for the tenant, and return what can be aimed at."""
        graph, org_id = tenant.graph, tenant.org_id
        user_id, agent_id = "victim-user", "victim-agent"
        await graph.create_user(org_id, "Victim", user_id=user_id)
        await graph.create_agent(org_id, "Personal", user_id, agent_id=agent_id)
        scope = Scope(org_id, user_id)
        talk = await tenant.begin(
            "victim-talk", "secret", "ok", scope=scope, external_id="victim-thread"
        )
        statement = tenant.statement(
            "victim's",
            interaction_id="victim-talk",
            agent_id=agent_id,
            sources=(talk.source(0),),
        )
        job = replace(tenant.job(talk, 0, 2, "victim-job"), user_id=user_id)
        key = IdempotencyRecord("victim-key", "body", {"secret": 1})
        await tenant.apply(scope, memories=(statement,), job=job, idempotency=key)
        buried = tenant.statement("buried", sources=(talk.source(1),))
        await tenant.apply(scope, memories=(buried,))
        await graph.purge_memories(scope, [buried.memory_id], tenant.clock.now())
        return Target(
            talk=talk,
            external_id="victim-thread",
            memory_id=statement.memory_id,
            content_hash=statement.content_hash,
            tombstone=await self.mark(graph, scope, buried, talk.source(1)),
            key="victim-key",
            job=job,
            agent_id=agent_id,
            user_id=user_id,
        )

    async def mark(
        self, graph: BaseGraphDB, scope: Scope, memory: MemoryWrite, source: SourceRef
    ) -> str:
        """Return the tombstone of a purged memory, which is there."""
        salt = await graph.read_salt(scope)
        mark = tombstone(salt, source.prefix_hash, memory.content_hash)
        assert await graph.find_tombstones(scope, [mark]) == {mark}
        return mark

    def missing(self, tenant: Tenant, like: Target) -> Target:
        """Return ids of the same shape that nothing has."""
        return Target(
            talk=replace(like.talk, interaction_id="no-talk"),
            external_id="no-thread",
            memory_id=tenant.memory_id("nothing"),
            content_hash="0" * 32,
            tombstone="0" * 32,
            key="no-key",
            job=replace(like.job, job_id="no-job", interaction_id="no-talk"),
            agent_id="no-agent",
            user_id="no-user",
        )

    async def snapshot(self, tenant: Tenant, target: Target) -> list[Any]:
        """Return all that the victim has."""
        graph, scope = tenant.graph, Scope(tenant.org_id, target.user_id)
        return [
            await graph.get_user(tenant.org_id, target.user_id),
            await graph.get_agent(tenant.org_id, target.agent_id),
            await graph.get_interaction(tenant.org_id, target.user_id, "victim-talk"),
            await graph.list_memories(scope, MemoryListing(current_only=False)),
            await graph.get_job(tenant.org_id, "victim-job"),
            await graph.find_idempotency(scope, "victim-key"),
            await graph.find_tombstones(scope, [target.tombstone]),
        ]

    @pytest.mark.parametrize("call", parameters(OF_ANOTHER_USER))
    async def test_b02_b08_another_users_id_answers_like_a_missing_one(
        self, tenant: Tenant, call: Call
    ) -> None:
        """Within an organization, a call with a foreign id tells and changes nothing."""
        foreign = await self.victim(tenant)
        actor = Actor(tenant, tenant.scope)
        before = await self.snapshot(tenant, foreign)
        expected = await outcome(actor, call, self.missing(tenant, foreign))
        await tenant.graph.erase_user(tenant.scope, tenant.clock.now())
        await tenant.graph.create_user(tenant.org_id, "Jake", user_id=tenant.user_id)
        assert await outcome(actor, call, foreign) == expected
        assert await self.snapshot(tenant, foreign) == before

    @pytest.mark.parametrize("call", parameters(OF_ANOTHER_ORGANIZATION))
    async def test_b02_b08_another_organizations_id_answers_like_a_missing_one(
        self, tenant: Tenant, make_tenant: MakeTenant, call: Call
    ) -> None:
        """Across organizations, a call with a foreign id tells and changes nothing."""
        foreign = await self.victim(tenant)
        stranger = await make_tenant()
        actor = Actor(stranger, stranger.scope)
        before = await self.snapshot(tenant, foreign)
        expected = await outcome(actor, call, self.missing(stranger, foreign))
        await stranger.graph.erase_organization(stranger.org_id, stranger.clock.now())
        await stranger.create()
        assert await outcome(actor, call, foreign) == expected
        assert await self.snapshot(tenant, foreign) == before

    async def test_b01_the_same_calls_reach_what_is_their_own(self, tenant: Tenant) -> None:
        """The owner gets an answer where others got none: the clauses above test something."""
        own = await self.victim(tenant)
        actor = Actor(tenant, Scope(tenant.org_id, own.user_id))
        missing = self.missing(tenant, own)
        reads = [
            name
            for name in OF_ANOTHER_USER
            if name.startswith(("get_", "find_", "read_", "resolve_", "fetch", "list_mem"))
        ]
        assert len(reads) > 15
        for name in reads:
            call = OF_ANOTHER_USER[name]
            answer, nothing = await outcome(actor, call, own), await outcome(actor, call, missing)
            assert answer != nothing, name
