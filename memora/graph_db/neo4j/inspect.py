"""Checks the store's invariants, read-only."""

from __future__ import annotations

from memora._queries import load
from memora.graph_db.base import Finding
from memora.graph_db.neo4j._base import PACKAGE, Neo4jBase
from memora.graph_db.neo4j.schema import VERSION

_CHECKS = load(PACKAGE, "queries/inspect.cypher")


class InspectPart(Neo4jBase):
    """The check of the store by itself: every query of the file finds violations of one rule."""

    async def inspect(self) -> list[Finding]:
        findings: list[Finding] = []
        for name in _CHECKS:
            rows = await self._connection.fetch(_CHECKS[name], version=VERSION)
            findings += [Finding(row["invariant"], row["record_id"], row["detail"]) for row in rows]
        return findings
