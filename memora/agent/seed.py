"""The seed story: conversations from elsewhere, many at a time, at their own dates."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, cast

from memora.agent import jobs, save
from memora.agent.imports import Ledger, Running
from memora.agent.pacing import Lane, Pace, PacedLLM, Turns
from memora.agent.ports import Ports, check_owner, create_owner
from memora.agent.seed_input import Import, Reader, Seen, failure, holds, request_of
from memora.errors import (
    ExtractionError,
    LLMError,
    MemoraError,
    RetryableError,
    VectorDBError,
)
from memora.graph_db.base import BaseGraphDB
from memora.schema.jobs import JobStatus
from memora.schema.models import Interaction
from memora.schema.scope import Scope
from memora.schema.seeding import (
    Conversation,
    ConversationResult,
    SeedEvent,
    SeedEventKind,
    SeedStatus,
)

_logger = logging.getLogger(__name__)

# How many conversations are stored before their vectors are made: few, so that a live recall
# does not wait for long.
_DRAIN_EVERY = 8
# Events that wait for the caller before the import does.
_EVENTS_AHEAD = 100
_EVENTS = {
    SeedStatus.FAILED: SeedEventKind.FAILED,
    SeedStatus.UNCHANGED: SeedEventKind.SKIPPED,
}


async def run(
    ports: Ports, seed: Import, lane: Lane, importing: Running, *, create_missing: bool
) -> AsyncGenerator[SeedEvent]:
    """Import conversations and tell what happens; the last event says that all can be recalled.

    What the caller's iterator raises ends the input: what was read is imported, then it is raised.

    Raises:
        UserNotFoundError, AgentNotFoundError: They are not there.
        ConflictError: The import was taken back, or its id is that of another user's.
        VectorDBError: All is stored, but the vector store could not follow; its work waits.
    """
    if create_missing:
        await create_owner(ports.graph, seed.scope)
    await check_owner(ports.graph, seed.scope)
    ledger = Ledger(ports, seed.scope, seed.import_id)
    async with ledger.open(seed.data.process_id, importing):
        work = _Work(ports, seed, lane)
        running = asyncio.create_task(work.run())
        try:
            while (event := await work.events.get()) is not None:
                if event.result is not None:
                    await ledger.note(event.result)
                yield event
            await running
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
        await work.drain_to_the_end()
        if work.reader.failure is not None:
            raise work.reader.failure
    yield SeedEvent(SeedEventKind.DRAINED, work.processed, seed.total)


class _Work:
    """The workers of one import."""

    def __init__(self, ports: Ports, seed: Import, lane: Lane) -> None:
        self._pace = Pace(seed.config.retry_delay)
        model = ports.extraction_model
        if model is not None:
            model = PacedLLM(model, self._pace, lane, seed.config.max_retries)
        self._ports = replace(ports, extraction_model=model)
        self._seed = seed
        self._lane = lane
        self._turns = Turns()
        self._seen = Seen()
        self._draining: asyncio.Task[Any] | None = None
        self.reader = Reader(seed)
        self.events: asyncio.Queue[SeedEvent | None] = asyncio.Queue(_EVENTS_AHEAD)
        self.processed = 0

    async def run(self) -> None:
        """Work through the input; `events` gets a None at the end, also after a failure."""
        running: set[asyncio.Task[None]] = set()
        try:
            number = 0
            async for item in self.reader.ordered():
                if isinstance(item, ConversationResult):
                    await self._ended(item)
                    continue
                running = await self._room(running)
                running.add(asyncio.create_task(self._one(item, number)))
                number += 1
            while running:
                running = await _one_less(running)
            if self._draining is not None:
                await self._draining
        finally:
            left = [*running, *([] if self._draining is None else [self._draining])]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            # Who cancelled this reads no events any more.
            if (current := asyncio.current_task()) is None or not current.cancelling():
                await self.events.put(None)

    @property
    def _one_by_one(self) -> bool:
        """Whether one thing is done at a time, in small steps.

        Without a model all is work of this machine, which live calls need as well.
        """
        return self._ports.extraction_model is None and self._lane.is_busy

    async def _room(self, running: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
        """Wait until one more conversation may be worked on; return those that are."""
        while len(running) >= (1 if self._one_by_one else self._seed.batch_size):
            running = await _one_less(running)
        if self._one_by_one and self._draining is not None:
            await self._draining
        return running

    async def _one(self, conversation: Conversation, number: int) -> None:
        loop = asyncio.get_running_loop()
        await self._lane.give_way()
        started = loop.time()
        name = conversation.conversation_id
        await self.events.put(
            SeedEvent(SeedEventKind.STARTED, self.processed, self._seed.total, conversation_id=name)
        )
        try:
            result = await self._persistently(conversation, number)
        except MemoraError as error:
            result = failure(name, error)
        finally:
            self._turns.finish(number)
        result.duration_ms = 1000 * (loop.time() - started)
        await self._ended(result, is_undated=conversation.at is None)

    async def _persistently(self, conversation: Conversation, number: int) -> ConversationResult:
        """Save a conversation, again where a store or embedder failed for a passing reason."""
        result = None
        for attempt in range(self._seed.config.max_retries):
            try:
                result = await self._save(conversation, number)
            except MemoraError as error:
                if not _may_pass(error):
                    raise
            if result is not None:
                return result
            await self._pace.back_off(attempt)
        result = await self._save(conversation, number)
        # An earlier try of this run stored it.
        if result.status is SeedStatus.UNCHANGED and self._seed.config.max_retries:
            result.status = SeedStatus.CREATED
        return result

    async def _save(self, conversation: Conversation, number: int) -> ConversationResult:
        request = await request_of(self._seed, conversation, self._ports.extraction_model)
        name = conversation.conversation_id
        self._seen.check(name, request.transcript.last_hash)
        stored = await self._ports.graph.find_interaction(self._seed.scope, name)
        if stored is not None and holds(stored, request.transcript):
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
            expired=outcome.expired,
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
        written = await jobs.resume(self._ports, job.org_id, job.job_id, lambda: self._turn(number))
        if written is not None:
            result.status, result.memories = SeedStatus.UPDATED, written.memories
            result.expired = written.expired
            return result
        job = await graph.find_job(job.org_id, job.job_id)
        if job is not None and job.status is not JobStatus.DONE:
            result.success, result.status = False, SeedStatus.FAILED
            result.error = "ConflictError: its extraction is under way elsewhere"
        return result

    @asynccontextmanager
    async def _turn(self, number: int) -> AsyncGenerator[None]:
        await self._turns.wait(number)
        await self._lane.give_way()
        if self._ports.extraction_model is not None:
            # A model compares with what the vector store finds: it must know all before.
            await self._ports.graph.drain_outbox()
        yield

    async def _ended(self, result: ConversationResult, *, is_undated: bool = False) -> None:
        self.processed += 1
        kind = _EVENTS.get(result.status, SeedEventKind.SAVED)
        if not result.success:
            _logger.info("a conversation was not imported: %s", (result.error or "").split(":")[0])
        event = SeedEvent(
            kind, self.processed, self._seed.total, result, is_undated, result.conversation_id
        )
        is_due = self.processed % _DRAIN_EVERY == 0 or self._one_by_one
        if is_due and (self._draining is None or self._draining.done()):
            self._draining = asyncio.create_task(self._drain())
        await self.events.put(event)

    async def _drain(self) -> None:
        await self._lane.give_way()
        await self._ports.graph.drain_outbox()

    async def drain_to_the_end(self) -> None:
        """Bring the vectors of this user up to date, however often that takes to try.

        Raises:
            VectorDBError: It failed to the last.
        """
        graph, scope = self._ports.graph, self._seed.scope
        attempt = 0
        report = await graph.drain_outbox()
        while waiting := await _waiting(graph, scope):
            if attempt >= self._seed.config.max_retries:
                reason = report.error or "another process is at it"
                raise VectorDBError("seed", f"{waiting} outbox entries are left: {reason}")
            await self._pace.back_off(attempt)
            attempt += 1
            report = await graph.drain_outbox()


async def _one_less(running: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Wait until one has ended, and return those that have not.

    Raises:
        Exception: What one raised; nothing that concerns only a conversation does.
    """
    ended, left = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for task in ended:
        task.result()
    return left


async def _waiting(graph: BaseGraphDB, scope: Scope) -> int:
    """Return how many outbox entries of the user there are."""
    count, after = 0, 0
    while page := await graph.list_outbox(after=after):
        own = (scope.org_id, scope.user_id)
        count += sum((entry.org_id, entry.user_id) == own for entry in page)
        after = page[-1].seq
    return count


def _may_pass(error: MemoraError) -> bool:
    """Tell whether another try may succeed; a model's calls have had theirs already."""
    if isinstance(error, ExtractionError):
        cause = error.__cause__
        return isinstance(cause, RetryableError) and not isinstance(cause, LLMError)
    return isinstance(error, RetryableError) and not isinstance(error, LLMError)
