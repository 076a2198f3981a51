"""The invariants that can be checked inside the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import groupby

from memora import _queries
from memora.core import repair
from memora.graph_db.sqlite import records
from memora.graph_db.sqlite._base import PACKAGE, SQLiteBase
from memora.schema.findings import Finding, FindingKind

_SQL = _queries.load(PACKAGE, "queries/inspect.sql")
_LINKS = _SQL["links"]
_BURIED = _SQL["buried"]
_MARKS = _SQL["marks"]
_KNOWN = _SQL["known_memories"]
# All others find the violations of one rule each.
_CHECKS = [query for query in _SQL.values() if query not in {_LINKS, _BURIED, _MARKS, _KNOWN}]


class InspectPart(SQLiteBase):
    """Checks in SQLite."""

    async def open_as_is(self) -> None:
        await self._store.open(as_is=True)
        await self._pass_keys_on()

    async def inspect(self) -> list[Finding]:
        findings = [
            Finding(
                "I20",
                defect.name,
                defect.detail,
                FindingKind.HALF_MIGRATION,
                blocks=defect.kind in {"table", "view"},
            )
            for defect in await self._store.defects()
        ]
        if any(finding.blocks for finding in findings):
            return findings
        limits = repair.limits(self.clock.now())

        def work(connection: sqlite3.Connection) -> list[Finding]:
            found = [
                Finding(invariant, record_id, detail, FindingKind(kind), org_id, user_id, bool(bad))
                for check in _CHECKS
                for invariant, kind, org_id, user_id, record_id, detail, bad in connection.execute(
                    check, limits
                )
            ]
            return [*found, *_cycles(connection), *_buried(connection)]

        return findings + await self._store.read(work)

    async def known_memories(
        self, keys: Sequence[tuple[str, str, str]]
    ) -> set[tuple[str, str, str]]:
        params = {"keys": records.dumps(list(keys))}
        return await self._store.read(
            lambda connection: set(connection.execute(_KNOWN, params).fetchall())
        )


def _cycles(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Find versions that follow themselves; one chain at a time."""
    rows = connection.execute(_LINKS)
    for (org_id, _chain), versions in groupby(rows, key=lambda row: row[:2]):
        chain = list(versions)
        owners = {memory_id: user_id for _, _, user_id, memory_id, _ in chain}
        successors = {memory_id: successor_id for *_, memory_id, successor_id in chain}
        for memory_id in repair.in_cycles(successors):
            yield Finding(
                "I4", memory_id, "is in a cycle", FindingKind.CYCLE, org_id, owners[memory_id]
            )


def _buried(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Find statements that came back although they were purged; one user at a time."""
    rows = connection.execute(_BURIED)
    for (org_id, user_id), of_user in groupby(rows, key=lambda row: row[:2]):
        purged_at = dict(connection.execute(_MARKS, {"org_id": org_id, "user_id": user_id}))
        for memory_id, sources in groupby(of_user, key=lambda row: row[2]):
            [*linked] = sources
            content_hash, salt, _, recorded_at = linked[0][3:]
            hashes = [row[5] for row in linked]
            if repair.came_back(salt, content_hash, hashes, recorded_at, purged_at):
                yield Finding(
                    "I12",
                    memory_id,
                    "the statement was purged from every message that it comes from",
                    FindingKind.TOMBSTONE_VIOLATION,
                    org_id,
                    user_id,
                )
