"""R6: hostile texts, ids, types and shapes at every door of the library."""

from __future__ import annotations

import asyncio
import inspect
import json
import random
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from memora import Memora
from memora.embeddings import HashingEmbedder
from memora.errors import InvalidInputError, MemoraError
from memora.graph_db import BaseGraphDB, SQLiteGraph
from memora.schema.storage_schema import MemoriesAndInteraction
from memora.vector_db import EmbeddedVectorDB
from tests.contract.test_graph_neo4j import open_graph
from tests.neo4j_server.process import Neo4jServer
from tests.reliability import hostile, surface
from tests.reliability.kit import assert_clean
from tests.reliability.scorecard import Score
from tests.reliability.surface import ORG, USER

pytestmark = [pytest.mark.timeout(120), pytest.mark.suite("R6")]

VICTIM = "victim"
# Calls that are under way together; what they write then shares its commits.
TOGETHER = 32


@pytest.fixture
async def memora(tmp_path: Path) -> AsyncIterator[Memora]:
    vectors = EmbeddedVectorDB(tmp_path / "vectors", embedder=HashingEmbedder())
    async with Memora(vectors, SQLiteGraph(tmp_path / "graph.sqlite3")) as memora:
        await populate(memora)
        yield memora


async def populate(memora: Memora, *orgs: str) -> None:
    for org, user in zip(orgs or (ORG, VICTIM), (USER, VICTIM), strict=True):
        await memora.graph.create_organization("Acme", org_id=org)
        await memora.graph.create_user(org, "Jake", user_id=user)
        await memora.graph.create_agent(org, "Helper", agent_id=surface.AGENT)
        await memora.save_or_update_interaction_and_memories(
            org,
            user,
            interaction=[{"role": "user", "content": "I drink tea."}],
            external_id=surface.TALK,
        )


async def state(memora: Memora, org: str, user: str) -> list[Any]:
    """Everything of one user."""
    graph = memora.graph
    return [
        await graph.get_organization(org),
        await graph.get_all_org_users(org),
        await graph.get_all_org_agents(org),
        await graph.get_all_user_interactions(org, user, True, True),
        await graph.get_all_user_memories(org, user),
    ]


