"""Agents."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from memora._queries import load
from memora.errors import AgentNotFoundError, UserNotFoundError
from memora.graph_db.neo4j import records
from memora.graph_db.neo4j._base import PACKAGE, Neo4jBase, Transaction
from memora.graph_db.neo4j.records import Row
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
        return _agent(rows[0])

    async def find_agent(self, org_id: str, agent_id: str) -> Agent | None:
        found = await self._connection.read_records(
            _Q["find_agent"], _agent, org_id=org_id, agent_id=agent_id
        )
        return found[0] if found else None

    async def list_agents(
        self, org_id: str, *, user_id: str | None, skip: int, limit: int
    ) -> list[Agent]:
        page = {"org_id": org_id, "skip": skip, "limit": limit}
        if user_id is None:
            return await self._connection.read_records(_Q["list_agents"], _agent, **page)
        return await self._connection.read_records(
            _Q["list_agents_of_user"], _agent, user_id=user_id, **page
        )

    async def remove_agent(self, org_id: str, agent_id: str, now: datetime) -> None:
        await self._connection.change(
            _Q["remove_agent"], org_id=org_id, agent_id=agent_id, now=records.micros(now)
        )


def _agent(row: Row) -> Agent:
    return records.agent(row["agent"])


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
    return _agent(row)
