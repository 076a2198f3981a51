"""The graph port: the authoritative store of interactions and versioned memories."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self, cast

from pydantic import SecretStr

from memora.core import indexing, placeholders, planning
from memora.core.clock import Clock, SystemClock
from memora.core.ids import Ids, RandomIds
from memora.core.lifetimes import Lifetimes, is_expired, unexpired
from memora.core.messages import EMPTY_HASH
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
from memora.graph_db.outbox import BATCH, Applied, DrainReport, Drains, drain
from memora.schema.entities import EntityMention, EntityName, EntityRelation
from memora.schema.findings import Finding
from memora.schema.imports import ImportCounts, ImportRun, ImportStatus, UndoCounts
from memora.schema.index import IndexDocument
from memora.schema.jobs import ExtractionJob, JobStatus
from memora.schema.lifetime import Access, DueMemory, MemoryCounts
from memora.schema.models import Agent, Interaction, Memory, MessageBlock, Organization, User
from memora.schema.scope import Scope, SearchScope
from memora.schema.sources import SourceSelector, StoredVersion, Withdrawal
from memora.schema.storage_schema import MemoriesAndInteraction
from memora.schema.times import checked_time
from memora.schema.transfer import TransferRecord
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
from memora.vector_db.base import BaseVectorDB, PinnedStore

# How often an interaction is read that others change meanwhile.
_READS = 8
# How many messages before a source are looked at for what was said before it.
CONTEXT_REACH = 4
# Who has spoken lately: names in the first messages of so many interactions.
SPEAKER_INTERACTIONS = 20
SPEAKER_MESSAGES = 8

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
        standing: Only pinned memories, and those of these types; None: all.
        after: (obtained_at, memory_id) of the last row of the page before; None: from the start.
    """

    agent_id: str | None = None
    interaction_id: str | None = None
    current_only: bool = True
    standing: tuple[str, ...] | None = None
    after: tuple[datetime, str] | None = None
    skip: int = 0
    limit: int = 1000


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
        self.lifetimes = Lifetimes()
        self._drains = Drains()

    async def __aenter__(self) -> Self:
        await self.setup()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    def get_associated_vector_db(self) -> BaseVectorDB | None:
        """Return the vector store that follows this graph, if there is one."""
        return self._vector_db

    def with_vector_db(self, vector_db: BaseVectorDB, lifetimes: Lifetimes | None = None) -> Self:
        """Return a handle on the same store whose writes drain to this vector store.

        This object stays as it is: two engines that share it do not redirect each other's writes.

        Args:
            vector_db: Follows the handle.
            lifetimes: How long memories stay that are written through it; None: as here.
        """
        handle = copy.copy(self)
        handle._vector_db = vector_db
        handle.lifetimes = lifetimes or self.lifetimes
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
        vector = self._vector_db
        if vector is None:
            return DrainReport()
        return await self._drains.run(
            lambda: drain(self, vector, self.clock.now(), limit=limit, on_applied=on_applied),
            shared_as=None if on_applied is not None else (id(vector), limit),
        )

    @asynccontextmanager
    async def without_drains(self) -> AsyncGenerator[None]:
        """Keep the outbox from being drained by this process for the length of the block."""
        async with self._drains.lock:
            yield

    @asynccontextmanager
    async def with_one_key(self) -> AsyncGenerator[None]:
        """Keep the encryption key as it is for the length of the block; here there is none."""
        yield

    @asynccontextmanager
    async def pin_with_vectors(self) -> AsyncGenerator[tuple[PinnedStore, PinnedStore] | None]:
        """Hold one state of this store and its vector store, for a native copy; writes go on.

        Vectors first, and no drain between the two: what the graph's state calls acknowledged is
        in the vectors' state, and everything later waits in the graph's outbox. Both are sealed
        with the same key: a change of it is waited for. None: one of the two lies on a server.
        """
        async with AsyncExitStack() as stack:
            vectors = None
            async with self.with_one_key(), self._drains.lock:
                if self._vector_db is not None:
                    vectors = await stack.enter_async_context(self._vector_db.pin())
                graph = await stack.enter_async_context(self.pin())
            yield None if graph is None or vectors is None else (graph, vectors)

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
        plan = await self._planned(scope, None, (), memories_and_interaction)
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
        plan = await self._planned(scope, stored, hashes, updated_memories_and_interaction)
        receipt = await self.apply(plan)
        await self.drain_outbox()
        return stored.interaction_id, cast("datetime", receipt.updated_at)

    async def _planned(
        self,
        scope: Scope,
        stored: Interaction | None,
        hashes: Sequence[str],
        given: MemoriesAndInteraction,
    ) -> WritePlan:
        """Plan, without memories that were purged from the same messages before.

        `apply` leaves those out too, but then a later version of the same plan would miss its
        neighbour.
        """
        chains = await self._contradicted(scope, given)
        now = self.clock.now()
        lifetimes = self.lifetimes
        plan = planning.stored_interaction(
            scope, stored, hashes, given, chains, now, self.ids, lifetimes=lifetimes
        )
        if len(given.contrary_memories) < 2:
            return plan
        marks = planning.tombstones_of_writes(plan.memories, await self.read_salt(scope))
        found = await self.find_tombstones(scope, {mark for each in marks for mark in each})
        buried = {at for at, each in enumerate(marks) if each and found.issuperset(each)}
        return planning.stored_interaction(
            scope, stored, hashes, given, chains, now, self.ids, buried, lifetimes=lifetimes
        )

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
            ConflictError: Others kept changing it while it was read.
        """
        scope = Scope(org_id, user_id)
        found = await self._get_interaction(scope, interaction_id)
        if with_messages:
            found = await self._with_messages(scope, found)
        if with_memories:
            found.memories = await self._all_of_interaction(scope, found.interaction_id)
        return found

    async def _get_interaction(self, scope: Scope, interaction_id: str) -> Interaction:
        found = await self.find_interaction(scope, checked_id(interaction_id, "interaction_id"))
        if found is None:
            raise InteractionNotFoundError(interaction_id)
        return found

    async def _with_messages(self, scope: Scope, found: Interaction) -> Interaction:
        """Return the interaction with the messages that it had at its revision.

        Interaction and messages are read one after the other; when somebody wrote in between, both
        are read again.
        """
        for _attempt in range(_READS):
            stored = await self.read_messages(scope, found.interaction_id, 0, None)
            last_hash = stored[-1].prefix_hash if stored else EMPTY_HASH
            if (len(stored), last_hash) == (found.message_count, found.content_hash):
                found.messages = [item.message for item in stored]
                return found
            found = await self._get_interaction(scope, found.interaction_id)
        raise ConflictError("interaction", found.interaction_id)

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
                return await self.with_names(scope.org_id, unexpired(memories, self.clock.now()))
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
        if not with_messages and not with_memories:
            return found
        complete: list[Interaction] = []
        for interaction in found:
            # What is deleted meanwhile is not there any more.
            with suppress(InteractionNotFoundError):
                complete.append(
                    await self._with_messages(scope, interaction) if with_messages else interaction
                )
                if with_memories:
                    complete[-1].memories = await self._all_of_interaction(
                        scope, interaction.interaction_id
                    )
        return complete

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

        Ids that are unknown, out of scope, expired, or without a current version drop out; two
        versions of one statement count once, at the place of the first.

        Args:
            batch_org_user_mem_ids: Ids, or mappings with `org_id`, `user_id`, `memory_id` (which
                must lie in the scope given here).
            org_id: The organization of the request.
            user_id: The user of the request; None: any user of the organization (administration),
                then each item must be a mapping that names its user.
            as_of: Read the versions that were current at this conversation time.
        """
        org_id, user_id = checked_id(org_id, "org_id"), checked_optional_id(user_id, "user_id")
        as_of = None if as_of is None else checked_time(as_of, "as_of")
        wanted: dict[str, dict[str, None]] = {}
        batches: list[list[tuple[str, str]]] = []
        given = checked_list(batch_org_user_mem_ids, _ITEMS, "a list of lists of ids")
        for items in given:
            listed = checked_list(items, _ITEMS, "a list of ids")
            owned = [_owned(item, org_id, user_id) for item in listed]
            batches.append([pair for pair in owned if pair is not None])
            for owner, memory_id in batches[-1]:
                wanted.setdefault(owner, {})[memory_id] = None
        resolved: dict[tuple[str, str], Memory] = {}
        for owner, ids in wanted.items():
            found = await self.resolve_memories(Scope(org_id, owner), list(ids), as_of)
            named = await self.with_names(org_id, list(found.values()))
            for memory_id, memory in zip(found, named, strict=True):
                if not is_expired(memory, as_of or self.clock.now()):
                    resolved[owner, memory_id] = memory
        return [
            list({m.memory_id: m for pair in batch if (m := resolved.get(pair))}.values())
            for batch in batches
        ]

    async def get_user_memory(self, org_id: str, user_id: str, memory_id: str) -> Memory:
        """Return exactly this version of a memory, with its sources.

        Raises:
            MemoryNotFoundError: The user has no such memory (any more).
        """
        scope = Scope(org_id, user_id)
        found = await self.read_memories(scope, [checked_id(memory_id, "memory_id")])
        if not unexpired(found, self.clock.now()):
            raise MemoryNotFoundError(memory_id)
        return (await self.with_names(scope.org_id, found))[0]

    async def get_user_memory_history(
        self, org_id: str, user_id: str, memory_id: str
    ) -> list[Memory]:
        """Return all versions of a statement, newest first, from any one of them.

        Expired versions are left out.

        Raises:
            MemoryNotFoundError: The user has no such memory (any more).
        """
        scope = Scope(org_id, user_id)
        chains = await self.read_chains(scope, [checked_id(memory_id, "memory_id")])
        history = unexpired(chains.get(memory_id, ()), self.clock.now())
        if not history:
            raise MemoryNotFoundError(memory_id)
        return await self.with_names(scope.org_id, history)

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
        spanned = [memory for memory in memories if _has_spans(memory)]
        if not spanned:
            return list(memories)
        users = {memory.user_id for memory in spanned}
        agents = {memory.agent_id for memory in spanned if memory.agent_id is not None}
        user_names, agent_labels = await self.read_names(org_id, users, agents)
        return [
            _rendered(
                memory,
                _only(user_names, memory.user_id),
                _only(agent_labels, memory.agent_id),
            )
            if _has_spans(memory)
            else memory
            for memory in memories
        ]

    async def read_index_documents(
        self, scope: Scope, memory_ids: Sequence[str]
    ) -> list[IndexDocument]:
        """Return what the vector store holds of these memories; missing ones are left out."""
        memories = await self.read_memories(scope, memory_ids)
        contexts = await self.read_contexts(scope, [memory.memory_id for memory in memories])
        return [indexing.document(each, contexts.get(each.memory_id)) for each in memories]

    async def all_index_documents(self, scope: Scope) -> AsyncIterator[IndexDocument]:
        """Yield what the vector store should hold of a user, for reindex and doctor."""
        after: tuple[datetime, str] | None = None
        while True:
            page = await self.list_memories(scope, MemoryListing(current_only=False, after=after))
            contexts = await self.read_contexts(scope, [memory.memory_id for memory in page])
            for memory in page:
                yield indexing.document(memory, contexts.get(memory.memory_id))
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

        Older outbox entries of it go, so that only the drop is left; those that a worker has
        leased stay until it is done with them, and the drop waits for it. Batched where the store
        cannot delete much at once; the organization itself goes last, so a repetition finishes an
        interrupted one.
        """

    @abstractmethod
    async def erase_user(self, scope: Scope, now: datetime) -> DeleteCounts:
        """Delete everything of the user, personal agents too; enqueue `drop_user`; as above."""

    @abstractmethod
    async def count_records(self, scope: SearchScope) -> DeleteCounts:
        """Count what is stored of the scope's user or organization, itself included.

        Also what an interrupted erasure left, and outbox entries. An agent does not narrow.
        """

    @abstractmethod
    async def enqueue_drop(self, scope: SearchScope, now: datetime) -> None:
        """Have the vectors of an erased user or organization dropped at once.

        Its outbox entries become one drop that is due, whatever they were; leased ones stay as in
        `erase_user`. Nothing happens while the user or organization exists.
        """

    @abstractmethod
    async def scrub(self) -> bool:
        """Overwrite what deleted records left in the store's own files and caches.

        Returns:
            Whether nothing is left there. What a server keeps (its logs, its backups) is the
            business of whoever runs it.
        """

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
    async def list_source_memories(
        self,
        scope: Scope,
        selector: SourceSelector,
        now: datetime,
        *,
        current_only: bool,
        skip: int,
        limit: int,
    ) -> list[Memory]:
        """Return a page of the user's memories that come from a source, newest first.

        Without expired ones. A source that is not the user's, or not there, has none. An agent in
        the scope does not narrow.
        """

    @abstractmethod
    async def withdraw(
        self,
        scope: Scope,
        selector: SourceSelector,
        now: datetime,
        *,
        leave_tombstones: bool,
        dry_run: bool = False,
    ) -> Withdrawal:
        """Take a source out of the user's memories, chain by chain, as if it had never been there.

        Unfinished jobs of the source are closed first (`core.withdrawal.cancelled`), then every
        chain is changed as `core.withdrawal.decide` says, in transactions of bounded size; each
        also holds the tombstones of what it unlinks, if they are wanted, and a `sync` entry. A
        repetition finds what is done and goes on. Transcripts stay.

        Args:
            scope: Owner.
            selector: The source.
            now: Store time.
            leave_tombstones: Whether the same statements must not be extracted again from the
                same messages.
            dry_run: Write nothing, and return what would be done.
        """

    @abstractmethod
    async def begin_import(self, run: ImportRun) -> ImportRun:
        """Insert an import, or go on with the one of this id that the user has.

        That one is running again, and the counts of its last run (failed, skipped) start anew.

        Args:
            run: A new one; of one that is there only the id and the owner count.

        Raises:
            UserNotFoundError: There is no such user.
            ConflictError: The id is another user's, or the import was taken back.
        """

    @abstractmethod
    async def note_import(self, scope: Scope, import_id: str, counts: ImportCounts) -> None:
        """Add to the counts of an import; what `apply` writes under it is counted there.

        Raises:
            ImportNotFoundError: The user has no such import.
            ConflictError: It was taken back meanwhile.
        """

    @abstractmethod
    async def finish_import(
        self, scope: Scope, import_id: str, status: ImportStatus, now: datetime
    ) -> None:
        """Note that a running import has ended as `done` or `failed`; any other stays as it is."""

    @abstractmethod
    async def find_import(self, org_id: str, import_id: str) -> ImportRun | None:
        """Return an import of the organization, or None."""

    @abstractmethod
    async def list_imports(
        self, org_id: str, *, user_id: str | None, skip: int, limit: int
    ) -> list[ImportRun]:
        """Return a page of imports, of all users or of one, the one that began last first."""

    @abstractmethod
    async def undo_import(
        self, scope: Scope, import_id: str, now: datetime, *, dry_run: bool = False
    ) -> UndoCounts:
        """Take back all that an import wrote, in transactions of bounded size.

        First the import is marked: no plan of it is written any more. Then some of its
        conversations at a time are settled (`core.undoing.settle`), each together with the chains
        of what was read in it (`core.undoing.decide`) and a `sync` entry; then its idempotency keys
        go, and it is `undone`. No tombstone is left. A repetition goes on where one was
        interrupted, and counts only what is left. One conversation is one transaction.

        Args:
            scope: Owner.
            import_id: The import.
            now: Store time.
            dry_run: Write nothing, and return what would be done.

        Raises:
            ImportNotFoundError: The user has no such import.
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
    async def read_speakers(self, scope: Scope) -> list[str]:
        """Return the names under which messages to this user were said lately, sorted.

        Looked for in the first `SPEAKER_MESSAGES` messages of the `SPEAKER_INTERACTIONS`
        interactions that changed last. The scope's agent does not narrow.
        """

    @abstractmethod
    async def apply(self, plan: WritePlan) -> WriteReceipt:
        """Write a plan in one transaction, or nothing of it.

        A plan of an import that was taken back is refused (ConflictError). What one that is known
        (`begin_import`) writes to a conversation is remembered with it, for `undo_import`.

        In this order: user and agents exist (an agent of another user does not); the idempotency
        key decides whether this is a repetition; the job row exists where required, and was not
        started again since; the interaction's revision, the versions' neighbours, the equal
        memories and the ended heads are as the plan expects; then everything is written.
        Lowering the transcript lowers `end` of the interaction's unfinished jobs (nothing left:
        done). Every memory that is inserted, whose validity changed, or that ended, is named in
        one `sync` entry. A memory with a tombstone for every one of its sources is not written.
        `updated_at` is at least one microsecond after the one before. May run twice: the second
        run finds the first one's work undone.

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
    async def read_contexts(self, scope: Scope, memory_ids: Sequence[str]) -> dict[str, str]:
        """Return by id the text that was said right before the message a memory came from.

        Of several source messages the first one counts (by interaction, then position). What user
        or assistant said last within the `CONTEXT_REACH` messages before it is meant; memories
        without that are left out. Whatever changes this enqueues the memory.
        """

    @abstractmethod
    async def read_chains(self, scope: Scope, memory_ids: Sequence[str]) -> dict[str, list[Memory]]:
        """Return for each known id all versions of its chain, newest first."""

    @abstractmethod
    async def read_origins(
        self, scope: Scope, chain_ids: Collection[str]
    ) -> dict[str, StoredVersion]:
        """Return the versions of these chains by id, with the messages that they came from.

        `import_id` of a message is that of the import which wrote it. A message of which is not
        known when it said so has its own time, if it has one.
        """

    @abstractmethod
    async def list_memories(self, scope: SearchScope, listing: MemoryListing) -> list[Memory]:
        """Return a page of memories of a user, or of all users of an organization.

        Expired and archived ones are included. An agent in the scope does not narrow.
        """

    @abstractmethod
    async def list_live_memories(
        self, scope: SearchScope, listing: MemoryListing, now: datetime
    ) -> list[Memory]:
        """Return a page of current memories that are neither expired nor archived."""

    @abstractmethod
    async def find_current_by_hash(
        self, scope: Scope, content_hashes: Collection[str]
    ) -> dict[str, Memory]:
        """Return the user's current memories by content hash; an agent in the scope narrows."""

    @abstractmethod
    async def list_entity_names(
        self,
        scope: Scope,
        now: datetime,
        *,
        entity_ids: Sequence[str] | None = None,
        skip: int = 0,
        limit: int = 1000,
    ) -> list[EntityName]:
        """Return all names of a page of entities, those first that most memories mention.

        Here and below only live memories count: current, not expired, not archived. An entity
        that none of them mentions is left out; the names of one stand together, the one that most
        memories use first.

        Args:
            scope: Owner.
            now: Time at which memories are live.
            entity_ids: Only these.
            skip: Entities to leave out.
            limit: At most that many entities.
        """

    @abstractmethod
    async def find_entity_ids(self, scope: Scope, names: Sequence[str]) -> dict[str, str]:
        """Return the entities that have these names in some spelling; unknown names are left out.

        Args:
            scope: Owner.
            names: As stored, with placeholders.

        Raises:
            UserNotFoundError: There is no such user.
        """

    @abstractmethod
    async def read_entity_groups(self, scope: Scope, entity_ids: Sequence[str]) -> dict[str, str]:
        """Return the entity of every name that these entities have, by the name's id."""

    @abstractmethod
    async def memories_mentioning(
        self, scope: Scope, entity_ids: Sequence[str], now: datetime, *, each: int
    ) -> list[EntityMention]:
        """Return live memories that mention these entities, newest first for each entity.

        Args:
            scope: Owner; an agent narrows.
            entity_ids: The entities.
            now: Time at which memories are live.
            each: At most that many for each entity.
        """

    @abstractmethod
    async def entities_mentioned(
        self, scope: Scope, memory_ids: Sequence[str], now: datetime
    ) -> list[EntityMention]:
        """Return what these memories mention, with the number of live memories that do so too."""

    @abstractmethod
    async def entity_relations(
        self, scope: Scope, entity_id: str, now: datetime, *, limit: int
    ) -> list[EntityRelation]:
        """Return what live memories say about an entity and another, newest first."""

    @abstractmethod
    async def move_entity_names(self, scope: Scope, moves: Mapping[str, str]) -> int:
        """Give names another entity; return how many there were. The user's own names only.

        Args:
            scope: Owner.
            moves: New entity by the id of the name.
        """

    @abstractmethod
    async def find_tombstones(self, scope: Scope, tombstones: Collection[str]) -> set[str]:
        """Return those of these tombstones that exist for the user."""

    @abstractmethod
    async def count_accesses(self, scope: Scope, accesses: Mapping[str, Access]) -> None:
        """Add to the usage of the user's memories, by id; unknown and foreign ids change nothing.

        Usage is no version: `access_count` grows, `last_accessed_at` never goes back, nothing else
        changes and nothing is enqueued.
        """

    @abstractmethod
    async def find_expired(
        self, scope: SearchScope, now: datetime, *, after: DueMemory | None, limit: int
    ) -> list[DueMemory]:
        """Return versions that are expired by now, history included, by the time of their end.

        Args:
            scope: A user, or an organization; an agent does not narrow.
            now: Store time.
            after: Last one of the page before.
            limit: At most that many.
        """

    @abstractmethod
    async def find_disused(
        self,
        scope: SearchScope,
        unused_since: datetime,
        now: datetime,
        *,
        after: DueMemory | None,
        limit: int,
    ) -> list[DueMemory]:
        """Return current memories that were neither obtained nor used since, oldest first.

        Without pinned, archived and expired ones.

        Args:
            scope: A user, or an organization; an agent does not narrow.
            unused_since: Later use or a later `obtained_at` keeps a memory out.
            now: Store time.
            after: Last one of the page before.
            limit: At most that many.
        """

    @abstractmethod
    async def archive_memories(
        self, scope: Scope, memory_ids: Sequence[str], unused_since: datetime, now: datetime
    ) -> list[str]:
        """Archive those of these memories that `find_disused` would still return; return which.

        In one transaction, with a `sync` entry that names them.
        """

    @abstractmethod
    async def count_memories(self, scope: SearchScope, now: datetime) -> MemoryCounts:
        """Count what is stored of a user or an organization; an agent does not narrow."""

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

        None when it is done, gone, or leased by somebody else. A lease that ends later than twice
        the one asked for is of a clock that has been set back, and counts as run out.
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

        A `not_before` that lies twice `LONGEST_PAUSE` ahead, or a lease that ends later than twice
        the one asked for, is of a clock that has been set back, and holds nothing up either.
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

    # Moving whole stores

    @abstractmethod
    def dump_records(self, org_id: str | None) -> AsyncGenerator[Sequence[TransferRecord]]:
        """Yield everything of an organization (None: of all) but the outbox, in pages.

        In the order of the records' `place`, from one state of each user at least; what is being
        erased, or is not there, is left out. The iterator holds a transaction: close it
        (`aclosing`) when it is not read to its end.
        """

    @abstractmethod
    async def load_records(self, records: Sequence[TransferRecord], now: datetime) -> None:
        """Insert records of one organization in one transaction, or none of them.

        They come in the order of their `place`, over one or more calls. A `sync` entry names the
        memories among them.

        Raises:
            ConflictError: One of them is there, or what it belongs to is not.
        """

    @asynccontextmanager
    async def pin(self) -> AsyncGenerator[PinnedStore | None]:
        """Hold the present state for a native copy, while writes go on.

        None, as here: the store lies on a server, and what copies it are the server's own tools.
        """
        yield None

    async def replace_with(self, file: Path) -> bool:
        """Become what a native copy holds, in one transaction; the store must be empty.

        Returns:
            False, as here: the store does not lie in a file.

        Raises:
            SchemaVersionError: The copy is newer than this memora, or of something else.
        """
        del file
        return False

    # Check and repair

    @abstractmethod
    async def open_as_is(self) -> None:
        """Open a store for `inspect` and `repair`, also one that `setup` cannot finish.

        A whole store is set up. On one that is open this does nothing.

        Raises:
            SchemaVersionError: The store is newer than this memora, or was written by 0.3.
            StoreLockedError: Another process owns the embedded store.
            GraphDBConnectionError: The server cannot be reached.
        """

    @abstractmethod
    async def inspect(self) -> list[Finding]:
        """Check I2, I3, I4, I10, I12, I13 and I20 inside the store, and its outbox, read-only.

        Where a table is missing, that alone is reported: the rest cannot be read.
        """

    @abstractmethod
    async def repair(self, finding: Finding, now: datetime) -> None:
        """Repair what `inspect` found, in one transaction that looks at it again.

        What changed since is taken as it is by then, and what is in order stays. No message,
        memory, interaction, agent or user is ever deleted. Decisions are those of `core.repair`.

        Args:
            finding: Of this store; one that has no repair changes nothing.
            now: Store time.

        Raises:
            GraphDBError: What is missing cannot be made again as long as other findings last.
        """

    @abstractmethod
    async def known_memories(
        self, keys: Sequence[tuple[str, str, str]]
    ) -> set[tuple[str, str, str]]:
        """Return those of these (org_id, user_id, memory_id) that exist; for doctor."""


