"""A message to search queries, and found memories to the useful ones."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from memora.agent.search_queries import (
    PRECEDING,
    QUERY_CHARS,
    for_message,
    generate,
    preceding_texts,
    select,
    without_model,
)
from memora.core.chunking import RECALL_CLOSE, RECALL_OPEN
from memora.errors import InvalidInputError, LLMResponseError
from memora.schema.validation import MODEL_QUERIES
from memora.testing.fakes import OutageError, ScriptedBackendLLM
from tests.unit.kit import T0, memory

MEMORIES = [memory(f"m{n}", f"statement {n}") for n in range(4)]
BLOCK = f"{RECALL_OPEN}\n- Jake has a cat (2026-01-01)\n{RECALL_CLOSE}"


def answering(**answer: Any) -> ScriptedBackendLLM:
    return ScriptedBackendLLM(lambda _call: answer)


def test_only_what_user_and_assistant_said_is_context() -> None:
    said = [
        {"role": "system", "content": "rules"},
        {"role": "user", "content": "one"},
        {"role": "tool", "content": "rain"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "assistant", "content": "two"},
    ]
    assert preceding_texts(said) == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
    ]
    assert preceding_texts(()) == []


def test_context_is_bounded() -> None:
    many = [{"role": "user", "content": f"{n} " + "x" * 5000} for n in range(20)]
    found = preceding_texts(many)
    assert len(found) == PRECEDING
    assert [item["content"][:3].strip() for item in found] == [str(n) for n in range(14, 20)]
    assert all(len(item["content"]) == QUERY_CHARS for item in found)


def test_recalled_text_is_no_context() -> None:
    said = [{"role": "user", "content": f"{BLOCK}\nHello"}, {"role": "user", "content": BLOCK}]
    assert preceding_texts(said) == [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize("bad", [None, "text", [5], [{"role": "robot"}]])
def test_malformed_context_is_refused_by_name(bad: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        preceding_texts(bad)
    assert caught.value.field.startswith("preceding_msg_for_context")


def test_without_a_model_the_message_is_searched_alone_and_in_context() -> None:
    assert without_model(" tea? ", []) == ("tea?",)
    preceding = [{"content": text} for text in ("zero", "one", "two")]
    assert without_model("tea?", preceding) == ("tea?", "one two tea?")


def test_queries_without_a_model_are_bounded() -> None:
    preceding = [{"content": "c" * 9000}, {"content": "d" * 9000}]
    queries = without_model("m" * 9000, preceding)
    assert all(0 < len(query) <= QUERY_CHARS for query in queries)
    assert queries[1].endswith("m")


async def test_b38_model_queries_are_capped_stripped_and_each_once() -> None:
    queries = [" tea ", "tea", "", " \n", *[f"q{n}" for n in range(5000)], "x" * 9000]
    found = await generate(answering(queries=queries), "hi", [], T0)
    assert found == ("tea", *[f"q{n}" for n in range(MODEL_QUERIES - 1)])
    (long,) = await generate(answering(queries=["x" * 9000]), "hi", [], T0)
    assert len(long) == QUERY_CHARS


async def test_the_model_is_shown_message_context_and_time() -> None:
    model = answering(queries=["tea"])
    preceding = [{"role": "user", "content": "before"}]
    await generate(model, "m" * 9000, preceding, T0)
    assert model.calls[0].data == {
        "now": "Thursday 2026-01-01 12:00 UTC",
        "preceding_messages": preceding,
        "latest_message": "m" * QUERY_CHARS,
    }


@pytest.mark.parametrize(
    "script",
    [
        lambda _call: OutageError(),
        lambda _call: "no json",
        lambda _call: {"queries": None},
        lambda _call: {"queries": [5]},
        lambda _call: {"queries": []},
        lambda _call: {"queries": [" ", ""]},
        lambda _call: {"relevant": [0]},
    ],
)
async def test_a_model_without_a_query_is_not_believed(script: Any) -> None:
    assert await for_message(ScriptedBackendLLM(script), "tea?", [], T0) == ("tea?",)


async def test_no_model_no_call() -> None:
    assert await for_message(None, "tea?", [], T0) == ("tea?",)


async def test_b36_a_late_model_is_not_waited_for() -> None:
    model = ScriptedBackendLLM(gate=asyncio.Event())
    assert await for_message(model, "tea?", [], T0, deadline=0) == ("tea?",)


async def test_errors_that_are_none_of_the_models_are_not_hidden() -> None:
    model = ScriptedBackendLLM(lambda _call: ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        await for_message(model, "tea?", [], T0)


async def chosen(*numbers: Any) -> list[str]:
    model = answering(relevant=list(numbers))
    return [m.memory_id for m in await select(model, "tea?", ["tea"], MEMORIES, T0)]


async def test_b61_selected_memories_keep_their_order() -> None:
    assert await chosen(3, 0, 0, 2) == ["m0", "m2", "m3"]


async def test_b61_numbers_that_were_not_shown_choose_nothing() -> None:
    assert await chosen(1, -1, 4, 10**9) == ["m1"]


async def test_none_of_them_is_a_decision() -> None:
    assert await chosen() == []


@pytest.mark.parametrize("numbers", [[-1], [99, 100], [True], ["m0"], [None, 0.5]])
async def test_an_answer_without_any_usable_number_decides_nothing(numbers: list[Any]) -> None:
    assert await chosen(*numbers) == [m.memory_id for m in MEMORIES]


async def test_bad_items_beside_a_good_one_are_dropped() -> None:
    assert await chosen(True, 2, None) == ["m2"]


@pytest.mark.parametrize("answer", ["no json", '{"relevant": null}', '{"memories": []}'])
async def test_a_model_that_fails_decides_nothing(answer: str) -> None:
    model = ScriptedBackendLLM(lambda _call: answer)
    assert await select(model, "tea?", [], MEMORIES, T0) == MEMORIES


async def test_an_outage_and_a_late_answer_keep_all() -> None:
    down = ScriptedBackendLLM(lambda _call: OutageError())
    assert await select(down, "tea?", [], MEMORIES, T0) == MEMORIES
    late = ScriptedBackendLLM(gate=asyncio.Event())
    assert await select(late, "tea?", [], MEMORIES, T0, deadline=0) == MEMORIES


async def test_nothing_found_is_not_asked_about() -> None:
    model = ScriptedBackendLLM(lambda _call: OutageError())
    assert await select(model, "tea?", ["tea"], [], T0) == []
    assert model.calls == []


async def test_b74_b77_the_selection_shows_numbers_and_no_ids() -> None:
    model = answering(relevant=[])
    await select(model, "m" * 9000, ["tea"], MEMORIES, T0)
    (call,) = model.calls
    assert call.data["memories"][1] == {
        "number": 1,
        "memory": "statement 1",
        "date": "2026-01-01",
    }
    assert len(call.data["message"]) == QUERY_CHARS
    assert "m1" not in call.messages[1]["content"]


async def test_generate_tells_its_failure() -> None:
    with pytest.raises(LLMResponseError):
        await generate(ScriptedBackendLLM(lambda _call: "no"), "tea?", [], T0)
