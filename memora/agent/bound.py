"""A handle on one user: the same verbs, the scope filled in."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from memora.agent.inputs import item_of
from memora.agent.ports import create_owner
from memora.schema.direct import (
    DeleteReceipt,
    MemoryHealth,
    MemoryReceipt,
    QueryResult,
    SavePreview,
    SweepReceipt,
)
from memora.schema.erasure import ErasureReceipt
from memora.schema.models import Interaction, Memory
from memora.schema.recall import MemoryFilters
from memora.schema.scope import Scope
from memora.schema.sources import RollbackReceipt
from memora.schema.validation import checked_list

if TYPE_CHECKING:
    from memora.agent.main import Memora


class BoundMemora:
    """What `Memora.for_user` returns; each method is the one of `Memora` with that name.

    Attributes:
        scope: Organization, user and agent of every call.
    """

    def __init__(self, memora: Memora, scope: Scope, *, create: bool) -> None:
        self._memora = memora
        self.scope = scope
        self._missing = create
        self._creating = asyncio.Lock()

    async def ensure(self) -> None:
        """Create what is missing of organization, user and agent, if the handle may; once."""
        if not self._missing:
            return
        async with self._creating:
            await create_owner(self._memora.graph, self.scope)
            self._missing = False

    async def save(
        self,
        interaction: Sequence[Mapping[str, Any]],
        interaction_id: str | None = None,
        current_datetime: datetime | None = None,
        *,
        external_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> tuple[str, datetime]:
        """Store a conversation; short form of `save_or_update_interaction_and_memories`."""
        return await self.save_or_update_interaction_and_memories(
            interaction,
            interaction_id,
            current_datetime,
            external_id=external_id,
            idempotency_key=idempotency_key,
        )

    async def save_or_update_interaction_and_memories(
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
        await self.ensure()
        return await self._memora.save_or_update_interaction_and_memories(
            self.scope.org_id,
            self.scope.user_id,
            self.scope.agent_id,
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

    async def preview_save(
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
        await self.ensure()
        return await self._memora.preview_save(
            self.scope.org_id,
            self.scope.user_id,
            self.scope.agent_id,
            interaction,
            interaction_id,
            current_datetime,
            extract_agent_memories=extract_agent_memories,
            update_across_agents=update_across_agents,
            max_retries=max_retries,
        )

    async def recall(
        self,
        latest_msg: str,
        *,
        limit: int | None = None,
        filters: MemoryFilters | Mapping[str, Any] | None = None,
        as_of: datetime | None = None,
    ) -> list[Memory]:
        """Recall for a message and return only the memories; short form of the next one."""
        memories, _ids = await self.recall_memories_for_message(
            latest_msg, limit=limit, filters=filters, as_of=as_of
        )
        return memories

    async def recall_memories_for_message(
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
    ) -> tuple[list[Memory], list[str]]:
        """Recall the memories that matter for a message, best first."""
        await self.ensure()
        return await self._memora.recall_memories_for_message(
            self.scope.org_id,
            self.scope.user_id,
            latest_msg,
            self.scope.agent_id,
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
        )

    async def search_memories_as_one(
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
    ) -> list[Memory]:
        """Search with several queries and return one list, best first."""
        await self.ensure()
        return await self._memora.search_memories_as_one(
            self.scope.org_id,
            self.scope.user_id,
            search_queries,
            filter_out_memory_ids_set,
            self.scope.agent_id,
            search_across_agents,
            limit=limit,
            filters=filters,
            as_of=as_of,
            min_similarity=min_similarity,
            explain=explain,
        )

    async def search_memories_as_batch(
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
    ) -> list[list[Memory]]:
        """Search with several queries and return one list for each."""
        await self.ensure()
        return await self._memora.search_memories_as_batch(
            self.scope.org_id,
            search_queries,
            filter_out_memory_ids_set,
            self.scope.user_id,
            self.scope.agent_id,
            search_across_agents=search_across_agents,
            limit=limit,
            filters=filters,
            as_of=as_of,
            min_similarity=min_similarity,
            explain=explain,
        )

    async def build_context(
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
        await self.ensure()
        return await self._memora.build_context(
            self.scope.org_id,
            self.scope.user_id,
            message,
            agent_id=self.scope.agent_id,
            limit=limit,
            filters=filters,
            always=always,
            token_budget=token_budget,
            current_datetime=current_datetime,
        )

    async def add_memory(
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
        await self.ensure()
        return await self._memora.add_memory(
            self.scope.org_id,
            self.scope.user_id,
            content,
            agent_id=self.scope.agent_id,
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
            create_missing=False,
        )

    async def add_memories(self, items: Sequence[str | Mapping[str, Any]]) -> list[MemoryReceipt]:
        """Remember many texts of this user; one receipt per item, in order.

        Args:
            items: Texts, or mappings with the arguments of `add_memory`.
        """
        await self.ensure()
        return await self._memora.add_memories(
            self.scope.org_id,
            [
                item_of(item, f"items[{number}]", self.scope)
                for number, item in enumerate(checked_list(items, "items", "a list of items"))
            ],
            create_missing=False,
        )

    async def query_memories(
        self,
        query: str,
        *,
        limit: int = 3,
        interaction_id: str | None = None,
        filters: MemoryFilters | Mapping[str, Any] | None = None,
        min_similarity: float | None = None,
    ) -> QueryResult:
        """Return the memories that answer a question, with a summary of them."""
        await self.ensure()
        return await self._memora.query_memories(
            self.scope.org_id,
            self.scope.user_id,
            query,
            limit=limit,
            interaction_id=interaction_id,
            filters=filters,
            min_similarity=min_similarity,
        )

    async def list_memories(
        self,
        *,
        filters: MemoryFilters | Mapping[str, Any] | None = None,
        after: Memory | tuple[datetime, str] | None = None,
        skip: int = 0,
        limit: int = 1000,
    ) -> list[Memory]:
        """Return the user's current memories (with an agent: what it obtained), newest first."""
        await self.ensure()
        return await self._memora.list_memories(
            self.scope.org_id,
            self.scope.user_id,
            agent_id=self.scope.agent_id,
            filters=filters,
            after=after,
            skip=skip,
            limit=limit,
        )

    async def memory_health(self, *, sample: int = 64) -> MemoryHealth:
        """Return how the user's memories are."""
        await self.ensure()
        return await self._memora.memory_health(
            self.scope.org_id, self.scope.user_id, sample=sample
        )

    async def sweep(self, *, dry_run: bool = False, batch_size: int = 500) -> SweepReceipt:
        """Remove the user's expired memories, and archive what nothing used for long."""
        await self.ensure()
        return await self._memora.sweep(
            self.scope.org_id, self.scope.user_id, dry_run=dry_run, batch_size=batch_size
        )

    async def update_memory(
        self, memory_id: str, content: str, *, author: str | None = None
    ) -> Memory:
        """Give a statement a new text, as a new version."""
        return await self._memora.update_memory(
            self.scope.org_id, self.scope.user_id, memory_id, content, author=author
        )

    async def revert_memory(self, memory_id: str, *, author: str | None = None) -> Memory:
        """Make the text of one version current again."""
        return await self._memora.revert_memory(
            self.scope.org_id, self.scope.user_id, memory_id, author=author
        )

    async def retract_memory(self, memory_id: str, *, at: datetime | None = None) -> Memory:
        """End a statement; its history stays."""
        return await self._memora.retract_memory(
            self.scope.org_id, self.scope.user_id, memory_id, at=at
        )

    async def delete_memory(self, memory_id: str) -> DeleteReceipt:
        """Purge one version."""
        return await self._memora.delete_memory(self.scope.org_id, self.scope.user_id, memory_id)

    async def erase_user(self) -> ErasureReceipt:
        """Erase this user with everything, from all agents, and look whether anything is left."""
        return await self._memora.erase_user(self.scope.org_id, self.scope.user_id)

    async def memory_history(self, memory_id: str) -> list[Memory]:
        """Return all versions of a statement, newest first."""
        return await self._memora.memory_history(self.scope.org_id, self.scope.user_id, memory_id)

    async def memories_by_source(
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
        return await self._memora.memories_by_source(
            self.scope.org_id,
            self.scope.user_id,
            interaction_id=interaction_id,
            agent_id=agent_id,
            import_id=import_id,
            process_id=process_id,
            current_only=current_only,
            skip=skip,
            limit=limit,
        )

    async def rollback_source(
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
        return await self._memora.rollback_source(
            self.scope.org_id,
            self.scope.user_id,
            interaction_id=interaction_id,
            agent_id=agent_id,
            import_id=import_id,
            process_id=process_id,
            author=author,
            dry_run=dry_run,
        )

    async def memories(self, skip: int = 0, limit: int = 1000) -> list[Memory]:
        """Return the user's current memories, newest first."""
        await self.ensure()
        return await self._memora.graph.get_all_user_memories(
            self.scope.org_id, self.scope.user_id, self.scope.agent_id, skip, limit
        )

    async def interaction(self, interaction_id: str) -> Interaction:
        """Return an interaction with messages and memories."""
        return await self._memora.graph.get_interaction(
            self.scope.org_id, self.scope.user_id, interaction_id
        )
