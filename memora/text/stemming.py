"""Snowball stemming by language and script."""

from __future__ import annotations

import threading
from functools import lru_cache
from importlib import import_module
from typing import Protocol

from memora.errors import InvalidInputError

_ALGORITHMS = {
    "ar": "arabic",
    "ca": "catalan",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "eu": "basque",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "ne": "nepali",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}

# First and last letter of a script, and the languages of `_ALGORITHMS` written in it; the first
# one serves every text in this script when the chosen language is written in another.
_SCRIPTS = (
    ("\u0370", "\u03ff", ("el",)),
    ("\u0400", "\u052f", ("ru", "sr")),
    ("\u0530", "\u058f", ("hy",)),
    ("\u0590", "\u05ff", ("yi",)),
    ("\u0600", "\u06ff", ("ar",)),
    ("\u0900", "\u097f", ("hi", "ne")),
    ("\u0b80", "\u0bff", ("ta",)),
)
_LATIN_DEFAULT = "en"
# No language has longer words. Snowball takes the square of the length: minutes for a megabyte.
_LONGEST_WORD = 100
_NOT_LATIN = frozenset(code for _, _, codes in _SCRIPTS for code in codes) - {"sr"}


class _Snowball(Protocol):
    def stemWord(self, word: str) -> str: ...  # noqa: N802 - the library's name


class Stemmer:
    """Stems of single words, cached and safe to share between threads.

    The choice of algorithm depends on the word and the language given, never on the text around
    the word, so a question and its answer are stemmed alike.

    Args:
        language: ISO 639-1 code of the language that most texts are in.
        cache_size: Number of words whose stems are kept.
    """

    def __init__(self, language: str = "en", *, cache_size: int = 16_384) -> None:
        if language not in _ALGORITHMS:
            raise InvalidInputError("language", f"one of {', '.join(sorted(_ALGORITHMS))}")
        self.language = language
        # A Snowball object keeps the word it works on, so only one thread may use it at a time.
        self._lock = threading.Lock()
        self._algorithms: dict[str, _Snowball] = {}
        self._cached = lru_cache(maxsize=cache_size)(self._stem)

    def stem(self, word: str, language: str | None = None) -> str:
        """Return the stem; what is too long to be a word is its own.

        Args:
            word: As `tokens.words` gives it.
            language: ISO 639-1 code of a language in Latin script, where the text is in another
                one than most; words in other scripts are stemmed as ever.
        """
        # Of numbers there is no end, and they would drive out the words.
        if len(word) > _LONGEST_WORD or word.isdecimal():
            return word
        return self._cached(word, language or self.language)

    def forget(self) -> None:
        """Drop the words that are kept for their stems."""
        self._cached.cache_clear()
        with self._lock:
            self._algorithms.clear()

    def _stem(self, word: str, wanted: str) -> str:
        language = self._language_of(word, wanted)
        with self._lock:
            algorithm = self._algorithms.get(language)
            if algorithm is None:
                algorithm = self._algorithms[language] = _load(language)
            return algorithm.stemWord(word) or word

    def _language_of(self, word: str, wanted: str) -> str:
        for first, last, languages in _SCRIPTS:
            if first <= word[0] <= last:
                return self.language if self.language in languages else languages[0]
        return _LATIN_DEFAULT if wanted in _NOT_LATIN else wanted


def _load(language: str) -> _Snowball:
    # 30 algorithms, about 100 ms: only when first used.
    return import_module("snowballstemmer").stemmer(_ALGORITHMS[language])