async def in_batches(
    calls: Sequence[Callable[[], Awaitable[Any]]], at_once: int = TOGETHER
) -> list[Any]:
    """Results or memora's errors of all calls; any other exception is the test's failure."""

    async def outcome(call: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await call()
        except MemoraError as error:
            return error

    found: list[Any] = []
    for start in range(0, len(calls), at_once):
        found += await asyncio.gather(*map(outcome, calls[start : start + at_once]))
    return found


def texts_for(number: int, texts: list[Any], *, every: bool) -> list[Any]:
    """All texts, or a sixth of them, another one for each number."""
    return texts if every else texts[number % 6 :: 6]


@pytest.mark.slow
@pytest.mark.timeout(900)  # the nightly one tries them all
async def test_r6_every_text_of_every_public_method(
    memora: Memora, tmp_path: Path, nightly: bool, seed: int, score: Score
) -> None:
    [memory] = await memora.graph.get_all_user_memories(ORG, USER)
    before = await state(memora, VICTIM, VICTIM)
    spots = list(surface.spots(tmp_path / "files"))
    texts: list[Any] = [*hostile.every(up_to=10_000), *hostile.OTHER_TYPES]
    random.Random(seed).shuffle(texts)
    calls = errors = 0
    for number, spot in enumerate(spots):
        tried = texts_for(number, texts, every=nightly)
        found = await in_batches(
            [
                lambda spot=spot, text=text: spot.call(memora, memory.memory_id, text)
                for text in tried
            ]
        )
        calls += len(found)
        errors += sum(isinstance(answer, MemoraError) for answer in found)
    assert await state(memora, VICTIM, VICTIM) == before
    await memora.graph.retry_outbox(memora.graph.clock.now())
    await memora.drain_outbox()
    await assert_clean(memora)
    score(
        "R6",
        strings=len(hostile.every()),
        spots=len(spots),
        calls=calls,
        typed_errors=errors,
        violations=0,
        seed=seed,
    )


def test_r6_no_method_with_a_text_is_forgotten(tmp_path: Path) -> None:
    """A new one appears by itself; here is what would show that the search for them is broken."""
    found = {(spot.owner, spot.method) for spot in surface.spots(tmp_path)}
    assert (Memora, "save_or_update_interaction_and_memories") in found
    for owner in surface.OWNERS:
        for name, function in inspect.getmembers(owner, inspect.isfunction):
            takes = {"org_id", "user_id"} & inspect.signature(function).parameters.keys()
            is_public = not name.startswith("_") and not hasattr(function, "__isabstractmethod__")
            assert not (takes and is_public) or (owner, name) in found, name
    assert len(hostile.every()) >= 120


# Round trips: per field, how a text is stored and how it is read again.


async def _user(memora: Memora, number: int, text: str) -> str:
    stored = await memora.graph.create_user(ORG, text, user_id=f"u{number}")
    assert (await memora.graph.get_user(ORG, f"u{number}")) == stored
    return stored.user_name


async def _user_id(memora: Memora, number: int, text: str) -> str:
    stored = await memora.graph.create_user(ORG, "x", user_id=text)
    assert await memora.graph.get_user(ORG, text) == stored
    return stored.user_id


async def _org_id(memora: Memora, number: int, text: str) -> str:
    stored = await memora.graph.create_organization(text, org_id=text)
    assert await memora.graph.get_organization(text) == stored
    assert stored.org_name == stored.org_id
    return stored.org_id


async def _agent(memora: Memora, number: int, text: str) -> str:
    stored = await memora.graph.create_agent(ORG, text, USER, agent_id=text)
    assert await memora.graph.get_agent(ORG, text) == stored
    assert stored.agent_label == stored.agent_id
    return stored.agent_id


async def _rename(memora: Memora, number: int, text: str) -> str:
    await memora.graph.create_agent(ORG, "x", agent_id=f"a{number}")
    await memora.graph.update_agent(ORG, f"a{number}", text)
    return (await memora.graph.get_agent(ORG, f"a{number}")).agent_label


async def _message(memora: Memora, text: Any, **fields: Any) -> Any:
    message = {"role": "tool", "content": text, **fields}
    saved, _at = await memora.save_or_update_interaction_and_memories(
        ORG, USER, interaction=[message]
    )
    [stored] = await memora.graph.get_interaction_messages(ORG, USER, saved)
    return stored


async def _content(memora: Memora, number: int, text: str) -> str:
    return (await _message(memora, text)).content


async def _name(memora: Memora, number: int, text: str) -> str:
    return (await _message(memora, "x", name=text)).name


async def _json(memora: Memora, number: int, text: str) -> str:
    data = (await _message(memora, "x", more={text: [{"deep": text}]})).data
    [(key, [value])] = data["more"].items()
    assert value == {"deep": key}
    return key


async def _part(memora: Memora, number: int, text: str) -> str:
    stored = await _message(memora, [{"type": "text", "text": text}])
    assert stored.content == text
    return stored.data["content"][0]["text"]


async def _interaction(memora: Memora, **fields: Any) -> Any:
    saved = await memora.graph.create_interaction(ORG, USER, **fields)
    found = await memora.graph.get_interaction(ORG, USER, saved.interaction_id)
    assert found == saved
    return found


async def _title(memora: Memora, number: int, text: str) -> str:
    return (await _interaction(memora, title=text)).title


async def _external_id(memora: Memora, number: int, text: str) -> str:
    found = await _interaction(memora, external_id=text)
    assert await memora.graph.get_interaction(ORG, USER, text) == found
    return found.external_id


async def _metadata(memora: Memora, number: int, text: str) -> str:
    [(key, value)] = (await _interaction(memora, metadata={text: text})).metadata.items()
    assert value == key
    return key


async def _process_id(memora: Memora, number: int, text: str) -> str:
    saved, _at = await memora.save_or_update_interaction_and_memories(
        ORG, USER, interaction=[], process_id=text
    )
    return (await memora.graph.get_interaction(ORG, USER, saved)).process_id or ""


async def _idempotency_key(memora: Memora, number: int, text: str) -> str:
    save = memora.save_or_update_interaction_and_memories
    first = await save(ORG, USER, interaction=[], idempotency_key=text)
    assert await save(ORG, USER, interaction=[], idempotency_key=text) == first
    return unicodedata.normalize("NFC", text)


async def _memory(memora: Memora, text: str, **fields: Any) -> Any:
    storage = MemoriesAndInteraction.model_validate(
        {"interaction": [], "memories": [{"memory": text, **fields}]}
    )
    saved, _at = await memora.graph.save_interaction_with_memories(ORG, None, USER, storage)
    [memory] = await memora.graph.get_all_interaction_memories(ORG, USER, saved)
    return memory


async def _labels(memora: Memora, number: int, text: str) -> str:
    memory = await _memory(memora, f"m{number}", tags=[text], entities=[text], memory_type=text)
    assert memory.tags == memory.entities == [memory.memory_type]
    found = await memora.search_memories_as_one(
        ORG, USER, [f"m{number}"], filters={"tags": [text], "entities": [text], "types": [text]}
    )
    assert memory.memory_id in {each.memory_id for each in found}
    return memory.memory_type


async def _memory_metadata(memora: Memora, number: int, text: str) -> str:
    memory = await _memory(memora, f"n{number}", metadata={"k": text})
    found = await memora.search_memories_as_one(
        ORG, USER, [f"n{number}"], filters={"metadata": {"k": text}}
    )
    assert memory.memory_id in {each.memory_id for each in found}
    return memory.metadata["k"]


async def _author(memora: Memora, number: int, text: str) -> str:
    memory = await _memory(memora, f"o{number}")
    changed = await memora.update_memory(ORG, USER, memory.memory_id, f"p{number}", author=text)
    return changed.author or ""


async def _statement(memora: Memora, number: int, text: str) -> str:
    memory = await _memory(memora, f"q{number}")
    changed = await memora.update_memory(ORG, USER, memory.memory_id, text)
    [now, _before] = await memora.memory_history(ORG, USER, memory.memory_id)
    assert now == changed
    return changed.memory


RoundTrip = Callable[[Memora, int, str], Awaitable[str]]
EXACT: dict[str, RoundTrip] = {
    "message content": _content,
    "message part": _part,
    "message fields": _json,
    "interaction metadata": _metadata,
    "memory metadata": _memory_metadata,
    "memory text": _statement,
}
IN_NFC: dict[str, RoundTrip] = {
    "organization id and name": _org_id,
    "user name": _user,
    "user id": _user_id,
    "agent id and label": _agent,
    "new agent label": _rename,
    "message name": _name,
    "title": _title,
    "external id": _external_id,
    "process id": _process_id,
    "idempotency key": _idempotency_key,
    "tags, entities, type": _labels,
    "author": _author,
}


@pytest.mark.parametrize("field", [*EXACT, *IN_NFC])
async def test_b88_a_text_comes_back_as_it_was_or_is_refused(
    memora: Memora, field: str, score: Score
) -> None:
    texts = hostile.every(up_to=None if field in EXACT else 10_000)
    if field in IN_NFC:
        texts = list({unicodedata.normalize("NFC", text): text for text in texts}.values())
    trip = EXACT.get(field) or IN_NFC[field]
    found = await in_batches(
        [lambda n=n, text=text: trip(memora, n, text) for n, text in enumerate(texts)]
    )
    refused = 0
    for text, back in zip(texts, found, strict=True):
        if isinstance(back, MemoraError):
            assert isinstance(back, InvalidInputError), (field, text[:50], back)
            assert not text.strip() or len(text) < 9 or text not in str(back)
            refused += 1
        else:
            wanted = text if field in EXACT else unicodedata.normalize("NFC", text)
            assert back == wanted, (field, text[:50])
    assert refused < len(texts) / 3
    await memora.drain_outbox()
    await assert_clean(memora)
    score("R6", round_trips=len(texts) - refused, refused=refused, violations=0)


async def test_what_is_refused_leaves_nothing(memora: Memora) -> None:
    """A list with one bad message is refused whole, wherever the bad one is."""
    before = await state(memora, ORG, USER)
    bad = [
        {"role": "user", "content": "\ud800"},
        {"role": "nobody"},
        None,
        {"role": "user", "n": {1}},
    ]
    good = {"role": "user", "content": "I like tea."}
    for message in bad:
        for transcript in ([message, good], [good, message], [good, message, good]):
            with pytest.raises(InvalidInputError, match=r"interaction\[[01]\]"):
                await memora.save_or_update_interaction_and_memories(
                    ORG,
                    USER,
                    interaction=transcript,  # pyright: ignore[reportArgumentType]
                    idempotency_key="once",
                )
    assert await state(memora, ORG, USER) == before


async def test_b04_ids_that_join_to_the_same_text_are_apart(memora: Memora) -> None:
    pairs = [("a:b", "c"), ("a", "b:c"), ("a/b", "c"), ("a", "b/c"), ("a,b", "c"), ("ab", "c")]
    for org, user in pairs:
        await memora.graph.create_organization(org, org_id=org)
        await memora.graph.create_user(org, user, user_id=user)
        await memora.save_or_update_interaction_and_memories(
            org, user, interaction=[{"role": "user", "content": f"I am {user} of {org}."}]
        )
    for org, user in pairs:
        found = await memora.search_memories_as_one(org, user, ["I am"])
        assert [memory.memory for memory in found] == [f"I am {user} of {org}."]


async def test_b01_a_wildcard_is_an_id(memora: Memora) -> None:
    for wildcard in ("*", "%", "_____", "?", "j*", "jake*", ".*", "[j]ake"):
        found = await in_batches(
            [
                lambda w=wildcard: memora.search_memories_as_one(ORG, w, ["tea"]),
                lambda w=wildcard: memora.graph.get_all_user_memories(ORG, w),
                lambda w=wildcard: memora.search_memories_as_batch(w, ["tea"], user_id=USER),
                lambda w=wildcard: memora.graph.delete_user(ORG, w),
                lambda w=wildcard: memora.vector_db.delete_memories([w], ORG, USER),
            ]
        )
        assert not [answer for answer in found if isinstance(answer, list) and answer]
    assert len(await memora.search_memories_as_one(ORG, USER, ["tea"])) == 1


# Names and placeholders


def names() -> Iterator[str]:
    """What may be a name, in NFC."""
    for text in hostile.every(up_to=256):
        name = unicodedata.normalize("NFC", text)
        if name.strip() and not any(
            unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in name
        ):
            yield name


async def about(memora: Memora, user: str, text: str, agent: str | None = None) -> str:
    """Store a statement for a user and return it as it is read."""
    storage = MemoriesAndInteraction.model_validate({"memories": [{"memory": text}]})
    saved, _at = await memora.graph.save_interaction_with_memories(ORG, agent, user, storage)
    [memory] = await memora.graph.get_all_interaction_memories(ORG, user, saved)
    return memory.memory


async def test_b48_a_name_is_put_in_literally(memora: Memora, score: Score) -> None:
    given = list(names())

    async def trip(number: int, name: str) -> str:
        user = f"n{number}"
        await memora.graph.create_user(ORG, name, user_id=user)
        return await about(memora, user, f"Then [[u:{user}]] said: [[u:{user}]]'s tea.")

    found = await in_batches([lambda n=n, name=name: trip(n, name) for n, name in enumerate(given)])
    assert found == [f"Then {name} said: {name}'s tea." for name in given]
    score("R6", names=len(given), violations=0)


async def test_b49_only_a_whole_placeholder_of_the_user_is_one(memora: Memora) -> None:
    await memora.graph.create_user(ORG, "Ada", user_id="ada")
    text = f"user_friendly user_{USER} [[u:{VICTIM}]] [[u:{USER}x]] [u:{USER}] [[U:{USER}]] [[u:"
    assert await about(memora, USER, text) == text
    assert await about(memora, USER, f"[[u:{USER}]] user_friendly") == "Jake user_friendly"


async def test_b51_names_are_put_in_in_one_pass(memora: Memora) -> None:
    await memora.graph.update_user(ORG, USER, f"agent_007 [[a:{surface.AGENT}]]")
    await memora.graph.update_agent(ORG, surface.AGENT, f"[[u:{USER}]]")
    text = f"[[u:{USER}]] met [[a:{surface.AGENT}]]"
    read = await about(memora, USER, text, surface.AGENT)
    assert read == f"agent_007 [[a:{surface.AGENT}]] met [[u:{USER}]]"


async def test_b79_memoras_own_syntax_in_a_users_words_stays(memora: Memora) -> None:
    for text in hostile.STRINGS["own syntax"]:
        said = f"{text} is what [[u:{USER}]] typed, user_{USER} too"
        saved, _at = await memora.save_or_update_interaction_and_memories(
            ORG, USER, interaction=[{"role": "user", "content": said}]
        )
        [message] = await memora.graph.get_interaction_messages(ORG, USER, saved)
        assert message.content == said
        [memory] = await memora.graph.get_all_interaction_memories(ORG, USER, saved)
        assert memory.memory == said
        changed = await memora.update_memory(ORG, USER, memory.memory_id, f"{text} is typed")
        assert changed.memory == f"{text} is typed"


# Shapes


class Twice(Mapping[str, Any]):
    """A mapping that says one of its keys twice, as a lenient JSON parser may return it."""

    def __getitem__(self, key: str) -> Any:
        return {"role": "user", "content": "second", "extra": 1}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(["role", "content", "content", "extra", "extra"])

    def __len__(self) -> int:
        return 5


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


MESSAGES: dict[str, tuple[Any, bool]] = {
    "no content": ({"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}, True),
    "no content key": ({"role": "assistant", "tool_calls": []}, True),
    "parts": ({"role": "user", "content": [{"type": "text", "text": "x"}, {"image": None}]}, True),
    "a mapping": ({"role": "user", "content": {"text": "x"}}, True),
    "an empty list": ({"role": "user", "content": []}, True),
    "system": ({"role": "system", "content": "You are helpful."}, True),
    "a key twice": (Twice(), True),
    "json with a key twice": (json.loads('{"role":"user","content":"a","content":"b"}'), True),
    "nested": ({"role": "user", "content": "x", "data": nested(100)}, True),
    "deeply nested": ({"role": "user", "content": "x", "data": nested(100_000)}, False),
    "deeply nested content": ({"role": "user", "content": nested(100_000)}, False),
    "NaN": ({"role": "user", "content": "x", "data": float("nan")}, False),
    "infinity": ({"role": "user", "content": "x", "data": [float("-inf")]}, False),
    "a number": ({"role": "user", "content": 5}, False),
    "True": ({"role": "user", "content": True}, False),
    "bytes": ({"role": "user", "content": b"x"}, False),
    "an object": ({"role": "user", "content": "x", "data": object()}, False),
    "a set": ({"role": "user", "content": "x", "data": {1}}, False),
    "no role": ({"content": "x"}, False),
    "an unknown role": ({"role": "root", "content": "x"}, False),
    "a role of another type": ({"role": ["user"], "content": "x"}, False),
    "a text": ("x", False),
    "None": (None, False),
    "one MiB": ({"role": "user", "content": "x" * 2**20}, True),
    "more than one MiB": ({"role": "user", "content": "x" * (2**20 + 1)}, False),
    "one MiB of umlauts": ({"role": "user", "content": "ü" * 2**20}, False),
    "large data": ({"role": "user", "content": "x", "data": ["y" * 2**20] * 3}, False),
    "100 MiB": ({"role": "user", "content": "x" * (100 * 2**20)}, False),
}


async def test_b70_messages_of_every_shape(memora: Memora) -> None:
    for shape, (message, fine) in MESSAGES.items():
        before = await state(memora, ORG, USER)
        transcript = [{"role": "tool", "content": "first"}, message]
        [found] = await in_batches(
            [
                lambda t=transcript: memora.save_or_update_interaction_and_memories(
                    ORG, USER, interaction=t
                )
            ]
        )
        if not fine:
            assert isinstance(found, InvalidInputError), (shape, found)
            assert await state(memora, ORG, USER) == before
            continue
        saved, _at = found
        stored = await memora.graph.get_interaction_messages(ORG, USER, saved)
        assert [each.msg_position for each in stored] == [0, 1]
        given, back = dict(message), stored[1].as_message()
        assert {key: back.get(key) for key in given} == given, shape
        # What comes next is compared with what is there.
        await memora.graph.delete_user_interaction_and_its_memories(ORG, USER, saved)
    await assert_clean(memora)


async def test_what_is_no_transcript(memora: Memora) -> None:
    wrong: list[Any] = ["text", b"x", {"role": "user"}, 5, [[]], [5], object()]
    for given in wrong:
        with pytest.raises(InvalidInputError, match="interaction"):
            await memora.save_or_update_interaction_and_memories(ORG, USER, interaction=given)


async def test_no_messages_and_very_many(memora: Memora) -> None:
    saved, _at = await memora.save_or_update_interaction_and_memories(ORG, USER, interaction=[])
    assert await memora.graph.get_interaction_messages(ORG, USER, saved) == []
    # Of a role that nothing is remembered of: this is about the transcript.
    many = [{"role": "tool", "content": f"m{number}"} for number in range(10_000)]
    saved, _at = await memora.save_or_update_interaction_and_memories(ORG, USER, interaction=many)
    page = await memora.graph.get_interaction_messages(ORG, USER, saved, skip=9_990, limit=1000)
    assert [message.content for message in page] == [
        f"m{number}" for number in range(9_990, 10_000)
    ]
    before = await state(memora, ORG, USER)
    with pytest.raises(InvalidInputError, match="at most 100000 messages"):
        await memora.save_or_update_interaction_and_memories(
            ORG, USER, interaction=[many[0]] * 100_001
        )
    assert await state(memora, ORG, USER) == before
    await assert_clean(memora)


PAGES: tuple[Any, ...] = (
    *(True, False, -1, 2**31, 2**63, -(2**63), 10**400, 1.0, 0.5, "5", "", b"5", [5], {}),
    *(float("nan"), float("inf"), object()),
)


def pages() -> Iterator[tuple[type, str, str]]:
    for owner in surface.OWNERS:
        for name, function in inspect.getmembers(owner, inspect.isfunction):
            if name.startswith("_") or getattr(function, "__isabstractmethod__", False):
                continue
            for parameter in {"skip", "limit"} & inspect.signature(function).parameters.keys():
                if name != "drain_outbox":  # how much of the work is done at a time
                    yield owner, name, parameter


async def test_b44_pages_of_every_size(memora: Memora, tmp_path: Path, score: Score) -> None:
    tried = 0
    spots = {(spot.owner, spot.method): spot for spot in surface.spots(tmp_path)}
    spots |= {(BaseGraphDB, "get_all_organizations"): None}
    for owner, name, parameter in pages():
        spot = spots[owner, name]
        arguments = {} if spot is None else spot.arguments | surface.ONE_OF.get(name, {})
        method = getattr(surface.OWNERS[owner](memora), name)
        bad = [*PAGES, *([0, 1001] if parameter == "limit" else [])]
        for value in bad:
            with pytest.raises(InvalidInputError, match=parameter):
                await method(**arguments, **{parameter: value})
            tried += 1
    assert tried > 200
    score("R6", pages=tried, violations=0)


# Times

BERLIN = ZoneInfo("Europe/Berlin")
TIMES: dict[str, datetime] = {
    "aware": datetime(2026, 5, 1, 12, tzinfo=UTC),
    "naive": datetime(2026, 5, 1, 12),  # noqa: DTZ001 - what callers pass
    "odd offset": datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(minutes=-330, seconds=-7))),
    "epoch": datetime(1970, 1, 1, tzinfo=UTC),
    "before the epoch": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    "the last": datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    "the first": datetime(1, 1, 1, tzinfo=UTC),
    "a gap": datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN),
    "a fold, first": datetime(2026, 10, 25, 2, 30, fold=0, tzinfo=BERLIN),
    "a fold, second": datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN),
}
OUTSIDE: tuple[Any, ...] = (
    datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12))),
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=12))),
    *(-1, 0, 1e30, True, "2026-01-01", b"", [], object()),
)


