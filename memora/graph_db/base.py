"""The graph port: the authoritative store of interactions and versioned memories."""

from __future__ import annotations

import asyncio
import copy
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self, cast

from pydantic import SecretStr

from memora.core import indexing, placeholders, planning
from memora.core.clock import Clock, SystemClock
from memora.core.ids import Ids, RandomIds
from memora.errors import (
    AgentNotFoundError,
    ConflictError,
    InteractionNotFoundError,
    InvalidInputError,
    JobNotFoundError,
    MemoryNotFoundError,
    OrganizationNotFoundError,
    UserNotFoundError,
)
from memora.graph_db.outbox import BATCH, Applied, DrainReport, drain
from memora.schema.index import IndexDocument
from memora.schema.jobs import ExtractionJob, JobStatus
from memora.schema.models import Agent, Interaction, Memory, MessageBlock, Organization, User
from memora.schema.scope import Scope
from memora.schema.storage_schema import MemoriesAndInteraction
from memora.schema.times import checked_time
from memora.schema.validation import (
    checked_id,
    checked_list,
    checked_name,
    checked_optional_id,
    checked_page,
    kind_of,
)
from memora.schema.write_plan import (
    DeleteCounts,
    IdempotencyRecord,
    OutboxEntry,
    OutboxStatus,
    WritePlan,
    WriteReceipt,
)
from memora.vector_db.base import BaseVectorDB

