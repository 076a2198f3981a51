"""Jobs whose lease ran out while their model was thinking."""

from __future__ import annotations

import asyncio

import pytest

from memora.errors import ExtractionError, GraphDBError
from memora.schema.jobs import JobStatus
from memora.testing.fakes import Answer, Call, OutageError, ScriptedBackendLLM, extracting
from tests.flows.conftest import DAY, World, Worlds


async def overtaken(worlds: Worlds, slow: ScriptedBackendLLM, gate: asyncio.Event) -> World:
    """Let another worker finish the job of a save whose model is slow, then let that one answer."""
    world = await worlds.open(extraction=slow)
    first = asyncio.create_task(world.save("I like tea."))
    while not slow.calls:
        await asyncio.sleep(0)
    worlds.clock.advance(DAY)
    quick = ScriptedBackendLLM(extracting("Jake likes tea"))
    other = worlds.same_stores(world, extraction=quick)
    (job,) = await world.memora.list_jobs(world.org_id)
    assert await other.memora.resume_job(world.org_id, job.job_id)
    gate.set()
    await first
    return other


def outage(call: Call) -> Answer:
    return OutageError()


@pytest.mark.parametrize("late", [outage, extracting("Jake loves tea")], ids=["failure", "answer"])
async def test_a_late_end_of_a_job_that_somebody_else_finished_changes_nothing(
    worlds: Worlds, late: object
) -> None:
    gate = asyncio.Event()
    slow = ScriptedBackendLLM(late, gate=gate)  # type: ignore[arg-type] - it answers later
    world = await overtaken(worlds, slow, gate)
    (job,) = await world.memora.list_jobs(world.org_id, statuses=list(JobStatus))
    assert job.status is JobStatus.DONE
    assert await world.current() == ["Jake likes tea"]
    (memory,) = await world.memories()
    await world.memora.update_memory(
        world.org_id, world.user_id, memory.memory_id, "Jake likes coffee"
    )
    assert not await world.memora.resume_job(world.org_id, job.job_id)
    assert await world.current() == ["Jake likes coffee"]
    assert (await world.memora.doctor()).clean


async def test_i12_what_is_purged_meanwhile_does_not_come_back_with_a_late_answer(
    worlds: Worlds,
) -> None:
    gate = asyncio.Event()
    slow = ScriptedBackendLLM(extracting("Jake likes tea"), gate=gate)
    world = await worlds.open(extraction=slow)
    first = asyncio.create_task(world.save("I like tea."))
    while not slow.calls:
        await asyncio.sleep(0)
    worlds.clock.advance(DAY)
    quick = ScriptedBackendLLM(extracting("Jake likes tea"))
    (job,) = await world.memora.list_jobs(world.org_id)
    await worlds.same_stores(world, extraction=quick).memora.resume_job(world.org_id, job.job_id)
    (memory,) = await world.memories()
    await world.memora.delete_memory(world.org_id, world.user_id, memory.memory_id)
    gate.set()
    await first
    assert await world.current() == []
    assert (await world.memora.doctor()).clean


async def test_b15_a_cancelled_save_is_cancelled_although_the_stores_are_closed(
    worlds: Worlds,
) -> None:
    slow = ScriptedBackendLLM(gate=asyncio.Event())
    world = await worlds.open(extraction=slow)
    saving = asyncio.create_task(world.save("I like tea."))
    while not slow.calls:
        await asyncio.sleep(0)
    await world.memora.close()
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    with pytest.raises(GraphDBError):
        await world.memories()


async def test_b15_a_save_that_is_cancelled_while_it_commits_leaves_a_job_to_resume(
    worlds: Worlds,
) -> None:
    world = await worlds.open(extraction=ScriptedBackendLLM(extracting("Jake likes tea")))
    for steps in range(60):
        saving = asyncio.create_task(world.save(f"I like tea {steps}."))
        for _ in range(steps):
            await asyncio.sleep(0)
        saving.cancel()
        await asyncio.wait([saving])
    for job in await world.memora.list_jobs(world.org_id):
        assert await world.memora.resume_job(world.org_id, job.job_id)
    assert await world.memora.list_jobs(world.org_id) == []
    assert (await world.memora.doctor()).clean


async def test_b15_a_resumption_that_is_cancelled_leaves_a_job_to_resume(worlds: Worlds) -> None:
    """Wherever it was: also between the lease and the work."""
    world = await worlds.open(extraction=ScriptedBackendLLM(lambda _call: OutageError()))
    with pytest.raises(ExtractionError):
        await world.save("I like tea.")
    (job,) = await world.memora.list_jobs(world.org_id)
    for steps in range(60):
        resuming = asyncio.create_task(world.memora.resume_job(world.org_id, job.job_id))
        for _ in range(steps):
            await asyncio.sleep(0)
        resuming.cancel()
        await asyncio.wait([resuming])
        (left,) = await world.memora.list_jobs(world.org_id)
        assert left.status is not JobStatus.RUNNING, steps
