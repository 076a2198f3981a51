"""People, places and things that memories mention."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import Field

from memora.schema.models import Memory, Record


class Entity(Record):
    """Somebody or something that memories of a user mention, under one or several names.

    Attributes:
        name: The name that most memories use.
        aliases: All names, that one first.
        memories: How many current memories mention it.
    """

    org_id: str
    user_id: str
    entity_id: str
    name: str = Field(repr=False)
    aliases: list[str] = Field(default_factory=list[str], repr=False)
    memories: int = 0


class EntityRelation(Record):
    """What a current memory says about two entities.

    Attributes:
        subject, object: Names, as the memory has them.
        type: In snake case, such as `works_at`.
        memory_id: The memory that says so; the relation holds while that one is current.
    """

    subject_id: str
    subject: str = Field(repr=False)
    type: str = Field(repr=False)
    object_id: str
    object: str = Field(repr=False)
    memory_id: str


class EntityMemories(Record):
    """What is known about an entity.

    Attributes:
        memories: Current ones that mention it, newest first.
        relations: What they say of it and others.
    """

    entity: Entity
    memories: list[Memory] = Field(repr=False)
    relations: list[EntityRelation] = Field(default_factory=list[EntityRelation])


@dataclass(frozen=True, slots=True)
class EntityMention:
    """A current memory mentions an entity.

    Attributes:
        memories: How many current memories mention the entity; 0 where nobody asked.
        name: The name that the memory uses, with placeholders; the first in order of several.
    """

    memory_id: str
    entity_id: str
    memories: int = 0
    name: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class EntityName:
    """One name of an entity, with placeholders.

    Attributes:
        memories: How many current memories use it.
        total: How many mention the entity under any name.
    """

    entity_id: str
    name_id: str
    name: str = field(repr=False)
    memories: int
    total: int
