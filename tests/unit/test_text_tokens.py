"""Words of any script."""

from __future__ import annotations

import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memora.text.tokens import bigrams, is_stop_word, is_unspaced, normalized, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("?! … 🎉", []),
        ("Caroline adopted 2 dogs in 2023.", ["caroline", "adopted", "2", "dogs", "in", "2023"]),
        ("snake_case e-mail a@b.org", ["snake", "case", "e", "mail", "a", "b", "org"]),
        ("Don't stop, it's Jo's", ["don't", "stop", "it's", "jo's"]),
        ("Don\u2019t stop, it\u2019s Jo\u02bcs", ["don't", "stop", "it's", "jo's"]),
        ("'quoted' rock'n'roll", ["quoted", "rock'n'roll"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("cafe\u0301 CAFÉ", ["café", "café"]),
        ("Привет, Мир", ["привет", "мир"]),
        ("हिन्दी भाषा।", ["हिन्दी", "भाषा"]),
        ("اَلْعَرَبِيَّةُ لغة", ["اَلْعَرَبِيَّةُ", "لغة"]),
        ("我喜欢绿茶,她不喜欢", ["我喜欢绿茶", "她不喜欢"]),
        ("iPhone手机15号", ["iphone", "手机", "15", "号"]),
        ("ไปเที่ยวทะเล", ["ไปเที่ยวทะเล"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [("dog", False), ("привет", False), ("हिन्दी", False), ("手机", True), ("ひらがな", True),
     ("カタカナ", True), ("한국어", True), ("ไป", True), ("𠀋", True)],
)  # fmt: skip
def test_unspaced_scripts(word: str, expected: bool) -> None:
    assert is_unspaced(word) is expected


def test_bigrams() -> None:
    assert bigrams("茶") == ["茶"]
    assert bigrams("喜欢茶") == ["喜欢", "欢茶"]


@pytest.mark.parametrize(
    "word",
    [
        "the",
        "a",
        "i",
        "don't",
        "dont",
        "isn't",
        "what's",
        "who'd",
        "they've",
        "i'm",
        "im",
        "can't",
        "won't",
        "let's",
        "cannot",
    ],
)
def test_english_function_words_are_stop_words(word: str) -> None:
    assert is_stop_word(word, "en")
    assert not is_stop_word(word, "el")


@pytest.mark.parametrize(
    "word", ["won", "may", "us", "dog", "caroline's", "o'clock", "2023", "go", "like"]
)
def test_words_with_meaning_are_none(word: str) -> None:
    assert not is_stop_word(word, "en")


@given(st.text())
def test_words_are_normal_already(text: str) -> None:
    for word in words(text):
        assert word
        assert words(word) == [word]
        assert normalized(word) == word


@given(st.text(), st.sampled_from(("NFC", "NFD")))
def test_the_unicode_form_does_not_matter(text: str, form: Literal["NFC", "NFD"]) -> None:
    assert words(unicodedata.normalize(form, text)) == words(text)
