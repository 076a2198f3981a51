"""Records as an export holds them: one JSON object per line, all of a store but what is derived.

The models are the format (`docs/reference/export-format.md`): a field that is added, dropped or
read differently is a new `VERSION`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
)

from memora.errors import InvalidInputError
from memora.schema.imports import ImportRun
from memora.schema.jobs import ExtractionJob, JobStatus
from memora.schema.models import Agent, Interaction, Memory, MessageBlock, Organization, User
from memora.schema.times import parsed_time
from memora.schema.validation import ROLES, checked_content, checked_id, checked_name, checked_share

FORMAT = "memora-export"
VERSION = 3

T = TypeVar("T")


def _as_it_is(check: Callable[[object, str], T]) -> AfterValidator:
    """Return a validator that refuses what the check refuses, or would change."""

    def validate(value: T) -> T:
        if check(value, "") != value:
            raise InvalidInputError("", "in Unicode's form NFC")
        return value

    return AfterValidator(validate)


def _memory_id(value: str) -> str:
    try:
        known = str(UUID(value))
    except ValueError:
        known = None
    if known != value:
        raise InvalidInputError("", "a UUID in lower case")
    return value


def _json_object(value: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise InvalidInputError("", "a JSON object of valid Unicode, without NaN") from None
    return value


def _role(value: str) -> str:
    if value not in ROLES:
        raise InvalidInputError("", f"one of {', '.join(sorted(ROLES))}")
    return value


def _time(value: object) -> datetime:
    time = parsed_time(value, "")
    if isinstance(value, str) and datetime.fromisoformat(value).tzinfo is None:
        raise InvalidInputError("", "a time with its offset from UTC")
    return time


def iso(time: datetime) -> str:
    """Return a time as exports write it: in UTC, always with microseconds."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


Id = Annotated[str, _as_it_is(checked_id)]
MemoryId = Annotated[str, AfterValidator(_memory_id)]
Name = Annotated[str, _as_it_is(checked_name)]
Content = Annotated[str, _as_it_is(checked_content)]
# As stored: with placeholders and escapes, so it may be longer than what callers may give.
Stored = Annotated[str, Field(min_length=1, max_length=8 * 1024 * 1024)]
Hash = Annotated[str, Field(max_length=255)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_json_object)]
Share = Annotated[float, _as_it_is(checked_share)]
Role = Annotated[str, AfterValidator(_role)]
Time = Annotated[datetime, BeforeValidator(_time), PlainSerializer(iso, when_used="json")]
# Lists in the file.
Ids = Annotated[tuple[Id, ...], Field(strict=False)]
Names = Annotated[tuple[Name, ...], Field(strict=False)]
Count = Annotated[int, Field(ge=0, lt=2**53)]


