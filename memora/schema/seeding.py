"""What a bulk import takes and what it answers."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self, cast

from pydantic import Field, PrivateAttr

from memora.errors import InvalidInputError
from memora.schema.models import Record
from memora.schema.validation import (
    checked_bool,
    checked_id,
    checked_int,
    checked_optional_id,
    checked_seconds,
    kind_of,
)

Conversations = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]

MESSAGES_PER_REQUEST = 4000
CHARS_PER_REQUEST = 800_000
MAX_RESULTS = 10_000
_LONGEST_DELAY = 600.0
_STARTS = ("obtained_at", "recorded_at")
# Price of a million tokens, read and written, in any currency.
TokenPrice = tuple[float, float]


@dataclass(frozen=True, slots=True)
class SeedData:
    """Conversations of one user, to be imported.

    Attributes:
        conversations: Mappings with `id`, `messages`, and where known `created_at`, `title` and
            `metadata`; read one by one, so a database cursor will do.
        process_id: Kept as the source on every interaction and memory.
    """

    user_id: str
    conversations: Conversations = field(repr=False)
    org_id: str = "default"
    agent_id: str | None = None
    process_id: str | None = None

    @classmethod
    def for_conversations(
        cls,
        entity_id: str | None = None,
        conversations: Conversations = (),
        *,
        user_id: str | None = None,
        org_id: str = "default",
        agent_id: str | None = None,
        process_id: str | None = None,
    ) -> Self:
        """Return the conversations of one user.

        Args:
            entity_id: The user; another word for `user_id`.
            conversations: A list, an iterator or an async iterator of mappings.
            user_id: The user.
            org_id: The organization.
            agent_id: The agent that took part, if any.
            process_id: Where this comes from.

        Raises:
            InvalidInputError: There is no user, or two; or an argument is malformed.
        """
        if (entity_id is None) == (user_id is None):
            raise InvalidInputError("user_id", "given once, as user_id or as entity_id")
        _check_iterable(conversations)
        return cls(
            user_id=checked_id(user_id if entity_id is None else entity_id, "user_id"),
            conversations=conversations,
            org_id=checked_id(org_id, "org_id"),
            agent_id=checked_optional_id(agent_id, "agent_id"),
            process_id=checked_optional_id(process_id, "process_id"),
        )


def _check_iterable(given: object) -> None:
    is_one = isinstance(given, (str, bytes, Mapping))
    if is_one or not isinstance(given, (Iterable, AsyncIterable)):
        allowed = "a list, an iterator or an async iterator of conversations"
        raise InvalidInputError("conversations", allowed, got=kind_of(cast("object", given)))


@dataclass(frozen=True, slots=True)
class SeedConfig:
    """How conversations are imported.

    Attributes:
        max_messages_per_request, max_chars_per_request: Upper bounds of what one model request
            holds; the model's own window counts as well.
        max_retries: Further attempts of a model call that failed for a passing reason. What the
            provider refuses because there are too many calls (429, 503) does not count: it slows
            the whole import down.
        retry_delay: Base of the pause between attempts, in seconds; it doubles, with jitter.
        chunk_large_conversations: Cut a conversation above the bounds into several requests;
            False: it fails.
        extract_agent_memories: Also remember what the agent says.
        expire_from: From when the days of short-term memories are counted: `obtained_at`, so that
            those of old conversations are expired as soon as they are stored, or `recorded_at`,
            the import's own time.
        max_results: Results that `SeedResult` holds, so that it does not grow with the input;
            failures take the place of others. Events and `on_progress` tell all of them.
    """

    max_messages_per_request: int = MESSAGES_PER_REQUEST
    max_chars_per_request: int = CHARS_PER_REQUEST
    max_retries: int = 3
    retry_delay: float = 1.0
    chunk_large_conversations: bool = True
    extract_agent_memories: bool = False
    expire_from: str = "obtained_at"
    max_results: int = MAX_RESULTS

    def __post_init__(self) -> None:
        checked_int(self.max_messages_per_request, "max_messages_per_request", 1, 100_000)
        checked_int(self.max_chars_per_request, "max_chars_per_request", 1000, 10_000_000)
        checked_int(self.max_retries, "max_retries", 0, 20)
        checked_seconds(self.retry_delay, "retry_delay", _LONGEST_DELAY)
        checked_bool(self.chunk_large_conversations, "chunk_large_conversations")
        checked_bool(self.extract_agent_memories, "extract_agent_memories")
        checked_int(self.max_results, "max_results", 0, 100_000_000)
        if self.expire_from not in _STARTS:
            raise InvalidInputError("expire_from", f"one of {', '.join(_STARTS)}")


class DocumentMode(StrEnum):
    """How much is read out of a document."""

    LONG_RANGE = "long-range"
    FAST = "fast"


@dataclass(frozen=True, kw_only=True)
class SeedDocument:
    """A document, or one turn of a conversation, to be remembered; checked by `batch_create`.

    Attributes:
        document: The text.
        document_id: The caller's stable id; None: derived from user, time and content.
        document_type: `ai-chat-conversation` is divided at the speakers' names into messages;
            `document` and any other type into paragraphs.
        document_created_at: When it was said or written; None: it counts as of now.
        user_id: Whose memories it makes.
        customer_id: The organization; None: that of the call.
        metadata: Any JSON object. Turns of a chat with the same `conversation_id` in it become
            one interaction, in the order of their times.
        mode: `long-range` asks the extraction model, `fast` remembers what was said word for word.
    """

    document: str = field(repr=False)
    user_id: str
    document_id: str | None = None
    document_type: str = "document"
    document_created_at: datetime | str | None = None
    customer_id: str | None = None
    metadata: Mapping[str, Any] | None = field(default=None, repr=False)
    mode: str = DocumentMode.LONG_RANGE.value


class DocumentStatus(StrEnum):
    """What became of a document."""

    CREATED = "created"
    UPDATED = "updated"
    DUPLICATE = "duplicate"
    FAILED = "failed"
    SKIPPED = "skipped"


class DocumentResult(Record):
    """What became of one document.

    Attributes:
        document_id: The caller's, or the derived one; empty where it could not be told.
        status: `duplicate`: it was stored like this before. `skipped`: it was not tried, because
            an earlier one failed and `fail_fast` was asked for.
        interaction_id: Where it is stored.
        import_id: Of the call's import for its user; None: it was not stored.
        memories: How many versions of memories it brought; the first of several turns of one
            conversation that changed it has the number of all.
        error_type: Name of the error's class in `memora.errors`.
        error: What went wrong, without content.
    """

    document_id: str
    status: DocumentStatus
    interaction_id: str | None = None
    import_id: str | None = None
    memories: int = 0
    error_type: str | None = None
    error: str | None = None

    @property
    def success(self) -> bool:
        """Whether it is stored and its memories are made."""
        return self.status not in {DocumentStatus.FAILED, DocumentStatus.SKIPPED}


class SeedStatus(StrEnum):
    """What became of a conversation."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    FAILED = "failed"


