"""Transcripts: validation, prefix hashes, and the diff of an update."""

from __future__ import annotations

import hashlib
import json
import marshal
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from memora.errors import InvalidInputError
from memora.schema.models import MessageBlock
from memora.schema.times import parsed_time
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
    return _parse(_as_list(interaction, field), 0, before, field)


def _as_list(interaction: object, field: str) -> list[object]:
    if isinstance(interaction, (str, bytes, Mapping)) or not isinstance(interaction, Iterable):
        got = kind_of(cast("object", interaction))
        raise InvalidInputError(field, "a list of messages", got=got)
    raw = list(cast("Iterable[object]", interaction))
    if len(raw) > MESSAGES:
        raise InvalidInputError(field, f"at most {MESSAGES} messages", got=str(len(raw)))
    return raw


def _parse(raw: list[object], start: int, before: str, field: str) -> tuple[NewMessage, ...]:
    messages: list[NewMessage] = []
    prefix = before
    for position in range(start, len(raw)):
        message = _parse_message(raw[position], f"{field}[{position}]", prefix)
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
        got = "another text" if isinstance(role, str) else kind_of(role)
        raise InvalidInputError(f"{field}.role", f"one of {', '.join(sorted(ROLES))}", got=got)
    content = given.get("content")
    data: dict[str, Any] = {key: value for key, value in given.items() if key not in _OWN_KEYS}
    if content is not None and not isinstance(content, str):
        if not isinstance(content, (list, tuple, Mapping)):
            raise InvalidInputError(
                f"{field}.content", "text, a list, a mapping or None", got=kind_of(content)
            )
        data["content"] = content
        text = text_parts(cast("object", content))
    else:
        text = content
    if text is not None:
        checked_content(text, f"{field}.content")
    name = given.get("name")
    if name is not None:
        name = checked_name(name, f"{field}.name")
    timestamp = given.get("timestamp")
    if data:
        data = cast("dict[str, Any]", json.loads(checked_json(data, field)))
    return NewMessage(
        role=role,
        content=text,
        prefix_hash=message_hash(before, role, text, name, data or None),
        name=name,
        timestamp=None if timestamp is None else parsed_time(timestamp, f"{field}.timestamp"),
        data=data or None,
    )


def text_parts(content: object) -> str | None:
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


def message_hash(
    before: str, role: str, content: str | None, name: str | None, data: dict[str, Any] | None
) -> str:
    """Return the prefix hash of a message: over the one before it and all that identifies it.

    The timestamp does not: the same words saved again with another clock are the same message.
    """
    if name is None and data is None and content is not None:
        # By far the most messages. A role holds no zero byte, so this cannot equal another pair.
        body = f"0{role}\0{content}"
    else:
        body = "1" + json.dumps([role, content, name, data], ensure_ascii=False, sort_keys=True)
    if not body.isascii():
        body = unicodedata.normalize("NFC", body)
    return hashlib.blake2b((before + body).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class KnownTranscript:
    """What is remembered of a transcript that was saved.

    Attributes:
        count: Number of messages.
        prefix_hash: Prefix hash of the last one.
        fingerprint: Hash over the messages as the caller passed them.
    """

    count: int
    prefix_hash: str
    fingerprint: bytes


class Transcript:
    """The caller's messages, validated and hashed only as far as nobody has done it before.

    A conversation is passed whole each time it grows. When its beginning is, byte for byte, what
    was saved before, only what follows is parsed.

    Args:
        interaction: See `parse_messages`.
        known: What is remembered of the last save of the same conversation.
        field: How errors name the argument.

    Raises:
        InvalidInputError: Naming the message and field at fault.
    """

    def __init__(
        self, interaction: object, known: KnownTranscript | None = None, field: str = "interaction"
    ) -> None:
        self._raw = _as_list(interaction, field)
        self._field = field
        self._start = 0
        before = EMPTY_HASH
        digest = _Fingerprint()
        if known is not None and 0 < known.count <= len(self._raw):
            digest.add(self._raw[: known.count])
            if digest.value() == known.fingerprint:
                self._start, before = known.count, known.prefix_hash
            else:
                digest = _Fingerprint()
        digest.add(self._raw[self._start :])
        self._before = before
        self._fingerprint = digest.value()
        self._tail = _parse(self._raw, self._start, before, field)
        self._all: tuple[NewMessage, ...] | None = self._tail if self._start == 0 else None

    def __len__(self) -> int:
        return len(self._raw)

    @property
    def last_hash(self) -> str:
        """Prefix hash of the last message; empty for an empty transcript."""
        return self._tail[-1].prefix_hash if self._tail else self._before

    def known(self) -> KnownTranscript | None:
        """Return what to remember once this transcript is stored; None when it cannot be."""
        if self._fingerprint is None:
            return None
        return KnownTranscript(len(self), self.last_hash, self._fingerprint)

    def starts_with(self, count: int, prefix_hash: str) -> bool:
        """Tell whether the first `count` messages are those with this prefix hash."""
        if count > len(self):
            return False
        if count in {0, self._start}:
            return prefix_hash == (self._before if count else EMPTY_HASH)
        if count > self._start:
            return self._tail[count - self._start - 1].prefix_hash == prefix_hash
        return self.messages()[count - 1].prefix_hash == prefix_hash

    def tail(self, start: int) -> tuple[NewMessage, ...]:
        """Return the messages from position `start` on."""
        if start >= self._start:
            return self._tail[start - self._start :]
        return self.messages()[start:]

    def before(self, end: int, count: int) -> list[MessageBlock]:
        """Return up to `count` messages right before position `end`."""
        start = max(0, end - count)
        parsed = _parse(self._raw[:end], start, EMPTY_HASH, self._field)
        return [block(message, start + index) for index, message in enumerate(parsed)]

    def messages(self) -> tuple[NewMessage, ...]:
        """Return all messages."""
        if self._all is None:
            self._all = _parse(self._raw, 0, EMPTY_HASH, self._field)
        return self._all


class _Fingerprint:
    """Hash over messages as they are in memory, at the speed of C.

    The serialisation is only compared, never read; what it cannot hold has no fingerprint.
    """

    _HEADER = 5  # type and length of the list, which grow while the messages stay

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)
        self._usable = True

    def add(self, messages: list[object]) -> None:
        try:
            body = marshal.dumps(messages, 0)
        except ValueError:
            self._usable = False
            return
        self._digest.update(memoryview(body)[self._HEADER :])

    def value(self) -> bytes | None:
        return self._digest.digest() if self._usable else None


def block(message: NewMessage, position: int) -> MessageBlock:
    """Return a message as it will be read back from its position."""
    return MessageBlock(
        role=message.role,
        content=message.content,
        msg_position=position,
        name=message.name,
        timestamp=message.timestamp,
        data=message.data,
    )


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
