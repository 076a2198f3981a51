"""Forgetting: expiry to the second, archiving, the sweep, and counts of usage."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from memora import Memora
from memora.core.lifetimes import ExpireFrom, Lifetimes
from memora.core.planning import Candidate, stamped
from memora.errors import (
    GraphDBConnectionError,
    InvalidInputError,
    MemoryNotFoundError,
    MemoryUpdateError,
    OrganizationNotFoundError,
    UserNotFoundError,
)
from memora.graph_db.base import MemoryListing
from memora.schema.lifetime import Access
from memora.schema.models import Memory
from memora.schema.scope import Scope
from memora.schema.storage_schema import MemoriesAndInteraction, MemoryToStore
from memora.testing.clocks import FrozenClock
from tests.conftest import OpenMemora

ORG, USER = "acme", "jake"
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


def texts(memories: Sequence[Memory]) -> list[str]:
    return [memory.memory for memory in memories]


async def every_read(
    memora: Memora, memory_id: str, held: Sequence[Memory]
) -> dict[str, list[str]]:
    """Return what each read of memora answers with, by its name.

    `held` are memories that the application still has from an earlier recall.
    """
    graph = memora.graph

    async def of_id(method: Any) -> list[str]:
        try:
            found = await method(ORG, USER, memory_id)
        except MemoryNotFoundError:
            return []
        return texts(found if isinstance(found, list) else [found])

    question = "What tea does Jake like?"
    recalled, _ids = await memora.recall_memories_for_message(ORG, USER, question)
    always, _ids = await memora.recall_memories_for_message(
        ORG, USER, "zzz", always=("short_term", "fact")
    )
    batch = await memora.search_memories_as_batch(ORG, ["tea"], user_id=USER)
    everybody = await memora.search_memories_as_batch(
        ORG, ["tea"], memory_search_scope="organization"
    )
    asked = await memora.query_memories(ORG, USER, question)
    talk = await graph.get_interaction(ORG, USER, "chat")
    block = memora.format_memories(held)
    briefing = await memora.build_context(ORG, USER, question)
    return {
        "recall": texts(recalled),
        "always": texts(always),
        "search": texts(await memora.search_memories_as_one(ORG, USER, ["tea"])),
        "search in a batch": texts(batch[0]),
        "search of the organization": texts(everybody[0]),
        "query": texts(asked.memories),
        "summary": ["Jake likes tea"] if "tea" in asked.context_summary else [],
        "context": ["Jake likes tea"] if "tea" in briefing else [],
        "list": texts(await memora.list_memories(ORG, USER)),
        "list with filters": texts(
            await memora.list_memories(ORG, USER, filters={"importance_min": 0})
        ),
        "list with archived": texts(
            await memora.list_memories(ORG, USER, filters={"include_archived": True})
        ),
        "list of the organization": texts(await memora.list_memories(ORG)),
        "get": await of_id(graph.get_user_memory),
        "history": await of_id(memora.memory_history),
        "graph's list": texts(await graph.get_all_user_memories(ORG, USER)),
        "graph's fetch": texts(
            await graph.fetch_user_memories_resolved([memory_id], org_id=ORG, user_id=USER)
        ),
        "interaction": texts(talk.memories or []),
        "memories of the interaction": texts(
            await graph.get_all_interaction_memories(ORG, USER, "chat")
        ),
        "format": ["Jake likes tea"] if "tea" in block else [],
    }


@pytest.mark.parametrize("short_term", [False, True])
async def test_an_expired_memory_is_gone_from_every_read_the_second_it_expires(
    memora: Memora, clock: FrozenClock, short_term: bool
) -> None:
    handle = memora.for_user(USER, org_id=ORG)
    await handle.ensure()
    await memora.graph.create_interaction(ORG, USER, external_id="chat")
    end = clock.now() + 7 * DAY
    kind: dict[str, Any] = {"memory_type": "short_term"} if short_term else {"expires_at": end}
    receipt = await handle.add_memory("Jake likes tea", interaction_id="chat", **kind)
    held = await handle.list_memories()
    assert held[0].expires_at == end
    told = clock.now()
    clock.advance(7 * DAY - SECOND)
    before = await every_read(memora, receipt.id, held)
    assert before == {read: ["Jake likes tea"] for read in before}
    clock.advance(SECOND)
    after = await every_read(memora, receipt.id, held)
    assert after == {read: [] for read in before}
    past: dict[str, Any] = {"as_of": told}
    seen, _ids = await memora.recall_memories_for_message(ORG, USER, "tea", **past)
    assert texts(seen) == ["Jake likes tea"]
    assert "tea" in memora.format_memories(seen, as_of=told)
    found = await memora.search_memories_as_one(ORG, USER, ["tea"], **past)
    assert texts(found) == ["Jake likes tea"]
    fetched = await memora.graph.fetch_user_memories_resolved(
        [receipt.id], org_id=ORG, user_id=USER, **past
    )
    assert texts(fetched) == ["Jake likes tea"]
    asked = await memora.list_memories(ORG, USER, filters={"include_expired": True})
    assert texts(asked) == ["Jake likes tea"]


async def test_what_is_expired_cannot_be_changed_and_is_new_when_said_again(
    memora: Memora, clock: FrozenClock
) -> None:
    first = await memora.add_memory(ORG, USER, "I like tea", expires_at=clock.now() + DAY)
    clock.advance(DAY)
    for change in (
        memora.update_memory(ORG, USER, first.id, "x"),
        memora.revert_memory(ORG, USER, first.id),
        memora.retract_memory(ORG, USER, first.id),
    ):
        with pytest.raises(MemoryNotFoundError):
            await change
    again = await memora.add_memory(ORG, USER, "I like tea")
    assert (again.status, again.superseded_ids) == ("created", [])
    assert texts(await memora.memory_history(ORG, USER, again.id)) == ["I like tea"]
    third = await memora.add_memory(ORG, USER, "I like tea")
    assert (third.status, third.id) == ("duplicate", again.id)
    await memora.sweep(ORG)
    assert texts(await memora.list_memories(ORG, USER)) == ["I like tea"]


async def test_a_version_below_an_expired_head_does_not_come_back(
    memora: Memora, clock: FrozenClock
) -> None:
    await memora.add_memory(ORG, USER, "Jake lives in Oslo")
    short = await memora.add_memory(ORG, USER, "Jake is in Rome", memory_type="short_term")
    clock.advance(DAY)
    updated = await memora.update_memory(ORG, USER, short.id, "Jake is in Paris")
    assert updated.expires_at == clock.now() + 7 * DAY
    clock.advance(6 * DAY)
    history = await memora.memory_history(ORG, USER, updated.memory_id)
    assert texts(history) == ["Jake is in Paris"]
    clock.advance(DAY)
    assert texts(await memora.list_memories(ORG, USER)) == ["Jake lives in Oslo"]
    clock.advance(-SECOND)
    await memora.retract_memory(ORG, USER, updated.memory_id)
    with pytest.raises(MemoryUpdateError):
        await memora.update_memory(ORG, USER, updated.memory_id, "x")


async def test_an_end_that_somebody_named_stays_when_the_text_changes(
    memora: Memora, clock: FrozenClock
) -> None:
    end = clock.now() + 3 * DAY
    first = await memora.add_memory(
        ORG, USER, "Jake is in Rome", memory_type="short_term", expires_at=end
    )
    clock.advance(DAY)
    updated = await memora.update_memory(ORG, USER, first.id, "Jake is in Paris")
    assert updated.expires_at == end


async def test_only_short_term_memories_expire_by_themselves(
    open_memora: OpenMemora, memora: Memora, clock: FrozenClock, tmp_path: Any
) -> None:
    start = clock.now()
    await memora.add_memory(ORG, USER, "short", memory_type="short_term")
    await memora.add_memory(ORG, USER, "kept", memory_type="short_term", pinned=True)
    await memora.add_memory(ORG, USER, "old", memory_type="short_term", obtained_at=start - 3 * DAY)
    await memora.add_memory(ORG, USER, "long", memory_type="long_term")
    ends = {m.memory: m.expires_at for m in await memora.list_memories(ORG, USER)}
    assert ends == {
        "short": start + 7 * DAY,
        "kept": None,
        "old": start + 4 * DAY,
        "long": None,
    }
    never = await open_memora(tmp_path / "never", short_term_days=None)
    await never.add_memory(ORG, USER, "short", memory_type="short_term")
    [memory] = await never.list_memories(ORG, USER)
    assert memory.expires_at is None


async def test_short_term_memories_of_the_graph_expire_as_well(
    open_memora: OpenMemora, clock: FrozenClock
) -> None:
    memora = await open_memora(short_term_days=0.5)
    await memora.for_user(USER, org_id=ORG).ensure()
    await memora.graph.save_interaction_with_memories(
        ORG,
        None,
        USER,
        MemoriesAndInteraction(memories=[MemoryToStore(memory="x", memory_type="short_term")]),
    )
    [memory] = await memora.list_memories(ORG, USER)
    assert memory.expires_at == clock.now() + DAY / 2


def test_an_import_tells_how_many_would_be_expired_already(clock: FrozenClock) -> None:
    now = clock.now()
    candidates = [
        Candidate(f"m{days}", "x", now - days * DAY, (), "user", memory_type=kind)
        for days, kind in ((1, "short_term"), (7, "short_term"), (8, "short_term"), (9, "fact"))
    ]
    made = stamped(candidates, Lifetimes(), now)
    assert made.expired == 2
    assert [c.expires_at for c in made.candidates] == [now + 6 * DAY, now, now - DAY, None]
    later = stamped(candidates, Lifetimes(), now, expire_from=ExpireFrom.parse("recorded_at"))
    assert later.expired == 0
    assert [c.expires_at for c in later.candidates] == [*[now + 7 * DAY] * 3, None]
    with pytest.raises(InvalidInputError):
        ExpireFrom.parse("somewhen")


async def test_the_sweep_removes_expired_memories_from_both_stores(
    memora: Memora, clock: FrozenClock
) -> None:
    ids = [
        (await memora.add_memory(ORG, user, f"gone {n}", expires_at=clock.now() + n * DAY)).id
        for user in ("jake", "eve")
        for n in (1, 2, 3)
    ]
    await memora.add_memory(ORG, USER, "stays")
    clock.advance(2 * DAY)
    assert len(await memora.vector_db.lookup(ids)) == 6
    dry = await memora.sweep(ORG, dry_run=True)
    assert (dry.expired, dry.archived, dry.dry_run, dry["at"]) == (4, 0, True, clock.now())
    assert len(await memora.vector_db.lookup(ids)) == 6
    of_one = await memora.sweep(ORG, "eve", batch_size=1)
    assert of_one.expired == 2
    swept = await memora.sweep(batch_size=1)
    assert (swept.expired, swept.dry_run) == (2, False)
    left = {ids[2], ids[5]}
    assert {entry.memory_id for entry in await memora.vector_db.lookup(ids)} == left
    for user in ("jake", "eve"):
        stored = await memora.graph.read_memories(Scope(ORG, user), ids)
        assert {memory.memory_id for memory in stored} <= left
    assert (await memora.sweep()).expired == 0
    assert (await memora.doctor()).findings == ()


async def test_the_sweep_archives_what_nothing_used(memora: Memora, clock: FrozenClock) -> None:
    start = clock.now()
    await memora.add_memory(ORG, USER, "old", obtained_at=start - 10 * DAY)
    await memora.add_memory(ORG, USER, "pinned", obtained_at=start - 90 * DAY, pinned=True)
    await memora.add_memory(ORG, USER, "used tea", obtained_at=start - 10 * DAY)
    await memora.add_memory(ORG, USER, "new")
    found = await memora.search_memories_as_one(ORG, USER, ["tea"], limit=1)
    assert texts(found) == ["used tea"]
    clock.advance(20 * DAY - SECOND)
    assert (await memora.sweep(ORG)).archived == 0
    clock.advance(SECOND)
    assert (await memora.sweep(ORG, dry_run=True)).archived == 1
    assert (await memora.sweep(ORG)).archived == 1
    assert (await memora.sweep(ORG)).archived == 0
    live = texts(await memora.list_memories(ORG, USER))
    assert sorted(live) == ["new", "pinned", "used tea"]
    asked = await memora.list_memories(ORG, USER, filters={"include_archived": True})
    [old] = [memory for memory in asked if memory.archived]
    assert old.memory == "old"
    hits = await memora.search_memories_as_one(ORG, USER, ["old"])
    assert "old" not in texts(hits)
    hits = await memora.search_memories_as_one(
        ORG, USER, ["old"], filters={"include_archived": True}
    )
    assert texts(hits)[0] == "old"
    then, _ids = await memora.recall_memories_for_message(ORG, USER, "old", as_of=start)
    assert "old" in texts(then)
    # What a search returns is used by it.
    clock.advance(30 * DAY)
    assert (await memora.sweep(ORG)).archived == 2
    assert texts(await memora.list_memories(ORG, USER)) == ["pinned"]


async def test_an_archived_memory_comes_back_by_hand_or_when_it_is_added_again(
    memora: Memora, clock: FrozenClock
) -> None:
    first = await memora.add_memory(ORG, USER, "I like tea")
    second = await memora.add_memory(ORG, USER, "I like milk")
    third = await memora.add_memory(ORG, USER, "I like jam")
    clock.advance(31 * DAY)
    assert (await memora.sweep(ORG, USER)).archived == 3
    assert await memora.list_memories(ORG, USER) == []
    reverted = await memora.revert_memory(ORG, USER, first.id)
    assert (reverted.memory, reverted.archived) == ("I like tea", False)
    updated = await memora.update_memory(ORG, USER, third.id, "I like jam")
    assert not updated.archived
    again = await memora.add_memory(ORG, USER, "I like milk")
    assert again.status == "created"
    assert again.id != second.id
    assert len(await memora.list_memories(ORG, USER)) == 3


async def test_archiving_can_be_turned_off(open_memora: OpenMemora, clock: FrozenClock) -> None:
    memora = await open_memora(archive_after_days=None)
    await memora.add_memory(ORG, USER, "I like tea")
    clock.advance(1000 * DAY)
    assert (await memora.sweep(ORG)).archived == 0


async def test_a_sweep_names_an_owner_that_exists(memora: Memora) -> None:
    with pytest.raises(OrganizationNotFoundError):
        await memora.sweep("missing")
    await memora.graph.create_organization("Acme", org_id=ORG)
    with pytest.raises(UserNotFoundError):
        await memora.sweep(ORG, "missing")
    with pytest.raises(InvalidInputError):
        await memora.sweep(None, USER)
    with pytest.raises(InvalidInputError):
        await memora.sweep(ORG, batch_size=0)


async def test_b55_what_was_swept_is_not_extracted_again(
    memora: Memora, clock: FrozenClock
) -> None:
    await memora.for_user(USER, org_id=ORG).ensure()
    given = MemoriesAndInteraction(
        interaction=[{"role": "user", "content": "I like tea"}],
        memories=[
            MemoryToStore(memory="I like tea", memory_type="short_term", source_msg_block_pos=[0])
        ],
    )
    graph = memora.graph
    interaction_id, _at = await graph.save_interaction_with_memories(ORG, None, USER, given)
    clock.advance(7 * DAY)
    assert (await memora.sweep(ORG)).expired == 1
    again = given.model_copy(
        update={"memories": [MemoryToStore(memory="I like tea", source_msg_block_pos=[0])]}
    )
    await graph.update_interaction_and_memories(ORG, None, USER, interaction_id, again)
    assert await memora.list_memories(ORG, USER) == []


async def test_usage_is_counted_off_the_recall_path(memora: Memora, clock: FrozenClock) -> None:
    receipt = await memora.add_memory(ORG, USER, "Jake likes tea")

    async def stored() -> tuple[int, Any]:
        [memory] = await memora.graph.read_memories(Scope(ORG, USER), [receipt.id])
        return memory.access_count, memory.last_accessed_at

    await memora.recall_memories_for_message(ORG, USER, "tea")
    await memora.query_memories(ORG, USER, "tea")
    clock.advance(DAY)
    await memora.search_memories_as_one(ORG, USER, ["tea"])
    assert await stored() == (0, None)
    await memora.drain_outbox()
    assert await stored() == (3, clock.now())
    used = clock.now()
    clock.advance(DAY)
    await memora.recall_memories_for_message(ORG, USER, "tea", as_of=clock.now())
    await memora.list_memories(ORG, USER)
    await memora.memory_history(ORG, USER, receipt.id)
    await memora.search_memories_as_batch(ORG, ["tea"], memory_search_scope="organization")
    await memora.drain_outbox()
    assert await stored() == (3, used)


async def test_usage_is_written_when_the_engine_closes(open_memora: OpenMemora) -> None:
    first = await open_memora()
    receipt = await first.add_memory(ORG, USER, "Jake likes tea")
    await first.recall_memories_for_message(ORG, USER, "tea")
    await first.close()
    second = await open_memora()
    [memory] = await second.graph.read_memories(Scope(ORG, USER), [receipt.id])
    assert memory.access_count == 1
    await first.close()


async def test_usage_is_written_after_a_while_and_when_there_is_much(memora: Memora) -> None:
    receipts = [await memora.add_memory(ORG, USER, f"tea {n}") for n in range(4)]
    listed = await memora.list_memories(ORG, USER)

    async def counted() -> list[int]:
        ids = [receipt.id for receipt in receipts]
        found = await memora.graph.read_memories(Scope(ORG, USER), ids)
        return [memory.access_count for memory in found]

    usage = memora._usage
    usage._seconds = 0.01
    usage.note(listed[:1])
    while sum(await counted()) < 1:
        await asyncio.sleep(0.005)
    usage._seconds, usage._size = 60.0, 3
    usage.note(listed[:2])
    await asyncio.sleep(0.05)
    assert sum(await counted()) == 1
    usage.note(listed[1:])
    while sum(await counted()) < 6:
        await asyncio.sleep(0.005)
    assert sorted(await counted()) == [1, 1, 2, 2]


async def test_usage_that_cannot_be_written_waits(
    memora: Memora, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = await memora.add_memory(ORG, USER, "Jake likes tea")
    graph = memora._ports.graph
    write = graph.count_accesses

    async def down(_scope: Scope, _accesses: dict[str, Access]) -> None:
        raise GraphDBConnectionError("sqlite", "down")

    monkeypatch.setattr(graph, "count_accesses", down)
    await memora.recall_memories_for_message(ORG, USER, "tea")
    await memora.drain_outbox()
    monkeypatch.setattr(graph, "count_accesses", write)
    await memora.recall_memories_for_message(ORG, USER, "tea")
    await memora.drain_outbox()
    [memory] = await memora.graph.list_memories(Scope(ORG, USER), MemoryListing())
    assert (memory.memory_id, memory.access_count) == (receipt.id, 2)
