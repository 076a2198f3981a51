"""Names that memories mention, inside a transaction that holds the user's lock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memora._queries import load
from memora.core import entities
from memora.graph_db.neo4j._base import PACKAGE, Transaction
from memora.schema.models import Relation

_Q = load(PACKAGE, "queries/entity.cypher")

_ALIKE = 200


@dataclass(frozen=True, slots=True)
class Naming:
    """A stored memory and what of it becomes links."""

    memory_id: str
    entities: Sequence[str]
    relations: Sequence[Relation]


async def link(
    transaction: Transaction,
    tenant: dict[str, Any],
    salt: str,
    memories: Sequence[Naming],
    *,
    joins: bool = True,
) -> None:
    """Link memories to what they name; again linking one changes nothing.

    Args:
        transaction: The transaction.
        tenant: `org_id` and `user_id`.
        salt: The user's.
        memories: Stored ones.
        joins: Whether a new name that is a misspelling joins the entity that it belongs to.
    """
    made = [
        (memory.memory_id, entities.links(salt, memory.entities, memory.relations))
        for memory in memories
        if memory.entities or memory.relations
    ]
    names = {name.name_id: name for _, links in made for name in links.names}
    if not names:
        return
    joined = await _joined(transaction, tenant, list(names.values())) if joins else {}
    await transaction.rows(
        _Q["link"],
        **tenant,
        names=[
            {
                "name_id": name.name_id,
                "entity_id": joined.get(name.name_id, name.name_id),
                "name": name.name,
                "block": name.block,
            }
            for name in names.values()
        ],
        mentions=[
            {"memory_id": memory_id, "name_id": name.name_id}
            for memory_id, links in made
            for name in links.names
        ],
        edges=[
            {
                "memory_id": memory_id,
                "position": edge.position,
                "subject_id": edge.subject_id,
                "object_id": edge.object_id,
                "type": edge.type,
            }
            for memory_id, links in made
            for edge in links.edges
        ],
    )


async def _joined(
    transaction: Transaction, tenant: dict[str, Any], names: Sequence[entities.Name]
) -> dict[str, str]:
    """Return the entities of new names that are misspellings of known ones or of each other."""
    several = [name for name in names if name.block is not None]
    if not several:
        return {}
    found = await transaction.rows(
        _Q["look_alike"],
        **tenant,
        names=[{"name_id": name.name_id, "block": name.block} for name in several],
        limit=_ALIKE,
    )
    rows = {row["name_id"]: row for row in found}
    joined: dict[str, str] = {}
    new: list[entities.Name] = []
    for name in several:
        row = rows[name.name_id]
        if row["is_known"]:
            continue
        others = [(entity_id, other) for entity_id, other in row["alike"]]
        others += [(joined.get(other.name_id, other.name_id), other.name) for other in new]
        entity_id = entities.joined(name, others)
        if entity_id is not None:
            joined[name.name_id] = entity_id
        new.append(name)
    return joined
