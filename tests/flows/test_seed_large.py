"""Imports at their edges: large conversations, failing callbacks and inputs, prices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from memora import Memora, SeedConfig, SeedData
from memora import sync as blocking
from memora.errors import InvalidInputError, LLMResponseError
from memora.seeding import ConversationResult, SeedEventKind
from memora.testing.fakes import Answer, Call, OutageError, ScriptedBackendLLM
from tests.flows.conftest import World, Worlds
from tests.flows.test_seed import conversation, data


def finds_all(call: Call) -> Answer:
    """Each message is a statement; a summary tells how many it was made of."""
    if call.schema is None:
        return f"Summary of {len(call.data['messages'])}."
    if call.schema == "MemoryComparisonResponse":
        return {"verdicts": []}
    return {
        "memories": [
            {
                "memory": message["content"],
                "msg_source_ids": [message["id"]],
                "memory_type": "fact",
                "importance": 0.5,
            }
            for message in call.data["new_messages"]
        ]
    }


def sized(window: int, answer: int | None = None) -> ScriptedBackendLLM:
    model = ScriptedBackendLLM(finds_all)
    model.context_window, model.answer_tokens = window, answer
    return model


TEXTS = [f"Statement {number} is about {'this and that ' * 20}." for number in range(30)]


async def test_the_models_window_bounds_a_request_with_its_answer(worlds: Worlds) -> None:
    model = sized(4000, answer=1000)
    world = await worlds.open(extraction=model)
    result = await world.memora.seed(data(world, [conversation(1, *TEXTS)]))
    assert result.total_memories == len(TEXTS)
    asked = model.asked_for("MemoryExtractionResponse")
    assert len(asked) > 1
    for call in asked:
        size = sum(len(message["content"].encode()) for message in call.messages)
        assert size / 3 + 1000 <= 4000
    found = [m["id"] for call in asked for m in call.data["new_messages"]]
    assert found == list(range(len(TEXTS)))
    whole = SeedConfig(chunk_large_conversations=False)
    given = [conversation(2, *TEXTS), conversation(3)]
    refused = await world.memora.seed(data(world, given), seed_config=whole)
    assert (refused.failed, refused.successful) == (1, 1)
    assert "the model's window" in str(refused.results[0].error or refused.results[1].error)


async def test_a_message_too_long_for_any_request_is_cut_at_its_sentences(worlds: Worlds) -> None:
    model = sized(4000, answer=1000)
    world = await worlds.open(extraction=model)
    text = " ".join(f"Sentence number {number} says something new." for number in range(400))
    await world.memora.seed(data(world, [conversation(1, text)]))
    asked = model.asked_for("MemoryExtractionResponse")
    pieces = [message for call in asked for message in call.data["new_messages"]]
    assert len(pieces) > 1
    assert {piece["id"] for piece in pieces} == {0}
    assert " ".join(piece["content"] for piece in pieces) == text


async def test_an_answer_that_was_cut_off_halves_the_request_once(worlds: Worlds) -> None:
    def script(call: Call) -> Answer:
        if call.schema == "MemoryExtractionResponse" and len(call.data["new_messages"]) > most:
            return LLMResponseError("scripted", "cut off", kind="truncated")
        return finds_all(call)

    most = 4
    model = ScriptedBackendLLM(script)
    world = await worlds.open(extraction=model)
    result = await world.memora.seed(data(world, [conversation(1, *TEXTS[:7])]))
    assert (result.successful, result.total_memories) == (1, 7)
    asked = model.asked_for("MemoryExtractionResponse")
    assert [len(call.data["new_messages"]) for call in asked] == [7, 3, 4]
    most = 1
    failed = await world.memora.seed(data(world, [conversation(2, *TEXTS[:7])]))
    assert failed.failed == 1
    assert len(model.asked_for("MemoryExtractionResponse")) == 5


async def test_without_a_summary_the_messages_before_have_to_do(worlds: Worlds) -> None:
    def script(call: Call) -> Answer:
        if call.schema is None:
            return LLMResponseError("scripted", "no answer", kind="empty")
        return finds_all(call)

    model = ScriptedBackendLLM(script)
    world = await worlds.open(extraction=model)
    config = SeedConfig(max_messages_per_request=5)
    given = [conversation(1, *TEXTS[:10])]
    assert (await world.memora.seed(data(world, given), seed_config=config)).total_memories == 10
    _first, second = model.asked_for("MemoryExtractionResponse")
    assert [m["content"][:11] for m in second.data["context"]] == [t[:11] for t in TEXTS[:5]]


async def test_b35_parts_that_were_paid_for_are_not_paid_again(worlds: Worlds) -> None:
    down = True

    def script(call: Call) -> Answer:
        if down and call.schema == "MemoryExtractionResponse" and call.data.get("context"):
            raise OutageError
        return finds_all(call)

    model = ScriptedBackendLLM(script)
    world = await worlds.open(extraction=model)
    config = SeedConfig(max_messages_per_request=5)
    given = [conversation(1, *TEXTS[:10])]
    assert (await world.memora.seed(data(world, given), seed_config=config)).failed == 1
    before = len(model.asked_for("MemoryExtractionResponse"))
    down = False
    assert (await world.memora.seed(data(world, given), seed_config=config)).successful == 1
    assert len(model.asked_for("MemoryExtractionResponse")) == before + 1
    assert len(await world.memories()) == 10


async def test_a_callback_may_be_async_and_what_it_raises_stops_the_import(world: World) -> None:
    seen: list[str] = []

    async def on_progress(processed: int, _total: int | None, result: ConversationResult) -> None:
        await asyncio.sleep(0)
        seen.append(result.conversation_id)
        if processed == 5:
            raise RuntimeError("enough")

    given = [conversation(number) for number in range(40)]
    with pytest.raises(RuntimeError, match="enough"):
        await world.memora.seed(data(world, given), on_progress=on_progress, batch_size=2)
    assert len(seen) == 5
    assert 5 <= len(await world.memories()) < 40
    # The same call goes on, and the vectors follow.
    assert (await world.memora.seed(data(world, given))).successful == 40
    assert (await world.memora.doctor()).pending == 0


@pytest.mark.parametrize("is_async", [False, True])
async def test_what_the_input_raises_comes_after_what_was_read(
    world: World, is_async: bool
) -> None:
    def cursor() -> Iterator[Mapping[str, Any]]:
        yield from (conversation(number) for number in range(7))
        raise ConnectionError("the database went away")

    async def async_cursor() -> AsyncIterator[Mapping[str, Any]]:
        for each in cursor():
            yield each

    given = async_cursor() if is_async else cursor()
    with pytest.raises(ConnectionError, match="went away"):
        await world.memora.seed(data(world, given))
    assert len(await world.recall("Who has cats?")) == 7


async def test_results_are_kept_as_far_as_wanted_failures_first(world: World) -> None:
    bad: list[Any] = [{"id": f"bad-{number}", "messages": []} for number in range(3)]
    given = [conversation(number) for number in range(10)]
    config = SeedConfig(max_results=4)
    result = await world.memora.seed(data(world, [*given, *bad]), seed_config=config)
    assert (result.total, result.failed, len(result.results), result.omitted) == (13, 3, 4, 9)
    assert sum(not each.success for each in result.results) == 3


async def test_an_estimate_writes_nothing_and_asks_nobody(worlds: Worlds) -> None:
    model = sized(128_000)
    model.provider, model.model = "openai", "gpt-4o"
    world = await worlds.open(extraction=model)
    given = [conversation(1, *TEXTS), conversation(2), {"id": "x", "messages": []}]

    async def asked(**options: Any) -> Any:
        result = await world.memora.seed(data(world, given), dry_run=True, **options)
        assert result.estimate is not None
        return result.estimate

    plain = await asked()
    assert (plain.conversations, plain.invalid, plain.chunks, plain.model_calls) == (2, 1, 2, 4)
    assert plain.cost is None
    text = sum(len(text) for text in TEXTS) / 4
    assert text < plain.prompt_tokens < 3 * text + 5000
    for table in ({"gpt-4o": (2.5, 10)}, {"openai:gpt-4o": [2.5, 10.0], "gpt-4o": (1, 1)}):
        priced = await asked(prices=table)
        wanted = (2.5 * plain.prompt_tokens + 10 * plain.completion_tokens) / 1e6
        assert priced.cost == pytest.approx(wanted)
    for table in ({}, {"gpt-4o": 3}, {"gpt-4o": (1, -1)}, {"gpt-4o": (1, 2, 3)}, [1]):
        with pytest.raises(InvalidInputError, match="prices"):
            await asked(prices=table)
    assert model.calls == []
    assert await world.memories() == []
    await world.memora.seed(data(world, given))
    assert ((await asked()).unchanged, (await asked()).model_calls) == (2, 0)


def test_b28_seed_sync_needs_no_event_loop(tmp_path: Path) -> None:
    given = [conversation(number) for number in range(5)]
    memora = Memora.embedded(tmp_path, embedder="hashing")
    result = memora.seed_sync(SeedData.for_conversations("jake", given))
    assert (result.total, result.successful) == (5, 5)
    with blocking.Memora.embedded(tmp_path, embedder="hashing") as engine:
        again = engine.seed_sync(SeedData.for_conversations("jake", given))
        assert again.skipped == 5
        more = SeedData.for_conversations("jake", [conversation(number) for number in range(5, 60)])
        for event in engine.seed_events(more, batch_size=1):
            if event.kind is SeedEventKind.SAVED:
                break
        assert len(engine.graph.get_all_user_memories("default", "jake")) < 40


async def test_seed_sync_says_where_it_may_not_be_called(world: World) -> None:
    with pytest.raises(InvalidInputError, match="event loop"):
        world.memora.seed_sync(data(world, []))
