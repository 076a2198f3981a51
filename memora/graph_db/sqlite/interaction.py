"""Interactions and their messages."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from memora import _queries
from memora.graph_db.base import SPEAKER_INTERACTIONS, SPEAKER_MESSAGES, StoredMessage
from memora.graph_db.sqlite import records
from memora.graph_db.sqlite._base import PACKAGE, SQLiteBase, change, enqueue, one, rows, values
from memora.graph_db.sqlite.memory import purge
from memora.schema.models import Interaction
from memora.schema.scope import Scope
from memora.schema.write_plan import DeleteCounts, OutboxOp

_SQL = _queries.load(PACKAGE, "queries/interaction.sql")
_FIND = _SQL["find"]
_FIND_BY_EXTERNAL_ID = _SQL["find_by_external_id"]
_PAGE = _SQL["page"]
_MESSAGES = _SQL["messages"]
_PREFIX_HASHES = _SQL["prefix_hashes"]
_KNOWN = _SQL["known"]
_SOME = _SQL["some"]
_SOME_MEMORIES = _SQL["some_memories"]
_SOURCED_FROM = _SQL["sourced_from"]
_SPEAKERS = _SQL["speakers"]
_DELETE_SOURCES = _SQL["delete_sources"]
_DELETE_MESSAGES = _SQL["delete_messages"]
_DELETE_JOBS = _SQL["delete_jobs"]
_DELETE_IMPORT_CHANGES = _SQL["delete_import_changes"]
_DELETE = _SQL["delete"]

_AT_ONCE = 200
_MEMORIES_AT_ONCE = 500


class InteractionPart(SQLiteBase):
    """Interactions in SQLite."""

    async def find_interaction(self, scope: Scope, interaction_id: str) -> Interaction | None:
        owner = {"org_id": scope.org_id, "user_id": scope.user_id}

        def work(connection: sqlite3.Connection) -> Interaction | None:
            row = one(connection, _FIND, **owner, interaction_id=interaction_id)
            if row is None:
                row = one(connection, _FIND_BY_EXTERNAL_ID, **owner, external_id=interaction_id)
            return None if row is None else records.interaction(row)

        return await self._store.read(work)

    async def list_interactions(self, scope: Scope, *, skip: int, limit: int) -> list[Interaction]:
        page = await self._store.read(
            lambda connection: rows(
                connection,
                _PAGE,
                org_id=scope.org_id,
                user_id=scope.user_id,
                skip=skip,
                limit=limit,
            )
        )
        return [records.interaction(row) for row in page]

    async def read_messages(
        self, scope: Scope, interaction_id: str, start: int, end: int | None
    ) -> list[StoredMessage]:
        found = await self._store.read(
            lambda connection: rows(
                connection,
                _MESSAGES,
                org_id=scope.org_id,
                user_id=scope.user_id,
                interaction_id=interaction_id,
                start=start,
                end=end,
            )
        )
        return [records.stored_message(row) for row in found]

    async def read_prefix_hashes(self, scope: Scope, interaction_id: str) -> list[str]:
        return await self._store.read(
            lambda connection: values(
                connection,
                _PREFIX_HASHES,
                org_id=scope.org_id,
                user_id=scope.user_id,
                interaction_id=interaction_id,
            )
        )

    async def read_speakers(self, scope: Scope) -> list[str]:
        found = await self._store.read(
            lambda connection: values(
                connection,
                _SPEAKERS,
                org_id=scope.org_id,
                user_id=scope.user_id,
                interactions=SPEAKER_INTERACTIONS,
                messages=SPEAKER_MESSAGES,
            )
        )
        return sorted(set(found))

    async def erase_interactions(
        self, scope: Scope, interaction_ids: Sequence[str] | None, now: datetime
    ) -> DeleteCounts:
        owner = {"org_id": scope.org_id, "user_id": scope.user_id}

        def work(connection: sqlite3.Connection) -> DeleteCounts:
            interactions = messages = memories = jobs = 0
            while True:
                if interaction_ids is None:
                    found = values(connection, _SOME, **owner, limit=_AT_ONCE)
                else:
                    asked = records.id_list(interaction_ids)
                    found = values(connection, _KNOWN, **owner, interaction_ids=asked)[:_AT_ONCE]
                if not found:
                    return DeleteCounts(interactions, messages, memories, jobs=jobs)
                ids = {**owner, "interaction_ids": records.id_list(found)}
                memories += _purge_obtained_in(connection, scope, ids, now)
                sourced = values(connection, _SOURCED_FROM, **ids)
                enqueue(connection, OutboxOp.SYNC, scope.org_id, scope.user_id, now, sourced)
                change(connection, _DELETE_SOURCES, **ids)
                messages += change(connection, _DELETE_MESSAGES, **ids)
                jobs += change(connection, _DELETE_JOBS, **ids)
                change(connection, _DELETE_IMPORT_CHANGES, **ids)
                interactions += change(connection, _DELETE, **ids)

        counts = await self._store.write(work)
        await self._store.checkpoint()
        return counts


def _purge_obtained_in(
    connection: sqlite3.Connection, scope: Scope, ids: dict[str, Any], now: datetime
) -> int:
    purged = 0
    while found := values(connection, _SOME_MEMORIES, **ids, limit=_MEMORIES_AT_ONCE):
        purge(connection, scope, found, now)
        purged += len(found)
    return purged
