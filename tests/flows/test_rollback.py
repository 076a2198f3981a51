"""Taking back what one conversation, agent or process brought in."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from memora.errors import InvalidInputError, UserNotFoundError
from memora.schema.jobs import JobStatus
from memora.schema.models import Memory
from memora.testing.fakes import Answer, Call, ScriptedBackendLLM, extracting
from tests.flows.conftest import DAY, MAY, World, Worlds

HOME = "[[user]] lives in Oslo"
POISON = "[[user]] lives on the moon"


class Contradicting:
    """Finds one statement, which contradicts whatever is known."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __call__(self, call: Call) -> Answer:
        if call.schema == "MemoryExtractionResponse":
            return extracting(self.text)(call)
        return {"verdicts": [{"candidate": 0, "verdict": "contradiction", "existing": 0}]}


async def tell(world: World, text: str, **options: Any) -> str:
    interaction_id, _at = await world.memora.save_or_update_interaction_and_memories(
        world.org_id, world.user_id, interaction=[{"role": "user", "content": text}], **options
    )
    return interaction_id


async def by(world: World, **source: Any) -> list[Memory]:
    return await world.memora.memories_by_source(world.org_id, world.user_id, **source)


async def test_b78_a_poisoned_conversation_is_taken_back_in_one_call(worlds: Worlds) -> None:
    model = Contradicting(HOME)
    world = await worlds.open(extraction=ScriptedBackendLLM(model))
    await tell(world, "I live in Oslo", current_datetime=MAY)
    (home,) = await world.memories()
    model.text = POISON
    evil = await tell(world, "moon", current_datetime=MAY + DAY, external_id="evil chat")
    assert await world.current() == ["Jake lives on the moon"]
    assert [m.memory for m in await by(world, interaction_id="evil chat")] == [
        "Jake lives on the moon"
    ]

    receipt = await world.memora.rollback_source(
        world.org_id, world.user_id, interaction_id="evil chat", author="ops"
    )
    assert (str(receipt.source), receipt.author) == (f"interaction:{evil}", "ops")
    assert (len(receipt.removed), receipt.restored) == (1, (home.memory_id,))
    assert await world.memories() == [home]
    assert [m.memory for m in await world.recall("where does Jake live")] == ["Jake lives in Oslo"]
    (then,) = await world.recall("moon", as_of=MAY + 2 * DAY)
    assert then.memory_id == home.memory_id
    assert await by(world, interaction_id=evil) == []
    talk = await world.memora.graph.get_interaction(world.org_id, world.user_id, evil)
    assert [message.content for message in talk.messages or []] == ["moon"]
    assert (await world.memora.doctor()).clean


async def test_i12_what_was_taken_back_is_not_extracted_again_from_the_same_message(
    worlds: Worlds,
) -> None:
    def script(call: Call) -> Answer:
        return extracting(*([POISON] if "moon" in str(call.data) else []))(call)

    world = await worlds.open(extraction=ScriptedBackendLLM(script))
    evil = await tell(world, "moon")
    await world.memora.rollback_source(world.org_id, world.user_id, interaction_id=evil)
    for text in ("Let us begin again.", "moon"):
        await tell(world, text, interaction_id=evil)
    assert await world.memories() == []
    await tell(world, "I said moon, in another message.")
    assert await world.current() == ["Jake lives on the moon"]


@pytest.mark.parametrize("claimed", [False, True])
async def test_b14_no_late_answer_brings_back_what_was_taken_back(
    worlds: Worlds, claimed: bool
) -> None:
    gate = asyncio.Event()
    slow = ScriptedBackendLLM(extracting(POISON), gate=gate)
    world = await worlds.open(extraction=slow)
    saving = asyncio.create_task(tell(world, "moon", external_id="evil"))
    while not slow.calls:
        await asyncio.sleep(0)
    receipt = await world.memora.rollback_source(world.org_id, world.user_id, interaction_id="evil")
    (job_id,) = receipt.cancelled_jobs
    if claimed:
        assert not await world.memora.resume_job(world.org_id, job_id)
    gate.set()
    await saving
    assert await world.memories() == []
    job = await world.memora.graph.get_job(world.org_id, job_id)
    assert (job.status, job.outputs) == (JobStatus.DONE, {})
    assert (await world.memora.doctor()).clean


