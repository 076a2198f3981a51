"""The rows that the embedded vector index is filled from: `vectors.sqlite3`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from memora._queries import load
from memora._sqlite import SqliteStore
from memora._sqlite_schema import Defect
from memora._sqlite_snapshot import Snapshot
from memora.core.indexing import fingerprint
from memora.encryption import DataKey, Keyring
from memora.errors import EncryptionKeyError, VectorDBConnectionError, VectorDBError
from memora.schema.index import IndexEntry, IndexStamp
from memora.schema.scope import Scope, SearchScope
from memora.vector_db._encoding import EncodedDocument
from memora.vector_db._masks import masked, unmasked, unmasked_payload
from memora.vector_db._shard_calls import StoredPoint

_APPLICATION_ID = 0x6D656D76  # "memv"
_PACKAGE = "memora.vector_db"
_VECTOR = load(_PACKAGE, "queries/vector.sql")
_INDEX = load(_PACKAGE, "queries/index.sql")
_CHECK = load(_PACKAGE, "queries/check.sql")
_MASK = load(_PACKAGE, "queries/mask.sql")
_PAGE = 500


@dataclass(frozen=True, slots=True)
class State:
    """What `vectors.sqlite3` knows about the shard; see its migrations for the columns."""

    model_id: str | None
    dimensions: int | None
    recipe: str | None
    shard: int | None
    engine: str | None
    changes: int
    flushed: int
    dead: int
    generation: int

    @property
    def stamp(self) -> IndexStamp | None:
        """What the vectors were made with, or None before the first setup."""
        if self.model_id is None or self.dimensions is None or self.recipe is None:
            return None
        return IndexStamp(self.model_id, self.dimensions, self.recipe)


@dataclass(frozen=True, slots=True)
class SeenRow:
    """A row as doctor sees it.

    Attributes:
        entry: What was given.
        stored: The same with masked values: as the shard has it.
        change: The number of its last change.
    """

    entry: IndexEntry
    stored: IndexEntry
    change: int


@dataclass(frozen=True, slots=True)
class Changes:
    """A page of what a shard lacks; the removals come before the points.

    Attributes:
        upto: The shard that has applied the page is at this change.
        last: Whether that is all.
    """

    removed: list[str]
    points: list[StoredPoint]
    upto: int
    last: bool


@dataclass(frozen=True, slots=True)
class ShardInUse:
    """A shard as the bookkeeping names it.

    Attributes:
        number: Its folder.
        flushed: It is complete on disk up to this change.
        dead: Points in its files that were replaced or deleted.
    """

    number: int
    engine: str
    flushed: int
    dead: int = 0


@dataclass(frozen=True, slots=True)
class Dropped:
    """What the end of a tenant removed.

    Attributes:
        in_use: Ids of the rows in use.
        others: How many rows of another generation went too.
        must_rewrite: Whether the shard in use must be written anew.
    """

    in_use: list[str]
    others: int
    must_rewrite: bool


class VectorRows:
    """Rows and bookkeeping of one embedded vector index.

    Rows belong to a generation. One of them is in use; a reindex fills the next one. Where none is
    named, that in use is meant.

    Args:
        directory: Where `vectors.sqlite3` lies.
        keys: What filter values may be masked with; see `mask`.
    """

    def __init__(self, directory: Path, keys: Keyring | None = None) -> None:
        self._name = f"vectors in {directory}"
        self.keys = Keyring() if keys is None else keys
        self._store = SqliteStore(
            directory / "vectors.sqlite3",
            application_id=_APPLICATION_ID,
            migrations=_PACKAGE,
            part_of=directory.parent,
            backend="embedded",
            error=VectorDBError,
            connection_error=VectorDBConnectionError,
        )

    async def open(self, *, as_is: bool = False) -> None:
        """Open the file, creating it if it is not there; `as_is` also one that is damaged."""
        await self._store.open(as_is=as_is)

    async def close(self) -> None:
        """Close the file."""
        await self._store.close()

    async def checkpoint(self) -> None:
        """Empty SQLite's log, which may hold what was deleted."""
        await self._store.checkpoint()

    async def scrub(self) -> bool:
        """Empty SQLite's log and caches, which may hold what was erased; False: it could not."""
        return await self._store.scrub()

    async def state(self) -> State:
        """Return the bookkeeping."""
        return await self._store.read(_state)

    async def count(self) -> int:
        """Return the number of vectors in use."""
        return await self._store.read(
            lambda connection: connection.execute(
                _INDEX["count_vectors"], _used(connection)
            ).fetchone()[0]
        )

    async def mask(self, keys: Keyring) -> bool:
        """Mask filter values and hashes with the last of these keys, and tell if that is new.

        Then the shard must be filled again.

        Raises:
            EncryptionKeyError: They are masked with another key than these.
        """
        before, self.keys = self.keys, keys
        try:
            changed = await self._store.write(
                lambda connection: _mask(connection, keys, self._name)
            )
        except BaseException:
            self.keys = before
            raise
        if changed:
            await self._store.compact()
        return changed

    async def count_of(self, scope: SearchScope) -> int:
        """Return the number of vectors of a user or an organization."""
        query = _VECTOR["count_user" if isinstance(scope, Scope) else "count_organization"]
        return await self._store.read(
            lambda connection: connection.execute(query, _owner(scope)).fetchone()[0]
        )

    async def put(
        self, documents: Sequence[EncodedDocument], generation: int | None = None
    ) -> int | None:
        """Insert or replace, and return the number of the change.

        A row of another owner with the same id stays as it is. None: the generation is over, and
        nothing was written.
        """
        return await self._store.write(
            lambda connection: _put(connection, documents, generation, self.keys)
        )

    async def remove(
        self, scope: Scope, memory_ids: Sequence[str], generation: int | None = None
    ) -> int:
        """Delete these vectors of the user, and return the number of the change.

        Args:
            scope: The user.
            memory_ids: Unknown and foreign ones change nothing.
            generation: Only in this one; None: in every one.
        """
        return await self._store.write(
            lambda connection: _remove(connection, scope, memory_ids, generation)
        )

    async def remove_tenant(self, scope: SearchScope, generation: int | None = None) -> Dropped:
        """Delete all vectors of the tenant; only in one generation, or in every one."""
        return await self._store.write(
            lambda connection: _remove_tenant(connection, scope, generation)
        )

    async def changes(self, after: int, limit: int, generation: int | None = None) -> Changes:
        """Return what a shard of the generation lacks that is at change `after`."""
        return await self._store.read(
            lambda connection: _changes(connection, after, limit, generation)
        )

    async def set_flushed(self, change: int) -> None:
        """Note that the shard has everything up to this change on disk."""
        # Losing this in a power failure only means replaying more.
        await self._store.write(lambda connection: _set_flushed(connection, change), durable=False)

    async def use_shard(self, shard: ShardInUse) -> None:
        """Note that this folder holds the shard of the rows in use."""

        def work(connection: sqlite3.Connection) -> None:
            given = {"shard": shard.number, "engine": shard.engine, "flushed": shard.flushed}
            connection.execute(_INDEX["use_shard"], given)
            connection.execute(
                _INDEX["forget_removals"], {"flushed": shard.flushed, **_used(connection)}
            )

        await self._store.write(work)

    async def switch(self, generation: int, stamp: IndexStamp, shard: ShardInUse) -> None:
        """Put a generation into use, with its stamp and its shard."""

        def work(connection: sqlite3.Connection) -> None:
            given = {
                "generation": generation,
                "shard": shard.number,
                "engine": shard.engine,
                "flushed": shard.flushed,
                "dead": shard.dead,
            }
            connection.execute(_INDEX["switch"], given | asdict(stamp))
            connection.execute(_INDEX["forget_removals"], given)
            connection.execute(_INDEX["forget_other_removals"], given | {"kept": -1})

        await self._store.write(work)

    async def remove_others(self, kept: int | None, limit: int) -> int:
        """Delete rows that are neither in use nor of the generation `kept`.

        Returns:
            How many they were, at most `limit`: none means that there are no more.
        """

        def work(connection: sqlite3.Connection) -> int:
            given = {"kept": -1 if kept is None else kept, **_used(connection)}
            connection.execute(_INDEX["forget_other_removals"], given)
            return connection.execute(_INDEX["remove_others"], {"limit": limit, **given}).rowcount

        return await self._store.write(work, durable=False)

    async def start(self, stamp: IndexStamp) -> None:
        """Stamp an index that is new."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_INDEX["set_stamp"], asdict(stamp))

        await self._store.write(work)

    async def reset(self, stamp: IndexStamp) -> None:
        """Delete everything, and stamp the index anew."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_INDEX["remove_all"])
            connection.execute(_INDEX["remove_all_removals"])
            connection.execute(_INDEX["drop_shard"])
            connection.execute(_INDEX["set_stamp"], asdict(stamp))
            connection.execute(_MASK["set_key"], {"key": self.keys.fingerprint})

        await self._store.write(work)

    async def lookup(self, memory_ids: Sequence[str]) -> list[SeenRow]:
        """Return the rows of these ids, whoever they belong to."""
        asked = {"memory_ids": json.dumps(list(memory_ids))}

        def work(connection: sqlite3.Connection) -> list[SeenRow]:
            key = _key(connection, self.keys)
            return [_seen(key, *row) for row in connection.execute(_CHECK["lookup"], asked)]

        return await self._store.read(work)

    async def discard(self, entries: Sequence[IndexEntry]) -> int:
        """Delete rows as they were seen, and return the number of the change.

        A point without a row goes from the shard as well.
        """
        return await self._store.write(lambda connection: _discard(connection, entries))

    async def defects(self) -> list[Defect]:
        """Return what is wrong with tables, indexes and stamp."""
        return await self._store.defects()

    async def mend(self) -> None:
        """Make missing tables and indexes again; what is different is replaced, rows and all."""
        wrong = await self._store.defects()
        for defect in wrong:
            await self._store.mend(defect.name, replace=True)
        # Without its stamp nobody knows what the vectors were made with.
        # Without its mask nobody knows what they read.
        unknown = any(defect.name in {"state", "mask"} for defect in wrong)
        await self._store.write(lambda connection: _restart(connection, clear=unknown))
        await self._store.open()

    async def unusable(self, dimensions: int) -> list[tuple[IndexEntry, bool]]:
        """Return rows that no shard can be filled from, and whether it is for their length."""
        params = {"length": 4 * dimensions}
        return await self._store.read(
            lambda connection: [
                (IndexEntry(memory_id, org_id, user_id, "", ""), bool(other_length))
                for memory_id, org_id, user_id, other_length in connection.execute(
                    _CHECK["unusable"], params
                )
            ]
        )

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """Hold the present state."""
        return self._store.snapshot()

    async def replace(self, file: Path, stamp: IndexStamp) -> bool:
        """Become the rows of a copy; empty and False when they are of another model or key."""
        await self._store.replace(file)
        if (await self.state()).stamp == stamp:
            with suppress(EncryptionKeyError):
                await self.mask(self.keys)
                return True
        await self.reset(stamp)
        return False

    async def scan(
        self, after: str | None, limit: int, generation: int | None = None
    ) -> list[IndexEntry]:
        """Return stored vectors in the order of their ids."""

        def work(connection: sqlite3.Connection) -> list[IndexEntry]:
            page = {"after": after or "", "limit": limit, **_used(connection, generation)}
            key = _key(connection, self.keys)
            return [
                replace(_entry(key, *row), payload={})
                for row in connection.execute(_INDEX["scan"], page)
            ]

        return await self._store.read(work)


