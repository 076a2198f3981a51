"""Memories that an application adds, asks for and forgets by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from memora.agent import adding, context, health, listing, recall, sweeping
from memora.agent.inputs import add_request, checked_items, place_after, search_of
from memora.agent.verbs.base import Verbs
from memora.schema.direct import MemoryHealth, MemoryReceipt, QueryResult, SweepReceipt
from memora.schema.models import Memory
from memora.schema.recall import MemoryFilters
from memora.schema.scope import OrganizationScope, Scope, SearchScope, search_scope
from memora.schema.times import optional_time
from memora.schema.validation import (
    PAGE,
    checked_bool,
    checked_id,
    checked_int,
    checked_optional_id,
    checked_page,
    checked_text,
)


class DirectVerbs(Verbs):
    """Direct memories, and control over forgetting."""

    async def add_memory(
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
        fields: dict[str, Any] = {
            "user_id": user_id,
            "content": content,
            "agent_id": agent_id,
            "interaction_id": interaction_id,
            "memory_type": memory_type,
            "importance": importance,
            "tags": tags,
            "entities": entities,
            "metadata": metadata,
            "obtained_at": optional_time(obtained_at, "obtained_at"),
            "expires_at": optional_time(expires_at, "expires_at"),
            "pinned": pinned,
            "idempotency_key": idempotency_key,
        }
        request = add_request(
            org_id,
            fields,
            create_missing=checked_bool(create_missing, "create_missing"),
            threshold=await self._threshold(),
        )
        return await adding.add(self._ports, request)

    async def add_memories(
        self,
        org_id: str,
        items: Sequence[Mapping[str, Any]],
        *,
        create_missing: bool = True,
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
        create = checked_bool(create_missing, "create_missing")
        threshold = await self._threshold()
        requests = [
            add_request(
                checked_id(org_id, "org_id"),
                item,
                f"items[{number}].",
                create_missing=create,
                threshold=threshold,
            )
            for number, item in enumerate(checked_items(items))
        ]
        return await adding.add_all(self._ports, requests)

    async def query_memories(
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
        scope = Scope(org_id, user_id)
        text = checked_text(query, "query")
        search = search_of(
            self._defaults,
            search_scope("user", org_id, user_id, None),
            (),
            (),
            limit=limit,
            filters=await self._within(scope, interaction_id, MemoryFilters.parse(filters)),
            as_of=None,
            min_similarity=min_similarity,
            explain=False,
        )
        now = self._ports.graph.clock.now()
        request = recall.RecallRequest(scope, search, text, (), now)
        memories = list((await recall.recall(self._ports, request)).memories)
        self._usage.note(memories)
        summary = await context.summarise(self._ports.search_model, text, memories, now)
        return QueryResult(memories=memories, context_summary=summary, query=query)

    async def list_memories(
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
        skip, limit = checked_page(skip, limit)
        scope = _owner(org_id, user_id, agent_id)
        request = listing.ListRequest(
            scope, MemoryFilters.parse(filters), place_after(after), skip, limit
        )
        await self._check_owner(org_id, user_id, agent_id)
        return await listing.list_memories(self._ports, request)

    async def memory_health(
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
        scope = _owner(org_id, user_id, None)
        sample = checked_int(sample, "sample", 0, PAGE)
        await self._check_owner(org_id, user_id, None)
        threshold = await self._threshold()
        return await health.memory_health(self._ports, scope, sample=sample, threshold=threshold)

    async def sweep(
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
        if org_id is None:
            # A user without an organization is no scope at all, let alone all users.
            scope = None if user_id is None else Scope(checked_id(org_id, "org_id"), user_id)
        else:
            scope = _owner(org_id, user_id, None)
            await self._check_owner(org_id, user_id, None)
        dry_run = checked_bool(dry_run, "dry_run")
        batch_size = checked_int(batch_size, "batch_size", 1, PAGE)
        await self._usage.flush()
        return await sweeping.sweep(self._ports, scope, batch_size=batch_size, dry_run=dry_run)

    async def _within(
        self, scope: Scope, interaction_id: str | None, filters: MemoryFilters
    ) -> MemoryFilters:
        """Return filters that also ask for an interaction, by memora's own id of it."""
        if interaction_id is None:
            return filters
        found = await self._ports.graph.get_interaction(
            scope.org_id, scope.user_id, interaction_id, with_messages=False, with_memories=False
        )
        own = found.interaction_id
        if filters.interaction_ids and own not in filters.interaction_ids:
            return filters.model_copy(update={"interaction_ids": ("",)})
        return filters.model_copy(update={"interaction_ids": (own,)})

    async def _threshold(self) -> float:
        stamp = await self._ports.vector.stamp()
        return self._defaults.threshold_of(None if stamp is None else stamp.model_id)


def _owner(org_id: str, user_id: str | None, agent_id: str | None) -> SearchScope:
    if checked_optional_id(user_id, "user_id") is None:
        return OrganizationScope(org_id, agent_id)
    return Scope(org_id, user_id or "", agent_id)
