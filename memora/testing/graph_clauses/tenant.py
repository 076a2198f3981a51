"""What the clauses write with: a tenant of its own for every test."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest_asyncio

from memora.core import planning, versions
from memora.core.hashing import content_hash
from memora.core.ids import RandomIds, derived_memory_id
from memora.core.messages import parse_messages
from memora.graph_db.base import BaseGraphDB, MemoryListing
from memora.schema.jobs import ExtractionJob
from memora.schema.models import Memory
from memora.schema.scope import OrganizationScope, Scope
from memora.schema.write_plan import (
    InteractionWrite,
    MemoryWrite,
    MessageEdit,
    NewMessage,
    OutboxEntry,
    OutboxOp,
    SourceRef,
    WritePlan,
    WriteReceipt,
)
from memora.testing.clocks import FrozenClock

LEASE = timedelta(seconds=30)

_PREFIX = "contract-"
_CENTURY = datetime(2001, 1, 1, tzinfo=UTC)
_TWENTY_YEARS = 20 * 365 * 24 * 60 * 60


def messages(*texts: str, before: str = "") -> tuple[NewMessage, ...]:
    """Return a transcript in which user and assistant take turns."""
    roles = ("user", "assistant")
    return parse_messages(
        [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)], before=before
    )


@dataclass(frozen=True)
class Talk:
    """A stored interaction and the messages that were written to it."""

    interaction_id: str
    messages: tuple[NewMessage, ...]

    def source(self, position: int) -> SourceRef:
        """Return the reference to one of its messages."""
        return SourceRef(self.interaction_id, position, self.messages[position].prefix_hash)


class Tenant:
    """An organization with one user and one agent, and short ways to write for them.

    The graph's clock is the tenant's: it stands still, somewhere in this century, until a test
    moves it. Outbox entries of a shared store that belong to other tests are thereby told apart.
    """

    user_id = "the-user"
    agent_id = "the-agent"

    def __init__(self, graph: BaseGraphDB, org_id: str, clock: FrozenClock) -> None:
        self.graph = graph
        self.org_id = org_id
        self.clock = clock
        self.start = clock.now()
        self.scope = Scope(org_id, self.user_id)
        self.whole = OrganizationScope(org_id)
        self.record_ids: set[str] = set()

    async def create(self) -> None:
        """Create organization, user and agent."""
        await self.graph.create_organization("Organization", org_id=self.org_id)
        await self.graph.create_user(self.org_id, "Jake", user_id=self.user_id)
        await self.graph.create_agent(self.org_id, "Helper", agent_id=self.agent_id)

    async def other_user(self, user_id: str = "other-user") -> Scope:
        """Create a second user and return its scope."""
        await self.graph.create_user(self.org_id, "Kim", user_id=user_id)
        return Scope(self.org_id, user_id)

    def at(self, minutes: float) -> datetime:
        """Return a time that many minutes after the start."""
        return self.start + timedelta(minutes=minutes)

    def later(self, minutes: float = 1) -> datetime:
        """Move the clock and return its time."""
        self.clock.advance(timedelta(minutes=minutes))
        return self.clock.now()

    def memory_id(self, name: str) -> str:
        """Return this tenant's memory id of that name."""
        memory_id = derived_memory_id(self.org_id, name)
        self.record_ids.add(memory_id)
        return memory_id

    def plan(self, scope: Scope | None = None, **parts: Any) -> WritePlan:
        """Return a plan of these parts at the clock's time."""
        return WritePlan(scope or self.scope, self.clock.now(), **parts)

    async def apply(self, scope: Scope | None = None, **parts: Any) -> WriteReceipt:
        """Write a plan of these parts."""
        return await self.graph.apply(self.plan(scope, **parts))

    def creation(self, interaction_id: str, *texts: str, **fields: Any) -> InteractionWrite:
        """Return the creation of an interaction with these messages."""
        self.record_ids.add(interaction_id)
        fields = {"at": self.clock.now(), **fields}
        return InteractionWrite(interaction_id, None, MessageEdit(0, messages(*texts)), **fields)

    async def begin(
        self, interaction_id: str, *texts: str, scope: Scope | None = None, **fields: Any
    ) -> Talk:
        """Store an interaction with these messages."""
        write = self.creation(interaction_id, *texts, **fields)
        await self.apply(scope, interaction=write)
        return Talk(interaction_id, write.edit.append)

    def change(
        self, talk: Talk, revision: int, keep: int, *texts: str, **fields: Any
    ) -> InteractionWrite:
        """Return an edit that keeps some messages and appends these."""
        before = talk.messages[keep - 1].prefix_hash if keep else ""
        fields = {"at": self.clock.now(), **fields}
        return InteractionWrite(
            talk.interaction_id,
            revision,
            MessageEdit(keep, messages(*texts, before=before)),
            **fields,
        )

    async def edit(self, talk: Talk, keep: int, *texts: str, **fields: Any) -> Talk:
        """Change a transcript, based on its present revision."""
        stored = await self.graph.get_interaction(
            self.org_id, self.user_id, talk.interaction_id, with_messages=False, with_memories=False
        )
        write = self.change(talk, stored.revision, keep, *texts, **fields)
        await self.apply(interaction=write)
        return Talk(talk.interaction_id, (*talk.messages[:keep], *write.edit.append))

    def statement(self, name: str, text: str | None = None, **fields: Any) -> MemoryWrite:
        """Return a new statement; its id belongs to the name."""
        memory_id = self.memory_id(name)
        text = name if text is None else text
        fields = {"obtained_at": self.start, "chain_id": memory_id, **fields}
        return MemoryWrite(
            memory_id=memory_id, text=text, content_hash=content_hash(text), **fields
        )

    async def store(self, name: str, text: str | None = None, **fields: Any) -> str:
        """Store a new statement and return its id."""
        write = self.statement(name, text, **fields)
        await self.apply(memories=(write,))
        return write.memory_id

    async def version(self, of: str, name: str, **fields: Any) -> MemoryWrite:
        """Return a further version of a stored statement, as flows place it."""
        chains = await self.graph.read_chains(self.scope, [of])
        write = self.statement(name, **fields)
        return planning.placed(write, versions.place(chains[of], write.obtained_at))

    async def grow(self, of: str, name: str, **fields: Any) -> str:
        """Store a further version and return its id."""
        write = await self.version(of, name, **fields)
        await self.apply(memories=(write,))
        return write.memory_id

    async def chain(self, *names: str) -> list[str]:
        """Store one statement with a version per name, a minute apart; return ids, oldest first."""
        ids = [await self.store(names[0], obtained_at=self.at(0))]
        for minute, name in enumerate(names[1:], start=1):
            ids.append(await self.grow(ids[0], name, obtained_at=self.at(minute)))
        return ids

    async def history(self, memory_id: str) -> list[str]:
        """Return the ids of a memory's chain, newest first."""
        chains = await self.graph.read_chains(self.scope, [memory_id])
        return [memory.memory_id for memory in chains.get(memory_id, [])]

    async def current(self, memory_id: str, as_of: datetime | None = None) -> str | None:
        """Return the id of the version that this one resolves to."""
        found = await self.graph.resolve_memories(self.scope, [memory_id], as_of)
        return found[memory_id].memory_id if found else None

    async def memory(self, memory_id: str) -> Memory:
        """Return one memory as it is stored."""
        return (await self.graph.read_memories(self.scope, [memory_id]))[0]

    def job(
        self, talk: Talk, start: int, end: int, name: str = "job", **fields: Any
    ) -> ExtractionJob:
        """Return a job of the interaction."""
        now = self.clock.now()
        return ExtractionJob(
            job_id=name,
            org_id=self.org_id,
            user_id=self.user_id,
            interaction_id=talk.interaction_id,
            start=start,
            end=end,
            created_at=now,
            updated_at=now,
            **fields,
        )

    async def queue(self) -> list[OutboxEntry]:
        """Return this tenant's outbox entries."""
        own: list[OutboxEntry] = []
        after = 0
        while page := await self.graph.list_outbox(after=after, limit=1000):
            own += [entry for entry in page if entry.org_id == self.org_id]
            after = page[-1].seq
        return own

    async def queued_ids(self) -> list[str]:
        """Return the memory ids that wait in this tenant's outbox, in order."""
        return [memory_id for entry in await self.queue() for memory_id in entry.memory_ids]

    async def claim(self, now: datetime | None = None) -> list[OutboxEntry]:
        """Claim until nothing is due; return this tenant's entries.

        Drops that other tests left behind are worked off on the way.
        """
        now = now or self.clock.now()
        own: list[OutboxEntry] = []
        while batch := await self.graph.claim_outbox(now=now, lease_until=now + LEASE, limit=500):
            own += [entry for entry in batch if entry.org_id == self.org_id]
            await self.graph.ack_outbox([entry for entry in batch if self._is_left_over(entry)])
        return own

    def _is_left_over(self, entry: OutboxEntry) -> bool:
        foreign = entry.org_id != self.org_id and entry.org_id.startswith(_PREFIX)
        return foreign and entry.op is OutboxOp.DROP_ORGANIZATION

    async def empty_queue(self) -> None:
        """Work off all entries of this tenant."""
        while entries := await self.claim():
            await self.graph.ack_outbox(entries)

    async def snapshot(self) -> list[Any]:
        """Return everything that is stored for the user, to compare before and after."""
        interactions = await self.graph.get_all_user_interactions(
            self.org_id, self.user_id, with_messages=True, with_memories=True
        )
        ids = [memory.memory_id for memory in await self.all_memories()]
        return [
            [interaction.model_dump() for interaction in interactions],
            [memory.model_dump() for memory in await self.graph.read_memories(self.scope, ids)],
            await self.graph.list_jobs(self.org_id, user_id=self.user_id),
            await self.queue(),
        ]

    async def all_memories(self) -> Sequence[Memory]:
        """Return all versions of all memories, newest first."""
        return await self.graph.list_memories(self.scope, MemoryListing(current_only=False))


