"""The seed story: conversations from elsewhere, many at a time, at their own dates."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Mapping,
    Sized,
)
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast

from memora.agent import extract, jobs, save
from memora.agent.pacing import Lane, Pace, PacedLLM
from memora.agent.ports import Ports, check_owner, create_owner
from memora.agent.threads import EACH, off_loop
from memora.core.chunking import estimated_tokens
from memora.core.hashing import exact_hash
from memora.core.messages import Transcript
from memora.errors import InvalidInputError, MemoraError, VectorDBError
from memora.schema.jobs import JobStatus
from memora.schema.models import Interaction
from memora.schema.scope import Scope
from memora.schema.seeding import (
    Conversation,
    ConversationResult,
    Conversations,
    SeedConfig,
    SeedData,
    SeedEstimate,
    SeedEvent,
    SeedEventKind,
    SeedStatus,
)
from memora.schema.times import parsed_time
from memora.schema.validation import checked_id, checked_json_object, checked_name, kind_of

_logger = logging.getLogger(__name__)

# Conversations that are read ahead, per worker, to bring them into the order of their times.
_WINDOW = 4
# How many conversations are stored before their vectors are made.
_DRAIN_EVERY = 64
# What a request of the extraction model costs besides the messages.
_PROMPT_TOKENS = 400
_EVENTS = {
    SeedStatus.FAILED: SeedEventKind.FAILED,
    SeedStatus.UNCHANGED: SeedEventKind.SKIPPED,
}
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


async def run(
    ports: Ports, seed: Import, lane: Lane, *, create_missing: bool
) -> AsyncGenerator[SeedEvent]:
    """Import conversations and tell what happens; the last event says that all can be recalled.

    Raises:
        UserNotFoundError, AgentNotFoundError: They are not there.
        VectorDBError: All is stored, but the vector store could not follow; its work waits.
    """
    if create_missing:
        await create_owner(ports.graph, seed.scope)
    await check_owner(ports.graph, seed.scope)
    work = _Work(ports, seed, lane)
    running = asyncio.create_task(work.run())
    try:
        while (event := await work.events.get()) is not None:
            yield event
        await running
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    await _drain_to_the_end(ports)
    yield SeedEvent(SeedEventKind.DRAINED, work.processed, seed.total)


async def estimate(ports: Ports, seed: Import, price_per_million: float | None) -> SeedEstimate:
    """Count what an import would do; nothing is written, no model is asked.

    Args:
        ports: Stores and models.
        seed: The import.
        price_per_million: Price of a million prompt tokens, in any currency.
    """
    found = SeedEstimate()
    model = ports.extraction_model
    async for item in _read(seed.data.conversations):
        try:
            conversation = parse(item)
            request = await _request(seed, conversation)
        except InvalidInputError:
            found.invalid += 1
            continue
        stored = await ports.graph.find_interaction(seed.scope, conversation.conversation_id)
        if stored is not None and _holds(stored, request.transcript):
            found.unchanged += 1
            continue
        found.conversations += 1
        keep = 0
        if stored is not None:
            hashes = await ports.graph.read_prefix_hashes(seed.scope, stored.interaction_id)
            keep = save.transcripts.diff(hashes, request.transcript.messages()).keep
        new = extract.as_stored(request.transcript.tail(keep), keep)
        window = None if model is None else model.context_window
        chunks = len(extract.ranges(new, request.bounds, window))
        found.chunks += chunks
        if model is not None and chunks:
            # One extraction and one comparison each, and a summary between two.
            found.model_calls += 3 * chunks - 1
            text = sum(estimated_tokens(item.message.content or "") for item in new)
            found.prompt_tokens += 2 * text + _PROMPT_TOKENS * (3 * chunks - 1)
    if price_per_million is not None:
        found.cost = found.prompt_tokens * price_per_million / 1_000_000
    return found


def parse(item: object) -> Conversation:
    """Return a conversation as the caller gave it, its frame checked.

    Raises:
        InvalidInputError: Naming the field at fault.
    """
    if not isinstance(item, Mapping):
        raise InvalidInputError("conversation", "a mapping with id and messages", got=kind_of(item))
    given = cast("Mapping[str, Any]", item)
    unknown = sorted(str(key) for key in given.keys() - _KNOWN_KEYS)
    if unknown:
        allowed = f"a mapping with {', '.join(sorted(_KNOWN_KEYS))}"
        raise InvalidInputError("conversation", allowed, got=unknown[0][:40])
    messages: object = given.get("messages")
    if not isinstance(messages, (list, tuple)) or not messages:
        got = kind_of(cast("object", messages)) if messages else "none"
        raise InvalidInputError("messages", "a list of messages", got=got)
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


def _first_time(messages: tuple[Any, ...]) -> datetime | None:
    for number, message in enumerate(messages):
        timestamp = _field(message, "timestamp")
        if timestamp is not None:
            return parsed_time(timestamp, f"messages[{number}].timestamp")
    return None


def _field(item: object, name: str) -> object:
    """Return a field of what should be a mapping; None where it is none."""
    return cast("Mapping[str, object]", item).get(name) if isinstance(item, Mapping) else None


async def _read(conversations: Conversations) -> AsyncIterator[Mapping[str, Any]]:
    if isinstance(conversations, AsyncIterable):
        async for item in conversations:
            yield item
        return
    for item in conversations:
        yield item


async def _request(seed: Import, conversation: Conversation) -> save.SaveRequest:
    size = sum(EACH + len(str(_field(item, "content"))) for item in conversation.messages)
    transcript = await off_loop(size, Transcript, conversation.messages, None, "messages")
    config = seed.config
    bounds = extract.Bounds(config.max_messages_per_request, config.max_chars_per_request)
    if not config.chunk_large_conversations:
        chars = sum(len(message.content or "") for message in transcript.messages())
        if len(transcript) > bounds.messages or chars > bounds.chars:
            allowed = f"at most {bounds.messages} messages and {bounds.chars} characters"
            got = f"{len(transcript)} messages and {chars} characters"
            raise InvalidInputError("messages", allowed, got=got)
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
        bounds=bounds,
    )


def _holds(stored: Interaction, transcript: Transcript) -> bool:
    return stored.message_count == len(transcript) and stored.content_hash == transcript.last_hash


@dataclass
class _Turns:
    """Lets conversations pass one by one, in the order in which they were started."""

    _next: int = 0
    _finished: set[int] = field(default_factory=set[int])
    _waiting: dict[int, asyncio.Event] = field(default_factory=dict[int, asyncio.Event])

    async def wait(self, number: int) -> None:
        """Return when all before this one are finished."""
        if number != self._next:
            event = self._waiting[number] = asyncio.Event()
            await event.wait()

    def finish(self, number: int) -> None:
        """Let the next one pass; one that never waited is passed over when its time comes."""
        self._finished.add(number)
        while self._next in self._finished:
            self._finished.remove(self._next)
            self._waiting.pop(self._next, None)
            self._next += 1
        waiting = self._waiting.get(self._next)
        if waiting is not None:
            waiting.set()


class _Work:
    """The workers of one import."""

    def __init__(self, ports: Ports, seed: Import, lane: Lane) -> None:
        model = ports.extraction_model
        paced = None
        if model is not None:
            pace = Pace(seed.config.retry_delay)
            paced = PacedLLM(model, pace, seed.config.max_retries)
        self._ports = replace(ports, extraction_model=paced)
        self._seed = seed
        self._lane = lane
        self._turns = _Turns()
        self._draining: asyncio.Task[Any] | None = None
        # What each id of this run held: the same id with other content is a mistake of the input.
        self._seen: dict[str, str] = {}
        self.events: asyncio.Queue[SeedEvent | None] = asyncio.Queue()
        self.processed = 0

    async def run(self) -> None:
        """Work through the input; `events` gets a None at the end, also after a failure."""
        running: set[asyncio.Task[None]] = set()
        try:
            async with asyncio.TaskGroup() as group:
                number = 0
                async for item in self._ordered():
                    if isinstance(item, ConversationResult):
                        self._ended(item)
                        continue
                    if len(running) >= self._seed.batch_size:
                        _, running = await asyncio.wait(
                            running, return_when=asyncio.FIRST_COMPLETED
                        )
                    running.add(group.create_task(self._one(item, number)))
                    number += 1
            if self._draining is not None:
                await self._draining
        finally:
            if self._draining is not None:
                self._draining.cancel()
            self.events.put_nowait(None)

    async def _ordered(self) -> AsyncIterator[Conversation | ConversationResult]:
        """Yield conversations by their times, as far as the window reaches; dated ones first."""
        window: list[tuple[float, int, Conversation]] = []
        size = _WINDOW * self._seed.batch_size
        number = 0
        async for item in _read(self._seed.data.conversations):
            try:
                conversation = parse(item)
            except InvalidInputError as error:
                yield _failed(_id_of(item), error)
                continue
            at = float("inf") if conversation.at is None else conversation.at.timestamp()
            heapq.heappush(window, (at, number, conversation))
            number += 1
            if len(window) > size:
                yield heapq.heappop(window)[2]
        while window:
            yield heapq.heappop(window)[2]

    async def _one(self, conversation: Conversation, number: int) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        await self._lane.give_way()
        name = conversation.conversation_id
        self.events.put_nowait(
            SeedEvent(SeedEventKind.STARTED, self.processed, self._seed.total, None)
        )
        try:
            result = await self._save(conversation, number)
        except MemoraError as error:
            result = _failed(name, error)
        finally:
            self._turns.finish(number)
        result.duration_ms = 1000 * (loop.time() - started)
        self._ended(result, is_undated=conversation.at is None)

    async def _save(self, conversation: Conversation, number: int) -> ConversationResult:
        request = await _request(self._seed, conversation)
        name = conversation.conversation_id
        content = request.transcript.last_hash
        if self._seen.setdefault(name, content) != content:
            allowed = "unique in one import, or the same conversation again"
            raise InvalidInputError("id", allowed, got="other messages under an id used before")
        graph = self._ports.graph
        stored = await graph.find_interaction(self._seed.scope, name)
        if stored is not None and _holds(stored, request.transcript):
            return await self._known(request, stored, number)
        outcome = await save.save(
            self._ports, request, drain=False, turn=lambda: self._turn(number)
        )
        status = SeedStatus.CREATED if stored is None else SeedStatus.UPDATED
        return ConversationResult(
            conversation_id=name,
            interaction_id=outcome.interaction_id,
            success=True,
            status=status,
            memories=outcome.memories,
        )

    async def _known(
        self, request: save.SaveRequest, stored: Interaction, number: int
    ) -> ConversationResult:
        """Answer for a conversation that is stored like this; finish its extraction if need be."""
        graph = self._ports.graph
        result = ConversationResult(
            conversation_id=cast("str", request.external_id),
            interaction_id=stored.interaction_id,
            success=True,
            status=SeedStatus.UNCHANGED,
        )
        key = cast("str", request.idempotency_key)
        known = await graph.find_idempotency(request.scope, key)
        job_id = None if known is None else known.result.get("job_id")
        job = None if job_id is None else await graph.find_job(request.scope.org_id, job_id)
        if job is None or job.status is JobStatus.DONE:
            return result
        turn = self._turn
        if await jobs.resume(self._ports, job.org_id, job.job_id, lambda: turn(number)):
            result.status = SeedStatus.UPDATED
        else:
            job = await graph.find_job(job.org_id, job.job_id)
            if job is not None and job.status is not JobStatus.DONE:
                result.success, result.status = False, SeedStatus.FAILED
                result.error = "ConflictError: its extraction is under way elsewhere"
        return result

    @asynccontextmanager
    async def _turn(self, number: int) -> AsyncGenerator[None]:
        await self._turns.wait(number)
        await self._lane.give_way()
        yield

    def _ended(self, result: ConversationResult, *, is_undated: bool = False) -> None:
        self.processed += 1
        kind = _EVENTS.get(result.status, SeedEventKind.SAVED)
        if not result.success:
            _logger.info("a conversation was not imported: %s", (result.error or "").split(":")[0])
        self.events.put_nowait(
            SeedEvent(kind, self.processed, self._seed.total, result, is_undated)
        )
        is_due = self.processed % _DRAIN_EVERY == 0
        if is_due and (self._draining is None or self._draining.done()):
            self._draining = asyncio.create_task(self._ports.graph.drain_outbox())


async def _drain_to_the_end(ports: Ports) -> None:
    report = await ports.graph.drain_outbox()
    if report.error is not None:
        reason = f"{report.failed} outbox entries wait for another try: {report.error}"
        raise VectorDBError("seed", reason)


def _failed(conversation_id: str, error: MemoraError) -> ConversationResult:
    return ConversationResult(
        conversation_id=conversation_id,
        interaction_id=getattr(error, "interaction_id", None),
        success=False,
        status=SeedStatus.FAILED,
        error=f"{type(error).__name__}: {error}",
    )


def _id_of(item: object) -> str:
    given = _field(item, "id")
    return given[:255] if isinstance(given, str) else ""
