"""Counts which memories were answers: in memory, and written in batches off the recall path."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from memora.errors import MemoraError
from memora.graph_db.base import BaseGraphDB
from memora.schema.lifetime import Access
from memora.schema.models import Memory
from memora.schema.scope import Scope, SearchScope

_logger = logging.getLogger(__name__)

_Key = tuple[str, str, str]
# While a graph cannot be written to, counts of so many memories are kept, and no more.
_MOST = 10_000


class Usage:
    """Counts that are not written yet; a crash loses them and nothing else.

    Args:
        graph: Where they go.
        size: Memories from which on they are written at once.
        seconds: How long the first of them waits at most.
    """

    def __init__(self, graph: BaseGraphDB, *, size: int = 256, seconds: float = 5.0) -> None:
        self._graph = graph
        self._size = size
        self._seconds = seconds
        self._counts: dict[_Key, Access] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    def note(self, memories: Iterable[Memory]) -> None:
        """Count answers; returns at once."""
        now = self._graph.clock.now()
        for memory in memories:
            key = (memory.org_id, memory.user_id, memory.memory_id)
            self._add(key, Access(1, now))
        if self._counts and self._timer is None and self._task is None:
            if len(self._counts) >= self._size:
                self._start()
            else:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(self._seconds, self._start)
        elif self._timer is not None and len(self._counts) >= self._size:
            self._timer.cancel()
            self._start()

    def _add(self, key: _Key, access: Access) -> None:
        known = self._counts.get(key)
        if known is not None:
            access = Access(known.count + access.count, max(known.at, access.at))
        elif len(self._counts) >= _MOST:
            return
        self._counts[key] = access

    def _start(self) -> None:
        self._timer = None
        self._task = asyncio.ensure_future(self.flush())
        self._task.add_done_callback(self._ended)

    def _ended(self, _task: asyncio.Task[None]) -> None:
        self._task = None

    async def flush(self) -> None:
        """Write what was counted; what cannot be written is kept for the next time."""
        async with self._writing:
            counts, self._counts = self._counts, {}
            by_owner: dict[tuple[str, str], dict[str, Access]] = {}
            for (org_id, user_id, memory_id), access in counts.items():
                by_owner.setdefault((org_id, user_id), {})[memory_id] = access
            for (org_id, user_id), accesses in by_owner.items():
                try:
                    await self._graph.count_accesses(Scope(org_id, user_id), accesses)
                except MemoraError as error:
                    _logger.warning("usage was not counted: %s", type(error).__name__)
                    for memory_id, access in accesses.items():
                        self._add((org_id, user_id, memory_id), access)

    async def forget(self, scope: SearchScope) -> None:
        """Drop what is counted for a user or an organization that is gone; an agent narrows not."""
        user_id = scope.user_id if isinstance(scope, Scope) else None
        async with self._writing:
            for key in list(self._counts):
                if key[0] == scope.org_id and user_id in {None, key[1]}:
                    del self._counts[key]

    async def close(self) -> None:
        """Write what is left, and stop; a second call does nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            await self._task
        if self._counts:
            await self.flush()
        self._counts = {}
