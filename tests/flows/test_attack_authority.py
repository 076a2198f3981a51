"""Poisoned sources, and a model that does what they say (worst case)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from memora.schema.models import Memory
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


@pytest.mark.parametrize("agent", [None, "jenny"])
@pytest.mark.parametrize("role", ["user", "assistant"])
async def test_d12_without_a_model_one_agent_does_not_change_what_another_established(
    world: World, agent: str | None, role: str
) -> None:
    """Neither by confirming it on better authority nor by becoming a source of it."""
    await world.memora.graph.create_agent(world.org_id, "Other", agent_id="other")
    said = [{"role": role, "content": "Jake is allergic to nuts."}]
    await world.memora.save_or_update_interaction_and_memories(
        world.org_id, world.user_id, "other", said, extract_agent_memories=True
    )
    (theirs,) = await world.memories()
    await world.memora.save_or_update_interaction_and_memories(
        world.org_id,
        world.user_id,
        agent,
        [{"role": "user", "content": "Jake is allergic to nuts."}],
        update_across_agents=False,
    )
    assert (
        await world.memora.graph.get_user_memory(world.org_id, world.user_id, theirs.memory_id)
        == theirs
    )
    assert await world.current() == ["Jake is allergic to nuts."] * 2
    assert (await world.memora.doctor()).clean


@pytest.mark.parametrize("verdict", ["duplicate", "contradiction"])
@pytest.mark.parametrize("agent", [None, "jenny"])
async def test_d12_no_verdict_of_a_model_reaches_across_agents(
    worlds: Worlds, agent: str | None, verdict: str
) -> None:
    model = Obedient()
    world = await worlds.open(extraction=ScriptedBackendLLM(model))
    await world.memora.graph.create_agent(world.org_id, "Other", agent_id="other")
    model.verdict = verdict

    async def says(text: str, by: str | None) -> list[Memory]:
        model.finds = [found(text, 0)]
        await world.memora.save_or_update_interaction_and_memories(
            world.org_id,
            world.user_id,
            by,
            [{"role": "user", "content": text}],
            update_across_agents=False,
        )
        return await world.memories()

    (theirs,) = await says(NUTS, "other")
    await says(NO_NUTS, agent)
    (unchanged,) = [m for m in await world.memories() if m.memory_id == theirs.memory_id]
    assert unchanged == theirs
    assert await world.current() == ["Jake can eat nuts", "Jake is allergic to nuts"]
    assert (await world.memora.doctor()).clean


async def test_d12_who_superseded_what_stays_in_the_history(worlds: Worlds) -> None:
    """Role, agent, process and messages of every version; an author of what was done by hand."""
    model = Obedient()
    world = await worlds.open(extraction=ScriptedBackendLLM(model))
    model.finds = [found(NUTS, 0)]
    owner = (world.org_id, world.user_id)
    await world.memora.save_or_update_interaction_and_memories(
        *owner, interaction=[{"role": "user", "content": "I am allergic to nuts"}]
    )
    model.finds = [found(NO_NUTS, 0)]
    await world.memora.save_or_update_interaction_and_memories(
        *owner,
        world.agent_id,
        [{"role": "user", "content": "I can eat nuts"}],
        process_id="nightly",
    )
    (memory,) = await world.memories()
    for text, author in (("Jake eats walnuts", None), ("Jake eats hazelnuts", "support")):
        await world.memora.update_memory(*owner, memory.memory_id, text, author=author)
    history = await world.memora.memory_history(*owner, memory.memory_id)
    assert [(v.source_role, v.author, v.agent_id, v.process_id) for v in history] == [
        ("api", "support", world.agent_id, "nightly"),
        ("api", "api", world.agent_id, "nightly"),
        ("user", None, world.agent_id, "nightly"),
        ("user", None, None, None),
    ]
    assert [[m.content for m in v.message_sources] for v in history] == [
        [],
        [],
        ["I can eat nuts"],
        ["I am allergic to nuts"],
    ]
