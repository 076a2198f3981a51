"""Stems by language and script."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from memora.errors import InvalidInputError
from memora.text.stemming import Stemmer


@pytest.mark.parametrize(
    ("language", "word", "same"),
    [
        ("en", "hiking", "hiked"),
        ("en", "caroline's", "caroline"),
        ("es", "corriendo", "correr"),
        ("de", "häuser", "hauses"),
        ("fr", "continuait", "continuer"),
        ("ru", "книгами", "книга"),
        ("en", "книгами", "книга"),
        ("ru", "hiking", "hiked"),
        ("el", "hiking", "hiked"),
        ("sr", "књигама", "књига"),
    ],
)
def test_forms_of_a_word_share_a_stem(language: str, word: str, same: str) -> None:
    stemmer = Stemmer(language)
    assert stemmer.stem(word) == stemmer.stem(same)


def test_languages_differ() -> None:
    assert Stemmer("de").stem("häuser") != Stemmer("en").stem("häuser")


@pytest.mark.parametrize("word", ["2023", "٢٠٢٣", "x", "strasse"])
def test_no_stem_is_empty(word: str) -> None:
    assert Stemmer().stem(word)


@pytest.mark.parametrize("language", ["xx", "", "english"])
def test_unknown_languages_are_refused(language: str) -> None:
    with pytest.raises(InvalidInputError, match="language"):
        Stemmer(language)


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Make threads interrupt each other in the middle of a word."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("eager_switches")
def test_threads_share_a_stemmer() -> None:
    forms = ["connection", "running", "nationality", "happiness", "hopping", "organizations"]
    # No cache, so that every call reaches the library, whose objects are not safe by themselves.
    stemmer = Stemmer(cache_size=0)
    expected = [stemmer.stem(word) for word in forms]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda _: [stemmer.stem(word) for word in forms], range(200))
        assert all(answer == expected for answer in answers)


def test_what_is_too_long_for_a_word_costs_nothing() -> None:
    """Snowball would take minutes, and a cache of such words would hold gigabytes."""
    stemmer = Stemmer()
    endless = "y" * 2**20
    assert stemmer.stem(endless) is endless
    assert stemmer._cached.cache_info().currsize == 0
    assert stemmer.stem("a" * 92 + "barking") == "a" * 92 + "bark"
