"""The outbox: vector work that was committed with the changes it follows from."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime

from memora import _queries
from memora.core.ids import new_lease
from memora.graph_db.sqlite import records
from memora.graph_db.sqlite._base import PACKAGE, SQLiteBase, change, enqueue, rows, values
from memora.graph_db.sqlite._seal import OUTBOX, sealed
from memora.graph_db.sqlite.records import Row
from memora.schema.scope import Scope
from memora.schema.write_plan import LONGEST_PAUSE, OutboxEntry, OutboxOp, OutboxStatus

_SQL = _queries.load(PACKAGE, "queries/outbox.sql")
_CLAIM = _SQL["claim"]
_CLAIMED = _SQL["claimed"]
_ACK = _SQL["ack"]
_FAIL = _SQL["fail"]
_RETRY = _SQL["retry"]
_PAGE = _SQL["page"]
_STATUS = _SQL["status"]


class OutboxPart(SQLiteBase):
    """The outbox in SQLite.

    Claims and acknowledgements do not wait for the disk: what a power failure takes back is done
    again, and doing it again changes nothing.
    """

    async def claim_outbox(
        self, *, now: datetime, lease_until: datetime, limit: int
    ) -> list[OutboxEntry]:
        token = new_lease()
        asked = {
            "lease": token,
            "lease_until": records.micros(lease_until),
            "lease_end": records.micros(lease_until + (lease_until - now)),
            "pause_end": records.micros(now + 2 * LONGEST_PAUSE),
            "now": records.micros(now),
            "limit": limit,
        }

        def work(connection: sqlite3.Connection) -> list[Row]:
            seqs = values(connection, _CLAIM, **asked)
            return rows(connection, _CLAIMED, seqs=json.dumps(seqs)) if seqs else []

        claimed = await self._store.write(work, durable=False)
        return [records.outbox_entry(row, lease=token) for row in claimed]

    async def ack_outbox(self, entries: Sequence[OutboxEntry]) -> list[OutboxEntry]:
        def work(connection: sqlite3.Connection) -> list[OutboxEntry]:
            return [
                entry
                for entry in entries
                if not change(connection, _ACK, seq=entry.seq, lease=entry.lease)
            ]

        refused = await self._store.write(work, durable=False)
        if any(entry.op is not OutboxOp.SYNC for entry in entries):
            # The end of an erasure: the entry named who was erased.
            await self._store.checkpoint()
        return refused

    async def fail_outbox(
        self, entries: Sequence[OutboxEntry], *, error: str, not_before: datetime, dead: bool
    ) -> None:
        due = records.micros(not_before)

        def work(connection: sqlite3.Connection) -> None:
            for entry in entries:
                fields = {
                    "org_id": entry.org_id,
                    "user_id": entry.user_id,
                    "seq": entry.seq,
                    "lease": entry.lease,
                    "error": error,
                    "not_before": due,
                    "dead": dead,
                }
                change(connection, _FAIL, **sealed(connection, OUTBOX, fields))

        await self._store.write(work, durable=False)

    async def enqueue_sync(self, scope: Scope, memory_ids: Sequence[str], now: datetime) -> None:
        await self._store.write(
            lambda connection: enqueue(
                connection, OutboxOp.SYNC, scope.org_id, scope.user_id, now, memory_ids
            )
        )

    async def retry_outbox(self, now: datetime) -> int:
        return await self._store.write(
            lambda connection: change(connection, _RETRY, now=records.micros(now))
        )

    async def list_outbox(self, *, after: int = 0, limit: int = 1000) -> list[OutboxEntry]:
        page = await self._store.read(
            lambda connection: rows(connection, _PAGE, after=after, limit=limit)
        )
        return [records.outbox_entry(row, lease=None) for row in page]

    async def outbox_status(self) -> OutboxStatus:
        row = (await self._store.read(lambda connection: rows(connection, _STATUS)))[0]
        oldest = records.optional_moment(row["oldest"])
        return OutboxStatus(pending=row["pending"], dead=row["dead"], oldest=oldest)
