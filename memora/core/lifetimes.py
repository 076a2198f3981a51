"""How long a memory stays: when it expires, and since when it must have been used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from memora.errors import InvalidInputError
from memora.schema.models import Memory, MemoryType
from memora.schema.validation import kind_of

_MOST_DAYS = 1_000_000


class ExpireFrom(StrEnum):
    """From when the time of a short-term memory runs."""

    OBTAINED_AT = "obtained_at"
    RECORDED_AT = "recorded_at"

    @classmethod
    def parse(cls, value: object) -> ExpireFrom:
        """Return the one of that name.

        Raises:
            InvalidInputError: There is none.
        """
        if isinstance(value, str) and value in set(cls):
            return cls(value)
        got = "another text" if isinstance(value, str) else kind_of(value)
        raise InvalidInputError("expire_from", f"one of {', '.join(cls)}", got=got)


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Settings of an engine, in days; None: never.

    Attributes:
        short_term_days: After it a `short_term` memory expires.
        archive_after_days: A memory that is older, and was not used for longer, is archived.
    """

    short_term_days: float | None = 7
    archive_after_days: float | None = 30

    def __post_init__(self) -> None:
        _check_days(self.short_term_days, "short_term_days")
        _check_days(self.archive_after_days, "archive_after_days")

    def expiry(
        self,
        memory_type: str,
        obtained_at: datetime,
        recorded_at: datetime,
        *,
        pinned: bool = False,
        expire_from: ExpireFrom = ExpireFrom.OBTAINED_AT,
    ) -> datetime | None:
        """Return when a memory expires that nobody gave an end; None: never.

        Args:
            memory_type: Only `short_term` ones expire.
            obtained_at: When it became known.
            recorded_at: When the store learns it.
            pinned: A pinned one never does.
            expire_from: Which of the two times its days are counted from.
        """
        if memory_type != MemoryType.SHORT_TERM or pinned:
            return None
        start = obtained_at if expire_from is ExpireFrom.OBTAINED_AT else recorded_at
        return _after(start, self.short_term_days)

    def renewed(self, memory: Memory, obtained_at: datetime) -> datetime | None:
        """Return when a new version of the memory expires.

        A short-term memory starts anew; an end that somebody named stays.
        """
        own = {
            _after(start, self.short_term_days)
            for start in (memory.obtained_at, memory.recorded_at)
        }
        if memory.expires_at is not None and memory.expires_at in own:
            return self.expiry(memory.memory_type, obtained_at, obtained_at, pinned=memory.pinned)
        return memory.expires_at

    def unused_since(self, now: datetime) -> datetime | None:
        """Return the time since which a memory must have been used to stay; None: it stays."""
        if self.archive_after_days is None:
            return None
        try:
            return now - timedelta(days=self.archive_after_days)
        except OverflowError:
            return None


def is_expired(memory: Memory, at: datetime) -> bool:
    """Tell whether a memory is gone at that time: from the very moment of its end on."""
    return memory.expires_at is not None and memory.expires_at <= at


def unexpired(memories: Iterable[Memory], at: datetime) -> list[Memory]:
    """Return the memories that are not expired at that time, in their order."""
    return [memory for memory in memories if not is_expired(memory, at)]


def _after(start: datetime, days: float | None) -> datetime | None:
    """Return a time so many days later; None: there is none in the calendar."""
    if days is None:
        return None
    try:
        return start + timedelta(days=days)
    except OverflowError:
        return None


def _check_days(value: object, field: str) -> None:
    if value is None:
        return
    allowed = "a number of days above 0, or None"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidInputError(field, allowed, got=kind_of(value))
    if not 0 < value <= _MOST_DAYS:
        raise InvalidInputError(field, allowed)
