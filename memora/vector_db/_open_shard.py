"""A loaded shard as the store calls it, wherever it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from memora.core.filters import Condition
from memora.errors import VectorDBConnectionError
from memora.schema.index import ListLimits, QueryHits
from memora.schema.scope import SearchScope
from memora.vector_db._encoding import EncodedQuery
from memora.vector_db._shard_calls import ShardState, StoredPoint


class OpenShard(ABC):
    """The methods of `Shard`, done in the order of the calls.

    Up to the first wait, which is for the result, a call takes its place behind the earlier ones.
    """

    @property
    @abstractmethod
    def state(self) -> ShardState:
        """What is known of it after the last call that was answered."""

    @property
    @abstractmethod
    def is_lost(self) -> bool:
        """Whether it is gone with the process that it was in, so that every call would fail."""

    @abstractmethod
    async def _call(self, method: str, *arguments: Any) -> Any: ...

    async def search(
        self,
        queries: Sequence[EncodedQuery],
        scope: SearchScope,
        conditions: tuple[Condition, ...],
        limits: ListLimits,
    ) -> list[QueryHits]:
        """Answer each query with its two lists."""
        return await self._call("search", queries, scope, conditions, limits)

    async def apply(self, points: Sequence[StoredPoint], upto: int) -> None:
        """Insert or replace points; the shard then is at change `upto`."""
        await self._call("apply", points, upto)

    async def delete(self, memory_ids: Sequence[str]) -> None:
        """Delete points; those that are not there change nothing."""
        await self._call("delete", memory_ids)

    async def page(self, after: str | None, limit: int) -> list[tuple[str, dict[str, Any]]]:
        """Return ids and owners in the order of the ids."""
        return await self._call("page", after, limit)

    async def payloads(self, memory_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the payloads of these points by id."""
        return await self._call("payloads", memory_ids)

    async def count(self, scope: SearchScope | None = None) -> int:
        """Return the exact number of points, of a tenant or of all."""
        return await self._call("count", scope)

    async def flush(self) -> None:
        """Write everything to disk."""
        await self._call("flush")

    async def optimize(self) -> None:
        """Drop the space of deleted points."""
        await self._call("optimize")

    async def close(self) -> None:
        """Flush and release the files; one that is lost has released them."""
        try:
            await self._call("close")
        except VectorDBConnectionError:
            if not self.is_lost:
                raise
