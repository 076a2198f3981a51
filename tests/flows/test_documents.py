"""Documents and single turns, as a user sees what becomes of them."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from memora import SeedDocument
from memora.errors import InvalidInputError, LLMRateLimitError
from memora.schema.jobs import JobStatus
from memora.schema.models import MessageBlock
from memora.seeding import DocumentResult, DocumentStatus
from memora.testing.fakes import Call, OutageError, ScriptedBackendLLM, extracting
from tests.flows.conftest import World, Worlds

HOUR = timedelta(hours=1)
START = datetime(2024, 3, 1, 9, tzinfo=UTC)


def turn(world: World, number: int, text: str | None = None, **fields: Any) -> SeedDocument:
    said = text or f"I have {number} cats."
    given: dict[str, Any] = {
        "document": f"User: {said}\nAssistant: Noted, {number}.",
        "document_id": f"backfill:conv:{number}",
        "document_type": "ai-chat-conversation",
        "document_created_at": START + number * HOUR,
        "user_id": world.user_id,
        "customer_id": world.org_id,
        "metadata": {"conversation_id": "conv", "source": "backfill"},
    }
    return SeedDocument(**{**given, **fields})


def paper(world: World, text: str, **fields: Any) -> dict[str, Any]:
    return {"document": text, "user_id": world.user_id, "customer_id": world.org_id, **fields}


def statuses(results: list[DocumentResult]) -> list[str]:
    return [result.status.value for result in results]


async def talk(world: World, name: str = "conv") -> list[MessageBlock]:
    found = await world.memora.graph.get_interaction(world.org_id, world.user_id, name)
    return found.messages or []


async def test_a_turn_becomes_messages_and_memories_at_its_time(world: World) -> None:
    (result,) = await world.memora.batch_create([turn(world, 1)])
    assert (result.status, result.success) == (DocumentStatus.CREATED, True)
    stored = await world.memora.graph.get_interaction(world.org_id, world.user_id, "conv")
    assert result.interaction_id == stored.interaction_id
    assert (stored.external_id, stored.created_at) == ("conv", START + HOUR)
    assert stored.metadata == {"conversation_id": "conv", "source": "backfill"}
    assert [(m.role, m.content) for m in stored.messages or []] == [
        ("user", "I have 1 cats."),
        ("assistant", "Noted, 1."),
    ]
    (memory,) = await world.memories()
    assert (memory.memory, memory.obtained_at) == ("I have 1 cats.", START + HOUR)
    assert (memory.external_id, memory.source_role) == ("backfill:conv:1", "user")
    assert memory.metadata == {"conversation_id": "conv", "source": "backfill"}
    assert stored.import_id
    assert memory.import_id == stored.import_id
    (found,) = await world.recall("How many cats?", filters={"metadata": {"source": "backfill"}})
    assert found.memory_id == memory.memory_id


async def test_doing_it_again_is_free_and_says_so(worlds: Worlds) -> None:
    model = ScriptedBackendLLM(extracting("[[user]] has cats."))
    world = await worlds.open(extraction=model)
    given = [turn(world, number) for number in range(4)] + [paper(world, "A text.")]
    assert statuses(await world.memora.batch_create(given)) == ["created"] * 5
    calls, memories = len(model.calls), await world.memories()
    assert statuses(await world.memora.batch_create(given)) == ["duplicate"] * 5
    assert statuses(await world.memora.batch_create(given[2:4])) == ["duplicate"] * 2
    assert len(model.calls) == calls
    assert await world.memories() == memories


async def test_turns_of_one_conversation_become_one_interaction_in_any_order(world: World) -> None:
    given = [turn(world, number) for number in range(12)]
    random.Random(4).shuffle(given)
    for start in range(0, 12, 5):
        results = await world.memora.batch_create(given[start : start + 5])
        assert set(statuses(results)) == {"created"}
    messages = await talk(world)
    assert [m.content for m in messages[::2]] == [f"I have {n} cats." for n in range(12)]
    assert [m.timestamp for m in messages[::2]] == [START + n * HOUR for n in range(12)]
    interactions = await world.memora.graph.get_all_user_interactions(world.org_id, world.user_id)
    assert len(interactions) == 1
    memories = await world.memories()
    assert sorted((m.obtained_at, m.memory, m.external_id) for m in memories) == [
        (START + n * HOUR, f"I have {n} cats.", f"backfill:conv:{n}") for n in range(12)
    ]
    assert all(len(memory.message_sources) == 1 for memory in memories)
    assert (await world.memora.doctor()).clean


async def test_another_text_under_an_id_is_an_update_through_the_diff(world: World) -> None:
    await world.memora.batch_create([turn(world, n) for n in range(3)])
    (result,) = await world.memora.batch_create([turn(world, 1, "I have a dog.")])
    assert result.status is DocumentStatus.UPDATED
    assert [m.content for m in (await talk(world))[::2]] == [
        "I have 0 cats.",
        "I have a dog.",
        "I have 2 cats.",
    ]
    memories = {memory.memory: memory for memory in await world.memories()}
    assert memories["I have a dog."].obtained_at == START + HOUR
    assert len(memories["I have 0 cats."].message_sources) == 1
    assert len(memories["I have 2 cats."].message_sources) == 1
    assert memories["I have 1 cats."].message_sources == []


async def test_documents_are_cut_at_paragraphs_and_rank_below_what_the_user_said(
    world: World,
) -> None:
    await world.save("I am vegan.")
    text = "# Menu\n\nMonday: lentils.\n\nTuesday: rice."
    given = paper(world, text, document_id="menu", document_created_at="2024-05-01T10:00:00Z")
    (result,) = await world.memora.batch_create([given])
    assert result.status is DocumentStatus.CREATED
    found = {m.memory: m for m in await world.memories() if m.external_id == "menu"}
    assert found.keys() == {"# Menu\nMonday: lentils.", "Tuesday: rice."}
    assert {m.source_role for m in found.values()} == {"import"}
    assert {m.obtained_at for m in found.values()} == {datetime(2024, 5, 1, 10, tzinfo=UTC)}
    again = {**given, "document": text.replace("rice", "beans")}
    (result,) = await world.memora.batch_create([again])
    assert result.status is DocumentStatus.UPDATED
    assert [m.content for m in await talk(world, "menu")] == [
        "# Menu\nMonday: lentils.",
        "Tuesday: beans.",
    ]


async def test_an_id_that_is_left_out_is_derived(world: World) -> None:
    given = paper(world, "A text.", document_created_at=START)
    (first,) = await world.memora.batch_create([given])
    same = {**given, "document_created_at": START.isoformat()}
    (again,) = await world.memora.batch_create([same])
    assert first.document_id == again.document_id != ""
    assert (first.status, again.status) == (DocumentStatus.CREATED, DocumentStatus.DUPLICATE)
    (other,) = await world.memora.batch_create([{**given, "document_created_at": START + HOUR}])
    assert other.status is DocumentStatus.CREATED
    (memory,) = await world.memories()
    assert memory.external_id == first.document_id
    assert len(memory.message_sources) == 2


async def test_fast_documents_ask_no_model(worlds: Worlds) -> None:
    model = ScriptedBackendLLM(extracting("[[user]] has cats."))
    world = await worlds.open(extraction=model)
    results = await world.memora.batch_create([turn(world, 1, mode="fast")])
    assert statuses(results) == ["created"]
    assert model.calls == []
    assert await world.current() == ["I have 1 cats."]
    other = turn(world, 2, metadata={"conversation_id": "deep"})
    assert statuses(await world.memora.batch_create([other])) == ["created"]
    assert "Jake has cats." in await world.current()


async def test_long_range_keeps_kinds_and_feelings(worlds: Worlds) -> None:
    def answer(call: Call) -> Any:
        if call.schema != "MemoryExtractionResponse":
            return {"verdicts": []}
        found = {
            "[[user]] is afraid of flying.": "emotion",
            "[[user]] prefers trains.": "preference",
        }
        return {
            "memories": [
                {"memory": text, "msg_source_ids": [0], "memory_type": kind, "importance": 0.7}
                for text, kind in found.items()
            ]
        }

    model = ScriptedBackendLLM(answer)
    world = await worlds.open(extraction=model)
    given = turn(world, 1, "Flying scares me, I take the train.")
    assert statuses(await world.memora.batch_create([given])) == ["created"]
    kinds = {memory.memory: memory.memory_type for memory in await world.memories()}
    assert kinds == {
        "Jake is afraid of flying.": "emotion",
        "Jake prefers trains.": "preference",
    }
    assert {memory.external_id for memory in await world.memories()} == {"backfill:conv:1"}
    prompt = str(model.calls[0].messages)
    assert "2024-03-01" in prompt
    assert "who feels what about what" in " ".join(prompt.split())


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"document": 3}, "document"),
        ({"document": "  "}, "document"),
        ({"document": "User:\n"}, "document"),
        ({"document": "User: \ud800"}, "document"),
        ({"document": "User: " + "x" * 1_100_000}, "document"),
        ({"user_id": None}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"document_id": 7}, "document_id"),
        ({"document_id": "x" * 300}, "document_id"),
        ({"document_type": ""}, "document_type"),
        ({"document_created_at": "yesterday"}, "document_created_at"),
        ({"document_created_at": 1_700_000_000}, "document_created_at"),
        ({"customer_id": " a"}, "customer_id"),
        ({"metadata": ["x"]}, "metadata"),
        ({"metadata": {"x": object()}}, "metadata"),
        ({"metadata": {"conversation_id": 3}}, "metadata.conversation_id"),
        ({"mode": "slow"}, "mode"),
        ({"mode": None}, "mode"),
    ],
)
async def test_a_bad_document_fails_alone_and_nothing_of_it_is_stored(
    world: World, fields: dict[str, Any], named: str
) -> None:
    given = [turn(world, 1), turn(world, 2, **fields), turn(world, 3)]
    results = await world.memora.batch_create(given)
    assert statuses(results) == ["created", "failed", "created"]
    assert results[1].error_type == "InvalidInputError"
    assert (results[1].error or "").startswith(named)
    assert await world.current() == ["I have 1 cats.", "I have 3 cats."]


@pytest.mark.parametrize(
    "item", [3, None, "text", [], {}, {"document": "x"}, {"document": "x", "user_id": "u", "z": 1}]
)
async def test_what_is_no_document_fails_alone(world: World, item: Any) -> None:
    results = await world.memora.batch_create([item, turn(world, 1)])
    assert statuses(results) == ["failed", "created"]
    assert results[0].error_type == "InvalidInputError"


async def test_too_many_documents_store_nothing(world: World) -> None:
    given = [turn(world, number) for number in range(101)]
    with pytest.raises(InvalidInputError, match="documents"):
        await world.memora.batch_create(given)
    for wrong in (None, "text", {"document": "x"}, 3):
        with pytest.raises(InvalidInputError, match="documents"):
            await world.memora.batch_create(wrong)  # type: ignore[arg-type]
    for options in ({"fail_fast": 1}, {"org_id": ""}, {"import_id": ""}, {"create_missing": None}):
        with pytest.raises(InvalidInputError):
            await world.memora.batch_create([turn(world, 1)], **options)  # type: ignore[arg-type]
    assert await world.current() == []
    assert await world.memora.batch_create([]) == []


async def test_the_same_id_twice_in_one_call(world: World) -> None:
    given = [turn(world, 1), turn(world, 1), turn(world, 1, "I have a dog.")]
    results = await world.memora.batch_create(given)
    assert statuses(results) == ["created", "duplicate", "failed"]
    assert results[2].error_type == "InvalidInputError"
    assert await world.current() == ["I have 1 cats."]


async def test_fail_fast_stops_and_says_what_was_stored(world: World) -> None:
    given = [
        paper(world, "One.", document_id="1"),
        turn(world, 1),
        paper(world, "", document_id="3"),
        paper(world, "Four.", document_id="4"),
        turn(world, 2),
        paper(world, "", document_id="6"),
    ]
    results = await world.memora.batch_create(given, fail_fast=True)
    assert statuses(results) == ["created", "created", "failed", "skipped", "created", "skipped"]
    assert [result.success for result in results] == [True, True, False, False, True, False]
    assert await world.current() == ["I have 1 cats.", "I have 2 cats.", "One."]
    given = [given[0], given[3]]
    results = await world.memora.batch_create(given, fail_fast=True)
    assert statuses(results) == ["duplicate", "created"]


async def test_a_failed_extraction_is_finished_by_the_same_call(worlds: Worlds) -> None:
    is_down = True

    def answer(call: Call) -> Any:
        if is_down and "7 cats" in str(call.messages):
            return OutageError()
        return extracting("[[user]] has cats.")(call)

    model = ScriptedBackendLLM(answer)
    world = await worlds.open(extraction=model)
    bad = turn(world, 7, metadata={"conversation_id": "bad"})
    results = await world.memora.batch_create([turn(world, 1), bad])
    assert statuses(results) == ["created", "failed"]
    assert results[1].error_type == "ExtractionError"
    assert results[1].interaction_id is not None
    await world.memora.batch_create([turn(world, 8, metadata={"conversation_id": "bad"})])
    (result,) = await world.memora.batch_create([bad])
    assert (result.status, result.error_type) == (DocumentStatus.FAILED, "ExtractionError")
    is_down = False
    (result,) = await world.memora.batch_create([bad])
    assert result.status is DocumentStatus.UPDATED
    memories = await world.memories()
    assert {memory.memory for memory in memories} == {"Jake has cats."}
    left = await world.memora.list_jobs(world.org_id, statuses=[JobStatus.FAILED])
    assert left == []


async def test_refusals_for_rate_slow_down_and_fail_nothing(worlds: Worlds) -> None:
    refused = 0

    def answer(call: Call) -> Any:
        nonlocal refused
        if refused < 4:
            refused += 1
            return LLMRateLimitError("scripted", "slow down", retry_after=0.01)
        return extracting("[[user]] has cats.")(call)

    world = await worlds.open(extraction=ScriptedBackendLLM(answer))
    given = [turn(world, n, metadata={"conversation_id": f"c{n}"}) for n in range(4)]
    assert statuses(await world.memora.batch_create(given)) == ["created"] * 4


async def test_missing_owners_are_created_or_told(world: World) -> None:
    given = paper(world, "Hello.", user_id="new", customer_id=None)
    results = await world.memora.batch_create([given], org_id="fresh", create_missing=False)
    assert (statuses(results), results[0].error_type) == (["failed"], "UserNotFoundError")
    results = await world.memora.batch_create([given], org_id="fresh")
    assert statuses(results) == ["created"]
    found = await world.memora.graph.get_all_user_memories("fresh", "new")
    assert [memory.memory for memory in found] == ["Hello."]
    await world.memora.batch_create([{**given, "org_id": "x"}])
    assert await world.memora.graph.find_organization("x") is None


async def test_a_live_conversation_keeps_its_messages_when_a_turn_comes_late(world: World) -> None:
    await world.memora.save_or_update_interaction_and_memories(
        world.org_id,
        world.user_id,
        interaction=[
            {"role": "user", "content": "I live in Rome.", "timestamp": START},
            {"role": "assistant", "content": "Nice."},
            {"role": "user", "content": "I moved to Oslo.", "timestamp": START + 9 * HOUR},
        ],
        external_id="conv",
        current_datetime=START,
    )
    await world.memora.batch_create([turn(world, 5)])
    assert [message.content for message in await talk(world)] == [
        "I live in Rome.",
        "Nice.",
        "I have 5 cats.",
        "Noted, 5.",
        "I moved to Oslo.",
    ]
    memories = await world.memories()
    assert sorted(memory.memory for memory in memories) == [
        "I have 5 cats.",
        "I live in Rome.",
        "I moved to Oslo.",
    ]
    assert all(len(memory.message_sources) == 1 for memory in memories)


async def test_calls_at_the_same_time_lose_nothing(world: World) -> None:
    given = [turn(world, number) for number in range(30)]
    random.Random(5).shuffle(given)
    answers = await asyncio.gather(
        *(world.memora.batch_create(given[start::5]) for start in range(5))
    )
    assert {status for answer in answers for status in statuses(answer)} == {"created"}
    messages = await talk(world)
    assert [m.content for m in messages[::2]] == [f"I have {n} cats." for n in range(30)]


async def test_users_and_organizations_stay_apart(world: World) -> None:
    given = [
        turn(world, n, user_id=user, customer_id=org, document_id="same")
        for n, (org, user) in enumerate([("a", "u"), ("a", "v"), ("b", "u")])
    ]
    assert statuses(await world.memora.batch_create(given)) == ["created"] * 3
    for n, (org, user) in enumerate([("a", "u"), ("a", "v"), ("b", "u")]):
        found = await world.memora.graph.get_all_user_memories(org, user)
        assert [memory.memory for memory in found] == [f"I have {n} cats."]


async def test_shuffled_documents_end_in_the_same_current_versions(worlds: Worlds) -> None:
    """The homes of a user, one after the other; an older one that comes late is history."""

    def answer(call: Call) -> Any:
        if call.schema == "MemoryExtractionResponse":
            town = call.data["new_messages"][0]["content"].split()[-1]
            return extracting(f"[[user]] lives in {town}")(call)
        verdicts = [
            {"candidate": number, "verdict": "contradiction", "existing": 0}
            for number, _candidate in enumerate(call.data["candidates"])
        ]
        return {"verdicts": verdicts}

    towns = ["Rome.", "Oslo.", "Lima.", "Bonn.", "Kyiv."]
    world = await worlds.open(extraction=ScriptedBackendLLM(answer))
    for attempt in range(3):
        user_id = f"user-{attempt}"
        given = [
            turn(
                world,
                number,
                f"I live in {town}",
                user_id=user_id,
                metadata={"conversation_id": f"c{number}"},
            )
            for number, town in enumerate(towns)
        ]
        random.Random(attempt).shuffle(given)
        for start in range(0, len(given), 2):
            await world.memora.batch_create(given[start : start + 2])
        memories = await world.memora.graph.get_all_user_memories(world.org_id, user_id)
        assert [memory.memory for memory in memories] == [f"{user_id} lives in Kyiv."]
        history = await world.memora.memory_history(world.org_id, user_id, memories[0].memory_id)
        assert [memory.memory.split()[-1] for memory in history] == towns[::-1]


async def test_b24_one_that_fails_early_lets_nobody_pass_those_before_it(worlds: Worlds) -> None:
    arrived = asyncio.Event()
    release = asyncio.Event()

    class Slow(ScriptedBackendLLM):
        async def __call__(self, messages: Any, *args: Any, **options: Any) -> Any:
            if "slow" in str(messages):
                await release.wait()
            if "quick" in str(messages):
                arrived.set()
            return await super().__call__(messages, *args, **options)

    def answer(call: Call) -> Any:
        if "bad" in str(call.messages):
            return OutageError()
        if call.schema == "MemoryExtractionResponse":
            return extracting(call.data["new_messages"][0]["content"])(call)
        return {"verdicts": []}

    world = await worlds.open(extraction=Slow(answer))
    given = [
        turn(world, number, text, metadata={"conversation_id": text})
        for number, text in enumerate(("slow", "bad", "quick"))
    ]
    running = asyncio.create_task(world.memora.batch_create(given))
    await arrived.wait()
    for _attempt in range(20):
        assert await world.memories() == []
        await asyncio.sleep(0.01)
    release.set()
    assert statuses(await running) == ["created", "failed", "created"]
    written = sorted(await world.memories(), key=lambda memory: memory.recorded_at)
    assert [memory.memory for memory in written] == ["slow", "quick"]


async def test_one_failing_conversation_stops_no_other(worlds: Worlds) -> None:
    def answer(call: Call) -> Any:
        if "bad" in str(call.messages):
            return OutageError()
        return extracting("[[user]] has cats.")(call)

    world = await worlds.open(extraction=ScriptedBackendLLM(answer))
    given = [
        turn(world, 1, "something bad", metadata={"conversation_id": "x"}),
        turn(world, 2, metadata={"conversation_id": "y"}),
    ]
    assert statuses(await world.memora.batch_create(given)) == ["failed", "created"]


async def test_documents_are_an_import_that_can_be_listed_and_taken_back(world: World) -> None:
    await world.memora.batch_create([turn(world, 1), turn(world, 3)], import_id="first")
    before = (await world.memories(), await talk(world))
    given = [turn(world, 2), turn(world, 1, "I have a dog."), turn(world, 3)]
    results = await world.memora.batch_create(given, import_id="second")
    assert statuses(results) == ["created", "updated", "duplicate"]
    assert {result.import_id for result in results} == {"second"}
    assert sum(result.memories for result in results) == 2
    second, first = await world.memora.list_imports(world.org_id, world.user_id)
    # Turns of one conversation are one; a document that changes nothing is skipped.
    assert (first.import_id, first.conversations, first.memories) == ("first", 1, 2)
    assert (second.import_id, second.status, second.conversations) == ("second", "done", 1)
    assert (second.skipped, second.failed, second.memories) == (1, 0, 2)
    await world.memora.undo_import(world.org_id, "second")
    assert (await world.memories(), await talk(world)) == before
    results = await world.memora.batch_create(given, import_id="second")
    assert {(result.status.value, result.error_type) for result in results} == {
        ("failed", "ConflictError")
    }
    await world.memora.undo_import(world.org_id, "first")
    assert (
        await world.memora.graph.find_interaction(
            world.memora.for_user(world.user_id, org_id=world.org_id).scope, "conv"
        )
        is None
    )
    assert await world.memories() == []
    assert (await world.memora.doctor()).clean


async def test_an_import_id_is_for_one_user(world: World) -> None:
    given = [turn(world, 1), turn(world, 2, user_id="other")]
    with pytest.raises(InvalidInputError, match="import_id"):
        await world.memora.batch_create(given, import_id="mine")
    assert await world.memories() == []
    results = await world.memora.batch_create(given)
    assert statuses(results) == ["created", "created"]
    assert len({result.import_id for result in results}) == 2
