"""How long memories stay: what was used, what is due, and what there is."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString

from memora import _queries
from memora.graph_db.sqlite import records
from memora.graph_db.sqlite._base import PACKAGE, SQLiteBase, change, enqueue, one, rows, values
from memora.graph_db.sqlite.records import Row, micros, moment
from memora.schema.lifetime import AGES, Access, DueMemory, MemoryCounts, TypeCounts
from memora.schema.scope import Scope, SearchScope
from memora.schema.write_plan import OutboxOp

_SQL = _queries.load(PACKAGE, "queries/lifetime.sql")
_COUNT_ACCESS = _SQL["count_access"]
_EXPIRED = _SQL["expired"]
_DISUSED = _SQL["disused"]
_STILL_DISUSED = _SQL["still_disused"]
_ARCHIVE = _SQL["archive"]
_COUNTS = _SQL["counts"]
_AGES = _SQL["ages"]
_LAG = _SQL["lag"]

_BEGINNING = -(2**63)


class LifetimePart(SQLiteBase):
    """Usage, expiry and archiving in SQLite."""

    async def count_accesses(self, scope: Scope, accesses: Mapping[str, Access]) -> None:
        owner = {"org_id": scope.org_id, "user_id": scope.user_id}
        changes = [
            {**owner, "memory_id": memory_id, "count": access.count, "at": micros(access.at)}
            for memory_id, access in accesses.items()
        ]
        await self._store.write(lambda connection: _executed(connection, changes))

    async def find_expired(
        self, scope: SearchScope, now: datetime, *, after: DueMemory | None, limit: int
    ) -> list[DueMemory]:
        return await self._due(scope, _EXPIRED, after, limit, now=micros(now))

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
        return await self._due(scope, _DISUSED, after, limit, **times)

    async def _due(
        self,
        scope: SearchScope,
        query: LiteralString,
        after: DueMemory | None,
        limit: int,
        **times: int,
    ) -> list[DueMemory]:
        params: dict[str, Any] = {
            **_owner(scope),
            "after_time": _BEGINNING if after is None else micros(after.at),
            "after_id": "" if after is None else after.memory_id,
            "limit": limit,
            **times,
        }
        found = await self._store.read(lambda connection: rows(connection, query, **params))
        return [DueMemory(row["user_id"], row["memory_id"], moment(row["at"])) for row in found]

    async def archive_memories(
        self, scope: Scope, memory_ids: Sequence[str], unused_since: datetime, now: datetime
    ) -> list[str]:
        owner = {"org_id": scope.org_id, "user_id": scope.user_id}

        def work(connection: sqlite3.Connection) -> list[str]:
            found = values(
                connection,
                _STILL_DISUSED,
                **owner,
                memory_ids=records.id_list(memory_ids),
                unused_since=micros(unused_since),
            )
            change(connection, _ARCHIVE, **owner, memory_ids=records.id_list(found))
            enqueue(connection, OutboxOp.SYNC, scope.org_id, scope.user_id, now, found)
            return found

        return await self._store.write(work)

    async def count_memories(self, scope: SearchScope, now: datetime) -> MemoryCounts:
        owner = _owner(scope)
        bounds = {f"bound_{at}": micros(now - timedelta(days=days)) for at, days in enumerate(AGES)}

        def work(connection: sqlite3.Connection) -> MemoryCounts:
            types = rows(connection, _COUNTS, **owner, now=micros(now))
            ages = one(connection, _AGES, **owner, now=micros(now), **bounds)
            lag = one(connection, _LAG, **owner)
            return _counted(types, ages or {}, lag or {})

        return await self._store.read(work)


def _owner(scope: SearchScope) -> dict[str, str | None]:
    user_id = scope.user_id if isinstance(scope, Scope) else None
    return {"org_id": scope.org_id, "user_id": user_id}


def _executed(connection: sqlite3.Connection, changes: Sequence[Mapping[str, Any]]) -> None:
    connection.executemany(_COUNT_ACCESS, changes)


def _counted(types: Sequence[Row], ages: Row, lag: Row) -> MemoryCounts:
    steps = [0, *(ages[f"younger_{at}"] for at in range(len(AGES))), ages["total"]]
    return MemoryCounts(
        by_type={
            row["memory_type"]: TypeCounts(
                **{name: count for name, count in row.items() if name != "memory_type"}
            )
            for row in types
        },
        oldest=records.optional_moment(ages["oldest"]),
        newest=records.optional_moment(ages["newest"]),
        ages={bound: steps[at + 1] - steps[at] for at, bound in enumerate((*AGES, None))},
        pending=lag["pending"],
        dead=lag["dead"],
        waiting_since=records.optional_moment(lag["oldest"]),
    )
