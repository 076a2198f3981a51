"""Whole organizations, out of the database and into it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from typing import Any, LiteralString

from memora._queries import load
from memora.errors import ConflictError
from memora.graph_db.neo4j import _names, records
from memora.graph_db.neo4j._base import PACKAGE, Neo4jBase, Transaction
from memora.graph_db.neo4j._outbox import enqueue
from memora.graph_db.neo4j.records import as_json, micros
from memora.graph_db.neo4j.user import lock_user
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

_Q = load(PACKAGE, "queries/transfer.cypher")

# By kind, in an order in which everything finds what it belongs to.
_LOAD: Mapping[str, LiteralString] = {
    "organization": _Q["load_organization"],
    "user": _Q["load_user"],
    "agent": _Q["load_agent"],
    "interaction": _Q["load_interaction"],
    "message": _Q["load_message"],
    "memory": _Q["load_memory"],
    "tombstone": _Q["load_tombstone"],
    "idempotency_key": _Q["load_idempotency_key"],
    "job": _Q["load_job"],
    "import": _Q["load_import"],
    "import_change": _Q["load_import_change"],
}

# What the database cannot hold as it is, and how it is stored.
_STORED: Mapping[type, Callable[[Any], Any]] = {datetime: micros, dict: as_json, tuple: list}

# Records in a page, interactions that are read together, and rows that the server sends at once:
# a message can be a megabyte.
_PAGE = 100


class TransferPart(Neo4jBase):
    """Exports hold one user's lock at a time: what they read of it is one state."""

    async def dump_records(self, org_id: str | None) -> AsyncGenerator[Sequence[TransferRecord]]:
        if org_id is None:
            every = await self._connection.fetch(_Q["organizations"])
            wanted = [str(row["org_id"]) for row in every]
        else:
            wanted = [org_id]
        for each in wanted:
            found = await self._connection.fetch(_Q["organization"], org_id=each)
            for row in found:
                yield [OrganizationRecord.of(records.organization(row["organization"]))]
                async with aclosing(self._dump_users(each)) as pages:
                    async for page in pages:
                        yield page
                # After everything that names them: none goes while its organization is there.
                agents = await self._connection.fetch(_Q["agents"], org_id=each)
                for start in range(0, len(agents), _PAGE):
                    yield [_agent(row["agent"]) for row in agents[start : start + _PAGE]]

    async def _dump_users(self, org_id: str) -> AsyncGenerator[Sequence[TransferRecord]]:
        for row in await self._connection.fetch(_Q["users"], org_id=org_id):
            scope = Scope(org_id, row["user_id"])
            async with self._connection.streaming(_PAGE) as transaction:
                # Every write of the user's waits for this lock (but for jobs' states).
                if await lock_user(transaction, scope) is None:
                    continue
                page: list[TransferRecord] = []
                async for record in _user(transaction, scope):
                    page.append(record)
                    if len(page) == _PAGE:
                        yield page
                        page = []
                if page:
                    yield page

    async def load_records(self, records: Sequence[TransferRecord], now: datetime) -> None:
        if records:
            await self._connection.write(partial(_load, given=records, now=micros(now)))


# Out


def _agent(row: records.Row) -> AgentRecord:
    return AgentRecord.of(records.agent(row), records.optional_moment(row.get("deleted_at")))


async def _user(transaction: Transaction, scope: Scope) -> AsyncIterator[TransferRecord]:
    tenant = {"org_id": scope.org_id, "user_id": scope.user_id}
    for row in await transaction.rows(_Q["user"], **tenant):
        yield UserRecord.of(records.user(row["user"]), row["user"]["salt"])
    for row in await transaction.rows(_Q["agents_of_user"], **tenant):
        yield _agent(row["agent"])
    async for record in _interactions(transaction, tenant):
        yield record
    async for row in transaction.stream(_Q["memories"], **tenant):
        yield _memory(row["memory"])
    async for row in transaction.stream(_Q["tombstones"], **tenant):
        yield TombstoneRecord.model_construct(
            org_id=scope.org_id,
            user_id=scope.user_id,
            mark=row["mark"],
            purged_at=records.optional_moment(row["purged_at"]),
        )
    async for row in transaction.stream(_Q["idempotency_keys"], **tenant):
        known = records.idempotency(row["record"])
        yield IdempotencyKeyRecord.model_construct(
            org_id=scope.org_id,
            user_id=scope.user_id,
            key=known.key,
            body_hash=known.body_hash,
            result=known.result,
            created_at=records.moment(row["record"]["created_at"]),
            import_id=known.import_id,
        )
    async for row in transaction.stream(_Q["jobs"], **tenant):
        yield JobRecord.of(records.job(row["job"]))
    async for row in transaction.stream(_Q["entities"], **tenant):
        yield EntityRecord.model_construct(**row["entity"])
    async for record in _imports(transaction, tenant):
        yield record


async def _imports(
    transaction: Transaction, tenant: dict[str, str]
) -> AsyncIterator[ImportRecord | ImportChangeRecord]:
    """Yield imports, each followed by its changes."""
    for row in await transaction.rows(_Q["imports"], **tenant):
        run = records.import_run(row["run"])
        yield ImportRecord.of(run)
        async for found in transaction.stream(
            _Q["import_changes"], **tenant, import_id=run.import_id
        ):
            yield _import_change(found["part"])


def _memory(row: records.Row) -> MemoryRecord:
    places = [
        (place["interaction_id"], place["position"], records.optional_moment(place["said_at"]))
        for place in row["places"]
    ]
    stated_at = records.optional_moment(row.get("stated_at"))
    return MemoryRecord.of(records.memory(row), places, stated_at, row.get("stated_role"))