def _state(connection: sqlite3.Connection) -> State:
    return State(*connection.execute(_INDEX["read_state"]).fetchone())


def _used(connection: sqlite3.Connection, generation: int | None = None) -> dict[str, int]:
    """Return the parameter that names a generation; None stands for the one in use."""
    return {"generation": _state(connection).generation if generation is None else generation}


def _next_changes(connection: sqlite3.Connection, count: int) -> range:
    """Take the next numbers."""
    total: int = connection.execute(_INDEX["count_changes"], {"count": count}).fetchone()[0]
    return range(total - count + 1, total + 1)


def _key(connection: sqlite3.Connection, keys: Keyring) -> DataKey | None:
    """Return the key that the stored values are masked with."""
    return keys.of(connection.execute(_MASK["read_key"]).fetchone()[0])


def _mask(connection: sqlite3.Connection, keys: Keyring, store: str) -> bool:
    try:
        old = _key(connection, keys)
    except KeyError:
        if connection.execute(_MASK["has_rows"]).fetchone()[0]:
            reason = "their filter values are encrypted with a key that the graph does not have"
            raise EncryptionKeyError(store, reason) from None
        old = None
    else:
        if old is keys.current:
            return False
    after: dict[str, Any] = {"memory_id": "", "generation": 0}
    while page := connection.execute(_MASK["page"], {"limit": _PAGE, **after}).fetchall():
        for memory_id, generation, payload in page:
            plain = unmasked_payload(json.loads(payload), memory_id, old)
            renewed = masked(plain, memory_id, keys.current)
            row = {
                "memory_id": memory_id,
                "generation": generation,
                "payload": _json(renewed),
                "text_hash": renewed["text_hash"],
            }
            connection.execute(_MASK["put"], row)
        after = {"memory_id": page[-1][0], "generation": page[-1][1]}
    connection.execute(_MASK["set_key"], {"key": keys.fingerprint})
    connection.execute(_INDEX["drop_shard"])
    return True


