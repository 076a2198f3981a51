"""What an import is given: conversations in any iterable, read one by one."""

from __future__ import annotations

import heapq
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Sized,
)
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from memora.agent import save
from memora.agent.parts import Bounds, Room, cut
from memora.agent.threads import EACH, off_loop
from memora.core.hashing import exact_hash
from memora.core.lifetimes import ExpireFrom
from memora.core.messages import Transcript, text_parts
from memora.errors import InvalidInputError
from memora.llm_backends.base import BaseBackendLLM
from memora.schema.models import Interaction
from memora.schema.scope import Scope
from memora.schema.seeding import (
    Conversation,
    ConversationResult,
    Conversations,
    SeedConfig,
    SeedData,
    SeedStatus,
)
from memora.schema.times import parsed_time
from memora.schema.validation import (
    checked_id,
    checked_json_object,
    checked_name,
    kind_of,
    shown_key,
)

# Conversations that are read ahead, per worker, to bring them into the order of their times.
_WINDOW = 4
_LONGEST_ID = 255
# Of how many conversations a run remembers what they held.
_REMEMBERED = 100_000
_KNOWN_KEYS = frozenset({"id", "messages", "created_at", "title", "metadata"})


@dataclass(frozen=True, slots=True)
class Import:
    """One import, validated.

    Attributes:
        batch_size: Conversations that are worked on at the same time.
        now: Conversation time of what has none.
    """

    data: SeedData
    config: SeedConfig
    import_id: str
    batch_size: int
    now: datetime

    @property
    def scope(self) -> Scope:
        """Whose conversations they are."""
        return Scope(self.data.org_id, self.data.user_id, self.data.agent_id)

    @property
    def total(self) -> int | None:
        """How many conversations there are, where the input can tell."""
        given = self.data.conversations
        return len(given) if isinstance(given, Sized) else None

    @property
    def bounds(self) -> Bounds:
        """What one request to a model holds at the most."""
        return Bounds(self.config.max_messages_per_request, self.config.max_chars_per_request)


class Seen:
    """Remembers what the latest ids of a run held; the same id with other content is a mistake."""

    def __init__(self) -> None:
        self._content: dict[bytes, bytes] = {}

    def check(self, conversation_id: str, content: str) -> None:
        """Note what an id holds.

        Raises:
            InvalidInputError: It held something else before.
        """
        key = bytes.fromhex(exact_hash(conversation_id)[:32])
        held = bytes.fromhex(exact_hash(content)[:16])
        if self._content.setdefault(key, held) != held:
            allowed = "unique in one import, or the same conversation again"
            raise InvalidInputError("id", allowed, got="other messages under an id used before")
        if len(self._content) > _REMEMBERED:
            del self._content[next(iter(self._content))]


class Reader:
    """Reads the input of an import as it is needed.

    Attributes:
        failure: What the caller's iterator raised; it ended the input.
    """

    def __init__(self, seed: Import) -> None:
        self._seed = seed
        self._source: Conversations = seed.data.conversations
        self.failure: Exception | None = None

    async def ordered(self) -> AsyncIterator[Conversation | ConversationResult]:
        """Yield conversations by their times, undated ones last.

        A list is brought into order as a whole, other input as far as a window reaches. What is
        malformed comes as the result that it has.
        """
        window: list[tuple[float, int, Conversation]] = []
        size = _WINDOW * self._seed.batch_size
        number = 0
        given = self._seed.data.conversations
        if isinstance(given, Sequence):
            self._source = _by_time(given)
        async for item in self._items():
            try:
                conversation = parse(item)
            except InvalidInputError as error:
                yield failure(id_of(item), error)
                continue
            at = float("inf") if conversation.at is None else conversation.at.timestamp()
            heapq.heappush(window, (at, number, conversation))
            number += 1
            if len(window) > size:
                yield heapq.heappop(window)[2]
        while window:
            yield heapq.heappop(window)[2]

    async def _items(self) -> AsyncIterator[Mapping[str, Any]]:
        items = aiter(each(self._source))
        while True:
            try:
                item = await anext(items)
            except StopAsyncIteration:
                return
            except Exception as error:  # noqa: BLE001 - of the caller, and raised to it at the end
                self.failure = error
                return
            yield item


