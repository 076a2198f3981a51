"""The engine for callers that do not await: `memora.sync.Memora`.

Every call runs on an event loop in the background and blocks until it is done, whether the
caller's thread has a loop of its own or not. Written by scripts/generate_sync.py, not by hand.
"""
# ruff: noqa: FBT001, FBT002 - signatures and docstrings are those of the async classes

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from memora._background import BackgroundLoop
from memora.agent.inputs import RERANK_CANDIDATES
from memora.agent.main import Memora as _Memora
from memora.graph_db.outbox import BATCH
from memora.schema.jobs import JobStatus
from memora.schema.scope import MemorySearchScope

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path
    from typing import Any
    from uuid import UUID

    from pydantic import SecretStr

    from memora.agent.bound import BoundMemora as _BoundMemora
    from memora.config import Settings
    from memora.core.filters import Condition
    from memora.embeddings.base import BaseEmbedder
    from memora.encryption import Keyring
    from memora.errors import ConflictError
    from memora.graph_db.base import BaseGraphDB, MemoryListing, RekeyProgress, StoredMessage
    from memora.graph_db.base import BaseGraphDB as _BaseGraphDB
    from memora.graph_db.outbox import Applied, DrainReport
    from memora.llm_backends.base import BaseBackendLLM, TokenUsage
    from memora.ops import backup as backing_up
    from memora.ops import doctor as doctoring
    from memora.ops import export as exporting
    from memora.ops import importing
    from memora.ops import reconcile as reconciling
    from memora.ops import reindex as reindexing
    from memora.rerankers.base import BaseReranker
    from memora.schema.direct import (
        DeleteReceipt,
        MemoryHealth,
        MemoryReceipt,
        QueryResult,
        SavePreview,
        SweepReceipt,
    )
    from memora.schema.entities import (
        Entity,
        EntityMemories,
        EntityMention,
        EntityName,
        EntityRelation,
    )
    from memora.schema.erasure import ErasureReceipt
    from memora.schema.findings import Finding
    from memora.schema.imports import ImportCounts, ImportRun, ImportStatus, ImportUndo, UndoCounts
    from memora.schema.index import IndexDocument, IndexEntry, IndexStamp, ListLimits, QueryHits
    from memora.schema.jobs import ExtractionJob
    from memora.schema.lifetime import Access, DueMemory, MemoryCounts
    from memora.schema.models import Agent, Interaction, Memory, MessageBlock, Organization, User
    from memora.schema.ranking import RankingConfig
    from memora.schema.recall import MemoryFilters
    from memora.schema.scope import Scope, SearchScope
    from memora.schema.seeding import (
        DocumentResult,
        SeedConfig,
        SeedData,
        SeedDocument,
        SeedEvent,
        SeedProgress,
        SeedResult,
        TokenPrice,
    )
    from memora.schema.sources import RollbackReceipt, SourceSelector, StoredVersion, Withdrawal
    from memora.schema.storage_schema import MemoriesAndInteraction
    from memora.schema.write_plan import (
        DeleteCounts,
        IdempotencyRecord,
        OutboxEntry,
        OutboxStatus,
        WritePlan,
        WriteReceipt,
    )
    from memora.vector_db.base import BaseVectorDB
    from memora.vector_db.base import BaseVectorDB as _BaseVectorDB