MakeTenant = Callable[[], Awaitable[Tenant]]
Reopen = Callable[[], Awaitable[BaseGraphDB]]


class TenantFixtures:
    """Fixtures that all clauses share; a subclass of the contract brings `graph` and `reopen`."""

    @pytest_asyncio.fixture
    async def make_tenant(
        self,
        graph: BaseGraphDB,
        reopen: Reopen,  # noqa: ARG002 - so that what it opens is still open in the end
    ) -> AsyncIterator[MakeTenant]:
        """Makes tenants in the same store; in the end no invariant is violated in theirs."""
        made: list[Tenant] = []
        name = RandomIds().short()
        start = _CENTURY + timedelta(seconds=zlib.crc32(name.encode()) % _TWENTY_YEARS)
        clock = FrozenClock(start)
        graph.clock = clock

        async def make() -> Tenant:
            tenant = Tenant(graph, f"{_PREFIX}{name}-{len(made)}", clock)
            await tenant.create()
            made.append(tenant)
            return tenant

        yield make
        for tenant in made:
            findings = await tenant.graph.inspect()
            assert [each for each in findings if each.record_id in tenant.record_ids] == []
            await tenant.graph.erase_organization(tenant.org_id, clock.now())

    @pytest_asyncio.fixture
    async def tenant(self, make_tenant: MakeTenant) -> Tenant:
        """A tenant of the test's own."""
        return await make_tenant()
