"""Transcripts: validation, prefix hashes, and the diff of an update."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from memora.core.clock import as_utc
from memora.errors import InvalidInputError
from memora.schema.models import MessageBlock
from memora.schema.validation import (
    MESSAGES,
    ROLES,
    checked_content,
    checked_json,
    checked_name,
    kind_of,
)
from memora.schema.write_plan import MessageEdit, NewMessage

EMPTY_HASH = ""
_OWN_KEYS = frozenset({"role", "content", "name", "timestamp"})


def parse_messages(
    interaction: object, *, before: str = EMPTY_HASH, field: str = "interaction"
) -> tuple[NewMessage, ...]:
    """Return the caller's messages, validated, with their prefix hashes.

    Args:
        interaction: Mappings with `role`, `content` (text, list, mapping or None) and anything
            else that is JSON; `name` and `timestamp` are understood. `MessageBlock`s do as well.
        before: Prefix hash of the message before the first one.
        field: How errors name the argument.

    Raises:
        InvalidInputError: Naming the message and field at fault.
    """
    if isinstance(interaction, (str, bytes, Mapping)) or not isinstance(interaction, Iterable):
        raise InvalidInputError(
            field, "a list of messages", got=kind_of(cast("object", interaction))
        )
    raw = list(cast("Iterable[object]", interaction))
    if len(raw) > MESSAGES:
        raise InvalidInputError(field, f"at most {MESSAGES} messages", got=str(len(raw)))
    messages: list[NewMessage] = []
    prefix = before
    for position, item in enumerate(raw):
        message = _parse_message(item, f"{field}[{position}]", prefix)
        prefix = message.prefix_hash
        messages.append(message)
    return tuple(messages)


def _parse_message(item: object, field: str, before: str) -> NewMessage:
    if isinstance(item, MessageBlock):
        item = item.as_message()
    if not isinstance(item, Mapping):
        raise InvalidInputError(field, "a mapping with role and content", got=kind_of(item))
    given = cast("Mapping[str, Any]", item)
    role = given.get("role")
    if not isinstance(role, str) or role not in ROLES:
        got = repr(role)[:40] if isinstance(role, str) else kind_of(role)
        raise InvalidInputError(f"{field}.role", f"one of {', '.join(sorted(ROLES))}", got=got)
    content = given.get("content")
    data: dict[str, Any] = {key: value for key, value in given.items() if key not in _OWN_KEYS}
    if content is not None and not isinstance(content, str):
        if not isinstance(content, (list, tuple, Mapping)):
            raise InvalidInputError(
                f"{field}.content", "text, a list, a mapping or None", got=kind_of(content)
            )
        data["content"] = content
        text = _text_parts(cast("object", content))
    else:
        text = content
    if text is not None:
        checked_content(text, f"{field}.content")
    name = given.get("name")
    if name is not None:
        name = checked_name(name, f"{field}.name")
    if data:
        data = cast("dict[str, Any]", json.loads(checked_json(data, field)))
    return NewMessage(
        role=role,
        content=text,
        prefix_hash=message_hash(before, role, text, name, data or None),
        name=name,
        timestamp=_parse_timestamp(given.get("timestamp"), f"{field}.timestamp"),
        data=data or None,
    )


def _text_parts(content: object) -> str | None:
    """Return the text of structured content (a list of parts, or one part), or None."""
    parts = cast("Sequence[object]", content if isinstance(content, (list, tuple)) else [content])
    texts: list[str] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping):
            text = cast("Mapping[str, object]", part).get("text")
            if isinstance(text, str):
                texts.append(text)
    return "\n".join(texts) if texts else None


def _parse_timestamp(value: object, field: str) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidInputError(field, "an ISO 8601 time") from None
    if not isinstance(value, datetime):
        raise InvalidInputError(field, "a datetime or ISO 8601 text", got=kind_of(value))
    return checked_time(value, field)


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


def message_hash(
    before: str, role: str, content: str | None, name: str | None, data: dict[str, Any] | None
) -> str:
    """Return the prefix hash of a message: over the one before it and all that identifies it.

    The timestamp does not: the same words saved again with another clock are the same message.
    """
    digest = hashlib.blake2b(before.encode(), digest_size=16)
    body = json.dumps([role, content, name, data], ensure_ascii=False, sort_keys=True)
    if not body.isascii():
        body = unicodedata.normalize("NFC", body)
    digest.update(body.encode())
    return digest.hexdigest()


def common_prefix(stored: Sequence[str], incoming: Sequence[NewMessage]) -> int:
    """Return how many leading messages are equal, by bisection over prefix hashes.

    Args:
        stored: Prefix hashes of the stored messages, in order.
        incoming: The caller's transcript.
    """
    low, high = 0, min(len(stored), len(incoming))
    while low < high:
        middle = (low + high + 1) // 2
        if stored[middle - 1] == incoming[middle - 1].prefix_hash:
            low = middle
        else:
            high = middle - 1
    return low


def diff(stored: Sequence[str], incoming: Sequence[NewMessage]) -> MessageEdit:
    """Return the edit that turns the stored transcript into the incoming one."""
    keep = common_prefix(stored, incoming)
    return MessageEdit(keep, tuple(incoming[keep:]))


def changes(edit: MessageEdit, stored_count: int) -> bool:
    """Tell whether the edit changes a transcript of that many messages."""
    return bool(edit.append) or edit.keep != stored_count