def _import_change(part: records.Row) -> ImportChangeRecord:
    found = part.get("found")
    return ImportChangeRecord.model_construct(
        org_id=part["org_id"],
        user_id=part["user_id"],
        import_id=part["import_id"],
        interaction_id=part["interaction_id"],
        revision=part["revision"],
        found=None if found is None else json.loads(found),
    )


async def _interactions(
    transaction: Transaction, tenant: dict[str, str]
) -> AsyncIterator[InteractionRecord | MessageRecord]:
    """Yield interactions with their messages: both come in the order of the interaction's id."""
    after = ""
    while rows := await transaction.rows(_Q["interactions"], **tenant, after=after, limit=_PAGE):
        page = [records.interaction(row["interaction"]) for row in rows]
        after = page[-1].interaction_id
        waiting = iter(page)
        current = None
        async for row in transaction.stream(
            _Q["messages"], **tenant, first=page[0].interaction_id, last=after
        ):
            interaction_id = row["message"]["interaction_id"]
            while current != interaction_id:
                interaction = next(waiting)
                current = interaction.interaction_id
                yield InteractionRecord.of(interaction)
            stored = records.stored_message(row["message"])
            yield MessageRecord.of(
                tenant["org_id"],
                tenant["user_id"],
                interaction_id,
                stored.message,
                stored.prefix_hash,
                row["message"].get("import_id"),
            )
        for interaction in waiting:
            yield InteractionRecord.of(interaction)


# In


async def _load(transaction: Transaction, given: Sequence[TransferRecord], now: int) -> None:
    org_id = given[0].org_id
    await _lock_users(transaction, org_id, given)
    for kind, query in _LOAD.items():
        rows = [{"properties": _properties(record)} for record in given if record.kind == kind]
        if rows:
            await _insert(transaction, query, org_id, rows, kind)
    memories = [record for record in given if isinstance(record, MemoryRecord)]
    if memories:
        await _link(transaction, org_id, memories)
    by_user: dict[str, list[MemoryRecord]] = {}
    for record in memories:
        by_user.setdefault(record.user_id, []).append(record)
    for user_id, own in by_user.items():
        await _name(transaction, Scope(org_id, user_id), own)
        ids = [record.memory_id for record in own]
        await enqueue(transaction, OutboxOp.SYNC, org_id, user_id, ids, now)
    # Names are there once the memories that have them are.
    entities = [{"properties": _properties(each)} for each in given if each.kind == "entity"]
    if entities:
        await _insert(transaction, _Q["load_entity"], org_id, entities, "entity")


async def _name(transaction: Transaction, scope: Scope, memories: Sequence[MemoryRecord]) -> None:
    """Make what follows from memories: the file does not have it."""
    salt = await lock_user(transaction, scope)
    named = [_names.Naming(each.memory_id, each.entities, _relations(each)) for each in memories]
    tenant = {"org_id": scope.org_id, "user_id": scope.user_id}
    # Which names are one is in the file, whatever the order of its memories.
    await _names.link(transaction, tenant, salt or "", named, joins=False)


def _relations(record: MemoryRecord) -> list[Relation]:
    return [Relation(**dict(each)) for each in record.relations]


async def _lock_users(
    transaction: Transaction, org_id: str, given: Sequence[TransferRecord]
) -> None:
    """Take the locks of the users that were there before, in one order for everybody."""
    new = {record.user_id for record in given if isinstance(record, UserRecord)}
    owners = {getattr(record, "user_id", None) for record in given} - new - {None}
    wanted = sorted(str(owner) for owner in owners)
    locked = await transaction.rows(_Q["lock_users"], org_id=org_id, user_ids=wanted)
    for user_id in sorted(set(wanted) - {row["user_id"] for row in locked}):
        raise ConflictError("user", user_id, expected="a user", actual="none")


async def _insert(
    transaction: Transaction,
    query: LiteralString,
    org_id: str,
    rows: Sequence[Mapping[str, Any]],
    kind: str,
) -> None:
    [row] = await transaction.rows(query, org_id=org_id, rows=rows)
    if row["loaded"] != len(rows):
        raise ConflictError(
            kind, "", expected=f"what {len(rows)} belong to", actual=f"that of {row['loaded']}"
        )


async def _link(transaction: Transaction, org_id: str, memories: Sequence[MemoryRecord]) -> None:
    rows = [{"user_id": each.user_id, "memory_id": each.memory_id} for each in memories]
    await transaction.rows(_Q["link_successors"], org_id=org_id, rows=rows)
    await transaction.rows(_Q["link_predecessors"], org_id=org_id, rows=rows)
    sources = [
        {
            "user_id": each.user_id,
            "memory_id": each.memory_id,
            "interaction_id": source.interaction_id,
            "position": source.position,
            "said_at": records.optional_micros(source.said_at),
        }
        for each in memories
        for source in each.sources
    ]
    if sources:
        await _insert(transaction, _Q["load_source"], org_id, sources, "message")


def _properties(record: TransferRecord) -> dict[str, Any]:
    """Return what a record's node gets."""
    others = {"kind", "sources", "superseded_by", "relations"}
    properties = {name: _stored(value) for name, value in record if name not in others}
    if isinstance(record, MemoryRecord):
        properties["relations"] = records.stored_relations(_relations(record))
        properties["successor_id"] = record.superseded_by
        properties["head_of"] = record.chain_id if record.superseded_at is None else None
    return properties


def _stored(value: object) -> object:
    convert = _STORED.get(value.__class__)
    return value if convert is None else convert(value)
