"""The index in use and the one that a reindex makes: rows in SQLite, shards filled from them.

Rows carry the number of their generation. A reindex writes rows of the next one, with another
model, and keeps a shard in step with them; then one SQLite transaction names generation, stamp and
shard that are in use from there on. Whatever else lies in the directory is a leftover: of a reindex
that was cut short before that transaction, or of an index that was replaced by it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from memora._sqlite import NOT_OPEN
from memora.core.filters import Condition
from memora.encryption import DataKey, Keyring
from memora.errors import (
    EncryptionKeyError,
    RebuildRunningError,
    VectorDBConnectionError,
    VectorDBError,
)
from memora.schema.findings import Finding
from memora.schema.index import IndexEntry, ListLimits, QueryHits
from memora.schema.scope import Scope, SearchScope
from memora.vector_db import _checking
from memora.vector_db._encoding import (
    EncodedDocument,
    EncodedQuery,
    Encoder,
    check_stamp,
    other_model,
)
from memora.vector_db._masks import masked_conditions
from memora.vector_db._open_shard import OpenShard
from memora.vector_db._rows import Dropped, ShardInUse, State, VectorRows
from memora.vector_db._shards import Shards

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
# Leftover rows that are deleted in one transaction: other writes get their turn in between.
_DELETE = 1000


@dataclass(slots=True)
class Index:
    """One generation of rows, what encodes it, and the shard that is filled from it.

    Attributes:
        number: Of the shard's folder.
        key: What the filter values in the shard are masked with.
    """

    encoder: Encoder
    generation: int
    shard: OpenShard
    number: int
    key: DataKey | None


@dataclass(slots=True, eq=False)
class Staged:
    """A reindex under way; without an index before it has begun."""

    encoder: Encoder
    index: Index | None = None


class Generations:
    """The index in use, and at most one that is being made.

    Attributes:
        encoder: Of the index in use.
        staged: The reindex under way, if there is one.
    """

    def __init__(self, path: Path | None, encoder: Encoder, *, own_process: bool = False) -> None:
        self.encoder = encoder
        self.staged: Staged | None = None
        self.shards = Shards(path, own_process=own_process)
        self._keys = Keyring()
        self._rows: VectorRows | None = None
        self._index: Index | None = None
        self._closed = False
        # The highest of this process: a late write of a reindex that is over belongs to no other.
        self._last_generation = 0
        # Held while a shard changes, so that changes reach it in their order.
        self._changing = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()

    async def to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end even if the caller is cancelled: rows and shard stay together."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    # The store

    async def setup(self) -> None:
        """Open rows and shard of the index in use, healing what is damaged."""
        self._closed = False
        self.shards.check_process()
        wanted = await self.encoder.stamp()
        async with self._changing:
            if self._index is not None:
                await self._revive()
                return
            try:
                rows = await self._open_rows()
                state = await rows.state()
                if state.stamp is None:
                    await rows.start(wanted)
                else:
                    check_stamp(f"vectors in {self.shards.directory}", state.stamp, wanted)
                if await rows.mask(self._keys):
                    state = await rows.state()
                await self._remove_leftovers(rows)
                await self._open_shard(rows, state, wanted.dimensions)
            except BaseException:
                if self.staged is None:
                    await self._release()
                raise

    async def use_keys(self, keys: Keyring) -> None:
        """Mask filter values with the last of these keys, now or when the rows are opened."""
        async with self._changing:
            self._keys = keys
            if self._rows is None or not await self._rows.mask(keys):
                return
            if self._index is not None:
                await self._rewrite(self._rows)
            if self.staged is not None:
                await self._refill(self.staged)

    async def close(self) -> None:
        """Wait for what is running, then close everything."""
        self._closed = True
        if not self.shards.is_ours:
            return
        if self._running:
            await asyncio.wait(self._running)
        await self.to_the_end(self._close())

    async def clear(self) -> None:
        """Delete everything, and stamp the index anew."""
        self._check_not_closed()
        stamp = await self.encoder.stamp()
        async with self._changing:
            if self.staged is not None:
                raise RebuildRunningError("embedded")
            rows = await self._open_rows()
            # Nothing is left that another key has masked.
            rows.keys = self._keys
            await rows.reset(stamp)
            generation = (await rows.state()).generation
            await self._replace_shard(rows, generation, stamp.dimensions)
        await rows.scrub()

    async def replace(self, file: Path) -> bool:
        """Become what a native copy holds; False: it is of another model, and nothing is left."""
        self._check_not_closed()
        stamp = await self.encoder.stamp()
        async with self._changing:
            if self.staged is not None:
                raise RebuildRunningError("embedded")
            rows, _ = self.opened()
            rows.keys = self._keys
            is_taken = await rows.replace(file, stamp)
            generation = (await rows.state()).generation
            await self._replace_shard(rows, generation, stamp.dimensions)
            await self._remove_leftovers(rows)
        return is_taken

    async def rewrite(self) -> None:
        """Fill a new shard from the rows in use, and drop the old one."""
        async with self._changing:
            rows, _ = self.opened()
            await self._rewrite(rows)

    def opened(self) -> tuple[VectorRows, Index]:
        """Return rows and index in use.

        Raises:
            VectorDBError: The store is not open, or not in this process.
        """
        if self._rows is None or self._index is None:
            raise VectorDBError("embedded", NOT_OPEN)
        self.shards.check_process()
        return self._rows, self._index

    async def in_use(self) -> tuple[VectorRows, Index]:
        """Return what `opened` does, with a shard that is there."""
        rows, index = self.opened()
        if not index.shard.is_lost:
            return rows, index
        async with self._changing:
            await self._revive()
        return self.opened()

    @property
    def rows(self) -> VectorRows | None:
        """The rows, where they are open."""
        return self._rows

    # The index in use

    async def search(
        self,
        index: Index,
        queries: Sequence[EncodedQuery],
        scope: SearchScope,
        conditions: tuple[Condition, ...],
        limits: ListLimits,
    ) -> list[QueryHits] | None:
        """Answer queries that were encoded for this index; None when it is no longer in use."""
        if index.shard.is_lost:
            await self.in_use()
        # From here to the engine's queue nothing is awaited, and a shard is closed behind its
        # last search.
        if index is not self._index:
            return None
        conditions = masked_conditions(conditions, scope, index.key)
        return await index.shard.search(queries, scope, conditions, limits)

    async def put(self, index: Index, encoded: Sequence[EncodedDocument]) -> bool:
        """Insert or replace; False when the index is no longer in use, and nothing was written."""
        rows, _ = self.opened()
        # Outside of the lock: writes that wait at the same time share one commit.
        change = await rows.put(encoded, index.generation)
        if change is None:
            return False
        await self._reach(change)
        return True

    async def remove(self, scope: Scope, memory_ids: Sequence[str]) -> None:
        """Delete vectors of a user, from the staged index too."""
        rows, _ = self.opened()
        await self._reach(await rows.remove(scope, memory_ids))
        await rows.checkpoint()

    async def remove_tenant(self, scope: SearchScope) -> None:
        """Delete all vectors of a tenant, from the staged index too, and their bytes."""
        self.shards.check_process()
        async with self._changing:
            await self._revive()
            rows, index = self.opened()
            dropped = await rows.remove_tenant(scope)
            await self._delete(index.shard, dropped.in_use)
            if dropped.must_rewrite:
                await self._rewrite(rows)
            else:
                # A rewrite that was interrupted may have left the old shard beside the new one.
                await self._remove_other_folders()
            if self.staged is not None:
                await self._renew(self.staged, dropped)
        await self._scrub(rows)

    async def count(self, scope: SearchScope) -> int:
        """Count the vectors of a tenant, also those of a reindex under way."""
        rows, index = await self.in_use()
        # The shard follows the rows; what only one of them has is there all the same.
        return max(await rows.count_of(scope), await index.shard.count(scope))

    def forget_texts(self) -> None:
        """Drop what the models keep in memory of texts."""
        self.encoder.forget()
        if self.staged is not None:
            self.staged.encoder.forget()

    async def _scrub(self, rows: VectorRows) -> None:
        if not await rows.scrub():
            raise VectorDBConnectionError("embedded", "a long read keeps what was deleted")

    async def _reach(self, change: int) -> None:
        async with self._changing:
            await self._revive()
            rows, index = self.opened()
            # Whoever came first may have brought the shard there for all who wait.
            if index.shard.state.change < change:
                await self._catch_up(rows, index)

    # What doctor and reconcile ask

    async def scan(self, after: str | None, limit: int) -> list[IndexEntry]:
        """Return what is in the rows in use or in their shard, by id."""
        rows, index = await self.in_use()
        page = await rows.scan(after, limit)
        points = await index.shard.page(after, limit)
        return _checking.merged(page, points, limit)

    async def lookup(self, memory_ids: Sequence[str]) -> list[IndexEntry]:
        """Return vectors by id with their payloads, and whether the shard has them like that."""
        rows, index = await self.in_use()
        applied = index.shard.state.change
        found = await rows.lookup(memory_ids)
        points = await index.shard.payloads(memory_ids)
        seen = [
            _checking.seen(row, points.pop(row.stored.memory_id, None), applied) for row in found
        ]
        rowless = (_checking.rowless(memory_id, payload) for memory_id, payload in points.items())
        return [*seen, *rowless]

    async def discard_seen(self, entries: Sequence[IndexEntry]) -> None:
        """Delete vectors as they were seen."""
        rows, _ = self.opened()
        await self._reach(await rows.discard(entries))

    async def inspect(self) -> list[Finding]:
        """Check schema, stamp and rows, also of a store that cannot be set up."""
        self.shards.check_process()
        wanted = await self.encoder.stamp()
        async with self._changing:
            rows = await self._open_rows(as_is=True)
            wrong = await rows.defects()
            if wrong:
                return [_checking.half_migration(defect) for defect in wrong]
            found = (await rows.state()).stamp
            if found is not None and found != wanted:
                return [other_model(found, wanted)]
            unusable = await rows.unusable(wanted.dimensions)
            return [_checking.unusable(entry, other_length=length) for entry, length in unusable]

    async def mend(self) -> None:
        """Make what is missing again, drop rows that no shard takes, and set up."""
        self._closed = False
        self.shards.check_process()
        wanted = await self.encoder.stamp()
        async with self._changing:
            rows = await self._open_rows(as_is=True)
            await rows.mend()
            await rows.mask(self._keys)
            found = (await rows.state()).stamp
            if found is None or found == wanted:
                unusable = await rows.unusable(wanted.dimensions)
                await rows.discard([entry for entry, _length in unusable])
            if self._index is not None:
                await self._rewrite(rows)
        if found is None or found == wanted:
            await self.setup()

    # A reindex

    async def begin(self, staged: Staged) -> None:
        """Make the next generation, empty; `self.staged` is it already."""
        self._check_not_closed()
        stamp = await staged.encoder.stamp()
        async with self._changing:
            rows = await self._open_rows()
            try:
                await rows.mask(self._keys)
            except EncryptionKeyError:
                # Of another graph: nobody here can tell what they say, and all are made again.
                rows.keys = self._keys
                await rows.reset(await self.encoder.stamp())
            await self._remove_leftovers(rows)
            in_use = (await rows.state()).generation
            self._last_generation = 1 + max(in_use, self._last_generation)
            staged.index = await self._new_index(
                rows, staged.encoder, self._last_generation, stamp.dimensions
            )

    async def put_staged(self, staged: Staged, encoded: Sequence[EncodedDocument]) -> None:
        """Insert or replace in the staged index."""
        rows, index = self.opened_staged(staged)
        await rows.put(encoded, index.generation)
        await self._advance(staged)

    async def remove_staged(self, staged: Staged, scope: Scope, memory_ids: Sequence[str]) -> None:
        """Delete vectors of a user from the staged index."""
        rows, index = self.opened_staged(staged)
        await rows.remove(scope, memory_ids, index.generation)
        await self._advance(staged)

    async def remove_tenant_staged(self, staged: Staged, scope: SearchScope) -> None:
        """Delete all vectors of a tenant from the staged index, and their bytes."""
        async with self._changing:
            await self._revive()
            rows, index = self.opened_staged(staged)
            await self._renew(staged, await rows.remove_tenant(scope, index.generation))
        await self._scrub(rows)
        await self._advance(staged)

    async def commit(self, staged: Staged) -> None:
        """Put the staged index into use, and remove the old one."""
        stamp = await staged.encoder.stamp()
        while True:
            async with self._changing:
                await self._revive()
                rows, new = self.opened_staged(staged)
                # What came since the last page; writers wait for one page at a time.
                if not await self._fill_page(rows, new):
                    continue
                await new.shard.flush()
                await rows.switch(new.generation, stamp, await self._as_used(new))
                old, self._index, self.staged = self._index, new, None
                before, self.encoder = self.encoder, new.encoder
                if old is not None:
                    await old.shard.close()
                await self._remove_other_folders()
                break
        if before is not self.encoder:
            await before.close()
        await self._remove_leftovers(rows)

    async def discard(self, staged: Staged) -> None:
        """Remove the staged index; of one that is over, nothing is left to remove."""
        async with self._changing:
            if staged is not self.staged:
                return
            self.staged = None
            if self._rows is None:
                return
            if staged.index is not None:
                await staged.index.shard.close()
            await self._remove_other_folders()
            await self._remove_leftovers(self._rows)
            if self._index is None:
                # The store was not set up before, and is left as it was found.
                await self._release()

    def opened_staged(self, staged: Staged) -> tuple[VectorRows, Index]:
        """Return rows and staged index.

        Raises:
            VectorDBError: This reindex is over.
        """
        if self._rows is None or staged.index is None or staged is not self.staged:
            raise VectorDBError("embedded", "this reindex is over")
        self.shards.check_process()
        return self._rows, staged.index

    async def _advance(self, staged: Staged) -> None:
        """Bring the staged shard to its rows; between two pages other writes get their turn."""
        done = False
        while not done:
            async with self._changing:
                await self._revive()
                rows, index = self.opened_staged(staged)
                done = await self._fill_page(rows, index)

    async def _renew(self, staged: Staged, dropped: Dropped) -> None:
        """Throw the staged shard away if it holds what was erased; its rows fill another one."""
        old = staged.index
        if old is None:
            return
        if dropped.others or old.shard.state.applied > await old.shard.count():
            await self._refill(staged)

    # What follows is done under the lock.

    async def _revive(self) -> None:
        """Load the shards again that are gone with their process."""
        if self._index is not None and self._index.shard.is_lost:
            rows, _ = self.opened()
            state = await rows.state()
            if state.stamp is not None:
                await self._open_shard(rows, state, state.stamp.dimensions)
        staged = self.staged
        if staged is not None and staged.index is not None and staged.index.shard.is_lost:
            await self._refill(staged)

    async def _refill(self, staged: Staged) -> None:
        """Begin the staged shard anew; whoever writes to it next fills it."""
        old = staged.index
        if self._rows is None or old is None:
            return
        stamp = await staged.encoder.stamp()
        staged.index = await self._new_index(
            self._rows, staged.encoder, old.generation, stamp.dimensions
        )
        await old.shard.close()
        await self._remove_other_folders()

    def _check_not_closed(self) -> None:
        # Before the first setup it may: that is how a store of another model is made anew.
        self.shards.check_process()
        if self._closed:
            raise VectorDBError("embedded", "the store is closed: call setup()")

    async def _open_rows(self, *, as_is: bool = False) -> VectorRows:
        if self._rows is not None:
            await self._rows.open(as_is=as_is)
            return self._rows
        await self.shards.open()
        rows = self._rows = VectorRows(self.shards.directory, self._keys)
        try:
            await rows.open(as_is=as_is)
        except BaseException:
            await self._release()
            raise
        return rows

    async def _open_shard(self, rows: VectorRows, state: State, dimensions: int) -> None:
        """Use the shard that the bookkeeping names, or one that is filled anew."""
        if state.shard is not None and state.engine == await self.shards.engine():
            try:
                shard = await self.shards.load(state.shard, state.flushed)
            except VectorDBError as error:
                reason = error.reason
            else:
                key = rows.keys.current
                index = Index(self.encoder, state.generation, shard, state.shard, key)
                reason = await self._refused(rows, index)
                if reason is None:
                    self._index = index
                    await self._remove_other_folders()
                    return
            _logger.warning("the vector index is filled again: %s", reason)
        await self._replace_shard(rows, state.generation, dimensions)

    async def _refused(self, rows: VectorRows, index: Index) -> str | None:
        """Bring a loaded shard to its rows; where that does not work, close it and say why."""
        try:
            await self._catch_up(rows, index)
            if await index.shard.count() == await rows.count():
                return None
            reason = "its number of points is wrong"
        except VectorDBError as error:
            reason = error.reason
        with suppress(VectorDBError):
            await index.shard.close()
        return reason

    async def _remove_leftovers(self, rows: VectorRows) -> None:
        """Delete rows that are neither in use nor staged."""
        staged = None if self.staged is None else self.staged.index
        kept = None if staged is None else staged.generation
        if await rows.remove_others(kept, _DELETE):
            while await rows.remove_others(kept, _DELETE):
                pass
            await rows.checkpoint()

    async def _remove_other_folders(self) -> None:
        staged = None if self.staged is None else self.staged.index
        kept = (index for index in (self._index, staged) if index is not None)
        await self.shards.keep_only([index.number for index in kept])

    async def _rewrite(self, rows: VectorRows) -> None:
        state = await rows.state()
        if state.stamp is not None:
            await self._replace_shard(rows, state.generation, state.stamp.dimensions)

    async def _replace_shard(self, rows: VectorRows, generation: int, dimensions: int) -> None:
        """Fill a new folder from the rows in use, use it, and delete the old one."""
        new = await self._new_index(rows, self.encoder, generation, dimensions)
        try:
            while not await self._fill_page(rows, new):
                pass
            await new.shard.flush()
            await rows.use_shard(await self._as_used(new))
        except BaseException:
            await new.shard.close()
            raise
        old, self._index = self._index, new
        if old is not None:
            await old.shard.close()
        await self._remove_other_folders()

    async def _new_index(
        self, rows: VectorRows, encoder: Encoder, generation: int, dimensions: int
    ) -> Index:
        number, shard = await self.shards.create(dimensions)
        return Index(encoder, generation, shard, number, rows.keys.current)

    async def _as_used(self, index: Index) -> ShardInUse:
        """Return what the bookkeeping says of a shard that was filled from nothing."""
        shard = index.shard
        dead = shard.state.applied - await shard.count()
        return ShardInUse(index.number, await self.shards.engine(), shard.state.flushed, dead)

    async def _catch_up(self, rows: VectorRows, index: Index) -> None:
        """Bring the shard in use to the rows' state."""
        before = index.shard.state.flushed
        while not await self._fill_page(rows, index):
            pass
        if index.shard.state.flushed > before:
            await rows.set_flushed(index.shard.state.flushed)

    async def _fill_page(self, rows: VectorRows, index: Index) -> bool:
        """Apply what a shard lacks next, and tell whether that was all."""
        shard = index.shard
        page = await rows.changes(shard.state.change, _PAGE, index.generation)
        await self._delete(shard, page.removed)
        await shard.apply(page.points, page.upto)
        if shard.state.waiting >= _FLUSH_AFTER:
            await shard.flush()
        return page.last

    async def _delete(self, shard: OpenShard, memory_ids: Sequence[str]) -> None:
        for start in range(0, len(memory_ids), _PAGE):
            await shard.delete(memory_ids[start : start + _PAGE])

    async def _close(self) -> None:
        async with self._changing:
            await self._release()
        await self.encoder.close()

    async def _release(self) -> None:
        """Close what is open, whatever fails on the way."""
        index, self._index = self._index, None
        staged, self.staged = self.staged, None
        rows, self._rows = self._rows, None
        try:
            if staged is not None and staged.index is not None:
                await staged.index.shard.close()
            if rows is not None and index is not None:
                await _shut(rows, index.shard)
        finally:
            if rows is not None:
                await rows.close()
            await self.shards.close()


async def _shut(rows: VectorRows, shard: OpenShard) -> None:
    """Close the shard in use with all that is in it on disk."""
    try:
        if _is_worth_compacting(await rows.state(), await rows.count()):
            await shard.optimize()
        await shard.flush()
        await rows.set_flushed(shard.state.flushed)
        await shard.close()
    except VectorDBConnectionError:
        # What it had not written is in the rows.
        if not shard.is_lost:
            raise


def _is_worth_compacting(state: State, count: int) -> bool:
    worth = max(_DEAD_AT_LEAST, _DEAD_SHARE * count)
    return state.dead >= worth and count <= _COMPACT_UP_TO
