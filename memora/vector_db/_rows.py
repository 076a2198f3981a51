"""The rows that the embedded vector index is filled from: `vectors.sqlite3`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from memora._queries import load
from memora._sqlite import SqliteStore
from memora.embeddings.base import SparseVector
from memora.encryption import DataKey, Keyring
from memora.errors import EncryptionKeyError, VectorDBConnectionError, VectorDBError
from memora.schema.index import IndexEntry, IndexStamp
from memora.schema.scope import Scope, SearchScope
from memora.vector_db._encoding import EncodedDocument
from memora.vector_db._masks import masked, unmasked, unmasked_payload

_APPLICATION_ID = 0x6D656D76  # "memv"
_PACKAGE = "memora.vector_db"
_VECTOR = load(_PACKAGE, "queries/vector.sql")
_INDEX = load(_PACKAGE, "queries/index.sql")
_MASK = load(_PACKAGE, "queries/mask.sql")
_PAGE = 500


@dataclass(frozen=True, slots=True)
class State:
    """What `vectors.sqlite3` knows about the shard; see its migration for the columns."""

    model_id: str | None
    dimensions: int | None
    recipe: str | None
    shard: int | None
    engine: str | None
    changes: int
    flushed: int
    dead: int

    @property
    def stamp(self) -> IndexStamp | None:
        """What the vectors were made with, or None before the first setup."""
        if self.model_id is None or self.dimensions is None or self.recipe is None:
            return None
        return IndexStamp(self.model_id, self.dimensions, self.recipe)


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A row as the engine takes it."""

    memory_id: str
    dense: list[float]
    lexical: SparseVector
    payload: dict[str, Any]


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


