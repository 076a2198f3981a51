"""What follows the erasure of a user or an organization: the count of what is left, and the rest.

The erasures themselves are with users and organizations.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime

from memora import _queries
from memora.graph_db.sqlite import records
from memora.graph_db.sqlite._base import PACKAGE, SQLiteBase, change, enqueue, rows
from memora.schema.scope import Scope, SearchScope
from memora.schema.write_plan import DeleteCounts, OutboxOp

_SQL = _queries.load(PACKAGE, "queries/erasure.sql")
_COUNT_USER = _SQL["count_user"]
_COUNT_ORGANIZATION = _SQL["count_organization"]
_USER_EXISTS = _queries.load(PACKAGE, "queries/user.sql")["find"]
_DROP_OUTBOX_OF_USER = _queries.load(PACKAGE, "queries/user.sql")["delete_outbox"]
_ORGANIZATION_EXISTS = _queries.load(PACKAGE, "queries/organization.sql")["exists"]
_DROP_OUTBOX_OF_ORGANIZATION = _queries.load(PACKAGE, "queries/organization.sql")["delete_outbox"]


class ErasurePart(SQLiteBase):
    """The end of erasures in SQLite."""

    async def count_records(self, scope: SearchScope) -> DeleteCounts:
        def work(connection: sqlite3.Connection) -> DeleteCounts:
            if isinstance(scope, Scope):
                owner = {"org_id": scope.org_id, "user_id": scope.user_id}
                [row] = rows(connection, _COUNT_USER, **owner)
            else:
                [row] = rows(connection, _COUNT_ORGANIZATION, org_id=scope.org_id)
            return DeleteCounts(**row)

        return await self._store.read(work)

    async def enqueue_drop(self, scope: SearchScope, now: datetime) -> None:
        def work(connection: sqlite3.Connection) -> None:
            org_id, at = scope.org_id, records.micros(now)
            if isinstance(scope, Scope):
                owner = {"org_id": org_id, "user_id": scope.user_id}
                if not rows(connection, _USER_EXISTS, **owner):
                    change(connection, _DROP_OUTBOX_OF_USER, **owner, now=at)
                    enqueue(connection, OutboxOp.DROP_USER, org_id, scope.user_id, now)
            elif not rows(connection, _ORGANIZATION_EXISTS, org_id=org_id):
                change(connection, _DROP_OUTBOX_OF_ORGANIZATION, org_id=org_id, now=at)
                enqueue(connection, OutboxOp.DROP_ORGANIZATION, org_id, "", now)

        await self._store.write(work)

    async def scrub(self) -> bool:
        return await self._store.scrub()
