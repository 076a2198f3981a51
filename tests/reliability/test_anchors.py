"""R16: one short test for each of the named defects that `mutants/` can put back.

They only use the public API and real stores, and together they are the quickest answer to "is one
of the old mistakes back". `test_mutants.py` shows that each of them fails when its defect is.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memora import Memora, MemorySearchScope
from memora.embeddings.hashing import HashingEmbedder
from memora.errors import (
    ConflictError,
    ExtractionError,
    GraphDBConnectionError,
    GraphDBError,
    InvalidInputError,
    NotFoundError,
)
from memora.graph_db import SQLiteGraph
from memora.llm_backends.base import BaseBackendLLM
from memora.schema.index import IndexDocument
from memora.schema.models import Interaction, Memory
from memora.schema.storage_schema import (
    ContraryMemoryToStore,
    MemoriesAndInteraction,
)
from memora.schema.write_plan import WritePlan, WriteReceipt
from memora.testing.clocks import FrozenClock, SequentialIds
from memora.testing.fakes import Answer, Call, OutageError, ScriptedBackendLLM, extracting
from memora.vector_db import EmbeddedVectorDB

pytestmark = [pytest.mark.timeout(30), pytest.mark.suite("R16")]


class Graph(SQLiteGraph):
    """A graph whose writes can be made to wait for each other, or to lose their answer.

    Attributes:
        meet: The next writes of transcripts or memories start only when two of them are there.
        loses_answer: The next write is committed, and then fails all the same.
    """

    meet: asyncio.Barrier | None = None
    loses_answer = False

    async def apply(self, plan: WritePlan) -> WriteReceipt:
        meet = self.meet
        if meet is not None:
            await meet.wait()
            self.meet = None
        receipt = await super().apply(plan)
        if self.loses_answer:
            self.loses_answer = False
            raise GraphDBConnectionError("sqlite", "the answer was lost")
        return receipt


class Vectors(EmbeddedVectorDB):
    """Vectors whose next write is done and then hangs."""

    hangs = False
    wrote: asyncio.Event

    async def upsert(self, documents: Sequence[IndexDocument]) -> None:
        await super().upsert(documents)
        if self.hangs:
            self.wrote.set()
            await asyncio.Event().wait()


class World:
    """One engine on a store of its own, with an organization, a user and an agent."""

    def __init__(
        self, path: Path, clock: FrozenClock, ids: SequentialIds, model: BaseBackendLLM | None
    ) -> None:
        self.clock = clock
        self.graph = Graph(path / "graph.sqlite3", clock=clock, ids=ids)
        self.vectors = Vectors(path / "vectors", embedder=HashingEmbedder())
        self.vectors.wrote = asyncio.Event()
        self.memora = Memora(self.vectors, self.graph, extraction_model=model)
        self.org = "acme"
        self.user = "jake"

    async def create(self) -> None:
        graph = self.memora.graph
        await graph.create_organization("Acme", org_id=self.org)
        await graph.create_user(self.org, "Jake", user_id=self.user)
        await graph.create_agent(self.org, "Helper", agent_id="helper")

    async def save(self, *texts: str, **options: Any) -> str:
        interaction_id, _at = await self.memora.save_or_update_interaction_and_memories(
            self.org, self.user, interaction=said(*texts), **options
        )
        return interaction_id

    async def recall(self, message: str, **options: Any) -> list[str]:
        memories, _ids = await self.memora.recall_memories_for_message(
            self.org, self.user, message, **options
        )
        return [memory.memory for memory in memories]

    async def memories(self) -> list[Memory]:
        return await self.memora.graph.get_all_user_memories(self.org, self.user)

    async def texts(self) -> list[str]:
        return sorted(memory.memory for memory in await self.memories())

    async def interaction(self, interaction_id: str) -> Interaction:
        return await self.memora.graph.get_interaction(self.org, self.user, interaction_id)

    async def vector_ids(self) -> set[str]:
        return {entry.memory_id for entry in await self.memora.vector_db.scan()}

    async def supersede(self, memory: Memory, text: str) -> Memory:
        self.clock.advance(timedelta(days=1))
        return await self.memora.update_memory(self.org, self.user, memory.memory_id, text)


def said(*texts: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text} for text in texts]


@pytest.fixture
async def open_world(tmp_path: Path, clock: FrozenClock, ids: SequentialIds) -> AsyncIterator[Any]:
    async with AsyncExitStack() as stack:

        async def open_it(extraction_model: BaseBackendLLM | None = None) -> World:
            world = World(tmp_path / "store", clock, ids, extraction_model)
            await stack.enter_async_context(world.memora)
            await world.create()
            return world

        yield open_it


@pytest.fixture
async def world(open_world: Any) -> World:
    return await open_world()


async def clean(world: World) -> None:
    await world.memora.drain_outbox()
    diagnosis = await world.memora.doctor()
    assert diagnosis.findings == ()


@pytest.mark.parametrize("scope", [None, "users", "", "*", 1])
async def test_b01_an_unknown_scope_is_refused(world: World, scope: Any) -> None:
    await world.save("Jake has a secret.")
    with pytest.raises(InvalidInputError, match="scope"):
        await world.memora.search_memories_as_batch(
            world.org, ["secret"], user_id="somebody", memory_search_scope=scope
        )
    with pytest.raises(InvalidInputError, match="scope"):
        await world.memora.vector_db.search_memory("secret", scope, world.org, "somebody")


async def test_b02_a_foreign_vector_cannot_be_deleted(world: World) -> None:
    await world.save("Jake has a secret.")
    (memory,) = await world.memories()
    await world.memora.graph.create_user(world.org, "Eve", user_id="eve")
    await world.memora.vector_db.delete_memories([memory.memory_id], world.org, "eve")
    await world.memora.delete_memory(world.org, "eve", memory.memory_id)
    assert await world.recall("secret") == ["Jake has a secret."]
    assert await world.vector_ids() == {memory.memory_id}


async def test_b12_a_failed_commit_leaves_no_vector(world: World) -> None:
    await world.save("Jake has a dog.")
    before = await world.vector_ids()
    store = world.graph._store
    # No page more than there are: the disk is full.
    await store.write(
        lambda connection: connection.execute(
            f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}"
        )
    )
    with pytest.raises(GraphDBError):
        await world.save("A long story. " * 20_000)
    assert await world.vector_ids() == before
    assert await world.texts() == ["Jake has a dog."]
    await clean(world)


async def test_b13_a_lost_answer_and_a_retry_are_one_save(world: World) -> None:
    world.graph.loses_answer = True
    # The engine's handle is a copy of the graph.
    handle: Any = world.memora.graph
    handle.loses_answer = True
    with pytest.raises(GraphDBConnectionError):
        await world.save("Jake has a dog.", idempotency_key="once")
    first = await world.save("Jake has a dog.", idempotency_key="once")
    assert await world.save("Jake has a dog.", idempotency_key="once") == first
    interactions = await world.memora.graph.get_all_user_interactions(world.org, world.user)
    assert [found.interaction_id for found in interactions] == [first]
    assert await world.texts() == ["Jake has a dog."]
    with pytest.raises(ConflictError):
        await world.save("Jake has a cat.", idempotency_key="once")
    await clean(world)


async def test_b14_a_late_answer_resurrects_nobody(open_world: Any) -> None:
    thinking, go_on = asyncio.Event(), asyncio.Event()

    class Slow(ScriptedBackendLLM):
        async def __call__(self, *arguments: Any, **options: Any) -> Any:
            thinking.set()
            await go_on.wait()
            return await super().__call__(*arguments, **options)

    world: World = await open_world(extraction_model=Slow(extracting("Jake has a dog.")))
    saving = asyncio.create_task(world.save("I have a dog."))
    await thinking.wait()
    await world.memora.graph.delete_user(world.org, world.user)
    go_on.set()
    with pytest.raises(NotFoundError):
        await saving
    assert await world.vector_ids() == set()
    await clean(world)


async def test_b15_a_cancelled_save_is_whole_or_not_there(world: World) -> None:
    handle: Any = world.memora.vector_db
    handle.hangs = True
    saving = asyncio.create_task(world.save("Jake has a dog."))
    await handle.wrote.wait()
    handle.hangs = False
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert await world.vector_ids() == {memory.memory_id for memory in await world.memories()}
    world.clock.advance(timedelta(minutes=5))  # the lease of the drain that was cut off
    await clean(world)


async def test_b24_two_clients_that_append_lose_nothing(world: World) -> None:
    talk = await world.save("Hello.")
    handle: Any = world.memora.graph
    handle.meet = asyncio.Barrier(2)
    answers = await asyncio.gather(
        world.save("Hello.", "I have a dog.", interaction_id=talk),
        world.save("Hello.", "I have a cat.", interaction_id=talk),
        return_exceptions=True,
    )
    stored = [message.content for message in (await world.interaction(talk)).messages or []]
    for text, answer in zip(["I have a dog.", "I have a cat."], answers, strict=True):
        if isinstance(answer, str):
            assert text in stored, "acknowledged and lost"
        else:
            assert isinstance(answer, ConflictError)
            assert [message["content"] for message in answer.tail][-1] in stored
    assert any(isinstance(answer, str) for answer in answers)
    await clean(world)


async def test_b28_two_corrections_leave_one_current_version(world: World) -> None:
    await world.save("Jake lives in Berlin.")
    (memory,) = await world.memories()
    world.clock.advance(timedelta(days=1))
    handle: Any = world.memora.graph
    handle.meet = asyncio.Barrier(2)
    await asyncio.gather(
        world.memora.update_memory(world.org, world.user, memory.memory_id, "Jake is in Rome."),
        world.memora.update_memory(world.org, world.user, memory.memory_id, "Jake is in Oslo."),
        return_exceptions=True,
    )
    assert len(await world.memories()) == 1
    await clean(world)


async def test_b33_embedding_never_runs_on_the_event_loop() -> None:
    threads: set[int] = set()

    class Watched(HashingEmbedder):
        def _compute(self, texts: list[str], kind: Any) -> np.ndarray[Any, Any]:
            threads.add(threading.get_ident())
            return super()._compute(texts, kind)

    async with Watched() as embedder:
        await embedder.embed_documents(["one", "two"])
        await embedder.embed_queries(["three"])
    assert threads
    assert threading.get_ident() not in threads


async def test_b45_what_was_saved_is_listed(world: World) -> None:
    await world.save("Jake has a dog.")
    assert await world.texts() == ["Jake has a dog."]
    (bound,) = await world.memora.for_user(world.user, org_id=world.org).memories()
    assert bound.memory == "Jake has a dog."


async def test_b46_the_default_time_is_that_of_the_call(world: World) -> None:
    world.clock.advance(timedelta(days=30))
    await world.save("Jake has a dog.")
    (memory,) = await world.memories()
    assert memory.obtained_at == world.clock.now()


async def test_b47_what_a_deleted_agent_wrote_stays_usable(world: World) -> None:
    talk = await world.save("Jake has a dog.", agent_id="helper")
    await world.memora.graph.delete_agent(world.org, "helper")
    assert (await world.interaction(talk)).message_count == 1
    await world.save("Jake has a dog.", "It is called Rex.", interaction_id=talk)
    assert await world.texts() == ["It is called Rex.", "Jake has a dog."]
    assert await world.recall("dog", limit=1) == ["Jake has a dog."]
    await clean(world)
    await world.memora.graph.delete_user_interaction_and_its_memories(world.org, world.user, talk)
    assert await world.texts() == []
    await clean(world)


@pytest.mark.parametrize("name", ["Ke$ha", "A$AP", "back\\", r"\1", r"\g<0>", "$0", "O'Brien"])
async def test_b48_any_name_is_shown_as_it_is(open_world: Any, name: str) -> None:
    model = ScriptedBackendLLM(extracting("[[user]] likes tea."))
    world: World = await open_world(extraction_model=model)
    await world.save("I like tea.")
    await world.memora.graph.update_user(world.org, world.user, name)
    assert await world.texts() == [f"{name} likes tea."]
    assert await world.recall("tea") == [f"{name} likes tea."]


async def test_b49_only_exact_placeholders_are_names(open_world: Any) -> None:
    text = "[[user]] built the user_friendly app for user_x; [[u:eve]] said USER_Agent."
    world: World = await open_world(extraction_model=ScriptedBackendLLM(extracting(text)))
    await world.save("I built an app.")
    expected = "Jake built the user_friendly app for user_x; [[u:eve]] said USER_Agent."
    assert await world.texts() == [expected]


async def test_b52_a_memory_without_its_sources_is_still_there(world: World) -> None:
    talk = await world.save("Hello.", "Jake has a dog.")
    dog = next(memory for memory in await world.memories() if "dog" in memory.memory)
    await world.save("Hello.", interaction_id=talk)  # cuts the message it came from
    found = await world.memora.graph.get_user_memory(world.org, world.user, dog.memory_id)
    assert (found.memory, found.message_sources) == ("Jake has a dog.", [])
    assert await world.recall("dog", limit=1) == ["Jake has a dog."]


async def test_b54_deleting_a_version_makes_no_older_one_current(world: World) -> None:
    await world.save("Jake lives in Berlin.")
    (first,) = await world.memories()
    start = world.clock.now()
    second = await world.supersede(first, "Jake lives in Rome.")
    between = world.clock.now() + timedelta(hours=1)
    third = await world.supersede(second, "Jake lives in Oslo.")
    await world.memora.delete_memory(world.org, world.user, second.memory_id)
    assert await world.recall("Where does Jake live?", as_of=between) == []
    assert await world.recall("Where does Jake live?", as_of=start) == ["Jake lives in Berlin."]
    await world.memora.delete_memory(world.org, world.user, third.memory_id)
    assert await world.texts() == []
    assert await world.recall("Where does Jake live?") == []
    (left,) = await world.memora.memory_history(world.org, world.user, first.memory_id)
    assert not left.is_current
    await clean(world)


async def test_b55_a_deleted_statement_is_not_extracted_again(world: World) -> None:
    talk = await world.save("Hello.", "Jake has a dog.")
    dog = next(memory for memory in await world.memories() if "dog" in memory.memory)
    await world.memora.delete_memory(world.org, world.user, dog.memory_id)
    await world.save("Hello.", interaction_id=talk)
    await world.save("Hello.", "Jake has a dog.", "Bye.", interaction_id=talk)
    assert await world.texts() == ["Bye.", "Hello."]
    await clean(world)


async def test_b58_an_excluded_memory_does_not_come_back_by_an_old_version(world: World) -> None:
    await world.save("Jake lives in Berlin.")
    (first,) = await world.memories()
    second = await world.supersede(first, "Jake lives in Rome.")
    assert await world.recall("Berlin") == ["Jake lives in Rome."]
    assert await world.recall("Berlin", filter_out_memory_ids_set={second.memory_id}) == []
    found = await world.memora.search_memories_as_one(
        world.org, world.user, ["Berlin"], {second.memory_id}
    )
    assert found == []


async def test_b59_as_many_lists_as_queries(world: World) -> None:
    for queries in ([], ["one"], ["one", "two", "three"]):
        found = await world.memora.search_memories_as_batch(
            world.org, queries, user_id=world.user, memory_search_scope=MemorySearchScope.USER
        )
        assert found == [[] for _query in queries]
    await world.save("Jake has a dog.")
    found = await world.memora.search_memories_as_batch(
        world.org, ["dog", "?"], user_id=world.user, min_similarity=0.99
    )
    assert [len(each) for each in found] == [1, 0]


async def test_b60_nothing_recalled_is_two_empty_lists(world: World) -> None:
    memories, ids = await world.memora.recall_memories_for_message(
        world.org, world.user, "What do you know?"
    )
    assert (memories, ids) == ([], [])


async def test_b70_a_conversation_is_stored_whatever_the_model_does(open_world: Any) -> None:
    def down(_call: Call) -> Answer:
        raise OutageError

    world: World = await open_world(extraction_model=ScriptedBackendLLM(down))
    transcript: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": "Look at this."}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {}}]},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
    ]
    with pytest.raises(ExtractionError) as caught:
        await world.memora.save_or_update_interaction_and_memories(
            world.org, world.user, interaction=transcript
        )
    stored = await world.interaction(caught.value.interaction_id)
    assert [message.role for message in stored.messages or []] == ["user", "assistant", "tool"]
    (job,) = await world.memora.list_jobs(world.org)
    assert job.job_id == caught.value.job_id
    await clean(world)


def contradicting(existing: int) -> ScriptedBackendLLM:
    """A model that repeats each message, and says that it contradicts the memory of that number."""

    def answer(call: Call) -> Answer:
        if call.schema == "MemoryComparisonResponse":
            verdict = {"candidate": 0, "verdict": "contradiction", "existing": existing}
            return {"verdicts": [verdict]}
        return extracting(call.data["new_messages"][0]["content"])(call)

    return ScriptedBackendLLM(answer)


async def _contradict(open_world: Any, number: int) -> tuple[World, Memory]:
    world: World = await open_world(extraction_model=contradicting(number))
    await world.save("Jake has a dog.")
    (known,) = await world.memories()
    world.clock.advance(timedelta(days=1))
    await world.save("Jake has a dog now.")
    return world, known


async def test_b73_the_number_that_was_shown_is_heard(open_world: Any) -> None:
    world, _known = await _contradict(open_world, 0)
    assert await world.texts() == ["Jake has a dog now."]


async def test_b71_a_negative_number_names_no_memory(open_world: Any) -> None:
    world, known = await _contradict(open_world, -1)
    assert await world.texts() == ["Jake has a dog now.", "Jake has a dog."]
    found = await world.memora.graph.get_user_memory(world.org, world.user, known.memory_id)
    assert found.is_current


async def test_b73_an_invented_number_supersedes_nothing_and_is_told(
    open_world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "memora"):
        world, known = await _contradict(open_world, 7)
    assert await world.texts() == ["Jake has a dog now.", "Jake has a dog."]
    found = await world.memora.graph.get_user_memory(world.org, world.user, known.memory_id)
    assert found.is_current
    assert "unknown_existing" in caplog.text


async def test_b73_a_contradicted_id_must_be_the_users(world: World) -> None:
    stranger = "00000000-0000-4000-8000-000000000000"
    contrary = ContraryMemoryToStore(
        memory="Jake has a cat.", source_msg_block_pos=[0], existing_contrary_memory_id=stranger
    )
    with pytest.raises(NotFoundError):
        await world.memora.graph.save_interaction_with_memories(
            world.org,
            None,
            world.user,
            MemoriesAndInteraction(interaction=said("A cat."), contrary_memories=[contrary]),
        )
    assert await world.memora.graph.get_all_user_interactions(world.org, world.user) == []


async def test_b83_erasing_a_user_erases_its_vectors(world: World) -> None:
    await world.save("Jake has a dog.", "Jake has a cat.")
    assert len(await world.vector_ids()) == 2
    await world.memora.graph.delete_user(world.org, world.user)
    assert await world.vector_ids() == set()
    await clean(world)


async def test_b84_an_interaction_without_messages_is_deleted_too(world: World) -> None:
    graph = world.memora.graph
    empty = await graph.create_interaction(world.org, world.user)
    talk = await world.save("Jake has a dog.")
    await world.memora.save_or_update_interaction_and_memories(
        world.org, world.user, interaction=[], interaction_id=talk
    )
    assert len(await world.vector_ids()) == 1
    for interaction_id in (empty.interaction_id, talk):
        await graph.delete_user_interaction_and_its_memories(world.org, world.user, interaction_id)
    assert await graph.get_all_user_interactions(world.org, world.user) == []
    assert await world.vector_ids() == set()
    await clean(world)
