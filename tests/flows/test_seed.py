"""The seed story: conversations from elsewhere, as a user sees it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from memora import SeedConfig, SeedData
from memora.errors import (
    InvalidInputError,
    LLMConnectionError,
    LLMRateLimitError,
    UserNotFoundError,
)
from memora.schema.jobs import JobStatus
from memora.seeding import ConversationResult, SeedEventKind, SeedStatus
from memora.testing.fakes import Answer, Call, OutageError, ScriptedBackendLLM, extracting
from tests.flows.conftest import World, Worlds

DAY = timedelta(days=1)
START = datetime(2024, 3, 1, 9, tzinfo=UTC)


def conversation(number: int, *texts: str, **fields: Any) -> dict[str, Any]:
    said = texts or (f"I have {number} cats.",)
    return {
        "id": f"conv-{number}",
        "messages": [{"role": "user", "content": text} for text in said],
        "created_at": START + number * DAY,
        **fields,
    }


def data(world: World, conversations: Any, **options: Any) -> SeedData:
    return SeedData.for_conversations(world.user_id, conversations, org_id=world.org_id, **options)


async def test_conversations_are_imported_with_their_dates(world: World) -> None:
    seen: list[tuple[int, int | None, str]] = []

    def on_progress(processed: int, total: int | None, result: ConversationResult) -> None:
        seen.append((processed, total, result.conversation_id))

    given = [conversation(number) for number in range(5)]
    result = await world.memora.seed(
        data(world, given, process_id="onboarding"), on_progress=on_progress
    )
    assert (result.total, result.successful, result.failed, result.skipped) == (5, 5, 0, 0)
    assert (result.total_memories, result.total_triples, result.undated) == (5, 5, 0)
    assert [(done, total) for done, total, _id in seen] == [(n, 5) for n in range(1, 6)]
    memories = await world.memories()
    assert {memory.obtained_at for memory in memories} == {START + n * DAY for n in range(5)}
    assert {memory.process_id for memory in memories} == {"onboarding"}
    assert {memory.import_id for memory in memories} == {result.import_id}
    found = await world.recall("Who has cats?", limit=5)
    assert {memory.memory for memory in found} == {f"I have {number} cats." for number in range(5)}
    stored = await world.memora.graph.get_interaction(world.org_id, world.user_id, "conv-3")
    assert (stored.external_id, stored.created_at) == ("conv-3", START + 3 * DAY)
    assert (stored.import_id, stored.process_id) == (result.import_id, "onboarding")
    diagnosis = await world.memora.doctor()
    assert diagnosis.clean
    assert diagnosis.pending == 0


async def test_a_second_run_is_free_and_says_so(worlds: Worlds) -> None:
    model = ScriptedBackendLLM(extracting("[[user]] has cats."))
    world = await worlds.open(extraction=model)
    given = [conversation(number) for number in range(4)]
    await world.memora.seed(data(world, given))
    calls = len(model.calls)
    again = await world.memora.seed(data(world, given))
    assert (again.skipped, again.successful, again.total_memories) == (4, 4, 0)
    assert {each.status for each in again.results} == {SeedStatus.UNCHANGED}
    assert len(model.calls) == calls


async def test_a_changed_conversation_goes_through_the_diff(world: World) -> None:
    await world.memora.seed(data(world, [conversation(1, "I have a dog.")]))
    grown = conversation(1, "I have a dog.", "It is called Rex.")
    (result,) = (await world.memora.seed(data(world, [grown]))).results
    assert (result.status, result.memories) == (SeedStatus.UPDATED, 1)
    assert await world.current() == ["I have a dog.", "It is called Rex."]


async def test_messages_keep_their_own_times(world: World) -> None:
    messages = [
        {"role": "user", "content": "I moved to Rome.", "timestamp": "2023-05-01T10:00:00Z"},
        {"role": "user", "content": "I moved to Oslo.", "timestamp": "2024-05-01T10:00:00Z"},
    ]
    undated = {"id": "b", "messages": [{"role": "user", "content": "I like tea."}]}
    result = await world.memora.seed(data(world, [{"id": "a", "messages": messages}, undated]))
    assert result.undated == 1
    times = {memory.memory: memory.obtained_at for memory in await world.memories()}
    assert times["I moved to Rome."] == datetime(2023, 5, 1, 10, tzinfo=UTC)
    assert times["I moved to Oslo."] == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert times["I like tea."] > datetime(2025, 1, 1, tzinfo=UTC)


async def test_short_term_memories_of_long_ago_are_counted_or_begin_with_the_import(
    worlds: Worlds,
) -> None:
    def script(call: Call) -> Answer:
        if call.schema != "MemoryExtractionResponse":
            return {"verdicts": []}
        [message] = call.data["new_messages"]
        kinds = {"I am ill.": "short_term"}
        return {
            "memories": [
                {
                    "memory": message["content"],
                    "msg_source_ids": [message["id"]],
                    "memory_type": kinds.get(message["content"], "fact"),
                    "importance": 0.5,
                }
            ]
        }

    given = [conversation(1, "I am ill."), conversation(2, "I have a dog.")]
    world = await worlds.open(extraction=ScriptedBackendLLM(script))
    result = await world.memora.seed(data(world, given))
    assert (result.total_memories, result.expired) == (2, 1)
    assert {each.conversation_id: each.expired for each in result.results} == {
        "conv-1": 1,
        "conv-2": 0,
    }
    assert await world.current() == ["I have a dog."]

    other = await worlds.open(extraction=ScriptedBackendLLM(script), name="other")
    before = other.clock.now()
    config = SeedConfig(expire_from="recorded_at")
    result = await other.memora.seed(data(other, given), seed_config=config)
    assert (result.total_memories, result.expired) == (2, 0)
    ends = {memory.memory: memory.expires_at for memory in await other.memories()}
    assert ends["I have a dog."] is None
    assert ends["I am ill."] is not None
    assert before + 7 * DAY <= ends["I am ill."] <= other.clock.now() + 7 * DAY


@pytest.mark.parametrize("start", ["now", "", None])
def test_an_unknown_start_of_short_term_memories_is_refused(start: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        SeedConfig(expire_from=start)
    assert caught.value.field == "expire_from"


async def test_any_iterator_will_do_and_is_read_one_by_one(world: World) -> None:
    taken = 0

    async def cursor() -> AsyncIterator[dict[str, Any]]:
        nonlocal taken
        for number in range(60):
            taken += 1
            yield conversation(number)

    ahead = 0
    result = None
    events = world.memora.seed_events(data(world, cursor()), batch_size=2)
    async for event in events:
        if event.result is not None:
            ahead = max(ahead, taken - event.processed)
        result = event
    assert result is not None
    assert (result.kind, result.processed, result.total) == (SeedEventKind.DRAINED, 60, None)
    assert ahead < 20
    lazy = (conversation(number) for number in range(60, 62))
    assert (await world.memora.seed(data(world, lazy))).successful == 2


async def test_bad_records_fail_alone_and_leave_nothing(world: World) -> None:
    bad: list[Any] = [
        "no mapping",
        {"messages": [{"role": "user", "content": "no id"}]},
        {"id": "x1", "messages": []},
        {"id": "x2", "messages": [{"content": "no role"}]},
        {"id": "x3", "messages": [{"role": "user", "content": "lone \ud800"}]},
        {"id": "x4", "messages": [{"role": "user", "content": "a"}], "created_at": "yesterday"},
        {"id": "x5", "messages": [{"role": "user", "content": "a"}], "mesages": []},
        conversation(1, "other content under a known id"),
    ]
    result = await world.memora.seed(data(world, [conversation(1), *bad, conversation(2)]))
    assert (result.total, result.successful, result.failed) == (10, 2, 8)
    failures = {each.conversation_id: str(each.error) for each in result.results if each.error}
    assert len([each for each in result.results if each.error]) == 8
    assert "role" in failures["x2"]
    assert "created_at" in failures["x4"]
    assert "id" in failures["conv-1"]
    assert await world.current() == ["I have 1 cats.", "I have 2 cats."]
    interactions = await world.memora.graph.get_all_user_interactions(world.org_id, world.user_id)
    assert len(interactions) == 2


async def test_an_outage_is_finished_by_the_next_run(worlds: Worlds) -> None:
    down = True

    def script(call: Call) -> Answer:
        if down:
            raise OutageError
        return extracting("[[user]] has cats.")(call)

    model = ScriptedBackendLLM(script)
    world = await worlds.open(extraction=model)
    given = [conversation(1)]
    first = await world.memora.seed(data(world, given))
    assert (first.successful, first.failed) == (0, 1)
    assert first.results[0].interaction_id is not None
    down = False
    second = await world.memora.seed(data(world, given))
    assert (second.successful, second.failed) == (1, 0)
    assert len(await world.memories()) == 1
    assert (await world.memora.seed(data(world, given))).skipped == 1


async def test_b35_rate_limits_slow_the_import_down_and_stop_nothing(worlds: Worlds) -> None:
    rng = random.Random(1)
    refused = 0

    def script(call: Call) -> Answer:
        nonlocal refused
        if rng.random() < 0.3:
            refused += 1
            after = 0.002 if refused % 2 else None
            raise LLMRateLimitError("scripted", "slower", status=429, retry_after=after)
        return extracting("[[user]] has cats.")(call)

    world = await worlds.open(extraction=ScriptedBackendLLM(script))
    given = [conversation(number) for number in range(30)]
    config = SeedConfig(max_retries=0, retry_delay=0.001)
    result = await world.memora.seed(data(world, given), seed_config=config)
    assert (result.successful, result.failed) == (30, 0)
    assert refused > 5


async def test_other_failures_are_retried_as_often_as_said(worlds: Worlds) -> None:
    calls = 0

    def script(_call: Call) -> Answer:
        nonlocal calls
        calls += 1
        raise LLMConnectionError("scripted", "down")

    world = await worlds.open(extraction=ScriptedBackendLLM(script))
    config = SeedConfig(max_retries=2, retry_delay=0.0)
    result = await world.memora.seed(data(world, [conversation(1)]), seed_config=config)
    assert (result.failed, calls) == (1, 3)


async def test_large_conversations_are_cut_at_messages_with_a_running_summary(
    worlds: Worlds,
) -> None:
    def script(call: Call) -> Answer:
        if call.schema is None:
            return f"Summary of {len(call.data['messages'])}."
        if call.schema == "MemoryExtractionResponse":
            found = call.data["new_messages"]
            return {
                "memories": [
                    {
                        "memory": message["content"],
                        "msg_source_ids": [message["id"]],
                        "memory_type": "fact",
                        "importance": 0.5,
                    }
                    for message in found
                ]
            }
        return {"verdicts": []}

    model = ScriptedBackendLLM(script)
    world = await worlds.open(extraction=model)
    texts = [f"Statement number {number} of a long talk." for number in range(10)]
    config = SeedConfig(max_messages_per_request=4)
    given = [conversation(1, *texts)]
    estimate = (
        await world.memora.seed(data(world, given), seed_config=config, dry_run=True)
    ).estimate
    assert estimate is not None
    assert (estimate.conversations, estimate.chunks) == (1, 3)
    assert await world.memories() == []
    result = await world.memora.seed(data(world, given), seed_config=config)
    assert result.total_memories == 10
    asked = model.asked_for("MemoryExtractionResponse")
    assert [len(call.data["new_messages"]) for call in asked] == [4, 4, 2]
    assert [call.data.get("summary_of_before") for call in asked] == [
        None,
        "Summary of 4.",
        "Summary of 4.",
    ]
    sources = {memory.memory: memory.message_sources for memory in await world.memories()}
    assert [source.msg_position for source in sources[texts[9]]] == [9]
    whole = SeedConfig(max_messages_per_request=4, chunk_large_conversations=False)
    refused = await world.memora.seed(data(world, [conversation(2, *texts)]), seed_config=whole)
    assert refused.failed == 1
    assert "at most 4 messages" in str(refused.results[0].error)


async def test_memories_are_compared_in_the_order_of_the_conversations(worlds: Worlds) -> None:
    order: list[str] = []

    def script(call: Call) -> Answer:
        if call.schema == "MemoryExtractionResponse":
            return extracting(call.data["new_messages"][0]["content"])(call)
        order.append(call.data["candidates"][0]["memory"])
        return {"verdicts": []}

    class Uneven(ScriptedBackendLLM):
        async def __call__(self, messages: Any, schema: Any = None, **options: Any) -> Any:
            for _turn in range(random.Random(str(messages)).randrange(20)):
                await asyncio.sleep(0)
            return await super().__call__(messages, schema, **options)

    world = await worlds.open(extraction=Uneven(script))
    given = [conversation(number, f"I live in town {number} now.") for number in range(12)]
    random.Random(3).shuffle(given)
    await world.memora.seed(data(world, given), batch_size=6)
    assert order == sorted(order, key=lambda text: int(text.split()[4]))


async def test_missing_owners_are_created_or_told(world: World) -> None:
    fresh = SeedData.for_conversations("new-user", [conversation(1)], org_id="new-org")
    with pytest.raises(UserNotFoundError):
        await world.memora.seed(fresh, create_missing=False)
    assert (await world.memora.seed(fresh)).successful == 1
    assert (await world.memora.graph.get_user("new-org", "new-user")).user_name == "new-user"


@pytest.mark.parametrize(
    "arguments",
    [
        {"conversations": []},
        {"entity_id": "a", "user_id": "b", "conversations": []},
        {"entity_id": "a", "conversations": {"id": "x"}},
        {"entity_id": "a", "conversations": "text"},
        {"entity_id": "", "conversations": []},
    ],
)
def test_malformed_data_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        SeedData.for_conversations(**arguments)


async def test_a_stopped_import_goes_on_with_the_same_call(world: World) -> None:
    given = [conversation(number) for number in range(40)]
    async for event in world.memora.seed_events(data(world, given), batch_size=3):
        if event.processed >= 10:
            break
    jobs = await world.memora.list_jobs(world.org_id)
    assert [job for job in jobs if job.status is JobStatus.RUNNING] == []
    result = await world.memora.seed(data(world, given))
    assert result.successful == 40
    assert result.skipped >= 10
    assert len(await world.memories()) == 40
    assert (await world.memora.doctor()).clean


async def test_b70_what_is_nested_too_deeply_fails_alone(world: World) -> None:
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    talks = [
        conversation(1, metadata={"k": deep}),
        {**conversation(2), "messages": [{"role": "user", "content": deep}]},
        {**conversation(3), "messages": [{"role": "user", "content": "x", "more": deep}]},
        conversation(4),
    ]
    estimate = (await world.memora.seed(data(world, talks), dry_run=True)).estimate
    assert estimate is not None
    assert (estimate.conversations, estimate.invalid) == (1, 3)
    assert [each.conversation_id for each in estimate.failures] == ["conv-1", "conv-2", "conv-3"]
    result = await world.memora.seed(data(world, talks))
    assert (result.successful, result.failed) == (1, 3)
    assert all(each.error.startswith("InvalidInputError") for each in result.results if each.error)


@pytest.mark.parametrize("field", ["user_id", "org_id", "agent_id", "process_id", "conversations"])
@pytest.mark.parametrize("dry_run", [True, False])
async def test_b88_data_that_was_put_together_by_hand_is_checked(
    world: World, field: str, dry_run: bool
) -> None:
    right = {"user_id": world.user_id, "org_id": world.org_id, "conversations": [conversation(1)]}
    wrong = SeedData(**{**right, field: {"any": 1} if field != "conversations" else 7})
    with pytest.raises(InvalidInputError) as caught:
        await world.memora.seed(wrong, dry_run=dry_run)
    assert caught.value.field == field
    assert not await world.memories()