class VectorRows:
    """Rows and bookkeeping of one embedded vector index.

    Args:
        directory: Where `vectors.sqlite3` lies.
    """

    def __init__(self, directory: Path) -> None:
        self._name = f"vectors in {directory}"
        # What filter values may be masked with; see `mask`.
        self.keys = Keyring()
        self._store = SqliteStore(
            directory / "vectors.sqlite3",
            application_id=_APPLICATION_ID,
            migrations=_PACKAGE,
            backend="embedded",
            error=VectorDBError,
            connection_error=VectorDBConnectionError,
        )

    async def open(self) -> None:
        """Open the file, creating it if it is not there."""
        await self._store.open()

    async def close(self) -> None:
        """Close the file."""
        await self._store.close()

    async def checkpoint(self) -> None:
        """Empty SQLite's log, which may hold what was erased."""
        await self._store.checkpoint()

    async def state(self) -> State:
        """Return the bookkeeping."""
        return await self._store.read(_state)

    async def count(self) -> int:
        """Return the number of vectors."""
        return await self._store.read(
            lambda connection: connection.execute(_INDEX["count_vectors"]).fetchone()[0]
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

    async def put(self, documents: Sequence[EncodedDocument]) -> int:
        """Insert or replace, and return the number of the change.

        A row of another owner with the same id stays as it is.
        """
        return await self._store.write(lambda connection: _put(connection, documents, self.keys))

    async def remove(self, scope: Scope, memory_ids: Sequence[str]) -> int:
        """Delete these vectors of the user, and return the number of the change."""
        return await self._store.write(lambda connection: _remove(connection, scope, memory_ids))

    async def remove_tenant(self, scope: SearchScope) -> tuple[list[str], bool]:
        """Delete all vectors of the tenant.

        Returns:
            Their ids, and whether the shard must be written anew.
        """
        return await self._store.write(lambda connection: _remove_tenant(connection, scope))

    async def changes(self, after: int, limit: int) -> Changes:
        """Return what a shard lacks that is at change `after`."""
        return await self._store.read(lambda connection: _changes(connection, after, limit))

    async def set_flushed(self, change: int) -> None:
        """Note that the shard has everything up to this change on disk."""
        # Losing this in a power failure only means replaying more.
        await self._store.write(lambda connection: _set_flushed(connection, change), durable=False)

    async def use_shard(self, shard: int, *, engine: str, flushed: int) -> None:
        """Note that this folder holds the shard, complete up to change `flushed`."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                _INDEX["use_shard"], {"shard": shard, "engine": engine, "flushed": flushed}
            )
            connection.execute(_INDEX["forget_removals"], {"flushed": flushed})

        await self._store.write(work)

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

    async def scan(self, after: str | None, limit: int) -> list[IndexEntry]:
        """Return stored vectors in the order of their ids."""
        page = {"after": after or "", "limit": limit}

        def work(connection: sqlite3.Connection) -> list[IndexEntry]:
            key = _key(connection, self.keys)
            return [
                unmasked(IndexEntry(*row), key) for row in connection.execute(_INDEX["scan"], page)
            ]

        return await self._store.read(work)


def _state(connection: sqlite3.Connection) -> State:
    return State(*connection.execute(_INDEX["read_state"]).fetchone())


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
        reason = "their filter values are encrypted with a key that the graph does not have"
        raise EncryptionKeyError(store, reason) from None
    if old is keys.current:
        return False
    after = ""
    while page := connection.execute(_MASK["page"], {"after": after, "limit": _PAGE}).fetchall():
        for memory_id, payload in page:
            plain = unmasked_payload(json.loads(payload), memory_id, old)
            renewed = masked(plain, memory_id, keys.current)
            row = {
                "memory_id": memory_id,
                "payload": _json(renewed),
                "text_hash": renewed["text_hash"],
            }
            connection.execute(_MASK["put"], row)
        after = page[-1][0]
    connection.execute(_MASK["set_key"], {"key": keys.fingerprint})
    connection.execute(_INDEX["drop_shard"])
    return True


def _json(payload: dict[str, Any]) -> str:
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))


def _put(
    connection: sqlite3.Connection, documents: Sequence[EncodedDocument], keys: Keyring
) -> int:
    key = _key(connection, keys)
    replaced = 0
    changes = _next_changes(connection, len(documents))
    for document, change in zip(documents, changes, strict=True):
        payload = masked(document.payload, document.memory_id, key)
        row = {
            "memory_id": document.memory_id,
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
    if replaced:
        connection.execute(_INDEX["count_dead"], {"dead": replaced})
    return changes.stop - 1


def _owner(scope: SearchScope) -> dict[str, str]:
    owner = {"org_id": scope.org_id}
    return owner | {"user_id": scope.user_id} if isinstance(scope, Scope) else owner


def _remove(connection: sqlite3.Connection, scope: Scope, memory_ids: Sequence[str]) -> int:
    removed = [
        memory_id
        for memory_id in memory_ids
        if connection.execute(
            _VECTOR["remove_vector"], _owner(scope) | {"memory_id": memory_id}
        ).rowcount
    ]
    changes = _next_changes(connection, len(removed))
    for memory_id, change in zip(removed, changes, strict=True):
        connection.execute(_INDEX["note_removal"], {"change": change, "memory_id": memory_id})
    connection.execute(_INDEX["count_dead"], {"dead": len(removed)})
    return changes.stop - 1


def _remove_tenant(connection: sqlite3.Connection, scope: SearchScope) -> tuple[list[str], bool]:
    of_user = isinstance(scope, Scope)
    query = _VECTOR["remove_user"] if of_user else _VECTOR["remove_organization"]
    removed = [memory_id for (memory_id,) in connection.execute(query, _owner(scope)).fetchall()]
    connection.execute(_INDEX["count_dead"], {"dead": len(removed)})
    must_rewrite = _state(connection).dead > 0
    if must_rewrite:
        connection.execute(_INDEX["drop_shard"])
    return removed, must_rewrite


def _changes(connection: sqlite3.Connection, after: int, limit: int) -> Changes:
    window = {"after": after, "limit": limit}
    rows = connection.execute(_INDEX["changed_vectors"], window).fetchall()
    last = len(rows) < limit
    upto = _state(connection).changes if last else rows[-1][0]
    removed = connection.execute(_INDEX["removed_vectors"], {"after": after, "upto": upto})
    return Changes(
        removed=[memory_id for (memory_id,) in removed],
        points=[
            StoredPoint(
                memory_id,
                np.frombuffer(dense, "<f4").tolist(),
                SparseVector(
                    tuple(np.frombuffer(indices, "<u4").tolist()),
                    tuple(np.frombuffer(values, "<f4").tolist()),
                ),
                json.loads(payload),
            )
            for _, memory_id, dense, indices, values, payload in rows
        ],
        upto=upto,
        last=last,
    )


def _set_flushed(connection: sqlite3.Connection, change: int) -> None:
    connection.execute(_INDEX["set_flushed"], {"flushed": change})
    connection.execute(_INDEX["forget_removals"], {"flushed": change})
