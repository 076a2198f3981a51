"""What commands print: one JSON document, or text for people."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from memora.schema.models import Memory, MessageBlock

# Wide enough for an id beside a sentence when the output goes to a file or another program.
_PLAIN_WIDTH = 120
# Overrides of the reading direction: they can make a line look like another one.
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def console(*, stderr: bool = False) -> Console:
    """Return a console that shows text as it is: no markup, no emoji codes, no guessed colours."""
    made = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not made.is_terminal:
        made.width = _PLAIN_WIDTH
    return made


def emit_json(document: Any) -> None:
    """Print one JSON document, and nothing else, on standard output."""
    readable = (sys.stdout.encoding or "").lower().startswith("utf")
    sys.stdout.write(json.dumps(document, ensure_ascii=not readable, indent=2) + "\n")


def printable(text: str) -> str:
    """Return the text with control characters made visible: stored text must not steer a terminal.

    Line breaks stay.
    """
    return "".join(
        character if character == "\n" or not _is_control(character) else _escaped(character)
        for character in text
    )


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cs"} or character in _DIRECTIONS


def _escaped(character: str) -> str:
    return " " if character == "\t" else f"\\x{ord(character):02x}"


def when(time: datetime) -> str:
    """Return a time for people, in UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def source(memory: Memory) -> str:
    """Return where a memory comes from: who made it by hand, or interaction and positions."""
    if memory.author is not None:
        return memory.author
    if memory.interaction_id is None:
        return "no conversation"
    positions = ", ".join(str(message.msg_position) for message in memory.message_sources)
    if not positions:
        return f"{memory.interaction_id} (its message was cut)"
    return f"{memory.interaction_id} #{positions}"


def memory_json(memory: Memory) -> dict[str, Any]:
    """Return a memory as JSON, with the score of the answer it came with."""
    document = memory.model_dump(mode="json")
    if memory.score is not None:
        document["score"] = memory.score
    if memory.score_parts is not None:
        document["score_parts"] = memory.score_parts
    return document


def table(*columns: str, rows: Iterable[Sequence[str | Text]]) -> Table:
    """Return a table; the last column takes the room that is left, the others stay on one line."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns[:-1]:
        made.add_column(column, no_wrap=True, overflow="ignore")
    made.add_column(columns[-1], overflow="fold", ratio=1)
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row))
    return made


def memories_table(memories: Sequence[Memory]) -> Table:
    """Return memories with date, text, source and id; with scores where there are some."""
    scored = any(memory.score is not None for memory in memories)
    columns = [*(["Score"] if scored else []), "Since (UTC)", "Memory"]
    return table(*columns, rows=(_memory_row(memory, scored=scored) for memory in memories))


def _memory_row(memory: Memory, *, scored: bool) -> list[str | Text]:
    score = [f"{memory.score:.3f}" if memory.score is not None else "always"] if scored else []
    details = [memory.memory_type, f"from {source(memory)}", f"id {memory.memory_id}"]
    if memory.tags:
        details.insert(1, ", ".join(memory.tags))
    parts = memory.score_parts or {}
    text = Text(printable(memory.memory))
    text.append(printable("\n" + " · ".join(details)), style="dim")
    if parts:
        explained = "  ".join(f"{name} {value:.3f}" for name, value in parts.items())
        text.append(f"\n{explained}", style="dim")
    return [*score, when(memory.obtained_at), text]


def messages_table(messages: Sequence[MessageBlock]) -> Table:
    """Return the messages of a conversation by position."""
    rows = (
        (str(message.msg_position), message.name or message.role, message.content or "(no text)")
        for message in messages
    )
    return table("#", "Who", "Message", rows=rows)


def print_notes(notes: Iterable[str]) -> None:
    """Print short remarks for people below what a command shows."""
    out = console()
    for note in notes:
        out.print(Text(printable(note), style="dim"))
