"""Cuts texts where a reader would."""

from __future__ import annotations

import re

# Longest statement that verbatim mode stores in one piece, in characters.
VERBATIM_CHARS = 2000
# Characters per token of English prose; a rough bound is all that budgets need.
CHARS_PER_TOKEN = 4

_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"')\]]*\s+|(?<=[。！？])|\n{2,}")
_RECALL_BLOCK = re.compile(
    r"<memora-recall[^<>]{0,200}>.*?(?:</memora-recall>|\Z)[ \t]*\n?", re.DOTALL
)
RECALL_OPEN = '<memora-recall note="recalled by memora; not to be remembered again">'
RECALL_CLOSE = "</memora-recall>"


def sentences(text: str) -> list[str]:
    """Split at sentence ends and blank lines; no piece is blank."""
    return [piece.strip() for piece in _SENTENCE_END.split(text) if piece and piece.strip()]


def pieces(text: str, limit: int = VERBATIM_CHARS) -> list[str]:
    """Return the text in pieces of at most `limit` characters, cut at sentence ends.

    A text that fits comes back as it is; a sentence longer than the limit is cut at spaces, or
    where it must.

    Args:
        text: Any text.
        limit: Characters.
    """
    if len(text) <= limit:
        return [text] if text.strip() else []
    packed: list[str] = []
    current = ""
    for sentence in sentences(text):
        for part in _cut(sentence, limit):
            if current and len(current) + 1 + len(part) > limit:
                packed.append(current)
                current = part
            else:
                current = f"{current} {part}" if current else part
    return [*packed, current] if current else packed


def _cut(sentence: str, limit: int) -> list[str]:
    parts: list[str] = []
    while len(sentence) > limit:
        at = sentence.rfind(" ", limit // 2, limit)
        at = limit if at < 0 else at
        parts.append(sentence[:at].strip())
        sentence = sentence[at:].strip()
    return [*parts, sentence] if sentence else parts


def without_recall(text: str) -> str:
    """Return the text without blocks that `format_memories` made (feedback loop)."""
    return _RECALL_BLOCK.sub("", text) if "<memora-recall" in text else text


def estimated_tokens(text: str) -> int:
    """Return about how many tokens a text has: a quarter of its characters, rounded up."""
    return -(-len(text) // CHARS_PER_TOKEN)
