"""Candidates against what is known, with a model that answers anything."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from memora.agent.compare import Related, compare, equal_or_new
from memora.core.planning import Candidate, Decision, Verdict
from memora.errors import LLMResponseError
from memora.testing.fakes import OutageError, ScriptedBackendLLM
from tests.unit.kit import DAY, T0, USER, memory

NEW = Decision(Verdict.NEW)
SIMILAR = (
    memory("old-0", f"[[u:{USER}]] lives in Berlin", obtained_at=T0 - DAY),
    memory("old-1", "Rex is a dog", obtained_at=T0 - 2 * DAY),
)


def candidate(number: int, text: str | None = None) -> Candidate:
    return Candidate(f"n{number}", text or f"[[u:{USER}]] statement {number}", T0, (), "user")


CANDIDATES = [candidate(0), candidate(1), candidate(2)]


def verdict(number: Any, what: str = "duplicate", existing: Any = 0) -> dict[str, Any]:
    return {"candidate": number, "verdict": what, "existing": existing}


async def decide(*verdicts: Any, equal: dict[int, Any] | None = None) -> list[Decision]:
    model = ScriptedBackendLLM(lambda _call: {"verdicts": list(verdicts)})
    return await compare(model, CANDIDATES, Related(equal or {}, SIMILAR))


async def test_each_candidate_gets_its_verdict() -> None:
    found = await decide(
        verdict(2, "contradiction", 1), verdict(0, "duplicate", 0), verdict(1, "new", None)
    )
    assert found == [
        Decision(Verdict.DUPLICATE, "old-0"),
        NEW,
        Decision(Verdict.CONTRADICTION, "old-1"),
    ]


async def test_b74_the_model_is_shown_numbers_texts_and_dates() -> None:
    model = ScriptedBackendLLM()
    await compare(model, CANDIDATES, Related({1: SIMILAR[0]}, SIMILAR))
    (call,) = model.calls
    assert call.data == {
        "candidates": [
            {"number": 0, "memory": "the user statement 0", "date": "2026-01-01"},
            {"number": 2, "memory": "the user statement 2", "date": "2026-01-01"},
        ],
        "existing": [
            {"number": 0, "memory": "the user lives in Berlin", "date": "2025-12-31"},
            {"number": 1, "memory": "Rex is a dog", "date": "2025-12-30"},
        ],
    }
    everything = "".join(message["content"] for message in call.messages)
    for secret in (USER, "old-0", "n0"):
        assert secret not in everything


async def test_one_document_cannot_fill_the_prompt() -> None:
    model = ScriptedBackendLLM()
    await compare(model, [candidate(0, "y" * 900_000)], Related({}, (memory("m", "x" * 900_000),)))
    assert len(model.calls[0].messages[1]["content"]) < 10_000


@pytest.mark.parametrize(
    ("related", "candidates"),
    [
        (Related({}, ()), CANDIDATES),
        (Related({0: SIMILAR[0]}, SIMILAR), CANDIDATES[:1]),
        (Related({}, SIMILAR), []),
    ],
    ids=["nothing similar", "all equal", "no candidates"],
)
async def test_i18_no_question_without_need(related: Related, candidates: list[Candidate]) -> None:
    model = ScriptedBackendLLM(lambda _call: OutageError())
    found = await compare(model, candidates, related)
    assert model.calls == []
    assert found == equal_or_new(candidates, related.equal)


def test_equal_texts_need_no_model() -> None:
    assert equal_or_new(CANDIDATES, {1: SIMILAR[1]}) == [
        NEW,
        Decision(Verdict.DUPLICATE, "old-1"),
        NEW,
    ]
    assert equal_or_new([], {}) == []


UNUSABLE: dict[str, list[Any]] = {
    "L51 existing -1": [verdict(0, existing=-1)],
    "L52 existing = length": [verdict(0, existing=2)],
    "L53 existing huge": [verdict(0, existing=10**9)],
    "existing null": [verdict(0, existing=None)],
    "existing null, contradiction": [verdict(0, "contradiction", None)],
    "L51 candidate -1": [verdict(-1)],
    "L52 candidate = length": [verdict(3)],
    "L53 candidate huge": [verdict(10**9)],
    "nothing": [],
    "L41 bool": [verdict(0, existing=False), verdict(1, "new", None)],
    "L56 an id": [verdict(0, existing="old-0"), verdict(1, "new", None)],
    "L56 a made up id": [verdict(0, existing="8f4a7c1e"), verdict(1, "new", None)],
    "half a number": [verdict(0, existing=0.5), verdict(1, "new", None)],
    "a list": [verdict(0, existing=[0]), verdict(1, "new", None)],
    "a name": [{"candidate": "Jake", "verdict": "duplicate", "existing": 0}, verdict(1, "new")],
}


@pytest.mark.parametrize("verdicts", UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_b71_b73_a_number_that_was_not_shown_decides_nothing(verdicts: list[Any]) -> None:
    assert await decide(*verdicts) == [NEW, NEW, NEW]


async def test_b71_a_candidate_that_was_not_asked_about_is_not_decided() -> None:
    found = await decide(
        verdict(1, "contradiction", 1), verdict(0, "new", None), equal={1: SIMILAR[0]}
    )
    assert found == [NEW, Decision(Verdict.DUPLICATE, "old-0"), NEW]


async def test_l60_the_first_verdict_on_a_candidate_holds() -> None:
    found = await decide(
        verdict(0, "contradiction", 1), verdict(0, "duplicate", 0), verdict(0, "new", None)
    )
    assert found[0] == Decision(Verdict.CONTRADICTION, "old-1")
    found = await decide(verdict(0, "new", None), verdict(0, "contradiction", 1))
    assert found[0] == NEW


async def test_an_unusable_verdict_leaves_room_for_a_usable_one() -> None:
    found = await decide(verdict(0, existing=99), verdict(0, "contradiction", 1))
    assert found[0] == Decision(Verdict.CONTRADICTION, "old-1")


async def test_l60_l62_several_candidates_may_name_one_memory() -> None:
    found = await decide(*(verdict(n, "contradiction", 0) for n in range(3)))
    assert found == [Decision(Verdict.CONTRADICTION, "old-0")] * 3


async def test_a_new_statement_needs_no_existing_one() -> None:
    assert await decide(verdict(0, "new", 1), verdict(1, "new", 99)) == [NEW, NEW, NEW]


async def test_b81_what_the_model_leaves_out_is_new() -> None:
    assert await decide(verdict(2)) == [NEW, NEW, Decision(Verdict.DUPLICATE, "old-0")]


async def test_l69_an_answer_to_another_question_is_refused() -> None:
    model = ScriptedBackendLLM(lambda _call: {"memories": []})
    with pytest.raises(LLMResponseError):
        await compare(model, CANDIDATES, Related({}, SIMILAR))


async def test_b71_drops_are_counted_by_reason_without_content(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        await decide(
            verdict(9), verdict(-1), verdict(0, existing=9), verdict(1), verdict(1),
            {**verdict(2), "why": "canary"},
        )  # fmt: skip
    (record,) = caplog.records
    assert record.args == {
        "unknown_candidate": 2,
        "unknown_existing": 1,
        "second_verdict": 1,
        "extra_forbidden": 1,
    }
    assert "canary" not in caplog.text


async def test_an_outage_is_told() -> None:
    model = ScriptedBackendLLM(lambda _call: OutageError())
    with pytest.raises(OutageError):
        await compare(model, CANDIDATES, Related({}, SIMILAR))
