"""The invariants that can be checked inside the store."""

from __future__ import annotations

import sqlite3

from memora import _queries
from memora.graph_db.base import Finding
from memora.graph_db.sqlite._base import PACKAGE, SQLiteBase

_CHECKS = _queries.load(PACKAGE, "queries/inspect.sql")


class InspectPart(SQLiteBase):
    """Checks in SQLite: every query of the file finds the violations of one rule."""

    async def inspect(self) -> list[Finding]:
        def work(connection: sqlite3.Connection) -> list[Finding]:
            return [
                Finding(invariant, record_id, detail)
                for check in _CHECKS.values()
                for invariant, record_id, detail in connection.execute(check)
            ]

        return await self._store.read(work)