class ConversationResult(Record):
    """What became of one conversation.

    Attributes:
        conversation_id: The caller's id; empty where it had none.
        interaction_id: Where it is stored; None: it is not.
        success: Whether it is stored and its memories are made.
        memories: How many versions of memories it brought.
        expired: How many of them were expired as soon as they were stored.
        error: Type and reason of a failure, without content.
        duration_ms: From its turn to its end, in milliseconds.
    """

    conversation_id: str
    interaction_id: str | None = None
    success: bool
    status: SeedStatus
    memories: int = 0
    expired: int = 0
    error: str | None = None
    duration_ms: float = 0.0


# Called with (processed, total, result) after each conversation.
SeedProgress = Callable[[int, int | None, ConversationResult], Awaitable[None] | None]


class SeedEstimate(Record):
    """What an import would cost (`dry_run`); nothing was written and no model was asked.

    Attributes:
        conversations: Conversations that would be imported; unchanged ones are not among them.
        unchanged: Conversations that are stored like this already.
        invalid: Conversations that would fail because they are malformed.
        failures: What is wrong with them; with the first 1,000 if they are more.
        chunks: Requests into which their messages are divided.
        model_calls: Calls of the extraction model: one per chunk, a summary between two, and one
            comparison per conversation.
        prompt_tokens, completion_tokens: About how many tokens the model would read and write.
        cost: In the currency of the prices that were given; None without one.
    """

    conversations: int = 0
    unchanged: int = 0
    invalid: int = 0
    chunks: int = 0
    model_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None
    failures: list[ConversationResult] = Field(default_factory=list[ConversationResult])


