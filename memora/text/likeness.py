"""How many words two statements share."""

from __future__ import annotations

from functools import cache

from memora.text.stemming import Stemmer
from memora.text.tokens import bigrams, is_stop_word, is_unspaced, words


def content_words(text: str) -> frozenset[str]:
    """Return the stems of the words that carry meaning; all words where none does."""
    found = words(text)
    kept = [word for word in found if not is_stop_word(word, "en")] or found
    stems: set[str] = set()
    for word in kept:
        stems.update(bigrams(word) if is_unspaced(word) else (_stemmer().stem(word),))
    return frozenset(stems)


def overlap(one: frozenset[str], other: frozenset[str]) -> float:
    """Return the overlap coefficient of two sets of words, 0 to 1.

    Their common words as a share of the smaller set (Szymkiewicz-Simpson), so that a short
    statement is like a long one that says the same and more.
    """
    smaller = min(len(one), len(other))
    return len(one & other) / smaller if smaller else 0.0


@cache
def _stemmer() -> Stemmer:
    return Stemmer()
