"""Imports as records: listing them, keeping their counts, and taking one back."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from memora.agent.ports import Ports
from memora.errors import ConflictError, ImportNotFoundError, MemoraError
from memora.schema.imports import ImportCounts, ImportRun, ImportStatus, ImportUndo
from memora.schema.scope import Scope
from memora.schema.seeding import ConversationResult, DocumentResult

_logger = logging.getLogger(__name__)

# The counts of an import are written after so many conversations, or seconds.
_EVERY = 50
_SECONDS = 1.0


class Running:
    """The imports that are under way in this engine, by organization and id."""

    def __init__(self) -> None:
        self._runs: Counter[tuple[str, str]] = Counter()

    def __contains__(self, run: tuple[str, str]) -> bool:
        return self._runs[run] > 0

    def add(self, org_id: str, import_id: str) -> None:
        """Note that one begins."""
        self._runs[org_id, import_id] += 1

    def remove(self, org_id: str, import_id: str) -> None:
        """Note that one has ended."""
        self._runs[org_id, import_id] -= 1


class Ledger:
    """Keeps the row of an import that runs.

    Args:
        ports: Stores.
        scope: Whose import it is.
        import_id: Its id.
    """

    def __init__(self, ports: Ports, scope: Scope, import_id: str) -> None:
        self._graph = ports.graph
        self._scope = scope
        self.import_id = import_id
        self._waiting = ImportCounts()
        self._number = 0
        self._written = 0.0

    @asynccontextmanager
    async def open(self, process_id: str | None, running: Running) -> AsyncGenerator[None]:
        """Begin the import; in the end note how it ended: as done, or otherwise as failed.

        Raises:
            ConflictError: The import was taken back, or its id is another user's.
        """
        scope, import_id = self._scope, self.import_id
        run = ImportRun(
            org_id=scope.org_id,
            import_id=import_id,
            user_id=scope.user_id,
            agent_id=scope.agent_id,
            process_id=process_id,
            started_at=self._graph.clock.now(),
        )
        running.add(scope.org_id, import_id)
        try:
            await self._graph.begin_import(run)
            self._written = asyncio.get_running_loop().time()
            try:
                yield
            except BaseException:
                # Also when the caller is cancelled or leaves: the row must not say running.
                with suppress(MemoraError):
                    await asyncio.shield(self._finish(ImportStatus.FAILED))
                raise
            await self._finish(ImportStatus.DONE)
        finally:
            running.remove(scope.org_id, import_id)

    async def note(self, result: ConversationResult | DocumentResult) -> None:
        """Count a conversation or document that failed or was skipped.

        What is written counts itself, with the write.

        Raises:
            ConflictError: The import was taken back meanwhile.
        """
        self._waiting += ImportCounts(
            failed=not result.success,
            skipped=result.status in {"unchanged", "duplicate"},
        )
        self._number += 1
        now = asyncio.get_running_loop().time()
        if self._number >= _EVERY or now - self._written >= _SECONDS:
            self._written = now
            await self._write()

    async def _write(self) -> None:
        counts, self._waiting, self._number = self._waiting, ImportCounts(), 0
        if counts != ImportCounts():
            await self._graph.note_import(self._scope, self.import_id, counts)

    async def _finish(self, status: ImportStatus) -> None:
        await self._write()
        now = self._graph.clock.now()
        await self._graph.finish_import(self._scope, self.import_id, status, now)


async def undo(
    ports: Ports, org_id: str, import_id: str, running: Running, *, dry_run: bool
) -> ImportUndo:
    """Take back all that an import wrote.

    Raises:
        ImportNotFoundError: There is no such import in the organization.
        ConflictError: It is running in this engine.
    """
    graph = ports.graph
    run = await graph.find_import(org_id, import_id)
    if run is None:
        raise ImportNotFoundError(import_id)
    if (org_id, import_id) in running:
        raise ConflictError("import", import_id, expected="one that has ended", actual="running")
    now = graph.clock.now()
    scope = Scope(org_id, run.user_id)
    done = await graph.undo_import(scope, import_id, now, dry_run=dry_run)
    if not dry_run:
        _logger.info(
            "took an import of a user back: %d conversations and %d memories removed, %d restored",
            done.interactions_removed,
            done.memories,
            done.restored,
        )
        await graph.drain_outbox()
    return ImportUndo(org_id, run.user_id, import_id, now, done, dry_run)
