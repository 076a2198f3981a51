"""Erases a user or an organization, however big, in transactions of bounded size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, LiteralString

from memora.graph_db.neo4j._base import Connection, Transaction
from memora.graph_db.neo4j._outbox import enqueue, lock_claims
from memora.schema.write_plan import DeleteCounts, OutboxOp

BATCH = 10_000


@dataclass(frozen=True, slots=True)
class Erasure:
    """What goes with a record.

    Attributes:
        lock: Query that takes the record's lock; no row: it is gone.
        kinds: For each field of `DeleteCounts` a query that deletes up to `$batch`, in this order.
        record: Query that deletes the record itself.
        record_kind: The field of `DeleteCounts` that counts it.
        op: What the vector store has to do.
        parameters: `org_id`, and `user_id` for a user, of the queries.
    """

    lock: LiteralString
    kinds: Mapping[str, LiteralString]
    record: LiteralString
    record_kind: str
    op: OutboxOp
    parameters: dict[str, Any]


async def erase(connection: Connection, erasure: Erasure, now: int) -> DeleteCounts:
    """Delete everything of a marked record, the record last, and return what went.

    Nothing can be added to a marked record, so when one transaction finds nothing left of any
    kind, nothing is left (B32). That transaction deletes the record and enqueues the drop; until
    then a repetition goes on where this one stopped.
    """
    total, done = DeleteCounts(), False
    while not done:
        removed, done = await connection.write(partial(_step, erasure=erasure, now=now))
        total += removed
    return total


async def _step(transaction: Transaction, erasure: Erasure, now: int) -> tuple[DeleteCounts, bool]:
    removed: dict[str, int] = {}
    if await transaction.row(erasure.lock, **erasure.parameters) is None:
        return DeleteCounts(), True
    left = BATCH
    for kind, query in erasure.kinds.items():
        if kind == "outbox_entries":
            await lock_claims(transaction)
        [row] = await transaction.rows(query, **erasure.parameters, batch=left, now=now)
        removed[kind] = row["deleted"]
        left -= row["deleted"]
        if left == 0:
            return DeleteCounts(**removed), False
    [row] = await transaction.rows(erasure.record, **erasure.parameters)
    removed[erasure.record_kind] = row["deleted"]
    await enqueue(
        transaction,
        erasure.op,
        erasure.parameters["org_id"],
        erasure.parameters.get("user_id", ""),
        (),
        now,
    )
    return DeleteCounts(**removed), True