class SeedResult(Record):
    """What an import did; everything it counts as successful can be recalled.

    Attributes:
        import_id: Name of this import, on everything that it wrote.
        total: Conversations that were read.
        successful: Stored with their memories, the unchanged ones included.
        failed: Not stored, or without their memories.
        skipped: Unchanged since an earlier import.
        undated: Conversations without any time, which got the import's.
        total_memories: Versions of memories that were written.
        expired: How many of them were expired as soon as they were stored: short-term ones of long
            ago; see `SeedConfig.expire_from`.
        duration_ms: From the first to the last, in milliseconds.
        results: One per conversation, in the order in which they ended; see `max_results`.
        omitted: How many results are left out there.
        estimate: Of a dry run; it has nothing else.
    """

    import_id: str
    total: int = 0
    successful: int = 0
    failed: int = 0
    skipped: int = 0
    undated: int = 0
    total_memories: int = 0
    expired: int = 0
    duration_ms: float = 0.0
    results: list[ConversationResult] = Field(default_factory=list[ConversationResult])
    omitted: int = 0
    estimate: SeedEstimate | None = None
    # The results before this place are failures.
    _failed_until: int = PrivateAttr(default=0)

    def add(
        self, result: ConversationResult, *, is_undated: bool, max_results: int = MAX_RESULTS
    ) -> None:
        """Count what became of one more conversation, and keep its result if there is room."""
        self.total += 1
        self.successful += result.success
        self.failed += not result.success
        self.skipped += result.status is SeedStatus.UNCHANGED
        self.undated += is_undated
        self.total_memories += result.memories
        self.expired += result.expired
        if len(self.results) < max_results:
            self.results.append(result)
            return
        self.omitted += 1
        if result.success:
            return
        while self._failed_until < len(self.results):
            if self.results[self._failed_until].success:
                del self.results[self._failed_until]
                self.results.append(result)
                return
            self._failed_until += 1

    @property
    def total_triples(self) -> int:
        """Another name of `total_memories`."""
        return self.total_memories


class SeedEventKind(StrEnum):
    """What happened."""

    STARTED = "started"
    SAVED = "saved"
    SKIPPED = "skipped"
    FAILED = "failed"
    DRAINED = "drained"


@dataclass(frozen=True, slots=True)
class SeedEvent:
    """One step of an import.

    Attributes:
        processed: Conversations that have ended so far.
        total: How many there are; None when the input has no length.
        result: What became of the conversation that the event is about.
        is_undated: It had no time of its own and got the import's.
        conversation_id: The caller's id of it; None: the event is about no conversation.
    """

    kind: SeedEventKind
    processed: int
    total: int | None
    result: ConversationResult | None = None
    is_undated: bool = False
    conversation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation, validated as far as its frame goes; its messages are parsed by the save.

    Attributes:
        at: Its time: `created_at`, or that of its first dated message; None: it has none.
    """

    conversation_id: str
    messages: tuple[Any, ...] = field(repr=False)
    at: datetime | None
    title: str | None = field(default=None, repr=False)
    metadata: dict[str, Any] | None = field(default=None, repr=False)
