"""What is written into somebody's log by accident."""

from __future__ import annotations

import pytest

from memora.errors import ExtractionError
from memora.schema.jobs import JobStatus
from memora.testing.fakes import Answer, Call, OutageError, ScriptedBackendLLM, extracting
from tests.flows.conftest import Worlds

CANARY = "q7zcanary"


def half(call: Call) -> Answer:
    """Extract, and fail where two memories are compared."""
    if call.schema == "MemoryComparisonResponse":
        return OutageError()
    return extracting(f"Jake likes {CANARY} tea")(call)


async def test_b86_no_record_but_a_memory_shows_what_was_said(worlds: Worlds) -> None:
    world = await worlds.open(extraction=ScriptedBackendLLM(half))
    plain = worlds.same_stores(world)
    await plain.save(f"Jake likes {CANARY} tea a lot", title=CANARY, metadata={"k": CANARY})
    with pytest.raises(ExtractionError) as caught:
        await world.save(f"I like {CANARY} tea")
    assert CANARY not in f"{caught.value!r} {caught.value}"
    jobs = await world.memora.list_jobs(world.org_id, statuses=[JobStatus.FAILED])
    assert CANARY in str([job.outputs for job in jobs])
    shown: list[object] = [*jobs]
    for listed in await world.memora.graph.get_all_user_interactions(world.org_id, world.user_id):
        stored = await world.memora.graph.get_interaction(
            world.org_id, world.user_id, listed.interaction_id
        )
        assert CANARY in str([message.content for message in stored.messages or ()])
        shown += [listed, stored, *(stored.messages or ())]
    assert CANARY not in "".join(f"{record!r} {record}" for record in shown)