class _Record(BaseModel):
    """A line of the file, which shows only its id when it is printed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    # The field that errors name.
    id_field: ClassVar[str]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.record_id!r})"

    __str__ = __repr__

    @property
    def record_id(self) -> str:
        """The id that errors show."""
        return str(getattr(self, self.id_field))


class OrganizationRecord(_Record):
    """An organization; all that it has follows."""

    id_field = "org_id"

    kind: Literal["organization"] = "organization"
    org_id: Id
    org_name: Name
    created_at: Time

    @property
    def place(self) -> tuple[Any, ...]:
        """Where it stands in the file; records are in this order, and no two have the same."""
        return (self.org_id, 0)

    @classmethod
    def of(cls, organization: Organization) -> OrganizationRecord:
        """Return the record of a stored organization."""
        return cls.model_construct(**dict(organization))


class UserRecord(_Record):
    """A user; what belongs to it follows.

    Attributes:
        salt: Of the user's tombstones: without it nobody knows them again.
    """

    id_field = "user_id"

    kind: Literal["user"] = "user"
    org_id: Id
    user_id: Id
    user_name: Name
    created_at: Time
    salt: Stored

    @property
    def place(self) -> tuple[Any, ...]:
        """By id; see `OrganizationRecord`."""
        return (self.org_id, 1, self.user_id, 0)

    @classmethod
    def of(cls, user: User, salt: str) -> UserRecord:
        """Return the record of a stored user."""
        return cls.model_construct(**dict(user), salt=salt)


class AgentRecord(_Record):
    """An agent, deleted or not. One that serves a single user stands with that user."""

    id_field = "agent_id"

    kind: Literal["agent"] = "agent"
    org_id: Id
    agent_id: Id
    agent_label: Name
    user_id: Id | None = None
    created_at: Time
    deleted_at: Time | None = None

    @property
    def place(self) -> tuple[Any, ...]:
        """With its user, or after all users: so it is read after everything that names it."""
        if self.user_id is None:
            return (self.org_id, 2, self.agent_id)
        return (self.org_id, 1, self.user_id, 1, self.agent_id)

    @classmethod
    def of(cls, agent: Agent, deleted_at: datetime | None) -> AgentRecord:
        """Return the record of a stored agent."""
        return cls.model_construct(**dict(agent), deleted_at=deleted_at)


class InteractionRecord(_Record):
    """An interaction; its messages follow."""

    id_field = "interaction_id"

    kind: Literal["interaction"] = "interaction"
    org_id: Id
    user_id: Id
    interaction_id: Id
    agent_id: Id | None = None
    external_id: Id | None = None
    title: Name | None = None
    metadata: JsonObject
    active: bool = True
    participants: Ids
    created_at: Time
    updated_at: Time
    last_activity_at: Time
    revision: Count
    message_count: Count
    content_hash: Hash
    import_id: Id | None = None
    process_id: Id | None = None

    @property
    def place(self) -> tuple[Any, ...]:
        """By id; see `OrganizationRecord`."""
        return (self.org_id, 1, self.user_id, 2, self.interaction_id, -1)

    @classmethod
    def of(cls, interaction: Interaction) -> InteractionRecord:
        """Return the record of a stored interaction."""
        fields = {name: value for name, value in interaction if name in cls.model_fields}
        fields["participants"] = tuple(interaction.participants)
        return cls.model_construct(**fields)


class MessageRecord(_Record):
    """A message; its `prefix_hash` covers all messages before it, too."""

    id_field = "interaction_id"

    kind: Literal["message"] = "message"
    org_id: Id
    user_id: Id
    interaction_id: Id
    position: Count
    role: Role
    content: Content | None = None
    name: Name | None = None
    timestamp: Time | None = None
    data: JsonObject | None = None
    prefix_hash: Hash
    import_id: Id | None = None

    @property
    def place(self) -> tuple[Any, ...]:
        """By position; see `OrganizationRecord`."""
        return (self.org_id, 1, self.user_id, 2, self.interaction_id, self.position)

    @classmethod
    def of(
        cls,
        org_id: str,
        user_id: str,
        interaction_id: str,
        message: MessageBlock,
        prefix_hash: str,
        import_id: str | None = None,
    ) -> MessageRecord:
        """Return the record of a stored message."""
        return cls.model_construct(
            **{name: value for name, value in message if name in cls.model_fields},
            org_id=org_id,
            user_id=user_id,
            interaction_id=interaction_id,
            position=message.msg_position,
            prefix_hash=prefix_hash,
            import_id=import_id,
        )


class MessageSource(BaseModel):
    """A message that a memory came from, and when it said so, where that is known."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    interaction_id: Id
    position: Count
    said_at: Time | None = None


