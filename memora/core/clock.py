"""Time: the only place that asks the system for it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Protocol

_logger = logging.getLogger("memora")
_told_about_naive = False


class Clock(Protocol):
    """Source of the current time."""

    def now(self) -> datetime:
        """Return the current time, aware and in UTC."""
        ...


class SystemClock:
    """The system's clock."""

    def now(self) -> datetime:
        """Return the current time, aware and in UTC."""
        return datetime.now(UTC)


def as_utc(value: datetime) -> datetime:
    """Return `value` in UTC; a naive one is taken as local time, which is logged once a process."""
    if value.tzinfo is None:
        global _told_about_naive  # noqa: PLW0603 - once per process is the promise
        if not _told_about_naive:
            _told_about_naive = True
            _logger.warning("naive datetimes are taken as local time and stored as UTC")
    return value.astimezone(UTC)
