"""Drains the outbox: brings the vector store to the graph's state.

An entry is claimed under a lease, applied, and acknowledged. Applying is idempotent and looks at
the graph as it is by then, so a crash or a lost lease means repetition, never loss, and never a
vector of something that is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Protocol

from memora.errors import (
    EmbeddingError,
    MemoraError,
    RetryableError,
    SchemaVersionError,
    VectorDBError,
)
from memora.schema.index import IndexDocument
from memora.schema.scope import Scope
from memora.schema.write_plan import LONGEST_PAUSE, OutboxEntry, OutboxOp
from memora.vector_db.base import BaseVectorDB

_logger = logging.getLogger(__name__)

BATCH = 256
# Documents that are upserted together, about.
UPSERT = 1000
LEASE = timedelta(seconds=60)
MAX_ATTEMPTS = 10
_BACKOFF_BASE = timedelta(seconds=1)
Applied = Callable[[Sequence[OutboxEntry]], None]
# The last one: another process changed the model. Its vectors are its own, and so is what waits.
Failure = VectorDBError | EmbeddingError | SchemaVersionError
# What passes without anybody looking at the entry.
_MAY_PASS = (RetryableError, SchemaVersionError)


class OutboxSource(Protocol):
    """What draining needs of a graph store."""

    async def claim_outbox(
        self, *, now: datetime, lease_until: datetime, limit: int
    ) -> list[OutboxEntry]: ...

    async def ack_outbox(self, entries: Sequence[OutboxEntry]) -> list[OutboxEntry]: ...

    async def fail_outbox(
        self, entries: Sequence[OutboxEntry], *, error: str, not_before: datetime, dead: bool
    ) -> None: ...

    async def enqueue_sync(
        self, scope: Scope, memory_ids: Sequence[str], now: datetime
    ) -> None: ...

    async def read_index_documents(
        self, scope: Scope, memory_ids: Sequence[str]
    ) -> list[IndexDocument]: ...


@dataclass(frozen=True, slots=True)
class DrainReport:
    """What one drain did.

    Attributes:
        applied: Entries worked off.
        failed: Entries that failed and wait for their next try, or were given up.
        error: Type and reason of the last failure.
    """

    applied: int = 0
    failed: int = 0
    error: str | None = None


class Drains:
    """The drains of one store in this process: one at a time, and none that was waited for.

    Of callers that come at the same time, the first of the next drain works for all: it begins
    after their commits, so it sees all their entries.
    """

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self._begun = 0
        self._last: tuple[object, DrainReport] = (None, DrainReport())

    async def run(
        self, drain: Callable[[], Awaitable[DrainReport]], *, shared_as: object
    ) -> DrainReport:
        """Run a drain, or return the report of an equal one that began after this call.

        Args:
            drain: Starts it.
            shared_as: Drains of equal value do the same; None: nobody else's will do.
        """
        before = self._begun
        async with self.lock:
            key, report = self._last
            if self._begun > before and shared_as is not None and key == shared_as:
                return report
            self._begun += 1
            self._last = (None, report)
            report = await drain()
            self._last = (shared_as, report)
            return report


async def drain(
    source: OutboxSource,
    vector: BaseVectorDB,
    now: datetime,
    *,
    limit: int = BATCH,
    on_applied: Applied | None = None,
) -> DrainReport:
    """Apply all entries that are due, oldest first.

    A failure of the vector store is recorded with its entries and reported, not raised. When a
    batch fails for a reason that will not pass by itself, its entries are tried one by one, so
    that one bad entry does not hold the others up.

    Args:
        source: The graph store.
        vector: The vector store.
        now: Current time.
        limit: Entries that are claimed together.
        on_applied: Called with entries that were worked off.
    """
    report = DrainReport()
    told: Applied = on_applied or _nobody
    while True:
        claim = asyncio.ensure_future(
            source.claim_outbox(now=now, lease_until=now + LEASE, limit=limit)
        )
        try:
            entries = await asyncio.shield(claim)
            if not entries:
                return report
            error = await _attempt(source, vector, entries, now)
        except asyncio.CancelledError:
            await asyncio.shield(_give_back(source, claim, now))
            raise
        if error is None:
            report = replace(report, applied=report.applied + len(entries))
            told(entries)
            continue
        alone = len(entries) > 1 and not isinstance(error, _MAY_PASS)
        for part in [[entry] for entry in entries] if alone else [entries]:
            failure = await _attempt(source, vector, part, now) if alone else error
            if failure is None:
                report = replace(report, applied=report.applied + len(part))
                told(part)
                continue
            await _record_failure(source, part, failure, now)
            report = replace(report, failed=report.failed + len(part), error=_reason(failure))
        if not alone:
            return report


def _nobody(_entries: Sequence[OutboxEntry]) -> None:
    """Nobody is told."""


async def _give_back(
    source: OutboxSource, claim: asyncio.Future[list[OutboxEntry]], now: datetime
) -> None:
    """Release the leases of a drain that was cancelled, also while it claimed.

    Otherwise later entries of these users, an erasure's drop above all, would wait for nobody.
    """
    # What fails here must not hide the cancellation; the leases run out by themselves.
    with suppress(MemoraError):
        await source.fail_outbox(await claim, error="cancelled", not_before=now, dead=False)


async def _attempt(
    source: OutboxSource, vector: BaseVectorDB, entries: Sequence[OutboxEntry], now: datetime
) -> Failure | None:
    """Apply and acknowledge entries, or return why the vector store could not."""
    try:
        await _apply(source, vector, entries)
    except (VectorDBError, EmbeddingError, SchemaVersionError) as error:
        return error
    for entry in await source.ack_outbox(entries):
        # Somebody else took the entry over while we were at it, and what we wrote may be older
        # than what they wrote: bring these memories to the graph's state once more.
        if entry.op is OutboxOp.SYNC:
            scope = Scope(entry.org_id, entry.user_id)
            await source.enqueue_sync(scope, entry.memory_ids, now)
    return None


async def _apply(
    source: OutboxSource, vector: BaseVectorDB, entries: Sequence[OutboxEntry]
) -> None:
    """Apply entries in order; neighbouring sync entries share one upsert."""
    for is_sync, group in groupby(entries, key=lambda entry: entry.op is OutboxOp.SYNC):
        if is_sync:
            await _sync(source, vector, list(group))
            continue
        for entry in group:
            if entry.op is OutboxOp.DROP_USER:
                await vector.delete_all_user_memories(entry.org_id, entry.user_id)
            else:
                await vector.delete_all_organization_memories(entry.org_id)


async def _sync(source: OutboxSource, vector: BaseVectorDB, entries: Sequence[OutboxEntry]) -> None:
    wanted: dict[Scope, dict[str, None]] = {}
    for entry in entries:
        ids = wanted.setdefault(Scope(entry.org_id, entry.user_id), {})
        ids.update(dict.fromkeys(entry.memory_ids))
    documents: list[IndexDocument] = []
    for scope, ids in wanted.items():
        present = await source.read_index_documents(scope, list(ids))
        documents += present
        gone = ids.keys() - {document.memory_id for document in present}
        if gone:
            await vector.delete_memories(sorted(gone), scope.org_id, scope.user_id)
        if len(documents) >= UPSERT:
            await vector.upsert(documents)
            documents = []
    if documents:
        await vector.upsert(documents)


async def _record_failure(
    source: OutboxSource,
    entries: Sequence[OutboxEntry],
    error: Failure,
    now: datetime,
) -> None:
    """Put entries back with a growing pause; give up those that failed too often.

    What may pass by itself (an outage, a store that another process moved to another model) is
    never given up: it only waits longer.
    """
    may_pass = isinstance(error, _MAY_PASS)
    for entry in entries:
        pause = min(_BACKOFF_BASE * 2 ** min(entry.attempts, 12), LONGEST_PAUSE)
        dead = not may_pass and entry.attempts + 1 >= MAX_ATTEMPTS
        await source.fail_outbox([entry], error=_reason(error), not_before=now + pause, dead=dead)
    _logger.warning(
        "%d outbox entries wait for another try: %s", len(entries), type(error).__name__
    )


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