def _json(payload: dict[str, Any]) -> str:
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))


def _put(
    connection: sqlite3.Connection,
    documents: Sequence[EncodedDocument],
    generation: int | None,
    keys: Keyring,
) -> int | None:
    in_use = _state(connection).generation
    generation = in_use if generation is None else generation
    if generation < in_use:
        return None
    key = _key(connection, keys)
    replaced = 0
    changes = _next_changes(connection, len(documents))
    for document, change in zip(documents, changes, strict=True):
        payload = masked(document.payload, document.memory_id, key)
        row = {
            "memory_id": document.memory_id,
            "generation": generation,
            "org_id": document.org_id,
            "user_id": document.user_id,
            "dense": document.dense.astype("<f4").tobytes(),
            "lexical_indices": np.array(document.lexical.indices, "<u4").tobytes(),
            "lexical_values": np.array(document.lexical.values, "<f4").tobytes(),
            "payload": _json(payload),
            "text_hash": payload["text_hash"],
            "change": change,
        }
        replaced += connection.execute(_VECTOR["is_known"], row).fetchone() is not None
        connection.execute(_VECTOR["put_vector"], row)
    if replaced and generation == in_use:
        connection.execute(_INDEX["count_dead"], {"dead": replaced})
    return changes.stop - 1


def _owner(scope: SearchScope) -> dict[str, Any]:
    owner: dict[str, Any] = {"org_id": scope.org_id}
    return owner | {"user_id": scope.user_id} if isinstance(scope, Scope) else owner


