"""What is known about people, places and things, and which names are theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from uuid import UUID

from memora.agent.ports import Ports
from memora.core import entities, placeholders
from memora.errors import EntityNotFoundError, InvalidInputError
from memora.schema.entities import Entity, EntityMemories, EntityName
from memora.schema.scope import Scope

_A_NAME = "of that name"
# Relations shown with an entity's memories.
_RELATIONS = 1000


async def list_entities(ports: Ports, scope: Scope, skip: int, limit: int) -> list[Entity]:
    """Return entities that current memories mention, most mentioned first."""
    now = ports.graph.clock.now()
    names = await ports.graph.list_entity_names(scope, now, skip=skip, limit=limit)
    return await _entities(ports, scope, names)


async def entity_memories(ports: Ports, scope: Scope, entity: str, limit: int) -> EntityMemories:
    """Return what current memories say about an entity.

    Raises:
        EntityNotFoundError: None of them mentions it.
    """
    graph = ports.graph
    now = graph.clock.now()
    entity_id = await _entity_id(ports, scope, entity)
    found = await _one(ports, scope, entity_id, entity)
    mentions = await graph.memories_mentioning(scope, [entity_id], now, each=limit)
    memories = await graph.read_memories(scope, [mention.memory_id for mention in mentions])
    memories.sort(key=lambda memory: (memory.obtained_at, memory.memory_id), reverse=True)
    relations = await graph.entity_relations(scope, entity_id, now, limit=_RELATIONS)
    texts = [text for each in relations for text in (each.subject, each.object)]
    named = await _rendered(ports, scope, texts)
    return EntityMemories(
        entity=found,
        memories=await graph.with_names(scope.org_id, memories),
        relations=[
            each.model_copy(update={"subject": named[each.subject], "object": named[each.object]})
            for each in relations
        ],
    )


async def merge_entities(ports: Ports, scope: Scope, entity: str, into: str) -> Entity:
    """Make all names of one entity names of another.

    Raises:
        EntityNotFoundError: No current memory mentions one of them.
    """
    source, target = [await _entity_id(ports, scope, each) for each in (entity, into)]
    groups = await ports.graph.read_entity_groups(scope, [source])
    if source != target:
        await ports.graph.move_entity_names(scope, dict.fromkeys(groups, target))
    return await _one(ports, scope, target, into)


async def split_entity(ports: Ports, scope: Scope, entity: str, names: Sequence[str]) -> Entity:
    """Make some names of an entity an entity of their own, and return that.

    Raises:
        EntityNotFoundError: No current memory mentions it.
        InvalidInputError: One of the names is none of its names, or they are all of them.
    """
    graph = ports.graph
    entity_id = await _entity_id(ports, scope, entity)
    groups = await graph.read_entity_groups(scope, [entity_id])
    salt = await graph.read_salt(scope)
    stored = [await _stored(ports, scope, name) for name in names]
    apart = {entities.name_id(salt, name) for name in stored}
    if not apart or not apart < groups.keys():
        raise InvalidInputError("names", "some of the entity's names, not all")
    moves = entities.regrouped(groups, apart)
    await graph.move_entity_names(scope, moves)
    return await _one(ports, scope, moves[min(apart)], entity)


async def _entity_id(ports: Ports, scope: Scope, entity: str) -> str:
    """Return the id of an entity that is named by it, or by one of its names."""
    if _is_id(entity) and await ports.graph.read_entity_groups(scope, [entity]):
        return entity
    stored = await _stored(ports, scope, entity)
    found = await ports.graph.find_entity_ids(scope, [stored])
    if stored not in found:
        raise _unknown(entity)
    return found[stored]


def _unknown(entity: str) -> EntityNotFoundError:
    # A name is nothing for an error's text.
    return EntityNotFoundError(entity if _is_id(entity) else _A_NAME)


def _is_id(entity: str) -> bool:
    try:
        return str(UUID(entity)) == entity
    except ValueError:
        return False


async def _stored(ports: Ports, scope: Scope, name: str) -> str:
    """Return a name as it is stored; the user's own is a placeholder."""
    user = await ports.graph.get_user(scope.org_id, scope.user_id)
    same = entities.normalised_name(name) == entities.normalised_name(user.user_name)
    literal = placeholders.escape(name)
    if not same:
        return literal
    span = placeholders.user_span(scope.user_id)
    known = await ports.graph.find_entity_ids(scope, [literal, span])
    return span if span in known and literal not in known else literal


async def _one(ports: Ports, scope: Scope, entity_id: str, asked: str) -> Entity:
    now = ports.graph.clock.now()
    names = await ports.graph.list_entity_names(scope, now, entity_ids=[entity_id])
    found = await _entities(ports, scope, names)
    if not found:
        raise _unknown(asked)
    return found[0]


async def _entities(ports: Ports, scope: Scope, names: Sequence[EntityName]) -> list[Entity]:
    rendered = await _rendered(ports, scope, [name.name for name in names])
    found: list[Entity] = []
    for entity_id, group in groupby(names, key=lambda name: name.entity_id):
        own = list(group)
        aliases = list(dict.fromkeys(rendered[name.name] for name in own))
        found.append(
            Entity(
                org_id=scope.org_id,
                user_id=scope.user_id,
                entity_id=entity_id,
                name=aliases[0],
                aliases=aliases,
                memories=own[0].total,
            )
        )
    return found


async def _rendered(ports: Ports, scope: Scope, texts: Iterable[str]) -> Mapping[str, str]:
    """Return these stored names with current names filled in."""
    wanted = dict.fromkeys(texts)
    if not any("[[" in text for text in wanted):
        return {text: text for text in wanted}
    agents = await ports.graph.get_all_user_agents(scope.org_id, scope.user_id)
    labels = {agent.agent_id: agent.agent_label for agent in agents}
    user = await ports.graph.get_user(scope.org_id, scope.user_id)
    users = {scope.user_id: user.user_name}
    return {text: placeholders.render(text, users, labels) for text in wanted}
