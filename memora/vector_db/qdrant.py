"""Vectors in a Qdrant collection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from memora.core.clock import Clock, SystemClock
from memora.core.filters import Condition
from memora.core.indexing import KEYWORD_FIELDS, NUMBER_FIELDS
from memora.embeddings.base import BaseEmbedder, SparseEncoder
from memora.errors import RebuildRunningError, VectorDBConnectionError, VectorDBError
from memora.schema.findings import Finding, FindingKind
from memora.schema.index import IndexDocument, IndexEntry, IndexStamp, ListLimits, QueryHits
from memora.schema.scope import OrganizationScope, Scope, SearchScope
from memora.vector_db._encoding import Encoder, check_stamp, other_model
from memora.vector_db._qdrant_collections import LEASE, Collection, Collections
from memora.vector_db._qdrant_errors import translated
from memora.vector_db._qdrant_points import Points
from memora.vector_db.base import BaseVectorDB
from memora.vector_db.rebuild import Rebuild

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient

T = TypeVar("T")

_logger = logging.getLogger(__name__)

COLLECTION = "memory_collection_v0_4"
# The first server that computes IDF over a filtered part of the collection.
_MIN_SERVER = (1, 19)


class QdrantDB(BaseVectorDB):
    """Memories in a collection of a Qdrant server, 1.19 or newer.

    Args:
        async_client: A client of a server, or one in local mode for tests.
        collection_name: The collection, made by `setup` and never by a write; a reindex makes
            others, whose names begin with it, and an alias that says which one is in use.
        embed_models_cache_dir: Not used; it is the embedder's business since 0.4.
        enable_logging: Print the library's log on standard error.
        embedder: None stands for the offline default.
        lexical: None stands for BM25 in English.
        owns_client: `close` closes the client too; otherwise who made it does.
        clock: Decides when the reindex of another process counts as dead.

    Example:
        ```python
        from qdrant_client import AsyncQdrantClient

        vectors = QdrantDB(AsyncQdrantClient(url="http://localhost:6333"))
        ```
    """

    def __init__(
        self,
        async_client: AsyncQdrantClient,
        collection_name: str = COLLECTION,
        embed_models_cache_dir: str = "./cache",  # noqa: ARG002 - the signature of memora 0.3
        enable_logging: bool = False,  # noqa: FBT001, FBT002 - as above
        *,
        embedder: BaseEmbedder | None = None,
        lexical: SparseEncoder | None = None,
        owns_client: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.async_client = async_client
        self.collection_name = collection_name
        self._encoder = Encoder(embedder, lexical)
        self._owns_client = owns_client
        self._collections = Collections(async_client, collection_name, clock or SystemClock())
        self._points: Points | None = None
        self._unverified: Collection | None = None
        self._rebuild: QdrantRebuild | None = None
        if enable_logging:
            from memora._logging import enable_console  # noqa: PLC0415 - on request only

            enable_console()

    async def setup(self) -> None:
        wanted = await self._encoder.stamp()
        if not self._collections.is_local:
            await self._check_server()
        found = await self._collections.find()
        if found is None:
            await self._collections.create_first(wanted)
            found = await self._found()
        check_stamp(self._collections.store, found.mark.stamp, wanted)
        check_stamp(self._collections.store, found.takes, wanted)
        await self._collections.create_indexes(found)
        self._use(found)
        await self._collections.remove_leftovers(found.name)

    async def close(self) -> None:
        if self._rebuild is not None:
            await self._rebuild.discard()
        await self._encoder.close()
        if self._owns_client:
            with translated():
                await self.async_client.close()

    async def stamp(self) -> IndexStamp | None:
        found = await self._collections.find()
        return None if found is None else found.mark.stamp

    async def upsert(self, documents: Sequence[IndexDocument]) -> None:
        if self._rebuild is not None:
            self._rebuild.touch_documents(documents)

        async def work(points: Points) -> None:
            await points.upsert(await points.encoder.documents(documents))

        await self._on_current(work)

    async def run_queries(
        self,
        queries: Sequence[str],
        scope: SearchScope,
        conditions: tuple[Condition, ...],
        limits: ListLimits,
        dense_queries: Sequence[str] | None = None,
    ) -> list[QueryHits]:
        async def work(points: Points) -> list[QueryHits]:
            encoded = await points.encoder.queries(queries, dense_queries)
            return await points.search(encoded, scope, conditions, limits)

        return await self._on_current(work)

    async def remove(self, scope: Scope, memory_ids: Sequence[str]) -> None:
        if self._rebuild is not None:
            self._rebuild.touch(scope, memory_ids)
            if self._rebuild.has_begun:
                await self._rebuild.remove(scope, memory_ids)
        await self._on_current(lambda points: points.remove(scope, memory_ids))

    async def remove_user(self, org_id: str, user_id: str) -> None:
        await self._remove_tenant(Scope(org_id, user_id))

    async def remove_organization(self, org_id: str) -> None:
        await self._remove_tenant(OrganizationScope(org_id))

    async def count(self, scope: SearchScope) -> int:
        return await self._on_current(lambda points: points.count(scope))

    def forget_texts(self) -> None:
        self._encoder.forget()

    async def scan(self, *, after: str | None = None, limit: int = 1000) -> list[IndexEntry]:
        async def work(points: Points) -> list[IndexEntry]:
            return await points.scan(after, limit, points.encoder.model_id)

        return await self._on_current(work)

    async def lookup(self, memory_ids: Sequence[str]) -> list[IndexEntry]:
        async def work(points: Points) -> list[IndexEntry]:
            return await points.lookup(memory_ids, points.encoder.model_id)

        return await self._on_current(work)

    async def discard(self, entries: Sequence[IndexEntry]) -> None:
        await self._on_current(lambda points: points.discard(entries))

    async def inspect(self) -> list[Finding]:
        found = await self._collections.find()
        if found is None:
            return []
        wanted = await self._encoder.stamp()
        for stamp in (found.mark.stamp, found.takes):
            if stamp != wanted:
                return [other_model(stamp, wanted)]
        if self._collections.is_local:
            return []
        return [
            Finding("I5", "vectors", f"no index on {field}", FindingKind.HALF_MIGRATION)
            for field in (*KEYWORD_FIELDS, *NUMBER_FIELDS)
            if field not in found.indexed
        ]

    async def mend(self) -> None:
        if not any(finding.blocks for finding in await self.inspect()):
            await self.setup()

    async def clear(self) -> None:
        # Raises for a collection that is not memora's, or that memora 0.3 made.
        found = await self._collections.find()
        others = await self._collections.others(None if found is None else found.name)
        if any(map(self._collections.is_alive, others)):
            raise RebuildRunningError("qdrant")
        await self._collections.remove(others if found is None else [*others, found])
        self._points = None
        await self.setup()

    async def begin_rebuild(self, embedder: BaseEmbedder | None = None) -> Rebuild:
        if self._rebuild is not None:
            raise RebuildRunningError("qdrant")
        encoder = self._encoder if embedder is None else self._encoder.with_embedder(embedder)
        rebuild = self._rebuild = QdrantRebuild(
            self.async_client, self._collections, encoder, self._adopt, self._release
        )
        try:
            await rebuild.begin()
        except BaseException:
            await rebuild.discard()
            raise
        return rebuild

    async def is_unverified(self) -> bool:
        return self._unverified is not None

    async def mark_verified(self) -> None:
        if self._unverified is not None:
            await self._collections.mark_verified(self._unverified)
            self._unverified = None

    async def _adopt(self, rebuild: QdrantRebuild, collection: Collection) -> None:
        """Work with the collection that a rebuild put into use, and with its model."""
        before, self._encoder = self._encoder, rebuild.encoder
        self._use(collection)
        if before is not rebuild.encoder:
            await before.close()

    def _release(self, rebuild: QdrantRebuild) -> None:
        if self._rebuild is rebuild:
            self._rebuild = None

    def _use(self, collection: Collection) -> Points:
        self._unverified = collection if collection.mark.unverified else None
        self._points = Points(self.async_client, collection.name, self._encoder)
        return self._points

    async def _found(self) -> Collection:
        found = await self._collections.find()
        if found is None:
            raise VectorDBError("qdrant", f"there is no collection {self.collection_name!r}")
        return found

    async def _on_current(self, work: Callable[[Points], Awaitable[T]]) -> T:
        """Do work on the collection in use, again where it turns out to be no longer in use."""
        while True:
            points = self._points or await self._join()
            try:
                result = await work(points)
            except VectorDBConnectionError:
                raise
            except VectorDBError:
                if not await self._has_moved(points):
                    raise
            else:
                if points is self._points:
                    return result

    async def _join(self) -> Points:
        """Return the collection in use of a store that was not set up here."""
        found = await self._found()
        check_stamp(self._collections.store, found.mark.stamp, await self._encoder.stamp())
        self._use(found)
        return self._use(found)

    async def _has_moved(self, points: Points) -> bool:
        """Tell whether a reindex ended since, here or in another process, and follow it.

        Raises:
            SchemaVersionError: It changed the model, and this object has the old one.
        """
        if points is not self._points:
            return True
        try:
            found = await self._collections.find()
        except VectorDBError:
            return False
        if found is None or found.name == points.name:
            return False
        check_stamp(self._collections.store, found.mark.stamp, await self._encoder.stamp())
        self._use(found)
        return True

    async def _remove_tenant(self, scope: SearchScope) -> None:
        self.forget_texts()
        if self._rebuild is not None:
            self._rebuild.touch_tenant(scope)
        await self._on_current(lambda points: points.remove_tenant(scope))
        # What was erased must not live on in what other processes are making or left behind.
        others = await self._collections.others(None if self._points is None else self._points.name)
        for other in others:
            if self._collections.is_alive(other):
                await Points(self.async_client, other.name, self._encoder).remove_tenant(scope)
            else:
                await self._collections.remove([other])

    async def _check_server(self) -> None:
        with translated():
            version = (await self.async_client.info()).version
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
        if numbers < _MIN_SERVER:
            minimum = ".".join(map(str, _MIN_SERVER))
            reason = f"the server is Qdrant {version}; memora needs {minimum} or newer"
            raise VectorDBError("qdrant", f"{reason}, which computes IDF within a tenant")


class QdrantRebuild(Rebuild):
    """A collection of its own; the switch is one change of an alias, and deletes the old one.

    While it is filled, its lease is renewed, so that nobody takes it for left behind.
    """

    def __init__(
        self,
        client: AsyncQdrantClient,
        collections: Collections,
        encoder: Encoder,
        adopt: Callable[[QdrantRebuild, Collection], Awaitable[None]],
        release: Callable[[QdrantRebuild], None],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self._client = client
        self._collections = collections
        self._adopt_in_store = adopt
        self._release = release
        self._collection: Collection | None = None
        self._beat: asyncio.Task[None] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether there is a collection to be filled."""
        return self._collection is not None

    async def begin(self) -> None:
        """Make the collection, unless somebody else is making one."""
        stamp = await self.encoder.stamp()
        found = await self._collections.find()
        in_use = None if found is None else found.name
        await self._check_alone(in_use)
        await self._collections.remove_leftovers(in_use)
        # Known before it is made: whatever happens on the way, it can be removed.
        self._collection = self._collections.next(stamp)
        await self._collections.create(self._collection)
        # Of two that begin in the same moment, both see the other here: at most one goes on.
        await self._check_alone(in_use)
        await self._collections.create_indexes(self._collection)
        self._beat = asyncio.create_task(self._renew(self._collection))

    async def upsert(self, documents: Sequence[IndexDocument]) -> None:
        points = self._points()
        await points.upsert(await self.encoder.documents(documents))

    async def remove(self, scope: Scope, memory_ids: Sequence[str]) -> None:
        await self._points().remove(scope, memory_ids)

    async def remove_tenant(self, scope: SearchScope) -> None:
        await self._points().remove_tenant(scope)

    async def scan(self, *, after: str | None = None, limit: int = 1000) -> list[IndexEntry]:
        return await self._points().scan(after, limit, self.encoder.model_id)

    async def commit(self) -> None:
        committing = asyncio.ensure_future(self._commit())
        try:
            await asyncio.shield(committing)
        except asyncio.CancelledError:
            # Whether the alias was changed must be known before anything is deleted.
            await asyncio.wait([committing])
            raise

    async def _commit(self) -> None:
        name = self._points().name
        before = await self._collections.find()
        try:
            await self._collections.put_into_use(name)
        except VectorDBError:
            # It may have happened all the same.
            if not await self._is_in_use(name):
                raise
        await self._adopt()
        if before is not None:
            await self._collections.remove([before])
        await self._collections.remove_leftovers(name)

    async def discard(self) -> None:
        collection = self._collection
        if collection is None:
            self._release(self)
            return
        # Where it cannot be learnt what is in use, it stays: without lease it counts as left over.
        with suppress(VectorDBError):
            if await self._is_in_use(collection.name):
                await self._adopt()
                return
            await self._stop()
            await self._collections.remove([collection])
        await self._stop()

    async def _adopt(self) -> None:
        collection = self._collection
        if collection is not None:
            await self._adopt_in_store(self, collection)
            await self._stop()
            await self._collections.end_lease(collection)

    async def _stop(self) -> None:
        beat, self._beat, self._collection = self._beat, None, None
        self._release(self)
        if beat is not None:
            beat.cancel()
            await asyncio.wait([beat])

    def _points(self) -> Points:
        if self._collection is None:
            raise VectorDBError("qdrant", "this reindex is over")
        return Points(self._client, self._collection.name, self.encoder)

    async def _is_in_use(self, name: str) -> bool:
        found = await self._collections.find()
        return found is not None and found.name == name

    async def _check_alone(self, in_use: str | None) -> None:
        mine = None if self._collection is None else self._collection.name
        for other in await self._collections.others(in_use):
            if other.name != mine and self._collections.is_alive(other):
                raise RebuildRunningError("qdrant")

    async def _renew(self, collection: Collection) -> None:
        while True:
            await asyncio.sleep(LEASE.total_seconds() / 4)
            try:
                await self._collections.renew(collection)
            except VectorDBError as error:
                _logger.warning("the lease of %s was not renewed: %s", collection.name, error)
