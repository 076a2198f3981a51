"""Names in a text, found without a model."""

from __future__ import annotations

import time

import pytest

from memora.text.entities import MAX_NAMES, recognise, seen_inside

FOUND = {
    "inside a sentence": ("I met Anna yesterday in Berlin.", ["Anna", "Berlin"]),
    "several words": ("We went to the University of California.", ["University of California"]),
    "at the beginning, of two words": ("Taylor Swift is great.", ["Taylor Swift"]),
    "seen elsewhere": ("She left Sweden. Sweden is cold.", ["Sweden"]),
    "with a title": ("I saw Dr. Jane Foster today.", ["Jane Foster"]),
    "a handle": ("Follow @jane_doe there.", ["@jane_doe"]),
    "a quoted title": ('I read "The Great Gatsby" again.', ["The Great Gatsby"]),
    "a title in its own brackets": ("我看了《红楼梦》。", ["红楼梦"]),
    "signs of products": ("I write C++ at AT&T.", ["C++", "AT&T"]),
    "with a number": ("My iPad is old, so I want the Pixel 9.", ["Pixel 9"]),
    "an acronym": ("I would work for NASA.", ["NASA"]),
    "a possessive": ("We are at Anna's house in Porto.", ["Anna", "Porto"]),
    "accents": ("El perro de Mar\u00eda vive en Madrid con Juan Carlos.",
                ["Mar\u00eda", "Madrid", "Juan Carlos"]),
    "another alphabet": ("Вчера приехала Анна.", ["Анна"]),
    "two words among German nouns": (
        "Ich habe die Angela Merkel auf dem Markt mit einem Hund gesehen.", ["Angela Merkel"]
    ),
}  # fmt: skip
NOTHING = {
    "the beginning of a sentence": "Bicycles are fine. Tea too.",
    "dates": "See you on Monday, 5 May, or in December.",
    "me": "I think I'm fine, and I'll go, OK?",
    "a mail address": "Write to Bob.Smith@Example.com please.",
    "an address": "It is on https://Example.com/Some/Page now.",
    "German nouns": "Der Hund und die Katze sind auf dem Sofa, und ich habe Hunger.",
    "shouting": "THIS IS ALL SHOUTED AND MEANS NOTHING",
    "no capitals": "\u6211\u6628\u5929\u5728\u5317\u4eac\u3002",
    "quoted words": 'He said "I like it" to me.',
    "digits": "It was 1984 or 2001.",
    "nothing": "",
    "interjections": "Wow! Yeah, Hmm.",
}


@pytest.mark.parametrize("kind", FOUND)
def test_names_are_found(kind: str) -> None:
    text, names = FOUND[kind]
    assert recognise(text) == names


@pytest.mark.parametrize("kind", NOTHING)
def test_what_is_no_name_is_not_found(kind: str) -> None:
    assert recognise(NOTHING[kind]) == []


def test_a_known_name_is_found_at_the_beginning_too() -> None:
    assert recognise("Caroline likes tea.") == []
    assert recognise("Caroline likes tea.", ["Caroline Smith"]) == ["Caroline"]
    known = seen_inside(["I know Mia.", "Mia rows."])
    assert recognise("Mia rows.", known) == ["Mia"]


def test_a_name_comes_once_in_the_order_of_the_text() -> None:
    assert recognise("We saw Lisbon, then Anna, then LISBON.") == ["Lisbon", "Anna"]


def test_an_answer_is_bounded() -> None:
    text = ". ".join(f"we met Name{chr(97 + i % 26)}{chr(97 + i // 26)} here" for i in range(100))
    assert len(recognise(text)) == MAX_NAMES


@pytest.mark.parametrize(
    "text",
    ["A" * 200_000, "Ab " * 70_000, '"' * 100_000, "@" * 100_000, "A-" * 100_000, "of " * 70_000],
)
def test_no_text_takes_long(text: str) -> None:
    started = time.process_time()
    recognise(text)
    assert time.process_time() - started < 1
