"""Checks the store's invariants, read-only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from memora._queries import load
from memora.core import repair
from memora.graph_db.neo4j import schema
from memora.graph_db.neo4j._base import PACKAGE, Neo4jBase
from memora.graph_db.neo4j.records import Row
from memora.schema.findings import Finding, FindingKind
from memora.schema.scope import Scope

_CHECKS = load(PACKAGE, "queries/inspect.cypher")
_Q = load(PACKAGE, "queries/repair.cypher")


class InspectPart(Neo4jBase):
    """The check of the store by itself: every query of the file finds violations of one rule."""

    async def open_as_is(self) -> None:
        await schema.open_as_is(self._connection)

    async def inspect(self) -> list[Finding]:
        limits = repair.limits(self.clock.now())
        findings = [finding async for finding in self._missing_indexes()]
        if findings:
            findings += [finding async for finding in self._doubles()]
        for name in _CHECKS:
            rows = await self._connection.fetch(_CHECKS[name], version=schema.VERSION, **limits)
            findings += [_finding(row) for row in rows]
        findings += [finding async for finding in self._buried()]
        return findings

    async def known_memories(
        self, keys: Sequence[tuple[str, str, str]]
    ) -> set[tuple[str, str, str]]:
        wanted = [
            {"org_id": org_id, "user_id": user_id, "memory_id": memory_id}
            for org_id, user_id, memory_id in keys
        ]
        rows = await self._connection.fetch(_Q["known_memories"], keys=wanted)
        return {(row["org_id"], row["user_id"], row["memory_id"]) for row in rows}

    async def _missing_indexes(self) -> AsyncIterator[Finding]:
        rows = await self._connection.fetch(_Q["indexes"])
        states = {row["name"]: row["state"] for row in rows}
        for name in schema.NAMES:
            if states.get(name, "FAILED") == "FAILED":
                detail = "the index failed" if name in states else "the index is missing"
                yield Finding("I20", name, detail, FindingKind.HALF_MIGRATION)

    async def _doubles(self) -> AsyncIterator[Finding]:
        """Find keys that several records have: only where a constraint is missing."""
        kind = FindingKind.DUPLICATE_KEY
        for row in await self._connection.fetch(_Q["doubles"]):
            detail = f"several records have this key: {row['label']}"
            yield Finding("I3", row["record_id"], detail, kind, row["org_id"], row["user_id"])
        for row in await self._connection.fetch(_Q["doubled_external_ids"]):
            detail = "another interaction of the user has its external_id"
            yield Finding("I3", row["record_id"], detail, kind, row["org_id"], row["user_id"])

    async def _buried(self) -> AsyncIterator[Finding]:
        """Find statements that came back although they were purged; one user at a time."""
        for row in await self._connection.fetch(_Q["burying_users"]):
            owner = {"org_id": row["org_id"], "user_id": row["user_id"]}
            if await self.find_user(Scope(**owner)) is None:
                continue
            salt = await self.read_salt(Scope(**owner))
            rows = await self._connection.fetch(_Q["marks"], **owner)
            purged_at = {each["mark"]: each["purged_at"] for each in rows}
            for head in await self._connection.fetch(_Q["heads"], **owner):
                statement = (salt, head["content_hash"], head["prefix_hashes"], head["recorded_at"])
                if repair.came_back(*statement, purged_at):
                    yield Finding(
                        "I12",
                        head["memory_id"],
                        "the statement was purged from every message that it comes from",
                        FindingKind.TOMBSTONE_VIOLATION,
                        row["org_id"],
                        row["user_id"],
                    )


def _finding(row: Row) -> Finding:
    return Finding(
        row["invariant"],
        row["record_id"],
        row["detail"],
        FindingKind(row["kind"]),
        row["org_id"],
        row["user_id"],
        bool(row["blocks"]),
    )
