"""A file of any known format as conversations and documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, BinaryIO, cast

from memora.errors import InvalidInputError
from memora.importers import chatgpt, claude, mem0, zep
from memora.importers.records import Problem, records

_FORMATS: tuple[ModuleType, ...] = (chatgpt, claude, zep, mem0)
# Keys under which exports wrap their list.
_LISTS = ("conversations", "documents", "memories", "results", "sessions", "threads")
# The keys of a line in a report of failures.
FAILED, RECORD = "failed", "record"


@dataclass(frozen=True, slots=True)
class Item:
    """One record of a file.

    Attributes:
        place: Where it is in the file.
        name: Its id, where it has one.
        record: As it was read, for a report that can be fed back in; None: it cannot be read.
    """

    place: str
    name: str = ""
    record: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class FoundConversation(Item):
    """A conversation in the shape that an import takes."""

    value: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)


@dataclass(frozen=True, slots=True)
class FoundDocument(Item):
    """A document in the shape that `batch_create` takes."""

    value: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)


@dataclass(frozen=True, slots=True)
class Empty(Item):
    """A conversation of a foreign export in which nothing was said."""


@dataclass(frozen=True, slots=True)
class Failure(Item):
    """A record that is neither.

    Attributes:
        reason: What is wrong, without content.
    """

    reason: str = ""


def read(file: BinaryIO) -> Iterator[Item]:
    """Yield the records of a file, each recognised by itself.

    Understands lists, JSON lines and single objects of memora's own shapes, the data exports of
    ChatGPT and Claude, what mem0 and Zep answer, and a report of failures.

    Args:
        file: From its beginning; a pipe will do.

    Raises:
        OSError: The file cannot be read.
    """
    for found in records(file, _LISTS):
        if isinstance(found, Problem):
            yield Failure(found.place, reason=found.reason)
            continue
        place, value = found
        for number, record in enumerate(_unwrapped(value)):
            yield _item(place if record is value else f"{place}, item {number + 1}", record)


def _unwrapped(value: Any) -> list[Any]:
    """Return what a line holds: one record, an answer with a list of them, or a failed one."""
    if isinstance(value, Mapping):
        given = cast("Mapping[str, Any]", value)
        if set(given) == {FAILED, RECORD}:
            return [given[RECORD]]
        for key in _LISTS:
            if isinstance(given.get(key), list) and "messages" not in given:
                return given[key]
    return [value]


def _item(place: str, record: Any) -> Item:
    if not isinstance(record, Mapping):
        return Failure(place, record=record, reason="no object")
    given = cast("Mapping[str, Any]", record)
    name = _name(given)
    if isinstance(given.get("document"), str):
        return FoundDocument(place, name, record, dict(given))
    try:
        for format_ in _FORMATS:
            if format_.matches(given):
                build: Callable[[Mapping[str, Any]], dict[str, Any]] = format_.conversation
                value = build(given)
                if not value["messages"]:
                    return Empty(place, name, record)
                return FoundConversation(place, value["id"], record, value)
    except InvalidInputError as error:
        return Failure(place, name, record, str(error))
    if "messages" not in given:
        return Failure(place, name, record, "neither a conversation nor a document")
    return FoundConversation(place, name, record, dict(given))


def _name(record: Mapping[str, Any]) -> str:
    for key in ("id", "document_id", "uuid", "conversation_id", "session_id", "thread_id"):
        name = record.get(key)
        if isinstance(name, str) and name:
            return name[:255]
    return ""
