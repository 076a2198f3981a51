"""Memories that say the same, and how alike two of them are."""

from __future__ import annotations

import re
from collections.abc import Sequence

from memora.core.indexing import date_words, speaker_of
from memora.schema.models import Memory

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
# Left out when texts are compared. Nothing that negates, counts, or says who or when.
_FILLER_WORDS = """
    a an the and so very really just also too oh well yes yeah hey
"""
_FILLERS = frozenset(_FILLER_WORDS.split())


def distinct(memories: Sequence[Memory]) -> list[Memory]:
    """Return memories without those that say the same as an earlier one.

    The same: the same words in the same order but for fillers, punctuation and case, by the same
    speaker on the same day, of the same user. A number, a name or a "not" is a word, so what
    differs in one stays.
    """
    first: dict[object, Memory] = {}
    for memory in memories:
        first.setdefault(_said(memory), memory)
    return list(first.values())


def diverse(memories: Sequence[Memory], limit: int, weight: float) -> list[Memory]:
    """Return the `limit` best ones in an order in which like ones do not follow each other.

    Maximal marginal relevance (Carbonell and Goldstein 1998): next comes what has most score left
    after `weight` times its likeness to the most alike memory before it.

    Args:
        memories: Best first, with scores.
        limit: At most that many.
        weight: 0 to 1.
    """
    left = [(memory, frozenset(_content(memory.memory))) for memory in memories]
    nearest = [0.0] * len(left)
    chosen: list[Memory] = []
    while left and len(chosen) < limit:
        at = max(
            range(len(left)), key=lambda i: ((left[i][0].score or 0.0) - weight * nearest[i], -i)
        )
        memory, words = left.pop(at)
        nearest.pop(at)
        chosen.append(memory)
        for i, (_, other) in enumerate(left):
            nearest[i] = max(nearest[i], _likeness(words, other))
    return chosen


def _said(memory: Memory) -> object:
    words = tuple(_content(memory.memory))
    if not words:
        return memory.memory_id
    day = date_words(memory.obtained_at)
    return memory.user_id, words, speaker_of(memory), memory.source_role, day


def _content(text: str) -> list[str]:
    folded = [word.casefold().replace("\u2019", "'") for word in _WORD.findall(text)]
    return [word for word in folded if word not in _FILLERS]


def _likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """Return the share of common words (Jaccard)."""
    if not one or not other:
        return 0.0
    return len(one & other) / len(one | other)
