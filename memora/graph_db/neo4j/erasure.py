"""What follows the erasure of a user or an organization: the count of what is left, and the rest.

The erasures themselves are with users and organizations.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial

from memora._queries import load
from memora.graph_db.neo4j import records
from memora.graph_db.neo4j._base import PACKAGE, Neo4jBase, Transaction
from memora.graph_db.neo4j._outbox import enqueue, lock_claims
from memora.schema.scope import Scope, SearchScope
from memora.schema.write_plan import DeleteCounts, OutboxOp

_Q = load(PACKAGE, "queries/erasure.cypher")
_LOCK_ORGANIZATION = load(PACKAGE, "queries/user.cypher")["lock_organization"]


class ErasurePart(Neo4jBase):
    """The end of erasures in Neo4j."""

    async def count_records(self, scope: SearchScope) -> DeleteCounts:
        if isinstance(scope, Scope):
            owner = {"org_id": scope.org_id, "user_id": scope.user_id}
            [row] = await self._connection.fetch(_Q["count_user"], **owner)
        else:
            [row] = await self._connection.fetch(_Q["count_organization"], org_id=scope.org_id)
        return DeleteCounts(**dict(row))

    async def enqueue_drop(self, scope: SearchScope, now: datetime) -> None:
        work = _drop_user if isinstance(scope, Scope) else _drop_organization
        await self._connection.write(partial(work, scope=scope, now=records.micros(now)))

    async def scrub(self) -> bool:
        return True


async def _drop_user(transaction: Transaction, scope: Scope, now: int) -> None:
    owner = {"org_id": scope.org_id, "user_id": scope.user_id}
    # Users are added under this lock: none comes between the look and the drop.
    await transaction.rows(_LOCK_ORGANIZATION, org_id=scope.org_id)
    if await transaction.row(_Q["user_exists"], **owner) is None:
        await lock_claims(transaction)
        await transaction.rows(_Q["drop_outbox_of_user"], **owner, now=now)
        await enqueue(transaction, OutboxOp.DROP_USER, **owner, memory_ids=(), now=now)


async def _drop_organization(transaction: Transaction, scope: SearchScope, now: int) -> None:
    org_id = scope.org_id
    if await transaction.row(_Q["organization_exists"], org_id=org_id) is None:
        await lock_claims(transaction)
        await transaction.rows(_Q["drop_outbox_of_organization"], org_id=org_id, now=now)
        await enqueue(transaction, OutboxOp.DROP_ORGANIZATION, org_id, "", (), now)