async def test_b64_one_instant_is_one_aware_time(memora: Memora) -> None:
    for kind, time in TIMES.items():
        saved, _at = await memora.save_or_update_interaction_and_memories(
            ORG,
            USER,
            interaction=[{"role": "user", "content": f"{kind} tea", "timestamp": time}],
            current_datetime=time,
        )
        [memory] = await memora.graph.get_all_interaction_memories(ORG, USER, saved)
        [message] = await memora.graph.get_interaction_messages(ORG, USER, saved)
        for stored in (memory.obtained_at, message.timestamp):
            assert stored is not None
            assert stored.tzinfo is not None
            assert stored == time.astimezone(UTC), kind
        found = await memora.search_memories_as_one(ORG, USER, ["tea"], as_of=time, limit=100)
        assert memory.memory_id in {each.memory_id for each in found}, kind
    await assert_clean(memora)


def times() -> Iterator[tuple[type, str, str]]:
    for owner in surface.OWNERS:
        for name, function in inspect.getmembers(owner, inspect.isfunction):
            if name.startswith("_") or getattr(function, "__isabstractmethod__", False):
                continue
            for parameter in inspect.signature(function).parameters.values():
                if str(parameter.annotation).startswith("datetime | None"):
                    yield owner, name, parameter.name


async def test_b64_what_is_no_time(memora: Memora, tmp_path: Path, score: Score) -> None:
    [memory] = await memora.graph.get_all_user_memories(ORG, USER)
    spots = {(spot.owner, spot.method): spot for spot in surface.spots(tmp_path)}
    tried = 0
    for owner, name, parameter in times():
        spot = spots[owner, name]
        arguments = {
            key: memory.memory_id if value is surface.MEMORY else value
            for key, value in spot.arguments.items()
        }
        for value in OUTSIDE:
            with pytest.raises(InvalidInputError):
                await getattr(surface.OWNERS[owner](memora), name)(
                    **{**arguments, parameter: value}
                )
            tried += 1
    assert tried > 90
    score("R6", times=tried, violations=0)


