"""Direct memories: what becomes of a text that an application adds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from memora import Memora
from memora.errors import (
    ConflictError,
    InteractionNotFoundError,
    InvalidInputError,
    LLMConnectionError,
    MemoryNotFoundError,
    OrganizationNotFoundError,
    UserNotFoundError,
)
from memora.schema.direct import MemoryReceipt
from memora.schema.extraction_schema import PlacementResponse
from memora.testing.clocks import FrozenClock
from memora.testing.fakes import Answer, Call, ScriptedBackendLLM
from tests.conftest import OpenMemora

ORG, USER = "acme", "jake"
DAY = timedelta(days=1)


def texts(memories: Sequence[Any]) -> list[str]:
    return [memory.memory for memory in memories]


class Judge:
    """A model that returns what it is given as its facts, and a fixed verdict."""

    def __init__(self, verdict: str = "new", memory: str | None = None) -> None:
        self.verdict = verdict
        self.memory = memory
        self.existing = [0]
        self.facts: list[str] | None = None

    def __call__(self, call: Call) -> Answer:
        if call.schema == "CondensedFacts":
            return {"facts": [call.data["text"]] if self.facts is None else self.facts}
        if call.schema == "PlacementResponse":
            placement = {
                "verdict": self.verdict,
                "existing": self.existing,
                "memory": self.memory,
            }
            return {"placements": [placement]}
        return {"queries": []}


@pytest.fixture
def judge() -> Judge:
    return Judge()


@pytest.fixture
def model(judge: Judge) -> ScriptedBackendLLM:
    return ScriptedBackendLLM(judge)


@pytest.fixture
async def judged(open_memora: OpenMemora, model: ScriptedBackendLLM) -> Memora:
    """An engine with an extraction model, to which everything is similar."""
    return await open_memora(extraction_model=model, similarity_threshold=0.0)


async def test_every_field_of_an_added_memory_is_stored(memora: Memora, clock: FrozenClock) -> None:
    handle = memora.for_user(USER, org_id=ORG, agent_id="helper")
    await handle.ensure()
    talk = await memora.graph.create_interaction(ORG, USER, external_id="chat-1")
    given: dict[str, Any] = {
        "memory_type": "rule",
        "importance": 0.75,
        "metadata": {"lang": "sql", "n": [1, 2]},
        "obtained_at": clock.now() - DAY,
        "expires_at": clock.now() + DAY,
        "pinned": True,
    }
    receipt = await handle.add_memory(
        "Use table aliases",
        interaction_id="chat-1",
        tags=["sql", "style"],
        entities=["Bob"],
        **given,
    )
    assert receipt.status == "created"
    assert (receipt["status"], receipt["summary"]) == ("created", "Use table aliases")
    assert receipt["superseded_ids"] == []
    [memory] = await handle.list_memories()
    stored = memory.model_dump()
    assert {name: stored[name] for name in given} == given
    assert (memory.tags, memory.entities) == (["sql", "style"], ["Bob"])
    assert (memory.memory_id, memory.agent_id) == (receipt.id, "helper")
    assert memory.interaction_id == talk.interaction_id
    assert (memory.source_role, memory.author) == ("api", "api")


async def test_without_a_model_only_equal_texts_are_duplicates(memora: Memora) -> None:
    first = await memora.add_memory(ORG, USER, "I am allergic to peanuts.")
    again = await memora.add_memory(ORG, USER, "  i am ALLERGIC to peanuts ")
    other = await memora.add_memory(ORG, USER, "I am not allergic to peanuts.")
    assert [first.status, again.status, other.status] == ["created", "duplicate", "created"]
    assert again.id == first.id
    assert again.summary == "I am allergic to peanuts."
    assert len(await memora.list_memories(ORG, USER)) == 2


async def test_messages_are_stored_as_lines_without_what_was_recalled(memora: Memora) -> None:
    known = await memora.add_memory(ORG, USER, "Jake lives in Oslo")
    recalled = memora.format_memories(await memora.list_memories(ORG, USER))
    receipt = await memora.add_memory(
        ORG,
        USER,
        [
            {"role": "system", "content": recalled},
            {"role": "user", "content": "I moved."},
            {"role": "assistant", "content": "Where to?"},
            {"role": "user", "content": [{"type": "text", "text": "To Rome."}]},
        ],
    )
    assert known.status == receipt.status == "created"
    assert receipt.summary == "user: I moved.\nassistant: Where to?\nuser: To Rome."


async def test_a_model_condenses_to_the_key_facts(
    judged: Memora, judge: Judge, model: ScriptedBackendLLM
) -> None:
    judge.facts = ["[[user]] lives in Mumbai", "[[user]] works at Google."]
    await judged.graph.create_organization("Acme", org_id=ORG)
    await judged.graph.create_user(ORG, "Jake", user_id=USER)
    receipt = await judged.add_memory(ORG, USER, "Well, I live in Mumbai and work at Google!")
    assert receipt.summary == "Jake lives in Mumbai. Jake works at Google."
    assert texts(await judged.list_memories(ORG, USER)) == [receipt.summary]
    assert [call.schema for call in model.calls] == ["CondensedFacts"]
    assert model.calls[0].data["text"] == "Well, I live in Mumbai and work at Google!"


async def test_facts_that_echo_the_instructions_are_dropped(judged: Memora, judge: Judge) -> None:
    judge.facts = ["You keep the long-term memory of an assistant.", ""]
    receipt = await judged.add_memory(ORG, USER, "I like tea")
    assert receipt.summary == "I like tea"


async def test_a_merge_is_a_version_and_can_be_reverted(judged: Memora, judge: Judge) -> None:
    first = await judged.add_memory(
        ORG, USER, "Jake likes tea", tags=["a"], metadata={"n": 1}, importance=0.9
    )
    judge.verdict, judge.memory = "merged", "Jake likes green tea with milk"
    second = await judged.add_memory(
        ORG, USER, "Jake likes milk in his tea", tags=["b"], metadata={"m": 2}
    )
    assert (second.status, second.superseded_ids) == ("merged", [first.id])
    assert second.summary == "Jake likes green tea with milk"
    [memory] = await judged.list_memories(ORG, USER)
    assert (memory.memory_id, memory.tags, memory.importance) == (second.id, ["a", "b"], 0.9)
    assert memory.metadata == {"n": 1, "m": 2}
    history = await judged.memory_history(ORG, USER, second.id)
    assert texts(history) == ["Jake likes green tea with milk", "Jake likes tea"]
    reverted = await judged.revert_memory(ORG, USER, first.id)
    assert reverted.memory == "Jake likes tea"
    assert texts(await judged.list_memories(ORG, USER)) == ["Jake likes tea"]


async def test_a_merge_of_several_ends_the_others_and_each_can_be_reverted(
    judged: Memora, judge: Judge
) -> None:
    first = await judged.add_memory(ORG, USER, "Jake likes tea")
    second = await judged.add_memory(ORG, USER, "Jake likes milk")
    judge.verdict, judge.memory, judge.existing = "merged", "Jake likes tea and milk", [0, 1, 1]
    third = await judged.add_memory(ORG, USER, "Jake likes milk in tea")
    assert set(third.superseded_ids) == {first.id, second.id}
    assert texts(await judged.list_memories(ORG, USER)) == ["Jake likes tea and milk"]
    for memory_id, text in ((first.id, "Jake likes tea"), (second.id, "Jake likes milk")):
        assert (await judged.revert_memory(ORG, USER, memory_id)).memory == text


async def test_d12_what_is_superseded_becomes_history(
    judged: Memora, judge: Judge, clock: FrozenClock
) -> None:
    first = await judged.add_memory(ORG, USER, "Jake lives in Oslo")
    clock.advance(DAY)
    judge.verdict = "superseded"
    second = await judged.add_memory(ORG, USER, "Jake lives in Rome")
    assert (second.status, second.superseded_ids) == ("superseded", [first.id])
    assert texts(await judged.list_memories(ORG, USER)) == ["Jake lives in Rome"]
    then, _ids = await judged.recall_memories_for_message(
        ORG, USER, "Where does Jake live?", as_of=clock.now() - DAY
    )
    assert texts(then) == ["Jake lives in Oslo"]


async def test_what_is_older_than_what_it_contradicts_is_history_at_once(
    judged: Memora, judge: Judge, clock: FrozenClock
) -> None:
    first = await judged.add_memory(ORG, USER, "Jake lives in Rome")
    judge.verdict = "superseded"
    older = await judged.add_memory(ORG, USER, "Jake lives in Oslo", obtained_at=clock.now() - DAY)
    assert (older.status, older.superseded_ids) == ("created", [])
    assert texts(await judged.list_memories(ORG, USER)) == ["Jake lives in Rome"]
    history = await judged.memory_history(ORG, USER, first.id)
    assert texts(history) == ["Jake lives in Rome", "Jake lives in Oslo"]


async def test_a_model_may_find_a_duplicate_in_other_words(judged: Memora, judge: Judge) -> None:
    first = await judged.add_memory(ORG, USER, "Jake lives in Oslo")
    judge.verdict = "duplicate"
    again = await judged.add_memory(ORG, USER, "Oslo is where Jake lives")
    assert (again.status, again.id, again.summary) == ("duplicate", first.id, "Jake lives in Oslo")
    assert len(await judged.list_memories(ORG, USER)) == 1


@pytest.mark.parametrize(
    ("verdict", "memory", "existing"),
    [
        ("superseded", None, []),
        ("superseded", None, [7, -1]),
        ("duplicate", None, [99]),
        ("merged", None, [0]),
        ("merged", "You keep the long-term memory of an assistant free of repetition", [0]),
    ],
)
async def test_b73_a_verdict_that_cannot_be_used_stores_beside(
    judged: Memora, judge: Judge, verdict: str, memory: str | None, existing: list[int]
) -> None:
    await judged.add_memory(ORG, USER, "Jake likes tea")
    judge.verdict, judge.memory, judge.existing = verdict, memory, existing
    receipt = await judged.add_memory(ORG, USER, "Jake likes milk")
    assert receipt.status == "created"
    assert len(await judged.list_memories(ORG, USER)) == 2


async def test_below_the_threshold_no_model_is_asked(
    open_memora: OpenMemora, model: ScriptedBackendLLM
) -> None:
    memora = await open_memora(extraction_model=model, similarity_threshold=1.0)
    await memora.add_memory(ORG, USER, "Jake likes tea")
    await memora.add_memory(ORG, USER, "The moon is full of cheese")
    assert model.asked_for("PlacementResponse") == []


async def test_the_threshold_belongs_to_its_embedder(
    open_memora: OpenMemora, model: ScriptedBackendLLM
) -> None:
    memora = await open_memora(extraction_model=model, similarity_threshold={"another model": 0.0})
    await memora.add_memory(ORG, USER, "Jake likes tea")
    await memora.add_memory(ORG, USER, "The moon is full of cheese")
    assert model.asked_for("PlacementResponse") == []


async def test_what_stays_is_not_merged_with_what_expires(
    judged: Memora, judge: Judge, clock: FrozenClock
) -> None:
    await judged.add_memory(ORG, USER, "Jake likes tea")
    judge.verdict, judge.memory = "merged", "Jake likes tea, today with milk"
    receipt = await judged.add_memory(
        ORG, USER, "Jake wants milk today", expires_at=clock.now() + DAY
    )
    assert receipt.status == "created"
    clock.advance(DAY)
    assert texts(await judged.list_memories(ORG, USER)) == ["Jake likes tea"]


async def test_nothing_is_stored_when_the_model_is_down(open_memora: OpenMemora) -> None:
    def down(_call: Call) -> Answer:
        return LLMConnectionError("scripted", "down")

    memora = await open_memora(extraction_model=ScriptedBackendLLM(down))
    with pytest.raises(LLMConnectionError):
        await memora.add_memory(ORG, USER, "I like tea")
    assert await memora.list_memories(ORG, USER) == []


async def test_b24_the_same_text_added_at_once_is_one_memory(memora: Memora) -> None:
    receipts = await asyncio.gather(
        *(memora.add_memory(ORG, USER, "I like tea") for _ in range(20))
    )
    assert len({receipt.id for receipt in receipts}) == 1
    assert sorted(receipt.status for receipt in receipts) == ["created"] + ["duplicate"] * 19
    assert len(await memora.list_memories(ORG, USER)) == 1


class Interrupted(ScriptedBackendLLM):
    """A model during whose first verdict somebody else does something."""

    def __init__(self, judge: Judge) -> None:
        super().__init__(judge)
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def __call__(self, messages: Any, output_schema_model: Any = None, **options: Any) -> Any:
        answer = await super().__call__(messages, output_schema_model, **options)
        meanwhile = self.meanwhile
        if output_schema_model is PlacementResponse and meanwhile is not None:
            self.meanwhile = None
            await meanwhile()
        return answer


async def test_b28_a_memory_that_changes_while_the_model_thinks_is_looked_at_again(
    open_memora: OpenMemora,
) -> None:
    model = Interrupted(Judge("merged", "Jake likes black tea and milk"))
    memora = await open_memora(extraction_model=model, similarity_threshold=0.0)
    first = await memora.add_memory(ORG, USER, "Jake likes tea")
    model.meanwhile = lambda: memora.update_memory(ORG, USER, first.id, "Jake likes black tea")
    receipt = await memora.add_memory(ORG, USER, "Jake likes milk")
    assert receipt.status == "merged"
    shown = [call.data["existing"][0]["memory"] for call in model.asked_for("PlacementResponse")]
    assert shown == ["Jake likes tea", "Jake likes black tea"]
    assert texts(await memora.list_memories(ORG, USER)) == ["Jake likes black tea and milk"]


async def test_i18_a_memory_that_keeps_changing_costs_two_verdicts(open_memora: OpenMemora) -> None:
    model = Interrupted(Judge("merged", "both"))
    memora = await open_memora(extraction_model=model, similarity_threshold=0.0)
    first = await memora.add_memory(ORG, USER, "Jake likes tea")

    async def change() -> None:
        number = len(model.asked_for("PlacementResponse"))
        await memora.update_memory(ORG, USER, first.id, f"Jake likes tea {number}")
        model.meanwhile = change

    model.meanwhile = change
    receipt = await memora.add_memory(ORG, USER, "Jake likes milk")
    assert receipt.status == "created"
    assert len(model.asked_for("PlacementResponse")) == 2
    assert len(await memora.list_memories(ORG, USER)) == 2


async def test_i9_a_key_makes_repeating_harmless(memora: Memora, clock: FrozenClock) -> None:
    first = await memora.add_memory(ORG, USER, "I like tea", idempotency_key="k")
    clock.advance(DAY)
    again = await memora.add_memory(ORG, USER, "I like tea", idempotency_key="k")
    assert again == first
    with pytest.raises(ConflictError):
        await memora.add_memory(ORG, USER, "I like milk", idempotency_key="k")
    with pytest.raises(ConflictError):
        await memora.add_memory(ORG, USER, "I like tea", idempotency_key="k", pinned=True)
    assert len(await memora.list_memories(ORG, USER)) == 1


async def test_i9_a_key_outlives_the_memory_and_keeps_no_text(memora: Memora) -> None:
    first = await memora.add_memory(ORG, USER, "I like tea", idempotency_key="k")
    await memora.delete_memory(ORG, USER, first.id)
    again = await memora.add_memory(ORG, USER, "I like tea", idempotency_key="k")
    assert (again.status, again.id, again.summary) == ("created", first.id, "")
    assert await memora.list_memories(ORG, USER) == []


async def test_i9_equal_keyed_calls_at_once_are_one(memora: Memora) -> None:
    receipts = await asyncio.gather(
        *(memora.add_memory(ORG, USER, "I like tea", idempotency_key="k") for _ in range(10))
    )
    assert all(receipt == receipts[0] for receipt in receipts)
    assert receipts[0].status == "created"


async def test_a_batch_answers_in_order_across_users(memora: Memora) -> None:
    items = [
        {"user_id": f"u{number % 3}", "content": f"fact {number // 6}", "importance": 0.25}
        for number in range(12)
    ]
    receipts = await memora.add_memories(ORG, items)
    assert [receipt.summary for receipt in receipts] == [item["content"] for item in items]
    assert [r.status for r in receipts] == ["created"] * 3 + ["duplicate"] * 3 + ["created"] * 3 + [
        "duplicate"
    ] * 3
    assert sorted(texts(await memora.list_memories(ORG, "u1"))) == ["fact 0", "fact 1"]
    assert len(await memora.list_memories(ORG)) == 6


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"user_id": "u", "content": " "}, "items[1].content"),
        ({"user_id": "u"}, "items[1].content"),
        ({"content": "x"}, "items[1].user_id"),
        ({"user_id": "u", "content": "x", "importance": 2}, "items[1].importance"),
        ({"user_id": "u", "content": "x", "pinned": 1}, "items[1].pinned"),
        ({"user_id": "u", "content": "x", "tags": "a"}, "items[1].tags"),
        ({"user_id": "u", "content": "x", "mood": 1}, "items[1]"),
        ("x", "items[1]"),
    ],
)
async def test_b88_a_bad_item_stores_none_of_the_batch(
    memora: Memora, item: Any, field: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await memora.add_memories(ORG, [{"user_id": "u", "content": "fine"}, item])
    assert caught.value.field == field
    with pytest.raises(OrganizationNotFoundError):
        await memora.list_memories(ORG)


async def test_a_handle_takes_texts_and_no_other_owner(memora: Memora) -> None:
    handle = memora.for_user(USER, org_id=ORG)
    receipts = await handle.add_memories(["a fact", {"content": "a rule", "memory_type": "rule"}])
    assert [receipt.status for receipt in receipts] == ["created", "created"]
    with pytest.raises(InvalidInputError):
        await handle.add_memories([{"content": "x", "user_id": "eve"}])


async def test_only_what_may_be_created_is_created(memora: Memora) -> None:
    with pytest.raises(UserNotFoundError):
        await memora.add_memory(ORG, USER, "x", create_missing=False)
    await memora.add_memory(ORG, USER, "x", agent_id="helper")
    assert (await memora.graph.get_user(ORG, USER)).user_name == USER
    assert (await memora.graph.get_agent(ORG, "helper")).agent_label == "helper"
    with pytest.raises(InteractionNotFoundError):
        await memora.add_memory(ORG, USER, "x", interaction_id="nothing")


async def test_a_question_gets_memories_and_a_summary(memora: Memora) -> None:
    await memora.add_memories(
        ORG, [{"user_id": USER, "content": f"Jake has pet number {n}"} for n in range(5)]
    )
    result = await memora.query_memories(ORG, USER, "Which pets has Jake?")
    assert len(result["memories"]) == 3
    assert result["query"] == "Which pets has Jake?"
    assert result["context_summary"].count("Jake has pet number") == 3


async def test_a_question_within_a_conversation(memora: Memora) -> None:
    handle = memora.for_user(USER, org_id=ORG)
    await handle.ensure()
    await memora.graph.create_interaction(ORG, USER, external_id="one")
    await memora.graph.create_interaction(ORG, USER, external_id="two")
    await handle.add_memory("Jake likes tea", interaction_id="one")
    await handle.add_memory("Jake likes milk", interaction_id="two")
    result = await handle.query_memories("What does Jake like?", interaction_id="one")
    assert texts(result.memories) == ["Jake likes tea"]
    both = await handle.query_memories(
        "What does Jake like?", interaction_id="one", filters={"interaction_ids": ["other"]}
    )
    assert (both.memories, both.context_summary) == ([], "")
    with pytest.raises(InteractionNotFoundError):
        await handle.query_memories("What?", interaction_id="nothing")


async def filled(memora: Memora, clock: FrozenClock) -> None:
    for number in range(10):
        await memora.add_memory(
            ORG,
            USER,
            f"fact {number}",
            memory_type="rule" if number % 2 else "fact",
            tags=["even"] if number % 2 == 0 else [],
            metadata={"n": number, "name": f"number {number}", "all": [1, number]},
            obtained_at=clock.now() + timedelta(minutes=number),
        )


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"types": ["rule"]}, [9, 7, 5, 3, 1]),
        ({"tags": ["even"]}, [8, 6, 4, 2, 0]),
        ({"metadata": {"n": 3}}, [3]),
        ({"metadata": {"n": {"ne": 3}}}, [9, 8, 7, 6, 5, 4, 2, 1, 0]),
        ({"metadata": {"n": {"in": [1, 2]}}}, [2, 1]),
        ({"metadata": {"n": {"nin": list(range(8))}}}, [9, 8]),
        ({"metadata": {"n": {"gt": 7}}}, [9, 8]),
        ({"metadata": {"n": {"gte": 7, "lt": 9}}}, [8, 7]),
        ({"metadata": {"n": {"lte": 1}}}, [1, 0]),
        ({"metadata": {"name": {"contains": "ber 4"}}}, [4]),
        ({"metadata": {"all": {"contains": 5}}}, [5]),
        ({"metadata": {"n": {"exists": False}}}, []),
        ({"metadata": {"or": [{"n": 1}, {"n": {"gt": 8}}]}}, [9, 1]),
        ({"metadata": {"and": [{"n": {"gt": 3}}, {"not": {"n": {"gt": 5}}}]}}, [5, 4]),
    ],
)
async def test_lists_searches_and_questions_filter_alike(
    memora: Memora, clock: FrozenClock, filters: dict[str, Any], expected: list[int]
) -> None:
    await filled(memora, clock)
    named = [f"fact {number}" for number in expected]
    assert texts(await memora.list_memories(ORG, USER, filters=filters)) == named
    assert texts(await memora.list_memories(ORG, filters=filters, skip=1, limit=2)) == named[1:3]
    asked = await memora.query_memories(ORG, USER, "fact", limit=10, filters=filters)
    assert sorted(texts(asked.memories)) == sorted(named)
    found = await memora.search_memories_as_one(ORG, USER, ["fact"], limit=10, filters=filters)
    assert sorted(texts(found)) == sorted(named)
    recalled, _ids = await memora.recall_memories_for_message(
        ORG, USER, "fact", limit=10, filters=filters
    )
    assert sorted(texts(recalled)) == sorted(named)


@pytest.mark.parametrize("filters", [None, {"importance_min": 0.1}])
@pytest.mark.parametrize("user", [USER, None])
async def test_lists_are_read_by_pages(
    memora: Memora, clock: FrozenClock, user: str | None, filters: Any
) -> None:
    await filled(memora, clock)
    seen: list[str] = []
    after: Any = None
    while page := await memora.list_memories(ORG, user, filters=filters, after=after, limit=3):
        seen += texts(page)
        after = page[-1] if len(seen) < 6 else (page[-1].obtained_at, page[-1].memory_id)
    assert seen == [f"fact {number}" for number in reversed(range(10))]
    skipped = await memora.list_memories(ORG, user, filters=filters, skip=8, limit=3)
    assert texts(skipped) == ["fact 1", "fact 0"]
    within = await memora.list_memories(
        ORG,
        user,
        filters={
            "obtained_from": clock.now() + timedelta(minutes=2),
            "obtained_to": clock.now() + timedelta(minutes=4),
        },
    )
    assert texts(within) == ["fact 4", "fact 3", "fact 2"]


async def test_b10_a_list_of_the_organization_has_no_raw_messages(memora: Memora) -> None:
    handle = memora.for_user(USER, org_id=ORG)
    await handle.save([{"role": "user", "content": "I like tea"}])
    [own] = await handle.list_memories()
    [seen] = await memora.list_memories(ORG)
    assert own.message_sources != []
    assert seen.message_sources == []


async def test_updates_and_deletes_of_added_memories(memora: Memora) -> None:
    receipt = await memora.add_memory(ORG, USER, "I like tea")
    updated = await memora.update_memory(ORG, USER, receipt.id, "I like coffee")
    assert texts(await memora.memory_history(ORG, USER, updated.memory_id)) == [
        "I like coffee",
        "I like tea",
    ]
    deleted = await memora.delete_memory(ORG, USER, updated.memory_id)
    assert (deleted["status"], deleted["deleted"]) == ("deleted", True)
    with pytest.raises(MemoryNotFoundError):
        await memora.update_memory(ORG, USER, updated.memory_id, "x")


async def test_health_counts_what_there_is(memora: Memora, clock: FrozenClock) -> None:
    start = clock.now()
    await memora.add_memory(ORG, USER, "Jake likes tea", pinned=True)
    await memora.add_memory(ORG, USER, "jake likes tea!!! (really)", memory_type="rule")
    await memora.add_memory(ORG, USER, "soon gone", expires_at=start + DAY)
    first = await memora.add_memory(ORG, "eve", "Eve has a boat")
    await memora.update_memory(ORG, "eve", first.id, "Eve has a ship")
    clock.advance(2 * DAY)
    await memora.recall_memories_for_message(ORG, "eve", "boat")
    await memora.drain_outbox()
    health = await memora.memory_health(ORG, USER)
    assert health.by_status == {"current": 2, "archived": 0, "expired": 1, "past": 0}
    assert (health.total, health["pinned"], health.unused) == (3, 1, 2)
    assert health.by_type == {"fact": 1, "rule": 1}
    assert health.ages == {"1d": 0, "7d": 2, "30d": 0, "365d": 0, "older": 0}
    assert (health.oldest, health.newest) == (start, start)
    assert (health.index_pending, health.index_dead, health.index_waiting_since) == (0, 0, None)
    assert health.sampled == 2
    whole = await memora.memory_health(ORG, sample=0)
    assert (whole.total, whole.by_status["past"], whole.unused) == (5, 1, 2)
    assert (whole.sampled, whole.redundancy) == (0, None)
    with pytest.raises(UserNotFoundError):
        await memora.memory_health(ORG, "nobody")


async def test_health_tells_how_much_is_said_twice(open_memora: OpenMemora) -> None:
    memora = await open_memora(similarity_threshold=0.6)
    for text in ("Jake likes green tea", "Jake likes green tea so much", "The moon is round"):
        await memora.add_memory(ORG, USER, text)
    health = await memora.memory_health(ORG, USER)
    assert health.redundancy == pytest.approx(2 / 3)


async def test_answers_show_no_text_in_their_reprs(memora: Memora) -> None:
    receipt = await memora.add_memory(ORG, USER, "secret canary")
    result = await memora.query_memories(ORG, USER, "canary")
    assert isinstance(receipt, MemoryReceipt)
    assert "canary" not in repr(receipt) + repr(result)


async def test_b64_times_may_be_texts_and_are_kept_in_utc(memora: Memora) -> None:
    await memora.add_memories(
        ORG,
        [{"user_id": USER, "content": "x", "obtained_at": "2025-05-01T10:00:00+02:00"}],
    )
    [memory] = await memora.list_memories(ORG, USER)
    assert memory.obtained_at == datetime(2025, 5, 1, 8, tzinfo=UTC)


async def test_b64_times_of_a_memory_are_times_and_no_texts(memora: Memora) -> None:
    for name in ("obtained_at", "expires_at"):
        given: dict[str, Any] = {name: "2025-05-01"}
        with pytest.raises(InvalidInputError) as caught:
            await memora.add_memory(ORG, USER, "x", **given)
        assert caught.value.field == name
