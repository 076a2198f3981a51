"""Repairs what a check found: one transaction each, under the user's lock, which looks again."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any, LiteralString

from memora._queries import load
from memora.core import repair
from memora.graph_db.neo4j import _names, records, schema
from memora.graph_db.neo4j._base import PACKAGE, Neo4jBase, Transaction
from memora.graph_db.neo4j._outbox import enqueue, lock_claims
from memora.graph_db.neo4j.user import lock_user
from memora.schema.findings import Finding, FindingKind
from memora.schema.scope import Scope
from memora.schema.write_plan import OutboxOp

_Q = load(PACKAGE, "queries/repair.cypher")
_TIMES: dict[str, LiteralString] = {
    "memory": _Q["memory_times"],
    "interaction": _Q["interaction_times"],
    "job": _Q["job_times"],
    "organization": _Q["organization_times"],
    "user": _Q["user_times"],
    "agent": _Q["agent_times"],
}
_RENAMES: dict[str, LiteralString] = {
    "Organization": _Q["rename_organizations"],
    "User": _Q["rename_users"],
    "Agent": _Q["rename_agents"],
    "Job": _Q["rename_jobs"],
    "Interaction": _Q["rename_interactions"],
    "Memory": _Q["rename_memories"],
}
# More records of one key than anybody has seen.
_MOST = 1000

_Repair = Callable[[Transaction, Finding, datetime], Awaitable[None]]


class RepairPart(Neo4jBase):
    """Repairs in Neo4j."""

    async def repair(self, finding: Finding, now: datetime) -> None:
        if finding.kind is FindingKind.HALF_MIGRATION:
            await schema.mend(self._connection, finding.record_id)
            return
        work = _REPAIRS.get(finding.kind)
        if work is not None:
            await self._connection.write(partial(_locked, work=work, finding=finding, now=now))


async def _locked(transaction: Transaction, work: _Repair, finding: Finding, now: datetime) -> None:
    """Work under the lock under which everything of the user is written."""
    if finding.org_id is not None and finding.user_id is not None:
        await lock_user(transaction, Scope(finding.org_id, finding.user_id))
    await work(transaction, finding, now)


def _key(finding: Finding) -> dict[str, Any]:
    return {
        "org_id": finding.org_id,
        "user_id": finding.user_id,
        "record_id": finding.record_id,
    }


async def _sync(
    transaction: Transaction, finding: Finding, memory_ids: list[str], now: datetime
) -> None:
    if memory_ids:
        await enqueue(
            transaction,
            OutboxOp.SYNC,
            str(finding.org_id),
            str(finding.user_id),
            memory_ids,
            records.micros(now),
        )


async def _chains(transaction: Transaction, finding: Finding, now: datetime) -> None:
    """Rebuild every chain that the record is part of."""
    synced: list[str] = []
    for row in await transaction.rows(_Q["chains_of"], **_key(finding)):
        synced += await _rebuild(transaction, finding, row["chain_id"])
    await _sync(transaction, finding, synced, now)


async def _rebuild(transaction: Transaction, finding: Finding, chain_id: str) -> list[str]:
    """Write a chain anew where it is damaged; return the versions whose validity changed."""
    chain = {"org_id": finding.org_id, "user_id": finding.user_id, "chain_id": chain_id}
    rows = await transaction.rows(_Q["versions"], **chain)
    stored = [
        repair.Version(
            row["memory_id"], row["successor_id"], row["obtained_at"], row["superseded_at"]
        )
        for row in rows
    ]
    changed = {version.memory_id: version for version in repair.rebuilt(stored)}
    placed = [
        {
            "memory_id": version.memory_id,
            "successor_id": version.successor_id,
            "superseded_at": version.superseded_at,
            "head_of": chain_id if version.superseded_at is None else None,
        }
        for version in (changed.get(version.memory_id, version) for version in stored)
    ]
    # Beside what is decided, the relationship and the mark of the head say the same.
    is_whole = all(
        row["head_of"] == version["head_of"]
        and row["related"] == [each for each in [version["successor_id"]] if each is not None]
        for row, version in zip(rows, placed, strict=True)
    )
    if changed or not is_whole:
        await transaction.rows(_Q["unlink"], **chain)
        await transaction.rows(
            _Q["place"], org_id=finding.org_id, user_id=finding.user_id, versions=placed
        )
    return list(changed)


async def _agent(transaction: Transaction, finding: Finding, now: datetime) -> None:
    await transaction.rows(
        _Q["put_agent_back"],
        org_id=finding.org_id,
        record_id=finding.record_id,
        label=repair.LOST_AGENT_LABEL,
        now=records.micros(now),
    )


async def _sources(transaction: Transaction, finding: Finding, _now: datetime) -> None:
    await transaction.rows(_Q["drop_stray_sources"], **_key(finding))


async def _mentions(transaction: Transaction, finding: Finding, _now: datetime) -> None:
    """Make the links of a memory again, and drop the names that no memory has."""
    tenant = {"org_id": finding.org_id, "user_id": finding.user_id}
    await transaction.rows(_Q["drop_mentions_of"], **_key(finding))
    salt = await lock_user(transaction, Scope(str(finding.org_id), str(finding.user_id)))
    row = await transaction.row(_Q["memory_to_name"], **_key(finding))
    if salt is not None and row is not None:
        relations = records.relations(row["relations"])
        naming = _names.Naming(finding.record_id, row["entities"], relations)
        await _names.link(transaction, tenant, salt, [naming])
    await transaction.rows(_Q["drop_unmentioned"], **tenant)


async def _doubles(transaction: Transaction, finding: Finding, now: datetime) -> None:
    """Leave the key to the oldest of several records."""
    key = _key(finding)
    await _sources(transaction, finding, now)
    for label, query in _RENAMES.items():
        ids = [repair.fresh_id(label, finding.record_id, number) for number in range(1, _MOST)]
        if label != "Organization" or finding.record_id == finding.org_id:
            await transaction.rows(query, **key, ids=ids)
    await _split(transaction, finding)
    row = await transaction.row(_Q["second_external_id"], **key)
    if row is not None:
        metadata = json.loads(row["metadata"])
        metadata[repair.FORMER_EXTERNAL_ID] = row["external_id"]
        await transaction.rows(_Q["drop_external_id"], **key, metadata=records.as_json(metadata))
    await transaction.rows(_Q["join_second_names"], **key)
    await transaction.rows(_Q["drop_second_keys"], **key)
    await transaction.rows(_Q["drop_second_tombstones"], **key)
    await transaction.rows(_Q["drop_second_meta"], record_id=finding.record_id)
    if finding.record_id.isdecimal():
        await lock_claims(transaction)
        await transaction.rows(_Q["renumber_entries"], seq=int(finding.record_id))


async def _split(transaction: Transaction, finding: Finding) -> None:
    """Move messages that share their places with others to an interaction of their own (B26)."""
    rows = await transaction.rows(_Q["messages"], **_key(finding))
    messages = [
        repair.SeenMessage(
            row["element"], records.message(row["message"]), row["message"]["prefix_hash"]
        )
        for row in rows
    ]
    surplus = repair.surplus(messages, rows[0]["content_hash"]) if rows else []
    if surplus:
        await transaction.rows(
            _Q["recover"],
            **_key(finding),
            id=repair.fresh_id("Message", finding.record_id, len(surplus)),
            metadata=records.as_json({repair.RECOVERED_FROM: finding.record_id}),
            messages=[
                {"element": each.key, "position": position, "prefix_hash": each.prefix_hash}
                for position, each in enumerate(surplus)
            ],
        )


async def _times(transaction: Transaction, finding: Finding, now: datetime) -> None:
    """Move times into the calendar, into the past and into order; chains follow."""
    limits = repair.limits(now)
    for query in _TIMES.values():
        await transaction.rows(query, **_key(finding), **limits)
    await _chains(transaction, finding, now)


async def _outbox(transaction: Transaction, finding: Finding, now: datetime) -> None:
    limits = repair.limits(now)
    await transaction.rows(_Q["free_job"], **_key(finding), **limits)
    if finding.record_id.isdecimal():
        await lock_claims(transaction)
        await transaction.rows(
            _Q["free_entry"], org_id=finding.org_id, seq=int(finding.record_id), **limits
        )


async def _tombstone(transaction: Transaction, finding: Finding, now: datetime) -> None:
    key = _key(finding)
    salt = await lock_user(transaction, Scope(str(finding.org_id), str(finding.user_id)))
    head = await transaction.row(_Q["head"], **key)
    if salt is None or head is None:
        return
    rows = await transaction.rows(_Q["marks"], org_id=finding.org_id, user_id=finding.user_id)
    purged_at = {row["mark"]: row["purged_at"] for row in rows}
    statement = (salt, head["content_hash"], head["prefix_hashes"], head["recorded_at"])
    if repair.came_back(*statement, purged_at):
        ended_at = max(records.micros(now), head["obtained_at"])
        await transaction.rows(_Q["end_head"], **key, ended_at=ended_at)
        await _sync(transaction, finding, [finding.record_id], now)


async def _transcript(transaction: Transaction, finding: Finding, _now: datetime) -> None:
    row = await transaction.row(_Q["transcript"], **_key(finding))
    fixed = None if row is None else repair.recounted(repair.Transcript(**dict(row)))
    if fixed is not None:
        await transaction.rows(
            _Q["recount"], **_key(finding), message_count=fixed[0], content_hash=fixed[1]
        )


_REPAIRS: dict[FindingKind, _Repair] = {
    FindingKind.FORK: _chains,
    FindingKind.GAP: _chains,
    FindingKind.TWO_HEADS: _chains,
    FindingKind.CYCLE: _chains,
    FindingKind.DAMAGED_CHAIN: _chains,
    FindingKind.DANGLING_AGENT: _agent,
    FindingKind.STUCK_OUTBOX: _outbox,
    FindingKind.DUPLICATE_KEY: _doubles,
    FindingKind.TOMBSTONE_VIOLATION: _tombstone,
    FindingKind.CLOCK_REGRESSION: _times,
    FindingKind.STRAY_SOURCE: _sources,
    FindingKind.STRAY_MENTION: _mentions,
    FindingKind.MISSING_MENTION: _mentions,
    FindingKind.DAMAGED_TRANSCRIPT: _transcript,
}
