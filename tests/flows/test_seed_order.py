"""The order in which history comes in does not change what is current in the end."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby, permutations, product
from pathlib import Path
from typing import Any

import pytest

from memora import SeedConfig, SeedData
from memora.testing.fakes import Answer, Call, ScriptedBackendLLM
from tests.flows.conftest import World, Worlds

pytestmark = pytest.mark.timeout(60)
START = datetime(2024, 3, 1, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
# Of the 4,920 orders of five statements.
SAMPLE = 150
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


def statements(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Conversations of one statement each, an hour apart."""
    return [
        {
            "id": f"c{number}",
            "messages": [{"role": "user", "content": f"The user lives in {text}"}],
            "created_at": START + number * HOUR,
        }
        for number, text in enumerate(texts)
    ]


def held(
    texts: Sequence[str], told: Sequence[bool] | None = None
) -> list[tuple[str, datetime, datetime | None, int]]:
    """The versions that statements are, newest first: a run of one text is one, by all of it.

    Args:
        texts: All statements.
        told: Which of them are told; None: all.
    """
    left = [n for n in range(len(texts)) if told is None or told[n]]
    runs = [list(same) for _text, same in groupby(left, key=lambda n: texts[n])]
    begins = [START + run[0] * HOUR for run in runs]
    ends = [*begins[1:], None]
    return [
        (f"The user lives in {texts[run[0]]}", begin, end, len(run))
        for run, begin, end in zip(runs, begins, ends, strict=True)
    ][::-1]


async def stored(world: World) -> list[tuple[str, datetime, datetime | None, int]]:
    """The versions of the one statement that is current."""
    [current] = await world.memories()
    chain = await world.memora.memory_history(world.org_id, world.user_id, current.memory_id)
    return [(v.memory, v.obtained_at, v.superseded_at, len(v.message_sources)) for v in chain]


async def exported(world: World, folder: Path) -> list[str]:
    """Return the lines of an export, import rows apart."""
    path = folder / "compared.jsonl"
    await world.memora.export_to(path)
    lines = path.read_text("utf-8").splitlines()[:-1]
    return [line for line in lines if '"kind":"import' not in line]


def patterns(count: int) -> list[tuple[str, ...]]:
    """All sequences of up to three texts; two that differ in names only are one."""
    names = ("Oslo", "Rome", "Bonn")
    every = product(names, repeat=count)
    return [each for each in every if tuple(dict.fromkeys(each)) == names[: len(set(each))]]


def orders(count: int) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
    """Every order of every sequence; of five statements some, chosen once."""
    every = [(p, order) for p in patterns(count) for order in permutations(range(count))]
    return every if count < 5 else random.Random(5).sample(every, SAMPLE)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("count", [2, 3, 4, 5])
async def test_b28_statements_that_came_back_may_be_told_in_any_order(
    worlds: Worlds, count: int
) -> None:
    """Each is told by an import of its own, so that nothing sorts them."""
    world = await worlds.open(extraction=ScriptedBackendLLM(contradicting))
    for number, (texts, order) in enumerate(orders(count)):
        user_id = f"user-{number}"
        await world.memora.graph.create_user(world.org_id, "Ann", user_id=user_id)
        own = replace(world, user_id=user_id)
        given = statements(texts)
        for told in order:
            await imported(own, [given[told]], 1)
        assert await stored(own) == held(texts), (texts, order)
    assert (await world.memora.doctor()).clean


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(8))
async def test_d8_imports_on_one_statement_are_undone_in_any_order(
    worlds: Worlds, tmp_path: Path, seed: int
) -> None:
    """What is left is what would be there without them, and in the end the store as before."""
    rng = random.Random(seed)
    world = await worlds.open(extraction=ScriptedBackendLLM(contradicting), name="undone")
    for number in range(12):
        user_id = f"user-{number}"
        await world.memora.graph.create_user(world.org_id, "Ann", user_id=user_id)
        own = replace(world, user_id=user_id)
        texts = [rng.choice(("Oslo", "Rome", "Bonn")) for _ in range(rng.randint(3, 6))]
        given = statements(texts)
        # Who tells each: nobody's import, at first, or one of the two.
        tellers = [rng.randrange(3) for _ in texts]
        tellers[rng.randrange(len(texts))] = 0
        live = [each for each, teller in zip(given, tellers, strict=True) if teller == 0]
        for conversation in rng.sample(live, len(live)):
            await own.memora.save_or_update_interaction_and_memories(
                own.org_id,
                user_id,
                interaction=conversation["messages"],
                current_datetime=conversation["created_at"],
            )
        before = await exported(own, tmp_path)
        told = [n for n, teller in enumerate(tellers) if teller]
        rng.shuffle(told)
        if number % 2:
            told.sort(key=lambda n: tellers[n])
        for n in told:
            data = SeedData.for_conversations(user_id, [given[n]], org_id=own.org_id)
            result = await own.memora.seed(data, import_id=f"{user_id}-{tellers[n]}")
            assert result.failed == 0
        assert await stored(own) == held(texts)
        left = {0, 1, 2}
        for undone in rng.sample([1, 2], 2):
            if undone not in tellers:
                continue
            await own.memora.undo_import(own.org_id, f"{user_id}-{undone}")
            left -= {undone}
            assert await stored(own) == held(texts, [t in left for t in tellers]), (texts, tellers)
        assert await exported(own, tmp_path) == before
    assert (await world.memora.doctor()).clean
