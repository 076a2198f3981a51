"""Memories that say the same."""

from __future__ import annotations

from typing import Any

import pytest

from memora.core.duplicates import distinct, diverse
from tests.unit.kit import DAY, T0, memory

BASE = "The user really likes the 2 green teas from Lisbon."

SAME = [
    "the user likes 2 green teas from Lisbon",
    "Well, the user just likes the 2 green teas from Lisbon!",
]
DIFFERENT: list[tuple[str, dict[str, Any]]] = [
    ("The user likes the 3 green teas from Lisbon.", {}),
    ("The user does not like the 2 green teas from Lisbon.", {}),
    ("The user likes the 2 green teas from Porto.", {}),
    ("The user liked the 2 green teas from Lisbon.", {}),
    ("The user likes 2 teas from green Lisbon.", {}),
    (BASE, {"obtained_at": T0 + DAY}),
    (BASE, {"metadata": {"speaker": "Ana"}}),
    (BASE, {"source_role": "assistant"}),
    (BASE, {"user_id": "other"}),
]


@pytest.mark.parametrize("text", SAME)
def test_what_says_the_same_is_shown_once(text: str) -> None:
    kept = distinct([memory("a", BASE), memory("b", text), memory("c", "Other")])
    assert [each.memory_id for each in kept] == ["a", "c"]


@pytest.mark.parametrize(("text", "fields"), DIFFERENT)
def test_what_differs_in_a_number_a_name_a_not_or_a_day_stays(
    text: str, fields: dict[str, Any]
) -> None:
    assert len(distinct([memory("a", BASE), memory("b", text, **fields)])) == 2


def test_texts_of_fillers_only_are_never_the_same() -> None:
    assert len(distinct([memory("a", "Oh well!"), memory("b", "Oh well!")])) == 2


def test_diversity_puts_what_is_new_before_what_repeats() -> None:
    found = [
        memory("a", "red apple tree", score=0.9),
        memory("b", "red apple trees", score=0.88),
        memory("c", "blue boat", score=0.7),
    ]
    assert [each.memory_id for each in diverse(found, 3, 0.5)] == ["a", "c", "b"]
    assert [each.memory_id for each in diverse(found, 2, 0.5)] == ["a", "c"]
    assert [each.memory_id for each in diverse(found, 3, 0.0)] == ["a", "b", "c"]
    assert diverse([], 3, 0.5) == []
