"""The order in which history comes in does not change what is current in the end."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from memora import SeedConfig, SeedData
from memora.testing.fakes import Answer, Call, ScriptedBackendLLM
from tests.flows.conftest import World, Worlds

pytestmark = pytest.mark.timeout(60)
START = datetime(2024, 3, 1, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
CONFIG = SeedConfig(extract_agent_memories=True)


async def imported(world: World, given: Sequence[dict[str, Any]], batch_size: int) -> None:
    """Import from an iterator, whose order no import can know in advance."""

    async def cursor() -> AsyncIterator[dict[str, Any]]:
        for conversation in given:
            yield conversation

    data = SeedData.for_conversations(world.user_id, cursor(), org_id=world.org_id)
    result = await world.memora.seed(data, seed_config=CONFIG, batch_size=batch_size)
    assert result.failed == 0


async def current(world: World) -> list[tuple[Any, ...]]:
    """What is current, with its time and the trust in it."""
    return sorted(
        (
            memory.memory,
            memory.obtained_at,
            memory.source_role,
        )
        for memory in await world.memories()
    )


async def sources(world: World) -> list[tuple[str, list[str]]]:
    """The times of the messages that each current memory comes from."""
    return sorted(
        (memory.memory, sorted(str(message.timestamp) for message in memory.message_sources))
        for memory in await world.memories()
    )


async def history(world: World) -> list[list[tuple[Any, ...]]]:
    """All statements with all their versions and times."""
    found: list[list[tuple[Any, ...]]] = []
    for memory in await world.memories():
        versions = await world.memora.memory_history(world.org_id, world.user_id, memory.memory_id)
        found.append([(v.memory, v.obtained_at, v.superseded_at) for v in versions])
    return sorted(found)


def conversations(
    rng: random.Random, texts: Sequence[str], count: int, roles: Sequence[str]
) -> list[dict[str, Any]]:
    """Conversations a few hours apart, the messages of each with times of their own."""
    made: list[dict[str, Any]] = []
    for number in range(count):
        at = START + number * 10 * HOUR
        messages = [
            {
                "role": rng.choice(roles),
                "content": rng.choice(texts),
                "timestamp": (at + minute * timedelta(minutes=1)).isoformat(),
            }
            for minute in range(rng.randint(1, 4))
        ]
        made.append({"id": f"c{number}", "messages": messages, "created_at": at})
    return made


@pytest.mark.parametrize("roles", [("user",), ("user", "user", "assistant")], ids=len)
@pytest.mark.parametrize("seed", range(6))
async def test_b28_any_order_of_what_was_said_word_for_word(
    worlds: Worlds, seed: int, roles: tuple[str, ...]
) -> None:
    rng = random.Random(seed)
    given = conversations(rng, [f"I like number {n}." for n in range(12)], 24, roles)
    in_order = await worlds.open(name="sorted")
    await imported(in_order, given, 3)
    wanted = await current(in_order)
    assert len(wanted) == len({text for text, _at, _role in wanted}) > 5
    shuffled = list(given)
    rng.shuffle(shuffled)
    world = await worlds.open(name="shuffled")
    await imported(world, shuffled, rng.choice([1, 2]))
    assert await current(world) == wanted
    if len(roles) == 1:
        assert await history(world) == await history(in_order)
        assert await sources(world) == await sources(in_order)
    assert (await world.memora.doctor()).clean


def topic(text: str) -> str:
    return text.rpartition(" ")[0]


def contradicting(call: Call) -> Answer:
    """Every message is a statement; two of one topic cannot both hold."""
    if call.schema == "MemoryExtractionResponse":
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
    if call.schema == "MemoryComparisonResponse":
        known = {topic(memory["memory"]): memory["number"] for memory in call.data["existing"]}
        return {
            "verdicts": [
                {
                    "candidate": candidate["number"],
                    "verdict": "contradiction",
                    "existing": known[topic(candidate["memory"])],
                }
                for candidate in call.data["candidates"]
                if topic(candidate["memory"]) in known
            ]
        }
    return "nothing"


@pytest.mark.parametrize("seed", range(8))
async def test_b28_any_order_of_statements_that_contradict_each_other(
    worlds: Worlds, seed: int
) -> None:
    rng = random.Random(seed)
    topics = ("The user lives in", "The user works for the company called", "Their pet cat is")
    given: list[dict[str, Any]] = []
    for number in range(18):
        messages = [{"role": "user", "content": f"{rng.choice(topics)} Name{number // 2}"}]
        at = START + number * HOUR
        given.append({"id": f"c{number}", "messages": messages, "created_at": at})
    in_order = await worlds.open(extraction=ScriptedBackendLLM(contradicting), name="sorted")
    await imported(in_order, given, 3)
    wanted = await current(in_order)
    assert len(wanted) == len({topic(each["messages"][0]["content"]) for each in given})
    shuffled = list(given)
    rng.shuffle(shuffled)
    world = await worlds.open(extraction=ScriptedBackendLLM(contradicting), name="shuffled")
    await imported(world, shuffled, 1)
    assert await current(world) == wanted
    assert await history(world) == await history(in_order)
    assert (await world.memora.doctor()).clean
