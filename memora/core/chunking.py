"""Cuts texts where a reader would, and takes recalled text out of what is remembered."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# Longest statement that verbatim mode stores in one piece, in characters.
VERBATIM_CHARS = 2000
# Characters per token of English prose; a rough bound is all that budgets need.
CHARS_PER_TOKEN = 4

_SENTENCE_END = re.compile(
    r"[.!?\u2026][\"'\u201d\u2019\u00bb)\]]*(?=\s)"
    r"|[\u3002\uff01\uff1f][\u300d\u300f\u201d\u2019\uff09]*"
    r"|\n[ \t]*\n"
)
_ZWJ = "\u200d"
_LONGEST_LETTER = 32

RECALL_OPEN = '<memora-recall note="recalled by memora; not to be remembered again">'
RECALL_CLOSE = "</memora-recall>"
_RECALL_MARK = re.compile(r"<(/?)memora-recall(?:\s[^<>]{0,200})?>")
_RECALL_LINES = re.compile(r"(?:[ \t]*\n- [^\n]*)*")
_REST_OF_LINE = re.compile(r"[ \t]*\n?")


def pieces(text: str, limit: int = VERBATIM_CHARS) -> list[str]:
    """Return the text in pieces of at most `limit` characters, cut at sentence ends.

    A text that fits comes back as it is; where there is no sentence end, lines, then words, then
    letters are cut apart. The pieces are parts of the text; only blanks between them are left out.

    Args:
        text: Any text.
        limit: Characters, at least 1.
    """
    rest = text.strip()
    if len(text) <= limit or not rest:
        return [text] if rest else []
    found: list[str] = []
    start = 0
    while len(rest) - start > limit:
        end = _cut(rest, start, start + limit)
        found.append(rest[start:end].rstrip())
        start = end
        while rest[start].isspace():
            start += 1
    return [*found, rest[start:]]


def _cut(text: str, start: int, latest: int) -> int:
    """Return where the piece that begins at `start` ends; the text goes on after `latest`."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text, start, latest + 1)]
    end = next((end for end in reversed(ends) if end <= latest), None)
    if end is None:
        end = text.rfind("\n", start + 1, latest + 1)
    if end < 0:
        end = next((at for at in range(latest, start, -1) if text[at].isspace()), -1)
    return _between_letters(text, start, latest) if end < 0 else end


def _between_letters(text: str, start: int, latest: int) -> int:
    """Return the last place at or before `latest` that tears no accent or emoji apart."""
    first = max(latest - _LONGEST_LETTER, start + (latest - start) // 2)
    for at in range(latest, first, -1):
        joined = unicodedata.category(text[at])[0] == "M" or _ZWJ in text[at - 1 : at + 1]
        if not joined:
            return at
    return latest


def ranges(sizes: Sequence[float], count: int, total: float) -> list[range]:
    """Return consecutive positions in groups of at most `count` items and `total` size together.

    An item that is larger than the total is alone in its group.

    Args:
        sizes: Size of each item, in order.
        count: Items in a group, at least 1.
        total: Their sizes together.
    """
    found: list[range] = []
    start, held = 0, 0.0
    for position, size in enumerate(sizes):
        full = position - start >= count or held + size > total
        if position > start and full:
            found.append(range(start, position))
            start, held = position, 0.0
        held += size
    if start < len(sizes):
        found.append(range(start, len(sizes)))
    return found


def without_recall(text: str) -> str:
    """Return the text without blocks that `format_memories` made (feedback loop).

    A block that does not end ends with its lines: what the speaker says after it stays.
    """
    if "memora-recall" not in text:
        return text
    blocks: list[tuple[int, int]] = []
    open_marks: list[re.Match[str]] = []
    for mark in _RECALL_MARK.finditer(text):
        if not mark.group(1):
            open_marks.append(mark)
        else:
            start = open_marks.pop().start() if open_marks else mark.start()
            blocks.append((start, mark.end()))
    covered = 0
    for mark in open_marks:
        if mark.start() < covered:
            continue  # in the lines of the one before, which end where its own would
        lines = _RECALL_LINES.match(text, mark.end())
        covered = lines.end() if lines else mark.end()
        blocks.append((mark.start(), covered))
    kept: list[str] = []
    done = 0
    for start, end in sorted(blocks):
        if start >= done:
            kept.append(text[done:start])
        if end > done:
            rest = _REST_OF_LINE.match(text, end)
            done = rest.end() if rest else end
    return "".join([*kept, text[done:]])


def in_recall(text: str) -> str:
    """Return the text as one line that can neither begin nor end a recalled block."""
    return re.sub(r"<(?=/?memora-recall)", "\u2039", " ".join(text.split()))


def estimated_tokens(text: str) -> int:
    """Return about how many tokens a text has: a quarter of its characters, rounded up."""
    return -(-len(text) // CHARS_PER_TOKEN)
