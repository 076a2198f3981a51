"""Encryption at rest: which columns are sealed, and how connections come to read them.

Reading needs nothing from the rest of the adapter: views of `sealed.sql` stand in front of the
tables. Whatever writes a sealed column passes its parameters through `sealed`.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from memora import _queries
from memora._sqlite import Connection
from memora.encryption import DataKey, Keyring, MasterKey, SealError, keyring
from memora.errors import EncryptionKeyError, GraphDBError

_PACKAGE = "memora.graph_db.sqlite"
_VIEWS = _queries.load(_PACKAGE, "queries/sealed.sql")
_NO_VIEWS = _queries.load(_PACKAGE, "queries/unsealed.sql")
_KEYS = _queries.load(_PACKAGE, "queries/keys.sql")
_EXISTS = _KEYS["exists"]
_IS_EMPTY = _KEYS["is_empty"]
_LIST = _KEYS["list"]
_PUT = _KEYS["put"]

_logger = logging.getLogger("memora")


@dataclass(frozen=True, slots=True)
class SealedTable:
    """A table with text in it.

    Attributes:
        key: Columns that a value is bound to, besides its own.
        columns: Columns that are sealed; each value differs, also for the same text.
        marks: Columns in which a value must be found, bound to the user only.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    marks: tuple[str, ...] = ()


ORGANIZATION = SealedTable("organization", ("org_id",), ("org_name",))
USER = SealedTable("user", ("org_id", "user_id"), ("user_name", "salt"))
AGENT = SealedTable("agent", ("org_id", "agent_id"), ("agent_label",))
INTERACTION = SealedTable(
    "interaction", ("org_id", "user_id", "interaction_id"), ("title", "metadata", "content_hash")
)
MESSAGE = SealedTable(
    "message",
    ("org_id", "user_id", "interaction_id", "position"),
    ("prefix_hash", "name", "content", "data"),
)
MEMORY = SealedTable(
    "memory",
    ("org_id", "user_id", "memory_id"),
    ("author", "tags", "entities", "metadata", "text", "relations"),
    marks=("content_hash",),
)
ENTITY = SealedTable("entity", ("org_id", "user_id", "name_id"), ("name",), marks=("block",))
IDEMPOTENCY = SealedTable("idempotency", ("org_id", "user_id", "key"), ("body_hash", "result"))
JOB = SealedTable("job", ("org_id", "user_id", "job_id"), ("params", "outputs", "error"))
IMPORT_CHANGE = SealedTable(
    "import_change", ("org_id", "user_id", "import_id", "interaction_id"), ("found",)
)
OUTBOX = SealedTable("outbox", ("org_id", "user_id", "seq"), ("error",))

# What others refer to comes first, so that its key is known where it is part of theirs.
TABLES = (
    *(ORGANIZATION, USER, AGENT, INTERACTION, MESSAGE, MEMORY, ENTITY),
    *(IDEMPOTENCY, JOB, IMPORT_CHANGE, OUTBOX),
)


class Sealer:
    """Guards the connections of a store that may be encrypted.

    Args:
        store: How errors name it.
        key: The caller's; None is for a plain store.

    Attributes:
        key: The caller's.
        ring: The store's keys; plain text until the store was opened.
        attached: Whether connections read through the views.
        changing: Held while the keys change.
    """

    def __init__(self, store: str, key: MasterKey | None) -> None:
        self._store = store
        self.key = key
        self.ring = Keyring()
        self.attached = False
        self.changing = asyncio.Lock()

    @property
    def pending(self) -> bool:
        """Whether values may still be sealed with an earlier key than the last."""
        return len(self.ring) > 1

    def admit(self, connection: Connection, version: int) -> None:
        """Raise unless store and key belong together."""
        self.ring = self._ring_for(connection, version)
        self.attached = self.key is not None
        if self.pending:
            _logger.warning(
                "%s: encrypting it anew was interrupted; rotate_key() goes on with it", self._store
            )

    def check(self, connection: Connection, version: int) -> None:
        """Raise as `admit` would, of a file that is still to become the store."""
        self._ring_for(connection, version)

    def attach(self, connection: Connection, *, writes: bool) -> None:
        """Have a connection read through the views, if the store is encrypted."""
        if not self.attached:
            return
        if writes and self.key is not None and not read_keys(connection):
            put_keys(connection, [self.ring.current], self.key)
        self._define(connection)

    def attach_to_copy(self, connection: Connection) -> None:
        """Have a connection that keeps to one state of the store read with the keys of then."""
        rows = _stored_keys(connection)
        if rows:
            self._define(connection, keyring(self._store, rows, self.key))

    def detach(self, connection: Connection) -> None:
        """Have a connection see the tables themselves."""
        for statement in _NO_VIEWS.values():
            connection.execute(statement)

    def _ring_for(self, connection: Connection, version: int) -> Keyring:
        rows = _stored_keys(connection)
        if rows:
            return keyring(self._store, rows, self.key)
        if self.key is None:
            return Keyring()
        if version and not connection.execute(_IS_EMPTY).fetchone()[0]:
            reason = "it is not encrypted: open it without a key, rotate_key() encrypts it"
            raise EncryptionKeyError(self._store, reason)
        # What has never held anything takes on the key that it is opened with.
        return Keyring([DataKey.random(1)])

    def _define(self, connection: Connection, ring: Keyring | None = None) -> None:
        """Make the views, with these keys or those that the store has at the time."""

        def opening(column: str, value: str | None, *row: str | int | None) -> str | None:
            keys = self.ring if ring is None else ring
            return _opened(connection, keys, column, value, row, marked=False)

        def unmarking(column: str, value: str | None, *owner: str | int | None) -> str | None:
            keys = self.ring if ring is None else ring
            return _opened(connection, keys, column, value, owner, marked=True)

        connection.create_function("memora_open", -1, opening)
        connection.create_function("memora_unmark", -1, unmarking)
        for view in _VIEWS.values():
            connection.execute(view)


