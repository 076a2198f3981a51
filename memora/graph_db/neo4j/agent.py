"""Agents."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from memora._queries import load
from memora.errors import AgentNotFoundError, UserNotFoundError
from memora.graph_db.neo4j import records
from memora.graph_db.neo4j._base import PACKAGE, Neo4jBase, Transaction
from memora.graph_db.neo4j.user import lock_organization, lock_user
from memora.schema.models import Agent
from memora.schema.scope import Scope

_Q = load(PACKAGE, "queries/agent.cypher")


class AgentPart(Neo4jBase):
    """Primitives on agents."""

    async def put_agent(self, agent: Agent) -> Agent:
        return await self._connection.write(partial(_put_agent, agent=agent))

    async def rename_agent(self, org_id: str, agent_id: str, label: str) -> Agent:
        rows = await self._connection.change(
            _Q["rename_agent"], org_id=org_id, agent_id=agent_id, agent_label=label
        )
        if not rows:
            raise AgentNotFoundError(agent_id)
        return records.agent(rows[0]["agent"])

    async def find_agent(self, org_id: str, agent_id: str) -> Agent | None:
        rows = await self._connection.fetch(_Q["find_agent"], org_id=org_id, agent_id=agent_id)
        return records.agent(rows[0]["agent"]) if rows else None

    async def list_agents(
        self, org_id: str, *, user_id: str | None, skip: int, limit: int
    ) -> list[Agent]:
        if user_id is None:
            rows = await self._connection.fetch(
                _Q["list_agents"], org_id=org_id, skip=skip, limit=limit
            )
        else:
            rows = await self._connection.fetch(
                _Q["list_agents_of_user"], org_id=org_id, user_id=user_id, skip=skip, limit=limit
            )
        return [records.agent(row["agent"]) for row in rows]

    async def remove_agent(self, org_id: str, agent_id: str, now: datetime) -> None:
        await self._connection.change(
            _Q["remove_agent"], org_id=org_id, agent_id=agent_id, now=records.micros(now)
        )


async def _put_agent(transaction: Transaction, agent: Agent) -> Agent:
    await lock_organization(transaction, agent.org_id)
    if agent.user_id is not None:
        salt = await lock_user(transaction, Scope(agent.org_id, agent.user_id))
        if salt is None:
            raise UserNotFoundError(agent.user_id)
    [row] = await transaction.rows(
        _Q["put_agent"],
        org_id=agent.org_id,
        agent_id=agent.agent_id,
        agent_label=agent.agent_label,
        user_id=agent.user_id,
        created_at=records.micros(agent.created_at),
    )
    return records.agent(row["agent"])
