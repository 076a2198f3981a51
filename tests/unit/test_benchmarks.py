"""The quality benchmarks measure what they say; run on small sets that are made here."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from memora.testing.llm_contract import Turn
from tests.contract.llm_server import LLMServer
from tests.unit.kit import T0

FOLDER = Path(__file__).parents[2] / "benchmarks"
LOCOMO = [
    {
        "sample_id": "talk",
        "conversation": {
            "speaker_a": "Ana",
            "speaker_b": "Ben",
            "session_1_date_time": "1:56 pm on 8 May, 2023",
            "session_1": [
                {"speaker": "Ana", "dia_id": "D1:1", "text": "My cat is called Mochi."},
                {"speaker": "Ben", "dia_id": "D1:2", "text": "Look!", "blip_caption": "a dog"},
            ],
            "session_2_date_time": "2:00 pm on 9 June, 2023",
            "session_2": [{"speaker": "Ben", "dia_id": "D2:1", "text": "I sold the boat."}],
        },
        "qa": [
            {"question": "What is Ana's cat called?", "answer": "Mochi", "category": 4,
             "evidence": ["D1:1"]},
            {"question": "What did Ben sell and show?", "answer": 2, "category": 1,
             "evidence": ["D2:1; D01:2", "D9:9", "D"]},
            {"question": "What did Ana sell?", "adversarial_answer": "a boat", "category": 5,
             "evidence": ["D2:1"]},
        ],
    }
]  # fmt: skip
LONGMEMEVAL = [
    {
        "question_id": f"q{suffix}",
        "question": "Where do I live?",
        "question_type": "single-session-user",
        "question_date": "2023/06/23 (Fri) 07:31",
        "answer": "Lisbon",
        "answer_session_ids": ["answer_1"],
        "haystack_session_ids": ["other", "answer_1"],
        "haystack_dates": ["2023/05/02 (Tue) 10:00", "2023/05/01 (Mon) 10:00"],
        "haystack_sessions": [
            [{"role": "user", "content": "Hello"}],
            [{"role": "user", "content": "I live in Lisbon.", "has_answer": True},
             {"role": "assistant", "content": "Nice."}],
        ],
    }
    for suffix in ("", "_abs")
]  # fmt: skip


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(str(FOLDER))
    return import_module


@pytest.fixture
def locomo(tmp_path: Path) -> Path:
    path = tmp_path / "locomo.json"
    path.write_text(json.dumps(LOCOMO))
    return path


def test_locomo_is_read_with_its_odd_evidence(benchmark: Any, locomo: Path) -> None:
    (talk,) = benchmark("retrieval").load("locomo", locomo)
    assert [turn.turn_id for turn in talk.turns] == ["D1:1", "D1:2", "D2:1"]
    assert talk.turns[1].text == "Look! [shared a photo: a dog]"
    assert [turn.role for turn in talk.turns] == ["user", "assistant", "assistant"]
    assert [question.evidence for question in talk.questions] == [
        ("D1:1",), ("D2:1", "D1:2"), ("D2:1",)
    ]  # fmt: skip
    assert [question.answer for question in talk.questions] == ["Mochi", "2", ""]
    assert [name for name, _turns in talk.sessions()] == ["D1", "D2"]


def test_longmemeval_is_read_in_order_and_without_telling_ids(
    benchmark: Any, tmp_path: Path
) -> None:
    path = tmp_path / "set.json"
    path.write_text(json.dumps(LONGMEMEVAL))
    known, unknown = benchmark("retrieval").load("longmemeval", path)
    assert [name for name, _turns in known.sessions()] == ["s1", "s0"]
    assert known.questions[0].evidence == ("s1#0",)
    assert known.questions[0].sessions == ("s1",)
    assert (unknown.questions[0].category, unknown.questions[0].evidence) == ("abstention", ())


def test_beam_is_read_message_by_message(benchmark: Any, tmp_path: Path) -> None:
    folder = tmp_path / "1"
    (folder / "probing_questions").mkdir(parents=True)
    message = {"id": 4, "role": "user", "content": "I like tea ->-> 1,2", "time_anchor": None}
    chat = [{"batch_number": 1, "turns": [[message]]}]
    (folder / "chat.json").write_text(json.dumps(chat))
    asked = {"extraction": [{"question": "Tea?", "answer": "yes", "source_chat_ids": [4, "[9]"]}]}
    (folder / "probing_questions" / "probing_questions.json").write_text(json.dumps(asked))
    (talk,) = benchmark("retrieval").load("beam", tmp_path)
    assert (talk.turns[0].turn_id, talk.turns[0].text) == ("4", "I like tea")
    assert talk.questions[0].evidence == ("4",)


def test_the_metrics_are_those_of_a_ranking_done_by_hand(benchmark: Any, locomo: Path) -> None:
    retrieval = benchmark("retrieval")
    (talk,) = retrieval.load("locomo", locomo)
    both = talk.questions[1]
    found = retrieval.score(talk, both, ["D1:1", "D2:1", "unknown", "D2:1"]).metrics
    assert (found["recall@5"], found["all@5"], found["any@5"]) == (0.5, 0.0, 1.0)
    ideal = 1 + 1 / math.log2(3)
    assert found["ndcg@10"] == pytest.approx((1 / math.log2(3)) / ideal)
    assert (found["s_recall@5"], found["s_all@5"], found["s_ndcg@10"]) == (1.0, 1.0, 1.0)
    late = ["D1:1", "D1:2", "D2:1"]
    assert retrieval.score(talk, both, late).metrics["all@5"] == 1.0
    nothing = retrieval.score(talk, both, []).metrics
    assert {nothing[name] for name in ("recall@5", "any@50", "ndcg@10")} == {0.0}


def test_means_are_in_percent_and_lie_in_their_interval(benchmark: Any) -> None:
    retrieval = benchmark("retrieval")
    scores = [retrieval.Scores("c", "x", {"m": value}) for value in [1.0] * 30 + [0.0] * 10]
    assert retrieval.mean(scores, "m") == 75.0
    low, high = retrieval.interval(scores, "m")
    assert 55 < low < 75 < high < 95
    assert math.isnan(retrieval.mean(scores, "other"))


async def test_recall_is_measured_through_the_engine(benchmark: Any, locomo: Path) -> None:
    quality = benchmark("recall_quality")
    arguments = quality.parsed(["--set", "locomo", "--data", str(locomo), "--embedder", "hashing"])
    figures = await quality.run(arguments)
    assert (figures["n"], figures["embedder"]) == (2, "hashing/256")
    assert set(figures["systems"]) == {
        "memora", "BM25", "BM25 + stems", "dense", "RRF", "min-max sum"
    }  # fmt: skip
    assert figures["systems"]["memora"]["all"]["recall@10"] == 100.0
    assert figures["systems"]["BM25"]["by_category"]["multi-hop"]["recall@5"] == 100.0


async def test_an_ingredient_is_turned_off_where_it_says_so(benchmark: Any, locomo: Path) -> None:
    ablation = benchmark("ablation")
    arguments = argparse.Namespace(
        set="locomo", data=locomo, conversations=None, settings_only=True, embedder="hashing"
    )
    figures = await ablation.run(arguments)
    rows = {row[""]: row for row in figures["rows"]}
    assert set(rows) == set(ablation.SETTINGS)
    assert rows["the defaults"]["recall@10 +-"] == 0.0
    with ablation.changed_index("no message before"):
        texts = ablation.indexing.index_texts("Yes", T0, None, "Tea?")
    assert texts[:2] == ("Yes (1 January 2026)", "Yes (1 January 2026)")
    assert "Tea?" in ablation.indexing.index_texts("Yes", T0, None, "Tea?")[1]


@pytest.mark.timeout(60)  # the client's library takes seconds to import
async def test_answers_are_given_and_judged_by_the_models_of_a_server(
    benchmark: Any, locomo: Path
) -> None:
    qa = benchmark("qa")
    async with LLMServer() as server:
        for answer, correct in (("Mochi", True), ("a car", False), ("I don't know", True)):
            server.plan(Turn(text=answer), Turn(text=json.dumps({"correct": correct})))
        arguments = qa.parsed(
            ["--set", "locomo", "--data", str(locomo), "--url", f"{server.url}/v1", "--model", "a",
             "--judge", "b", "--at-once", "1"]
        )  # fmt: skip
        asked = await qa.run(arguments)
        bodies = [request.body for request in server.requests]
    assert [each["correct"] for each in asked] == [True, False, True]
    assert [body["model"] for body in bodies] == ["a", "b"] * 3
    prompts = [str(body["messages"]) for body in bodies]
    assert "2023-05-08 Ana: My cat is called Mochi." in prompts[0]
    assert "Expected: Mochi" in prompts[1]
    assert "Expected: nothing" in prompts[5]
    rows = {row[""]: row for row in qa.accuracy(asked)}
    assert (rows["all"]["n"], rows["multi-hop"]["accuracy"]) == (3, 0.0)


def test_answers_of_two_stores_are_told_apart_from_ties(
    benchmark: Callable[[str], ModuleType],
) -> None:
    rankings = benchmark("rankings")
    place, compared, kind = rankings.Place, rankings.compared, rankings.Kind

    def answer(*scores: tuple[str, float]) -> list[Any]:
        return [place(score, turn, {"dense": 0.1, "lexical": score}) for turn, score in scores]

    one = answer(("a", 0.9), ("b", 0.500001), ("c", 0.5), ("d", 0.4))
    assert compared(one, answer(("a", 0.9), ("b", 0.5), ("c", 0.5), ("d", 0.4))) is kind.IDENTICAL
    assert compared(one, answer(("a", 0.9), ("c", 0.5), ("b", 0.5), ("d", 0.4))) is kind.TIES
    assert compared(one, answer(("a", 0.9), ("b", 0.5), ("c", 0.5), ("e", 0.4))) is kind.TIES
    assert compared(one, one[:3]) is kind.DIFFERENT
    other = answer(("a", 0.9), ("e", 0.6), ("b", 0.5), ("c", 0.5))
    assert compared(one, other) is compared(other, one) is kind.DIFFERENT
    assert rankings.explained(one, other) == (
        "place 2; 'b': the same shares; 'e': dense 0.00000/0.10000, lexical 0.00000/0.60000"
    )
