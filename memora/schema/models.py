"""Records as callers see them. All times are aware and in UTC."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class MemoryType(StrEnum):
    """Known kinds of memory; `memory_type` is a text, so callers may add their own."""

    FACT = "fact"
    PREFERENCE = "preference"
    EVENT = "event"
    SKILL = "skill"
    RELATIONSHIP = "relationship"
    RULE = "rule"
    PLAN = "plan"
    ENTITY = "entity"
    EMOTION = "emotion"
    SHORT_TERM = "short_term"
    LONG_TERM = "long_term"
    OTHER = "other"


class SourceRole(StrEnum):
    """Who said what a memory holds; decides what the memory may supersede."""

    API = "api"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    IMPORT = "import"


class Record(BaseModel):
    """A record that also answers to `record["field"]`."""

    model_config = ConfigDict(extra="forbid")

    def __getitem__(self, field: str) -> Any:
        if field not in type(self).model_fields:
            raise KeyError(field)
        return getattr(self, field)


class Organization(Record):
    """A tenant: users and agents belong to it."""

    org_id: str
    org_name: str = Field(repr=False)
    created_at: datetime


class User(Record):
    """A person (or whatever is remembered about) of an organization."""

    org_id: str
    user_id: str
    user_name: str = Field(repr=False)
    created_at: datetime


class Agent(Record):
    """An assistant of an organization; with `user_id` it serves that user only."""

    org_id: str
    agent_id: str
    agent_label: str = Field(repr=False)
    user_id: str | None = None
    created_at: datetime


class MessageBlock(Record):
    """One message of an interaction.

    Attributes:
        role: One of user, assistant, system, developer, tool, function.
        content: The text; for structured content its text parts, or None.
        msg_position: Place in the interaction, from 0.
        name: Who spoke, where the caller said so.
        timestamp: When it was said, where the caller said so.
        data: Everything else of the message as given (structured content, tool calls), as JSON.
    """

    role: str
    content: str | None = Field(default=None, repr=False)
    msg_position: int
    name: str | None = Field(default=None, repr=False)
    timestamp: datetime | None = None
    data: dict[str, Any] | None = Field(default=None, repr=False)

    def as_message(self) -> dict[str, Any]:
        """Return the message in the shape in which callers pass it to save."""
        message: dict[str, Any] = {"role": self.role, "content": self.content, **(self.data or {})}
        if self.name is not None:
            message["name"] = self.name
        if self.timestamp is not None:
            message["timestamp"] = self.timestamp
        return message


class Relation(Record):
    """What a memory says about two people, places or things: `subject` `type` `object`.

    Attributes:
        subject, object: Names, with current names filled in.
        type: In snake case, such as `works_at`.
    """

    subject: str = Field(repr=False)
    type: str = Field(repr=False)
    object: str = Field(repr=False)


class Memory(Record):
    """One version of one self-contained statement about a user.

    Attributes:
        memory: The statement, with current names filled in.
        obtained_at: When it became known, in the conversation's time.
        recorded_at: When the store learned it.
        superseded_at: When it stopped being current, in the conversation's time; None: current.
        superseded_by: Id of the next version.
        supersedes: Id of the version before.
        chain_id: Shared by all versions of one statement (the id of the first one stored).
        entities: Names of people, places and things that it mentions.
        relations: What it says about two of them.
        importance: 0 to 1.
        confidence: 0 to 1, where the extraction said so.
        source_role: Who said it.
        author: Who made this version by hand (`api`: nobody was named); None: it was said.
        external_id: Id of the document it came from.
        score: Relevance in the answer it came with; neither stored nor dumped.
        score_parts: What the score is made of, with `explain=True`; neither stored nor dumped.
    """

    org_id: str
    user_id: str
    agent_id: str | None = None
    interaction_id: str | None = None
    memory_id: str
    memory: str
    obtained_at: datetime
    recorded_at: datetime
    message_sources: list[MessageBlock] = Field(default_factory=list[MessageBlock])
    memory_type: str = MemoryType.FACT.value
    importance: float = 0.5
    tags: list[str] = Field(default_factory=list[str])
    entities: list[str] = Field(default_factory=list[str])
    relations: list[Relation] = Field(default_factory=list[Relation])
    metadata: dict[str, Any] = Field(default_factory=dict[str, Any])
    expires_at: datetime | None = None
    pinned: bool = False
    archived: bool = False
    source_role: str = SourceRole.USER.value
    confidence: float | None = None
    access_count: int = 0
    last_accessed_at: datetime | None = None
    content_hash: str = ""
    external_id: str | None = None
    import_id: str | None = None
    process_id: str | None = None
    author: str | None = None
    chain_id: str
    supersedes: str | None = None
    superseded_by: str | None = None
    superseded_at: datetime | None = None
    score: float | None = Field(default=None, exclude=True)
    score_parts: dict[str, float] | None = Field(default=None, exclude=True)

    @property
    def is_current(self) -> bool:
        """Whether no later version, retraction or merge has ended this one."""
        return self.superseded_at is None

    def memory_and_timestamp_dict(self) -> dict[str, str]:
        """Return the statement and its time as texts, for a prompt."""
        return {"memory": self.memory, "obtained_at": str(self.obtained_at)}

    def id_memory_and_timestamp_dict(self) -> dict[str, str]:
        """Return id, statement and time as texts."""
        return {"memory_id": self.memory_id, **self.memory_and_timestamp_dict()}

    def __repr__(self) -> str:
        return f"Memory(memory={self.memory!r}, obtained_at={str(self.obtained_at)!r})"

    __str__ = __repr__


class Interaction(Record):
    """A conversation of a user, with or without an agent.

    Attributes:
        external_id: The caller's id of the conversation, unique per user.
        participants: Agents that wrote to it, in the order of their first write.
        created_at: Conversation time of the first save.
        updated_at: Store time of the last change; never goes back.
        last_activity_at: Conversation time of the newest message.
        revision: Counts changes of the transcript; pass it as `expected_revision`.
        message_count: Number of messages.
    """

    org_id: str
    user_id: str
    agent_id: str | None = None
    interaction_id: str
    external_id: str | None = None
    title: str | None = Field(default=None, repr=False)
    metadata: dict[str, Any] = Field(default_factory=dict[str, Any], repr=False)
    active: bool = True
    participants: list[str] = Field(default_factory=list[str])
    created_at: datetime
    updated_at: datetime
    last_activity_at: datetime
    revision: int = 0
    message_count: int = 0
    content_hash: str = ""
    import_id: str | None = None
    process_id: str | None = None
    messages: list[MessageBlock] | None = Field(default=None, repr=False)
    memories: list[Memory] | None = Field(default=None, repr=False)
