"""Organizations."""

from __future__ import annotations

from datetime import datetime
from typing import LiteralString

from memora._queries import load
from memora.errors import GraphDBConnectionError, OrganizationNotFoundError
from memora.graph_db.neo4j import records
from memora.graph_db.neo4j._base import BACKEND, PACKAGE, Neo4jBase, logger
from memora.graph_db.neo4j._erase import BATCH, Erasure, erase
from memora.graph_db.neo4j.records import Row
from memora.schema.models import Organization
from memora.schema.write_plan import DeleteCounts, OutboxOp

_Q = load(PACKAGE, "queries/organization.cypher")
_LOCK = load(PACKAGE, "queries/user.cypher")["lock_organization"]
_KINDS: dict[str, LiteralString] = {
    "memories": _Q["erase_memories"],
    "entities": _Q["erase_entities"],
    "messages": _Q["erase_messages"],
    "interactions": _Q["erase_interactions"],
    "jobs": _Q["erase_jobs"],
    "idempotency_keys": _Q["erase_keys"],
    "tombstones": _Q["erase_tombstones"],
    "imports": _Q["erase_imports"],
    "agents": _Q["erase_agents"],
    "users": _Q["erase_users"],
    "outbox_entries": _Q["erase_outbox"],
}


def _organization(row: Row) -> Organization:
    return records.organization(row["organization"])


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
        return _organization(row)

    async def rename_organization(self, org_id: str, name: str) -> Organization:
        rows = await self._connection.change(
            _Q["rename_organization"], org_id=org_id, org_name=name
        )
        if not rows:
            raise OrganizationNotFoundError(org_id)
        return _organization(rows[0])

    async def find_organization(self, org_id: str) -> Organization | None:
        found = await self._connection.read_records(
            _Q["find_organization"], _organization, org_id=org_id
        )
        return found[0] if found else None

    async def list_organizations(self, *, skip: int, limit: int) -> list[Organization]:
        return await self._connection.read_records(
            _Q["list_organizations"], _organization, skip=skip, limit=limit
        )

    async def erase_organization(self, org_id: str, now: datetime) -> DeleteCounts:
        if not await self._connection.change(_Q["mark_organization"], org_id=org_id):
            return DeleteCounts()
        marked = BATCH
        while marked == BATCH:
            [row] = await self._connection.change(_Q["mark_users"], org_id=org_id, batch=BATCH)
            marked = row["marked"]
        erasure = Erasure(
            _LOCK,
            _KINDS,
            _Q["erase_organization"],
            "organizations",
            OutboxOp.DROP_ORGANIZATION,
            {"org_id": org_id},
        )
        counts = await erase(self._connection, erasure, records.micros(now))
        logger.info("erased an organization")
        return counts
