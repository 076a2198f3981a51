"""The facade: one engine over a graph store, a vector store, and up to two models."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pydantic import SecretStr

from memora._logging import enable_console
from memora.agent import (
    context,
    direct,
    jobs,
    preview,
    recall,
    reindex,
    save,
    search_queries,
    sources,
)
from memora.agent.bound import BoundMemora, Creations
from memora.agent.inputs import Defaults, Transcripts, save_request, search_of
from memora.agent.ports import Ports
from memora.errors import InvalidInputError, MemoraError
from memora.graph_db.base import BaseGraphDB, RekeyProgress
from memora.graph_db.outbox import DrainReport
from memora.llm_backends.base import BaseBackendLLM
from memora.ops import backup as backing_up
from memora.ops import doctor as doctoring
from memora.ops import erase as erasing
from memora.ops import export as exporting
from memora.ops import importing
from memora.ops import reconcile as reconciling
from memora.ops import reindex as reindexing
from memora.schema.direct import DeleteReceipt, SavePreview
from memora.schema.erasure import ErasureReceipt
from memora.schema.jobs import ExtractionJob, JobStatus
from memora.schema.models import Memory
from memora.schema.recall import MemoryFilters
from memora.schema.scope import (
    MemorySearchScope,
    OrganizationScope,
    Scope,
    SearchScope,
    search_scope,
)
from memora.schema.sources import RollbackReceipt, SourceSelector
from memora.schema.times import checked_time
from memora.schema.validation import (
    checked_bool,
    checked_id,
    checked_int,
    checked_labels,
    checked_list,
    checked_name,
    checked_optional_id,
    checked_page,
    checked_text,
)
from memora.vector_db.base import BaseVectorDB

if TYPE_CHECKING:
    from memora.config import Settings
    from memora.embeddings.base import BaseEmbedder


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
        embedder_named: Makes the embedder of a name for `reindex`; engines that were made with
            `embedded` or `from_settings` know all names.

    Example:
        ```python
        async with Memora.embedded("./memory") as memora:
            org = await memora.graph.create_organization("My Organization")
            user = await memora.graph.create_user(org.org_id, "Jake")
            await memora.save_or_update_interaction_and_memories(
                org.org_id,
                user.user_id,
                interaction=[{"role": "user", "content": "I am allergic to peanuts."}],
            )
            memories, ids = await memora.recall_memories_for_message(
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
        enable_logging: bool = False,  # noqa: FBT001, FBT002 - signature of memora 0.3
        *,
        recall_limit: int = 12,
        min_similarity: float | None = None,
        embedder_named: Callable[[str], BaseEmbedder] | None = None,
    ) -> None:
        if enable_logging:
            enable_console()
        graph = graph_db.with_vector_db(vector_db)
        self._ports = Ports(graph, vector_db, memory_search_model, extraction_model)
        self._defaults = Defaults(recall_limit, min_similarity)
        self._transcripts = Transcripts()
        self._creations = Creations()
        self._embedder_named = embedder_named

    @classmethod
    def embedded(
        cls,
        path: str | Path | None = None,
        *,
        memory_search_model: BaseBackendLLM | str | None = None,
        extraction_model: BaseBackendLLM | str | None = None,
        embedder: BaseEmbedder | str | None = None,
        enable_logging: bool = False,
        encryption_key: str | SecretStr | None = None,
    ) -> Self:
        """Return an engine on one directory, without server or key; use it with `async with`.

        Args:
            path: Directory, created on first use; None: the platform's data directory.
            memory_search_model: Fast model, or `provider:model`.
            extraction_model: Strong model, or `provider:model`.
            embedder: Embedder, or its name; None: the offline default.
            enable_logging: Show memora's log on the console.
            encryption_key: Encrypts stored text: 32 bytes in base64, see
                `memora.encryption.new_key`; None: a plain store.
        """
        from memora import bootstrap  # noqa: PLC0415 - the one allowed upward call

        return bootstrap.embedded(
            cls,
            path,
            memory_search_model,
            extraction_model,
            embedder,
            enable_logging,
            encryption_key,
        )

    @classmethod
    def from_settings(cls, settings: Settings | Mapping[str, Any] | None = None) -> Self:
        """Return an engine as the settings say; None: those of the environment.

        Raises:
            InvalidInputError: A setting is unknown or malformed.
        """
        from memora import bootstrap  # noqa: PLC0415 - the one allowed upward call

        return bootstrap.from_settings(cls, settings)

    async def __aenter__(self) -> Self:
        try:
            await self.setup()
        except BaseException:
            # What went wrong is what the caller must see, not that closing failed after it.
            with suppress(MemoraError):
                await self.close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def graph(self) -> BaseGraphDB:
        """The graph store: organizations, users, agents, interactions, memories."""
        return self._ports.graph

    @property
    def vector_db(self) -> BaseVectorDB:
        """The vector store."""
        return self._ports.vector

    async def setup(self) -> None:
        """Prepare both stores and work off what an earlier process left; call it at any time.

        Raises:
            SchemaVersionError: A store was written by another version of memora.
            StoreLockedError: Another process owns the embedded store.
            EncryptionKeyError: It is encrypted and the key is missing or another one, or it is
                plain and there is a key.
            GraphDBConnectionError: The graph server cannot be reached.
            VectorDBConnectionError: The vector server cannot be reached.
        """
        await self._ports.graph.setup()
        await self._ports.vector.setup()
        await self.drain_outbox()

    async def close(self) -> None:
        """Close stores and models; each closes what it opened itself. Again does nothing."""
        async with AsyncExitStack() as stack:
            for model in (self._ports.search_model, self._ports.extraction_model):
                if model is not None:
                    stack.push_async_callback(model.close)
            stack.push_async_callback(self._ports.vector.close)
            stack.push_async_callback(self._ports.graph.close)

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
        scope = Scope(org_id, user_id, agent_id)
        return BoundMemora(self, self._creations.add(scope, allowed=create))

    async def save_or_update_interaction_and_memories(
        self,
        org_id: str,
        user_id: str,
        agent_id: str | None = None,
        interaction: Sequence[Mapping[str, Any]] | None = None,
        interaction_id: str | None = None,
        current_datetime: datetime | None = None,
        extract_agent_memories: bool = False,  # noqa: FBT001, FBT002 - signature of memora 0.3
        update_across_agents: bool = True,  # noqa: FBT001, FBT002 - signature of memora 0.3
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
        scope = Scope(org_id, user_id, agent_id)
        forgotten = self._transcripts.forgotten
        transcript = await self._transcripts.parse(scope, interaction, interaction_id)
        request = save_request(
            self._ports.graph.clock.now(),
            scope,
            transcript,
            interaction_id=interaction_id,
            current_datetime=current_datetime,
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
        outcome = await save.save(self._ports, request)
        self._transcripts.remember(scope, outcome.interaction_id, transcript, forgotten=forgotten)
        return outcome.interaction_id, outcome.at

    async def preview_save(
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
        scope = Scope(org_id, user_id, agent_id)
        transcript = await self._transcripts.parse(scope, interaction, interaction_id)
        request = save_request(
            self._ports.graph.clock.now(),
            scope,
            transcript,
            interaction_id=interaction_id,
            current_datetime=current_datetime,
            extract_agent_memories=extract_agent_memories,
            update_across_agents=update_across_agents,
            max_retries=max_retries,
        )
        return await preview.preview(self._ports, request)

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
            always: Current memories of these types, and pinned ones, come first in any case.
            token_budget: Tokens that all statements together may have, about.
            deadline_ms: After this time the model stages are skipped.
            explain: Attach `score_parts`.

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
            token_budget=_optional_int(token_budget, "token_budget", 10_000_000),
            deadline=_seconds(deadline_ms),
        )
        result = await recall.recall(self._ports, request)
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
        )
        await self._check_owner(org_id, user_id, agent_id)
        return await recall.find(self._ports, search) if search.queries else []

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
        )
        await self._check_owner(
            org_id, scope.user_id if isinstance(scope, Scope) else None, agent_id
        )
        return await recall.find_batch(self._ports, search)

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
        memories = _memories(retrieved_memories, "retrieved_memories")
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
    ) -> str:
        """Render memories as a block for the prompt, with dates and the marker that save strips.

        Args:
            memories: As a recall returned them.
            token_budget: Lines are added while they fit, about.
            newest_last: Order by time instead of relevance.

        Raises:
            InvalidInputError: An argument is malformed.
        """
        budget = _optional_int(token_budget, "token_budget", 10_000_000)
        given = _memories(memories, "memories")
        return context.format_memories(given, token_budget=budget, newest_last=newest_last)

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

    async def update_memory(
        self,
        org_id: str,
        user_id: str,
        memory_id: str,
        content: str,
        *,
        author: str | None = None,
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
            MemoryNotFoundError: The user has no such memory.
            MemoryUpdateError: The statement was retracted or its head deleted.
            ConflictError: Others kept changing it.
        """
        return await direct.update_memory(
            self._ports,
            Scope(org_id, user_id),
            checked_id(memory_id, "memory_id"),
            checked_text(content, "content"),
            _optional_name(author, "author"),
        )

    async def revert_memory(
        self, org_id: str, user_id: str, memory_id: str, *, author: str | None = None
    ) -> Memory:
        """Make the text of one version of a statement current again, as a new version.

        Raises:
            MemoryNotFoundError: The user has no such memory.
            ConflictError: Others kept changing it.
        """
        return await direct.revert_memory(
            self._ports,
            Scope(org_id, user_id),
            checked_id(memory_id, "memory_id"),
            _optional_name(author, "author"),
        )

    async def retract_memory(
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
            MemoryNotFoundError: The user has no such memory.
            ConflictError: Others kept changing it.
        """
        when = None if at is None else checked_time(at, "at")
        return await direct.retract_memory(
            self._ports, Scope(org_id, user_id), checked_id(memory_id, "memory_id"), when
        )

    async def delete_memory(self, org_id: str, user_id: str, memory_id: str) -> DeleteReceipt:
        """Purge one version: text and vectors are gone. Deleting twice is harmless."""
        return await direct.delete_memory(
            self._ports, Scope(org_id, user_id), checked_id(memory_id, "memory_id")
        )

    async def memory_history(self, org_id: str, user_id: str, memory_id: str) -> list[Memory]:
        """Return all versions of a statement, newest first, from any one of them.

        Raises:
            MemoryNotFoundError: The user has no such memory.
        """
        return await self._ports.graph.get_user_memory_history(org_id, user_id, memory_id)

    async def memories_by_source(
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
        selector = SourceSelector.of(
            interaction_id=interaction_id,
            agent_id=agent_id,
            import_id=import_id,
            process_id=process_id,
        )
        skip, limit = checked_page(skip, limit)
        return await sources.memories_by_source(
            self._ports,
            Scope(org_id, user_id),
            selector,
            current_only=checked_bool(current_only, "current_only"),
            skip=skip,
            limit=limit,
        )

    async def rollback_source(
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
        selector = SourceSelector.of(
            interaction_id=interaction_id,
            agent_id=agent_id,
            import_id=import_id,
            process_id=process_id,
        )
        return await sources.rollback(
            self._ports,
            Scope(org_id, user_id),
            selector,
            author=_optional_name(author, "author"),
            dry_run=checked_bool(dry_run, "dry_run"),
        )

    async def list_jobs(
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
        skip, limit = checked_page(skip, limit)
        await self._ports.graph.get_organization(org_id)
        return await self._ports.graph.list_jobs(
            org_id,
            user_id=checked_optional_id(user_id, "user_id"),
            statuses=[
                jobs.status(s) for s in checked_list(statuses, "statuses", "a list of states")
            ],
            skip=skip,
            limit=limit,
        )

    async def resume_job(self, org_id: str, job_id: str) -> bool:
        """Finish an extraction that failed; stages that were paid for are not paid again.

        Returns:
            False when there was nothing to do: it is done, or somebody else is at it.

        Raises:
            JobNotFoundError: There is no such job in the organization.
            ExtractionError: It failed again.
        """
        resumed = await jobs.resume(self._ports, org_id, checked_id(job_id, "job_id"))
        await self._ports.graph.drain_outbox()
        return resumed

    async def drain_outbox(self) -> DrainReport:
        """Bring the vector store up to date with the graph; a failing one is reported."""
        await reindexing.verify(self._ports.graph, self._ports.vector)
        return await self._ports.graph.drain_outbox()

    async def erase_user(self, org_id: str, user_id: str) -> ErasureReceipt:
        """Erase a user with everything that belongs to it, and look whether anything is left.

        Repeating the call finishes an erasure that was interrupted, or that had to leave the
        vectors for later; of a user that is gone already it counts nothing.

        Raises:
            GraphDBError: The graph store failed; repeat the call.
        """
        return await self._erase(Scope(org_id, user_id))

    async def erase_organization(self, org_id: str) -> ErasureReceipt:
        """Erase an organization with all its users and agents; see `erase_user`."""
        return await self._erase(OrganizationScope(org_id))

    async def _erase(self, scope: SearchScope) -> ErasureReceipt:
        self._creations.forbid(scope)
        receipt = await erasing.erase(self._ports.graph, self._ports.vector, scope)
        self._transcripts.forget(scope)
        return receipt

    async def doctor(self) -> doctoring.Diagnosis:
        """Check the invariants of both stores, read-only; also of a store that `setup` refuses."""
        return await doctoring.diagnose(self._ports.graph, self._ports.vector)

    async def reconcile(
        self, *, apply: bool = False, on_progress: reconciling.Progress | None = None
    ) -> reconciling.Reconciliation:
        """Say what would repair the findings of `doctor`, or repair them; see `ops.reconcile`.

        Args:
            apply: Repair, deleting nothing that cannot be made again; else nothing is changed.
            on_progress: Called with the numbers of repairs tried and known so far.
        """
        apply = checked_bool(apply, "apply")
        ports = self._ports
        return await reconciling.reconcile(
            ports.graph, ports.vector, apply=apply, on_progress=on_progress
        )

    async def reindex(
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
        return await reindex.reindex(self._ports, on_progress, embedder, self._embedder_named)

    async def export_to(
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
        return await exporting.export_to(self._ports.graph, path, org_id, on_progress)

    async def import_from(
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
        return await importing.import_from(self._ports.graph, path, on_progress)

    async def backup(self, directory: str | Path) -> backing_up.BackupReport:
        """Copy the stores into a directory, while they go on being used.

        Args:
            directory: A new or empty one; it has its name only when it is complete.

        Raises:
            TransferError: It is not empty, or cannot be written; nothing is left.
        """
        return await backing_up.backup(self._ports.graph, directory)

    async def restore(self, directory: str | Path) -> backing_up.RestoreReport:
        """Fill this store, which must be empty, from a backup, and check it.

        Args:
            directory: The backup.

        Raises:
            TransferError: The backup is damaged, or of another kind of store.
            ConflictError: The store is not empty.
            SchemaVersionError: The backup is newer than this memora.
        """
        return await backing_up.restore(self._ports.graph, self._ports.vector, directory)

    async def rotate_key(
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
        return await self._ports.graph.rotate_key(
            new_key,
            reencrypt=checked_bool(reencrypt, "reencrypt"),
            on_progress=on_progress,
        )

    async def _check_owner(self, org_id: str, user_id: str | None, agent_id: str | None) -> None:
        graph = self._ports.graph
        if user_id is None:
            await graph.get_organization(org_id)
            if agent_id is not None:
                await graph.get_agent(org_id, agent_id)
            return
        await graph.get_user(org_id, user_id)
        await graph.get_agent_for(Scope(org_id, user_id, agent_id))

    def _time(self, given: datetime | None) -> datetime:
        if given is None:
            return self._ports.graph.clock.now()
        return checked_time(given, "current_datetime")


def _memories(value: object, field: str) -> list[Memory]:
    given = checked_list(value, field, "a list of memories")
    found = [item for item in given if isinstance(item, Memory)]
    if len(found) < len(given):
        raise InvalidInputError(field, "a list of memories")
    return found


def _optional_int(value: int | None, field: str, high: int) -> int | None:
    return None if value is None else checked_int(value, field, 1, high)


def _optional_name(value: str | None, field: str) -> str | None:
    return None if value is None else checked_name(value, field)


def _seconds(deadline_ms: int | None) -> float | None:
    return (
        None
        if deadline_ms is None
        else checked_int(deadline_ms, "deadline_ms", 1, 3_600_000) / 1000
    )
