"""What the formats share: fields of a record, checked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from memora.errors import InvalidInputError
from memora.schema.validation import NAME_LENGTH, kind_of


def must_be(value: Any, kind: type, field: str, allowed: str) -> Any:
    """Return a value that is of that type.

    Raises:
        InvalidInputError: It is not.
    """
    if not isinstance(value, kind):
        raise InvalidInputError(field, allowed, got=kind_of(value))
    return value


def object_of(value: Any) -> Mapping[str, Any]:
    """Return an object; an empty one in place of anything else."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def line_of(value: Any) -> str | None:
    """Return a title or name as one line that may be stored; None where there is none."""
    if not isinstance(value, str):
        return None
    shown = "".join(char if char.isprintable() else " " for char in value)
    return " ".join(shown.split())[:NAME_LENGTH].strip() or None


def unix_time(value: Any, field: str) -> datetime | None:
    """Return a time given in seconds since 1970; None where there is none.

    Raises:
        InvalidInputError: It is no such number.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidInputError(field, "seconds since 1970", got=kind_of(value))
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, OSError, ValueError):
        raise InvalidInputError(field, "seconds since 1970") from None


def filled(**fields: Any) -> dict[str, Any]:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}
