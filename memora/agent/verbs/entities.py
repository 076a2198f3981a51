"""People, places and things that memories mention."""

from __future__ import annotations

from collections.abc import Sequence

from memora.agent import entities
from memora.agent.verbs.base import Verbs
from memora.schema.entities import Entity, EntityMemories
from memora.schema.scope import Scope
from memora.schema.validation import checked_int, checked_labels, checked_name, checked_page


class EntityVerbs(Verbs):
    """Who and what the memories of a user are about."""

    async def list_entities(
        self, org_id: str, user_id: str, *, skip: int = 0, limit: int = 100
    ) -> list[Entity]:
        """Return what current memories mention, most mentioned first.

        Args:
            org_id: The organization.
            user_id: The user.
            skip: Entities to leave out.
            limit: At most that many, 1 to 1000.

        Raises:
            InvalidInputError: An argument is malformed.
            UserNotFoundError: There is no such user.
        """
        scope = Scope(org_id, user_id)
        first, most = checked_page(skip, limit)
        await self._check_owner(org_id, user_id, None)
        return await entities.list_entities(self._ports, scope, first, most)

    async def entity_memories(
        self, org_id: str, user_id: str, entity: str, *, limit: int = 100
    ) -> EntityMemories:
        """Return what is known about somebody or something: current memories, newest first.

        Args:
            org_id: The organization.
            user_id: The user.
            entity: One of its names, in any spelling, or its id.
            limit: At most that many memories, 1 to 1000.

        Raises:
            InvalidInputError: An argument is malformed.
            UserNotFoundError: There is no such user.
            EntityNotFoundError: No current memory mentions it.
        """
        scope = Scope(org_id, user_id)
        wanted = checked_name(entity, "entity")
        most = checked_int(limit, "limit", 1, 1000)
        await self._check_owner(org_id, user_id, None)
        return await entities.entity_memories(self._ports, scope, wanted, most)

    async def merge_entities(self, org_id: str, user_id: str, entity: str, into: str) -> Entity:
        """Say that two entities are one; `split_entity` takes them apart again.

        Args:
            org_id: The organization.
            user_id: The user.
            entity: A name or the id of the one whose names move.
            into: A name or the id of the one that gets them, and is returned.

        Raises:
            InvalidInputError: An argument is malformed.
            UserNotFoundError: There is no such user.
            EntityNotFoundError: No current memory mentions one of them.
        """
        scope = Scope(org_id, user_id)
        source, target = checked_name(entity, "entity"), checked_name(into, "into")
        await self._check_owner(org_id, user_id, None)
        return await entities.merge_entities(self._ports, scope, source, target)

    async def split_entity(
        self, org_id: str, user_id: str, entity: str, names: Sequence[str]
    ) -> Entity:
        """Say that some names of an entity are somebody or something else, which is returned.

        Args:
            org_id: The organization.
            user_id: The user.
            entity: A name or the id.
            names: Some of its names (`aliases`), not all.

        Raises:
            InvalidInputError: An argument is malformed, or no such split is possible.
            UserNotFoundError: There is no such user.
            EntityNotFoundError: No current memory mentions it.
        """
        scope = Scope(org_id, user_id)
        wanted = checked_name(entity, "entity")
        own = checked_labels(names, "names")
        await self._check_owner(org_id, user_id, None)
        return await entities.split_entity(self._ports, scope, wanted, own)
