"""Users."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from datetime import datetime

from memora import _queries
from memora.errors import OrganizationNotFoundError, UserNotFoundError
from memora.graph_db.sqlite import _names, records
from memora.graph_db.sqlite._base import PACKAGE, SQLiteBase, change, enqueue, one, rows, values
from memora.graph_db.sqlite._seal import USER, sealed
from memora.graph_db.sqlite.records import Row
from memora.schema.models import User
from memora.schema.scope import Scope
from memora.schema.write_plan import DeleteCounts, OutboxOp

_ORGANIZATION_EXISTS = _queries.load(PACKAGE, "queries/organization.sql")["exists"]
_SQL = _queries.load(PACKAGE, "queries/user.sql")
_INSERT = _SQL["insert"]
_FIND = _SQL["find"]
_RENAME = _SQL["rename"]
_PAGE = _SQL["page"]
_SALT = _SQL["salt"]
_NAMES = _SQL["names"]
_AGENT_LABELS = _SQL["agent_labels"]
_DELETE_SOURCES = _SQL["delete_sources"]
_DELETE_MEMORIES = _SQL["delete_memories"]
_DELETE_MESSAGES = _SQL["delete_messages"]
_DELETE_JOBS = _SQL["delete_jobs"]
_DELETE_INTERACTIONS = _SQL["delete_interactions"]
_DELETE_TOMBSTONES = _SQL["delete_tombstones"]
_DELETE_IDEMPOTENCY = _SQL["delete_idempotency"]
_DELETE_IMPORT_CHANGES = _SQL["delete_import_changes"]
_DELETE_IMPORTS = _SQL["delete_imports"]
_DELETE_AGENTS = _SQL["delete_agents"]
_DELETE = _SQL["delete"]
_DELETE_OUTBOX = _SQL["delete_outbox"]


class UserPart(SQLiteBase):
    """Users in SQLite."""

    async def put_user(self, user: User, *, salt: str) -> User:
        def work(connection: sqlite3.Connection) -> User:
            if not values(connection, _ORGANIZATION_EXISTS, org_id=user.org_id):
                raise OrganizationNotFoundError(user.org_id)
            fields = {
                "org_id": user.org_id,
                "user_id": user.user_id,
                "user_name": user.user_name,
                "created_at": records.micros(user.created_at),
                "salt": salt,
            }
            change(connection, _INSERT, **sealed(connection, USER, fields))
            stored = rows(connection, _FIND, org_id=user.org_id, user_id=user.user_id)
            return records.user(stored[0])

        return await self._store.write(work)

    async def rename_user(self, scope: Scope, name: str) -> User:
        owner = {"org_id": scope.org_id, "user_id": scope.user_id}

        def work(connection: sqlite3.Connection) -> Row | None:
            change(connection, _RENAME, **sealed(connection, USER, {**owner, "user_name": name}))
            return one(connection, _FIND, **owner)

        row = await self._store.write(work)
        if row is None:
            raise UserNotFoundError(scope.user_id)
        return records.user(row)

    async def find_user(self, scope: Scope) -> User | None:
        row = await self._store.read(
            lambda connection: one(connection, _FIND, org_id=scope.org_id, user_id=scope.user_id)
        )
        return None if row is None else records.user(row)

    async def list_users(self, org_id: str, *, skip: int, limit: int) -> list[User]:
        page = await self._store.read(
            lambda connection: rows(connection, _PAGE, org_id=org_id, skip=skip, limit=limit)
        )
        return [records.user(row) for row in page]

    async def read_names(
        self, org_id: str, user_ids: Collection[str], agent_ids: Collection[str]
    ) -> tuple[dict[str, str], dict[str, str]]:
        users, agents = records.id_list(user_ids), records.id_list(agent_ids)

        def work(connection: sqlite3.Connection) -> tuple[dict[str, str], dict[str, str]]:
            names = connection.execute(_NAMES, {"org_id": org_id, "user_ids": users})
            labels = connection.execute(_AGENT_LABELS, {"org_id": org_id, "agent_ids": agents})
            return dict(names.fetchall()), dict(labels.fetchall())

        return await self._store.read(work)

    async def read_salt(self, scope: Scope) -> str:
        found = await self._store.read(
            lambda connection: values(connection, _SALT, org_id=scope.org_id, user_id=scope.user_id)
        )
        if not found:
            raise UserNotFoundError(scope.user_id)
        return found[0]

    async def erase_user(self, scope: Scope, now: datetime) -> DeleteCounts:
        counts = await self._store.write(lambda connection: erase_user(connection, scope, now))
        await self._store.checkpoint()
        return counts


def erase_user(connection: sqlite3.Connection, scope: Scope, now: datetime) -> DeleteCounts:
    """Delete everything of the user, and have the vectors dropped."""
    org_id, user_id = scope.org_id, scope.user_id
    owner = {"org_id": org_id, "user_id": user_id}
    if not rows(connection, _FIND, **owner):
        return DeleteCounts()
    outbox = change(connection, _DELETE_OUTBOX, **owner, now=records.micros(now))
    enqueue(connection, OutboxOp.DROP_USER, org_id, user_id, now)
    change(connection, _DELETE_SOURCES, **owner)
    entities = _names.erase(connection, scope)
    memories = change(connection, _DELETE_MEMORIES, **owner)
    messages = change(connection, _DELETE_MESSAGES, **owner)
    change(connection, _DELETE_IMPORT_CHANGES, **owner)
    return DeleteCounts(
        memories=memories,
        messages=messages,
        jobs=change(connection, _DELETE_JOBS, **owner),
        interactions=change(connection, _DELETE_INTERACTIONS, **owner),
        tombstones=change(connection, _DELETE_TOMBSTONES, **owner),
        idempotency_keys=change(connection, _DELETE_IDEMPOTENCY, **owner),
        imports=change(connection, _DELETE_IMPORTS, **owner),
        agents=change(connection, _DELETE_AGENTS, **owner),
        users=change(connection, _DELETE, **owner),
        outbox_entries=outbox,
        entities=entities,
    )