def _by_time(given: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield by time; what has none, or is malformed, comes last."""
    times: list[tuple[float, int]] = []
    for number, item in enumerate(given):
        try:
            at = parse(item).at
        except InvalidInputError:
            at = None
        times.append((float("inf") if at is None else at.timestamp(), number))
    times.sort()
    for _at, number in times:
        yield given[number]


async def each(conversations: Conversations) -> AsyncIterator[Mapping[str, Any]]:
    """Yield from either kind of iterable."""
    if isinstance(conversations, AsyncIterable):
        async for item in conversations:
            yield item
        return
    for item in conversations:
        yield item


def parse(item: object) -> Conversation:
    """Return a conversation as the caller gave it, its frame checked.

    Raises:
        InvalidInputError: Naming the field at fault.
    """
    if not isinstance(item, Mapping):
        raise InvalidInputError("conversation", "a mapping with id and messages", got=kind_of(item))
    given = cast("Mapping[str, Any]", item)
    unknown = [key for key in given if key not in _KNOWN_KEYS]
    if unknown:
        allowed = f"a mapping with {', '.join(sorted(_KNOWN_KEYS))}"
        raise InvalidInputError("conversation", allowed, got=shown_key(unknown[0]))
    messages: object = given.get("messages")
    if not isinstance(messages, (list, tuple)):
        raise InvalidInputError("messages", "a list of messages", got=kind_of(messages))
    if not messages:
        raise InvalidInputError("messages", "a list of messages that is not empty")
    created, title, metadata = given.get("created_at"), given.get("title"), given.get("metadata")
    said = tuple(cast("Iterable[Any]", messages))
    at = None if created is None else parsed_time(created, "created_at")
    return Conversation(
        conversation_id=checked_id(given.get("id"), "id"),
        messages=said,
        at=at or _first_time(said),
        title=None if title is None else checked_name(title, "title"),
        metadata=None if metadata is None else checked_json_object(metadata, "metadata"),
    )


async def request_of(
    seed: Import, conversation: Conversation, model: BaseBackendLLM | None
) -> save.SaveRequest:
    """Return how a conversation is saved.

    Raises:
        InvalidInputError: A message is malformed, or it is too large and may not be cut.
    """
    texts = (text_parts(_field(item, "content")) for item in conversation.messages)
    size = sum(EACH + len(text or "") for text in texts)
    transcript = await off_loop(size, Transcript, conversation.messages, None, "messages")
    config = seed.config
    if not config.chunk_large_conversations:
        await off_loop(size, _check_size, transcript, Room.of(seed.bounds, model))
    key = exact_hash(
        conversation.conversation_id,
        transcript.last_hash,
        seed.data.agent_id or "",
        str(config.extract_agent_memories),
    )
    return save.SaveRequest(
        scope=seed.scope,
        transcript=transcript,
        at=conversation.at or seed.now,
        external_id=conversation.conversation_id,
        title=conversation.title,
        metadata=conversation.metadata,
        process_id=seed.data.process_id,
        import_id=seed.import_id,
        about_agent=config.extract_agent_memories,
        max_retries=config.max_retries,
        idempotency_key=f"seed:{key}",
        bounds=seed.bounds,
        expire_from=ExpireFrom.parse(config.expire_from),
    )


def holds(stored: Interaction, transcript: Transcript) -> bool:
    """Tell whether the stored interaction has these messages and no others."""
    return stored.message_count == len(transcript) and stored.content_hash == transcript.last_hash


def failure(conversation_id: str, error: Exception) -> ConversationResult:
    """Return the result of a conversation that could not be imported."""
    return ConversationResult(
        conversation_id=conversation_id,
        interaction_id=getattr(error, "interaction_id", None),
        success=False,
        status=SeedStatus.FAILED,
        error=f"{type(error).__name__}: {error}",
    )


def _check_size(transcript: Transcript, room: Room) -> None:
    messages = transcript.messages()
    chars = sum(len(message.content or "") for message in messages)
    parts = 1
    if len(messages) <= room.messages and chars <= room.chars:
        parts = len(cut(save.as_stored(messages, 0), room))
    if len(messages) > room.messages or chars > room.chars or parts > 1:
        allowed = f"at most {room.messages} messages and {room.chars} characters"
        if room.size is not None:
            allowed += f", {room.size} bytes for the model's window"
        got = f"{len(messages)} messages and {chars} characters"
        raise InvalidInputError("messages", allowed, got=got)


def _first_time(messages: tuple[Any, ...]) -> datetime | None:
    for number, message in enumerate(messages):
        timestamp = _field(message, "timestamp")
        if timestamp is not None:
            return parsed_time(timestamp, f"messages[{number}].timestamp")
    return None


def _field(item: object, name: str) -> object:
    """Return a field of what should be a mapping; None where it is none."""
    return cast("Mapping[str, object]", item).get(name) if isinstance(item, Mapping) else None


def id_of(item: object) -> str:
    """Return the id that an item gives, as far as it is one."""
    given = _field(item, "id")
    return given[:_LONGEST_ID] if isinstance(given, str) else ""
