"""Adds outbox entries inside a transaction."""

from __future__ import annotations

from collections.abc import Iterable

from memora._queries import load
from memora.errors import GraphDBError
from memora.graph_db.neo4j._base import BACKEND, PACKAGE, Transaction
from memora.schema.write_plan import OutboxOp

QUERIES = load(PACKAGE, "queries/outbox.cypher")


async def enqueue(
    transaction: Transaction,
    op: OutboxOp,
    org_id: str,
    user_id: str,
    memory_ids: Iterable[str],
    now: int,
) -> None:
    """Add an entry; the last statement of a transaction, because it locks the entries' counter.

    Raises:
        GraphDBError: The database has no counter.
    """
    row = await transaction.row(
        QUERIES["enqueue"],
        op=op.value,
        org_id=org_id,
        user_id=user_id,
        memory_ids=list(memory_ids),
        now=now,
    )
    if row is None:
        raise GraphDBError(BACKEND, "the database is not set up; call setup() first")


async def lock_claims(transaction: Transaction) -> None:
    """Wait for everybody who leases, releases or deletes entries, and keep them waiting."""
    await transaction.rows(QUERIES["lock_claims"])
