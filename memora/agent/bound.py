"""A handle on one user: the same verbs, the scope filled in."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from memora.schema.direct import DeleteReceipt, SavePreview
from memora.schema.entities import Entity, EntityMemories
from memora.schema.erasure import ErasureReceipt
from memora.schema.models import Interaction, Memory
from memora.schema.ranking import RankingConfig
from memora.schema.recall import MemoryFilters
from memora.schema.scope import Scope, SearchScope
from memora.schema.sources import RollbackReceipt

if TYPE_CHECKING:
    from memora.agent.main import Memora


@dataclass(eq=False)
class Creation:
    """Whether a handle may create what is missing of its scope."""

    scope: Scope
    allowed: bool


class Creations:
    """Those of all handles in use, which an erasure takes the permission from.

    Handles are also made in the threads of synchronous callers.
    """

    def __init__(self) -> None:
        self._creations: WeakSet[Creation] = WeakSet()
        self._adding = threading.Lock()

    def add(self, scope: Scope, *, allowed: bool) -> Creation:
        """Return one more, known as long as somebody has it."""
        creation = Creation(scope, allowed)
        with self._adding:
            self._creations.add(creation)
        return creation

    def forbid(self, erased: SearchScope) -> None:
        """Keep the handles that are there from creating these users again."""
        with self._adding:
            known = list(self._creations)
        for creation in known:
            if erased.admits(creation.scope.org_id, creation.scope.user_id, None):
                creation.allowed = False


class BoundMemora:
    """What `Memora.for_user` returns; each method is the one of `Memora` with that name.

    Attributes:
        scope: Organization, user and agent of every call.
    """

    def __init__(self, memora: Memora, creation: Creation) -> None:
        self._memora = memora
        self.scope = creation.scope
        self._creation = creation
        self._creating = asyncio.Lock()

    async def ensure(self) -> None:
        """Create what is missing of organization, user and agent, if the handle may; once.

        A handle of before an erasure may not: who passes a conversation whole each time would
        bring back with one more turn all that was erased.
        """
        if not self._creation.allowed:
            return
        async with self._creating:
            graph, scope = self._memora.graph, self.scope
            org_id, user_id, agent_id = scope.org_id, scope.user_id, scope.agent_id
            if await self._lacks(graph.find_organization(org_id)):
                await graph.create_organization(org_id, org_id=org_id)
            if await self._lacks(graph.find_user(scope)):
                await graph.create_user(org_id, user_id, user_id=user_id)
            if agent_id is not None and await self._lacks(graph.find_agent(org_id, agent_id)):
                await graph.create_agent(org_id, agent_id, agent_id=agent_id)
            self._creation.allowed = False

    async def _lacks(self, found: Awaitable[object | None]) -> bool:
        # In this order: an erasure may come while it is looked for.
        return await found is None and self._creation.allowed

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
        ranking: RankingConfig | Mapping[str, Any] | None = None,
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
            ranking=ranking,
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
        ranking: RankingConfig | Mapping[str, Any] | None = None,
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
            ranking=ranking,
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
        ranking: RankingConfig | Mapping[str, Any] | None = None,
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
            ranking=ranking,
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

    async def list_entities(self, *, skip: int = 0, limit: int = 100) -> list[Entity]:
        """Return what current memories mention, most mentioned first."""
        await self.ensure()
        return await self._memora.list_entities(
            self.scope.org_id, self.scope.user_id, skip=skip, limit=limit
        )

    async def entity_memories(self, entity: str, *, limit: int = 100) -> EntityMemories:
        """Return what is known about somebody or something."""
        await self.ensure()
        return await self._memora.entity_memories(
            self.scope.org_id, self.scope.user_id, entity, limit=limit
        )

    async def merge_entities(self, entity: str, into: str) -> Entity:
        """Say that two entities are one."""
        return await self._memora.merge_entities(
            self.scope.org_id, self.scope.user_id, entity, into
        )

    async def split_entity(self, entity: str, names: Sequence[str]) -> Entity:
        """Say that some names of an entity are somebody or something else."""
        return await self._memora.split_entity(self.scope.org_id, self.scope.user_id, entity, names)

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
