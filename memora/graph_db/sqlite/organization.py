"""Organizations."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from functools import partial
from typing import cast

from memora import _queries
from memora.errors import OrganizationNotFoundError
from memora.graph_db.sqlite import records
from memora.graph_db.sqlite._base import PACKAGE, SQLiteBase, change, enqueue, one, rows, values
from memora.graph_db.sqlite._seal import ORGANIZATION, sealed
from memora.graph_db.sqlite.records import Row
from memora.graph_db.sqlite.user import erase_user
from memora.schema.models import Organization
from memora.schema.scope import Scope
from memora.schema.write_plan import DeleteCounts, OutboxOp

_SQL = _queries.load(PACKAGE, "queries/organization.sql")
_EXISTS = _SQL["exists"]
_INSERT = _SQL["insert"]
_FIND = _SQL["find"]
_RENAME = _SQL["rename"]
_PAGE = _SQL["page"]
_SOME_USERS = _SQL["some_users"]
_DELETE_AGENTS = _SQL["delete_agents"]
_DELETE = _SQL["delete"]
_DELETE_OUTBOX = _SQL["delete_outbox"]

_USERS_AT_ONCE = 50


class OrganizationPart(SQLiteBase):
    """Organizations in SQLite."""

    async def put_organization(self, organization: Organization) -> Organization:
        def work(connection: sqlite3.Connection) -> Organization:
            fields = {
                "org_id": organization.org_id,
                "org_name": organization.org_name,
                "created_at": records.micros(organization.created_at),
            }
            change(connection, _INSERT, **sealed(connection, ORGANIZATION, fields))
            stored = rows(connection, _FIND, org_id=organization.org_id)
            return records.organization(stored[0])

        return await self._store.write(work)

    async def rename_organization(self, org_id: str, name: str) -> Organization:
        fields = {"org_id": org_id, "org_name": name}

        def work(connection: sqlite3.Connection) -> Row | None:
            change(connection, _RENAME, **sealed(connection, ORGANIZATION, fields))
            return one(connection, _FIND, org_id=org_id)

        row = await self._store.write(work)
        if row is None:
            raise OrganizationNotFoundError(org_id)
        return records.organization(row)

    async def find_organization(self, org_id: str) -> Organization | None:
        row = await self._store.read(lambda connection: one(connection, _FIND, org_id=org_id))
        return None if row is None else records.organization(row)

    async def list_organizations(self, *, skip: int, limit: int) -> list[Organization]:
        page = await self._store.read(
            lambda connection: rows(connection, _PAGE, skip=skip, limit=limit)
        )
        return [records.organization(row) for row in page]

    async def erase_organization(self, org_id: str, now: datetime) -> DeleteCounts:
        # A few users per transaction, so that a big organization does not hold everybody up.
        total = DeleteCounts()
        while True:
            counts, done = await self._store.write(partial(_erase_some, org_id=org_id, now=now))
            total += counts
            if done:
                break
        await self._store.checkpoint()
        return total


def _erase_some(
    connection: sqlite3.Connection, *, org_id: str, now: datetime
) -> tuple[DeleteCounts, bool]:
    """Erase some users, or, when none is left, the organization itself."""
    total = DeleteCounts()
    users = values(connection, _SOME_USERS, org_id=org_id, limit=_USERS_AT_ONCE)
    for user_id in users:
        total += erase_user(connection, Scope(org_id, cast("str", user_id)), now)
    if users or not values(connection, _EXISTS, org_id=org_id):
        return total, not users
    outbox = change(connection, _DELETE_OUTBOX, org_id=org_id, now=records.micros(now))
    enqueue(connection, OutboxOp.DROP_ORGANIZATION, org_id, "", now)
    agents = change(connection, _DELETE_AGENTS, org_id=org_id)
    gone = change(connection, _DELETE, org_id=org_id)
    return DeleteCounts(agents=agents, organizations=gone, outbox_entries=outbox), True
