"""Names, who mentions them, and what is said about two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from memora._queries import load
from memora.core import entities
from memora.errors import UserNotFoundError
from memora.graph_db.neo4j import records
from memora.graph_db.neo4j._base import PACKAGE, Neo4jBase, Transaction
from memora.graph_db.neo4j.apply import owner
from memora.graph_db.neo4j.user import lock_user
from memora.schema.entities import EntityMention, EntityName, EntityRelation
from memora.schema.scope import Scope

_Q = load(PACKAGE, "queries/entity.cypher")
_USERS = load(PACKAGE, "queries/user.cypher")


class EntityPart(Neo4jBase):
    """Primitives on entities."""

    async def list_entity_names(
        self,
        scope: Scope,
        now: datetime,
        *,
        entity_ids: Sequence[str] | None = None,
        skip: int = 0,
        limit: int = 1000,
    ) -> list[EntityName]:
        found = await self._connection.fetch(
            _Q["most_mentioned"],
            **owner(scope),
            now=records.micros(now),
            entity_ids=None if entity_ids is None else list(entity_ids),
            skip=skip,
            limit=limit,
        )
        return [EntityName(**row) for row in found]

    async def find_entity_ids(self, scope: Scope, names: Sequence[str]) -> dict[str, str]:
        users = await self._connection.fetch(_USERS["find_user"], **owner(scope))
        if not users:
            raise UserNotFoundError(scope.user_id)
        salt = users[0]["user"]["salt"]
        ids = {name: entities.name_id(salt, name) for name in names}
        rows = await self._connection.fetch(
            _Q["entities_of_names"], **owner(scope), name_ids=list(dict.fromkeys(ids.values()))
        )
        found = {row["name_id"]: row["entity_id"] for row in rows}
        return {name: found[name_id] for name, name_id in ids.items() if name_id in found}

    async def read_entity_groups(self, scope: Scope, entity_ids: Sequence[str]) -> dict[str, str]:
        rows = await self._connection.fetch(
            _Q["names_of"], **owner(scope), entity_ids=list(dict.fromkeys(entity_ids))
        )
        return {row["name_id"]: row["entity_id"] for row in rows}

    async def memories_mentioning(
        self, scope: Scope, entity_ids: Sequence[str], now: datetime, *, each: int
    ) -> list[EntityMention]:
        found = await self._connection.fetch(
            _Q["mentioning"],
            **owner(scope),
            agent_id=scope.agent_id,
            entity_ids=list(dict.fromkeys(entity_ids)),
            now=records.micros(now),
            each=each,
        )
        return [EntityMention(**row) for row in found]

    async def entities_mentioned(
        self, scope: Scope, memory_ids: Sequence[str], now: datetime
    ) -> list[EntityMention]:
        found = await self._connection.fetch(
            _Q["mentioned"],
            **owner(scope),
            memory_ids=list(dict.fromkeys(memory_ids)),
            now=records.micros(now),
        )
        return [EntityMention(**row) for row in found]

    async def entity_relations(
        self, scope: Scope, entity_id: str, now: datetime, *, limit: int
    ) -> list[EntityRelation]:
        found = await self._connection.fetch(
            _Q["relations"],
            **owner(scope),
            entity_id=entity_id,
            now=records.micros(now),
            limit=limit,
        )
        return [_relation(row) for row in found]

    async def move_entity_names(self, scope: Scope, moves: Mapping[str, str]) -> int:
        return await self._connection.write(partial(_move, scope=scope, moves=moves))


async def _move(transaction: Transaction, *, scope: Scope, moves: Mapping[str, str]) -> int:
    if await lock_user(transaction, scope) is None:
        return 0
    [row] = await transaction.rows(
        _Q["move"],
        **owner(scope),
        moves=[
            {"name_id": name_id, "entity_id": entity_id} for name_id, entity_id in moves.items()
        ],
    )
    return row["moved"]


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
