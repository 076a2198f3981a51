"""Sessions (threads) of Zep with their messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memora.errors import InvalidInputError
from memora.importers.fields import filled, line_of, must_be

_ROLES = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "system": "system",
    "tool": "tool",
    "function": "function",
    "norole": "user",
}


def matches(record: Mapping[str, Any]) -> bool:
    """Tell whether a record is of this format."""
    named = "session_id" in record or "thread_id" in record
    return named and isinstance(record.get("messages"), list)


def conversation(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conversation of one record.

    Raises:
        InvalidInputError: It lacks what the format has.
    """
    name = record.get("session_id") or record.get("thread_id")
    return filled(
        id=must_be(name, str, "session_id", "a text"),
        created_at=record.get("created_at"),
        messages=[_message(given) for given in record["messages"]],
        metadata=must_be(record.get("metadata") or {}, dict, "metadata", "an object") or None,
    )


def _message(given: Any) -> dict[str, Any]:
    message: Mapping[str, Any] = must_be(given, dict, "messages", "objects")
    kind = message.get("role_type") or message.get("role")
    role = _ROLES.get(kind.lower()) if isinstance(kind, str) else None
    if role is None:
        raise InvalidInputError("messages.role_type", f"one of {', '.join(_ROLES)}")
    # Where there is a role_type, `role` is the speaker's name.
    speaker = message.get("role") if message.get("role_type") else None
    return filled(
        role=role,
        content=must_be(message.get("content"), str, "messages.content", "a text"),
        name=line_of(message.get("name") or speaker),
        timestamp=message.get("created_at"),
    )