class BoundMemora:
    """What `Memora.for_user` returns; each method is the one of `Memora` with that name."""

    def __init__(self, background: BackgroundLoop, wrapped: _BoundMemora) -> None:
        self._background = background
        self._wrapped = wrapped

    @property
    def scope(self) -> Scope:
        """Organization, user and agent of every call."""
        return self._wrapped.scope

    def ensure(self) -> None:
        """Create what is missing of organization, user and agent, if the handle may; once.

        A handle of before an erasure may not: who passes a conversation whole each time would
        bring back with one more turn all that was erased.
        """
        self._background.run(self._wrapped.ensure())

    def save(
        self,
        interaction: Sequence[Mapping[str, Any]],
        interaction_id: str | None = None,
        current_datetime: datetime | None = None,
        *,
        external_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> tuple[str, datetime]:
        """Store a conversation; short form of `save_or_update_interaction_and_memories`."""
        return self._background.run(
            self._wrapped.save(
                interaction,
                interaction_id,
                current_datetime,
                external_id=external_id,
                idempotency_key=idempotency_key,
            )
        )

    def save_or_update_interaction_and_memories(
        self,
        interaction: Sequence[Mapping[str, Any]] | None = None,
        interaction_id: str | None = None,
        current_datetime: datetime | None = None,
        *,
        extract_agent_memories: bool = False,
        update_across_agents: bool = True,
        max_retries: int = 3,
        expected_revision: int | None = None,
        idempotency_key: str | None = None,
        external_id: str | None = None,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        process_id: str | None = None,
    ) -> tuple[str, datetime]:
        """Store a conversation and remember what is worth it."""
        return self._background.run(
            self._wrapped.save_or_update_interaction_and_memories(
                interaction,
                interaction_id,
                current_datetime,
                extract_agent_memories=extract_agent_memories,
                update_across_agents=update_across_agents,
                max_retries=max_retries,
                expected_revision=expected_revision,
                idempotency_key=idempotency_key,
                external_id=external_id,
                title=title,
                metadata=metadata,
                process_id=process_id,
            )
        )

    def preview_save(
        self,
        interaction: Sequence[Mapping[str, Any]] | None = None,
        interaction_id: str | None = None,
        current_datetime: datetime | None = None,
        *,
        extract_agent_memories: bool = False,
        update_across_agents: bool = True,
        max_retries: int = 3,
    ) -> SavePreview:
        """Return what a save with these arguments would do, and write nothing."""
        return self._background.run(
            self._wrapped.preview_save(
                interaction,
                interaction_id,
                current_datetime,
                extract_agent_memories=extract_agent_memories,
                update_across_agents=update_across_agents,
                max_retries=max_retries,
            )
        )

    def recall(
        self,
        latest_msg: str,
        *,
        limit: int | None = None,
        filters: MemoryFilters | Mapping[str, Any] | None = None,
        as_of: datetime | None = None,
    ) -> list[Memory]:
        """Recall for a message and return only the memories; short form of the next one."""
        return self._background.run(
            self._wrapped.recall(latest_msg, limit=limit, filters=filters, as_of=as_of)
        )

    def recall_memories_for_message(
        self,
        latest_msg: str,
        preceding_msg_for_context: Sequence[Mapping[str, Any]] = (),
        current_datetime: datetime | None = None,
        filter_out_memory_ids_set: Collection[str] = frozenset(),
        *,
        search_memories_across_agents: bool = True,
        enable_final_model_based_memory_filter: bool = False,
        limit: int | None = None,
        filters: MemoryFilters | Mapping[str, Any] | None = None,
        as_of: datetime | None = None,
        min_similarity: float | None = None,
        always: Sequence[str] = (),
        token_budget: int | None = None,
        deadline_ms: int | None = None,
        explain: bool = False,
        ranking: RankingConfig | Mapping[str, Any] | None = None,
    ) -> tuple[list[Memory], list[str]]:
        """Recall the memories that matter for a message, best first."""
        return self._background.run(
            self._wrapped.recall_memories_for_message(
                latest_msg,
                preceding_msg_for_context,
                current_datetime,
                filter_out_memory_ids_set,
                search_memories_across_agents=search_memories_across_agents,
                enable_final_model_based_memory_filter=enable_final_model_based_memory_filter,
                limit=limit,
                filters=filters,
                as_of=as_of,
                min_similarity=min_similarity,
                always=always,
                token_budget=token_budget,
                deadline_ms=deadline_ms,
                explain=explain,
                ranking=ranking,
            )
        )

    def search_memories_as_one(
        self,
        search_queries: Sequence[str],
        filter_out_memory_ids_set: Collection[str] = frozenset(),
        *,
        search_across_agents: bool = True,
        limit: int | None = None,
        filters: MemoryFilters | Mapping[str, Any] | None = None,
        as_of: datetime | None = None,
        min_similarity: float | None = None,
        explain: bool = False,
        ranking: RankingConfig | Mapping[str, Any] | None = None,
    ) -> list[Memory]:
        """Search with several queries and return one list, best first."""
        return self._background.run(
            self._wrapped.search_memories_as_one(
                search_queries,
                filter_out_memory_ids_set,
                search_across_agents=search_across_agents,
                limit=limit,
                filters=filters,
                as_of=as_of,
                min_similarity=min_similarity,
                explain=explain,
                ranking=ranking,
            )
        )

    def search_memories_as_batch(
        self,
        search_queries: Sequence[str],
        filter_out_memory_ids_set: Collection[str] = frozenset(),
        *,
        search_across_agents: bool = True,
        limit: int | None = None,
        filters: MemoryFilters | Mapping[str, Any] | None = None,
        as_of: datetime | None = None,
        min_similarity: float | None = None,
        explain: bool = False,
        ranking: RankingConfig | Mapping[str, Any] | None = None,
    ) -> list[list[Memory]]:
        """Search with several queries and return one list for each."""
        return self._background.run(
            self._wrapped.search_memories_as_batch(
                search_queries,
                filter_out_memory_ids_set,
                search_across_agents=search_across_agents,
                limit=limit,
                filters=filters,
                as_of=as_of,
                min_similarity=min_similarity,
                explain=explain,
                ranking=ranking,
            )
        )

    def build_context(
        self,
        message: str,
        *,
        limit: int | None = None,
        filters: MemoryFilters | Mapping[str, Any] | None = None,
        always: Sequence[str] = (),
        token_budget: int | None = None,
        current_datetime: datetime | None = None,
    ) -> str:
        """Recall for a message and return a briefing."""
        return self._background.run(
            self._wrapped.build_context(
                message,
                limit=limit,
                filters=filters,
                always=always,
                token_budget=token_budget,
                current_datetime=current_datetime,
            )
        )

    def add_memory(
        self,
        content: str | Sequence[Mapping[str, Any]],
        *,
        interaction_id: str | None = None,
        memory_type: str = "fact",
        importance: float = 0.5,
        tags: Sequence[str] = (),
        entities: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        obtained_at: datetime | None = None,
        expires_at: datetime | None = None,
        pinned: bool = False,
        idempotency_key: str | None = None,
    ) -> MemoryReceipt:
        """Remember a text, once."""
        return self._background.run(
            self._wrapped.add_memory(
                content,
                interaction_id=interaction_id,
                memory_type=memory_type,
                importance=importance,
                tags=tags,
                entities=entities,
                metadata=metadata,
                obtained_at=obtained_at,
                expires_at=expires_at,
                pinned=pinned,
                idempotency_key=idempotency_key,
            )
        )

    def add_memories(self, items: Sequence[str | Mapping[str, Any]]) -> list[MemoryReceipt]:
        """Remember many texts of this user; one receipt per item, in order.

        Args:
            items: Texts, or mappings with the arguments of `add_memory`.
        """
        return self._background.run(self._wrapped.add_memories(items))

    def query_memories(
        self,
        query: str,
        *,
        limit: int = 3,
        interaction_id: str | None = None,
        filters: MemoryFilters | Mapping[str, Any] | None = None,
        min_similarity: float | None = None,
    ) -> QueryResult:
        """Return the memories that answer a question, with a summary of them."""
        return self._background.run(
            self._wrapped.query_memories(
                query,
                limit=limit,
                interaction_id=interaction_id,
                filters=filters,
                min_similarity=min_similarity,
            )
        )

    def list_memories(
        self,
        *,
        filters: MemoryFilters | Mapping[str, Any] | None = None,
        after: Memory | tuple[datetime, str] | None = None,
        skip: int = 0,
        limit: int = 1000,
    ) -> list[Memory]:
        """Return the user's current memories (with an agent: what it obtained), newest first."""
        return self._background.run(
            self._wrapped.list_memories(filters=filters, after=after, skip=skip, limit=limit)
        )

    def memory_health(self, *, sample: int = 64) -> MemoryHealth:
        """Return how the user's memories are."""
        return self._background.run(self._wrapped.memory_health(sample=sample))

    def sweep(self, *, dry_run: bool = False, batch_size: int = 500) -> SweepReceipt:
        """Remove the user's expired memories, and archive what nothing used for long."""
        return self._background.run(self._wrapped.sweep(dry_run=dry_run, batch_size=batch_size))

    def update_memory(self, memory_id: str, content: str, *, author: str | None = None) -> Memory:
        """Give a statement a new text, as a new version."""
        return self._background.run(self._wrapped.update_memory(memory_id, content, author=author))

    def revert_memory(self, memory_id: str, *, author: str | None = None) -> Memory:
        """Make the text of one version current again."""
        return self._background.run(self._wrapped.revert_memory(memory_id, author=author))

    def retract_memory(self, memory_id: str, *, at: datetime | None = None) -> Memory:
        """End a statement; its history stays."""
        return self._background.run(self._wrapped.retract_memory(memory_id, at=at))

    def delete_memory(self, memory_id: str) -> DeleteReceipt:
        """Purge one version."""
        return self._background.run(self._wrapped.delete_memory(memory_id))

    def erase_user(self) -> ErasureReceipt:
        """Erase this user with everything, from all agents, and look whether anything is left."""
        return self._background.run(self._wrapped.erase_user())

    def memory_history(self, memory_id: str) -> list[Memory]:
        """Return all versions of a statement, newest first."""
        return self._background.run(self._wrapped.memory_history(memory_id))

    def memories_by_source(
        self,
        *,
        interaction_id: str | None = None,
        agent_id: str | None = None,
        import_id: str | None = None,
        process_id: str | None = None,
        current_only: bool = False,
        skip: int = 0,
        limit: int = 1000,
    ) -> list[Memory]:
        """Return the memories that come from one source, newest first."""
        return self._background.run(
            self._wrapped.memories_by_source(
                interaction_id=interaction_id,
                agent_id=agent_id,
                import_id=import_id,
                process_id=process_id,
                current_only=current_only,
                skip=skip,
                limit=limit,
            )
        )

    def rollback_source(
        self,
        *,
        interaction_id: str | None = None,
        agent_id: str | None = None,
        import_id: str | None = None,
        process_id: str | None = None,
        author: str | None = None,
        dry_run: bool = False,
    ) -> RollbackReceipt:
        """Take everything back that one source brought in."""
        return self._background.run(
            self._wrapped.rollback_source(
                interaction_id=interaction_id,
                agent_id=agent_id,
                import_id=import_id,
                process_id=process_id,
                author=author,
                dry_run=dry_run,
            )
        )

    def list_entities(self, *, skip: int = 0, limit: int = 100) -> list[Entity]:
        """Return what current memories mention, most mentioned first."""
        return self._background.run(self._wrapped.list_entities(skip=skip, limit=limit))

    def entity_memories(self, entity: str, *, limit: int = 100) -> EntityMemories:
        """Return what is known about somebody or something."""
        return self._background.run(self._wrapped.entity_memories(entity, limit=limit))

    def merge_entities(self, entity: str, into: str) -> Entity:
        """Say that two entities are one."""
        return self._background.run(self._wrapped.merge_entities(entity, into))

    def split_entity(self, entity: str, names: Sequence[str]) -> Entity:
        """Say that some names of an entity are somebody or something else."""
        return self._background.run(self._wrapped.split_entity(entity, names))

    def memories(self, skip: int = 0, limit: int = 1000) -> list[Memory]:
        """Return the user's current memories, newest first."""
        return self._background.run(self._wrapped.memories(skip, limit))

    def interaction(self, interaction_id: str) -> Interaction:
        """Return an interaction with messages and memories."""
        return self._background.run(self._wrapped.interaction(interaction_id))


class GraphDB:
    """A graph store, for blocking callers."""

    def __init__(self, background: BackgroundLoop, wrapped: _BaseGraphDB) -> None:
        self._background = background
        self._wrapped = wrapped

    def __enter__(self) -> Self:
        try:
            self.setup()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def get_associated_vector_db(self) -> VectorDB | None:
        """Return the vector store that follows this graph, if there is one."""
        found = self._wrapped.get_associated_vector_db()
        return None if found is None else VectorDB(self._background, found)

    def drain_outbox(self, *, limit: int = BATCH, on_applied: Applied | None = None) -> DrainReport:
        """Bring the associated vector store up to date; without one, do nothing.

        A failing vector store is reported, not raised: its entries stay queued.

        Args:
            limit: Entries that are claimed together.
            on_applied: Called with entries that were worked off.
        """
        return self._background.run(self._wrapped.drain_outbox(limit=limit, on_applied=on_applied))

    def rotate_key(
        self,
        new_key: str | SecretStr | None,
        *,
        reencrypt: bool = False,
        on_progress: RekeyProgress | None = None,
    ) -> int:
        """Change the key that the store's text is encrypted with; see `Memora.rotate_key`.

        Only a store that memora keeps itself has one, and overrides this.

        Raises:
            InvalidInputError: The store has no key: a server encrypts its own files.
        """
        return self._background.run(
            self._wrapped.rotate_key(new_key, reencrypt=reencrypt, on_progress=on_progress)
        )

    def create_organization(self, org_name: str, *, org_id: str | None = None) -> Organization:
        """Create an organization.

        Args:
            org_name: 1 to 256 characters.
            org_id: The caller's own id; creating it again with the same name returns it.

        Raises:
            ConflictError: The id exists with another name.
            InvalidInputError: A name or id is malformed.
        """
        return self._background.run(self._wrapped.create_organization(org_name, org_id=org_id))

    def update_organization(self, org_id: str, new_org_name: str) -> Organization:
        """Rename an organization.

        Raises:
            OrganizationNotFoundError: There is no such organization.
        """
        return self._background.run(self._wrapped.update_organization(org_id, new_org_name))

    def get_organization(self, org_id: str) -> Organization:
        """Return the organization.

        Raises:
            OrganizationNotFoundError: There is no such organization.
        """
        return self._background.run(self._wrapped.get_organization(org_id))

    def get_all_organizations(self, skip: int = 0, limit: int = 1000) -> list[Organization]:
        """Return organizations by creation time: administration, not for tenants' eyes."""
        return self._background.run(self._wrapped.get_all_organizations(skip, limit))

    def delete_organization(self, org_id: str) -> DeleteCounts:
        """Erase an organization with everything in it, vectors included; idempotent."""
        return self._background.run(self._wrapped.delete_organization(org_id))

    def create_user(self, org_id: str, user_name: str, *, user_id: str | None = None) -> User:
        """Create a user of an organization.

        Args:
            org_id: The organization.
            user_name: 1 to 256 characters; shown in the user's memories.
            user_id: The caller's own id; creating it again with the same name returns it.

        Raises:
            OrganizationNotFoundError: There is no such organization.
            ConflictError: The id exists with another name.
        """
        return self._background.run(self._wrapped.create_user(org_id, user_name, user_id=user_id))

    def update_user(self, org_id: str, user_id: str, new_user_name: str) -> User:
        """Rename a user; all memories show the new name at once.

        Raises:
            UserNotFoundError: There is no such user in the organization.
        """
        return self._background.run(self._wrapped.update_user(org_id, user_id, new_user_name))

    def get_user(self, org_id: str, user_id: str) -> User:
        """Return the user.

        Raises:
            UserNotFoundError: There is no such user in the organization.
        """
        return self._background.run(self._wrapped.get_user(org_id, user_id))

    def get_all_org_users(self, org_id: str, skip: int = 0, limit: int = 1000) -> list[User]:
        """Return users by creation time.

        Raises:
            OrganizationNotFoundError: There is no such organization.
        """
        return self._background.run(self._wrapped.get_all_org_users(org_id, skip, limit))

    def delete_user(self, org_id: str, user_id: str) -> DeleteCounts:
        """Erase a user with interactions, memories, jobs, personal agents, and vectors.

        Idempotent: deleting a user that is not there counts nothing.
        """
        return self._background.run(self._wrapped.delete_user(org_id, user_id))

    def create_agent(
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
        return self._background.run(
            self._wrapped.create_agent(org_id, agent_label, user_id, agent_id=agent_id)
        )

    def update_agent(self, org_id: str, agent_id: str, new_agent_label: str) -> Agent:
        """Rename an agent.

        Raises:
            AgentNotFoundError: There is no such agent in the organization.
        """
        return self._background.run(self._wrapped.update_agent(org_id, agent_id, new_agent_label))

    def get_agent(self, org_id: str, agent_id: str) -> Agent:
        """Return the agent.

        Raises:
            AgentNotFoundError: There is no such agent in the organization.
        """
        return self._background.run(self._wrapped.get_agent(org_id, agent_id))

    def get_agent_for(self, scope: Scope) -> Agent | None:
        """Return the scope's agent, or None when it names none.

        Raises:
            AgentNotFoundError: There is no such agent, or it belongs to another user.
        """
        return self._background.run(self._wrapped.get_agent_for(scope))

    def get_all_org_agents(self, org_id: str, skip: int = 0, limit: int = 1000) -> list[Agent]:
        """Return the organization's agents by creation time.

        Raises:
            OrganizationNotFoundError: There is no such organization.
        """
        return self._background.run(self._wrapped.get_all_org_agents(org_id, skip, limit))

    def get_all_user_agents(
        self, org_id: str, user_id: str, skip: int = 0, limit: int = 1000
    ) -> list[Agent]:
        """Return the agents that belong to the user, by creation time.

        Raises:
            UserNotFoundError: There is no such user in the organization.
        """
        return self._background.run(self._wrapped.get_all_user_agents(org_id, user_id, skip, limit))

    def delete_agent(self, org_id: str, agent_id: str) -> None:
        """Delete an agent; what it wrote stays, under the label it had. Idempotent."""
        self._background.run(self._wrapped.delete_agent(org_id, agent_id))

    def create_interaction(
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
        return self._background.run(
            self._wrapped.create_interaction(
                org_id, user_id, agent_id, external_id=external_id, title=title, metadata=metadata
            )
        )

    def save_interaction_with_memories(
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
        return self._background.run(
            self._wrapped.save_interaction_with_memories(
                org_id, agent_id, user_id, memories_and_interaction
            )
        )

    def update_interaction_and_memories(
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
        return self._background.run(
            self._wrapped.update_interaction_and_memories(
                org_id,
                agent_id,
                user_id,
                interaction_id,
                updated_memories_and_interaction,
                expected_revision=expected_revision,
            )
        )

    def get_interaction(
        self,
        org_id: str,
        user_id: str,
        interaction_id: str,
        with_messages: bool = True,
        with_memories: bool = True,
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
        return self._background.run(
            self._wrapped.get_interaction(
                org_id, user_id, interaction_id, with_messages, with_memories
            )
        )

    def conflict(
        self, scope: Scope, stored: Interaction, expected: int | None, tail: int = 10
    ) -> ConflictError:
        """Return the error that tells a caller what the interaction looks like by now."""
        return self._background.run(self._wrapped.conflict(scope, stored, expected, tail))

    def get_interaction_messages(
        self, org_id: str, user_id: str, interaction_id: str, skip: int = 0, limit: int = 1000
    ) -> list[MessageBlock]:
        """Return messages of an interaction by position, one page at a time.

        Raises:
            InteractionNotFoundError: The user has no such interaction.
        """
        return self._background.run(
            self._wrapped.get_interaction_messages(org_id, user_id, interaction_id, skip, limit)
        )

    def get_all_interaction_memories(
        self, org_id: str, user_id: str, interaction_id: str
    ) -> list[Memory]:
        """Return all memories (every version) obtained in an interaction, newest first.

        Raises:
            InteractionNotFoundError: The user has no such interaction.
        """
        return self._background.run(
            self._wrapped.get_all_interaction_memories(org_id, user_id, interaction_id)
        )

    def get_all_user_interactions(
        self,
        org_id: str,
        user_id: str,
        with_messages: bool = False,
        with_memories: bool = False,
        skip: int = 0,
        limit: int = 1000,
    ) -> list[Interaction]:
        """Return the user's interactions, last changed first.

        Raises:
            UserNotFoundError: There is no such user.
        """
        return self._background.run(
            self._wrapped.get_all_user_interactions(
                org_id, user_id, with_messages, with_memories, skip, limit
            )
        )

    def delete_user_interaction_and_its_memories(
        self, org_id: str, user_id: str, interaction_id: str
    ) -> DeleteCounts:
        """Delete an interaction with messages, jobs and memories obtained in it. Idempotent."""
        return self._background.run(
            self._wrapped.delete_user_interaction_and_its_memories(org_id, user_id, interaction_id)
        )

    def delete_all_user_interactions_and_their_memories(
        self, org_id: str, user_id: str
    ) -> DeleteCounts:
        """Delete all interactions of a user and the memories obtained in them. Idempotent."""
        return self._background.run(
            self._wrapped.delete_all_user_interactions_and_their_memories(org_id, user_id)
        )

    def fetch_user_memories_resolved(
        self,
        org_user_mem_ids: Sequence[Mapping[str, str] | str],
        *,
        org_id: str,
        user_id: str | None = None,
        as_of: datetime | None = None,
    ) -> list[Memory]:
        """Return the current version of each memory, in order; see the `_batch` form."""
        return self._background.run(
            self._wrapped.fetch_user_memories_resolved(
                org_user_mem_ids, org_id=org_id, user_id=user_id, as_of=as_of
            )
        )

    def fetch_user_memories_resolved_batch(
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
        return self._background.run(
            self._wrapped.fetch_user_memories_resolved_batch(
                batch_org_user_mem_ids, org_id=org_id, user_id=user_id, as_of=as_of
            )
        )

    def get_user_memory(self, org_id: str, user_id: str, memory_id: str) -> Memory:
        """Return exactly this version of a memory, with its sources.

        Raises:
            MemoryNotFoundError: The user has no such memory (any more).
        """
        return self._background.run(self._wrapped.get_user_memory(org_id, user_id, memory_id))

    def get_user_memory_history(self, org_id: str, user_id: str, memory_id: str) -> list[Memory]:
        """Return all versions of a statement, newest first, from any one of them.

        Expired versions are left out.

        Raises:
            MemoryNotFoundError: The user has no such memory (any more).
        """
        return self._background.run(
            self._wrapped.get_user_memory_history(org_id, user_id, memory_id)
        )

    def get_all_user_memories(
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
        return self._background.run(
            self._wrapped.get_all_user_memories(org_id, user_id, agent_id, skip, limit)
        )

    def delete_user_memory(self, org_id: str, user_id: str, memory_id: str) -> DeleteCounts:
        """Purge one version: text and vectors are gone, its neighbours are linked.

        No older version becomes current by it, and the same statement is not extracted again from
        the same message. Idempotent.
        """
        return self._background.run(self._wrapped.delete_user_memory(org_id, user_id, memory_id))

    def delete_all_user_memories(self, org_id: str, user_id: str) -> DeleteCounts:
        """Purge all memories of a user; interactions stay. Idempotent."""
        return self._background.run(self._wrapped.delete_all_user_memories(org_id, user_id))

    def get_job(self, org_id: str, job_id: str) -> ExtractionJob:
        """Return a job.

        Raises:
            JobNotFoundError: There is no such job in the organization.
        """
        return self._background.run(self._wrapped.get_job(org_id, job_id))

    def with_names(self, org_id: str, memories: Sequence[Memory]) -> list[Memory]:
        """Return the memories with current names in place of placeholders."""
        return self._background.run(self._wrapped.with_names(org_id, memories))

    def read_index_documents(self, scope: Scope, memory_ids: Sequence[str]) -> list[IndexDocument]:
        """Return what the vector store holds of these memories; missing ones are left out."""
        return self._background.run(self._wrapped.read_index_documents(scope, memory_ids))

    def all_index_documents(self, scope: Scope) -> Iterator[IndexDocument]:
        """Yield what the vector store should hold of a user, for reindex and doctor."""
        yield from self._background.iterate(self._wrapped.all_index_documents(scope))

    def setup(self) -> None:
        """Create constraints, indexes and stamps; run migrations; may be called at any time.

        A store that only one process can own releases the leases of jobs and outbox entries when
        it is opened: whoever held them is gone.

        Raises:
            SchemaVersionError: The store is newer than this memora, or was written by 0.3.
            StoreLockedError: Another process owns the embedded store.
            GraphDBConnectionError: The server cannot be reached.
        """
        self._background.run(self._wrapped.setup())

    def close(self) -> None:
        """Release what this object opened; a second call does nothing."""
        self._background.run(self._wrapped.close())

    def put_organization(self, organization: Organization) -> Organization:
        """Insert the organization, or return the one with this id as it is stored."""
        return self._background.run(self._wrapped.put_organization(organization))

    def put_user(self, user: User, *, salt: str) -> User:
        """Insert the user, or return the one with this id as it is stored.

        Args:
            user: The user.
            salt: Random text for the user's tombstones; kept only on insertion.

        Raises:
            OrganizationNotFoundError: There is no such organization.
        """
        return self._background.run(self._wrapped.put_user(user, salt=salt))

    def put_agent(self, agent: Agent) -> Agent:
        """Insert the agent (a deleted one of this id comes back), or return the stored one.

        Raises:
            OrganizationNotFoundError: There is no such organization.
            UserNotFoundError: It names a user that is not in the organization.
        """
        return self._background.run(self._wrapped.put_agent(agent))

    def rename_organization(self, org_id: str, name: str) -> Organization:
        """Rename, or raise OrganizationNotFoundError."""
        return self._background.run(self._wrapped.rename_organization(org_id, name))

    def rename_user(self, scope: Scope, name: str) -> User:
        """Rename, or raise UserNotFoundError."""
        return self._background.run(self._wrapped.rename_user(scope, name))

    def rename_agent(self, org_id: str, agent_id: str, label: str) -> Agent:
        """Rename, or raise AgentNotFoundError."""
        return self._background.run(self._wrapped.rename_agent(org_id, agent_id, label))

    def find_organization(self, org_id: str) -> Organization | None:
        """Return the organization, or None."""
        return self._background.run(self._wrapped.find_organization(org_id))

    def find_user(self, scope: Scope) -> User | None:
        """Return the user, or None."""
        return self._background.run(self._wrapped.find_user(scope))

    def find_agent(self, org_id: str, agent_id: str) -> Agent | None:
        """Return the agent, or None; a deleted one is not found."""
        return self._background.run(self._wrapped.find_agent(org_id, agent_id))

    def list_organizations(self, *, skip: int, limit: int) -> list[Organization]:
        """Return a page by (created_at, org_id)."""
        return self._background.run(self._wrapped.list_organizations(skip=skip, limit=limit))

    def list_users(self, org_id: str, *, skip: int, limit: int) -> list[User]:
        """Return a page by (created_at, user_id)."""
        return self._background.run(self._wrapped.list_users(org_id, skip=skip, limit=limit))

    def list_agents(
        self, org_id: str, *, user_id: str | None, skip: int, limit: int
    ) -> list[Agent]:
        """Return a page by (created_at, agent_id); with `user_id` only that user's own agents."""
        return self._background.run(
            self._wrapped.list_agents(org_id, user_id=user_id, skip=skip, limit=limit)
        )

    def read_names(
        self, org_id: str, user_ids: Collection[str], agent_ids: Collection[str]
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Return names of users and labels of agents (also deleted agents') by id."""
        return self._background.run(self._wrapped.read_names(org_id, user_ids, agent_ids))

    def read_salt(self, scope: Scope) -> str:
        """Return the user's tombstone salt, or raise UserNotFoundError."""
        return self._background.run(self._wrapped.read_salt(scope))

    def erase_organization(self, org_id: str, now: datetime) -> DeleteCounts:
        """Delete everything of the organization; enqueue `drop_organization`.

        Older outbox entries of it go, so that only the drop is left; those that a worker has
        leased stay until it is done with them, and the drop waits for it. Batched where the store
        cannot delete much at once; the organization itself goes last, so a repetition finishes an
        interrupted one.
        """
        return self._background.run(self._wrapped.erase_organization(org_id, now))

    def erase_user(self, scope: Scope, now: datetime) -> DeleteCounts:
        """Delete everything of the user, personal agents too; enqueue `drop_user`; as above."""
        return self._background.run(self._wrapped.erase_user(scope, now))

    def count_records(self, scope: SearchScope) -> DeleteCounts:
        """Count what is stored of the scope's user or organization, itself included.

        Also what an interrupted erasure left, and outbox entries. An agent does not narrow.
        """
        return self._background.run(self._wrapped.count_records(scope))

    def enqueue_drop(self, scope: SearchScope, now: datetime) -> None:
        """Have the vectors of an erased user or organization dropped at once.

        Its outbox entries become one drop that is due, whatever they were; leased ones stay as in
        `erase_user`. Nothing happens while the user or organization exists.
        """
        self._background.run(self._wrapped.enqueue_drop(scope, now))

    def scrub(self) -> bool:
        """Overwrite what deleted records left in the store's own files and caches.

        Returns:
            Whether nothing is left there. What a server keeps (its logs, its backups) is the
            business of whoever runs it.
        """
        return self._background.run(self._wrapped.scrub())

    def remove_agent(self, org_id: str, agent_id: str, now: datetime) -> None:
        """Mark the agent deleted; its label stays for what it wrote."""
        self._background.run(self._wrapped.remove_agent(org_id, agent_id, now))

    def erase_interactions(
        self, scope: Scope, interaction_ids: Sequence[str] | None, now: datetime
    ) -> DeleteCounts:
        """Delete interactions (None: all of the user) with messages, jobs, memories, sources.

        Memories obtained in them are purged without a tombstone: chains are relinked by
        `core.versions.relink`, and a `sync` entry names them.
        """
        return self._background.run(self._wrapped.erase_interactions(scope, interaction_ids, now))

    def purge_memories(
        self, scope: Scope, memory_ids: Sequence[str] | None, now: datetime
    ) -> DeleteCounts:
        """Delete these versions (None: all of the user); unknown and foreign ids count nothing.

        In one transaction: chains are relinked by `core.versions.relink`, for every linked source
        message a tombstone (`core.hashing.tombstone` of salt, prefix hash, content hash) is left,
        and a `sync` entry names them.
        """
        return self._background.run(self._wrapped.purge_memories(scope, memory_ids, now))

    def list_source_memories(
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
        return self._background.run(
            self._wrapped.list_source_memories(
                scope, selector, now, current_only=current_only, skip=skip, limit=limit
            )
        )

    def withdraw(
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
        return self._background.run(
            self._wrapped.withdraw(
                scope, selector, now, leave_tombstones=leave_tombstones, dry_run=dry_run
            )
        )

    def begin_import(self, run: ImportRun) -> ImportRun:
        """Insert an import, or go on with the one of this id that the user has.

        That one is running again, and the counts of its last run (failed, skipped) start anew.

        Args:
            run: A new one; of one that is there only the id and the owner count.

        Raises:
            UserNotFoundError: There is no such user.
            ConflictError: The id is another user's, or the import was taken back.
        """
        return self._background.run(self._wrapped.begin_import(run))

    def note_import(self, scope: Scope, import_id: str, counts: ImportCounts) -> None:
        """Add to the counts of an import; what `apply` writes under it is counted there.

        Raises:
            ImportNotFoundError: The user has no such import.
            ConflictError: It was taken back meanwhile.
        """
        self._background.run(self._wrapped.note_import(scope, import_id, counts))

    def finish_import(
        self, scope: Scope, import_id: str, status: ImportStatus, now: datetime
    ) -> None:
        """Note that a running import has ended as `done` or `failed`; any other stays as it is."""
        self._background.run(self._wrapped.finish_import(scope, import_id, status, now))

    def find_import(self, org_id: str, import_id: str) -> ImportRun | None:
        """Return an import of the organization, or None."""
        return self._background.run(self._wrapped.find_import(org_id, import_id))

    def list_imports(
        self, org_id: str, *, user_id: str | None, skip: int, limit: int
    ) -> list[ImportRun]:
        """Return a page of imports, of all users or of one, the one that began last first."""
        return self._background.run(
            self._wrapped.list_imports(org_id, user_id=user_id, skip=skip, limit=limit)
        )

    def undo_import(
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
        return self._background.run(
            self._wrapped.undo_import(scope, import_id, now, dry_run=dry_run)
        )

    def find_interaction(self, scope: Scope, interaction_id: str) -> Interaction | None:
        """Return the user's interaction by id or external id (id first), without messages.

        An agent in the scope does not narrow this.
        """
        return self._background.run(self._wrapped.find_interaction(scope, interaction_id))

    def list_interactions(self, scope: Scope, *, skip: int, limit: int) -> list[Interaction]:
        """Return a page by updated_at descending, then id."""
        return self._background.run(self._wrapped.list_interactions(scope, skip=skip, limit=limit))

    def read_messages(
        self, scope: Scope, interaction_id: str, start: int, end: int | None
    ) -> list[StoredMessage]:
        """Return messages at positions [start, end), found by index; end None: to the last."""
        return self._background.run(self._wrapped.read_messages(scope, interaction_id, start, end))

    def read_prefix_hashes(self, scope: Scope, interaction_id: str) -> list[str]:
        """Return the prefix hashes of all messages, by position."""
        return self._background.run(self._wrapped.read_prefix_hashes(scope, interaction_id))

    def read_speakers(self, scope: Scope) -> list[str]:
        """Return the names under which messages to this user were said lately, sorted.

        Looked for in the first `SPEAKER_MESSAGES` messages of the `SPEAKER_INTERACTIONS`
        interactions that changed last. The scope's agent does not narrow.
        """
        return self._background.run(self._wrapped.read_speakers(scope))

    def apply(self, plan: WritePlan) -> WriteReceipt:
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
        return self._background.run(self._wrapped.apply(plan))

    def find_idempotency(self, scope: Scope, key: str) -> IdempotencyRecord | None:
        """Return what the key was used for, or None."""
        return self._background.run(self._wrapped.find_idempotency(scope, key))

    def read_memories(self, scope: Scope, memory_ids: Sequence[str]) -> list[Memory]:
        """Return exactly these versions with sources and links, in the order of the ids.

        Missing and foreign ids are left out; an agent in the scope narrows.
        """
        return self._background.run(self._wrapped.read_memories(scope, memory_ids))

    def resolve_memories(
        self, scope: Scope, memory_ids: Sequence[str], as_of: datetime | None
    ) -> dict[str, Memory]:
        """Return for each id its chain's version that is current (or was, at `as_of`).

        In the order of the ids; ids without one are left out. The scope's agent does not narrow:
        the flow filters after resolution.
        """
        return self._background.run(self._wrapped.resolve_memories(scope, memory_ids, as_of))

    def read_contexts(self, scope: Scope, memory_ids: Sequence[str]) -> dict[str, str]:
        """Return by id the text that was said right before the message a memory came from.

        Of several source messages the first one counts (by interaction, then position). What user
        or assistant said last within the `CONTEXT_REACH` messages before it is meant; memories
        without that are left out. Whatever changes this enqueues the memory.
        """
        return self._background.run(self._wrapped.read_contexts(scope, memory_ids))

    def read_chains(self, scope: Scope, memory_ids: Sequence[str]) -> dict[str, list[Memory]]:
        """Return for each known id all versions of its chain, newest first."""
        return self._background.run(self._wrapped.read_chains(scope, memory_ids))

    def read_origins(self, scope: Scope, chain_ids: Collection[str]) -> dict[str, StoredVersion]:
        """Return the versions of these chains by id, with the messages that they came from.

        `import_id` of a message is that of the import which wrote it. A message of which is not
        known when it said so has its own time, if it has one.
        """
        return self._background.run(self._wrapped.read_origins(scope, chain_ids))

    def list_memories(self, scope: SearchScope, listing: MemoryListing) -> list[Memory]:
        """Return a page of memories of a user, or of all users of an organization.

        Expired and archived ones are included. An agent in the scope does not narrow.
        """
        return self._background.run(self._wrapped.list_memories(scope, listing))

    def list_live_memories(
        self, scope: SearchScope, listing: MemoryListing, now: datetime
    ) -> list[Memory]:
        """Return a page of current memories that are neither expired nor archived."""
        return self._background.run(self._wrapped.list_live_memories(scope, listing, now))

    def find_current_by_hash(
        self, scope: Scope, content_hashes: Collection[str]
    ) -> dict[str, Memory]:
        """Return the user's current memories by content hash; an agent in the scope narrows."""
        return self._background.run(self._wrapped.find_current_by_hash(scope, content_hashes))

    def list_entity_names(
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
        return self._background.run(
            self._wrapped.list_entity_names(
                scope, now, entity_ids=entity_ids, skip=skip, limit=limit
            )
        )

    def find_entity_ids(self, scope: Scope, names: Sequence[str]) -> dict[str, str]:
        """Return the entities that have these names in some spelling; unknown names are left out.

        Args:
            scope: Owner.
            names: As stored, with placeholders.

        Raises:
            UserNotFoundError: There is no such user.
        """
        return self._background.run(self._wrapped.find_entity_ids(scope, names))

    def read_entity_groups(self, scope: Scope, entity_ids: Sequence[str]) -> dict[str, str]:
        """Return the entity of every name that these entities have, by the name's id."""
        return self._background.run(self._wrapped.read_entity_groups(scope, entity_ids))

    def memories_mentioning(
        self, scope: Scope, entity_ids: Sequence[str], now: datetime, *, each: int
    ) -> list[EntityMention]:
        """Return live memories that mention these entities, newest first for each entity.

        Args:
            scope: Owner; an agent narrows.
            entity_ids: The entities.
            now: Time at which memories are live.
            each: At most that many for each entity.
        """
        return self._background.run(
            self._wrapped.memories_mentioning(scope, entity_ids, now, each=each)
        )

    def entities_mentioned(
        self, scope: Scope, memory_ids: Sequence[str], now: datetime
    ) -> list[EntityMention]:
        """Return what these memories mention, with the number of live memories that do so too."""
        return self._background.run(self._wrapped.entities_mentioned(scope, memory_ids, now))

    def entity_relations(
        self, scope: Scope, entity_id: str, now: datetime, *, limit: int
    ) -> list[EntityRelation]:
        """Return what live memories say about an entity and another, newest first."""
        return self._background.run(
            self._wrapped.entity_relations(scope, entity_id, now, limit=limit)
        )

    def move_entity_names(self, scope: Scope, moves: Mapping[str, str]) -> int:
        """Give names another entity; return how many there were. The user's own names only.

        Args:
            scope: Owner.
            moves: New entity by the id of the name.
        """
        return self._background.run(self._wrapped.move_entity_names(scope, moves))

    def find_tombstones(self, scope: Scope, tombstones: Collection[str]) -> set[str]:
        """Return those of these tombstones that exist for the user."""
        return self._background.run(self._wrapped.find_tombstones(scope, tombstones))

    def count_accesses(self, scope: Scope, accesses: Mapping[str, Access]) -> None:
        """Add to the usage of the user's memories, by id; unknown and foreign ids change nothing.

        Usage is no version: `access_count` grows, `last_accessed_at` never goes back, nothing else
        changes and nothing is enqueued.
        """
        self._background.run(self._wrapped.count_accesses(scope, accesses))

    def find_expired(
        self, scope: SearchScope, now: datetime, *, after: DueMemory | None, limit: int
    ) -> list[DueMemory]:
        """Return versions that are expired by now, history included, by the time of their end.

        Args:
            scope: A user, or an organization; an agent does not narrow.
            now: Store time.
            after: Last one of the page before.
            limit: At most that many.
        """
        return self._background.run(
            self._wrapped.find_expired(scope, now, after=after, limit=limit)
        )

    def find_disused(
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
        return self._background.run(
            self._wrapped.find_disused(scope, unused_since, now, after=after, limit=limit)
        )

    def archive_memories(
        self, scope: Scope, memory_ids: Sequence[str], unused_since: datetime, now: datetime
    ) -> list[str]:
        """Archive those of these memories that `find_disused` would still return; return which.

        In one transaction, with a `sync` entry that names them.
        """
        return self._background.run(
            self._wrapped.archive_memories(scope, memory_ids, unused_since, now)
        )

    def count_memories(self, scope: SearchScope, now: datetime) -> MemoryCounts:
        """Count what is stored of a user or an organization; an agent does not narrow."""
        return self._background.run(self._wrapped.count_memories(scope, now))

    def save_job(self, job: ExtractionJob) -> None:
        """Replace an existing job.

        Raises:
            JobNotFoundError: It is gone, with its interaction or user.
            ConflictError: It was started again (more `attempts`) since it was read.
        """
        self._background.run(self._wrapped.save_job(job))

    def claim_job(
        self, org_id: str, job_id: str, *, now: datetime, lease_until: datetime
    ) -> ExtractionJob | None:
        """Set the job RUNNING under a lease and count the attempt.

        None when it is done, gone, or leased by somebody else. A lease that ends later than twice
        the one asked for is of a clock that has been set back, and counts as run out.
        """
        return self._background.run(
            self._wrapped.claim_job(org_id, job_id, now=now, lease_until=lease_until)
        )

    def find_job(self, org_id: str, job_id: str) -> ExtractionJob | None:
        """Return the job, or None."""
        return self._background.run(self._wrapped.find_job(org_id, job_id))

    def list_jobs(
        self,
        org_id: str,
        *,
        user_id: str | None = None,
        statuses: Collection[JobStatus] = (),
        skip: int = 0,
        limit: int = 1000,
    ) -> list[ExtractionJob]:
        """Return a page by (created_at, job_id); no statuses: all."""
        return self._background.run(
            self._wrapped.list_jobs(
                org_id, user_id=user_id, statuses=statuses, skip=skip, limit=limit
            )
        )

    def claim_outbox(
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
        return self._background.run(
            self._wrapped.claim_outbox(now=now, lease_until=lease_until, limit=limit)
        )

    def ack_outbox(self, entries: Sequence[OutboxEntry]) -> list[OutboxEntry]:
        """Delete entries whose lease is still the given one; return the others."""
        return self._background.run(self._wrapped.ack_outbox(entries))

    def fail_outbox(
        self, entries: Sequence[OutboxEntry], *, error: str, not_before: datetime, dead: bool
    ) -> None:
        """Release the leases, count an attempt, and note the error."""
        self._background.run(
            self._wrapped.fail_outbox(entries, error=error, not_before=not_before, dead=dead)
        )

    def enqueue_sync(self, scope: Scope, memory_ids: Sequence[str], now: datetime) -> None:
        """Add a `sync` entry outside of a plan."""
        self._background.run(self._wrapped.enqueue_sync(scope, memory_ids, now))

    def retry_outbox(self, now: datetime) -> int:
        """Make all waiting and dead entries due at once; return how many there were."""
        return self._background.run(self._wrapped.retry_outbox(now))

    def list_outbox(self, *, after: int = 0, limit: int = 1000) -> list[OutboxEntry]:
        """Return entries by `seq`, for the operator."""
        return self._background.run(self._wrapped.list_outbox(after=after, limit=limit))

    def outbox_status(self) -> OutboxStatus:
        """Return how far the vectors are behind."""
        return self._background.run(self._wrapped.outbox_status())

    def open_as_is(self) -> None:
        """Open a store for `inspect` and `repair`, also one that `setup` cannot finish.

        A whole store is set up. On one that is open this does nothing.

        Raises:
            SchemaVersionError: The store is newer than this memora, or was written by 0.3.
            StoreLockedError: Another process owns the embedded store.
            GraphDBConnectionError: The server cannot be reached.
        """
        self._background.run(self._wrapped.open_as_is())

    def inspect(self) -> list[Finding]:
        """Check I2, I3, I4, I10, I12, I13 and I20 inside the store, and its outbox, read-only.

        Where a table is missing, that alone is reported: the rest cannot be read.
        """
        return self._background.run(self._wrapped.inspect())

    def repair(self, finding: Finding, now: datetime) -> None:
        """Repair what `inspect` found, in one transaction that looks at it again.

        What changed since is taken as it is by then, and what is in order stays. No message,
        memory, interaction, agent or user is ever deleted. Decisions are those of `core.repair`.

        Args:
            finding: Of this store; one that has no repair changes nothing.
            now: Store time.

        Raises:
            GraphDBError: What is missing cannot be made again as long as other findings last.
        """
        self._background.run(self._wrapped.repair(finding, now))

    def known_memories(self, keys: Sequence[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
        """Return those of these (org_id, user_id, memory_id) that exist; for doctor."""
        return self._background.run(self._wrapped.known_memories(keys))


class VectorDB:
    """A vector store, for blocking callers."""

    def __init__(self, background: BackgroundLoop, wrapped: _BaseVectorDB) -> None:
        self._background = background
        self._wrapped = wrapped

    def __enter__(self) -> Self:
        try:
            self.setup()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def setup(self) -> None:
        """Create what is missing, check the stamp; may be called again at any time.

        Raises:
            SchemaVersionError: The store was made with another model, dimension or recipe, or
                by memora 0.3.
            VectorDBError: The store cannot be used.
        """
        self._background.run(self._wrapped.setup())

    def close(self) -> None:
        """Release what this object opened; a second call does nothing."""
        self._background.run(self._wrapped.close())

    def use_keys(self, keys: Keyring) -> None:
        """Take the keys of the graph that this store follows, before `setup` or at any time later.

        A store that keeps filter values in files of its own encrypts them with the last key. One
        on a server ignores this.
        """
        self._background.run(self._wrapped.use_keys(keys))

    def stamp(self) -> IndexStamp | None:
        """Return what the store was made with, or None before `setup`."""
        return self._background.run(self._wrapped.stamp())

    def upsert(self, documents: Sequence[IndexDocument]) -> None:
        """Insert or replace documents by `memory_id`; on return they are searchable.

        Raises:
            EmbeddingError: The texts could not be embedded; nothing was written.
            VectorDBError: The store failed; repeating the call is safe.
        """
        self._background.run(self._wrapped.upsert(documents))

    def run_queries(
        self,
        queries: Sequence[str],
        scope: SearchScope,
        conditions: tuple[Condition, ...],
        limits: ListLimits,
        dense_queries: Sequence[str] | None = None,
    ) -> list[QueryHits]:
        """Answer each query with its dense and its lexical list.

        The engine itself looks at the tenant's points alone, and at those that the conditions let
        through. Lexical IDF is computed over the searched tenant (`scope` without its agent and
        without the conditions).

        Args:
            queries: Texts.
            scope: Whose memories.
            conditions: Further filters.
            limits: Hits per list.
            dense_queries: What the dense lists answer instead, one for each query.
        """
        return self._background.run(
            self._wrapped.run_queries(queries, scope, conditions, limits, dense_queries)
        )

    def remove(self, scope: Scope, memory_ids: Sequence[str]) -> None:
        """Delete these vectors of the user; unknown and foreign ids change nothing."""
        self._background.run(self._wrapped.remove(scope, memory_ids))

    def remove_user(self, org_id: str, user_id: str) -> None:
        """Delete every vector of the user, also from the store's own files and caches."""
        self._background.run(self._wrapped.remove_user(org_id, user_id))

    def remove_organization(self, org_id: str) -> None:
        """Delete every vector of the organization; as above."""
        self._background.run(self._wrapped.remove_organization(org_id))

    def scan(self, *, after: str | None = None, limit: int = 1000) -> list[IndexEntry]:
        """Return stored vectors in the order of their ids, for doctor and reindex.

        Their payloads are left out; `lookup` has them.

        Args:
            after: Last id of the page before.
            limit: At most that many.
        """
        return self._background.run(self._wrapped.scan(after=after, limit=limit))

    def count(self, scope: SearchScope) -> int:
        """Count the vectors of the scope's user or organization; an agent does not narrow.

        This one reads the whole store; a store that can count by owner does better.
        """
        return self._background.run(self._wrapped.count(scope))

    def forget_texts(self) -> None:
        """Drop what this object keeps in memory of texts, such as their vectors."""
        return self._wrapped.forget_texts()

    def lookup(self, memory_ids: Sequence[str]) -> list[IndexEntry]:
        """Return the vectors of these ids with their payloads, whoever's they are; unordered."""
        return self._background.run(self._wrapped.lookup(memory_ids))

    def discard(self, entries: Sequence[IndexEntry]) -> None:
        """Delete vectors as they were seen: with these ids and owners (empty: without an owner).

        One that has another owner by now stays.
        """
        self._background.run(self._wrapped.discard(entries))

    def inspect(self) -> list[Finding]:
        """Check the store by itself: its schema, its stamp, the length of its vectors.

        Works also where `setup` refuses the store; what it finds must be repaired before vectors
        can be compared.

        Raises:
            SchemaVersionError: The store is newer than this memora, of 0.3, or not memora's.
        """
        return self._background.run(self._wrapped.inspect())

    def mend(self) -> None:
        """Make what is missing of the store again and set it up; unusable vectors go.

        A stamp of another model stays: that is for `clear` or a reindex.
        """
        self._background.run(self._wrapped.mend())

    def clear(self) -> None:
        """Drop all vectors and the stamp, and set up again with this object's model."""
        self._background.run(self._wrapped.clear())

    def search_memories(
        self,
        queries: Sequence[str],
        memory_search_scope: MemorySearchScope | str,
        org_id: str,
        user_id: str | None = None,
        agent_id: str | None = None,
        *,
        limit: int = 50,
        lexical_limit: int | None = None,
        conditions: tuple[Condition, ...] = (),
        dense_queries: Sequence[str] | None = None,
    ) -> list[QueryHits]:
        """Search with several queries; the answer has one item per query, in order.

        Args:
            queries: At most 16 texts.
            memory_search_scope: `user` or `organization`.
            org_id: The organization.
            user_id: The user; required for the user scope.
            agent_id: Only memories of this agent.
            limit: Hits per list, 1 to 1000.
            lexical_limit: Hits per lexical list; None: as many.
            conditions: Further filters on the fields of `core.indexing`.
            dense_queries: What the dense lists answer instead, one text for each query.

        Raises:
            InvalidInputError: An argument is out of range, or the scope is unknown.
            EmbeddingError: The queries could not be embedded.
            VectorDBError: The store failed.
        """
        return self._background.run(
            self._wrapped.search_memories(
                queries,
                memory_search_scope,
                org_id,
                user_id,
                agent_id,
                limit=limit,
                lexical_limit=lexical_limit,
                conditions=conditions,
                dense_queries=dense_queries,
            )
        )

    def search_memory(
        self,
        query: str,
        memory_search_scope: MemorySearchScope | str,
        org_id: str,
        user_id: str | None = None,
        agent_id: str | None = None,
        *,
        limit: int = 50,
        lexical_limit: int | None = None,
        conditions: tuple[Condition, ...] = (),
    ) -> QueryHits:
        """Search with one query; see `search_memories`."""
        return self._background.run(
            self._wrapped.search_memory(
                query,
                memory_search_scope,
                org_id,
                user_id,
                agent_id,
                limit=limit,
                lexical_limit=lexical_limit,
                conditions=conditions,
            )
        )

    def add_memories(
        self,
        org_id: str,
        user_id: str,
        agent_id: str | None,
        memory_ids: Sequence[str | UUID],
        memories: Sequence[str],
        obtained_at: datetime | str,
    ) -> None:
        """Insert or replace memories given as texts; `upsert` takes everything else as well.

        Raises:
            InvalidInputError: The lists differ in length, or an argument is malformed.
            EmbeddingError: The texts could not be embedded; nothing was written.
            VectorDBError: The store failed; repeating the call is safe.
        """
        self._background.run(
            self._wrapped.add_memories(org_id, user_id, agent_id, memory_ids, memories, obtained_at)
        )

    def delete_memory(self, memory_id: str, org_id: str, user_id: str) -> None:
        """Delete one vector of the user; see `delete_memories`."""
        self._background.run(self._wrapped.delete_memory(memory_id, org_id, user_id))

    def delete_memories(self, memory_ids: Sequence[str], org_id: str, user_id: str) -> None:
        """Delete vectors of the user; unknown and foreign ids change nothing."""
        self._background.run(self._wrapped.delete_memories(memory_ids, org_id, user_id))

    def delete_all_user_memories(self, org_id: str, user_id: str) -> None:
        """Delete every vector of the user."""
        self._background.run(self._wrapped.delete_all_user_memories(org_id, user_id))

    def delete_all_organization_memories(self, org_id: str) -> None:
        """Delete every vector of the organization."""
        self._background.run(self._wrapped.delete_all_organization_memories(org_id))


class Memora:
    """Saves conversations, remembers what matters, and recalls it before the next turn.

    Args:
        vector_db: Vector store.
        graph_db: Graph store. It is not changed: writes through `memora.graph` drain to
            `vector_db`, whatever the graph was constructed with.
        memory_search_model: Fast model for search queries and filtering; None: none is needed.
        extraction_model: Strong model for extraction and comparison; None: memories are what was
            said, verbatim.
        enable_logging: Show memora's log on the console.
        recall_limit: How many memories a recall returns when the call does not say.
        min_similarity: Floor of recalls that do not say, 0 to 1; None: no floor.
        ranking: What the scores of recalls are made of that do not say; a `RankingConfig` or some
            of its fields as a mapping.
        reranker: Reads what a recall found once more, together with the message; None: the search
            has the last word.
        rerank_candidates: How many found memories it reads, 1 to 1000.
        similarity_threshold: Dense similarity from which an added text is compared with what is
            known, 0 to 1; it depends on the embedder, so it can be given by the embedder's
            `model_id`, and others have 0.8.
        short_term_days: Days after which `short_term` memories expire; None: never.
        archive_after_days: Days after which a sweep archives what nothing used; None: never.
        embedder_named: Makes the embedder of a name for `reindex`; engines that were made with
            `embedded` or `from_settings` know all names.

    Example:
        ```python
        with Memora.embedded("./memory") as memora:
            org = memora.graph.create_organization("My Organization")
            user = memora.graph.create_user(org.org_id, "Jake")
            memora.save_or_update_interaction_and_memories(
                org.org_id,
                user.user_id,
                interaction=[{"role": "user", "content": "I am allergic to peanuts."}],
            )
            memories, ids = memora.recall_memories_for_message(
                org.org_id, user.user_id, latest_msg="What should I not eat?"
            )
        ```
    """

    def __init__(
        self,
        vector_db: BaseVectorDB,
        graph_db: BaseGraphDB,
        memory_search_model: BaseBackendLLM | None = None,
        extraction_model: BaseBackendLLM | None = None,
        enable_logging: bool = False,
        *,
        recall_limit: int = 12,
        min_similarity: float | None = None,
        ranking: RankingConfig | Mapping[str, Any] | None = None,
        reranker: BaseReranker | None = None,
        rerank_candidates: int = RERANK_CANDIDATES,
        similarity_threshold: float | Mapping[str, float] = 0.8,
        short_term_days: float | None = 7,
        archive_after_days: float | None = 30,
        embedder_named: Callable[[str], BaseEmbedder] | None = None,
    ) -> None:
        self._bind(
            _Memora(
                vector_db,
                graph_db,
                memory_search_model,
                extraction_model,
                enable_logging,
                recall_limit=recall_limit,
                min_similarity=min_similarity,
                ranking=ranking,
                reranker=reranker,
                rerank_candidates=rerank_candidates,
                similarity_threshold=similarity_threshold,
                short_term_days=short_term_days,
                archive_after_days=archive_after_days,
                embedder_named=embedder_named,
            )
        )

    def _bind(self, wrapped: _Memora) -> None:
        self._background = BackgroundLoop()
        self._wrapped = wrapped

    @classmethod
    def _around(cls, wrapped: _Memora) -> Self:
        made = cls.__new__(cls)
        made._bind(wrapped)
        return made

    def __enter__(self) -> Self:
        try:
            self.setup()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @classmethod
    def embedded(
        cls,
        path: str | Path | None = None,
        *,
        memory_search_model: BaseBackendLLM | str | None = None,
        extraction_model: BaseBackendLLM | str | None = None,
        embedder: BaseEmbedder | str | None = None,
        reranker: BaseReranker | str | None = None,
        enable_logging: bool = False,
        encryption_key: str | SecretStr | None = None,
        language: str = "en",
        similarity_threshold: float | Mapping[str, float] = 0.8,
        short_term_days: float | None = 7,
        archive_after_days: float | None = 30,
        own_process: bool = False,
    ) -> Self:
        """Return an engine on one directory, without server or key; use it with `async with`.

        Args:
            path: Directory, created on first use; None: the platform's data directory.
            memory_search_model: Fast model, or `provider:model`.
            extraction_model: Strong model, or `provider:model`.
            embedder: Embedder, or its name; None: the offline default.
            reranker: Reranker, or its name; None: the search has the last word.
            enable_logging: Show memora's log on the console.
            encryption_key: Encrypts stored text: 32 bytes in base64, see
                `memora.encryption.new_key`; None: a plain store.
            language: ISO 639-1 code of the language most texts are in; a text that is plainly in
                another one is found as well.
            similarity_threshold: As for `Memora`.
            short_term_days: Days after which `short_term` memories expire; None: never.
            archive_after_days: Days after which a sweep archives what nothing used; None: never.
            own_process: Search in a process of its own, on another core; for servers.
        """
        return cls._around(
            _Memora.embedded(
                path,
                memory_search_model=memory_search_model,
                extraction_model=extraction_model,
                embedder=embedder,
                reranker=reranker,
                enable_logging=enable_logging,
                encryption_key=encryption_key,
                language=language,
                similarity_threshold=similarity_threshold,
                short_term_days=short_term_days,
                archive_after_days=archive_after_days,
                own_process=own_process,
            )
        )

    @classmethod
    def from_settings(cls, settings: Settings | Mapping[str, Any] | None = None) -> Self:
        """Return an engine as the settings say; None: those of the environment.

        Raises:
            InvalidInputError: A setting is unknown or malformed.
        """
        return cls._around(_Memora.from_settings(settings))

    @property
    def graph(self) -> GraphDB:
        """The graph store: organizations, users, agents, interactions, memories."""
        return GraphDB(self._background, self._wrapped.graph)

    @property
    def vector_db(self) -> VectorDB:
        """The vector store."""
        return VectorDB(self._background, self._wrapped.vector_db)

    @property
    def usage(self) -> TokenUsage:
        """What both models have spent since they were made; subtract two to measure a step."""
        return self._wrapped.usage

    def setup(self) -> None:
        """Prepare both stores."""
        self._background.run(self._wrapped.setup())

    def close(self) -> None:
        """Close stores and models."""
        self._background.close(self._wrapped.close)

    def for_user(
        self,
        user_id: str = "default",
        *,
        org_id: str = "default",
        agent_id: str | None = None,
        create: bool = True,
    ) -> BoundMemora:
        """Return a handle with the same verbs and a fixed scope.

        Args:
            user_id: The user.
            org_id: The organization.
            agent_id: The agent, if any.
            create: Create what is missing of the three on first use; the id serves as its name.
                Nobody whom this engine erased after the handle was made: that takes a new one.
        """
        return BoundMemora(
            self._background,
            self._wrapped.for_user(user_id, org_id=org_id, agent_id=agent_id, create=create),
        )

    def save_or_update_interaction_and_memories(
        self,
        org_id: str,
        user_id: str,
        agent_id: str | None = None,
        interaction: Sequence[Mapping[str, Any]] | None = None,
        interaction_id: str | None = None,
        current_datetime: datetime | None = None,
        extract_agent_memories: bool = False,
        update_across_agents: bool = True,
        max_retries: int = 3,
        *,
        expected_revision: int | None = None,
        idempotency_key: str | None = None,
        external_id: str | None = None,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        process_id: str | None = None,
    ) -> tuple[str, datetime]:
        """Store a conversation, new or continued, and remember what is worth it.

        The transcript is durable before any model is asked. An update keeps the common prefix,
        cuts what differs and appends the rest; only new messages go to the model.

        Args:
            org_id: The organization.
            user_id: The user.
            agent_id: The agent that took part, if any.
            interaction: The whole conversation, `{"role", "content"}` each, with `name`,
                `timestamp` and any other JSON where there is some.
            interaction_id: Interaction to update (or its external id); None: a new one.
            current_datetime: Time of the conversation; None: now.
            extract_agent_memories: Also remember what the agent says.
            update_across_agents: Memories that other agents obtained may be superseded too.
            max_retries: Transport retries of each model call.
            expected_revision: Revision that the caller's transcript is based on.
            idempotency_key: Repeating a call with its key has no second effect.
            external_id: The caller's id of the conversation; found again by it, else created.
            title: Title of the conversation.
            metadata: Any JSON object, kept with the conversation.
            process_id: Where this comes from; kept on interaction and memories.

        Returns:
            Interaction id and the time of creation or update.

        Raises:
            InvalidInputError: An argument is malformed; nothing was stored.
            UserNotFoundError: There is no such user.
            AgentNotFoundError: There is no such agent, or it belongs to another user.
            InteractionNotFoundError: The user has no such interaction.
            ConflictError: Somebody else changed the interaction; its `tail` is theirs.
            ExtractionError: The transcript is stored, its memories are not yet; see `resume_job`.
        """
        return self._background.run(
            self._wrapped.save_or_update_interaction_and_memories(
                org_id,
                user_id,
                agent_id,
                interaction,
                interaction_id,
                current_datetime,
                extract_agent_memories,
                update_across_agents,
                max_retries,
                expected_revision=expected_revision,
                idempotency_key=idempotency_key,
                external_id=external_id,
                title=title,
                metadata=metadata,
                process_id=process_id,
            )
        )

    def preview_save(
        self,
        org_id: str,
        user_id: str,
        agent_id: str | None = None,
        interaction: Sequence[Mapping[str, Any]] | None = None,
        interaction_id: str | None = None,
        current_datetime: datetime | None = None,
        *,
        extract_agent_memories: bool = False,
        update_across_agents: bool = True,
        max_retries: int = 3,
    ) -> SavePreview:
        """Return what a save with these arguments would do, and write nothing.

        Raises:
            InvalidInputError: An argument is malformed.
            NotFoundError: User, agent or interaction do not exist in this scope.
            LLMError: The extraction model failed.
        """
        return self._background.run(
            self._wrapped.preview_save(
                org_id,
                user_id,
                agent_id,
                interaction,
                interaction_id,
                current_datetime,
                extract_agent_memories=extract_agent_memories,
                update_across_agents=update_across_agents,
                max_retries=max_retries,
            )
        )

    def recall_memories_for_message(
        self,
        org_id: str,
        user_id: str,
        latest_msg: str,
        agent_id: str | None = None,
        preceding_msg_for_context: Sequence[Mapping[str, Any]] = (),
        current_datetime: datetime | None = None,
        filter_out_memory_ids_set: Collection[str] = frozenset(),
        search_memories_across_agents: bool = True,
        enable_final_model_based_memory_filter: bool = False,
        *,
        limit: int | None = None,
        filters: MemoryFilters | Mapping[str, Any] | None = None,
        as_of: datetime | None = None,
        min_similarity: float | None = None,
        always: Sequence[str] = (),
        token_budget: int | None = None,
        deadline_ms: int | None = None,
        explain: bool = False,
        ranking: RankingConfig | Mapping[str, Any] | None = None,
    ) -> tuple[list[Memory], list[str]]:
        """Recall the memories that matter for a message, best first.

        Args:
            org_id: The organization.
            user_id: The user.
            latest_msg: The message that is about to be answered.
            agent_id: The agent that answers, if any.
            preceding_msg_for_context: What was said before it.
            current_datetime: Time of the message; None: now.
            filter_out_memory_ids_set: Ids to leave out; they need not exist.
            search_memories_across_agents: False: only what `agent_id` obtained.
            enable_final_model_based_memory_filter: Let the fast model drop what does not help.
            limit: At most that many, 1 to 1000; None: the engine's setting (12).
            filters: `MemoryFilters`, or the same as a mapping.
            as_of: Read the versions that were current at this conversation time.
            min_similarity: Floor on the raw dense similarity, 0 to 1; hits that hold every word
                of the query stay.
            always: Current memories of these types, and pinned ones, come first in any case; half
                of the limit and of the budget is theirs.
            token_budget: Tokens that all statements together may have, about.
            deadline_ms: After this time the model stages are skipped.
            explain: Attach `score_parts`.
            ranking: `RankingConfig`, or some of its fields as a mapping; None: the engine's own.

        Returns:
            The memories and their ids; nothing found is `([], [])`.

        Raises:
            InvalidInputError: An argument is malformed.
            UserNotFoundError: There is no such user.
            AgentNotFoundError: There is no such agent, or it belongs to another user.
            EmbeddingError: The queries could not be embedded.
            VectorDBError: The vector store failed.
            GraphDBError: The graph store failed.
        """
        return self._background.run(
            self._wrapped.recall_memories_for_message(
                org_id,
                user_id,
                latest_msg,
                agent_id,
                preceding_msg_for_context,
                current_datetime,
                filter_out_memory_ids_set,
                search_memories_across_agents,
                enable_final_model_based_memory_filter,
                limit=limit,
                filters=filters,
                as_of=as_of,
                min_similarity=min_similarity,
                always=always,
                token_budget=token_budget,
                deadline_ms=deadline_ms,
                explain=explain,
                ranking=ranking,
            )
        )

    def search_memories_as_one(
        self,
        org_id: str,
        user_id: str,
        search_queries: Sequence[str],
        filter_out_memory_ids_set: Collection[str] = frozenset(),
        agent_id: str | None = None,
        search_across_agents: bool = True,
        *,
        limit: int | None = None,
        filters: MemoryFilters | Mapping[str, Any] | None = None,
        as_of: datetime | None = None,
        min_similarity: float | None = None,
        explain: bool = False,
        ranking: RankingConfig | Mapping[str, Any] | None = None,
    ) -> list[Memory]:
        """Search with several queries and return one list, best first; see the batch form."""
        return self._background.run(
            self._wrapped.search_memories_as_one(
                org_id,
                user_id,
                search_queries,
                filter_out_memory_ids_set,
                agent_id,
                search_across_agents,
                limit=limit,
                filters=filters,
                as_of=as_of,
                min_similarity=min_similarity,
                explain=explain,
                ranking=ranking,
            )
        )

    def search_memories_as_batch(
        self,
        org_id: str,
        search_queries: Sequence[str],
        filter_out_memory_ids_set: Collection[str] = frozenset(),
        user_id: str | None = None,
        agent_id: str | None = None,
        memory_search_scope: MemorySearchScope | str = MemorySearchScope.USER,
        search_across_agents: bool = True,
        *,
        limit: int | None = None,
        filters: MemoryFilters | Mapping[str, Any] | None = None,
        as_of: datetime | None = None,
        min_similarity: float | None = None,
        explain: bool = False,
        ranking: RankingConfig | Mapping[str, Any] | None = None,
    ) -> list[list[Memory]]:
        """Search with several queries and return one list for each, in their order.

        Args:
            org_id: The organization.
            search_queries: At most 16 texts.
            filter_out_memory_ids_set: Ids to leave out.
            user_id: The user; required for the user scope.
            agent_id: The agent; required when `search_across_agents` is False.
            memory_search_scope: `user`, or `organization` for the memories of all its users,
                without their source messages.
            search_across_agents: False: only what `agent_id` obtained.
            limit: At most that many per list, 1 to 1000.
            filters: `MemoryFilters`, or the same as a mapping.
            as_of: Read the versions that were current at this conversation time.
            min_similarity: Floor on the raw dense similarity, 0 to 1.
            explain: Attach `score_parts`.
            ranking: `RankingConfig`, or some of its fields as a mapping; None: the engine's own.

        Raises:
            InvalidInputError: An argument is malformed, or the scope is unknown.
            NotFoundError: Organization, user or agent do not exist in this scope.
            EmbeddingError: The queries could not be embedded.
            VectorDBError: The vector store failed.
            GraphDBError: The graph store failed.
        """
        return self._background.run(
            self._wrapped.search_memories_as_batch(
                org_id,
                search_queries,
                filter_out_memory_ids_set,
                user_id,
                agent_id,
                memory_search_scope,
                search_across_agents,
                limit=limit,
                filters=filters,
                as_of=as_of,
                min_similarity=min_similarity,
                explain=explain,
                ranking=ranking,
            )
        )

    def generate_memory_search_queries(
        self,
        message: str,
        preceding_messages_for_context: Sequence[Mapping[str, Any]] = (),
        current_datetime: datetime | None = None,
    ) -> list[str]:
        """Return the queries that a recall for this message would search with.

        Raises:
            InvalidInputError: An argument is malformed.
        """
        return self._background.run(
            self._wrapped.generate_memory_search_queries(
                message, preceding_messages_for_context, current_datetime
            )
        )

    def filter_retrieved_memories_with_model(
        self,
        message: str,
        search_queries_used: Sequence[str],
        retrieved_memories: Sequence[Memory],
        current_datetime: datetime | None = None,
    ) -> list[Memory]:
        """Keep the memories that the fast model finds useful for the message, in their order.

        Without a model, or when it cannot decide, all are kept.

        Raises:
            InvalidInputError: An argument is malformed.
        """
        return self._background.run(
            self._wrapped.filter_retrieved_memories_with_model(
                message, search_queries_used, retrieved_memories, current_datetime
            )
        )

    def format_memories(
        self,
        memories: Sequence[Memory],
        *,
        token_budget: int | None = None,
        newest_last: bool = False,
        as_of: datetime | None = None,
        always: Sequence[str] = (),
    ) -> str:
        """Render memories as a block for the prompt, with dates and the marker that save strips.

        Args:
            memories: As a recall returned them.
            token_budget: Lines are added while they fit, about.
            newest_last: Order by time instead of relevance.
            as_of: Reading time of the recall; what is expired by then (None: by now) is left out.
            always: Pinned memories and those of these types come first, within half of the budget.

        Raises:
            InvalidInputError: An argument is malformed.
        """
        return self._wrapped.format_memories(
            memories, token_budget=token_budget, newest_last=newest_last, as_of=as_of, always=always
        )

    def build_context(
        self,
        org_id: str,
        user_id: str,
        message: str,
        *,
        agent_id: str | None = None,
        limit: int | None = None,
        filters: MemoryFilters | Mapping[str, Any] | None = None,
        always: Sequence[str] = (),
        token_budget: int | None = None,
        current_datetime: datetime | None = None,
    ) -> str:
        """Recall for a message and return a briefing: by the fast model, or the memories as text.

        Raises:
            InvalidInputError: An argument is malformed.
            UserNotFoundError: There is no such user.
        """
        return self._background.run(
            self._wrapped.build_context(
                org_id,
                user_id,
                message,
                agent_id=agent_id,
                limit=limit,
                filters=filters,
                always=always,
                token_budget=token_budget,
                current_datetime=current_datetime,
            )
        )

    def add_memory(
        self,
        org_id: str,
        user_id: str,
        content: str | Sequence[Mapping[str, Any]],
        *,
        agent_id: str | None = None,
        interaction_id: str | None = None,
        memory_type: str = "fact",
        importance: float = 0.5,
        tags: Sequence[str] = (),
        entities: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        obtained_at: datetime | None = None,
        expires_at: datetime | None = None,
        pinned: bool = False,
        idempotency_key: str | None = None,
        create_missing: bool = True,
    ) -> MemoryReceipt:
        """Remember a text, once.

        With an extraction model it is condensed to its key facts, and the model decides whether
        similar memories are repeated, merged with it, or replaced. Without one it is stored as
        given, and only a text that is equal up to case, spacing and punctuation is a duplicate.

        Args:
            org_id: The organization.
            user_id: The user it is about.
            content: A text, or messages, which become lines `role: text`.
            agent_id: The agent that obtained it, if any.
            interaction_id: The conversation it belongs to (or its external id); it must exist.
            memory_type: One of `MemoryType`, or your own. `short_term` ones expire.
            importance: 0 to 1.
            tags: Labels to filter by.
            entities: Names of what it is about.
            metadata: Any JSON object; top-level scalars and lists of scalars can be filtered.
            obtained_at: When it became known; None: now.
            expires_at: From then on no read returns it; None: as its type says.
            pinned: It neither expires by its type nor is archived, and comes first where a recall
                asks for `always`.
            idempotency_key: Repeating a call with its key has no second effect.
            create_missing: Create what is missing of organization, user and agent under these ids.

        Raises:
            InvalidInputError: An argument is malformed; nothing was stored.
            NotFoundError: The interaction does not exist, or, without `create_missing`, the owner.
            ConflictError: The idempotency key was used for another call.
            LLMError: The extraction model failed; nothing was stored.
            EmbeddingError: The text could not be embedded; nothing was stored.
            VectorDBError: Similar memories could not be looked for; nothing was stored.
        """
        return self._background.run(
            self._wrapped.add_memory(
                org_id,
                user_id,
                content,
                agent_id=agent_id,
                interaction_id=interaction_id,
                memory_type=memory_type,
                importance=importance,
                tags=tags,
                entities=entities,
                metadata=metadata,
                obtained_at=obtained_at,
                expires_at=expires_at,
                pinned=pinned,
                idempotency_key=idempotency_key,
                create_missing=create_missing,
            )
        )

    def add_memories(
        self, org_id: str, items: Sequence[Mapping[str, Any]], *, create_missing: bool = True
    ) -> list[MemoryReceipt]:
        """Remember many texts; one receipt per item, in order.

        All items are checked before anything is stored. One that fails later ends the call, and
        what was stored before it stays: with idempotency keys the call can be repeated.

        Args:
            org_id: The organization.
            items: At most 1000 mappings with the arguments of `add_memory`: `user_id`, `content`,
                and any of the others.
            create_missing: Create what is missing of organization, users and agents.

        Raises:
            InvalidInputError: An item is malformed; nothing was stored.
            MemoraError: As `add_memory`, of the first item that failed.
        """
        return self._background.run(
            self._wrapped.add_memories(org_id, items, create_missing=create_missing)
        )

    def query_memories(
        self,
        org_id: str,
        user_id: str,
        query: str,
        *,
        limit: int = 3,
        interaction_id: str | None = None,
        filters: MemoryFilters | Mapping[str, Any] | None = None,
        min_similarity: float | None = None,
    ) -> QueryResult:
        """Return the memories that answer a question, with a summary of them.

        Args:
            org_id: The organization.
            user_id: The user.
            query: The question.
            limit: At most that many, 1 to 1000.
            interaction_id: Only what was obtained in this interaction (or external id).
            filters: `MemoryFilters`, or the same as a mapping.
            min_similarity: Floor on the raw dense similarity, 0 to 1.

        Raises:
            InvalidInputError: An argument is malformed.
            UserNotFoundError: There is no such user.
            InteractionNotFoundError: The user has no such interaction.
            EmbeddingError: The query could not be embedded.
            VectorDBError: The vector store failed.
            GraphDBError: The graph store failed.
        """
        return self._background.run(
            self._wrapped.query_memories(
                org_id,
                user_id,
                query,
                limit=limit,
                interaction_id=interaction_id,
                filters=filters,
                min_similarity=min_similarity,
            )
        )

    def list_memories(
        self,
        org_id: str,
        user_id: str | None = None,
        *,
        agent_id: str | None = None,
        filters: MemoryFilters | Mapping[str, Any] | None = None,
        after: Memory | tuple[datetime, str] | None = None,
        skip: int = 0,
        limit: int = 1000,
    ) -> list[Memory]:
        """Return current memories, newest first, without expired and archived ones.

        Args:
            org_id: The organization.
            user_id: The user; None: all users of the organization, for administration, without
                their source messages.
            agent_id: Only what this agent obtained.
            filters: `MemoryFilters`, or the same as a mapping; they can ask for expired and
                archived memories too.
            after: The last memory of the page before, or its `(obtained_at, memory_id)`.
            skip: Leave out the first ones.
            limit: At most that many, 1 to 1000.

        Raises:
            InvalidInputError: An argument is malformed.
            NotFoundError: Organization, user or agent do not exist in this scope.
        """
        return self._background.run(
            self._wrapped.list_memories(
                org_id,
                user_id,
                agent_id=agent_id,
                filters=filters,
                after=after,
                skip=skip,
                limit=limit,
            )
        )

    def memory_health(
        self, org_id: str, user_id: str | None = None, *, sample: int = 64
    ) -> MemoryHealth:
        """Return how the memories of a user or an organization are.

        Args:
            org_id: The organization.
            user_id: The user; None: all users of the organization.
            sample: How many of the newest memories are compared for redundancy, 0 to 1000; each
                is embedded once.

        Raises:
            InvalidInputError: An argument is malformed.
            NotFoundError: Organization or user do not exist.
            EmbeddingError: The sample could not be embedded.
            VectorDBError: The vector store failed.
            GraphDBError: The graph store failed.
        """
        return self._background.run(self._wrapped.memory_health(org_id, user_id, sample=sample))

    def sweep(
        self,
        org_id: str | None = None,
        user_id: str | None = None,
        *,
        dry_run: bool = False,
        batch_size: int = 500,
    ) -> SweepReceipt:
        """Remove expired memories from both stores, and archive what nothing used for long.

        Reads leave expired memories out without it; after it their text is gone. Archived ones
        are kept, and answer where `include_archived` asks for them. Repeating it, also after an
        interruption, does what is left.

        Args:
            org_id: The organization; None: all of them.
            user_id: The user; None: all users.
            dry_run: Count, and write nothing.
            batch_size: Memories that are looked up and changed at a time, 1 to 1000.

        Raises:
            InvalidInputError: An argument is malformed.
            NotFoundError: Organization or user do not exist.
            GraphDBError: The graph store failed; repeat the call.
        """
        return self._background.run(
            self._wrapped.sweep(org_id, user_id, dry_run=dry_run, batch_size=batch_size)
        )

    def update_memory(
        self, org_id: str, user_id: str, memory_id: str, content: str, *, author: str | None = None
    ) -> Memory:
        """Give a statement a new text: a new version, the old one becomes history.

        Args:
            org_id: The organization.
            user_id: The user.
            memory_id: Any version of the statement.
            content: The new text.
            author: Who makes this version.

        Returns:
            The version that is current now.

        Raises:
            InvalidInputError: An argument is malformed.
            MemoryNotFoundError: The user has no such memory.
            MemoryUpdateError: The statement was retracted or its head deleted.
            ConflictError: Others kept changing it.
        """
        return self._background.run(
            self._wrapped.update_memory(org_id, user_id, memory_id, content, author=author)
        )

    def revert_memory(
        self, org_id: str, user_id: str, memory_id: str, *, author: str | None = None
    ) -> Memory:
        """Make the text of one version of a statement current again, as a new version.

        Raises:
            InvalidInputError: An argument is malformed.
            MemoryNotFoundError: The user has no such memory.
            ConflictError: Others kept changing it.
        """
        return self._background.run(
            self._wrapped.revert_memory(org_id, user_id, memory_id, author=author)
        )

    def retract_memory(
        self, org_id: str, user_id: str, memory_id: str, *, at: datetime | None = None
    ) -> Memory:
        """End a statement that no longer holds; its history stays. Again changes nothing.

        Args:
            org_id: The organization.
            user_id: The user.
            memory_id: Any version of the statement.
            at: Conversation time from which it no longer holds; None: now.

        Returns:
            The newest version, which has ended.

        Raises:
            InvalidInputError: An argument is malformed.
            MemoryNotFoundError: The user has no such memory.
            ConflictError: Others kept changing it.
        """
        return self._background.run(self._wrapped.retract_memory(org_id, user_id, memory_id, at=at))

    def delete_memory(self, org_id: str, user_id: str, memory_id: str) -> DeleteReceipt:
        """Purge one version: text and vectors are gone. Deleting twice is harmless."""
        return self._background.run(self._wrapped.delete_memory(org_id, user_id, memory_id))

    def memory_history(self, org_id: str, user_id: str, memory_id: str) -> list[Memory]:
        """Return all versions of a statement, newest first, from any one of them.

        Raises:
            MemoryNotFoundError: The user has no such memory.
        """
        return self._background.run(self._wrapped.memory_history(org_id, user_id, memory_id))

    def memories_by_source(
        self,
        org_id: str,
        user_id: str,
        *,
        interaction_id: str | None = None,
        agent_id: str | None = None,
        import_id: str | None = None,
        process_id: str | None = None,
        current_only: bool = False,
        skip: int = 0,
        limit: int = 1000,
    ) -> list[Memory]:
        """Return the memories that come from one source, newest first; give exactly one source.

        A memory comes from a source in which it was obtained, or of which it has a source message.
        A version made by hand comes from its author. An unknown source has no memories.

        Args:
            org_id: The organization.
            user_id: The user.
            interaction_id: An interaction (or its external id).
            agent_id: All conversations of an agent.
            import_id: All that an import brought in.
            process_id: All that a process brought in.
            current_only: Without the versions that are history.
            skip: Leave out the first ones.
            limit: At most that many, 1 to 1000.

        Raises:
            InvalidInputError: An argument is malformed, or not exactly one source is given.
            UserNotFoundError: There is no such user.
        """
        return self._background.run(
            self._wrapped.memories_by_source(
                org_id,
                user_id,
                interaction_id=interaction_id,
                agent_id=agent_id,
                import_id=import_id,
                process_id=process_id,
                current_only=current_only,
                skip=skip,
                limit=limit,
            )
        )

    def rollback_source(
        self,
        org_id: str,
        user_id: str,
        *,
        interaction_id: str | None = None,
        agent_id: str | None = None,
        import_id: str | None = None,
        process_id: str | None = None,
        author: str | None = None,
        dry_run: bool = False,
    ) -> RollbackReceipt:
        """Take everything back that one source brought in; give exactly one source.

        Versions that came from it alone are removed with text and vectors, and what they had
        superseded is current again. What another source states too, or somebody made by hand,
        stays and only loses its links to the source's messages. Extractions of the source that
        are not done are cancelled, and what it said is not extracted again from these messages.
        The transcripts stay. An unknown source changes nothing; a repetition finishes what was
        interrupted.

        Args:
            org_id: The organization.
            user_id: The user.
            interaction_id: An interaction (or its external id).
            agent_id: All conversations of an agent.
            import_id: All that an import brought in.
            process_id: All that a process brought in.
            author: Who asks for it; kept in the receipt.
            dry_run: Tell what would be done, and write nothing.

        Raises:
            InvalidInputError: An argument is malformed, or not exactly one source is given.
            UserNotFoundError: There is no such user.
        """
        return self._background.run(
            self._wrapped.rollback_source(
                org_id,
                user_id,
                interaction_id=interaction_id,
                agent_id=agent_id,
                import_id=import_id,
                process_id=process_id,
                author=author,
                dry_run=dry_run,
            )
        )

    def list_entities(
        self, org_id: str, user_id: str, *, skip: int = 0, limit: int = 100
    ) -> list[Entity]:
        """Return what current memories mention, most mentioned first.

        Args:
            org_id: The organization.
            user_id: The user.
            skip: Entities to leave out.
            limit: At most that many, 1 to 1000.

        Raises:
            InvalidInputError: An argument is malformed.
            UserNotFoundError: There is no such user.
        """
        return self._background.run(
            self._wrapped.list_entities(org_id, user_id, skip=skip, limit=limit)
        )

    def entity_memories(
        self, org_id: str, user_id: str, entity: str, *, limit: int = 100
    ) -> EntityMemories:
        """Return what is known about somebody or something: current memories, newest first.

        Args:
            org_id: The organization.
            user_id: The user.
            entity: One of its names, in any spelling, or its id.
            limit: At most that many memories, 1 to 1000.

        Raises:
            InvalidInputError: An argument is malformed.
            UserNotFoundError: There is no such user.
            EntityNotFoundError: No current memory mentions it.
        """
        return self._background.run(
            self._wrapped.entity_memories(org_id, user_id, entity, limit=limit)
        )

    def merge_entities(self, org_id: str, user_id: str, entity: str, into: str) -> Entity:
        """Say that two entities are one; `split_entity` takes them apart again.

        Args:
            org_id: The organization.
            user_id: The user.
            entity: A name or the id of the one whose names move.
            into: A name or the id of the one that gets them, and is returned.

        Raises:
            InvalidInputError: An argument is malformed.
            UserNotFoundError: There is no such user.
            EntityNotFoundError: No current memory mentions one of them.
        """
        return self._background.run(self._wrapped.merge_entities(org_id, user_id, entity, into))

    def split_entity(self, org_id: str, user_id: str, entity: str, names: Sequence[str]) -> Entity:
        """Say that some names of an entity are somebody or something else, which is returned.

        Args:
            org_id: The organization.
            user_id: The user.
            entity: A name or the id.
            names: Some of its names (`aliases`), not all.

        Raises:
            InvalidInputError: An argument is malformed, or no such split is possible.
            UserNotFoundError: There is no such user.
            EntityNotFoundError: No current memory mentions it.
        """
        return self._background.run(self._wrapped.split_entity(org_id, user_id, entity, names))

    def seed(
        self,
        data: SeedData,
        *,
        seed_config: SeedConfig | None = None,
        batch_size: int = 10,
        on_progress: SeedProgress | None = None,
        import_id: str | None = None,
        create_missing: bool = True,
        dry_run: bool = False,
        prices: Mapping[str, TokenPrice] | None = None,
    ) -> SeedResult:
        """Import conversations that happened elsewhere, at their own dates.

        Running it again is free and finishes what an earlier run left; a conversation that grew or
        changed since is updated.

        Args:
            data: The conversations and their user.
            seed_config: Bounds of the model requests, retries, and what is remembered.
            batch_size: Conversations that are worked on at the same time, 1 to 256.
            on_progress: Called with (processed, total, result) after each conversation, and
                awaited if it is async; the total is None when the input has no length. What it
                raises stops the import and reaches the caller; what is stored stays.
            import_id: Name of the import, to go on under it; None: a new one.
            create_missing: Create organization, user and agent where they are missing.
            dry_run: Write nothing and ask no model; `estimate` tells what it would cost. An
                iterator is used up by it.
            prices: For the estimate: price of a million tokens (read, written), by
                `provider:model` or the model's name.

        Returns:
            Counts and one result per conversation; a conversation that fails stops no other.

        Raises:
            InvalidInputError: An argument is malformed; nothing was stored.
            UserNotFoundError, AgentNotFoundError: With `create_missing=False`.
            ConflictError: The import was taken back, or its id is that of another user's.
            VectorDBError: All is stored, but the vector store could not follow; its work waits.
            Exception: What iterating over the conversations raised, after those read were stored.
        """
        return self._background.run(
            self._wrapped.seed(
                data,
                seed_config=seed_config,
                batch_size=batch_size,
                on_progress=on_progress,
                import_id=import_id,
                create_missing=create_missing,
                dry_run=dry_run,
                prices=prices,
            )
        )

    def seed_sync(
        self,
        data: SeedData,
        *,
        seed_config: SeedConfig | None = None,
        batch_size: int = 10,
        on_progress: SeedProgress | None = None,
        import_id: str | None = None,
        create_missing: bool = True,
        dry_run: bool = False,
        prices: Mapping[str, TokenPrice] | None = None,
    ) -> SeedResult:
        """Import like `seed`, where no event loop runs.

        The engine is open only meanwhile, and its models are closed with it. For more than one
        import, `memora.sync.Memora` has all verbs.

        Raises:
            InvalidInputError: An event loop runs here, or the engine is open; or an argument is
                malformed.
        """
        return self.seed(
            data,
            seed_config=seed_config,
            batch_size=batch_size,
            on_progress=on_progress,
            import_id=import_id,
            create_missing=create_missing,
            dry_run=dry_run,
            prices=prices,
        )

    def seed_events(
        self,
        data: SeedData,
        *,
        seed_config: SeedConfig | None = None,
        batch_size: int = 10,
        import_id: str | None = None,
        create_missing: bool = True,
    ) -> Iterator[SeedEvent]:
        """Import conversations like `seed`, and yield what happens as it happens.

        Closing the iterator (`contextlib.aclosing`) stops the import; what it did so far stays.
        A caller that is slow to take the events slows the import down.
        """
        yield from self._background.iterate(
            self._wrapped.seed_events(
                data,
                seed_config=seed_config,
                batch_size=batch_size,
                import_id=import_id,
                create_missing=create_missing,
            )
        )

    def batch_create(
        self,
        documents: Sequence[SeedDocument | Mapping[str, Any]],
        *,
        fail_fast: bool = False,
        org_id: str | None = None,
        import_id: str | None = None,
        create_missing: bool = True,
    ) -> list[DocumentResult]:
        """Remember documents and single turns of conversations, at their own dates.

        Doing it again is free: a document that is stored like this is a duplicate, one with
        another text is updated. What an earlier call left is finished.

        Args:
            documents: At most 100, as `SeedDocument` or mappings with its fields.
            fail_fast: Stop at the first failure; what comes after it is skipped.
            org_id: Organization of documents without `customer_id`; None: `default`.
            import_id: Name of the import, so that several calls for one user are one; None: a new
                one for each user.
            create_missing: Create organizations and users where they are missing.

        Returns:
            One result per document, in their order; a document that fails stops no other.

        Raises:
            InvalidInputError: An argument is malformed, there are more than 100 documents, or there
                is an import id for documents of several users; nothing was stored.
        """
        return self._background.run(
            self._wrapped.batch_create(
                documents,
                fail_fast=fail_fast,
                org_id=org_id,
                import_id=import_id,
                create_missing=create_missing,
            )
        )

    def list_imports(
        self, org_id: str, user_id: str | None = None, *, skip: int = 0, limit: int = 1000
    ) -> list[ImportRun]:
        """Return imports with their counts, the one that began last first.

        Args:
            org_id: The organization.
            user_id: Only imports for this user.
            skip: Leave out the first ones.
            limit: At most that many, 1 to 1000.

        Raises:
            InvalidInputError: An argument is malformed.
            OrganizationNotFoundError, UserNotFoundError: They are not there.
        """
        return self._background.run(
            self._wrapped.list_imports(org_id, user_id, skip=skip, limit=limit)
        )

    def undo_import(self, org_id: str, import_id: str, *, dry_run: bool = False) -> ImportUndo:
        """Take back all that an import wrote, as if it had never been made.

        Its conversations go, with messages, memories, vectors, jobs and idempotency keys; what
        they had superseded is current again; a conversation that it only updated is as before. What
        others state or continued since stays with them. There is no tombstone: the same
        conversations can be imported again, under another id. The import itself stays listed, as
        `undone`. A repetition finishes what was interrupted; one that is done changes nothing.

        Args:
            org_id: The organization.
            import_id: The import.
            dry_run: Tell what would be done, and write nothing.

        Raises:
            InvalidInputError: An argument is malformed.
            ImportNotFoundError: There is no such import in the organization.
            ConflictError: It is running in this engine.
        """
        return self._background.run(self._wrapped.undo_import(org_id, import_id, dry_run=dry_run))

    def list_jobs(
        self,
        org_id: str,
        *,
        user_id: str | None = None,
        statuses: Sequence[JobStatus | str] = (
            JobStatus.PENDING,
            JobStatus.RUNNING,
            JobStatus.FAILED,
        ),
        skip: int = 0,
        limit: int = 1000,
    ) -> list[ExtractionJob]:
        """Return extraction jobs, oldest first; by default those that are not done.

        Raises:
            OrganizationNotFoundError: There is no such organization.
            InvalidInputError: A status is unknown.
        """
        return self._background.run(
            self._wrapped.list_jobs(
                org_id, user_id=user_id, statuses=statuses, skip=skip, limit=limit
            )
        )

    def resume_job(self, org_id: str, job_id: str) -> bool:
        """Finish an extraction that failed; stages that were paid for are not paid again.

        Returns:
            False when there was nothing to do: it is done, or somebody else is at it.

        Raises:
            JobNotFoundError: There is no such job in the organization.
            ExtractionError: It failed again.
        """
        return self._background.run(self._wrapped.resume_job(org_id, job_id))

    def drain_outbox(self) -> DrainReport:
        """Bring the vector store up to date with the graph; a failing one is reported.

        Counts of usage that wait are written too.
        """
        return self._background.run(self._wrapped.drain_outbox())

    def erase_user(self, org_id: str, user_id: str) -> ErasureReceipt:
        """Erase a user with everything that belongs to it, and look whether anything is left.

        Repeating the call finishes an erasure that was interrupted, or that had to leave the
        vectors for later; of a user that is gone already it counts nothing.

        Raises:
            GraphDBError: The graph store failed; repeat the call.
        """
        return self._background.run(self._wrapped.erase_user(org_id, user_id))

    def erase_organization(self, org_id: str) -> ErasureReceipt:
        """Erase an organization with all its users and agents; see `erase_user`."""
        return self._background.run(self._wrapped.erase_organization(org_id))

    def doctor(self) -> doctoring.Diagnosis:
        """Check the invariants of both stores, read-only; also of a store that `setup` refuses."""
        return self._background.run(self._wrapped.doctor())

    def reconcile(
        self, *, apply: bool = False, on_progress: reconciling.Progress | None = None
    ) -> reconciling.Reconciliation:
        """Say what would repair the findings of `doctor`, or repair them; see `ops.reconcile`.

        Args:
            apply: Repair, deleting nothing that cannot be made again; else nothing is changed.
            on_progress: Called with the numbers of repairs tried and known so far.
        """
        return self._background.run(self._wrapped.reconcile(apply=apply, on_progress=on_progress))

    def reindex(
        self,
        on_progress: reindexing.Progress | None = None,
        *,
        embedder: BaseEmbedder | str | None = None,
    ) -> int:
        """Make all vectors again from the graph, also by another model; no language model is asked.

        Recalls are answered by the old vectors until all new ones are there; whatever ends this
        early leaves them in use. For a store of another embedder, set up the graph alone before.

        Args:
            on_progress: Called with the number of memories done so far.
            embedder: The new model, or its name; None: the engine's own.

        Returns:
            How many memories were indexed.

        Raises:
            RebuildRunningError: Another reindex of this store is running.
            EmbeddingError: The model failed.
            VectorDBError: The vector store failed.
        """
        return self._background.run(self._wrapped.reindex(on_progress, embedder=embedder))

    def export_to(
        self,
        path: str | Path,
        *,
        org_id: str | None = None,
        on_progress: exporting.Progress | None = None,
    ) -> exporting.ExportReport:
        """Write everything but the vectors into one file, which any pair of stores can import.

        Args:
            path: The file; one that is there is replaced, when the new one is complete.
            org_id: Only this organization.
            on_progress: Called with the number of records written so far.

        Raises:
            OrganizationNotFoundError: There is no such organization.
            TransferError: The file cannot be written; nothing of it is left.
        """
        return self._background.run(
            self._wrapped.export_to(path, org_id=org_id, on_progress=on_progress)
        )

    def import_from(
        self, path: str | Path, *, on_progress: exporting.Progress | None = None
    ) -> importing.ImportReport:
        """Read the file of an export into this store, and make the vectors.

        All of it is checked before anything is written. An import that was interrupted is
        finished by the same call; one that is complete changes nothing.

        Args:
            path: The file.
            on_progress: Called with the number of records written so far.

        Raises:
            InvalidInputError: A line is malformed, not in its place, or contradicts itself.
            SchemaVersionError: The file is of a newer memora.
            ConflictError: An organization of the file exists and did not come from it.
            TransferError: The file cannot be read.
        """
        return self._background.run(self._wrapped.import_from(path, on_progress=on_progress))

    def backup(self, directory: str | Path) -> backing_up.BackupReport:
        """Copy the stores into a directory, while they go on being used.

        Args:
            directory: A new or empty one; it has its name only when it is complete.

        Raises:
            TransferError: It is not empty, or cannot be written; nothing is left.
        """
        return self._background.run(self._wrapped.backup(directory))

    def restore(self, directory: str | Path) -> backing_up.RestoreReport:
        """Fill this store, which must be empty, from a backup, and check it.

        Args:
            directory: The backup.

        Raises:
            TransferError: The backup is damaged, or of another kind of store.
            ConflictError: The store is not empty.
            SchemaVersionError: The backup is newer than this memora.
        """
        return self._background.run(self._wrapped.restore(directory))

    def rotate_key(
        self,
        new_key: str | SecretStr | None,
        *,
        reencrypt: bool = False,
        on_progress: RekeyProgress | None = None,
    ) -> int:
        """Change the key of the embedded store, encrypt a plain one, or decrypt it for good.

        Another key takes effect at once and for all rows, in one transaction: it only wraps the
        store's own key. Encrypting a plain store, its decryption and `reencrypt` go through all
        rows while reading and writing go on; when that was interrupted, the same call goes on with
        it. Old backups keep the old key.

        Args:
            new_key: Opens the store from now on; None: it is plain again.
            reencrypt: Renew the store's own key too, for when the old one may be known together
                with a copy of the store.
            on_progress: Called with the number of rows done so far.

        Returns:
            How many rows were gone through; 0 when only the key changed.

        Raises:
            InvalidInputError: The key is malformed, or the graph is on a server.
            GraphDBError: A value cannot be decrypted; the old key stays valid.
        """
        return self._background.run(
            self._wrapped.rotate_key(new_key, reencrypt=reencrypt, on_progress=on_progress)
        )
