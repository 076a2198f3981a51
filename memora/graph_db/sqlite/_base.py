"""What all parts of the adapter share: the store, and how queries are run."""

from __future__ import annotations

import sqlite3
from abc import ABC
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, LiteralString

from pydantic import SecretStr

from memora import _queries
from memora._sqlite import SqliteStore
from memora.core.clock import Clock
from memora.core.ids import Ids
from memora.encryption import optional_key
from memora.graph_db.base import BaseGraphDB
from memora.graph_db.sqlite._seal import Sealer
from memora.graph_db.sqlite.records import Row, dumps, micros
from memora.schema.validation import checked_path
from memora.schema.write_plan import OutboxOp
from memora.vector_db.base import BaseVectorDB

PACKAGE = "memora.graph_db.sqlite"
APPLICATION_ID = 0x6D656D67  # "memg"

_OUTBOX = _queries.load(PACKAGE, "queries/outbox.sql")
_ENQUEUE = _OUTBOX["enqueue"]
_RELEASE_OUTBOX = _OUTBOX["release_all"]
_JOBS = _queries.load(PACKAGE, "queries/jobs.sql")
_RELEASE_JOBS = _JOBS["release_all"]


class SQLiteBase(BaseGraphDB, ABC):
    """Owns the store; copies of the object (`with_vector_db`) share it."""

    def __init__(
        self,
        path: str | Path | None,
        associated_vector_db: BaseVectorDB | None = None,
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
        encryption_key: str | SecretStr | None = None,
    ) -> None:
        super().__init__(associated_vector_db, clock=clock, ids=ids)
        self._sealer = Sealer(f"sqlite store {path}", optional_key(encryption_key))
        self._store = SqliteStore(
            None if path is None else checked_path(path, "path"),
            application_id=APPLICATION_ID,
            migrations=PACKAGE,
            prepare=_release_leases,
            guard=self._sealer,
        )

    async def setup(self) -> None:
        await self._store.open()
        await self._pass_keys_on()

    async def close(self) -> None:
        await self._store.close()

    async def _pass_keys_on(self) -> None:
        if self._vector_db is not None:
            await self._vector_db.use_keys(self._sealer.ring)


def _release_leases(connection: sqlite3.Connection) -> None:
    """Free what was claimed by whoever owned the store before: it is gone, as the lock shows."""
    connection.execute(_RELEASE_OUTBOX)
    connection.execute(_RELEASE_JOBS)


def rows(connection: sqlite3.Connection, query: LiteralString, **params: Any) -> list[Row]:
    """Return all rows of a query."""
    cursor = connection.execute(query, params)
    found = cursor.fetchall()
    if not found:
        return []
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in found]


def one(connection: sqlite3.Connection, query: LiteralString, **params: Any) -> Row | None:
    """Return the row of a query, or None."""
    found = rows(connection, query, **params)
    return found[0] if found else None


def values(connection: sqlite3.Connection, query: LiteralString, **params: Any) -> list[Any]:
    """Return the only column of a query."""
    return [row[0] for row in connection.execute(query, params)]


def change(connection: sqlite3.Connection, query: LiteralString, **params: Any) -> int:
    """Run a statement and return how many rows it changed."""
    return connection.execute(query, params).rowcount


def enqueue(
    connection: sqlite3.Connection,
    op: OutboxOp,
    org_id: str,
    user_id: str,
    now: datetime,
    memory_ids: Sequence[str] = (),
) -> None:
    """Add vector work; a `sync` of nothing is none."""
    if op is OutboxOp.SYNC and not memory_ids:
        return
    change(
        connection,
        _ENQUEUE,
        op=op.value,
        org_id=org_id,
        user_id=user_id,
        memory_ids=dumps(list(dict.fromkeys(memory_ids))),
        now=micros(now),
    )
