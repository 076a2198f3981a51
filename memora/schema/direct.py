"""Answers of the calls that work on single memories."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from memora.schema.models import Memory, Record


class AddStatus(StrEnum):
    """What became of a text that was added."""

    CREATED = "created"
    MERGED = "merged"
    DUPLICATE = "duplicate"
    SUPERSEDED = "superseded"


class MemoryReceipt(Record):
    """What `add_memory` did.

    Attributes:
        status: `created`: a new memory; `duplicate`: it was known, nothing was written; `merged`:
            what was known and what was added became one new version; `superseded`: it replaced
            what was known.
        id: The memory that holds it now.
        summary: What that memory says; empty for a repeated call whose memory is gone by now.
        superseded_ids: What is history by it: the versions that were merged or replaced.
    """

    status: str
    id: str
    summary: str = Field(repr=False)
    superseded_ids: list[str] = Field(default_factory=list[str])


class QueryResult(Record):
    """What `query_memories` found.

    Attributes:
        memories: Best first.
        context_summary: A briefing by the fast model, or the memories as sentences with dates.
        query: What was asked.
    """

    memories: list[Memory] = Field(repr=False)
    context_summary: str = Field(repr=False)
    query: str = Field(repr=False)


class MemoryHealth(Record):
    """What is stored of a user or an organization, as `memory_health` counts it.

    Attributes:
        total: Versions in all.
        by_status: Versions that are `current`, `archived`, `expired` (wait for the sweep) or
            `past` (superseded, retracted or merged).
        by_type: Current memories by type.
        pinned: Of the current ones.
        unused: Of the current ones, those that never were an answer.
        oldest, newest: `obtained_at` of the oldest and newest current memory.
        ages: Current memories by age: up to `1d`, `7d`, `30d`, `365d`, and `older`.
        redundancy: Share of the sampled memories that have a near twin, 0 to 1; None: none was
            sampled.
        sampled: How many of the newest current memories were compared.
        index_pending: Changes that the vector store has not seen yet.
        index_dead: Changes that were given up; see `memora outbox`.
        index_waiting_since: When the oldest of the pending ones was made.
    """

    total: int
    by_status: dict[str, int]
    by_type: dict[str, int]
    pinned: int
    unused: int
    oldest: datetime | None
    newest: datetime | None
    ages: dict[str, int]
    redundancy: float | None
    sampled: int
    index_pending: int
    index_dead: int
    index_waiting_since: datetime | None


class SweepReceipt(Record):
    """What `sweep` did.

    Attributes:
        expired: Versions that were expired, and are removed from both stores now.
        archived: Memories that nothing used for long, and that only answer when asked for.
        at: When.
        dry_run: Nothing was written: these are the ones that would be.
    """

    expired: int
    archived: int
    at: datetime
    dry_run: bool


class DeleteReceipt(Record):
    """What `delete_memory` did.

    Attributes:
        status: `deleted`, or `not_found` when the user has no such memory (any more).
        deleted: Whether something was deleted.
    """

    status: str
    deleted: bool


class SavePreview(Record):
    """What a save would do; nothing was written.

    Attributes:
        added: New statements.
        merged: Known memories that would gain a source.
        superseded: Known memories that would get a successor.
        cut_messages: How many stored messages would be cut.
        new_messages: How many messages would be appended.
    """

    added: list[str] = Field(repr=False)
    merged: list[Memory] = Field(repr=False)
    superseded: list[Memory] = Field(repr=False)
    cut_messages: int
    new_messages: int
