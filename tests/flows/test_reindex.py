"""Reindexing while others read, write and erase; changing the model; what interrupts it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import AsyncQdrantClient

from memora import Memora
from memora.core import indexing
from memora.embeddings.base import BaseEmbedder, Kind
from memora.embeddings.hashing import HashingEmbedder
from memora.errors import (
    EmbeddingError,
    InvalidInputError,
    RebuildRunningError,
    SchemaVersionError,
    VectorDBError,
)
from memora.graph_db.outbox import Drains
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.schema.scope import Scope
from memora.testing.clocks import FrozenClock, SequentialIds
from memora.testing.fakes import ScriptedBackendLLM
from memora.vector_db import EmbeddedVectorDB, QdrantDB
from memora.vector_db.base import BaseVectorDB

OLD, NEW = "hashing/64", "hashing/65"
Make = Callable[[BaseEmbedder], BaseVectorDB]


def old() -> HashingEmbedder:
    return HashingEmbedder(64)


class Gated(HashingEmbedder):
    """Runs a hook before each of its batches, in the middle of a reindex."""

    def __init__(self, hook: Callable[[], Awaitable[Any]] | None = None) -> None:
        super().__init__(65, cache_size=0)
        self.hook = hook
        self.batches = 0

    async def _embed_batch(self, texts: list[str], kind: Kind) -> Any:
        self.batches += 1
        if self.hook is not None and kind == "document":
            await self.hook()
        return await super()._embed_batch(texts, kind)


class Store:
    """An engine on SQLite and one of the vector stores, and what a test does with it."""

    def __init__(self, folder: Path, make: Make) -> None:
        self._folder = folder
        self._make = make
        self.clock = FrozenClock()
        self.ids = SequentialIds()

    @asynccontextmanager
    async def open(self, embedder: BaseEmbedder, **models: Any) -> AsyncIterator[Memora]:
        async with self.engine(embedder, **models) as memora:
            await memora.setup()
            yield memora

    @asynccontextmanager
    async def engine(self, embedder: BaseEmbedder, **models: Any) -> AsyncIterator[Memora]:
        """An engine of which only the graph is set up."""
        graph = SQLiteGraph(self._folder / "graph.sqlite3", clock=self.clock, ids=self.ids)
        memora = Memora(self._make(embedder), graph, **models)
        try:
            await graph.setup()
            yield memora
        finally:
            await memora.close()


@pytest.fixture(params=["embedded", "qdrant"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "embedded":
        yield Store(tmp_path, lambda model: EmbeddedVectorDB(tmp_path / "v", embedder=model))
        return
    client = AsyncQdrantClient(":memory:")
    yield Store(tmp_path, lambda model: QdrantDB(client, "memories", embedder=model))
    await client.close()


async def save(memora: Memora, *texts: str, user: str = "jake") -> None:
    await memora.for_user(user).save([{"role": "user", "content": text} for text in texts])


async def recall(memora: Memora, question: str, user: str = "jake") -> set[str]:
    found = await memora.for_user(user).recall(question, limit=1000)
    return {memory.memory for memory in found}


async def check(memora: Memora, model_id: str) -> None:
    """The store is clean, and every vector is of this model and of the present memory."""
    diagnosis = await memora.doctor()
    assert diagnosis.clean, diagnosis.findings
    assert diagnosis.pending == 0
    assert {entry.model_id for entry in await memora.vector_db.scan()} <= {model_id}
    stamp = await memora.vector_db.stamp()
    assert stamp is not None
    assert stamp.model_id == model_id


async def test_b23_the_model_changes_without_a_gap_and_without_a_language_model(
    store: Store,
) -> None:
    model = ScriptedBackendLLM()
    async with store.open(old(), extraction_model=None, memory_search_model=model) as memora:
        await save(memora, "I like tea.", "I like coffee.", "My dog is called Rex.")
        asked = len(model.calls)
        seen: list[set[str]] = []

        async def look() -> None:
            stamp = await memora.vector_db.stamp()
            assert stamp is not None
            assert stamp.model_id == OLD
            found = await memora.search_memories_as_one("default", "jake", ["dog tea"])
            seen.append({memory.memory for memory in found})

        told: list[int] = []
        new = Gated(look)
        assert await memora.reindex(told.append, embedder=new) == 3
        new.hook = None
        assert told == [3]
        assert seen
        assert all("My dog is called Rex." in found for found in seen)
        assert len(model.calls) == asked
        await check(memora, NEW)
        await save(memora, "I like milk.")
        assert "I like milk." in await recall(memora, "milk")
        await check(memora, NEW)
    with pytest.raises(SchemaVersionError, match="memora reindex") as refused:
        async with store.open(old()):
            pass
    assert OLD in str(refused.value)
    assert NEW in str(refused.value)
    async with store.open(HashingEmbedder(65)) as memora:
        assert len(await recall(memora, "what do I like")) == 4
        await check(memora, NEW)


async def test_b23_a_store_that_refuses_the_new_model_is_moved_to_it(store: Store) -> None:
    async with store.open(old()) as memora:
        await save(memora, "I like tea.", "I like coffee.")
    with pytest.raises(SchemaVersionError):
        async with store.open(HashingEmbedder(65)):
            pass
    async with store.engine(HashingEmbedder(65)) as memora:
        assert await memora.reindex() == 2
        assert len(await recall(memora, "tea")) == 2
    async with store.open(HashingEmbedder(65)) as memora:
        await check(memora, NEW)


async def test_a_store_of_an_older_recipe_is_brought_up_to_date(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("memora.vector_db._encoding.TEXT_RECIPE", "text-v0")
        async with store.open(old()) as memora:
            await save(memora, "I like tea.")
    with pytest.raises(SchemaVersionError, match="text-v0"):
        async with store.open(old()):
            pass
    async with store.engine(old()) as memora:
        assert await memora.reindex() == 1
    async with store.open(old()) as memora:
        stamp = await memora.vector_db.stamp()
        assert stamp is not None
        assert stamp.recipe.endswith(indexing.TEXT_RECIPE)
        await check(memora, OLD)


async def test_writes_during_a_reindex_are_in_the_new_index(store: Store) -> None:
    async with store.open(old()) as memora:
        user = memora.for_user("jake")
        await save(memora, *(f"I like tea number {n}." for n in range(20)))
        first, second, *_ = await user.memories()
        done: list[str] = []

        async def write() -> None:
            if not done:
                done.append("")
                await save(memora, "I like milk.")
                await user.update_memory(first.memory_id, "I like juice.")
                await user.delete_memory(second.memory_id)

        assert await memora.reindex(embedder=Gated(write)) >= 20
        await check(memora, NEW)
        found = await recall(memora, "what do I like")
        assert {"I like milk.", "I like juice."} <= found
        assert second.memory not in found
        assert len(found) == 20


async def test_b83_erased_users_and_organizations_are_not_in_the_new_index(store: Store) -> None:
    async with store.open(old()) as memora:
        gone = memora.for_user("dora", org_id="gone")
        await gone.save([{"role": "user", "content": "I like tea."}])
        await save(memora, "I like tea.", user="jake")
        await save(memora, "I like tea.", user="ann")
        done: list[str] = []

        async def erase() -> None:
            if not done:
                done.append("")
                await memora.graph.delete_user("default", "ann")
                await memora.graph.delete_organization("gone")

        await memora.reindex(embedder=Gated(erase))
        await check(memora, NEW)
        owners = {(entry.org_id, entry.user_id) for entry in await memora.vector_db.scan()}
        assert owners == {("default", "jake")}


async def test_a_user_that_comes_back_during_a_reindex_is_indexed(store: Store) -> None:
    async with store.open(old()) as memora:
        await save(memora, "I like tea.", "I like milk.")
        done: list[str] = []

        async def again() -> None:
            if not done:
                done.append("")
                await memora.graph.delete_user("default", "jake")
                await memora.graph.create_user("default", "jake", user_id="jake")
                await save(memora, "I like coffee.")

        await memora.reindex(embedder=Gated(again))
        await check(memora, NEW)
        assert await recall(memora, "what do I like") == {"I like coffee."}


async def test_an_embedder_that_fails_half_way_leaves_the_old_index(store: Store) -> None:
    async with store.open(old()) as memora:
        await save(memora, *(f"I like tea number {n}." for n in range(300)))

        async def fail_at_the_third() -> None:
            if model.batches == 3:
                raise EmbeddingError("test", "the quota is used up")

        model = Gated(fail_at_the_third)
        told: list[int] = []
        with pytest.raises(EmbeddingError):
            await memora.reindex(told.append, embedder=model)
        await check(memora, OLD)
        assert len(await recall(memora, "tea")) == 300
        model.hook = None
        assert await memora.reindex(embedder=model) == 300
        await check(memora, NEW)


async def test_b15_a_reindex_that_is_cancelled_leaves_one_whole_index(store: Store) -> None:
    async with store.open(old()) as memora:
        await save(memora, "I like tea.", "I like milk.")
        turns, ended, found = 0, False, ""
        while not ended:
            call = asyncio.ensure_future(memora.reindex(embedder=Gated()))
            for _ in range(turns):
                await asyncio.sleep(0)
            turns = 1 + turns * 2
            ended = call.done()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await memora.drain_outbox()
            stamp = await memora.vector_db.stamp()
            assert stamp is not None
            found = stamp.model_id
            await check(memora, found)
            assert len(await recall(memora, "tea")) == 2
        assert found == NEW


async def test_a_second_reindex_is_refused_and_the_first_goes_on(store: Store) -> None:
    async with store.open(old()) as memora:
        await save(memora, "I like tea.")
        refused: list[str] = []

        async def again() -> None:
            with pytest.raises(RebuildRunningError) as error:
                await memora.reindex()
            refused.append(str(error.value))

        assert await memora.reindex(embedder=Gated(again)) == 1
        assert refused
        await check(memora, NEW)


async def test_a_reindex_drains_what_waits(store: Store) -> None:
    async with store.open(old()) as memora:
        await save(memora, "I like tea.")
        other = Memora(Down(memora.vector_db), memora.graph)
        await save(other, "I like milk.")
        assert (await memora.graph.outbox_status()).pending == 1
        assert await memora.reindex() == 2
        assert await recall(memora, "milk") == {"I like tea.", "I like milk."}


class Down(EmbeddedVectorDB):
    """A vector store that is down."""

    def __init__(self, _inner: BaseVectorDB) -> None:
        super().__init__(None, embedder=old())

    async def upsert(self, documents: Any) -> None:
        raise VectorDBError("test", "down")


async def test_names_of_embedders(tmp_path: Path) -> None:
    async with Memora.embedded(tmp_path / "a", embedder="hashing") as memora:
        await save(memora, "I like tea.")
        assert await memora.reindex(embedder="wordllama") == 1
        stamp = await memora.vector_db.stamp()
        assert stamp is not None
        assert "wordllama" in stamp.model_id
        for name in ("", "no-such-provider", "openai"):
            with pytest.raises(InvalidInputError, match="embedder"):
                await memora.reindex(embedder=name)
        assert await memora.vector_db.stamp() == stamp
    vectors = EmbeddedVectorDB(tmp_path / "b" / "v", embedder=old())
    async with Memora(vectors, SQLiteGraph(tmp_path / "b" / "g")) as memora:
        with pytest.raises(InvalidInputError, match="embedder"):
            await memora.reindex(embedder="hashing")


# Several processes on one Qdrant


@pytest.fixture
async def client() -> AsyncIterator[AsyncQdrantClient]:
    client = AsyncQdrantClient(":memory:")
    yield client
    await client.close()


@asynccontextmanager
async def two(
    client: AsyncQdrantClient, folder: Path, clock: FrozenClock
) -> AsyncIterator[tuple[Memora, Memora]]:
    """Two engines as of two processes: one graph, a vector store of their own each."""
    graph = SQLiteGraph(folder / "graph.sqlite3", clock=clock)
    first = Memora(QdrantDB(client, "m", embedder=old(), clock=clock), graph)
    await first.setup()
    # Its own drain lock, as in another process.
    second = Memora(QdrantDB(client, "m", embedder=old(), clock=clock), graph)
    second.graph._drains = Drains()
    await second.setup()
    try:
        yield first, second
    finally:
        await first.close()


async def test_b23_another_process_of_the_old_model_is_refused_and_never_mixes(
    client: AsyncQdrantClient, tmp_path: Path, clock: FrozenClock
) -> None:
    async with two(client, tmp_path, clock) as (first, second):
        await save(first, "I like tea.", "I like milk.")
        done: list[str] = []

        async def write_elsewhere() -> None:
            if not done:
                done.append("")
                await save(second, "I like coffee.")
                assert len(await recall(second, "what do I like")) == 3

        await first.reindex(embedder=Gated(write_elsewhere))
        # What the other one drained to the old collection was found by comparing.
        await check(first, NEW)
        assert len(await recall(first, "what do I like")) == 3
        with pytest.raises(SchemaVersionError, match="memora reindex"):
            await recall(second, "tea")
        await save(second, "I like juice.")
        assert (await first.graph.outbox_status()).pending == 1
        clock.advance(timedelta(hours=1))
        report = await first.drain_outbox()
        assert (report.applied, report.failed) == (1, 0)
        assert "I like juice." in await recall(first, "juice")
        await check(first, NEW)


async def test_another_process_of_the_same_model_follows(
    client: AsyncQdrantClient, tmp_path: Path, clock: FrozenClock
) -> None:
    async with two(client, tmp_path, clock) as (first, second):
        await save(first, "I like tea.")
        await first.reindex()
        assert await recall(second, "tea") == {"I like tea."}
        await save(second, "I like milk.")
        assert len(await recall(first, "what do I like")) == 2
        await check(first, OLD)


async def test_a_reindex_of_another_process_is_respected_while_it_lives(
    client: AsyncQdrantClient, tmp_path: Path, clock: FrozenClock
) -> None:
    async with two(client, tmp_path, clock) as (first, second):
        await save(first, "I like tea.")
        await save(first, "I like milk.", user="ann")
        staged = await second.vector_db.begin_rebuild(HashingEmbedder(65))
        with pytest.raises(RebuildRunningError):
            await first.reindex()
        await staged.upsert(
            [d async for d in first.graph.all_index_documents(Scope("default", "ann"))]
        )
        # Erasing reaches what another process is making.
        await first.graph.delete_user("default", "ann")
        assert await staged.scan() == []
        await first.vector_db.setup()
        assert await staged.scan() == []
        # It shows no sign of life: whoever sets up next clears away.
        clock.advance(timedelta(minutes=2))
        await first.vector_db.setup()
        with pytest.raises(VectorDBError):
            await staged.scan()
        assert await first.reindex() == 1
        await staged.discard()
        await check(first, OLD)
        assert len((await client.get_collections()).collections) == 1


async def test_b83_erasing_removes_what_a_dead_reindex_left(
    client: AsyncQdrantClient, tmp_path: Path, clock: FrozenClock
) -> None:
    async with two(client, tmp_path, clock) as (first, second):
        await save(first, "I like tea.")
        await second.vector_db.begin_rebuild()
        assert len((await client.get_collections()).collections) == 2
        clock.advance(timedelta(minutes=2))
        await first.graph.delete_user("default", "jake")
        assert len((await client.get_collections()).collections) == 1


async def test_b18_whoever_opens_the_store_finishes_a_reindex_that_died_after_its_switch(
    client: AsyncQdrantClient, tmp_path: Path, clock: FrozenClock
) -> None:
    async with two(client, tmp_path, clock) as (first, _second):
        await save(first, "I like tea.", "I like milk.")
        [one, _] = await first.for_user("jake").memories()
        scope = Scope("default", "jake")
        async with first.vector_db.rebuilding() as staged:
            await staged.upsert(await first.graph.read_index_documents(scope, [one.memory_id]))
            await staged.commit()
        assert len(await recall(first, "what do I like")) == 1
        third = Memora(QdrantDB(client, "m", embedder=old(), clock=clock), first.graph)
        await third.setup()
        await check(first, OLD)
        assert len(await recall(third, "what do I like")) == 2
        assert not await third.vector_db.is_unverified()


async def test_a_switch_whose_answer_is_lost_counts(
    client: AsyncQdrantClient, tmp_path: Path, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(client, tmp_path, clock) as (first, _second):
        await save(first, "I like tea.")
        change = client.update_collection_aliases

        async def lose_the_answer(*arguments: Any, **options: Any) -> bool:
            await change(*arguments, **options)
            raise OSError("lost")

        monkeypatch.setattr(client, "update_collection_aliases", lose_the_answer)
        assert await first.reindex(embedder=HashingEmbedder(65)) == 1
        await check(first, NEW)


async def test_a_switch_that_fails_leaves_the_old_index(
    client: AsyncQdrantClient, tmp_path: Path, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(client, tmp_path, clock) as (first, _second):
        await save(first, "I like tea.")

        async def down(*_arguments: Any, **_options: Any) -> bool:
            raise OSError("down")

        with monkeypatch.context() as patch:
            patch.setattr(client, "update_collection_aliases", down)
            with pytest.raises(VectorDBError):
                await first.reindex(embedder=HashingEmbedder(65))
        await check(first, OLD)
        assert len((await client.get_collections()).collections) == 1
        assert await first.reindex(embedder=HashingEmbedder(65)) == 1
        await check(first, NEW)