async def test_b28_what_was_built_on_a_version_that_is_taken_back_is_planned_again(
    worlds: Worlds,
) -> None:
    """The answer that contradicts the poisoned version, or repeats it, becomes a statement."""
    for verdict in ("contradiction", "duplicate"):
        gate = asyncio.Event()

        def script(call: Call, verdict: str = verdict) -> Answer:
            if call.schema == "MemoryExtractionResponse":
                return extracting("[[user]] lives in Rome")(call)
            return {"verdicts": [{"candidate": 0, "verdict": verdict, "existing": 0}]}

        world = await worlds.open(
            extraction=ScriptedBackendLLM(extracting(POISON)), name=f"store-{verdict}"
        )
        evil = await tell(world, "moon")
        slow = ScriptedBackendLLM(script, gate=gate)
        other = worlds.same_stores(world, extraction=slow)
        saving = asyncio.create_task(tell(other, "Rome"))
        while not slow.calls:
            await asyncio.sleep(0)
        gate.set()
        gate.clear()  # the next question waits again
        while len(slow.calls) < 2:
            await asyncio.sleep(0)
        await world.memora.rollback_source(world.org_id, world.user_id, interaction_id=evil)
        gate.set()
        await saving
        assert await world.current() == ["Jake lives in Rome"]
        assert (await world.memora.doctor()).clean


async def test_d12_what_the_user_confirmed_or_corrected_stays(world: World) -> None:
    evil = await world.save("I live in Oslo.", "I like tea.", "I row.", current_datetime=MAY)
    await world.save("I like tea.", current_datetime=MAY + DAY)
    (row,) = [memory for memory in await world.memories() if "row" in memory.memory]
    corrected = await world.memora.update_memory(
        world.org_id, world.user_id, row.memory_id, "Jake rows on Sundays."
    )
    receipt = await world.memora.rollback_source(world.org_id, world.user_id, interaction_id=evil)
    assert await world.current() == ["I like tea.", "Jake rows on Sundays."]
    (tea,) = receipt.unlinked
    stored = await world.memora.graph.get_user_memory(world.org_id, world.user_id, tea)
    assert (stored.memory, len(stored.message_sources)) == ("I like tea.", 1)
    history = await world.memora.memory_history(world.org_id, world.user_id, corrected.memory_id)
    assert [version.memory for version in history] == ["Jake rows on Sundays."]
    assert (await world.memora.doctor()).clean


async def test_d12_an_agent_or_a_process_is_taken_back_with_all_its_conversations(
    world: World,
) -> None:
    await world.save("I like tea.")
    for text in ("I live on the moon.", "I eat stones."):
        await world.save(text, agent_id=world.agent_id, process_id="scraper")
    sources: list[dict[str, Any]] = [{"agent_id": world.agent_id}, {"process_id": "scraper"}]
    for source in sources:
        found = await by(world, **source, current_only=True)
        assert [memory.memory for memory in found] == ["I eat stones.", "I live on the moon."]
        assert await by(world, **source, skip=1, limit=1) == found[1:]
        rollback = world.memora.rollback_source
        trial = await rollback(world.org_id, world.user_id, **{**source, "dry_run": True})
        assert sorted(trial.removed) == sorted(memory.memory_id for memory in found)
    user = world.memora.for_user(world.user_id, org_id=world.org_id)
    await user.rollback_source(process_id="scraper")
    assert await user.memories_by_source(agent_id=world.agent_id) == []
    assert await world.current() == ["I like tea."]
    assert (await world.memora.doctor()).clean


async def test_a_rollback_finishes_what_an_outage_of_the_vectors_left(world: World) -> None:
    evil = await world.save("I live on the moon.")
    await world.memora.vector_db.close()
    await world.memora.rollback_source(world.org_id, world.user_id, interaction_id=evil)
    await world.memora.vector_db.setup()
    await world.memora.graph.retry_outbox(world.clock.now())
    await world.memora.drain_outbox()
    assert await world.memora.vector_db.scan() == []
    assert (await world.memora.doctor()).clean


async def test_bad_input_is_refused_before_anything_is_written(world: World) -> None:
    evil = await world.save("I live on the moon.")
    owner = (world.org_id, world.user_id)
    bad: list[dict[str, Any]] = [{}, {"agent_id": "a", "process_id": "b"}, {"import_id": ""}]
    for call in (world.memora.memories_by_source, world.memora.rollback_source):
        for wrong in bad:
            with pytest.raises(InvalidInputError):
                await call(*owner, **wrong)
        with pytest.raises(UserNotFoundError):
            await call(world.org_id, "missing", agent_id="a")
    with pytest.raises(InvalidInputError):
        await world.memora.rollback_source(*owner, interaction_id=evil, dry_run=1)  # type: ignore[arg-type] - refused
    assert await world.current() == ["I live on the moon."]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
async def test_b78_a_statement_goes_with_the_last_source_that_repeats_it(
    world: World, order: tuple[int, ...]
) -> None:
    talks = [await world.save("My account is 42.", external_id=f"talk-{n}") for n in range(3)]
    for number in order:
        assert await world.current() == ["My account is 42."]
        await world.memora.rollback_source(
            world.org_id, world.user_id, interaction_id=talks[number]
        )
    assert await world.current() == []
    assert (await world.memora.doctor()).clean
