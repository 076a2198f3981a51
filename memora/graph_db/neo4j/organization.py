"""Organizations."""

from __future__ import annotations

from datetime import datetime
from typing import LiteralString

from memora._queries import load
from memora.errors import GraphDBConnectionError, OrganizationNotFoundError
from memora.graph_db.neo4j import records
from memora.graph_db.neo4j._base import BACKEND, PACKAGE, Neo4jBase, logger
from memora.graph_db.neo4j._erase import BATCH, Erasure, erase
from memora.schema.models import Organization
from memora.schema.write_plan import DeleteCounts, OutboxOp

_Q = load(PACKAGE, "queries/organization.cypher")
_LOCK = load(PACKAGE, "queries/user.cypher")["lock_organization"]
_KINDS: dict[str, LiteralString] = {
    "memories": _Q["erase_memories"],
    "messages": _Q["erase_messages"],
    "interactions": _Q["erase_interactions"],
    "jobs": _Q["erase_jobs"],
    "keys": _Q["erase_keys"],
    "tombstones": _Q["erase_tombstones"],
    "agents": _Q["erase_agents"],
    "users": _Q["erase_users"],
    "outbox": _Q["erase_outbox"],
}


class OrganizationPart(Neo4jBase):
    """Primitives on organizations."""

    async def put_organization(self, organization: Organization) -> Organization:
        [row] = await self._connection.change(
            _Q["put_organization"],
            org_id=organization.org_id,
            org_name=organization.org_name,
            created_at=records.micros(organization.created_at),
        )
        if row["organization"].get("erasing"):
            raise GraphDBConnectionError(BACKEND, "an organization of this id is being erased")
        return records.organization(row["organization"])

    async def rename_organization(self, org_id: str, name: str) -> Organization:
        rows = await self._connection.change(
            _Q["rename_organization"], org_id=org_id, org_name=name
        )
        if not rows:
            raise OrganizationNotFoundError(org_id)
        return records.organization(rows[0]["organization"])

    async def find_organization(self, org_id: str) -> Organization | None:
        rows = await self._connection.fetch(_Q["find_organization"], org_id=org_id)
        return records.organization(rows[0]["organization"]) if rows else None

    async def list_organizations(self, *, skip: int, limit: int) -> list[Organization]:
        rows = await self._connection.fetch(_Q["list_organizations"], skip=skip, limit=limit)
        return [records.organization(row["organization"]) for row in rows]

    async def erase_organization(self, org_id: str, now: datetime) -> DeleteCounts:
        if not await self._connection.change(_Q["mark_organization"], org_id=org_id):
            return DeleteCounts()
        marked = BATCH
        while marked == BATCH:
            [row] = await self._connection.change(_Q["mark_users"], org_id=org_id, batch=BATCH)
            marked = row["marked"]
        erasure = Erasure(
            _LOCK, _KINDS, _Q["erase_organization"], OutboxOp.DROP_ORGANIZATION, {"org_id": org_id}
        )
        counts = await erase(self._connection, erasure, records.micros(now))
        logger.info("erased organization %s", org_id)
        return DeleteCounts(
            interactions=counts["interactions"],
            messages=counts["messages"],
            memories=counts["memories"],
            agents=counts["agents"],
            users=counts["users"],
        )