def _opened(
    connection: Connection,
    ring: Keyring,
    column: str,
    value: str | None,
    row: tuple[str | int | None, ...],
    *,
    marked: bool,
) -> str | None:
    if value is None:
        return None
    try:
        opened = ring.unmark if marked else ring.open
        return opened(value, (column, *row))
    except SealError:
        connection.failure = damaged(column, row)
        raise


def damaged(column: str, row: Iterable[str | int | None]) -> GraphDBError:
    """Return the error for a value that does not authenticate."""
    where = "/".join(map(str, row))
    return GraphDBError(
        "sqlite", f"{column} of {where!r} was changed or moved and cannot be decrypted"
    )


def ring_of(connection: sqlite3.Connection) -> Keyring:
    """Return the keys of the connection's store."""
    guard = connection.guard if isinstance(connection, Connection) else None
    return guard.ring if isinstance(guard, Sealer) else Keyring()


def sealed(
    connection: sqlite3.Connection, table: SealedTable, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the parameters of a statement with those sealed that go into sealed columns.

    Args:
        connection: Of the store that is written to.
        table: The table that is written to.
        fields: Among others the table's key and whatever is written of its sealed columns.
    """
    ring = ring_of(connection)
    if ring.current is None:
        return dict(fields)
    row = [fields[name] for name in table.key]
    owner = row[:2]
    changed = dict(fields)
    for column in table.columns:
        if fields.get(column) is not None:
            changed[column] = ring.seal(fields[column], (f"{table.name}.{column}", *row))
    for column in table.marks:
        if fields.get(column) is not None:
            changed[column] = ring.mark(fields[column], (f"{table.name}.{column}", *owner))
    return changed


def marks(
    connection: sqlite3.Connection,
    table: SealedTable,
    column: str,
    owner: tuple[str, str],
    texts: Iterable[str],
) -> list[str]:
    """Return everything that stands for these texts in a column of marks."""
    ring = ring_of(connection)
    place = (f"{table.name}.{column}", *owner)
    return [mark for text in texts for mark in ring.marks(text, place)]


def renewed(ring: Keyring, table: SealedTable, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the sealed columns of a row as the last key seals them; None when they are.

    Raises:
        GraphDBError: A value was changed or moved.
    """
    key = [row[name] for name in table.key]
    new: dict[str, Any] = {}
    for column in (*table.columns, *table.marks):
        value = row[column]
        marked = column in table.marks
        place = (f"{table.name}.{column}", *(key[:2] if marked else key))
        try:
            new[column] = None if value is None else ring.renew(value, place, marked=marked)
        except SealError:
            raise damaged(place[0], key) from None
    return None if all(row[column] == value for column, value in new.items()) else new


def _stored_keys(connection: sqlite3.Connection) -> list[tuple[int, str | None, str | None]]:
    """Return the rows of the store's keys; a store of an earlier schema has none."""
    return read_keys(connection) if connection.execute(_EXISTS).fetchone()[0] else []


def read_keys(connection: sqlite3.Connection) -> list[tuple[int, str | None, str | None]]:
    """Return the rows of the store's keys, oldest first."""
    return cast("list[tuple[int, str | None, str | None]]", connection.execute(_LIST).fetchall())


def put_keys(
    connection: sqlite3.Connection, keys: Iterable[DataKey | None], master: MasterKey
) -> None:
    """Store keys, wrapped with the caller's."""
    for key in keys:
        if key is not None:
            row = {"id": key.id, "wrapped": master.wrap(key), "wrapped_by": master.fingerprint}
            connection.execute(_PUT, row)


def put_plain(connection: sqlite3.Connection, key_id: int) -> None:
    """Store that values may be plain."""
    connection.execute(_PUT, {"id": key_id, "wrapped": None, "wrapped_by": None})
