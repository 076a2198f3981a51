"""What mem0's `get_all` and exports hold: statements, each of which becomes a conversation.

A statement is not what the user said word for word, but it is about the user and stands for what
was said; it is imported as the user's, at the date of its last change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memora.importers.fields import filled, must_be


def matches(record: Mapping[str, Any]) -> bool:
    """Tell whether a record is of this format."""
    return "memory" in record and "messages" not in record


def conversation(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the statement as a conversation of one message.

    Raises:
        InvalidInputError: It lacks what the format has.
    """
    text: str = must_be(record.get("memory"), str, "memory", "a text")
    given: Any = record.get("metadata") or {}
    metadata = {**must_be(given, dict, "metadata", "an object"), "imported_from": "mem0"}
    if record.get("categories"):
        metadata["categories"] = record["categories"]
    return filled(
        id=must_be(record.get("id"), str, "id", "a text"),
        created_at=record.get("updated_at") or record.get("created_at"),
        messages=[{"role": "user", "content": text}] if text.strip() else [],
        metadata=metadata,
    )
