"""Vectors in one directory, without a server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from memora.core.filters import Condition
from memora.embeddings.base import BaseEmbedder, SparseEncoder
from memora.encryption import Keyring
from memora.errors import RebuildRunningError
from memora.schema.findings import Finding
from memora.schema.index import IndexDocument, IndexEntry, IndexStamp, ListLimits, QueryHits
from memora.schema.scope import OrganizationScope, Scope, SearchScope
from memora.schema.validation import checked_bool, checked_path
from memora.vector_db._encoding import Encoder
from memora.vector_db._generations import Generations, Staged
from memora.vector_db.base import BaseVectorDB, PinnedStore, checked_memory_id
from memora.vector_db.rebuild import Rebuild


class EmbeddedVectorDB(BaseVectorDB):
    """A Qdrant Edge shard that is filled from rows in SQLite and can be filled again at any time.

    The rows (vectors and filter values, no text) are committed first; the shard then takes over
    every change it lacks, in the order of the changes, also after a crash. It belongs to one
    process and one event loop.

    Args:
        path: Directory of the store, made when it is not there; None keeps the store in a
            temporary one until `close`.
        embedder: None stands for the offline default.
        lexical: None stands for BM25 in English.
        own_process: Run the engine in a process of its own. It computes while the event loop goes
            on, on another core, at the price of that process; see the page on the embedded store.

    Example:
        >>> vectors = EmbeddedVectorDB("./memory")
    """

    def __init__(
        self,
        path: str | Path | None,
        *,
        embedder: BaseEmbedder | None = None,
        lexical: SparseEncoder | None = None,
        own_process: bool = False,
    ) -> None:
        encoder = Encoder(embedder, lexical)
        self._generations = Generations(
            None if path is None else checked_path(path, "path"),
            encoder,
            own_process=checked_bool(own_process, "own_process"),
        )
        self._rebuild: EmbeddedRebuild | None = None

    async def setup(self) -> None:
        await self._generations.to_the_end(self._generations.setup())

    async def close(self) -> None:
        await self._generations.close()

    async def use_keys(self, keys: Keyring) -> None:
        await self._generations.to_the_end(self._generations.use_keys(keys))

    async def stamp(self) -> IndexStamp | None:
        rows = self._generations.rows
        return None if rows is None else (await rows.state()).stamp

    async def upsert(self, documents: Sequence[IndexDocument]) -> None:
        if (rebuild := self._running_rebuild()) is not None:
            rebuild.touch_documents(documents)
        generations = self._generations
        while True:
            _, index = generations.opened()
            encoded = await index.encoder.documents(documents)
            # A reindex may have put another model into use while this one embedded.
            if not encoded or await generations.to_the_end(generations.put(index, encoded)):
                return

    async def run_queries(
        self,
        queries: Sequence[str],
        scope: SearchScope,
        conditions: tuple[Condition, ...],
        limits: ListLimits,
        dense_queries: Sequence[str] | None = None,
    ) -> list[QueryHits]:
        while True:
            _, index = self._generations.opened()
            encoded = await index.encoder.queries(queries, dense_queries)
            found = await self._generations.search(index, encoded, scope, conditions, limits)
            if found is not None:
                return found

    async def remove(self, scope: Scope, memory_ids: Sequence[str]) -> None:
        if (rebuild := self._running_rebuild()) is not None:
            rebuild.touch(scope, memory_ids)
        await self._generations.to_the_end(self._generations.remove(scope, memory_ids))

    async def remove_user(self, org_id: str, user_id: str) -> None:
        await self._remove_tenant(Scope(org_id, user_id))

    async def remove_organization(self, org_id: str) -> None:
        await self._remove_tenant(OrganizationScope(org_id))

    async def count(self, scope: SearchScope) -> int:
        return await self._generations.count(scope)

    def forget_texts(self) -> None:
        self._generations.forget_texts()

    async def scan(self, *, after: str | None = None, limit: int = 1000) -> list[IndexEntry]:
        start = None if after is None else checked_memory_id(after)
        return await self._generations.scan(start, limit)

    async def lookup(self, memory_ids: Sequence[str]) -> list[IndexEntry]:
        return await self._generations.lookup(memory_ids)

    async def discard(self, entries: Sequence[IndexEntry]) -> None:
        await self._generations.to_the_end(self._generations.discard_seen(entries))

    async def inspect(self) -> list[Finding]:
        return await self._generations.to_the_end(self._generations.inspect())

    async def mend(self) -> None:
        await self._generations.to_the_end(self._generations.mend())

    async def clear(self) -> None:
        await self._generations.to_the_end(self._generations.clear())

    @asynccontextmanager
    async def pin(self) -> AsyncGenerator[PinnedStore | None]:
        # The rows are the store; a shard is filled from them.
        rows, _ = self._generations.opened()
        async with rows.snapshot() as snapshot:
            yield snapshot

    async def replace_with(self, file: Path) -> bool:
        return await self._generations.to_the_end(self._generations.replace(file))

    async def rewrite(self) -> None:
        """Fill a new shard from the rows and drop the old one, with all that was deleted from it.

        Searches go on meanwhile; writes wait. Some 6,000 vectors a second.
        """
        await self._generations.to_the_end(self._generations.rewrite())

    async def begin_rebuild(self, embedder: BaseEmbedder | None = None) -> Rebuild:
        generations = self._generations
        if generations.staged is not None:
            raise RebuildRunningError("embedded")
        encoder = generations.encoder
        if embedder is not None:
            encoder = encoder.with_embedder(embedder)
        staged = generations.staged = Staged(encoder)
        rebuild = self._rebuild = EmbeddedRebuild(generations, staged)
        try:
            await generations.to_the_end(generations.begin(staged))
        except BaseException:
            await rebuild.discard()
            raise
        return rebuild

    def _running_rebuild(self) -> EmbeddedRebuild | None:
        return None if self._generations.staged is None else self._rebuild

    async def _remove_tenant(self, scope: SearchScope) -> None:
        self.forget_texts()
        if (rebuild := self._running_rebuild()) is not None:
            rebuild.touch_tenant(scope)
        await self._generations.to_the_end(self._generations.remove_tenant(scope))


class EmbeddedRebuild(Rebuild):
    """Rows of the next generation, and a shard that is kept in step with them.

    Deletes from the store reach the rows of both generations in one transaction; the switch is one
    as well.
    """

    def __init__(self, generations: Generations, staged: Staged) -> None:
        super().__init__()
        self._generations = generations
        self._staged = staged

    async def upsert(self, documents: Sequence[IndexDocument]) -> None:
        encoded = await self._staged.encoder.documents(documents)
        if encoded:
            await self._generations.to_the_end(self._generations.put_staged(self._staged, encoded))

    async def remove(self, scope: Scope, memory_ids: Sequence[str]) -> None:
        work = self._generations.remove_staged(self._staged, scope, memory_ids)
        await self._generations.to_the_end(work)

    async def remove_tenant(self, scope: SearchScope) -> None:
        work = self._generations.remove_tenant_staged(self._staged, scope)
        await self._generations.to_the_end(work)

    async def scan(self, *, after: str | None = None, limit: int = 1000) -> list[IndexEntry]:
        rows, index = self._generations.opened_staged(self._staged)
        model_id = self._staged.encoder.model_id
        found = await rows.scan(after, limit, index.generation)
        return [replace(entry, model_id=model_id) for entry in found]

    async def commit(self) -> None:
        await self._generations.to_the_end(self._generations.commit(self._staged))

    async def discard(self) -> None:
        await self._generations.to_the_end(self._generations.discard(self._staged))
