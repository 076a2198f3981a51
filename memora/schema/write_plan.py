"""One transaction's worth of changes, decided before it starts.

`graph.apply(plan)` is the only way in which transcripts and memories are written: the plan says
what it expects to find, and either all of it is written or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from memora.schema.jobs import ExtractionJob
from memora.schema.models import Relation
from memora.schema.scope import Scope


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to append.

    Attributes:
        prefix_hash: Hash of all messages up to and including this one (`core.messages`), so that
            two transcripts are equal up to a position exactly when their hashes there are.
    """

    role: str
    content: str | None = field(repr=False)
    prefix_hash: str
    name: str | None = field(default=None, repr=False)
    timestamp: datetime | None = None
    data: dict[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class MessageEdit:
    """Keep the first `keep` messages, drop the others, append these."""

    keep: int
    append: tuple[NewMessage, ...] = ()


@dataclass(frozen=True, slots=True)
class InteractionWrite:
    """Creation of an interaction, or a change of its transcript.

    Attributes:
        expected_revision: None creates the interaction; a number must be the stored revision.
        at: Conversation time of the write: `created_at` of a new one; raises `last_activity_at`.
        agent_id: Agent that writes; added to the participants. A new interaction belongs to it.
    """

    interaction_id: str
    expected_revision: int | None
    edit: MessageEdit
    at: datetime
    agent_id: str | None = None
    external_id: str | None = None
    title: str | None = field(default=None, repr=False)
    metadata: dict[str, Any] | None = field(default=None, repr=False)
    import_id: str | None = None
    process_id: str | None = None


@dataclass(frozen=True, slots=True)
class SourceRef:
    """A message that a memory came from.

    The link is made only if the message at that position still has this prefix hash: what was
    cut away while the model was thinking is not linked, and the memory stays.

    Attributes:
        said_at: When it said so, in the conversation's time; None: not known.
    """

    interaction_id: str
    position: int
    prefix_hash: str
    said_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EqualGuard:
    """The plan rests on which current memory has the same text; this must still be the answer.

    Attributes:
        memory_id: What `find_current_by_hash` answered; None: there was none.
        agent_id: Only memories of this agent count; None: all of the user.
    """

    memory_id: str | None = None
    agent_id: str | None = None


@dataclass(frozen=True, slots=True)
class MemoryWrite:
    """One new version of one memory.

    A new statement has `chain_id == memory_id` and no neighbours. A version of a known statement
    names its chain and neighbours, and the plan is refused (ConflictError) unless these are
    neighbours in the store at that moment:

    * `predecessor_id` given: its successor must be `successor_id` (None: it has none);
    * only `successor_id` given: it must have no predecessor;
    * `superseded_at` None (the version becomes the head): the chain's current head must be
      `replaces_head` (None: the chain has none).

    With `equal` the plan is also refused when, before it, another memory of this `content_hash`
    is current than the guard says, so that the same statement saved twice at once is one memory.

    Attributes:
        text: The statement with name placeholders (`core.placeholders`).
        entities: Names that it mentions, as callers give them.
        relations: With placeholders; their ends are entities of the memory too.
        superseded_at: Set when it is inserted below the head: the successor's `obtained_at`, or
            where the version that it cuts short ended before that.
        predecessor_superseded_at: New `superseded_at` of the predecessor.
    """

    memory_id: str
    text: str = field(repr=False)
    obtained_at: datetime
    chain_id: str
    content_hash: str
    agent_id: str | None = None
    interaction_id: str | None = None
    sources: tuple[SourceRef, ...] = ()
    memory_type: str = "fact"
    importance: float = 0.5
    tags: tuple[str, ...] = field(default=(), repr=False)
    entities: tuple[str, ...] = field(default=(), repr=False)
    relations: tuple[Relation, ...] = field(default=(), repr=False)
    metadata: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    expires_at: datetime | None = None
    pinned: bool = False
    source_role: str = "user"
    confidence: float | None = None
    external_id: str | None = None
    import_id: str | None = None
    process_id: str | None = None
    author: str | None = field(default=None, repr=False)
    predecessor_id: str | None = None
    predecessor_superseded_at: datetime | None = None
    successor_id: str | None = None
    superseded_at: datetime | None = None
    replaces_head: str | None = None
    equal: EqualGuard | None = None


@dataclass(frozen=True, slots=True)
class Beginning:
    """A version begins at another time: it was said before, or what said it then has left it.

    The plan is refused (ConflictError) unless the version's time is `was` and its predecessor
    `predecessor_id` when its turn comes. The store keeps when, and by
    whom, the version was stated first of all (`stated_at`, `stated_role`), for as long as that is
    another time than its own.

    Attributes:
        obtained_at: Its time from now on.
        source_role: Who said it, from now on.
        predecessor_superseded_at: New `superseded_at` of the predecessor.
        after: How many memories of the plan are written before; the version is none of them.
    """

    obtained_at: datetime
    was: datetime
    source_role: str
    predecessor_id: str | None = None
    predecessor_superseded_at: datetime | None = None
    after: int = 0


@dataclass(frozen=True, slots=True)
class SourceLink:
    """An existing memory gains these sources (again linking one that is there changes nothing).

    The plan is refused (ConflictError) if the memory is gone: what repeats it is new then.

    Attributes:
        begins: Its new time, where that changes; None: it stays.
        moved_from: The version that loses them; None: none does.
    """

    memory_id: str
    sources: tuple[SourceRef, ...]
    begins: Beginning | None = None
    moved_from: str | None = None


@dataclass(frozen=True, slots=True)
class MemoryEnd:
    """The current head `memory_id` ends without a successor in its chain (retraction, merge).

    The plan is refused (ConflictError) if it is not the current head.
    """

    memory_id: str
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """The caller's key, what it was called with, and the answer that a repetition gets.

    Attributes:
        body_hash: Hash of the call's arguments; another body under the same key is a conflict.
        result: JSON answer of the first call.
        import_id: Import that made the call, if one did.
    """

    key: str
    body_hash: str
    result: dict[str, Any]
    import_id: str | None = None


@dataclass(frozen=True, slots=True)
class WritePlan:
    """Everything one call writes, in one transaction.

    Attributes:
        now: Store time: `recorded_at`, `updated_at` (raised to stay monotonic), outbox times.
        job: Job to insert or replace. With `job_must_exist` the row must be there (it goes with
            its interaction and user, so an answer that comes late resurrects nothing).
    """

    scope: Scope
    now: datetime
    interaction: InteractionWrite | None = None
    memories: tuple[MemoryWrite, ...] = ()
    links: tuple[SourceLink, ...] = ()
    ends: tuple[MemoryEnd, ...] = ()
    job: ExtractionJob | None = None
    job_must_exist: bool = False
    idempotency: IdempotencyRecord | None = None

    @property
    def steps(self) -> Iterator[MemoryWrite | SourceLink]:
        """What is done to chains, in order: memories, and links whose versions begin between."""
        for number in range(len(self.memories) + 1):
            for link in self.links:
                if link.begins is not None and link.begins.after == number:
                    yield link
            yield from self.memories[number : number + 1]

    @property
    def import_id(self) -> str | None:
        """The import under which this is written; a plan is of one, or of none.

        Where a conversation is written or worked on it says so: the plan may part a memory that
        another import obtained.
        """
        named = [part.import_id for part in (self.interaction, self.idempotency) if part]
        if self.job is not None:
            named.append(self.job.params.get("import_id"))
        named = named or [memory.import_id for memory in self.memories]
        return next((import_id for import_id in named if import_id is not None), None)


@dataclass(frozen=True, slots=True)
class WriteReceipt:
    """What a plan did.

    Attributes:
        replayed: The idempotency key was known with the same body: nothing was written, and
            `result` is the first call's answer.
        revision, created_at, updated_at, message_count: Of the interaction after the write, where
            the plan had one.
    """

    replayed: bool = False
    result: dict[str, Any] | None = None
    revision: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    message_count: int | None = None


# The longest pause of an outbox entry between two tries. A time that lies twice as far ahead, or a
# lease twice as long as one would take it, is of a clock that has been set back since.
LONGEST_PAUSE = timedelta(minutes=10)


class OutboxOp(StrEnum):
    """What the vector store has to do.

    `sync` brings the named memories to the graph's state, whatever that is by then: present ones
    are upserted, missing ones deleted. So entries may be repeated and merged freely.
    """

    SYNC = "sync"
    DROP_USER = "drop_user"
    DROP_ORGANIZATION = "drop_organization"


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """Vector work that was committed together with the graph change it follows from.

    Attributes:
        seq: Order of commit; entries of one user are worked off in this order.
        user_id: Empty for `drop_organization`.
        not_before: Earliest next try.
        dead: Given up after too many tries; shown by the outbox command, revived by a retry.
        lease: Token of the worker that has it; None when listed.
    """

    seq: int
    op: OutboxOp
    org_id: str
    user_id: str
    memory_ids: tuple[str, ...] = ()
    attempts: int = 0
    error: str | None = None
    enqueued_at: datetime | None = None
    not_before: datetime | None = None
    dead: bool = False
    lease: str | None = None


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """How far the vectors are behind.

    Attributes:
        pending: Entries waiting or leased.
        dead: Entries given up.
        oldest: When the oldest pending entry was committed; None when there is none.
    """

    pending: int
    dead: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class DeleteCounts:
    """Records by kind: what a delete removed from the graph, or what `count_records` found.

    Attributes:
        entities: Names; those that go because the last memory that has them does are not counted.
    """

    interactions: int = 0
    messages: int = 0
    memories: int = 0
    agents: int = 0
    users: int = 0
    jobs: int = 0
    idempotency_keys: int = 0
    tombstones: int = 0
    outbox_entries: int = 0
    organizations: int = 0
    imports: int = 0
    entities: int = 0

    def __add__(self, other: DeleteCounts) -> DeleteCounts:
        return DeleteCounts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def total(self) -> int:
        """The sum over all kinds."""
        return sum(astuple(self))
