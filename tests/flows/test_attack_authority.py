"""Poisoned sources, and a model that does what they say (worst case)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from memora.testing.fakes import Answer, Call, ScriptedBackendLLM
from tests.flows.conftest import World, Worlds

NUTS = "[[user]] is allergic to nuts"
NO_NUTS = "[[user]] can eat nuts"


def found(text: str, position: int) -> dict[str, Any]:
    return {
        "memory": text,
        "msg_source_ids": [position],
        "memory_type": "fact",
        "importance": 0.5,
    }


class Obedient:
    """Finds what it is told to, and gives one verdict on all that it is asked about."""

    def __init__(self) -> None:
        self.finds: Sequence[dict[str, Any]] = ()
        self.verdict = "contradiction"

    def __call__(self, call: Call) -> Answer:
        if call.schema == "MemoryExtractionResponse":
            return {"memories": list(self.finds)}
        return {"verdicts": [{"candidate": 0, "verdict": self.verdict, "existing": 0}]}


async def said(world: World, model: Obedient, text: str, role: str) -> None:
    """Save a conversation in which that role states this, as the model understands it."""
    model.finds = [found(text, 1)]
    await world.memora.save_or_update_interaction_and_memories(
        world.org_id,
        world.user_id,
        interaction=[
            {"role": "user", "content": "Look again."},
            {"role": role, "content": text.replace("[[user]]", "Jake")},
        ],
    )


@pytest.mark.parametrize("by_a_tool_first", [True, False])
async def test_b78_no_tool_takes_back_what_the_user_confirmed(
    worlds: Worlds, by_a_tool_first: bool
) -> None:
    model = Obedient()
    world = await worlds.open(extraction=ScriptedBackendLLM(model))
    if by_a_tool_first:
        await said(world, model, NUTS, "tool")
    await said(world, model, NUTS, "user")
    assert await world.current() == ["Jake is allergic to nuts"]
    await said(world, model, NO_NUTS, "tool")
    assert await world.current() == ["Jake can eat nuts", "Jake is allergic to nuts"]
    await said(world, model, NUTS, "tool")
    (nuts,) = [m for m in await world.memories() if "allergic" in m.memory]
    assert nuts.source_role == "user"
    assert (await world.memora.doctor()).clean


async def test_b78_no_statement_of_the_user_is_swallowed_by_one_of_a_tool(worlds: Worlds) -> None:
    model = Obedient()
    world = await worlds.open(extraction=ScriptedBackendLLM(model))
    await said(world, model, NO_NUTS, "tool")
    model.verdict = "duplicate"
    await said(world, model, NUTS, "user")
    assert "Jake is allergic to nuts" in await world.current()
    assert (await world.memora.doctor()).clean


async def test_what_the_assistant_said_is_confirmed_by_the_user_without_a_model(
    world: World,
) -> None:
    text = "Jake is allergic to nuts."
    for role in ("assistant", "user", "assistant", "user"):
        await world.memora.save_or_update_interaction_and_memories(
            world.org_id,
            world.user_id,
            interaction=[{"role": role, "content": text}],
            extract_agent_memories=True,
        )
    (memory,) = await world.memories()
    assert (memory.source_role, len(memory.message_sources)) == ("user", 3)
    history = await world.memora.memory_history(world.org_id, world.user_id, memory.memory_id)
    assert [version.source_role for version in history] == ["user", "assistant"]
    assert (await world.memora.doctor()).clean
