"""Whom a question is about."""

from __future__ import annotations

import pytest

from memora.core.voices import Voices, asked_for, without_names
from tests.unit.kit import memory

SPEAKERS = ["Caroline", "Melanie Smith", "Will", "\u5f20\u4f1f"]

ASKED = [
    ("What did Caroline research?", Voices(frozenset({"caroline"}))),
    ("What are Melanie's hobbies?", Voices(frozenset({"melanie"}))),
    ("what are melanie's hobbies?", Voices(frozenset({"melanie"}))),
    ("Do I know what Caroline\u2019s dog is called?", Voices(frozenset({"caroline"}))),
    ("When did Will move?", Voices(frozenset({"will"}))),
    ("When will I move?", Voices(user=True)),
    ("Will it rain?", Voices()),
    ("\u5f20\u4f1f \u559c\u6b22\u4ec0\u4e48", Voices(frozenset({"\u5f20\u4f1f"}))),
    ("Where does my sister live?", Voices(user=True)),
    ("Where does the user's sister live?", Voices(user=True)),
    ("What have I said?", Voices(user=True)),
    ("Which book did you recommend to me?", Voices(assistant=True)),
    ("You mentioned a museum. Remind me of its name.", Voices(assistant=True)),
    ("What do you think of my plan?", Voices(user=True)),
    ("Who won the world cup?", Voices()),
]


@pytest.mark.parametrize(("question", "asked"), ASKED)
def test_a_question_tells_whose_words_it_asks_for(question: str, asked: Voices) -> None:
    assert asked_for([question], SPEAKERS) == asked
    assert asked.any == (asked != Voices())


def test_several_queries_ask_together() -> None:
    assert asked_for(["my cat", "Caroline's cat"], SPEAKERS).names == {"caroline"}
    assert asked_for([], SPEAKERS) == Voices()


SAID = [
    (Voices(frozenset({"melanie"})), True, False, False),
    (Voices(user=True), True, True, False),
    (Voices(assistant=True), False, False, True),
    (Voices(), False, False, False),
]


@pytest.mark.parametrize(("asked", "melanie", "entered", "assistant"), SAID)
def test_a_memory_is_in_the_words_of_its_speaker(
    asked: Voices, melanie: bool, entered: bool, assistant: bool
) -> None:
    mine = memory("a", metadata={"speaker": "Melanie Smith"}, source_role="user")
    assert asked.said(mine) is melanie
    assert asked.said(memory("b", source_role="api")) is entered
    assert asked.said(memory("c", source_role="assistant")) is assistant
    odd = memory("d", metadata={"speaker": 3}, source_role="tool")
    assert asked.said(odd) is False


def test_the_dense_question_is_without_the_speakers() -> None:
    asked = asked_for(["Did Caroline's dog bite Will?"], SPEAKERS)
    assert without_names("Did Caroline's dog bite Will?", asked).split() == [
        "Did",
        "dog",
        "bite",
        "?",
    ]
    assert without_names("Caroline?", asked) == "Caroline?"
    assert without_names("Did I?", Voices(user=True)) == "Did I?"