def _remove(
    connection: sqlite3.Connection,
    scope: Scope,
    memory_ids: Sequence[str],
    only: int | None,
) -> int:
    in_use = _state(connection).generation
    removed = [
        {"memory_id": memory_id, "generation": generation}
        for memory_id in memory_ids
        for (generation,) in connection.execute(
            _VECTOR["remove_vector"],
            _owner(scope) | {"memory_id": memory_id, "generation": only},
        ).fetchall()
    ]
    changes = _next_changes(connection, len(removed))
    for row, change in zip(removed, changes, strict=True):
        connection.execute(_INDEX["note_removal"], {"change": change, **row})
    dead = sum(row["generation"] == in_use for row in removed)
    connection.execute(_INDEX["count_dead"], {"dead": dead})
    return changes.stop - 1


def _discard(connection: sqlite3.Connection, entries: Sequence[IndexEntry]) -> int:
    in_use = _state(connection).generation
    gone: list[str] = []
    for entry in entries:
        row = {"memory_id": entry.memory_id, "org_id": entry.org_id, "user_id": entry.user_id}
        deleted = connection.execute(_CHECK["discard"], row).rowcount
        if deleted or connection.execute(_CHECK["owner_of"], row).fetchone() is None:
            gone.append(entry.memory_id)
    changes = _next_changes(connection, len(gone))
    for memory_id, change in zip(gone, changes, strict=True):
        row = {"change": change, "memory_id": memory_id, "generation": in_use}
        connection.execute(_INDEX["note_removal"], row)
    connection.execute(_INDEX["count_dead"], {"dead": len(gone)})
    return changes.stop - 1