def _expect_equal(record: str, record_id: str, wanted: object, stored: object) -> None:
    if wanted != stored:
        raise ConflictError(record, record_id, expected="an equal body", actual="another body")


def _has_spans(memory: Memory) -> bool:
    return "[[" in memory.memory or any(
        "[[" in relation.subject or "[[" in relation.object for relation in memory.relations
    )


def _rendered(memory: Memory, users: Mapping[str, str], agents: Mapping[str, str]) -> Memory:
    relations = [
        relation.model_copy(
            update={
                "subject": placeholders.render(relation.subject, users, agents),
                "object": placeholders.render(relation.object, users, agents),
            }
        )
        for relation in memory.relations
    ]
    text = placeholders.render(memory.memory, users, agents)
    return memory.model_copy(update={"memory": text, "relations": relations})


def _only(names: Mapping[str, str], record_id: str | None) -> dict[str, str]:
    if record_id is None or record_id not in names:
        return {}
    return {record_id: names[record_id]}


# What errors about items of a fetch name.
_ITEMS = "batch_org_user_mem_ids"


def _owned(item: object, org_id: str, user_id: str | None) -> tuple[str, str] | None:
    """Return (user id, memory id) of an item of a fetch, or None when it is out of scope."""
    if isinstance(item, str):
        if user_id is None:
            raise InvalidInputError("user_id", "given when items are plain ids", got="None")
        return user_id, checked_id(item, _ITEMS)
    if not isinstance(item, Mapping):
        raise _not_an_item(item)
    named = cast("Mapping[str, object]", item)
    memory_id = named.get("memory_id")
    if not isinstance(memory_id, str):
        raise _not_an_item(memory_id)
    memory_id = checked_id(memory_id, _ITEMS)
    if named.get("org_id", org_id) != org_id:
        return None
    owner = named.get("user_id", user_id)
    if owner is None or (user_id is not None and owner != user_id):
        return None
    return checked_id(owner, "user_id"), memory_id


def _not_an_item(got: object) -> InvalidInputError:
    allowed = "ids, or mappings with org_id, user_id and memory_id"
    return InvalidInputError(_ITEMS, allowed, got=kind_of(got))
