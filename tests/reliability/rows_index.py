"""The rows of the embedded vector store without the shard that is filled from them.

Opening a shard costs ten times what a crash, its recovery and its retry cost together, so suites
that count in thousands look at the rows; `test_faults.py` repeats a part of it with the shard.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from memora.core.filters import Condition
from memora.embeddings.hashing import HashingEmbedder
from memora.schema.index import Hit, IndexDocument, IndexEntry, IndexStamp, QueryHits
from memora.schema.scope import OrganizationScope, Scope, SearchScope
from memora.vector_db._encoding import Encoder
from memora.vector_db._rows import VectorRows
from memora.vector_db.base import BaseVectorDB

_ALL = 10_000


class RowsIndex(BaseVectorDB):
    """Searches its rows one by one, and by the dense vector alone."""

    def __init__(self, path: Path) -> None:
        self._rows = VectorRows(path)
        self._encoder = Encoder(HashingEmbedder(16), None)

    async def setup(self) -> None:
        await self._rows.open()
        if (await self._rows.state()).stamp is None:
            await self._rows.start(await self._encoder.stamp())

    async def close(self) -> None:
        await self._rows.close()
        await self._encoder.close()

    async def stamp(self) -> IndexStamp | None:
        return (await self._rows.state()).stamp

    async def upsert(self, documents: Sequence[IndexDocument]) -> None:
        encoded = await self._encoder.documents(documents)
        if encoded:
            await self._rows.put(encoded)

    async def run_queries(
        self,
        queries: Sequence[str],
        scope: SearchScope,
        conditions: tuple[Condition, ...],
        limit: int,
    ) -> list[QueryHits]:
        encoded = await self._encoder.queries(queries)
        points = (await self._rows.changes(0, _ALL)).points
        mine = [
            (np.array(point.dense), Hit(point.memory_id, org_id, user_id, agent_id, 0.0))
            for point in points
            if (org_id := point.payload["org_id"]) == scope.org_id
            and scope.admits(
                org_id,
                user_id := point.payload["user_id"],
                agent_id := point.payload.get("agent_id"),
            )
        ]
        return [
            QueryHits(
                tuple(
                    Hit(hit.memory_id, hit.org_id, hit.user_id, hit.agent_id, score)
                    for vector, hit in mine
                    if (score := float(vector @ np.array(query.dense))) > 0
                )[:limit]
            )
            if query.dense
            else QueryHits()
            for query in encoded
        ]

    async def remove(self, scope: Scope, memory_ids: Sequence[str]) -> None:
        await self._rows.remove(scope, memory_ids)

    async def remove_user(self, org_id: str, user_id: str) -> None:
        await self._rows.remove_tenant(Scope(org_id, user_id))

    async def remove_organization(self, org_id: str) -> None:
        await self._rows.remove_tenant(OrganizationScope(org_id))

    async def scan(self, *, after: str | None = None, limit: int = 1000) -> list[IndexEntry]:
        return await self._rows.scan(after, limit)

    async def clear(self) -> None:
        await self._rows.reset(await self._encoder.stamp())
