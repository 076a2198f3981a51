"""The outbox: vector work in the order of its commit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, LiteralString

from memora.core.ids import new_lease
from memora.graph_db.neo4j import records
from memora.graph_db.neo4j._base import Neo4jBase, Transaction
from memora.graph_db.neo4j._outbox import QUERIES as _Q
from memora.graph_db.neo4j._outbox import enqueue, lock_claims
from memora.graph_db.neo4j.apply import owner
from memora.graph_db.neo4j.records import Row
from memora.schema.scope import Scope
from memora.schema.write_plan import LONGEST_PAUSE, OutboxEntry, OutboxOp, OutboxStatus


class OutboxPart(Neo4jBase):
    """Primitives on the outbox."""

    async def claim_outbox(
        self, *, now: datetime, lease_until: datetime, limit: int
    ) -> list[OutboxEntry]:
        rows = await self._in_turn(
            _Q["claim"],
            now=records.micros(now),
            lease_until=records.micros(lease_until),
            lease_end=records.micros(lease_until + (lease_until - now)),
            pause_end=records.micros(now + 2 * LONGEST_PAUSE),
            lease=new_lease(),
            limit=limit,
        )
        return [records.outbox_entry(row["entry"], leased=True) for row in rows]

    async def ack_outbox(self, entries: Sequence[OutboxEntry]) -> list[OutboxEntry]:
        rows = await self._in_turn(_Q["ack"], entries=_leases(entries))
        done = {row["seq"] for row in rows}
        return [entry for entry in entries if entry.seq not in done]

    async def fail_outbox(
        self, entries: Sequence[OutboxEntry], *, error: str, not_before: datetime, dead: bool
    ) -> None:
        await self._in_turn(
            _Q["fail"],
            entries=_leases(entries),
            error=error,
            not_before=records.micros(not_before),
            dead=dead,
        )

    async def enqueue_sync(self, scope: Scope, memory_ids: Sequence[str], now: datetime) -> None:
        if not memory_ids:
            return
        await self._connection.write(
            partial(
                enqueue,
                op=OutboxOp.SYNC,
                **owner(scope),
                memory_ids=list(memory_ids),
                now=records.micros(now),
            )
        )

    async def retry_outbox(self, now: datetime) -> int:
        [row] = await self._in_turn(_Q["retry"], now=records.micros(now))
        return row["entries"]

    async def list_outbox(self, *, after: int = 0, limit: int = 1000) -> list[OutboxEntry]:
        return await self._connection.read_records(_Q["list"], _listed, after=after, limit=limit)

    async def outbox_status(self) -> OutboxStatus:
        [row] = await self._connection.fetch(_Q["status"])
        return OutboxStatus(row["pending"], row["dead"], records.optional_moment(row["oldest"]))

    async def _in_turn(self, query: LiteralString, **parameters: Any) -> list[Row]:
        return await self._connection.write(partial(_in_turn, query=query, parameters=parameters))


def _listed(row: Row) -> OutboxEntry:
    return records.outbox_entry(row["entry"], leased=False)


async def _in_turn(
    transaction: Transaction, query: LiteralString, parameters: dict[str, Any]
) -> list[Row]:
    await lock_claims(transaction)
    return await transaction.rows(query, **parameters)


def _leases(entries: Sequence[OutboxEntry]) -> list[dict[str, Any]]:
    return [{"seq": entry.seq, "lease": entry.lease} for entry in entries]
