"""A clock and an id source that tests can predict."""

from __future__ import annotations

import itertools
import uuid
from datetime import UTC, datetime, timedelta


class FrozenClock:
    """A clock that stands still until it is moved.

    Args:
        start: First time; None: noon of 2 January 2026, UTC.
        step: Added after every look, so that times differ where that matters.
    """

    def __init__(self, start: datetime | None = None, step: timedelta = timedelta(0)) -> None:
        self._now = start or datetime(2026, 1, 2, 12, tzinfo=UTC)
        self._step = step

    def now(self) -> datetime:
        """Return the time, and move on by the step."""
        now = self._now
        self._now += self._step
        return now

    def advance(self, by: timedelta) -> None:
        """Move the clock."""
        self._now += by


class SequentialIds:
    """Ids that count up: the same calls give the same ids in every run.

    Args:
        prefix: Start of the short ids, so that several sources do not collide.
    """

    def __init__(self, prefix: str = "id") -> None:
        self._prefix = prefix
        self._short = itertools.count(1)
        self._memory = itertools.count(1)

    def short(self) -> str:
        """Return the next short id."""
        return f"{self._prefix}{next(self._short):04d}"

    def memory(self) -> str:
        """Return the next memory id, a UUID."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self._prefix}:{next(self._memory)}"))
