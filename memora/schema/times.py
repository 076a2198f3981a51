"""Times as callers give them, to aware ones in UTC."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from memora.errors import InvalidInputError
from memora.schema.validation import kind_of

_logger = logging.getLogger("memora")
_told_about_naive = False


def as_utc(value: datetime) -> datetime:
    """Return `value` in UTC; a naive one is taken as local time, which is logged once a process."""
    if value.tzinfo is None:
        global _told_about_naive  # noqa: PLW0603 - once per process is the promise
        if not _told_about_naive:
            _told_about_naive = True
            _logger.warning("naive datetimes are taken as local time and stored as UTC")
    return value.astimezone(UTC)


def checked_time(value: object, field: str) -> datetime:
    """Return `value` as an aware datetime in UTC (a naive one is taken as local time).

    Raises:
        InvalidInputError: It is no datetime, or lies outside the calendar in UTC.
    """
    if not isinstance(value, datetime):
        raise InvalidInputError(field, "a datetime", got=kind_of(value))
    try:
        return as_utc(value)
    except (OverflowError, OSError, ValueError):
        raise InvalidInputError(field, "a time of the years 1 to 9999 in UTC") from None


def optional_time(value: object, field: str) -> datetime | None:
    """Return `value` like `checked_time`; None stays None."""
    return None if value is None else checked_time(value, field)


def parsed_time(value: object, field: str) -> datetime:
    """Return a datetime or ISO 8601 text as an aware datetime in UTC.

    Raises:
        InvalidInputError: It is neither, or lies outside the calendar in UTC.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidInputError(field, "an ISO 8601 time") from None
    if not isinstance(value, datetime):
        raise InvalidInputError(field, "a datetime or ISO 8601 text", got=kind_of(value))
    return checked_time(value, field)
