"""Whole organizations, out of the store and into it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, LiteralString

from memora import _queries
from memora.errors import ConflictError
from memora.graph_db.sqlite import _names, _seal, records
from memora.graph_db.sqlite._base import PACKAGE, SQLiteBase, change, enqueue, rows, values
from memora.graph_db.sqlite.records import Row, dumps
from memora.schema.models import Relation
from memora.schema.scope import Scope
from memora.schema.transfer import (
    AgentRecord,
    EntityRecord,
    IdempotencyKeyRecord,
    ImportChangeRecord,
    ImportRecord,
    InteractionRecord,
    JobRecord,
    MemoryRecord,
    MessageRecord,
    OrganizationRecord,
    TombstoneRecord,
    TransferRecord,
    UserRecord,
)
from memora.schema.write_plan import OutboxOp
from memora.vector_db.base import PinnedStore

_SQL = _queries.load(PACKAGE, "queries/transfer.sql")
_SOURCES = _SQL["sources"]
_LOAD_SOURCE = _SQL["load_source"]
_SALT = _queries.load(PACKAGE, "queries/user.sql")["salt"]
_LOAD: dict[str, LiteralString] = {
    "organization": _SQL["load_organization"],
    "user": _SQL["load_user"],
    "agent": _SQL["load_agent"],
    "interaction": _SQL["load_interaction"],
    "message": _SQL["load_message"],
    "memory": _SQL["load_memory"],
    "tombstone": _SQL["load_tombstone"],
    "idempotency_key": _SQL["load_idempotency_key"],
    "job": _SQL["load_job"],
    "entity": _SQL["load_entity"],
    "import": _SQL["load_import"],
    "import_change": _SQL["load_import_change"],
}

_SEALED: Mapping[str, _seal.SealedTable] = {
    "organization": _seal.ORGANIZATION,
    "user": _seal.USER,
    "agent": _seal.AGENT,
    "interaction": _seal.INTERACTION,
    "message": _seal.MESSAGE,
    "memory": _seal.MEMORY,
    "idempotency_key": _seal.IDEMPOTENCY,
    "job": _seal.JOB,
    "import_change": _seal.IMPORT_CHANGE,
}

# What a column cannot hold as it is, and how it is stored.
_STORED: Mapping[type, Callable[[Any], Any]] = {
    datetime: records.micros,
    dict: dumps,
    tuple: dumps,
}

# Fields that no column holds as they are.
_OTHERWISE = {"kind", "sources", "relations"}

# A page has so many records, or so many characters of text.
_PAGE = 200
_PAGE_TEXT = 1024 * 1024


class TransferPart(SQLiteBase):
    """Exports read one snapshot of the whole store."""

    async def dump_records(self, org_id: str | None) -> AsyncGenerator[Sequence[TransferRecord]]:
        async with self._store.snapshot() as snapshot:
            pages = await snapshot.run(lambda connection: _pages(connection, org_id))
            while page := await snapshot.run(lambda _connection: next(pages, None)):
                yield page

    async def load_records(self, records: Sequence[TransferRecord], now: datetime) -> None:
        await self._store.write(lambda connection: _load(connection, records, now))

    @asynccontextmanager
    async def pin(self) -> AsyncGenerator[PinnedStore | None]:
        async with self._store.snapshot() as snapshot:
            yield snapshot

    async def replace_with(self, file: Path) -> bool:
        await self._store.replace(file, _check_empty)
        await self._pass_keys_on()
        return True

    @asynccontextmanager
    async def with_one_key(self) -> AsyncGenerator[None]:
        async with self._sealer.changing:
            yield


def _check_empty(connection: sqlite3.Connection) -> None:
    for org_id in values(connection, _SQL["organizations"]):
        raise ConflictError(
            "organization", org_id, expected="an empty store", actual="this one in it"
        )


# Out


def _pages(
    connection: sqlite3.Connection, org_id: str | None
) -> Iterator[Sequence[TransferRecord]]:
    page: list[TransferRecord] = []
    size = 0
    for record in _everything(connection, org_id):
        page.append(record)
        if isinstance(record, MessageRecord):
            size += len(record.content or "")
        elif isinstance(record, MemoryRecord):
            size += len(record.text)
        if len(page) == _PAGE or size >= _PAGE_TEXT:
            yield page
            page, size = [], 0
    if page:
        yield page


def _everything(connection: sqlite3.Connection, org_id: str | None) -> Iterator[TransferRecord]:
    wanted = values(connection, _SQL["organizations"]) if org_id is None else [org_id]
    for each in wanted:
        for row in rows(connection, _SQL["organization"], org_id=each):
            yield OrganizationRecord.of(records.organization(row))
            yield from _all_users(connection, each)
            yield from _agents(connection, each, None)


def _all_users(connection: sqlite3.Connection, org_id: str) -> Iterator[TransferRecord]:
    for row in _streamed(connection, _SQL["users"], org_id=org_id):
        owner = {"org_id": org_id, "user_id": row["user_id"]}
        yield UserRecord.of(records.user(row), row["salt"])
        yield from _agents(connection, **owner)
        yield from _interactions(connection, owner)
        yield from _memories(connection, owner)
        for grave in _streamed(connection, _SQL["tombstones"], **owner):
            purged_at = records.optional_moment(grave["purged_at"])
            yield TombstoneRecord.model_construct(
                org_id=org_id, user_id=row["user_id"], mark=grave["mark"], purged_at=purged_at
            )
        for key in _streamed(connection, _SQL["idempotency_keys"], **owner):
            yield _idempotency_key(owner, key)
        for job_id in values(connection, _SQL["jobs"], **owner):
            for job in rows(connection, _SQL["job"], org_id=org_id, job_id=job_id):
                yield JobRecord.of(records.job(job))
        for name in _streamed(connection, _SQL["entities"], **owner):
            yield EntityRecord.model_construct(
                org_id=org_id,
                user_id=row["user_id"],
                name_id=name["name_id"],
                entity_id=name["entity_id"],
                decided=bool(name["decided"]),
            )
        yield from _imports(connection, owner)


def _agents(
    connection: sqlite3.Connection, org_id: str, user_id: str | None
) -> Iterator[TransferRecord]:
    for row in _streamed(connection, _SQL["agents"], org_id=org_id, user_id=user_id):
        yield AgentRecord.of(records.agent(row), records.optional_moment(row["deleted_at"]))


def _interactions(
    connection: sqlite3.Connection, owner: dict[str, str]
) -> Iterator[TransferRecord]:
    org_id, user_id = owner["org_id"], owner["user_id"]
    for interaction_id in values(connection, _SQL["interactions"], **owner):
        place = {"org_id": org_id, "interaction_id": interaction_id}
        for row in rows(connection, _SQL["interaction"], **place):
            yield InteractionRecord.of(records.interaction(row))
        for row in _streamed(connection, _SQL["messages"], **place):
            stored = records.stored_message(row)
            yield MessageRecord.of(
                org_id,
                user_id,
                interaction_id,
                stored.message,
                stored.prefix_hash,
                row["import_id"],
            )


def _memories(connection: sqlite3.Connection, owner: dict[str, str]) -> Iterator[TransferRecord]:
    for memory_id in values(connection, _SQL["memories"], **owner):
        place = {"org_id": owner["org_id"], "memory_id": memory_id}
        for row in rows(connection, _SQL["memory"], **place):
            sources = [
                (interaction_id, position, records.optional_moment(said_at))
                for interaction_id, position, said_at in connection.execute(_SOURCES, place)
            ]
            stated_at = records.optional_moment(row["stated_at"])
            yield MemoryRecord.of(records.memory(row, ()), sources, stated_at, row["stated_role"])


def _imports(connection: sqlite3.Connection, owner: dict[str, str]) -> Iterator[TransferRecord]:
    for row in _streamed(connection, _SQL["imports"], **owner):
        yield ImportRecord.of(records.import_run(row))
        import_id = row["import_id"]
        for part in _streamed(connection, _SQL["import_changes"], **owner, import_id=import_id):
            found = part["found"]
            yield ImportChangeRecord.model_construct(
                **{**part, "found": None if found is None else records.loads(found)}
            )


def _idempotency_key(owner: dict[str, str], row: Row) -> IdempotencyKeyRecord:
    known = records.idempotency(row)
    return IdempotencyKeyRecord.model_construct(
        org_id=owner["org_id"],
        user_id=owner["user_id"],
        key=known.key,
        body_hash=known.body_hash,
        result=known.result,
        created_at=records.moment(row["created_at"]),
        import_id=known.import_id,
    )


def _streamed(
    connection: sqlite3.Connection, query: LiteralString, **params: Any
) -> Generator[Row]:
    """Yield rows as they are read, for results that may be long."""
    cursor = connection.execute(query, params)
    names = [column[0] for column in cursor.description]
    for row in cursor:
        yield dict(zip(names, row, strict=True))


# In


def _load(connection: sqlite3.Connection, given: Sequence[TransferRecord], now: datetime) -> None:
    for record in given:
        if not isinstance(record, EntityRecord):
            _insert(connection, record)
    memories = [record for record in given if isinstance(record, MemoryRecord)]
    for (org_id, user_id), group in groupby(memories, lambda each: (each.org_id, each.user_id)):
        own = list(group)
        _link(connection, Scope(org_id, user_id), own)
        ids = [record.memory_id for record in own]
        enqueue(connection, OutboxOp.SYNC, org_id, user_id, now, ids)
    for record in given:
        # Names are there once the memories that have them are.
        if isinstance(record, EntityRecord):
            _insert(connection, record)


def _insert(connection: sqlite3.Connection, record: TransferRecord) -> None:
    try:
        loaded = change(connection, _LOAD[record.kind], **_fields(connection, record))
        if isinstance(record, MemoryRecord):
            loaded = _load_sources(connection, record)
    except sqlite3.IntegrityError:
        loaded = 0
    if not loaded:
        raise ConflictError(
            record.kind,
            record.record_id,
            expected="a free id, and what it belongs to",
            actual="a taken one, or nothing",
        )


def _link(connection: sqlite3.Connection, scope: Scope, memories: Sequence[MemoryRecord]) -> None:
    """Make what follows from memories: the file does not have it."""
    named = [
        _names.Naming(
            record.memory_id,
            record.entities,
            [Relation(**dict(relation)) for relation in record.relations],
        )
        for record in memories
    ]
    [salt] = values(connection, _SALT, org_id=scope.org_id, user_id=scope.user_id)
    # Which names are one is in the file, whatever the order of its memories.
    _names.link(connection, scope, salt, named, joins=False)


def _load_sources(connection: sqlite3.Connection, record: MemoryRecord) -> bool:
    place = {"org_id": record.org_id, "user_id": record.user_id, "memory_id": record.memory_id}
    return all(
        change(
            connection,
            _LOAD_SOURCE,
            **place,
            interaction_id=source.interaction_id,
            position=source.position,
            said_at=records.optional_micros(source.said_at),
        )
        for source in record.sources
    )


def _fields(connection: sqlite3.Connection, record: TransferRecord) -> dict[str, Any]:
    """Return the parameters of the statement that inserts a record."""
    fields = {name: _stored(value) for name, value in record if name not in _OTHERWISE}
    if isinstance(record, MemoryRecord):
        relations = [Relation(**dict(relation)) for relation in record.relations]
        fields["relations"] = records.stored_relations(relations)
    table = _SEALED.get(record.kind)
    return fields if table is None else _seal.sealed(connection, table, fields)


def _stored(value: object) -> object:
    convert = _STORED.get(value.__class__)
    return value if convert is None else convert(value)