def _restart(connection: sqlite3.Connection, *, clear: bool) -> None:
    connection.execute(_CHECK["restart"])
    is_unmasked = connection.execute(_MASK["restart"]).rowcount > 0
    if clear or is_unmasked:
        connection.execute(_INDEX["remove_all"])
        connection.execute(_INDEX["remove_all_removals"])


def _seen(key: DataKey | None, *row: Any) -> SeenRow:
    *fields, change = row
    return SeenRow(_entry(key, *fields), _entry(None, *fields), change)


def _entry(
    key: DataKey | None,
    memory_id: str,
    org_id: str,
    user_id: str,
    text_hash: str,
    model_id: str | None,
    payload: str,
) -> IndexEntry:
    """Return a row without its masks; one that was changed keeps them, and differs from any."""
    seen = _payload(payload)
    with suppress(VectorDBError):
        seen = unmasked_payload(seen, memory_id, key)
    entry = IndexEntry(
        memory_id, org_id, user_id, text_hash, model_id or "", fingerprint(seen), payload=seen
    )
    with suppress(VectorDBError):
        entry = unmasked(entry, key)
    return entry


def _payload(text: str) -> dict[str, Any]:
    """Return a stored payload; one that is damaged holds nothing, and differs from any other."""
    try:
        return json.loads(text)
    except ValueError:
        return {}


def _remove_tenant(connection: sqlite3.Connection, scope: SearchScope, only: int | None) -> Dropped:
    of_user = isinstance(scope, Scope)
    query = _VECTOR["remove_user"] if of_user else _VECTOR["remove_organization"]
    in_use = _state(connection).generation
    rows = connection.execute(query, _owner(scope) | {"generation": only}).fetchall()
    removed = [memory_id for memory_id, generation in rows if generation == in_use]
    others = len(rows) - len(removed)
    connection.execute(_INDEX["count_dead"], {"dead": len(removed)})
    must_rewrite = _state(connection).dead > 0
    if must_rewrite:
        connection.execute(_INDEX["drop_shard"])
    return Dropped(removed, others, must_rewrite)


def _changes(
    connection: sqlite3.Connection, after: int, limit: int, generation: int | None
) -> Changes:
    window = {"after": after, "limit": limit, **_used(connection, generation)}
    rows = connection.execute(_INDEX["changed_vectors"], window).fetchall()
    last = len(rows) < limit
    upto = _state(connection).changes if last else rows[-1][0]
    removed = connection.execute(_INDEX["removed_vectors"], window | {"upto": upto})
    return Changes(
        removed=[memory_id for (memory_id,) in removed],
        points=[
            StoredPoint(memory_id, dense, indices, values, json.loads(payload))
            for _, memory_id, dense, indices, values, payload in rows
        ],
        upto=upto,
        last=last,
    )


def _set_flushed(connection: sqlite3.Connection, change: int) -> None:
    connection.execute(_INDEX["set_flushed"], {"flushed": change})
    connection.execute(_INDEX["forget_removals"], {"flushed": change, **_used(connection)})
