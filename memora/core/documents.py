"""Documents: their text as messages, and turns of one conversation in the order of their times."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from memora.core import chunking
from memora.core.hashing import exact_hash
from memora.schema.models import MessageBlock
from memora.schema.validation import ID_LENGTH

CHAT = "ai-chat-conversation"
# What a message keeps of the document it came from.
ID_KEY, TYPE_KEY, METADATA_KEY = "document_id", "document_type", "document_metadata"

# Longest metadata that goes with each message and memory; longer one is the interaction's alone.
METADATA_CHARS = 4096

_CORE = {"user": "user", "human": "user", "assistant": "assistant", "ai": "assistant"}
_TOOLS = {"tool": "tool", "function": "function"}
_OPENERS = {
    "system": "system",
    "developer": "developer",
    "agent": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "model": "assistant",
    "me": "user",
    "client": "user",
    "customer": "user",
}
_ROLES = {**_CORE, **_TOOLS, **_OPENERS}
_MARK = re.compile(
    r"^[ \t]*[*_]{0,3}(?P<name>[^\W\d_][\w.'\u2019 -]{0,39}?)[*_]{0,3}[ \t]?[:\uff1a]"
    r"[*_]{0,3}(?P<rest>[ \t]*)",
    re.MULTILINE,
)
_NAME_WORDS = 3
_PARAGRAPHS = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_HEADING = re.compile(r"#{1,6}[ \t]+[^\s][^\n]{0,199}")


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a document."""

    role: str
    content: str = field(repr=False)
    name: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Turn:
    """The messages that one document is in a conversation.

    Attributes:
        document_id: None: they came from no document.
        at: When it was said; None: that is not known.
    """

    document_id: str | None
    at: datetime | None
    messages: tuple[dict[str, Any], ...] = field(repr=False)

    def said(self) -> list[Said]:
        """Return what was said, without times and other data."""
        return [
            Said(message["role"], message.get("content") or "", message.get("name"))
            for message in self.messages
        ]


def derived_id(user_id: str, at: datetime | None, text: str) -> str:
    """Return the id of a document that was given none: equal documents have the same."""
    return f"doc-{exact_hash(user_id, '' if at is None else at.isoformat(), text)}"


def messages_of(text: str, document_type: str) -> list[Said]:
    """Return the text of a document as messages: a chat by its speakers, else by paragraphs."""
    if document_type == CHAT:
        return spoken(text)
    return [
        Said("user", piece)
        for paragraph in paragraphs(text)
        for piece in chunking.pieces(paragraph)
    ]


def spoken(text: str) -> list[Said]:
    """Return the messages of a conversation that was written down with speakers' names.

    Where one of the lines begins with `User:`, `Human:`, `Assistant:` or `AI:`, these (and `Tool:`
    and `Function:`) begin a message, and so does whatever name the text begins with. Otherwise a
    text that begins with a name is a dialogue of names if there is a second such line. A speaker
    whose role is not known counts as a user, with the name. Any other text is one message.
    """
    marks = list(_MARK.finditer(text))
    opener = _opener(marks, text)
    known = [mark for mark in marks if _key(mark) in _CORE]
    if known:
        begins = _CORE.keys() | _TOOLS.keys() | ({opener} if opener else set[str]())
        marks = [mark for mark in marks if _key(mark) in begins]
    else:
        marks = [mark for mark in marks if _is_speaker(mark, text)] if opener else []
        if len(marks) == 1 and _key(marks[0]) not in _ROLES:
            marks = []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    found = [Said("user", text[: marks[0].start() if marks else len(text)].strip())]
    for mark, end in zip(marks, ends, strict=bool(marks)):
        role = _ROLES.get(_key(mark))
        name = None if role else unicodedata.normalize("NFC", mark["name"].strip())
        found.append(Said(role or "user", text[mark.end() : end].strip(), name))
    return [said for said in found if said.content]


def _opener(marks: Sequence[re.Match[str]], text: str) -> str | None:
    """Return the name that the text begins with."""
    if not marks or text[: marks[0].start()].strip():
        return None
    first = marks[0]
    return _key(first) if _key(first) in _ROLES or _is_speaker(first, text) else None


def _key(mark: re.Match[str]) -> str:
    return mark["name"].strip().casefold()


