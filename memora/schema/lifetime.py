"""How long memories stay: what is due, what was used, and what a sweep did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Access:
    """How often a memory was an answer since it was last written down.

    Attributes:
        count: Answers, 1 and up.
        at: When it was one last.
    """

    count: int
    at: datetime


@dataclass(frozen=True, slots=True)
class DueMemory:
    """A version that a sweep has to do with.

    Attributes:
        at: What pages are ordered by: when it expired, or when it was obtained.
    """

    user_id: str
    memory_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class TypeCounts:
    """Versions of one memory type; each is counted once.

    Attributes:
        current: What reads answer with.
        archived: Heads that only answer where archived ones are asked for.
        expired: Answer nowhere, and wait for the sweep; heads and history.
        past: Superseded, retracted or merged.
        pinned: Of the current ones.
        unused: Of the current ones, those that never were an answer.
    """

    current: int = 0
    archived: int = 0
    expired: int = 0
    past: int = 0
    pinned: int = 0
    unused: int = 0


@dataclass(frozen=True, slots=True)
class MemoryCounts:
    """What is stored of a user or an organization.

    Attributes:
        by_type: Counts by memory type.
        oldest, newest: `obtained_at` of the oldest and newest current memory.
        ages: Current memories by age in days: those younger than each bound and not than the one
            before; `None` holds the rest.
        pending, dead: Outbox entries of this owner that wait, or were given up.
        waiting_since: When the oldest of those that wait was committed.
    """

    by_type: Mapping[str, TypeCounts] = field(default_factory=dict[str, TypeCounts])
    oldest: datetime | None = None
    newest: datetime | None = None
    ages: Mapping[int | None, int] = field(default_factory=dict[int | None, int])
    pending: int = 0
    dead: int = 0
    waiting_since: datetime | None = None


# Bounds of the ages that are told apart, in days.
AGES = (1, 7, 30, 365)
