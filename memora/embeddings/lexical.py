"""BM25 as sparse vectors, the same for every embedder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b

from memora.embeddings.base import SparseVector
from memora.text.languages import Guess, guess
from memora.text.stemming import Stemmer
from memora.text.tokens import bigrams, is_stop_word, is_unspaced, stop_words, words

# The usual BM25 constants (Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and
# Beyond", 2009). The average length is fixed, so that a stored vector never depends on the other
# texts: 40 terms is a chat message with the one before it.
K1 = 1.2
B = 0.75
AVERAGE_LENGTH = 40.0
_LONGEST_KEPT = 100


class LexicalEncoder:
    """BM25 weights of the stems of a text; the store multiplies in the IDF of the searched scope.

    A stem's index is a 32-bit hash, so with 100,000 different stems about one pair shares an index
    and counts as one word. Encoding uses the CPU: call it in a worker thread.

    A text whose function words are those of another language (`text.languages`) gets the stems of
    that language as well as the usual ones. So a store may hold several languages, and a question
    too short to show its language still finds what was said.

    Args:
        language: ISO 639-1 code of the language most texts are in. It decides the stemming of
            words in that language's script; other scripts have their own, see `Stemmer`.

    Example:
        >>> LexicalEncoder().terms("Caroline's dogs were barking")
        ['carolin', 'dog', 'bark']
    """

    def __init__(self, language: str = "en") -> None:
        self._stemmer = Stemmer(language)
        self._expected = stop_words(language)
        self.recipe = f"bm25-v2-snowball-{language}"

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        """Saturated, length-normalised term frequencies, without the IDF."""
        return [self._document(text) for text in texts]

    def encode_queries(self, texts: Sequence[str]) -> list[SparseVector]:
        """Weight 1 for every different term."""
        return [self._query(text) for text in texts]

    def forget(self) -> None:
        """Drop the words that are kept for their stems."""
        self._stemmer.forget()
        _cached_hash.cache_clear()

    def terms(self, text: str) -> list[str]:
        """The stems under which a text is found, in reading order.

        Stop words are left out, unless the text has no other word. Runs of a script without spaces
        become pairs of characters and single characters.
        """
        return self._terms(text, single_characters=True)

    def _terms(self, text: str, *, single_characters: bool) -> list[str]:
        found = words(text)
        other = guess(found, self._expected)
        terms: list[str] = []
        for word in self._searchable(found, other):
            if is_unspaced(word):
                terms += bigrams(word)
                if single_characters and len(word) > 1:
                    terms += word
            else:
                stem = self._stemmer.stem
                terms += dict.fromkeys(
                    (stem(word), *(stem(word, code) for code in other.languages))
                )
        return terms

    def _searchable(self, found: list[str], other: Guess) -> list[str]:
        language = self._stemmer.language
        kept = [
            word
            for word in found
            if not is_stop_word(word, language) and not other.is_function_word(word)
        ]
        return kept or found

    def _document(self, text: str) -> SparseVector:
        counts = Counter(map(_index, self._terms(text, single_characters=True)))
        norm = K1 * (1 - B + B * counts.total() / AVERAGE_LENGTH)
        return _vector((index, tf * (K1 + 1) / (tf + norm)) for index, tf in counts.items())

    def _query(self, text: str) -> SparseVector:
        # Single characters are only asked for alone: inside a longer run they would bring up every
        # text of the language.
        terms = self._terms(text, single_characters=False)
        return _vector((index, 1.0) for index in set(map(_index, terms)))


def _vector(pairs: Iterable[tuple[int, float]]) -> SparseVector:
    ordered = sorted(pairs)
    return SparseVector(tuple(i for i, _ in ordered), tuple(value for _, value in ordered))


def _index(term: str) -> int:
    # A cache of terms of any length could hold gigabytes, and of numbers there is no end.
    is_kept = len(term) <= _LONGEST_KEPT and not term.isdecimal()
    return _cached_hash(term) if is_kept else _hash(term)


def _hash(term: str) -> int:
    return int.from_bytes(blake2b(term.encode(), digest_size=4).digest(), "little")


_cached_hash = lru_cache(maxsize=16_384)(_hash)
