"""Constraints, indexes and the version stamp; all of it works on the Community edition."""

from __future__ import annotations

import re
from functools import partial
from typing import LiteralString

from memora._queries import load
from memora.errors import GraphDBError, SchemaVersionError
from memora.graph_db.neo4j._base import BACKEND, PACKAGE, Connection, Transaction

_Q = load(PACKAGE, "queries/schema.cypher")
_INDEXES = load(PACKAGE, "queries/indexes.cypher")
_REPAIR = load(PACKAGE, "queries/repair.cypher")

# Raised by one with every migration, which is then listed here under the version it leads to.
VERSION = 2
# Every constraint and index by its name, in the order in which they are made.
NAMES = tuple(_INDEXES)
MIGRATIONS: dict[int, tuple[LiteralString, ...]] = {1: (), 2: ()}

_OLDEST_SERVER = (5, 23)


def server_version(text: str) -> tuple[int, int]:
    """Return major and minor of a version such as `5.26.30`, `5.27-aura` or `2025.06.2`."""
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


def pending_migrations(stamp: int | None, *, has_legacy: bool) -> range:
    """Return the versions to migrate to, one after the other.

    Args:
        stamp: Version found in the database; None: nothing of this memora is there.
        has_legacy: Whether memora 0.3 wrote to it.

    Raises:
        SchemaVersionError: The graph is of 0.3, or newer than this memora.
    """
    supported = f"schema versions up to {VERSION}"
    if stamp is None and has_legacy:
        raise SchemaVersionError(BACKEND, found="a graph of memora 0.3", supported=supported)
    if stamp is not None and stamp > VERSION:
        raise SchemaVersionError(BACKEND, found=f"schema version {stamp}", supported=supported)
    return range((stamp or 0) + 1, VERSION + 1)


async def setup(connection: Connection) -> None:
    """Bring the database to this memora's schema.

    Every step may be repeated, and the stamp comes last, so an interrupted setup is finished by
    the next one.

    Raises:
        GraphDBError: The server is older than 5.23.
        SchemaVersionError: As `pending_migrations` says.
        GraphDBConnectionError: The server cannot be reached.
    """
    await _check_server(connection)
    stamp, has_legacy = await connection.read(_look)
    pending = pending_migrations(stamp, has_legacy=has_legacy)
    missing = sorted(_INDEXES.keys() - await _existing(connection))
    for name in missing:
        await _create(connection, name)
    if missing:
        await connection.fetch(_Q["await_indexes"])
    for version in pending:
        for query in MIGRATIONS[version]:
            await connection.change(query)
        await connection.write(partial(_stamp, version=version))


async def open_as_is(connection: Connection) -> None:
    """Check server and stamp, and leave a database that has data as it is.

    Raises:
        GraphDBError, SchemaVersionError, GraphDBConnectionError: As `setup`.
    """
    await _check_server(connection)
    stamp, has_legacy = await connection.read(_look)
    pending_migrations(stamp, has_legacy=has_legacy)
    if stamp is None:
        [row] = await connection.fetch(_REPAIR["has_data"])
        if not row["found"]:
            await setup(connection)


async def mend(connection: Connection, name: str) -> None:
    """Make a constraint, an index, the stamp or a counter again.

    Raises:
        GraphDBError: Records are in the way of a constraint.
    """
    if name in _INDEXES:
        await _create(connection, name)
        await connection.fetch(_Q["await_indexes"])
        return
    await connection.change(_REPAIR["restore_counter"])
    await connection.write(partial(_stamp, version=VERSION))


async def _check_server(connection: Connection) -> None:
    """Refuse a server without scoped subqueries, once per driver."""
    if connection.is_supported:
        return
    await connection.verify()
    [row] = await connection.fetch(_Q["server"])
    if server_version(row["version"]) < _OLDEST_SERVER:
        raise GraphDBError(BACKEND, f"server {row['version']} is older than 5.23")
    connection.is_supported = True


async def _look(transaction: Transaction) -> tuple[int | None, bool]:
    stamp = await transaction.row(_Q["stamp"])
    legacy = await transaction.row(_Q["legacy"])
    return (stamp["version"] if stamp else None), bool(legacy and legacy["found"])


async def _existing(connection: Connection) -> set[str]:
    return {row["name"] for row in await connection.fetch(_Q["existing"])}


async def _create(connection: Connection, name: str) -> None:
    """Create a constraint or index, unless somebody who sets up at the same time was quicker."""
    try:
        await connection.change(_INDEXES[name])
    except GraphDBError:
        # `IF NOT EXISTS` does not hold against another transaction that is about to commit.
        if name not in await _existing(connection):
            raise


async def _stamp(transaction: Transaction, version: int) -> None:
    await transaction.rows(_Q["counters"])
    await transaction.rows(_Q["put_stamp"], version=version)
