"""Names that memories mention, inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memora import _queries
from memora.core import entities
from memora.graph_db.sqlite import records
from memora.graph_db.sqlite._base import PACKAGE, change, values
from memora.graph_db.sqlite._seal import ENTITY, marks, sealed
from memora.schema.models import Relation
from memora.schema.scope import Scope

_SQL = _queries.load(PACKAGE, "queries/entity.sql")
_KNOWN = _SQL["known"]
_OF_BLOCK = _SQL["of_block"]
_INSERT = _SQL["insert"]
_MENTION = _SQL["mention"]
_RELATE = _SQL["relate"]
_NAMES_OF_MEMORIES = _SQL["names_of_memories"]
_DELETE_RELATIONS = _SQL["delete_relations"]
_DELETE_MENTIONS = _SQL["delete_mentions"]
_DELETE_UNMENTIONED = _SQL["delete_unmentioned"]
_ERASE_RELATIONS = _SQL["erase_relations"]
_ERASE_MENTIONS = _SQL["erase_mentions"]
_ERASE = _SQL["erase"]

_ALIKE = 200


@dataclass(frozen=True, slots=True)
class Naming:
    """A stored memory and what of it becomes links."""

    memory_id: str
    entities: Sequence[str]
    relations: Sequence[Relation]


def link(
    connection: sqlite3.Connection,
    scope: Scope,
    salt: str,
    memories: Sequence[Naming],
    *,
    joins: bool = True,
) -> None:
    """Link memories to what they name; again linking one changes nothing.

    Args:
        connection: In a transaction.
        scope: Owner.
        salt: The user's.
        memories: Stored ones.
        joins: Whether a new name that is a misspelling joins the entity that it belongs to.
    """
    owner = {"org_id": scope.org_id, "user_id": scope.user_id}
    made = [
        (memory.memory_id, entities.links(salt, memory.entities, memory.relations))
        for memory in memories
        if memory.entities or memory.relations
    ]
    names = {name.name_id: name for _, links in made for name in links.names}
    if not names:
        return
    known = set(values(connection, _KNOWN, **owner, name_ids=records.id_list(names)))
    for name in names.values():
        if name.name_id not in known:
            _insert(connection, scope, name, joins=joins)
    connection.executemany(
        _MENTION,
        [
            {**owner, "memory_id": memory_id, "name_id": name.name_id}
            for memory_id, links in made
            for name in links.names
        ],
    )
    connection.executemany(
        _RELATE,
        [
            {
                **owner,
                "memory_id": memory_id,
                "position": edge.position,
                "subject_id": edge.subject_id,
                "object_id": edge.object_id,
            }
            for memory_id, links in made
            for edge in links.edges
        ],
    )


def _insert(
    connection: sqlite3.Connection, scope: Scope, name: entities.Name, *, joins: bool
) -> None:
    owner = (scope.org_id, scope.user_id)
    entity_id = None
    if joins and name.block is not None:
        blocks = marks(connection, ENTITY, "block", owner, [name.block])
        found = connection.execute(
            _OF_BLOCK,
            {
                "org_id": scope.org_id,
                "user_id": scope.user_id,
                "blocks": records.dumps(blocks),
                "limit": _ALIKE,
            },
        ).fetchall()
        entity_id = entities.joined(name, found)
    fields: dict[str, Any] = {
        "org_id": scope.org_id,
        "user_id": scope.user_id,
        "name_id": name.name_id,
        "entity_id": entity_id or name.name_id,
        "block": name.block,
        "name": name.name,
    }
    change(connection, _INSERT, **sealed(connection, ENTITY, fields))


def unlink(connection: sqlite3.Connection, scope: Scope, memory_ids: Sequence[str]) -> None:
    """Take these memories' links away, and the names that no other memory has."""
    owner = {"org_id": scope.org_id, "user_id": scope.user_id}
    ids = records.id_list(memory_ids)
    names = values(connection, _NAMES_OF_MEMORIES, **owner, memory_ids=ids)
    if not names:
        return
    change(connection, _DELETE_RELATIONS, **owner, memory_ids=ids)
    change(connection, _DELETE_MENTIONS, **owner, memory_ids=ids)
    change(connection, _DELETE_UNMENTIONED, **owner, name_ids=records.id_list(names))


def erase(connection: sqlite3.Connection, scope: Scope) -> int:
    """Delete all names of a user with their links; return how many names there were."""
    owner = {"org_id": scope.org_id, "user_id": scope.user_id}
    change(connection, _ERASE_RELATIONS, **owner)
    change(connection, _ERASE_MENTIONS, **owner)
    return change(connection, _ERASE, **owner)