def _is_speaker(mark: re.Match[str], text: str) -> bool:
    """Tell whether a mark can be a name: short, not in small letters, and something follows."""
    name = mark["name"].strip()
    follows = text[mark.end() : mark.end() + 1]
    if _key(mark) in _ROLES:
        return True
    blank = bool(mark["rest"]) and follows not in {"", "\n", "\r"}
    return blank and not name[0].islower() and len(name.split()) <= _NAME_WORDS


def paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a text; a heading stays with what it is about."""
    found: list[str] = []
    headings: list[str] = []
    for part in _PARAGRAPHS.split(text.replace("\r\n", "\n")):
        paragraph = part.strip()
        if not paragraph:
            continue
        if _HEADING.fullmatch(paragraph):
            headings.append(paragraph)
            continue
        found.append("\n".join([*headings, paragraph]))
        headings = []
    if headings:
        found.append("\n".join(headings))
    return found


def as_turn(
    document_id: str,
    at: datetime | None,
    said: Iterable[Said],
    *,
    document_type: str,
    metadata: dict[str, Any] | None,
) -> Turn:
    """Return a document as messages that remember where they came from."""
    origin: dict[str, Any] = {ID_KEY: document_id}
    if document_type != CHAT:
        origin[TYPE_KEY] = document_type
    if metadata and len(json.dumps(metadata)) <= METADATA_CHARS:
        origin[METADATA_KEY] = metadata
    messages: list[dict[str, Any]] = []
    for each in said:
        message: dict[str, Any] = {"role": each.role, "content": each.content, **origin}
        if each.name is not None:
            message["name"] = each.name
        if at is not None:
            message["timestamp"] = at
        messages.append(message)
    return Turn(document_id, at, tuple(messages))


def document_id(message: MessageBlock) -> str | None:
    """Return the id of the document that a message came from."""
    given = (message.data or {}).get(ID_KEY)
    return given if isinstance(given, str) and 0 < len(given) <= ID_LENGTH else None


def is_written(message: MessageBlock) -> bool:
    """Tell whether a message is a piece of a document that is no chat: nobody said it."""
    return document_id(message) is not None and TYPE_KEY in (message.data or {})


def metadata(messages: Iterable[MessageBlock]) -> dict[str, Any]:
    """Return what is known of the documents that messages came from."""
    found: dict[str, Any] = {}
    for message in messages:
        given = (message.data or {}).get(METADATA_KEY)
        if document_id(message) is not None and isinstance(given, dict):
            found |= cast("dict[str, Any]", given)
    return found


def stored_turns(messages: Iterable[MessageBlock]) -> list[Turn]:
    """Return a stored conversation as turns; a message of no document is one by itself."""
    groups: list[tuple[str | None, list[MessageBlock]]] = []
    for message in messages:
        name = document_id(message)
        if groups and name is not None and groups[-1][0] == name:
            groups[-1][1].append(message)
        else:
            groups.append((name, [message]))
    return [
        Turn(name, said[0].timestamp, tuple(message.as_message() for message in said))
        for name, said in groups
    ]


def merged(stored: Sequence[Turn], incoming: Iterable[Turn]) -> tuple[list[Turn], set[str]]:
    """Put turns into a conversation, each at its time, or in the place of its earlier content.

    Args:
        stored: The conversation as it is.
        incoming: Turns of documents, each id once.

    Returns:
        The conversation, and the ids of the documents that changed it.
    """
    turns = list(stored)
    places = {turn.document_id: at for at, turn in enumerate(turns) if turn.document_id}
    changed: set[str] = set()
    new: list[Turn] = []
    for turn in incoming:
        place = places.get(turn.document_id or "")
        if place is None:
            new.append(turn)
        elif turns[place].said() != turn.said():
            turns[place] = turn
        else:
            continue
        changed.add(turn.document_id or "")
    dated = deque(sorted(((turn.at, turn) for turn in new if turn.at), key=lambda each: each[0]))
    found: list[Turn] = []
    for turn in turns:
        while dated and turn.at is not None and dated[0][0] < turn.at:
            found.append(dated.popleft()[1])
        found.append(turn)
    found += [turn for _at, turn in dated]
    return [*found, *(turn for turn in new if turn.at is None)], changed
