"""The recall story, as a user sees it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from memora.errors import AgentNotFoundError, InvalidInputError, UserNotFoundError
from memora.testing.fakes import Answer, Call, OutageError, ScriptedBackendLLM
from tests.flows.conftest import DAY, MAY, World, Worlds


def searching(*queries: str) -> ScriptedBackendLLM:
    def script(call: Call) -> Answer:
        if call.schema == "SearchQueries":
            return {"queries": list(queries)}
        return {"relevant": []}

    return ScriptedBackendLLM(script)


async def test_b60_a_fresh_user_has_no_memories(world: World) -> None:
    assert await world.recall("anything") == []


async def test_unknown_users_and_agents_are_not_found(world: World) -> None:
    with pytest.raises(UserNotFoundError):
        await world.memora.recall_memories_for_message(world.org_id, "nobody", "hi")
    with pytest.raises(UserNotFoundError):
        await world.memora.recall_memories_for_message("nowhere", world.user_id, "hi")
    with pytest.raises(AgentNotFoundError):
        await world.recall("hi", agent_id="nobody")


async def test_the_message_finds_the_memory_with_source_and_score(world: World) -> None:
    await world.save("My sister plays the violin.", "I like tea.", current_datetime=MAY)
    memories = await world.recall("Who plays the violin?", explain=True)
    best = memories[0]
    assert best.memory == "My sister plays the violin."
    assert best.message_sources[0].msg_position == 0
    assert best.obtained_at == MAY
    assert best.score is not None
    assert best.score_parts is not None
    assert best.score == pytest.approx(best.score_parts["dense"] + best.score_parts["lexical"])
    assert "score" not in best.model_dump()
    assert [memory.score for memory in memories] == sorted(
        (memory.score for memory in memories), key=lambda score: -(score or 0)
    )


async def test_a_saved_memory_is_found_at_once(world: World) -> None:
    for number in range(5):
        await world.save(f"My lucky number is {number}00.")
        found = await world.recall(f"lucky number {number}00", limit=1)
        assert [memory.memory for memory in found] == [f"My lucky number is {number}00."]


async def test_the_preceding_messages_help_without_a_model(world: World) -> None:
    await world.save("The cabin at Lake Inari has a sauna.", "My car is red.")
    found = await world.recall(
        "How many people fit in?",
        preceding_msg_for_context=[{"role": "user", "content": "Tell me about the cabin sauna."}],
        limit=1,
    )
    assert [memory.memory for memory in found] == ["The cabin at Lake Inari has a sauna."]


async def test_the_models_queries_are_used(worlds: Worlds) -> None:
    model = searching("violin")
    world = await worlds.open(search=model)
    await world.save("My sister plays the violin.", "I like tea.")
    found = await world.recall("What about her?", limit=1)
    assert [memory.memory for memory in found] == ["My sister plays the violin."]
    assert model.calls[0].data["latest_message"] == "What about her?"


async def test_b38_many_and_blank_queries_are_cut(worlds: Worlds) -> None:
    model = searching("  ", "tea", "tea", *(f"query {number}" for number in range(5000)))
    world = await worlds.open(search=model)
    queries = await world.memora.generate_memory_search_queries("What do I drink?")
    assert queries == ["tea", *(f"query {number}" for number in range(7))]


async def test_a_failing_search_model_costs_nothing_but_its_help(worlds: Worlds) -> None:
    world = await worlds.open(search=ScriptedBackendLLM(lambda _call: OutageError()))
    await world.save("I like tea.")
    found = await world.recall("tea", enable_final_model_based_memory_filter=True)
    assert [memory.memory for memory in found] == ["I like tea."]


async def test_a_late_model_is_skipped(worlds: Worlds) -> None:
    slow = ScriptedBackendLLM(gate=asyncio.Event())
    world = await worlds.open(search=slow)
    await world.save("I like tea.")
    found = await world.recall("tea", deadline_ms=20, enable_final_model_based_memory_filter=True)
    assert [memory.memory for memory in found] == ["I like tea."]
    assert len(slow.calls) == 1


@pytest.mark.parametrize(
    ("relevant", "kept"),
    [
        ([], []),
        ([1], ["I like tea a lot."]),
        ([0, 0, 99, -1], ["I like tea."]),
        ([99], ["I like tea.", "I like tea a lot."]),
    ],
    ids=["none", "one", "hallucinated", "only-hallucinated"],
)
async def test_b61_the_filter_keeps_what_it_was_shown_in_order(
    worlds: Worlds, relevant: list[int], kept: list[str]
) -> None:
    def script(call: Call) -> Answer:
        if call.schema == "SearchQueries":
            return {"queries": ["tea"]}
        return {"relevant": relevant}

    world = await worlds.open(search=ScriptedBackendLLM(script))
    await world.save("I like tea.", "I like tea a lot.")
    plain = await world.recall("tea")
    assert [memory.memory for memory in plain] == ["I like tea.", "I like tea a lot."]
    found = await world.recall("tea", enable_final_model_based_memory_filter=True)
    assert [memory.memory for memory in found] == kept


async def test_b58_an_excluded_memory_does_not_return_through_its_old_version(
    world: World,
) -> None:
    await world.save("I live in Berlin.", current_datetime=MAY)
    (memory,) = await world.memories()
    new = await world.memora.update_memory(
        world.org_id, world.user_id, memory.memory_id, "I live in Lisbon."
    )
    found = await world.recall("Do I live in Berlin?")
    assert [memory.memory for memory in found] == ["I live in Lisbon."]
    assert await world.recall("Berlin", filter_out_memory_ids_set={new.memory_id}) == []
    assert await world.recall("Berlin", filter_out_memory_ids_set={"unknown", ""}) == found


async def test_b05_staying_within_one_agent_needs_an_agent(world: World) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await world.recall("tea", search_memories_across_agents=False)
    assert caught.value.field == "agent_id"


async def test_b06_another_agents_memory_does_not_come_back_after_resolution(
    worlds: Worlds,
) -> None:
    def script(call: Call) -> Answer:
        if call.schema == "MemoryExtractionResponse":
            said = call.data["new_messages"][0]["content"]
            item = {
                "memory": said,
                "msg_source_ids": [0],
                "memory_type": "fact",
                "importance": 0.5,
            }
            return {"memories": [item]}
        return {"verdicts": [{"candidate": 0, "verdict": "contradiction", "existing": 0}]}

    world = await worlds.open(extraction=ScriptedBackendLLM(script))
    other = await world.memora.graph.create_agent(world.org_id, "Other")
    await world.save("My flat is in Berlin", agent_id=world.agent_id, current_datetime=MAY)
    await world.save("My flat is in Lisbon", agent_id=other.agent_id, current_datetime=MAY + DAY)
    assert await world.current() == ["My flat is in Lisbon"]
    mine = await world.recall(
        "flat Berlin", agent_id=world.agent_id, search_memories_across_agents=False
    )
    assert mine == []
    theirs = await world.recall(
        "flat Berlin", agent_id=other.agent_id, search_memories_across_agents=False
    )
    assert [memory.memory for memory in theirs] == ["My flat is in Lisbon"]


async def test_filters_narrow_the_answer(world: World) -> None:
    first = await world.save(
        "I drink tea at home.", current_datetime=MAY, agent_id=world.agent_id, process_id="p1"
    )
    await world.save(
        "I drink tea at work.", current_datetime=MAY + 10 * DAY, extract_agent_memories=True
    )

    async def texts(**filters: object) -> set[str]:
        found = await world.recall("drink tea", filters=filters)
        return {memory.memory for memory in found if "tea" in memory.memory}

    home, work = {"I drink tea at home."}, {"I drink tea at work."}
    assert await texts() == home | work
    assert await texts(agent_ids=[world.agent_id]) == home
    assert await texts(interaction_ids=[first]) == home
    assert await texts(process_ids=["p1"]) == home
    assert await texts(obtained_from=MAY + DAY) == work
    assert await texts(obtained_to=MAY + DAY) == home
    assert await texts(types=["other"]) == home | work
    assert await texts(types=["fact"]) == set()
    assert await texts(source_roles=["assistant"]) == set()
    assert await texts(importance_min=0.9) == set()
    assert await texts(tags=["x"]) == set()
    with pytest.raises(InvalidInputError) as caught:
        await texts(colour="red")
    assert caught.value.field == "filters.colour"


async def test_metadata_of_memories_can_be_filtered(world: World) -> None:
    from memora.schema.storage_schema import MemoriesAndInteraction, MemoryToStore

    await world.memora.graph.save_interaction_with_memories(
        world.org_id,
        None,
        world.user_id,
        MemoriesAndInteraction(
            interaction=[{"role": "user", "content": "tea and coffee"}],
            memories=[
                MemoryToStore(
                    memory="likes tea", source_msg_block_pos=[0], metadata={"n": 1, "l": ["a"]}
                ),
                MemoryToStore(
                    memory="likes coffee", source_msg_block_pos=[0], metadata={"n": 2, "b": True}
                ),
            ],
        ),
    )

    async def texts(metadata: object) -> set[str]:
        found = await world.recall("likes", filters={"metadata": metadata})
        return {memory.memory for memory in found}

    assert await texts({"n": 1}) == {"likes tea"}
    assert await texts({"n": {"in": [1, 2]}}) == {"likes tea", "likes coffee"}
    assert await texts({"n": {"gt": 1}}) == {"likes coffee"}
    assert await texts({"l": "a"}) == {"likes tea"}
    assert await texts({"b": True}) == {"likes coffee"}
    assert await texts({"not": {"b": True}}) == {"likes tea"}
    assert await texts({"or": [{"n": 1}, {"b": {"exists": True}}]}) == {
        "likes tea",
        "likes coffee",
    }


async def test_as_of_reads_what_was_current_then(world: World) -> None:
    await world.save("I live in Berlin.", current_datetime=MAY)
    (memory,) = await world.memories()
    await world.memora.update_memory(
        world.org_id, world.user_id, memory.memory_id, "I live in Lisbon."
    )
    assert [m.memory for m in await world.recall("live")] == ["I live in Lisbon."]
    assert [m.memory for m in await world.recall("live", as_of=MAY)] == ["I live in Berlin."]
    assert await world.recall("live", as_of=MAY - DAY) == []


async def test_min_similarity_drops_what_is_only_near(world: World) -> None:
    await world.save("I like green tea.", "The train leaves at noon.")
    assert len(await world.recall("green tea")) == 2
    found = await world.recall("green tea", min_similarity=0.99)
    assert [memory.memory for memory in found] == ["I like green tea."]


async def test_limit_and_token_budget_bound_the_answer(world: World) -> None:
    await world.save(*(f"I like tea number {number}." for number in range(30)))
    assert len(await world.recall("tea")) == 12
    assert len(await world.recall("tea", limit=3)) == 3
    assert len(await world.recall("tea", limit=30)) == 30
    assert len(await world.recall("tea", token_budget=14)) == 2
    for limit in (0, 1001, True, "3"):
        with pytest.raises(InvalidInputError):
            await world.recall("tea", limit=limit)


async def test_always_puts_types_first_whatever_the_question(world: World) -> None:
    from memora.schema.storage_schema import MemoriesAndInteraction, MemoryToStore

    await world.save("I like tea.")
    await world.memora.graph.save_interaction_with_memories(
        world.org_id,
        None,
        world.user_id,
        MemoriesAndInteraction(
            memories=[MemoryToStore(memory="Answer in German.", memory_type="rule")]
        ),
    )
    found = await world.recall("tea", always=("rule",), limit=2)
    assert [memory.memory for memory in found] == ["Answer in German.", "I like tea."]


async def test_b59_a_batch_has_one_list_for_every_query(world: World) -> None:
    await world.save("I like tea.")
    batch = await world.memora.search_memories_as_batch(
        world.org_id, ["tea", "zzz qqq"], user_id=world.user_id
    )
    assert next(len(found) for found in batch) == 1
    assert len(batch) == 2
    assert (
        await world.memora.search_memories_as_batch(world.org_id, [], user_id=world.user_id) == []
    )


async def test_b01_the_scope_is_named_or_refused(world: World) -> None:
    await world.save("I like tea.")
    for scope in ("user", "organization"):
        batch = await world.memora.search_memories_as_batch(
            world.org_id, ["tea"], user_id=world.user_id, memory_search_scope=scope
        )
        assert [memory.memory for memory in batch[0]] == ["I like tea."]
    for scope in (None, "USER", "all", ""):
        with pytest.raises(InvalidInputError):
            await world.memora.search_memories_as_batch(
                world.org_id,
                ["tea"],
                user_id=world.user_id,
                memory_search_scope=scope,  # pyright: ignore[reportArgumentType]
            )
    with pytest.raises(InvalidInputError):
        await world.memora.search_memories_as_batch(world.org_id, ["tea"])


async def test_b10_an_organization_search_shows_no_raw_messages(world: World) -> None:
    await world.save("I like tea.")
    ann = await world.memora.graph.create_user(world.org_id, "Ann")
    await world.memora.save_or_update_interaction_and_memories(
        world.org_id, ann.user_id, interaction=[{"role": "user", "content": "Tea is awful."}]
    )
    (found,) = await world.memora.search_memories_as_batch(
        world.org_id, ["tea"], memory_search_scope="organization"
    )
    assert {memory.user_id for memory in found} == {"jake", ann.user_id}
    assert all(memory.message_sources == [] for memory in found)
    (own,) = await world.memora.search_memories_as_batch(world.org_id, ["tea"], user_id=ann.user_id)
    assert [memory.memory for memory in own] == ["Tea is awful."]


async def test_renaming_a_user_shows_at_once(worlds: Worlds) -> None:
    from memora.testing.fakes import extracting

    world = await worlds.open(
        extraction=ScriptedBackendLLM(extracting("[[user]] and [[agent]] play chess"))
    )
    await world.save("We play chess", agent_id=world.agent_id)
    assert await world.current() == ["Jake and Jenny play chess"]
    for name in ("Ke$ha", "A$AP \\1 $0", "agent_007", "O'Brien"):
        await world.memora.graph.update_user(world.org_id, world.user_id, name)
        assert await world.current() == [f"{name} and Jenny play chess"]
        assert [m.memory for m in await world.recall("chess")] == [f"{name} and Jenny play chess"]


async def test_b79_a_users_own_brackets_come_back_as_written(world: World) -> None:
    texts = ["My notes say [[u:jake]] twice.", "[[a:jenny]] [[=u:x]] [[user]]"]
    await world.save(*texts)
    assert await world.current() == sorted(texts)


async def test_context_is_built_without_a_model(world: World) -> None:
    await world.save("I like tea.", current_datetime=MAY)
    briefing = await world.memora.build_context(world.org_id, world.user_id, "tea")
    assert briefing == "I like tea (2025-05-01)."
    assert await world.memora.build_context(world.org_id, world.user_id, "tea", limit=1) != ""


async def test_context_is_built_by_the_fast_model(worlds: Worlds) -> None:
    def script(call: Call) -> Answer:
        return {"queries": ["tea"]} if call.schema == "SearchQueries" else "They like tea."

    world = await worlds.open(search=ScriptedBackendLLM(script))
    await world.save("I like tea.")
    assert await world.memora.build_context(world.org_id, world.user_id, "x") == "They like tea."


async def test_the_bound_handle_fills_in_the_scope(world: World) -> None:
    user = world.memora.for_user("ben", org_id="club", agent_id="bot")
    interaction_id, _at = await user.save([{"role": "user", "content": "I row."}])
    assert [memory.memory for memory in await user.recall("row")] == ["I row."]
    assert (await user.interaction(interaction_id)).agent_id == "bot"
    (memory,) = await user.memories()
    await user.update_memory(memory.memory_id, "I row on Sundays.", author="me")
    history = await user.memory_history(memory.memory_id)
    assert [(v.memory, v.author) for v in history] == [
        ("I row on Sundays.", "me"),
        ("I row.", None),
    ]
    strict = world.memora.for_user("carl", org_id="club", create=False)
    with pytest.raises(UserNotFoundError):
        await strict.recall("row")


async def add(world: World, *texts: str, **fields: Any) -> None:
    for text in texts:
        await world.memora.add_memory(world.org_id, world.user_id, text, **fields)


async def test_what_stands_always_leaves_half_to_the_question(world: World) -> None:
    await add(world, *(f"Rule number {n}." for n in range(9)), memory_type="rule")
    await add(world, "I like tea.", "Tea is my drink.", "Tea at five.")
    await add(world, "I am called Jake.", pinned=True)
    found = await world.recall("tea", always=("rule",), limit=6)
    assert [memory.memory for memory in found[:3]] == [
        "I am called Jake.", "Rule number 8.", "Rule number 7.",
    ]  # fmt: skip
    assert all("ea" in memory.memory for memory in found[3:])
    short = await world.recall("tea", always=("rule",), token_budget=16)
    assert [memory.memory_type for memory in short].count("rule") <= 2
    assert any("ea" in memory.memory for memory in short)
    block = world.memora.format_memories(
        [*found[::-1]], always=("rule",), token_budget=1000, newest_last=True
    )
    lines = block.splitlines()[1:-1]
    assert [line[2:-13] for line in lines[:3]] == [
        "I am called Jake.", "Rule number 7.", "Rule number 8.",
    ]  # fmt: skip


async def test_nothing_stands_always_when_nobody_asks(world: World) -> None:
    await add(world, "Answer in German.", memory_type="rule", pinned=True)
    await add(world, "I like tea.")
    (found,) = await world.recall("tea", limit=1)
    assert found.memory == "I like tea."
    assert await world.recall("tea", always=("plan",), limit=1) != [found]