class RelationPart(BaseModel):
    """What a memory says about two of its entities, with placeholders for names."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    subject: Stored
    type: Name
    object: Stored


class MemoryRecord(_Record):
    """One version of a memory, as stored: with placeholders for names in its text."""

    id_field = "memory_id"

    kind: Literal["memory"] = "memory"
    org_id: Id
    user_id: Id
    memory_id: MemoryId
    agent_id: Id | None = None
    interaction_id: Id | None = None
    chain_id: MemoryId
    superseded_by: MemoryId | None = None
    superseded_at: Time | None = None
    obtained_at: Time
    recorded_at: Time
    text: Stored
    sources: Annotated[tuple[MessageSource, ...], Field(strict=False)] = ()
    memory_type: Name
    importance: Share
    tags: Names = ()
    entities: Names = ()
    relations: Annotated[tuple[RelationPart, ...], Field(strict=False)] = ()
    metadata: JsonObject
    expires_at: Time | None = None
    pinned: bool = False
    archived: bool = False
    source_role: Name
    confidence: Share | None = None
    access_count: Count = 0
    last_accessed_at: Time | None = None
    content_hash: Hash
    external_id: Id | None = None
    import_id: Id | None = None
    process_id: Id | None = None
    author: Name | None = None
    stated_at: Time | None = None
    stated_role: Name | None = None

    @property
    def place(self) -> tuple[Any, ...]:
        """By time, then id; see `OrganizationRecord`."""
        return (self.org_id, 1, self.user_id, 3, self.obtained_at, self.memory_id)

    @classmethod
    def of(
        cls,
        memory: Memory,
        sources: Iterable[tuple[str, int, datetime | None]],
        stated_at: datetime | None,
        stated_role: str | None,
    ) -> MemoryRecord:
        """Return the record of a stored memory.

        Args:
            memory: With placeholders in its text.
            sources: Interaction and position of its messages, in this order, and when they said it.
            stated_at: When it was stated where it was obtained, if another message said it before.
            stated_role: Who stated it then.
        """
        fields = {name: value for name, value in memory if name in cls.model_fields}
        fields |= {
            "text": memory.memory,
            "tags": tuple(memory.tags),
            "entities": tuple(memory.entities),
            "relations": tuple(
                RelationPart.model_construct(**dict(relation)) for relation in memory.relations
            ),
            "sources": tuple(
                MessageSource.model_construct(
                    interaction_id=interaction_id, position=position, said_at=said_at
                )
                for interaction_id, position, said_at in sources
            ),
            "stated_at": stated_at,
            "stated_role": stated_role,
        }
        return cls.model_construct(**fields)


class TombstoneRecord(_Record):
    """The salted mark of a statement that was purged, and when that was, where it is known."""

    id_field = "mark"

    kind: Literal["tombstone"] = "tombstone"
    org_id: Id
    user_id: Id
    mark: Hash
    purged_at: Time | None = None

    @property
    def place(self) -> tuple[Any, ...]:
        """By mark; see `OrganizationRecord`."""
        return (self.org_id, 1, self.user_id, 4, self.mark)


class IdempotencyKeyRecord(_Record):
    """What an idempotency key was used for, and the answer that a repetition gets."""

    id_field = "key"

    kind: Literal["idempotency_key"] = "idempotency_key"
    org_id: Id
    user_id: Id
    key: Name
    body_hash: Hash
    result: JsonObject
    created_at: Time
    import_id: Id | None = None

    @property
    def place(self) -> tuple[Any, ...]:
        """By key; see `OrganizationRecord`."""
        return (self.org_id, 1, self.user_id, 5, self.key)


class JobRecord(_Record):
    """An extraction job; nobody is at work on it."""

    id_field = "job_id"

    kind: Literal["job"] = "job"
    org_id: Id
    user_id: Id
    job_id: Id
    interaction_id: Id
    agent_id: Id | None = None
    start: Count
    end: Count
    status: Literal["pending", "failed", "done"]
    params: JsonObject
    outputs: JsonObject
    attempts: Count
    error: str | None = None
    created_at: Time
    updated_at: Time

    @property
    def place(self) -> tuple[Any, ...]:
        """By id; see `OrganizationRecord`."""
        return (self.org_id, 1, self.user_id, 6, self.job_id)

    @classmethod
    def of(cls, job: ExtractionJob) -> JobRecord:
        """Return the record of a stored job; one under way is pending, as after a crash."""
        running = job.status is JobStatus.RUNNING
        return cls.model_construct(
            org_id=job.org_id,
            user_id=job.user_id,
            job_id=job.job_id,
            interaction_id=job.interaction_id,
            agent_id=job.agent_id,
            start=job.start,
            end=job.end,
            status=JobStatus.PENDING.value if running else job.status.value,
            params=job.params,
            outputs=job.outputs,
            attempts=job.attempts,
            error=job.error,
            created_at=job.created_at,
            updated_at=job.updated_at,
        )


class EntityRecord(_Record):
    """Which entity a name belongs to, where that does not follow from the name.

    Attributes:
        name_id: Made of the user's salt and the name, which memories of the user have.
        decided: Somebody said so.
    """

    id_field = "name_id"

    kind: Literal["entity"] = "entity"
    org_id: Id
    user_id: Id
    name_id: MemoryId
    entity_id: MemoryId
    decided: bool = False

    @property
    def place(self) -> tuple[Any, ...]:
        """By name, after the memories that have it; see `OrganizationRecord`."""
        return (self.org_id, 1, self.user_id, 7, self.name_id)


class ImportRecord(_Record):
    """An import of conversations; its parts in them follow."""

    id_field = "import_id"

    kind: Literal["import"] = "import"
    org_id: Id
    user_id: Id
    import_id: Id
    agent_id: Id | None = None
    process_id: Id | None = None
    status: Literal["running", "done", "failed", "undoing", "undone"]
    started_at: Time
    finished_at: Time | None = None
    conversations: Count
    memories: Count
    failed: Count
    skipped: Count

    @property
    def place(self) -> tuple[Any, ...]:
        """By id; see `OrganizationRecord`."""
        return (self.org_id, 1, self.user_id, 8, self.import_id, 0)

    @classmethod
    def of(cls, run: ImportRun) -> ImportRecord:
        """Return the record of a stored import."""
        fields = {name: value for name, value in run if name != "status"}
        return cls.model_construct(**fields, status=run.status.value)


class ImportChangeRecord(_Record):
    """What an import found in a conversation that it wrote to; see `memora.core.undoing`.

    Attributes:
        found: The conversation as it was; None: the import created it.
    """

    id_field = "import_id"

    kind: Literal["import_change"] = "import_change"
    org_id: Id
    user_id: Id
    import_id: Id
    interaction_id: Id
    revision: Count
    found: JsonObject | None = None

    @property
    def place(self) -> tuple[Any, ...]:
        """After its import, by interaction; see `OrganizationRecord`."""
        return (self.org_id, 1, self.user_id, 8, self.import_id, 1, self.interaction_id)


TransferRecord: TypeAlias = (
    OrganizationRecord
    | UserRecord
    | AgentRecord
    | InteractionRecord
    | MessageRecord
    | MemoryRecord
    | TombstoneRecord
    | IdempotencyKeyRecord
    | JobRecord
    | EntityRecord
    | ImportRecord
    | ImportChangeRecord
)


class Header(BaseModel):
    """The first line; one of a newer version may say more than this one knows."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    kind: Literal["header"] = "header"
    format: Literal["memora-export"] = FORMAT
    version: Count = VERSION


class End(BaseModel):
    """The last line; a file without it is not whole.

    Attributes:
        records: How many lines stand between header and end.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["end"] = "end"
    records: Count