RekeyProgress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message with its prefix hash."""

    message: MessageBlock
    prefix_hash: str


@dataclass(frozen=True, slots=True)
class MemoryListing:
    """What a listing of memories asks for, newest first (`obtained_at`, then id, descending).

    Attributes:
        agent_id, interaction_id: Only memories of these.
        current_only: Only heads; otherwise all versions.
        after: (obtained_at, memory_id) of the last row of the page before; None: from the start.
    """

    agent_id: str | None = None
    interaction_id: str | None = None
    current_only: bool = True
    after: tuple[datetime, str] | None = None
    skip: int = 0
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """One violated invariant.

    Attributes:
        invariant: Its id, such as `I4`.
        record_id: The record at fault.
        detail: What is wrong, without content.
    """

    invariant: str
    record_id: str
    detail: str


class BaseGraphDB(ABC):
    """Organizations, users, agents, interactions, messages, memories, jobs, and the outbox.

    The upper half are the methods that callers use: they validate, build scopes and plans, fill
    in names, and let the vector store follow. The lower half are the primitives that an adapter
    writes. Primitives take validated arguments, return statements with their name placeholders,
    and answer for a foreign id exactly as for a missing one.

    Args:
        associated_vector_db: Vector store that follows this graph; without one, vector work stays
            in the outbox until somebody drains it.
        clock: Source of store times.
        ids: Source of new ids.
    """

    def __init__(
        self,
        associated_vector_db: BaseVectorDB | None = None,
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
    ) -> None:
        self._vector_db = associated_vector_db
        self.clock: Clock = clock or SystemClock()
        self.ids: Ids = ids or RandomIds()
        self._drain_lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self.setup()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    def get_associated_vector_db(self) -> BaseVectorDB | None:
        """Return the vector store that follows this graph, if there is one."""
        return self._vector_db

    def with_vector_db(self, vector_db: BaseVectorDB) -> Self:
        """Return a handle on the same store whose writes drain to this vector store.

        This object stays as it is: two engines that share it do not redirect each other's writes.
        """
        handle = copy.copy(self)
        handle._vector_db = vector_db
        return handle

    async def drain_outbox(
        self, *, limit: int = BATCH, on_applied: Applied | None = None
    ) -> DrainReport:
        """Bring the associated vector store up to date; without one, do nothing.

        A failing vector store is reported, not raised: its entries stay queued.

        Args:
            limit: Entries that are claimed together.
            on_applied: Called with entries that were worked off.
        """
        if self._vector_db is None:
            return DrainReport()
        async with self._drain_lock:
            return await drain(
                self, self._vector_db, self.clock.now(), limit=limit, on_applied=on_applied
            )

    async def rotate_key(
        self,
        new_key: str | SecretStr | None,  # noqa: ARG002 - for a store that overrides this
        *,
        reencrypt: bool = False,  # noqa: ARG002 - as above
        on_progress: RekeyProgress | None = None,  # noqa: ARG002 - as above
    ) -> int:
        """Change the key that the store's text is encrypted with; see `Memora.rotate_key`.

        Only a store that memora keeps itself has one, and overrides this.

        Raises:
            InvalidInputError: The store has no key: a server encrypts its own files.
        """
        raise InvalidInputError("new_key", "for an embedded store; a server encrypts its own files")

    # Organizations, users, agents

    async def create_organization(
        self, org_name: str, *, org_id: str | None = None
    ) -> Organization:
        """Create an organization.

        Args:
            org_name: 1 to 256 characters.
            org_id: The caller's own id; creating it again with the same name returns it.

        Raises:
            ConflictError: The id exists with another name.
            InvalidInputError: A name or id is malformed.
        """
        organization = Organization(
            org_id=self._new_id(org_id, "org_id"),
            org_name=checked_name(org_name, "org_name"),
            created_at=self.clock.now(),
        )
        stored = await self.put_organization(organization)
        _expect_equal("organization", stored.org_id, organization.org_name, stored.org_name)
        return stored

    async def update_organization(self, org_id: str, new_org_name: str) -> Organization:
        """Rename an organization.

        Raises:
            OrganizationNotFoundError: There is no such organization.
        """
        name = checked_name(new_org_name, "new_org_name")
        return await self.rename_organization(checked_id(org_id, "org_id"), name)

    async def get_organization(self, org_id: str) -> Organization:
        """Return the organization.

        Raises:
            OrganizationNotFoundError: There is no such organization.
        """
        found = await self.find_organization(checked_id(org_id, "org_id"))
        if found is None:
            raise OrganizationNotFoundError(org_id)
        return found

    async def get_all_organizations(self, skip: int = 0, limit: int = 1000) -> list[Organization]:
        """Return organizations by creation time: administration, not for tenants' eyes."""
        skip, limit = checked_page(skip, limit)
        return await self.list_organizations(skip=skip, limit=limit)

    async def delete_organization(self, org_id: str) -> DeleteCounts:
        """Erase an organization with everything in it, vectors included; idempotent."""
        counts = await self.erase_organization(checked_id(org_id, "org_id"), self.clock.now())
        await self.drain_outbox()
        return counts

    async def create_user(self, org_id: str, user_name: str, *, user_id: str | None = None) -> User:
        """Create a user of an organization.

        Args:
            org_id: The organization.
            user_name: 1 to 256 characters; shown in the user's memories.
            user_id: The caller's own id; creating it again with the same name returns it.

        Raises:
            OrganizationNotFoundError: There is no such organization.
            ConflictError: The id exists with another name.
        """
        user = User(
            org_id=checked_id(org_id, "org_id"),
            user_id=self._new_id(user_id, "user_id"),
            user_name=checked_name(user_name, "user_name"),
            created_at=self.clock.now(),
        )
        stored = await self.put_user(user, salt=self.ids.short())
        _expect_equal("user", stored.user_id, user.user_name, stored.user_name)
        return stored

    async def update_user(self, org_id: str, user_id: str, new_user_name: str) -> User:
        """Rename a user; all memories show the new name at once.

        Raises:
            UserNotFoundError: There is no such user in the organization.
        """
        name = checked_name(new_user_name, "new_user_name")
        return await self.rename_user(Scope(org_id, user_id), name)

    async def get_user(self, org_id: str, user_id: str) -> User:
        """Return the user.

        Raises:
            UserNotFoundError: There is no such user in the organization.
        """
        found = await self.find_user(Scope(org_id, user_id))
        if found is None:
            raise UserNotFoundError(user_id)
        return found

    async def get_all_org_users(self, org_id: str, skip: int = 0, limit: int = 1000) -> list[User]:
        """Return users by creation time.

        Raises:
            OrganizationNotFoundError: There is no such organization.
        """
        skip, limit = checked_page(skip, limit)
        users = await self.list_users(checked_id(org_id, "org_id"), skip=skip, limit=limit)
        if not users:
            await self.get_organization(org_id)
        return users

    async def delete_user(self, org_id: str, user_id: str) -> DeleteCounts:
        """Erase a user with interactions, memories, jobs, personal agents, and vectors.

        Idempotent: deleting a user that is not there counts nothing.
        """
        counts = await self.erase_user(Scope(org_id, user_id), self.clock.now())
        await self.drain_outbox()
        return counts

    async def create_agent(
        self,
        org_id: str,
        agent_label: str,
        user_id: str | None = None,
        *,
        agent_id: str | None = None,
    ) -> Agent:
        """Create an agent of an organization, or of one of its users.

        Args:
            org_id: The organization.
            agent_label: 1 to 256 characters.
            user_id: The only user that it serves; None: any user of the organization.
            agent_id: The caller's own id; creating it again with equal fields returns it.

        Raises:
            OrganizationNotFoundError: There is no such organization.
            UserNotFoundError: There is no such user.
            ConflictError: The id exists with other fields.
        """
        agent = Agent(
            org_id=checked_id(org_id, "org_id"),
            agent_id=self._new_id(agent_id, "agent_id"),
            agent_label=checked_name(agent_label, "agent_label"),
            user_id=checked_optional_id(user_id, "user_id"),
            created_at=self.clock.now(),
        )
        stored = await self.put_agent(agent)
        wanted = (agent.agent_label, agent.user_id)
        _expect_equal("agent", stored.agent_id, wanted, (stored.agent_label, stored.user_id))
        return stored

    async def update_agent(self, org_id: str, agent_id: str, new_agent_label: str) -> Agent:
        """Rename an agent.

        Raises:
            AgentNotFoundError: There is no such agent in the organization.
        """
        label = checked_name(new_agent_label, "new_agent_label")
        return await self.rename_agent(
            checked_id(org_id, "org_id"), checked_id(agent_id, "agent_id"), label
        )

    async def get_agent(self, org_id: str, agent_id: str) -> Agent:
        """Return the agent.

        Raises:
            AgentNotFoundError: There is no such agent in the organization.
        """
        found = await self.find_agent(
            checked_id(org_id, "org_id"), checked_id(agent_id, "agent_id")
        )
        if found is None:
            raise AgentNotFoundError(agent_id)
        return found

    async def get_agent_for(self, scope: Scope) -> Agent | None:
        """Return the scope's agent, or None when it names none.

        Raises:
            AgentNotFoundError: There is no such agent, or it belongs to another user.
        """
        if scope.agent_id is None:
            return None
        agent = await self.find_agent(scope.org_id, scope.agent_id)
        if agent is None or agent.user_id not in (None, scope.user_id):
            raise AgentNotFoundError(scope.agent_id)
        return agent

    async def get_all_org_agents(
        self, org_id: str, skip: int = 0, limit: int = 1000
    ) -> list[Agent]:
        """Return the organization's agents by creation time.

        Raises:
            OrganizationNotFoundError: There is no such organization.
        """
        skip, limit = checked_page(skip, limit)
        org_id = checked_id(org_id, "org_id")
        agents = await self.list_agents(org_id, user_id=None, skip=skip, limit=limit)
        if not agents:
            await self.get_organization(org_id)
        return agents

    async def get_all_user_agents(
        self, org_id: str, user_id: str, skip: int = 0, limit: int = 1000
    ) -> list[Agent]:
        """Return the agents that belong to the user, by creation time.

        Raises:
            UserNotFoundError: There is no such user in the organization.
        """
        skip, limit = checked_page(skip, limit)
        scope = Scope(org_id, user_id)
        agents = await self.list_agents(scope.org_id, user_id=scope.user_id, skip=skip, limit=limit)
        if not agents:
            await self.get_user(org_id, user_id)
        return agents

    async def delete_agent(self, org_id: str, agent_id: str) -> None:
        """Delete an agent; what it wrote stays, under the label it had. Idempotent."""
        await self.remove_agent(
            checked_id(org_id, "org_id"), checked_id(agent_id, "agent_id"), self.clock.now()
        )

    # Interactions

    async def create_interaction(
        self,
        org_id: str,
        user_id: str,
        agent_id: str | None = None,
        *,
        external_id: str | None = None,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Interaction:
        """Create an empty interaction.

        Args:
            org_id: The organization.
            user_id: The user.
            agent_id: The agent it belongs to, if any.
            external_id: The caller's id of the conversation, unique per user; creating it again
                returns the one that is there.
            title: 1 to 256 characters.
            metadata: Any JSON object.

        Raises:
            UserNotFoundError: There is no such user.
            AgentNotFoundError: There is no such agent, or it belongs to another user.
        """
        scope = Scope(org_id, user_id, agent_id)
        await self.get_agent_for(scope)
        if external_id is not None:
            existing = await self.find_interaction(scope, checked_id(external_id, "external_id"))
            if existing is not None:
                return existing
        plan = planning.new_interaction(
            scope, self.ids.short(), self.clock.now(), external_id, title, metadata
        )
        await self.apply(plan)
        return await self.get_interaction(org_id, user_id, planning.interaction_id_of(plan))

    async def save_interaction_with_memories(
        self,
        org_id: str,
        agent_id: str | None,
        user_id: str,
        memories_and_interaction: MemoriesAndInteraction,
    ) -> tuple[str, datetime]:
        """Store an interaction together with memories that are already known.

        Returns:
            Interaction id and creation time.

        Raises:
            UserNotFoundError, AgentNotFoundError: They are not in this scope.
            MemoryNotFoundError: A contradicted memory is not the user's.
            InvalidInputError: A message or memory is malformed; nothing was stored.
        """
        scope = Scope(org_id, user_id, agent_id)
        await self.get_agent_for(scope)
        chains = await self._contradicted(scope, memories_and_interaction)
        plan = planning.stored_interaction(
            scope, None, (), memories_and_interaction, chains, self.clock.now(), self.ids
        )
        receipt = await self.apply(plan)
        await self.drain_outbox()
        return planning.interaction_id_of(plan), cast("datetime", receipt.created_at)

    async def update_interaction_and_memories(
        self,
        org_id: str,
        agent_id: str | None,
        user_id: str,
        interaction_id: str,
        updated_memories_and_interaction: MemoriesAndInteraction,
        *,
        expected_revision: int | None = None,
    ) -> tuple[str, datetime]:
        """Change a transcript to the given one, and add memories.

        The common prefix stays; what differs is cut and the rest appended. Memories of messages
        that were cut stay and lose that source.

        Args:
            org_id: The organization.
            agent_id: The agent that writes, if any.
            user_id: The user.
            interaction_id: The interaction (or its external id).
            updated_memories_and_interaction: The whole transcript, and only new memories.
            expected_revision: Revision that the caller based this on.

        Returns:
            Interaction id and time of the update.

        Raises:
            InteractionNotFoundError: The user has no such interaction.
            ConflictError: The interaction changed in the meantime; nothing was written.
        """
        scope = Scope(org_id, user_id, agent_id)
        await self.get_agent_for(scope)
        stored = await self._get_interaction(scope, interaction_id)
        if expected_revision is not None and stored.revision != expected_revision:
            raise await self.conflict(scope, stored, expected_revision)
        hashes = await self.read_prefix_hashes(scope, stored.interaction_id)
        chains = await self._contradicted(scope, updated_memories_and_interaction)
        plan = planning.stored_interaction(
            scope,
            stored,
            hashes,
            updated_memories_and_interaction,
            chains,
            self.clock.now(),
            self.ids,
        )
        receipt = await self.apply(plan)
        await self.drain_outbox()
        return stored.interaction_id, cast("datetime", receipt.updated_at)

    async def _contradicted(self, scope: Scope, given: object) -> dict[str, list[Memory]]:
        if not isinstance(given, MemoriesAndInteraction):
            field = "memories_and_interaction"
            raise InvalidInputError(field, "a MemoriesAndInteraction", got=kind_of(given))
        ids = [memory.existing_contrary_memory_id for memory in given.contrary_memories]
        if not ids:
            return {}
        chains = await self.read_chains(Scope(scope.org_id, scope.user_id), ids)
        for memory_id in ids:
            if memory_id not in chains:
                raise MemoryNotFoundError(memory_id)
        return chains

    async def get_interaction(
        self,
        org_id: str,
        user_id: str,
        interaction_id: str,
        with_messages: bool = True,  # noqa: FBT001, FBT002 - signature of memora 0.3
        with_memories: bool = True,  # noqa: FBT001, FBT002 - signature of memora 0.3
    ) -> Interaction:
        """Return an interaction.

        Args:
            org_id: The organization.
            user_id: The user.
            interaction_id: Its id, or the caller's external id.
            with_messages: Fill `messages`.
            with_memories: Fill `memories` with all versions obtained in it, newest first.

        Raises:
            InteractionNotFoundError: The user has no such interaction.
        """
        scope = Scope(org_id, user_id)
        found = await self._get_interaction(scope, interaction_id)
        if with_messages:
            stored = await self.read_messages(scope, found.interaction_id, 0, None)
            found.messages = [item.message for item in stored]
        if with_memories:
            found.memories = await self._all_of_interaction(scope, found.interaction_id)
        return found

    async def _get_interaction(self, scope: Scope, interaction_id: str) -> Interaction:
        found = await self.find_interaction(scope, checked_id(interaction_id, "interaction_id"))
        if found is None:
            raise InteractionNotFoundError(interaction_id)
        return found

    async def conflict(
        self, scope: Scope, stored: Interaction, expected: int | None, tail: int = 10
    ) -> ConflictError:
        """Return the error that tells a caller what the interaction looks like by now."""
        start = max(0, stored.message_count - tail)
        messages = await self.read_messages(scope, stored.interaction_id, start, None)
        return ConflictError(
            "interaction",
            stored.interaction_id,
            expected=expected,
            actual=stored.revision,
            tail=[
                {**item.message.as_message(), "msg_position": item.message.msg_position}
                for item in messages
            ],
        )

    async def get_interaction_messages(
        self, org_id: str, user_id: str, interaction_id: str, skip: int = 0, limit: int = 1000
    ) -> list[MessageBlock]:
        """Return messages of an interaction by position, one page at a time.

        Raises:
            InteractionNotFoundError: The user has no such interaction.
        """
        skip, limit = checked_page(skip, limit)
        scope = Scope(org_id, user_id)
        found = await self._get_interaction(scope, interaction_id)
        stored = await self.read_messages(scope, found.interaction_id, skip, skip + limit)
        return [item.message for item in stored]

    async def get_all_interaction_memories(
        self, org_id: str, user_id: str, interaction_id: str
    ) -> list[Memory]:
        """Return all memories (every version) obtained in an interaction, newest first.

        Raises:
            InteractionNotFoundError: The user has no such interaction.
        """
        scope = Scope(org_id, user_id)
        found = await self._get_interaction(scope, interaction_id)
        return await self._all_of_interaction(scope, found.interaction_id)

    async def _all_of_interaction(self, scope: Scope, interaction_id: str) -> list[Memory]:
        memories: list[Memory] = []
        after: tuple[datetime, str] | None = None
        while True:
            page = await self.list_memories(
                scope,
                MemoryListing(interaction_id=interaction_id, current_only=False, after=after),
            )
            memories += page
            if len(page) < MemoryListing().limit:
                return await self.with_names(scope.org_id, memories)
            after = (page[-1].obtained_at, page[-1].memory_id)

    async def get_all_user_interactions(
        self,
        org_id: str,
        user_id: str,
        with_messages: bool = False,  # noqa: FBT001, FBT002 - signature of memora 0.3
        with_memories: bool = False,  # noqa: FBT001, FBT002 - signature of memora 0.3
        skip: int = 0,
        limit: int = 1000,
    ) -> list[Interaction]:
        """Return the user's interactions, last changed first.

        Raises:
            UserNotFoundError: There is no such user.
        """
        skip, limit = checked_page(skip, limit)
        scope = Scope(org_id, user_id)
        found = await self.list_interactions(scope, skip=skip, limit=limit)
        if not found:
            await self.get_user(org_id, user_id)
        for interaction in found:
            if with_messages:
                stored = await self.read_messages(scope, interaction.interaction_id, 0, None)
                interaction.messages = [item.message for item in stored]
            if with_memories:
                interaction.memories = await self._all_of_interaction(
                    scope, interaction.interaction_id
                )
        return found

    async def delete_user_interaction_and_its_memories(
        self, org_id: str, user_id: str, interaction_id: str
    ) -> DeleteCounts:
        """Delete an interaction with messages, jobs and memories obtained in it. Idempotent."""
        scope = Scope(org_id, user_id)
        found = await self.find_interaction(scope, checked_id(interaction_id, "interaction_id"))
        if found is None:
            return DeleteCounts()
        counts = await self.erase_interactions(scope, [found.interaction_id], self.clock.now())
        await self.drain_outbox()
        return counts

    async def delete_all_user_interactions_and_their_memories(
        self, org_id: str, user_id: str
    ) -> DeleteCounts:
        """Delete all interactions of a user and the memories obtained in them. Idempotent."""
        counts = await self.erase_interactions(Scope(org_id, user_id), None, self.clock.now())
        await self.drain_outbox()
        return counts

    # Memories

    async def fetch_user_memories_resolved(
        self,
        org_user_mem_ids: Sequence[Mapping[str, str] | str],
        *,
        org_id: str,
        user_id: str | None = None,
        as_of: datetime | None = None,
    ) -> list[Memory]:
        """Return the current version of each memory, in order; see the `_batch` form."""
        batches = await self.fetch_user_memories_resolved_batch(
            [org_user_mem_ids], org_id=org_id, user_id=user_id, as_of=as_of
        )
        return batches[0]

    async def fetch_user_memories_resolved_batch(
        self,
        batch_org_user_mem_ids: Sequence[Sequence[Mapping[str, str] | str]],
        *,
        org_id: str,
        user_id: str | None = None,
        as_of: datetime | None = None,
    ) -> list[list[Memory]]:
        """Follow each id to the version that is current, per batch and in order.

        Ids that are unknown, out of scope, or without a current version drop out; two versions of
        one statement count once, at the place of the first.

        Args:
            batch_org_user_mem_ids: Ids, or mappings with `org_id`, `user_id`, `memory_id` (which
                must lie in the scope given here).
            org_id: The organization of the request.
            user_id: The user of the request; None: any user of the organization (administration),
                then each item must be a mapping that names its user.
            as_of: Read the versions that were current at this conversation time.
        """
        as_of = None if as_of is None else checked_time(as_of, "as_of")
        wanted: dict[str, dict[str, None]] = {}
        batches: list[list[tuple[str, str]]] = []
        given = checked_list(batch_org_user_mem_ids, "org_user_mem_ids", "a list of lists of ids")
        for items in given:
            listed = checked_list(items, "org_user_mem_ids", "a list of ids")
            owned = [_owned(item, org_id, user_id) for item in listed]
            batches.append([pair for pair in owned if pair is not None])
            for owner, memory_id in batches[-1]:
                wanted.setdefault(owner, {})[memory_id] = None
        resolved: dict[tuple[str, str], Memory] = {}
        for owner, ids in wanted.items():
            found = await self.resolve_memories(Scope(org_id, owner), list(ids), as_of)
            named = await self.with_names(org_id, list(found.values()))
            for memory_id, memory in zip(found, named, strict=True):
                resolved[owner, memory_id] = memory
        return [
            list({m.memory_id: m for pair in batch if (m := resolved.get(pair))}.values())
            for batch in batches
        ]

    async def get_user_memory(self, org_id: str, user_id: str, memory_id: str) -> Memory:
        """Return exactly this version of a memory, with its sources.

        Raises:
            MemoryNotFoundError: The user has no such memory.
        """
        scope = Scope(org_id, user_id)
        found = await self.read_memories(scope, [checked_id(memory_id, "memory_id")])
        if not found:
            raise MemoryNotFoundError(memory_id)
        return (await self.with_names(scope.org_id, found))[0]

    async def get_user_memory_history(
        self, org_id: str, user_id: str, memory_id: str
    ) -> list[Memory]:
        """Return all versions of a statement, newest first, from any one of them.

        Raises:
            MemoryNotFoundError: The user has no such memory.
        """
        scope = Scope(org_id, user_id)
        chains = await self.read_chains(scope, [checked_id(memory_id, "memory_id")])
        if memory_id not in chains:
            raise MemoryNotFoundError(memory_id)
        return await self.with_names(scope.org_id, chains[memory_id])

    async def get_all_user_memories(
        self,
        org_id: str,
        user_id: str,
        agent_id: str | None = None,
        skip: int = 0,
        limit: int = 1000,
    ) -> list[Memory]:
        """Return the user's current memories, newest first.

        Expired and archived ones are left out.

        Raises:
            UserNotFoundError: There is no such user.
        """
        skip, limit = checked_page(skip, limit)
        scope = Scope(org_id, user_id)
        listing = MemoryListing(
            agent_id=checked_optional_id(agent_id, "agent_id"), skip=skip, limit=limit
        )
        found = await self.list_live_memories(scope, listing, self.clock.now())
        if not found:
            await self.get_user(org_id, user_id)
        return await self.with_names(scope.org_id, found)

    async def delete_user_memory(self, org_id: str, user_id: str, memory_id: str) -> DeleteCounts:
        """Purge one version: text and vectors are gone, its neighbours are linked.

        No older version becomes current by it, and the same statement is not extracted again from
        the same message. Idempotent.
        """
        counts = await self.purge_memories(
            Scope(org_id, user_id), [checked_id(memory_id, "memory_id")], self.clock.now()
        )
        await self.drain_outbox()
        return counts

    async def delete_all_user_memories(self, org_id: str, user_id: str) -> DeleteCounts:
        """Purge all memories of a user; interactions stay. Idempotent."""
        counts = await self.purge_memories(Scope(org_id, user_id), None, self.clock.now())
        await self.drain_outbox()
        return counts

    # Jobs

    async def get_job(self, org_id: str, job_id: str) -> ExtractionJob:
        """Return a job.

        Raises:
            JobNotFoundError: There is no such job in the organization.
        """
        found = await self.find_job(checked_id(org_id, "org_id"), checked_id(job_id, "job_id"))
        if found is None:
            raise JobNotFoundError(job_id)
        return found

    # Names and index documents, shared by all adapters

    async def with_names(self, org_id: str, memories: Sequence[Memory]) -> list[Memory]:
        """Return the memories with current names in place of placeholders."""
        spanned = [memory for memory in memories if "[[" in memory.memory]
        if not spanned:
            return list(memories)
        users = {memory.user_id for memory in spanned}
        agents = {memory.agent_id for memory in spanned if memory.agent_id is not None}
        user_names, agent_labels = await self.read_names(org_id, users, agents)
        return [
            memory.model_copy(
                update={
                    "memory": placeholders.render(
                        memory.memory,
                        _only(user_names, memory.user_id),
                        _only(agent_labels, memory.agent_id),
                    )
                }
            )
            if "[[" in memory.memory
            else memory
            for memory in memories
        ]

    async def read_index_documents(
        self, scope: Scope, memory_ids: Sequence[str]
    ) -> list[IndexDocument]:
        """Return what the vector store holds of these memories; missing ones are left out."""
        return [indexing.document(memory) for memory in await self.read_memories(scope, memory_ids)]

    async def all_index_documents(self, scope: Scope) -> AsyncIterator[IndexDocument]:
        """Yield what the vector store should hold of a user, for reindex and doctor."""
        after: tuple[datetime, str] | None = None
        while True:
            page = await self.list_memories(scope, MemoryListing(current_only=False, after=after))
            for memory in page:
                yield indexing.document(memory)
            if len(page) < MemoryListing().limit:
                return
            after = (page[-1].obtained_at, page[-1].memory_id)

    def _new_id(self, given: str | None, field: str) -> str:
        return self.ids.short() if given is None else checked_id(given, field)

    # Primitives: what an adapter writes

    @abstractmethod
    async def setup(self) -> None:
        """Create constraints, indexes and stamps; run migrations; may be called at any time.

        A store that only one process can own releases the leases of jobs and outbox entries when
        it is opened: whoever held them is gone.

        Raises:
            SchemaVersionError: The store is newer than this memora, or was written by 0.3.
            StoreLockedError: Another process owns the embedded store.
            GraphDBConnectionError: The server cannot be reached.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release what this object opened; a second call does nothing."""

    @abstractmethod
    async def put_organization(self, organization: Organization) -> Organization:
        """Insert the organization, or return the one with this id as it is stored."""

    @abstractmethod
    async def put_user(self, user: User, *, salt: str) -> User:
        """Insert the user, or return the one with this id as it is stored.

        Args:
            user: The user.
            salt: Random text for the user's tombstones; kept only on insertion.

        Raises:
            OrganizationNotFoundError: There is no such organization.
        """

    @abstractmethod
    async def put_agent(self, agent: Agent) -> Agent:
        """Insert the agent (a deleted one of this id comes back), or return the stored one.

        Raises:
            OrganizationNotFoundError: There is no such organization.
            UserNotFoundError: It names a user that is not in the organization.
        """

    @abstractmethod
    async def rename_organization(self, org_id: str, name: str) -> Organization:
        """Rename, or raise OrganizationNotFoundError."""

    @abstractmethod
    async def rename_user(self, scope: Scope, name: str) -> User:
        """Rename, or raise UserNotFoundError."""

    @abstractmethod
    async def rename_agent(self, org_id: str, agent_id: str, label: str) -> Agent:
        """Rename, or raise AgentNotFoundError."""

    @abstractmethod
    async def find_organization(self, org_id: str) -> Organization | None:
        """Return the organization, or None."""

    @abstractmethod
    async def find_user(self, scope: Scope) -> User | None:
        """Return the user, or None."""

    @abstractmethod
    async def find_agent(self, org_id: str, agent_id: str) -> Agent | None:
        """Return the agent, or None; a deleted one is not found."""

    @abstractmethod
    async def list_organizations(self, *, skip: int, limit: int) -> list[Organization]:
        """Return a page by (created_at, org_id)."""

    @abstractmethod
    async def list_users(self, org_id: str, *, skip: int, limit: int) -> list[User]:
        """Return a page by (created_at, user_id)."""

    @abstractmethod
    async def list_agents(
        self, org_id: str, *, user_id: str | None, skip: int, limit: int
    ) -> list[Agent]:
        """Return a page by (created_at, agent_id); with `user_id` only that user's own agents."""

    @abstractmethod
    async def read_names(
        self, org_id: str, user_ids: Collection[str], agent_ids: Collection[str]
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Return names of users and labels of agents (also deleted agents') by id."""

    @abstractmethod
    async def read_salt(self, scope: Scope) -> str:
        """Return the user's tombstone salt, or raise UserNotFoundError."""

    @abstractmethod
    async def erase_organization(self, org_id: str, now: datetime) -> DeleteCounts:
        """Delete everything of the organization; enqueue `drop_organization`.

        Older outbox entries of it go, so that only the drop is left. Batched where the store
        cannot delete much at once; the organization itself goes last, so a repetition finishes an
        interrupted one.
        """

    @abstractmethod
    async def erase_user(self, scope: Scope, now: datetime) -> DeleteCounts:
        """Delete everything of the user, personal agents too; enqueue `drop_user`; as above."""

    @abstractmethod
    async def remove_agent(self, org_id: str, agent_id: str, now: datetime) -> None:
        """Mark the agent deleted; its label stays for what it wrote."""

    @abstractmethod
    async def erase_interactions(
        self, scope: Scope, interaction_ids: Sequence[str] | None, now: datetime
    ) -> DeleteCounts:
        """Delete interactions (None: all of the user) with messages, jobs, memories, sources.

        Memories obtained in them are purged without a tombstone: chains are relinked by
        `core.versions.relink`, and a `sync` entry names them.
        """

    @abstractmethod
    async def purge_memories(
        self, scope: Scope, memory_ids: Sequence[str] | None, now: datetime
    ) -> DeleteCounts:
        """Delete these versions (None: all of the user); unknown and foreign ids count nothing.

        In one transaction: chains are relinked by `core.versions.relink`, for every linked source
        message a tombstone (`core.hashing.tombstone` of salt, prefix hash, content hash) is left,
        and a `sync` entry names them.
        """

    @abstractmethod
    async def find_interaction(self, scope: Scope, interaction_id: str) -> Interaction | None:
        """Return the user's interaction by id or external id (id first), without messages.

        An agent in the scope does not narrow this.
        """

    @abstractmethod
    async def list_interactions(self, scope: Scope, *, skip: int, limit: int) -> list[Interaction]:
        """Return a page by updated_at descending, then id."""

    @abstractmethod
    async def read_messages(
        self, scope: Scope, interaction_id: str, start: int, end: int | None
    ) -> list[StoredMessage]:
        """Return messages at positions [start, end), found by index; end None: to the last."""

    @abstractmethod
    async def read_prefix_hashes(self, scope: Scope, interaction_id: str) -> list[str]:
        """Return the prefix hashes of all messages, by position."""

    @abstractmethod
    async def apply(self, plan: WritePlan) -> WriteReceipt:
        """Write a plan in one transaction, or nothing of it.

        In this order: user and agents exist (an agent of another user does not); the idempotency
        key decides whether this is a repetition; the job row exists where required, and was not
        started again since; the interaction's revision, the versions' neighbours and the
        ended heads are as the plan expects; then everything is written. Lowering the transcript
        lowers `end` of the interaction's unfinished jobs (nothing left: done). Every memory that
        is inserted, whose validity changed, or that ended, is named in one `sync` entry. A memory
        with a tombstone for every one of its sources is not written. `updated_at` is at least one
        microsecond after the one before. May run twice: the second run finds the first one's work
        undone.

        Raises:
            UserNotFoundError, AgentNotFoundError, InteractionNotFoundError: Not in this scope;
                a missing required job raises InteractionNotFoundError.
            ConflictError: A guard failed (`record` says which: interaction, memory, job,
                idempotency_key, external_id); its `tail` may be empty.
            GraphDBConnectionError: Not written, or not known to be; repeat with the same key.
        """

    @abstractmethod
    async def find_idempotency(self, scope: Scope, key: str) -> IdempotencyRecord | None:
        """Return what the key was used for, or None."""

    @abstractmethod
    async def read_memories(self, scope: Scope, memory_ids: Sequence[str]) -> list[Memory]:
        """Return exactly these versions with sources and links, in the order of the ids.

        Missing and foreign ids are left out; an agent in the scope narrows.
        """

    @abstractmethod
    async def resolve_memories(
        self, scope: Scope, memory_ids: Sequence[str], as_of: datetime | None
    ) -> dict[str, Memory]:
        """Return for each id its chain's version that is current (or was, at `as_of`).

        In the order of the ids; ids without one are left out. The scope's agent does not narrow:
        the flow filters after resolution.
        """

    @abstractmethod
    async def read_chains(self, scope: Scope, memory_ids: Sequence[str]) -> dict[str, list[Memory]]:
        """Return for each known id all versions of its chain, newest first."""

    @abstractmethod
    async def list_memories(self, scope: Scope, listing: MemoryListing) -> list[Memory]:
        """Return a page of the user's memories, expired and archived ones included."""

    @abstractmethod
    async def list_live_memories(
        self, scope: Scope, listing: MemoryListing, now: datetime
    ) -> list[Memory]:
        """Return a page without expired and archived memories."""

    @abstractmethod
    async def find_current_by_hash(
        self, scope: Scope, content_hashes: Collection[str]
    ) -> dict[str, Memory]:
        """Return the user's current memories by content hash; an agent in the scope narrows."""

    @abstractmethod
    async def find_tombstones(self, scope: Scope, tombstones: Collection[str]) -> set[str]:
        """Return those of these tombstones that exist for the user."""

    @abstractmethod
    async def save_job(self, job: ExtractionJob) -> None:
        """Replace an existing job.

        Raises:
            JobNotFoundError: It is gone, with its interaction or user.
            ConflictError: It was started again (more `attempts`) since it was read.
        """

    @abstractmethod
    async def claim_job(
        self, org_id: str, job_id: str, *, now: datetime, lease_until: datetime
    ) -> ExtractionJob | None:
        """Set the job RUNNING under a lease and count the attempt.

        None when it is done, gone, or leased by somebody else.
        """

    @abstractmethod
    async def find_job(self, org_id: str, job_id: str) -> ExtractionJob | None:
        """Return the job, or None."""

    @abstractmethod
    async def list_jobs(
        self,
        org_id: str,
        *,
        user_id: str | None = None,
        statuses: Collection[JobStatus] = (),
        skip: int = 0,
        limit: int = 1000,
    ) -> list[ExtractionJob]:
        """Return a page by (created_at, job_id); no statuses: all."""

    @abstractmethod
    async def claim_outbox(
        self, *, now: datetime, lease_until: datetime, limit: int
    ) -> list[OutboxEntry]:
        """Lease due entries in the order of `seq`, and return them with their lease token.

        Due: not dead, `not_before` reached, not leased. An entry is passed over while an earlier
        one of the same user (for `drop_organization`: of the organization) is leased, or while
        an earlier drop of its user or organization is still there in any state. A `sync` that
        waits or is dead holds nothing up: sync entries look at the graph as it is by then.
        """

    @abstractmethod
    async def ack_outbox(self, entries: Sequence[OutboxEntry]) -> list[OutboxEntry]:
        """Delete entries whose lease is still the given one; return the others."""

    @abstractmethod
    async def fail_outbox(
        self, entries: Sequence[OutboxEntry], *, error: str, not_before: datetime, dead: bool
    ) -> None:
        """Release the leases, count an attempt, and note the error."""

    @abstractmethod
    async def enqueue_sync(self, scope: Scope, memory_ids: Sequence[str], now: datetime) -> None:
        """Add a `sync` entry outside of a plan."""

    @abstractmethod
    async def retry_outbox(self, now: datetime) -> int:
        """Make all waiting and dead entries due at once; return how many there were."""

    @abstractmethod
    async def list_outbox(self, *, after: int = 0, limit: int = 1000) -> list[OutboxEntry]:
        """Return entries by `seq`, for the operator."""

    @abstractmethod
    async def outbox_status(self) -> OutboxStatus:
        """Return how far the vectors are behind."""

    @abstractmethod
    async def inspect(self) -> list[Finding]:
        """Check invariants I2, I3, I4, I10, I13 and I20 inside the store, read-only."""


def _expect_equal(record: str, record_id: str, wanted: object, stored: object) -> None:
    if wanted != stored:
        raise ConflictError(record, record_id, expected="an equal body", actual="another body")


def _only(names: Mapping[str, str], record_id: str | None) -> dict[str, str]:
    if record_id is None or record_id not in names:
        return {}
    return {record_id: names[record_id]}


def _owned(item: object, org_id: str, user_id: str | None) -> tuple[str, str] | None:
    """Return (user id, memory id) of an item of a fetch, or None when it is out of scope."""
    if isinstance(item, str):
        if user_id is None:
            raise InvalidInputError("user_id", "given when items are plain ids", got="None")
        return user_id, checked_id(item, "org_user_mem_ids")
    if not isinstance(item, Mapping):
        allowed = "ids, or mappings with org_id, user_id and memory_id"
        raise InvalidInputError("org_user_mem_ids", allowed, got=kind_of(item))
    named = cast("Mapping[str, object]", item)
    memory_id = checked_id(named.get("memory_id"), "org_user_mem_ids.memory_id")
    if named.get("org_id", org_id) != org_id:
        return None
    owner = named.get("user_id", user_id)
    if owner is None or (user_id is not None and owner != user_id):
        return None
    return checked_id(owner, "org_user_mem_ids.user_id"), memory_id
