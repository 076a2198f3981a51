"""The facade: one engine over a graph store, a vector store, and up to two models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pydantic import SecretStr

from memora._logging import enable_console
from memora.agent import (
    preview,
    save,
)
from memora.agent.bound import BoundMemora, Creations
from memora.agent.imports import Running
from memora.agent.inputs import RERANK_CANDIDATES, Defaults, Transcripts, save_request
from memora.agent.pacing import Lane
from memora.agent.ports import Ports
from memora.agent.usage import Usage
from memora.agent.verbs.direct import DirectVerbs
from memora.agent.verbs.entities import EntityVerbs
from memora.agent.verbs.imports import ImportVerbs
from memora.agent.verbs.recalling import RecallVerbs
from memora.agent.verbs.seeding import SeedVerbs
from memora.agent.verbs.statements import MemoryVerbs
from memora.agent.verbs.upkeep import UpkeepVerbs
from memora.core.lifetimes import Lifetimes
from memora.errors import MemoraError
from memora.graph_db.base import BaseGraphDB
from memora.llm_backends.base import BaseBackendLLM, TokenUsage
from memora.rerankers.base import BaseReranker
from memora.schema.direct import SavePreview
from memora.schema.ranking import RankingConfig
from memora.schema.scope import (
    Scope,
)
from memora.schema.validation import checked_bool
from memora.vector_db.base import BaseVectorDB

if TYPE_CHECKING:
    from memora.config import Settings
    from memora.embeddings.base import BaseEmbedder


class Memora(
    RecallVerbs, DirectVerbs, MemoryVerbs, EntityVerbs, SeedVerbs, ImportVerbs, UpkeepVerbs
):
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
        ranking: RankingConfig | Mapping[str, Any] | None = None,
        reranker: BaseReranker | None = None,
        rerank_candidates: int = RERANK_CANDIDATES,
        similarity_threshold: float | Mapping[str, float] = 0.8,
        short_term_days: float | None = 7,
        archive_after_days: float | None = 30,
        embedder_named: Callable[[str], BaseEmbedder] | None = None,
    ) -> None:
        if enable_logging:
            enable_console()
        lifetimes = Lifetimes(short_term_days, archive_after_days)
        graph = graph_db.with_vector_db(vector_db, lifetimes)
        self._ports = Ports(graph, vector_db, memory_search_model, extraction_model, reranker)
        self._defaults = Defaults(
            recall_limit,
            min_similarity,
            RankingConfig.parse(ranking),
            rerank_candidates,
            similarity_threshold,
        )
        self._transcripts = Transcripts()
        self._lane = Lane()
        self._importing = Running()
        self._creations = Creations()
        self._is_open = False
        self._usage = Usage(graph)
        self._embedder_named = embedder_named

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
        from memora import bootstrap  # noqa: PLC0415 - the one allowed upward call

        return bootstrap.embedded(
            cls,
            path,
            memory_search_model,
            extraction_model,
            embedder,
            reranker,
            enable_logging,
            encryption_key,
            language,
            own_process=own_process,
            similarity_threshold=similarity_threshold,
            short_term_days=short_term_days,
            archive_after_days=archive_after_days,
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

    @property
    def usage(self) -> TokenUsage:
        """What both models have spent since they were made; subtract two to measure a step."""
        search, extraction = self._ports.search_model, self._ports.extraction_model
        models = [search] if search is extraction else [search, extraction]
        return sum((model.usage for model in models if model is not None), TokenUsage())

    async def setup(self) -> None:
        """Prepare both stores and work off what an earlier process left; call it at any time.

        Raises:
            SchemaVersionError: A store was written by another version of memora.
            InvalidInputError: The directory of the embedded store is a backup.
            StoreLockedError: Another process owns the embedded store.
            EncryptionKeyError: It is encrypted and the key is missing or another one, or it is
                plain and there is a key.
            GraphDBConnectionError: The graph server cannot be reached.
            VectorDBConnectionError: The vector server cannot be reached.
        """
        self._is_open = True
        await self._ports.graph.setup()
        await self._ports.vector.setup()
        await self.drain_outbox()

    async def close(self) -> None:
        """Close stores and models; each closes what it opened itself. Again does nothing."""
        self._is_open = False
        async with AsyncExitStack() as stack:
            ports = self._ports
            for model in (ports.search_model, ports.extraction_model, ports.reranker):
                if model is not None:
                    stack.push_async_callback(model.close)
            stack.push_async_callback(self._ports.vector.close)
            stack.push_async_callback(self._ports.graph.close)
            stack.push_async_callback(self._usage.close)

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
        return BoundMemora(self, self._creations.add(scope, allowed=checked_bool(create, "create")))

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
        async with self._lane.live():
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
