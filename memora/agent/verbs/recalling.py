"""Recalling, searching, and memories as text for a prompt."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from memora.agent import (
    context,
    recall,
    search_queries,
)
from memora.agent.inputs import checked_memories, optional_int, search_of, seconds
from memora.agent.verbs.base import Verbs
from memora.core.lifetimes import unexpired
from memora.schema.models import Memory
from memora.schema.ranking import RankingConfig
from memora.schema.recall import MemoryFilters
from memora.schema.scope import (
    MemorySearchScope,
    Scope,
    search_scope,
)
from memora.schema.times import checked_time
from memora.schema.validation import (
    checked_bool,
    checked_labels,
    checked_list,
    checked_text,
)


class RecallVerbs(Verbs):
    """What is known that matters for a message."""

    async def recall_memories_for_message(
        self,
        org_id: str,
        user_id: str,
        latest_msg: str,
        agent_id: str | None = None,
        preceding_msg_for_context: Sequence[Mapping[str, Any]] = (),
        current_datetime: datetime | None = None,
        filter_out_memory_ids_set: Collection[str] = frozenset(),
        search_memories_across_agents: bool = True,  # noqa: FBT001, FBT002 - as in memora 0.3
        enable_final_model_based_memory_filter: bool = False,  # noqa: FBT001, FBT002 - as above
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
        now = self._ports.graph.clock.now()
        search = search_of(
            self._defaults,
            search_scope(
                "user", org_id, user_id, agent_id, across_agents=search_memories_across_agents
            ),
            (),
            filter_out_memory_ids_set,
            limit=limit,
            filters=filters,
            as_of=as_of,
            min_similarity=min_similarity,
            explain=explain,
            ranking=ranking,
        )
        request = recall.RecallRequest(
            scope=Scope(org_id, user_id, agent_id),
            search=search,
            message=checked_text(latest_msg, "latest_msg"),
            preceding=preceding_msg_for_context,
            now=now
            if current_datetime is None
            else checked_time(current_datetime, "current_datetime"),
            use_filter_model=checked_bool(
                enable_final_model_based_memory_filter, "enable_final_model_based_memory_filter"
            ),
            always=checked_labels(always, "always"),
            token_budget=optional_int(token_budget, "token_budget", 10_000_000),
            deadline=seconds(deadline_ms),
            rerank_candidates=self._defaults.rerank_candidates,
        )
        async with self._lane.live():
            result = await recall.recall(self._ports, request)
        if search.as_of is None:
            self._usage.note(result.memories)
        return list(result.memories), [memory.memory_id for memory in result.memories]

    async def search_memories_as_one(
        self,
        org_id: str,
        user_id: str,
        search_queries: Sequence[str],
        filter_out_memory_ids_set: Collection[str] = frozenset(),
        agent_id: str | None = None,
        search_across_agents: bool = True,  # noqa: FBT001, FBT002 - signature of memora 0.3
        *,
        limit: int | None = None,
        filters: MemoryFilters | Mapping[str, Any] | None = None,
        as_of: datetime | None = None,
        min_similarity: float | None = None,
        explain: bool = False,
        ranking: RankingConfig | Mapping[str, Any] | None = None,
    ) -> list[Memory]:
        """Search with several queries and return one list, best first; see the batch form."""
        scope = search_scope("user", org_id, user_id, agent_id, across_agents=search_across_agents)
        search = search_of(
            self._defaults,
            scope,
            search_queries,
            filter_out_memory_ids_set,
            limit=limit,
            filters=filters,
            as_of=as_of,
            min_similarity=min_similarity,
            explain=explain,
            ranking=ranking,
        )
        await self._check_owner(org_id, user_id, agent_id)
        async with self._lane.live():
            found = await recall.find(self._ports, search) if search.queries else []
        if search.as_of is None:
            self._usage.note(found)
        return found

    async def search_memories_as_batch(
        self,
        org_id: str,
        search_queries: Sequence[str],
        filter_out_memory_ids_set: Collection[str] = frozenset(),
        user_id: str | None = None,
        agent_id: str | None = None,
        memory_search_scope: MemorySearchScope | str = MemorySearchScope.USER,
        search_across_agents: bool = True,  # noqa: FBT001, FBT002 - signature of memora 0.3
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
        scope = search_scope(
            memory_search_scope, org_id, user_id, agent_id, across_agents=search_across_agents
        )
        search = search_of(
            self._defaults,
            scope,
            search_queries,
            filter_out_memory_ids_set,
            limit=limit,
            filters=filters,
            as_of=as_of,
            min_similarity=min_similarity,
            explain=explain,
            ranking=ranking,
        )
        await self._check_owner(
            org_id, scope.user_id if isinstance(scope, Scope) else None, agent_id
        )
        async with self._lane.live():
            answers = await recall.find_batch(self._ports, search)
        if isinstance(scope, Scope) and search.as_of is None:
            self._usage.note({m.memory_id: m for found in answers for m in found}.values())
        return answers

    async def generate_memory_search_queries(
        self,
        message: str,
        preceding_messages_for_context: Sequence[Mapping[str, Any]] = (),
        current_datetime: datetime | None = None,
    ) -> list[str]:
        """Return the queries that a recall for this message would search with.

        Raises:
            InvalidInputError: An argument is malformed.
        """
        queries = await search_queries.for_message(
            self._ports.search_model,
            checked_text(message, "message"),
            search_queries.preceding_texts(preceding_messages_for_context),
            self._time(current_datetime),
        )
        return list(queries)

    async def filter_retrieved_memories_with_model(
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
        text = checked_text(message, "message")
        memories = checked_memories(retrieved_memories, "retrieved_memories")
        used = [
            checked_text(query, f"search_queries_used[{i}]")
            for i, query in enumerate(
                checked_list(search_queries_used, "search_queries_used", "a list of texts")
            )
        ]
        now = self._time(current_datetime)
        if self._ports.search_model is None:
            return memories
        return await search_queries.select(self._ports.search_model, text, used, memories, now)

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
        budget = optional_int(token_budget, "token_budget", 10_000_000)
        at = self._ports.graph.clock.now() if as_of is None else checked_time(as_of, "as_of")
        given = unexpired(checked_memories(memories, "memories"), at)
        return context.format_memories(
            given,
            token_budget=budget,
            newest_last=newest_last,
            always=checked_labels(always, "always"),
        )

    async def build_context(
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
        memories, _ids = await self.recall_memories_for_message(
            org_id,
            user_id,
            message,
            agent_id,
            current_datetime=current_datetime,
            limit=limit,
            filters=filters,
            always=always,
            token_budget=token_budget,
        )
        return await context.summarise(
            self._ports.search_model, message, memories, self._time(current_datetime)
        )
