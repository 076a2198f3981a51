"""Agents."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from memora import _queries
from memora.errors import AgentNotFoundError, OrganizationNotFoundError, UserNotFoundError
from memora.graph_db.sqlite import records
from memora.graph_db.sqlite._base import PACKAGE, SQLiteBase, change, one, rows, values
from memora.graph_db.sqlite._seal import AGENT, sealed
from memora.graph_db.sqlite.records import Row
from memora.schema.models import Agent

_ORGANIZATION_EXISTS = _queries.load(PACKAGE, "queries/organization.sql")["exists"]
_FIND_USER = _queries.load(PACKAGE, "queries/user.sql")["find"]
_SQL = _queries.load(PACKAGE, "queries/agent.sql")
_INSERT = _SQL["insert"]
_FIND_EVEN_DELETED = _SQL["find_even_deleted"]
_FIND = _SQL["find"]
_RENAME = _SQL["rename"]
_PAGE = _SQL["page"]
_PAGE_OF_USER = _SQL["page_of_user"]
_MARK_DELETED = _SQL["mark_deleted"]


class AgentPart(SQLiteBase):
    """Agents in SQLite."""

    async def put_agent(self, agent: Agent) -> Agent:
        def work(connection: sqlite3.Connection) -> Agent:
            if not values(connection, _ORGANIZATION_EXISTS, org_id=agent.org_id):
                raise OrganizationNotFoundError(agent.org_id)
            if agent.user_id is not None and not rows(
                connection, _FIND_USER, org_id=agent.org_id, user_id=agent.user_id
            ):
                raise UserNotFoundError(agent.user_id)
            fields = {
                "org_id": agent.org_id,
                "agent_id": agent.agent_id,
                "agent_label": agent.agent_label,
                "user_id": agent.user_id,
                "created_at": records.micros(agent.created_at),
            }
            change(connection, _INSERT, **sealed(connection, AGENT, fields))
            stored = rows(
                connection, _FIND_EVEN_DELETED, org_id=agent.org_id, agent_id=agent.agent_id
            )
            return records.agent(stored[0])

        return await self._store.write(work)

    async def rename_agent(self, org_id: str, agent_id: str, label: str) -> Agent:
        fields = {"org_id": org_id, "agent_id": agent_id, "agent_label": label}

        def work(connection: sqlite3.Connection) -> Row | None:
            change(connection, _RENAME, **sealed(connection, AGENT, fields))
            return one(connection, _FIND, org_id=org_id, agent_id=agent_id)

        row = await self._store.write(work)
        if row is None:
            raise AgentNotFoundError(agent_id)
        return records.agent(row)

    async def find_agent(self, org_id: str, agent_id: str) -> Agent | None:
        row = await self._store.read(
            lambda connection: one(connection, _FIND, org_id=org_id, agent_id=agent_id)
        )
        return None if row is None else records.agent(row)

    async def list_agents(
        self, org_id: str, *, user_id: str | None, skip: int, limit: int
    ) -> list[Agent]:
        def work(connection: sqlite3.Connection) -> list[Agent]:
            if user_id is None:
                page = rows(connection, _PAGE, org_id=org_id, skip=skip, limit=limit)
            else:
                page = rows(
                    connection,
                    _PAGE_OF_USER,
                    org_id=org_id,
                    user_id=user_id,
                    skip=skip,
                    limit=limit,
                )
            return [records.agent(row) for row in page]

        return await self._store.read(work)

    async def remove_agent(self, org_id: str, agent_id: str, now: datetime) -> None:
        await self._store.write(
            lambda connection: change(
                connection,
                _MARK_DELETED,
                org_id=org_id,
                agent_id=agent_id,
                now=records.micros(now),
            )
        )
