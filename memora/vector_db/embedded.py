"""Vectors in one directory, without a server."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from memora.core.filters import Condition
from memora.embeddings.base import BaseEmbedder, SparseEncoder
from memora.encryption import DataKey, Keyring
from memora.errors import StoreLockedError, VectorDBError
from memora.schema.index import IndexDocument, IndexEntry, IndexStamp, QueryHits
from memora.schema.scope import OrganizationScope, Scope, SearchScope
from memora.vector_db._encoding import EncodedDocument, Encoder, check_stamp
from memora.vector_db._masks import masked_conditions
from memora.vector_db._rows import State, VectorRows
from memora.vector_db._shard import Shard, engine
from memora.vector_db.base import BaseVectorDB

T = TypeVar("T")

_logger = logging.getLogger(__name__)

# Points in one engine call: about 10 ms, for which the engine holds the GIL.
_PAGE = 256
# A flush holds it for 15 ms after so many points, and for much longer after many more.
_FLUSH_AFTER = 2000
# Compacting at close is worth its time from the first two on, and bounded by the last.
_DEAD_AT_LEAST = 1000
_DEAD_SHARE = 0.2
_COMPACT_UP_TO = 100_000


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

    Example:
        >>> vectors = EmbeddedVectorDB("./memory")
    """

    def __init__(
        self,
        path: str | Path | None,
        *,
        embedder: BaseEmbedder | None = None,
        lexical: SparseEncoder | None = None,
    ) -> None:
        self._path = None if path is None else Path(path)
        self._encoder = Encoder(embedder, lexical)
        self._directory = Path()
        self._rows: VectorRows | None = None
        self._shard: Shard | None = None
        self._engine: ThreadPoolExecutor | None = None
        self._pid = 0
        self._closed = False
        # Of the graph; and the one that the shard's filter values are masked with.
        self._keys = Keyring()
        self._shard_key: DataKey | None = None
        # Held while the shard changes, so that changes reach it in their order.
        self._changing = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()

    async def setup(self) -> None:
        self._closed = False
        await self._to_the_end(self._setup())

    async def close(self) -> None:
        self._closed = True
        if self._pid in {0, os.getpid()}:
            if self._running:
                await asyncio.wait(self._running)
            await self._to_the_end(self._close())

    async def use_keys(self, keys: Keyring) -> None:
        self._keys = keys
        if self._shard is not None:
            await self._to_the_end(self._mask_again())

    async def stamp(self) -> IndexStamp | None:
        return None if self._rows is None else (await self._rows.state()).stamp

    async def upsert(self, documents: Sequence[IndexDocument]) -> None:
        encoded = await self._encoder.documents(documents)
        if encoded:
            await self._to_the_end(self._upsert(encoded))

    async def run_queries(
        self,
        queries: Sequence[str],
        scope: SearchScope,
        conditions: tuple[Condition, ...],
        limit: int,
    ) -> list[QueryHits]:
        encoded = await self._encoder.queries(queries)
        _, shard = self._opened()
        conditions = masked_conditions(conditions, scope, self._shard_key)
        return await self._in_engine(shard.search, encoded, scope, conditions, limit)

    async def remove(self, scope: Scope, memory_ids: Sequence[str]) -> None:
        await self._to_the_end(self._remove(scope, memory_ids))

    async def remove_user(self, org_id: str, user_id: str) -> None:
        await self._to_the_end(self._remove_tenant(Scope(org_id, user_id)))

    async def remove_organization(self, org_id: str) -> None:
        await self._to_the_end(self._remove_tenant(OrganizationScope(org_id)))

    async def scan(self, *, after: str | None = None, limit: int = 1000) -> list[IndexEntry]:
        rows, _ = self._opened()
        return await rows.scan(after, limit)

    async def clear(self) -> None:
        if self._closed:
            # Before the first setup it may: that is how a store changes its embedder.
            raise VectorDBError("embedded", "the store is closed: call setup()")
        await self._to_the_end(self._clear())

    async def rewrite(self) -> None:
        """Fill a new shard from the rows and drop the old one, with all that was deleted from it.

        Searches go on meanwhile; writes wait. Some 6,000 vectors a second.
        """
        await self._to_the_end(self._rewrite_now())

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end even if the caller is cancelled: rows and shard stay together."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _in_engine(self, work: Callable[..., T], *args: Any) -> T:
        if self._engine is None:
            raise VectorDBError("embedded", "the store is not open: call setup()")
        self._check_process()
        return await asyncio.get_running_loop().run_in_executor(self._engine, work, *args)

    def _opened(self) -> tuple[VectorRows, Shard]:
        if self._rows is None or self._shard is None:
            raise VectorDBError("embedded", "the store is not open: call setup()")
        self._check_process()
        return self._rows, self._shard

    def _check_process(self) -> None:
        if self._pid not in {0, os.getpid()}:
            reason = f"the store was opened by process {self._pid} and cannot be used in a fork"
            raise VectorDBError("embedded", reason)

    async def _setup(self) -> None:
        self._check_process()
        wanted = await self._encoder.stamp()
        async with self._changing:
            if self._shard is not None:
                return
            try:
                rows = await self._open_rows()
                state = await rows.state()
                if state.stamp is None:
                    await rows.start(wanted)
                else:
                    check_stamp(f"vectors in {self._directory}", state.stamp, wanted)
                if await rows.mask(self._keys):
                    state = await rows.state()
                await self._open_shard(rows, state, wanted.dimensions)
            except BaseException:
                await self._release()
                raise

    async def _open_rows(self) -> VectorRows:
        if self._rows is not None:
            return self._rows
        self._pid = os.getpid()
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="memora-vectors")
        self._directory = await self._in_engine(_directory, self._path)
        rows = self._rows = VectorRows(self._directory)
        try:
            await rows.open()
        except BaseException:
            await self._release()
            raise
        return rows

    async def _open_shard(self, rows: VectorRows, state: State, dimensions: int) -> None:
        if state.shard is not None and state.engine == await self._in_engine(engine):
            try:
                shard = await self._in_engine(Shard.load, self._folder(state.shard), state.flushed)
                self._shard, self._shard_key = shard, rows.keys.current
                await self._catch_up()
                if await self._in_engine(shard.count) == await rows.count():
                    return
                reason = "its number of points is wrong"
            except StoreLockedError:
                raise
            except VectorDBError as error:
                reason = error.reason
            _logger.warning("the vector index is filled again: %s", reason)
        await self._replace_shard(dimensions)

    async def _upsert(self, encoded: Sequence[EncodedDocument]) -> None:
        rows, _ = self._opened()
        # Outside of the lock: writes that wait at the same time share one commit.
        await self._reach(await rows.put(encoded))

    async def _remove(self, scope: Scope, memory_ids: Sequence[str]) -> None:
        rows, _ = self._opened()
        await self._reach(await rows.remove(scope, memory_ids))

    async def _reach(self, change: int) -> None:
        async with self._changing:
            _, shard = self._opened()
            # Whoever came first may have brought the shard there for all who wait.
            if shard.change < change:
                await self._catch_up()

    async def _remove_tenant(self, scope: SearchScope) -> None:
        self._check_process()
        async with self._changing:
            rows, shard = self._opened()
            removed, must_rewrite = await rows.remove_tenant(scope)
            await self._delete(shard, removed)
            if must_rewrite:
                await self._rewrite()
        await rows.checkpoint()

    async def _clear(self) -> None:
        self._check_process()
        stamp = await self._encoder.stamp()
        async with self._changing:
            rows = await self._open_rows()
            # Nothing is left that an earlier key has masked.
            rows.keys = self._keys
            await rows.reset(stamp)
            await self._replace_shard(stamp.dimensions)
        await rows.checkpoint()

    async def _rewrite_now(self) -> None:
        self._check_process()
        async with self._changing:
            await self._rewrite()

    async def _mask_again(self) -> None:
        async with self._changing:
            rows, _ = self._opened()
            if await rows.mask(self._keys):
                await self._rewrite()

    async def _rewrite(self) -> None:
        rows, _ = self._opened()
        stamp = (await rows.state()).stamp
        if stamp is not None:
            await self._replace_shard(stamp.dimensions)

    async def _replace_shard(self, dimensions: int) -> None:
        """Fill a new folder from the rows, use it, and delete all others."""
        rows = await self._open_rows()
        version = await self._in_engine(engine)
        number = await self._in_engine(_free_number, self._folder())
        new = await self._in_engine(Shard.create, self._folder(number), dimensions)
        try:
            await self._fill(rows, new)
            await self._in_engine(new.flush)
            await rows.use_shard(number, engine=version, flushed=new.flushed)
        except BaseException:
            await self._in_engine(new.close)
            raise
        old, self._shard = self._shard, new
        self._shard_key = rows.keys.current
        if old is not None:
            await self._in_engine(old.close)
        await self._in_engine(_remove_others, self._folder(), number)

    async def _catch_up(self) -> None:
        """Bring the shard to the rows' state; the lock is held."""
        rows, shard = self._opened()
        before = shard.flushed
        await self._fill(rows, shard)
        if shard.flushed > before:
            await rows.set_flushed(shard.flushed)

    async def _fill(self, rows: VectorRows, shard: Shard) -> None:
        while True:
            page = await rows.changes(shard.change, _PAGE)
            await self._delete(shard, page.removed)
            await self._in_engine(shard.apply, page.points, page.upto)
            if shard.waiting >= _FLUSH_AFTER:
                await self._in_engine(shard.flush)
            if page.last:
                return

    async def _delete(self, shard: Shard, memory_ids: Sequence[str]) -> None:
        for start in range(0, len(memory_ids), _PAGE):
            await self._in_engine(shard.delete, memory_ids[start : start + _PAGE])

    async def _close(self) -> None:
        async with self._changing:
            await self._release()
        await self._encoder.close()

    async def _release(self) -> None:
        """Close what is open, whatever fails on the way."""
        shard, self._shard = self._shard, None
        rows, self._rows = self._rows, None
        thread, self._engine = self._engine, None
        self._pid = 0
        try:
            if rows is not None and shard is not None and thread is not None:
                loop = asyncio.get_running_loop()
                if _is_worth_compacting(await rows.state(), await rows.count()):
                    await loop.run_in_executor(thread, shard.optimize)
                await loop.run_in_executor(thread, shard.flush)
                await rows.set_flushed(shard.flushed)
                await loop.run_in_executor(thread, shard.close)
        finally:
            if rows is not None:
                await rows.close()
            if thread is not None:
                if self._path is None:
                    thread.submit(shutil.rmtree, self._directory, ignore_errors=True)
                await asyncio.to_thread(thread.shutdown)

    def _folder(self, number: int | None = None) -> Path:
        shards = self._directory / "vectors"
        return shards if number is None else shards / str(number)


def _directory(path: Path | None) -> Path:
    return Path(tempfile.mkdtemp(prefix="memora-")) if path is None else path


def _shards(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _free_number(folder: Path) -> int:
    return 1 + max((int(path.name) for path in _shards(folder) if path.name.isdecimal()), default=0)


def _remove_others(folder: Path, number: int) -> None:
    for path in _shards(folder):
        if path.name != str(number):
            shutil.rmtree(path, ignore_errors=True)


def _is_worth_compacting(state: State, count: int) -> bool:
    worth = max(_DEAD_AT_LEAST, _DEAD_SHARE * count)
    return state.dead >= worth and count <= _COMPACT_UP_TO
