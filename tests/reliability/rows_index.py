"""The rows of the embedded vector store without the shard that is filled from them.

Opening a shard costs ten times what a crash, its recovery and its retry cost together, so suites
that count in thousands look at the rows; `test_faults.py` repeats a part of it with the shard.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from memora.core.filters import Condition
from memora.embeddings.base import BaseEmbedder
from memora.embeddings.hashing import HashingEmbedder
from memora.schema.findings import Finding
from memora.schema.index import Hit, IndexDocument, IndexEntry, IndexStamp, ListLimits, QueryHits
from memora.schema.scope import OrganizationScope, Scope, SearchScope
from memora.vector_db._encoding import Encoder
from memora.vector_db._rows import ShardInUse, VectorRows
from memora.vector_db.base import BaseVectorDB
from memora.vector_db.rebuild import Rebuild

_ALL = 10_000


class RowsIndex(BaseVectorDB):
    """Searches its rows one by one, and by the dense vector alone."""

    def __init__(self, path: Path) -> None:
        self._rows = VectorRows(path)
        self._encoder = Encoder(HashingEmbedder(16), None)
        self._rebuild: RowsRebuild | None = None

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
        if self._rebuild is not None:
            self._rebuild.touch_documents(documents)
        encoded = await self._encoder.documents(documents)
        if encoded:
            await self._rows.put(encoded)

    async def run_queries(
        self,
        queries: Sequence[str],
        scope: SearchScope,
        conditions: tuple[Condition, ...],
        limits: ListLimits,
        dense_queries: Sequence[str] | None = None,
    ) -> list[QueryHits]:
        encoded = await self._encoder.queries(queries, dense_queries)
        points = (await self._rows.changes(0, _ALL)).points
        mine = [
            (
                np.frombuffer(point.dense, "<f4"),
                Hit(point.memory_id, org_id, user_id, agent_id, 0.0),
            )
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
                )[: limits.dense]
            )
            if query.dense
            else QueryHits()
            for query in encoded
        ]

    async def remove(self, scope: Scope, memory_ids: Sequence[str]) -> None:
        if self._rebuild is not None:
            self._rebuild.touch(scope, memory_ids)
        await self._rows.remove(scope, memory_ids)

    async def remove_user(self, org_id: str, user_id: str) -> None:
        await self._rows.remove_tenant(Scope(org_id, user_id))

    async def remove_organization(self, org_id: str) -> None:
        await self._rows.remove_tenant(OrganizationScope(org_id))

    async def scan(self, *, after: str | None = None, limit: int = 1000) -> list[IndexEntry]:
        return await self._rows.scan(after, limit)

    async def lookup(self, memory_ids: Sequence[str]) -> list[IndexEntry]:
        return [row.entry for row in await self._rows.lookup(memory_ids)]

    async def discard(self, entries: Sequence[IndexEntry]) -> None:
        await self._rows.discard(entries)

    async def inspect(self) -> list[Finding]:
        await self._rows.open()
        return []

    async def mend(self) -> None:
        await self.setup()

    async def clear(self) -> None:
        await self._rows.reset(await self._encoder.stamp())

    async def begin_rebuild(self, embedder: BaseEmbedder | None = None) -> Rebuild:
        assert embedder is None
        while await self._rows.remove_others(None, _ALL):
            pass
        generation = 1 + (await self._rows.state()).generation
        self._rebuild = RowsRebuild(self._rows, self._encoder, generation)
        return self._rebuild


class RowsRebuild(Rebuild):
    """Rows of the next generation."""

    def __init__(self, rows: VectorRows, encoder: Encoder, generation: int) -> None:
        super().__init__()
        self._rows = rows
        self._encoder = encoder
        self._generation = generation
        self._is_over = False

    async def upsert(self, documents: Sequence[IndexDocument]) -> None:
        encoded = await self._encoder.documents(documents)
        if encoded:
            await self._rows.put(encoded, self._generation)

    async def remove(self, scope: Scope, memory_ids: Sequence[str]) -> None:
        await self._rows.remove(scope, memory_ids, self._generation)

    async def remove_tenant(self, scope: Scope | OrganizationScope) -> None:
        await self._rows.remove_tenant(scope, self._generation)

    async def scan(self, *, after: str | None = None, limit: int = 1000) -> list[IndexEntry]:
        return await self._rows.scan(after, limit, self._generation)

    async def commit(self) -> None:
        changes = (await self._rows.state()).changes
        shard = ShardInUse(0, "none", changes)
        await self._rows.switch(self._generation, await self._encoder.stamp(), shard)
        await self.discard()

    async def discard(self) -> None:
        if not self._is_over:
            self._is_over = True
            while await self._rows.remove_others(None, _ALL):
                pass
