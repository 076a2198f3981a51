"""How long memories stay: what was used, what is due, and what there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

from memora._queries import load
from memora.graph_db.neo4j import records
from memora.graph_db.neo4j._base import PACKAGE, Neo4jBase, Transaction, batched
from memora.graph_db.neo4j._outbox import enqueue
from memora.graph_db.neo4j.apply import owner
from memora.graph_db.neo4j.records import Row, micros, moment
from memora.graph_db.neo4j.user import lock_user
from memora.schema.lifetime import AGES, Access, DueMemory, MemoryCounts, TypeCounts
from memora.schema.scope import Scope, SearchScope
from memora.schema.write_plan import OutboxOp

_Q = load(PACKAGE, "queries/lifetime.cypher")

_BEGINNING = -(2**63)
_KINDS = ("current", "archived", "expired", "past", "pinned", "unused")


class LifetimePart(Neo4jBase):
    """Usage, expiry and archiving in Neo4j."""

    async def count_accesses(self, scope: Scope, accesses: Mapping[str, Access]) -> None:
        changes = [
            {"memory_id": memory_id, "count": access.count, "at": micros(access.at)}
            for memory_id, access in sorted(accesses.items())
        ]
        for block in batched(changes):
            await self._connection.change(
                _Q["count_accesses"], **owner(scope), accesses=list(block)
            )

    async def find_expired(
        self, scope: SearchScope, now: datetime, *, after: DueMemory | None, limit: int
    ) -> list[DueMemory]:
        return await self._due(scope, _Q["find_expired"], after, limit, now=micros(now))

    async def find_disused(
        self,
        scope: SearchScope,
        unused_since: datetime,
        now: datetime,
        *,
        after: DueMemory | None,
        limit: int,
    ) -> list[DueMemory]:
        times = {"unused_since": micros(unused_since), "now": micros(now)}
        return await self._due(scope, _Q["find_disused"], after, limit, **times)

    async def _due(
        self,
        scope: SearchScope,
        query: LiteralString,
        after: DueMemory | None,
        limit: int,
        **times: int,
    ) -> list[DueMemory]:
        return await self._connection.read_records(
            query,
            _due,
            **_owner(scope),
            at=_BEGINNING if after is None else micros(after.at),
            id="" if after is None else after.memory_id,
            limit=limit,
            **times,
        )

    async def archive_memories(
        self, scope: Scope, memory_ids: Sequence[str], unused_since: datetime, now: datetime
    ) -> list[str]:
        work = _Archiving(scope, list(memory_ids), micros(unused_since), micros(now))
        return await self._connection.write(work)

    async def count_memories(self, scope: SearchScope, now: datetime) -> MemoryCounts:
        query = _Q["count_memories" if isinstance(scope, Scope) else "count_organization"]
        bounds = [micros(now - timedelta(days=days)) for days in AGES]
        found = await self._connection.fetch(query, **_owner(scope), now=micros(now), bounds=bounds)
        return _counted(found[0]["types"], found[0]["lags"][0]) if found else MemoryCounts()


@dataclass(frozen=True, slots=True)
class _Archiving:
    """One transaction that archives memories of a user."""

    scope: Scope
    memory_ids: list[str]
    unused_since: int
    now: int

    async def __call__(self, transaction: Transaction) -> list[str]:
        if await lock_user(transaction, self.scope) is None:
            return []
        tenant = owner(self.scope)
        rows = await transaction.rows(
            _Q["archive_memories"],
            **tenant,
            memory_ids=self.memory_ids,
            unused_since=self.unused_since,
        )
        archived = [row["memory_id"] for row in rows]
        if archived:
            await enqueue(transaction, OutboxOp.SYNC, **tenant, memory_ids=archived, now=self.now)
        return archived


def _owner(scope: SearchScope) -> dict[str, Any]:
    user_id = scope.user_id if isinstance(scope, Scope) else None
    return {"org_id": scope.org_id, "user_id": user_id}


def _due(row: Row) -> DueMemory:
    return DueMemory(row["user_id"], row["memory_id"], moment(row["at"]))


def _counted(types: Sequence[Row], lag: Row) -> MemoryCounts:
    oldest = [row["oldest"] for row in types if row["oldest"] is not None]
    newest = [row["newest"] for row in types if row["newest"] is not None]
    younger = [sum(row["younger"][at] for row in types) for at in range(len(AGES))]
    steps = [0, *younger, sum(row["current"] for row in types)]
    return MemoryCounts(
        by_type={
            row["memory_type"]: TypeCounts(**{kind: row[kind] for kind in _KINDS}) for row in types
        },
        oldest=records.optional_moment(min(oldest, default=None)),
        newest=records.optional_moment(max(newest, default=None)),
        ages={bound: steps[at + 1] - steps[at] for at, bound in enumerate((*AGES, None))},
        pending=lag["pending"],
        dead=lag["dead"],
        waiting_since=records.optional_moment(lag["oldest"]),
    )
