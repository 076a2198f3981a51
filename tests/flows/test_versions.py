"""Versions made by hand: update, retract, revert, purge, and reading the past."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from memora.errors import MemoraError, MemoryNotFoundError, MemoryUpdateError, VectorDBError
from memora.schema.models import Memory
from tests.flows.conftest import DAY, MAY, World


async def versions(world: World, memory_id: str) -> list[str]:
    history = await world.memora.memory_history(world.org_id, world.user_id, memory_id)
    return [version.memory for version in history]


async def only(world: World) -> Memory:
    (memory,) = await world.memories()
    return memory


async def update(world: World, memory_id: str, text: str) -> Memory:
    return await world.memora.update_memory(
        world.org_id, world.user_id, memory_id, text, author="support"
    )


async def test_an_update_is_a_version_with_its_author(world: World) -> None:
    await world.save("I live in Berlin.", current_datetime=MAY)
    first = await only(world)
    second = await update(world, first.memory_id, "I live in Lisbon.")
    assert (second.author, second.source_role, second.supersedes) == (
        "support",
        "api",
        first.memory_id,
    )
    assert await world.current() == ["I live in Lisbon."]
    assert await versions(world, first.memory_id) == ["I live in Lisbon.", "I live in Berlin."]
    third = await update(world, first.memory_id, "I live in Porto.")
    assert third.supersedes == second.memory_id


async def test_an_update_with_the_same_text_is_no_version(world: World) -> None:
    await world.save("I live in Berlin.")
    memory = await only(world)
    same = await update(world, memory.memory_id, "I live in Berlin.")
    assert same.memory_id == memory.memory_id


async def test_b53_history_answers_from_any_version(world: World) -> None:
    await world.save("one", current_datetime=MAY)
    memory = await only(world)
    for text in ("two", "three"):
        await update(world, memory.memory_id, text)
    history = await world.memora.memory_history(world.org_id, world.user_id, memory.memory_id)
    for version in history:
        assert await versions(world, version.memory_id) == ["three", "two", "one"]


async def test_a_retracted_memory_keeps_its_history(world: World) -> None:
    await world.save("I am on a diet.", current_datetime=MAY)
    memory = await only(world)
    ended = await world.memora.retract_memory(
        world.org_id, world.user_id, memory.memory_id, at=MAY + DAY
    )
    assert ended.superseded_at == MAY + DAY
    assert await world.current() == []
    assert await world.recall("diet") == []
    assert [m.memory for m in await world.recall("diet", as_of=MAY)] == ["I am on a diet."]
    assert await versions(world, memory.memory_id) == ["I am on a diet."]
    with pytest.raises(MemoryUpdateError):
        await update(world, memory.memory_id, "I am not on a diet.")
    back = await world.memora.revert_memory(world.org_id, world.user_id, memory.memory_id)
    assert back.is_current
    assert await world.current() == ["I am on a diet."]


async def test_a_supersede_is_reverted_in_one_call(world: World) -> None:
    await world.save("I live in Berlin.", current_datetime=MAY)
    memory = await only(world)
    await update(world, memory.memory_id, "I live on the moon.")
    back = await world.memora.revert_memory(world.org_id, world.user_id, memory.memory_id)
    assert back.memory == "I live in Berlin."
    assert await world.current() == ["I live in Berlin."]
    assert await versions(world, memory.memory_id) == [
        "I live in Berlin.",
        "I live on the moon.",
        "I live in Berlin.",
    ]


@pytest.mark.parametrize("position", [0, 1, 2], ids=["head", "middle", "tail"])
async def test_b54_a_purge_makes_no_older_version_current(world: World, position: int) -> None:
    await world.save("one", current_datetime=MAY)
    memory = await only(world)
    for text in ("two", "three"):
        await update(world, memory.memory_id, text)
    history = await world.memora.memory_history(world.org_id, world.user_id, memory.memory_id)
    gone = history[position]
    await world.memora.delete_memory(world.org_id, world.user_id, gone.memory_id)
    rest = [version for version in history if version.memory_id != gone.memory_id]
    assert await versions(world, rest[0].memory_id) == [version.memory for version in rest]
    assert await world.current() == ([] if position == 0 else ["three"])
    with pytest.raises(MemoryNotFoundError):
        await world.memora.memory_history(world.org_id, world.user_id, gone.memory_id)
    then = await world.recall(gone.memory, as_of=gone.obtained_at)
    assert then == []
    assert (await world.memora.doctor()).clean


async def test_a_purge_is_idempotent_and_foreign_ids_are_not_found(world: World) -> None:
    await world.save("one")
    memory = await only(world)
    ann = await world.memora.graph.create_user(world.org_id, "Ann")
    foreign = await world.memora.delete_memory(world.org_id, ann.user_id, memory.memory_id)
    missing = await world.memora.delete_memory(world.org_id, ann.user_id, "missing")
    assert foreign == missing
    assert not foreign.deleted
    assert len(await world.recall("one")) == 1
    assert (await world.memora.delete_memory(world.org_id, world.user_id, memory.memory_id)).deleted
    again = await world.memora.delete_memory(world.org_id, world.user_id, memory.memory_id)
    assert not again.deleted


async def test_b28_two_writers_make_one_line_of_versions(world: World) -> None:
    await world.save("zero")
    memory = await only(world)
    await asyncio.gather(*(update(world, memory.memory_id, f"version {n}") for n in range(5)))
    history = await world.memora.memory_history(world.org_id, world.user_id, memory.memory_id)
    assert len(history) == 6
    assert sum(version.is_current for version in history) == 1
    for newer, older in itertools.pairwise(history):
        assert (older.superseded_by, newer.supersedes) == (newer.memory_id, older.memory_id)
    assert (await world.memora.doctor()).clean


async def test_a_vector_outage_only_delays_the_search(world: World) -> None:
    vectors = world.memora.vector_db
    await vectors.close()
    await world.save("I like tea.")
    assert await world.current() == ["I like tea."]
    await vectors.setup()
    assert (await world.memora.graph.outbox_status()).pending >= 0
    await world.memora.graph.retry_outbox(world.clock.now())
    await world.memora.drain_outbox()
    assert [memory.memory for memory in await world.recall("tea")] == ["I like tea."]


async def test_deleting_a_user_leaves_nothing_behind(world: World) -> None:
    await world.save("I like tea.", agent_id=world.agent_id)
    await world.memora.graph.delete_user(world.org_id, world.user_id)
    assert await world.memora.vector_db.scan() == []
    assert (await world.memora.doctor()).clean
    assert (await world.memora.graph.outbox_status()).pending == 0


async def test_reindex_rebuilds_every_vector(world: World) -> None:
    await world.save("I like tea.", "I like coffee.")
    await world.memora.vector_db.clear()
    assert await world.recall("tea") == []
    assert not (await world.memora.doctor()).clean
    seen: list[int] = []
    assert await world.memora.reindex(seen.append) == 2
    assert seen[-1] == 2
    assert (await world.memora.doctor()).clean
    assert next(memory.memory for memory in await world.recall("tea")) == "I like tea."


async def test_a_reindex_without_a_graph_keeps_the_vectors(world: World) -> None:
    await world.save("I like tea.")
    await world.memora.graph.close()
    with pytest.raises(MemoraError):
        await world.memora.reindex()
    assert len(await world.memora.vector_db.scan()) == 1


async def test_a_closed_vector_store_cannot_be_cleared(world: World) -> None:
    await world.save("I like tea.")
    vectors = world.memora.vector_db
    await vectors.close()
    with pytest.raises(VectorDBError):
        await vectors.clear()
    await vectors.setup()
    assert len(await vectors.scan()) == 1


async def test_i9_reverting_to_what_is_current_by_its_text_changes_nothing(world: World) -> None:
    """A repeated call, whose first answer was lost, makes no second version."""
    await world.save("I like tea")
    [first] = await world.memories()
    await world.memora.update_memory("acme", "jake", first.memory_id, "I like coffee")
    reverted = await world.memora.revert_memory("acme", "jake", first.memory_id)
    again = await world.memora.revert_memory("acme", "jake", first.memory_id)
    assert again.memory_id == reverted.memory_id
    assert len(await world.memora.memory_history("acme", "jake", first.memory_id)) == 3
