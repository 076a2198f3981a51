"""Repairs what a check found: one transaction each, which looks again before it changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime
from typing import Any, LiteralString

from memora import _queries
from memora.core import repair
from memora.graph_db.sqlite import _names, records
from memora.graph_db.sqlite._base import PACKAGE, SQLiteBase, change, enqueue, one, rows, values
from memora.graph_db.sqlite._seal import AGENT, INTERACTION, sealed
from memora.schema.findings import Finding, FindingKind
from memora.schema.scope import Scope
from memora.schema.write_plan import OutboxOp

_SQL = _queries.load(PACKAGE, "queries/repair.sql")
_CHAINS_OF = _SQL["chains_of"]
_VERSIONS = _SQL["versions"]
_UNLINK = _SQL["unlink"]
_PLACE = _SQL["place"]
_PUT_AGENT_BACK = _SQL["put_agent_back"]
_DROP_STRAY_SOURCES = _SQL["drop_stray_sources"]
_DROP_RELATIONS_OF = _SQL["drop_relations_of"]
_DROP_MENTIONS_OF = _SQL["drop_mentions_of"]
_MEMORY_TO_NAME = _SQL["memory_to_name"]
_DROP_UNMENTIONED = _SQL["drop_unmentioned"]
_SECOND_EXTERNAL_ID = _SQL["second_external_id"]
_DROP_EXTERNAL_ID = _SQL["drop_external_id"]
_TIMES: list[LiteralString] = [
    _SQL["memory_times"],
    _SQL["interaction_times"],
    _SQL["job_times"],
    _SQL["organization_times"],
    _SQL["user_times"],
    _SQL["agent_times"],
]
_FREE_ENTRY = _SQL["free_entry"]
_FREE_JOB = _SQL["free_job"]
_CURRENT_WITH_SOURCES = _SQL["current_with_sources"]
_TRANSCRIPT = _SQL["transcript"]
_RECOUNT = _SQL["recount"]
_MARKS = _queries.load(PACKAGE, "queries/inspect.sql")["marks"]
_END_HEAD = _queries.load(PACKAGE, "queries/apply.sql")["end_head"]

_Repair = Callable[[sqlite3.Connection, Finding, datetime], None]


class RepairPart(SQLiteBase):
    """Repairs in SQLite."""

    async def repair(self, finding: Finding, now: datetime) -> None:
        if finding.kind is FindingKind.HALF_MIGRATION:
            await self._store.mend(finding.record_id)
            return
        work = _REPAIRS.get(finding.kind)
        if work is not None:
            await self._store.write(lambda connection: work(connection, finding, now))


def _chains(connection: sqlite3.Connection, finding: Finding, now: datetime) -> None:
    """Rebuild every chain that the record is part of."""
    found = values(connection, _CHAINS_OF, org_id=finding.org_id, record_id=finding.record_id)
    for chain_id in found:
        _rebuild(connection, str(finding.org_id), chain_id, now)


def _rebuild(connection: sqlite3.Connection, org_id: str, chain_id: str, now: datetime) -> None:
    found = rows(connection, _VERSIONS, org_id=org_id, chain_id=chain_id)
    stored = [(row["user_id"], repair.Version(**_place_of(row))) for row in found]
    changes = repair.straightened(stored, chain_id)
    for placed in changes:  # so that nobody has two predecessors on the way
        change(connection, _UNLINK, org_id=org_id, memory_id=placed.version.memory_id)
    synced: dict[str, list[str]] = {}
    for placed in changes:
        change(
            connection,
            _PLACE,
            org_id=org_id,
            memory_id=placed.version.memory_id,
            chain_id=placed.chain_id,
            successor_id=placed.version.successor_id,
            superseded_at=placed.version.superseded_at,
        )
        synced.setdefault(placed.user_id, []).append(placed.version.memory_id)
    for user_id, ids in synced.items():
        enqueue(connection, OutboxOp.SYNC, org_id, user_id, now, ids)


def _place_of(row: records.Row) -> dict[str, Any]:
    names = ("memory_id", "successor_id", "obtained_at", "superseded_at")
    return {name: row[name] for name in names}


def _agent(connection: sqlite3.Connection, finding: Finding, now: datetime) -> None:
    fields = {
        "org_id": finding.org_id,
        "agent_id": finding.record_id,
        "agent_label": repair.LOST_AGENT_LABEL,
        "now": records.micros(now),
    }
    change(connection, _PUT_AGENT_BACK, **sealed(connection, AGENT, fields))


def _sources(connection: sqlite3.Connection, finding: Finding, _now: datetime) -> None:
    change(connection, _DROP_STRAY_SOURCES, org_id=finding.org_id, memory_id=finding.record_id)


def _mentions(connection: sqlite3.Connection, finding: Finding, _now: datetime) -> None:
    """Make the links of a memory again, and drop the names that no memory has."""
    owner = {"org_id": str(finding.org_id), "user_id": str(finding.user_id)}
    key = {**owner, "record_id": finding.record_id}
    change(connection, _DROP_RELATIONS_OF, **key)
    change(connection, _DROP_MENTIONS_OF, **key)
    found = one(connection, _MEMORY_TO_NAME, **key)
    if found is not None:
        relations = records.relations(found["relations"])
        naming = _names.Naming(finding.record_id, records.loads(found["entities"]), relations)
        _names.link(connection, Scope(**owner), found["salt"], [naming])
    change(connection, _DROP_UNMENTIONED, **owner)


def _external_id(connection: sqlite3.Connection, finding: Finding, _now: datetime) -> None:
    key = {"org_id": finding.org_id, "interaction_id": finding.record_id}
    row = one(connection, _SECOND_EXTERNAL_ID, **key)
    if row is not None:
        metadata = {**records.loads(row["metadata"])}
        metadata[repair.FORMER_EXTERNAL_ID] = row["external_id"]
        fields = {**key, "user_id": row["user_id"], "metadata": records.dumps(metadata)}
        change(connection, _DROP_EXTERNAL_ID, **sealed(connection, INTERACTION, fields))


def _times(connection: sqlite3.Connection, finding: Finding, now: datetime) -> None:
    """Move times into the calendar, into the past and into order; chains follow."""
    record = {"org_id": finding.org_id, "record_id": finding.record_id, **repair.limits(now)}
    for query in _TIMES:
        change(connection, query, **record)
    _chains(connection, finding, now)


def _outbox(connection: sqlite3.Connection, finding: Finding, now: datetime) -> None:
    limits = repair.limits(now)
    owner = {"org_id": finding.org_id}
    change(connection, _FREE_JOB, **owner, job_id=finding.record_id, **limits)
    if finding.record_id.isdecimal():
        change(connection, _FREE_ENTRY, **owner, seq=int(finding.record_id), **limits)


def _tombstone(connection: sqlite3.Connection, finding: Finding, now: datetime) -> None:
    key = {"org_id": finding.org_id, "memory_id": finding.record_id}
    found = rows(connection, _CURRENT_WITH_SOURCES, **key)
    if not found:
        return
    first = found[0]
    owner = {"org_id": str(finding.org_id), "user_id": str(first["user_id"])}
    purged_at = dict(connection.execute(_MARKS, owner))
    hashes = [row["prefix_hash"] for row in found]
    statement = (first["salt"], first["content_hash"], hashes, first["recorded_at"])
    if repair.came_back(*statement, purged_at):
        ended_at = max(records.micros(now), first["obtained_at"])
        change(connection, _END_HEAD, **owner, memory_id=finding.record_id, ended_at=ended_at)
        enqueue(connection, OutboxOp.SYNC, **owner, now=now, memory_ids=[finding.record_id])


def _transcript(connection: sqlite3.Connection, finding: Finding, _now: datetime) -> None:
    key = {"org_id": finding.org_id, "interaction_id": finding.record_id}
    row = one(connection, _TRANSCRIPT, **key)
    if row is None:
        return
    fields = {**row}
    user_id = fields.pop("user_id")
    fixed = repair.recounted(repair.Transcript(**fields))
    if fixed is not None:
        new = {"message_count": fixed[0], "content_hash": fixed[1]}
        row = sealed(connection, INTERACTION, {**key, "user_id": user_id, **new})
        change(connection, _RECOUNT, **row)


_REPAIRS: dict[FindingKind, _Repair] = {
    FindingKind.FORK: _chains,
    FindingKind.GAP: _chains,
    FindingKind.TWO_HEADS: _chains,
    FindingKind.CYCLE: _chains,
    FindingKind.DAMAGED_CHAIN: _chains,
    FindingKind.DANGLING_AGENT: _agent,
    FindingKind.STUCK_OUTBOX: _outbox,
    FindingKind.DUPLICATE_KEY: _external_id,
    FindingKind.TOMBSTONE_VIOLATION: _tombstone,
    FindingKind.CLOCK_REGRESSION: _times,
    FindingKind.STRAY_SOURCE: _sources,
    FindingKind.STRAY_MENTION: _mentions,
    FindingKind.MISSING_MENTION: _mentions,
    FindingKind.DAMAGED_TRANSCRIPT: _transcript,
}
