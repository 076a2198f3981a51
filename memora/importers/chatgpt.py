"""The `conversations.json` of ChatGPT's data export.

Each conversation is a tree of messages (an edited question begins a branch); the branch that was
shown last, which ends at `current_node`, is imported. What was never shown (custom instructions,
the model's thoughts) is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from memora.errors import InvalidInputError
from memora.importers.fields import filled, line_of, must_be, object_of, unix_time

_ROLES = frozenset({"user", "assistant", "system", "tool"})
_UNSAID = frozenset(
    {"thoughts", "reasoning_recap", "user_editable_context", "model_editable_context"}
)


def matches(record: Mapping[str, Any]) -> bool:
    """Tell whether a record is of this format."""
    return isinstance(record.get("mapping"), Mapping)


def conversation(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conversation of one record.

    Raises:
        InvalidInputError: It lacks what the format has.
    """
    messages: list[dict[str, Any]] = []
    for node in _branch(record, record["mapping"]):
        message = object_of(node.get("message"))
        found = _message(message) if message else None
        if found is not None:
            messages.append(found)
    name = record.get("conversation_id") or record.get("id")
    return filled(
        id=must_be(name, str, "conversation_id", "a text"),
        title=line_of(record.get("title")),
        created_at=unix_time(record.get("create_time"), "create_time"),
        messages=messages,
    )


def _branch(record: Mapping[str, Any], mapping: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the nodes from the root to the current one."""
    current = record.get("current_node")
    if current is None and mapping:
        current = max(mapping, key=lambda key: _leaf_time(_node(mapping[key])))
    branch: list[Mapping[str, Any]] = []
    seen: set[str] = set()
    while isinstance(current, str) and current in mapping:
        if current in seen:
            raise InvalidInputError("mapping", "a tree", got="a cycle")
        seen.add(current)
        node = _node(mapping[current])
        branch.append(node)
        current = node.get("parent")
    if mapping and not branch:
        raise InvalidInputError("current_node", "the id of a node of the mapping")
    return branch[::-1]


def _leaf_time(node: Mapping[str, Any]) -> tuple[bool, float]:
    """Order nodes so that the newest one without an answer comes last."""
    at: Any = object_of(node.get("message")).get("create_time")
    is_time = isinstance(at, (int, float)) and not isinstance(at, bool)
    try:
        return not node.get("children"), float(at) if is_time else 0.0
    except OverflowError:
        return not node.get("children"), 0.0


def _node(value: Any) -> Mapping[str, Any]:
    return must_be(value, dict, "mapping", "objects")


def _message(message: Mapping[str, Any]) -> dict[str, Any] | None:
    if _is_hidden(message):
        return None
    role = object_of(message.get("author")).get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise InvalidInputError("author.role", f"one of {', '.join(sorted(_ROLES))}")
    text = _text(message.get("content"))
    if not text.strip():
        return None
    at = unix_time(message.get("create_time"), "create_time")
    return filled(role=role, content=text, timestamp=at)


def _is_hidden(message: Mapping[str, Any]) -> bool:
    kind = object_of(message.get("content")).get("content_type")
    hidden = object_of(message.get("metadata")).get("is_visually_hidden_from_conversation")
    return hidden is True or (isinstance(kind, str) and kind in _UNSAID)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    body = object_of(content)
    parts = body.get("parts")
    if isinstance(parts, list):
        texts = [_part(part) for part in cast("list[Any]", parts)]
        return "\n".join(text for text in texts if text)
    return _part(body)


def _part(part: Any) -> str:
    """Return the text of a part; images have none, what was said aloud has a transcription."""
    if isinstance(part, Mapping):
        part = object_of(part).get("text")
    return part if isinstance(part, str) else ""
