"""Names, who mentions them, and what is said about two of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from memora import _queries
from memora.core import entities
from memora.errors import UserNotFoundError
from memora.graph_db.sqlite import records
from memora.graph_db.sqlite._base import PACKAGE, SQLiteBase, change, rows, values
from memora.schema.entities import EntityMention, EntityName, EntityRelation
from memora.schema.scope import Scope

_SQL = _queries.load(PACKAGE, "queries/entity.sql")
_MOST_MENTIONED = _SQL["most_mentioned"]
_ENTITIES_OF_NAMES = _SQL["entities_of_names"]
_MENTIONING = _SQL["mentioning"]
_MENTIONED = _SQL["mentioned"]
_RELATIONS = _SQL["relations"]
_MOVE = _SQL["move"]
_NAMES_OF = _SQL["names_of"]
_SALT = _queries.load(PACKAGE, "queries/user.sql")["salt"]


class EntityPart(SQLiteBase):
    """Entities in SQLite."""

    async def list_entity_names(
        self,
        scope: Scope,
        now: datetime,
        *,
        entity_ids: Sequence[str] | None = None,
        skip: int = 0,
        limit: int = 1000,
    ) -> list[EntityName]:
        params = {
            **_owner(scope),
            "now": records.micros(now),
            "entity_ids": None if entity_ids is None else records.id_list(entity_ids),
            "skip": skip,
            "limit": limit,
        }
        found = await self._store.read(
            lambda connection: rows(connection, _MOST_MENTIONED, **params)
        )
        return [EntityName(**row) for row in found]

    async def find_entity_ids(self, scope: Scope, names: Sequence[str]) -> dict[str, str]:
        def work(connection: sqlite3.Connection) -> dict[str, str]:
            salts = values(connection, _SALT, **_owner(scope))
            if not salts:
                raise UserNotFoundError(scope.user_id)
            ids = {name: entities.name_id(salts[0], name) for name in names}
            wanted = records.id_list(dict.fromkeys(ids.values()))
            found = dict(
                connection.execute(
                    _ENTITIES_OF_NAMES, {**_owner(scope), "name_ids": wanted}
                ).fetchall()
            )
            return {name: found[name_id] for name, name_id in ids.items() if name_id in found}

        return await self._store.read(work)

    async def read_entity_groups(self, scope: Scope, entity_ids: Sequence[str]) -> dict[str, str]:
        params = {**_owner(scope), "entity_ids": records.id_list(entity_ids)}
        return await self._store.read(
            lambda connection: dict(connection.execute(_NAMES_OF, params).fetchall())
        )

    async def memories_mentioning(
        self, scope: Scope, entity_ids: Sequence[str], now: datetime, *, each: int
    ) -> list[EntityMention]:
        params = {
            **_owner(scope),
            "agent_id": scope.agent_id,
            "entity_ids": records.id_list(dict.fromkeys(entity_ids)),
            "now": records.micros(now),
            "each": each,
        }
        found = await self._store.read(lambda connection: rows(connection, _MENTIONING, **params))
        return [EntityMention(**row) for row in found]

    async def entities_mentioned(
        self, scope: Scope, memory_ids: Sequence[str], now: datetime
    ) -> list[EntityMention]:
        params = {
            **_owner(scope),
            "memory_ids": records.id_list(dict.fromkeys(memory_ids)),
            "now": records.micros(now),
        }
        found = await self._store.read(lambda connection: rows(connection, _MENTIONED, **params))
        return [EntityMention(**row) for row in found]

    async def entity_relations(
        self, scope: Scope, entity_id: str, now: datetime, *, limit: int
    ) -> list[EntityRelation]:
        params = {
            **_owner(scope),
            "entity_id": entity_id,
            "now": records.micros(now),
            "limit": limit,
        }
        found = await self._store.read(lambda connection: rows(connection, _RELATIONS, **params))
        return [_relation(row) for row in found]

    async def move_entity_names(self, scope: Scope, moves: Mapping[str, str]) -> int:
        def work(connection: sqlite3.Connection) -> int:
            return sum(
                change(connection, _MOVE, **_owner(scope), name_id=name_id, entity_id=entity_id)
                for name_id, entity_id in moves.items()
            )

        return await self._store.write(work)


def _owner(scope: Scope) -> dict[str, Any]:
    return {"org_id": scope.org_id, "user_id": scope.user_id}


def _relation(row: records.Row) -> EntityRelation:
    position: int = row["position"]
    said = records.relations(row["relations"])[position]
    return EntityRelation(
        subject_id=row["subject_id"],
        object_id=row["object_id"],
        memory_id=row["memory_id"],
        subject=said.subject,
        type=said.type,
        object=said.object,
    )
