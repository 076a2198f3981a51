"""The `conversations.json` of Claude's data export; attached files are not imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from memora.errors import InvalidInputError
from memora.importers.fields import filled, line_of, must_be, object_of

_ROLES = {"human": "user", "assistant": "assistant"}


def matches(record: Mapping[str, Any]) -> bool:
    """Tell whether a record is of this format."""
    return isinstance(record.get("chat_messages"), list)


def conversation(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conversation of one record.

    Raises:
        InvalidInputError: It lacks what the format has.
    """
    messages: list[dict[str, Any]] = []
    for given in record["chat_messages"]:
        message: Mapping[str, Any] = must_be(given, dict, "chat_messages", "objects")
        sender = message.get("sender")
        role = _ROLES.get(sender) if isinstance(sender, str) else None
        if role is None:
            raise InvalidInputError("chat_messages.sender", "human or assistant")
        text = _text(message)
        if text.strip():
            messages.append(filled(role=role, content=text, timestamp=message.get("created_at")))
    return filled(
        id=must_be(record.get("uuid"), str, "uuid", "a text"),
        title=line_of(record.get("name")),
        created_at=record.get("created_at"),
        messages=messages,
    )


def _text(message: Mapping[str, Any]) -> str:
    """Return what was said; newer exports have it in parts."""
    parts = message.get("content")
    if isinstance(parts, list):
        texts = [object_of(part).get("text") for part in cast("list[Any]", parts)]
        joined = "\n".join(text for text in texts if isinstance(text, str))
        if joined.strip():
            return joined
    text = message.get("text")
    return text if isinstance(text, str) else ""