# Neo4j


@pytest.mark.neo4j
async def test_r6_on_a_live_neo4j(
    neo4j_server: Neo4jServer, tmp_path: Path, seed: int, nightly: bool, score: Score
) -> None:
    vectors = EmbeddedVectorDB(None, embedder=HashingEmbedder())
    run = f"r6-{tmp_path.name}-{random.Random().getrandbits(64):x}"
    texts = hostile.every(up_to=10_000)
    random.Random(seed).shuffle(texts)
    async with Memora(vectors, open_graph(neo4j_server)) as memora:
        await populate(memora, f"{run}-a", f"{run}-b")
        before = await state(memora, f"{run}-b", VICTIM)
        calls = 0
        spots = [s for s in surface.spots(tmp_path / "files") if s.owner is BaseGraphDB]
        for number, spot in enumerate(spots):
            # The ids of this run, so that other tests' data is not met.
            moved = {k: f"{run}-a" if v == ORG else v for k, v in spot.arguments.items()}
            here = replace(spot, arguments=moved)
            tried = texts if nightly else texts[number % 30 :: 30]
            if spot.parameter == "org_id":
                tried = [f"{run}{text}" for text in tried]
            asked = [lambda here=here, t=text: here.call(memora, "none", t) for text in tried]
            calls += len(await in_batches(asked, at_once=8))
        assert await state(memora, f"{run}-b", VICTIM) == before
        content = [text for text in hostile.every() if is_unicode(text)]
        messages = [{"role": "tool", "content": text, "k": {"v": text}} for text in content]
        fitting = [m for m in messages if len(m["content"].encode()) <= 2**18]
        saved, _at = await memora.save_or_update_interaction_and_memories(
            f"{run}-a", USER, interaction=fitting
        )
        stored = await memora.graph.get_interaction_messages(f"{run}-a", USER, saved)
        assert [message.as_message() for message in stored] == fitting
        for org in (f"{run}-a", f"{run}-b"):
            await memora.graph.delete_organization(org)
    score("R6", neo4j_calls=calls, neo4j_round_trips=len(fitting), violations=0, seed=seed)


def is_unicode(text: str) -> bool:
    return not any(unicodedata.category(char) == "Cs" for char in text)
