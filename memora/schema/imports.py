"""Imports of conversations as records, and what taking one back did."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from datetime import datetime
from enum import StrEnum

from memora.schema.models import Record


class ImportStatus(StrEnum):
    """Where an import stands.

    `running` may also be one whose process died; the same call of `seed` goes on with it. One that
    is `undoing` was interrupted while it was taken back; `undo_import` goes on with that.
    """

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    UNDOING = "undoing"
    UNDONE = "undone"

    @property
    def takes_writes(self) -> bool:
        """Whether anything may still be written under this import."""
        return self not in {ImportStatus.UNDOING, ImportStatus.UNDONE}


class ImportRun(Record):
    """One import of conversations.

    Attributes:
        started_at, finished_at: Store times of its first beginning and its last end.
        conversations: How many it created or updated, each once, however many documents or runs
            of the import were about it.
        memories: How many versions of memories it wrote.
        failed: Conversations that its last run could not import.
        skipped: Conversations that were stored like this when its last run came to them.
    """

    org_id: str
    import_id: str
    user_id: str
    agent_id: str | None = None
    process_id: str | None = None
    status: ImportStatus = ImportStatus.RUNNING
    started_at: datetime
    finished_at: datetime | None = None
    conversations: int = 0
    memories: int = 0
    failed: int = 0
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """What is added to the counts of an import."""

    conversations: int = 0
    memories: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: ImportCounts) -> ImportCounts:
        return ImportCounts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class UndoCounts:
    """What taking an import back did.

    Attributes:
        interactions_removed: Conversations that the import had created.
        interactions_restored: Conversations that are again what they were before it.
        interactions_kept: Conversations that others have continued since: their transcripts stay.
        messages: Messages that are gone.
        memories: Versions that are gone.
        restored: Versions that are current again.
        unlinked: Versions that stay, and no longer come from the import.
        jobs, idempotency_keys: Of the import, that are gone.
    """

    interactions_removed: int = 0
    interactions_restored: int = 0
    interactions_kept: int = 0
    messages: int = 0
    memories: int = 0
    restored: int = 0
    unlinked: int = 0
    jobs: int = 0
    idempotency_keys: int = 0

    def __add__(self, other: UndoCounts) -> UndoCounts:
        return UndoCounts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class ImportUndo:
    """The receipt of an undo; it holds no content.

    Attributes:
        at: Store time.
        done: What was removed and what came back, in this call.
        dry_run: Nothing was written: this is what an undo would do.
    """

    org_id: str
    user_id: str
    import_id: str
    at: datetime
    done: UndoCounts
    dry_run: bool = False
