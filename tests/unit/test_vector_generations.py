"""A vector store of the first schema, and drains that are shared."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from importlib.resources import files
from pathlib import Path

import pytest

from memora.embeddings.hashing import HashingEmbedder
from memora.graph_db.outbox import DrainReport, Drains
from memora.schema.scope import Scope
from memora.testing.vector_clauses.documents import document, everything, find, stored
from memora.vector_db import EmbeddedVectorDB

ALICE = Scope("org", "alice")


def as_of_the_first_schema(path: Path) -> None:
    """Write the rows of a closed store into a database that only the first migration made."""
    current = path / "vectors.sqlite3"
    before = path / "before.sqlite3"
    current.rename(before)
    connection = sqlite3.connect(current)
    script = files("memora.vector_db").joinpath("migrations", "0001_init.sql")
    connection.executescript(script.read_text("utf-8"))
    connection.execute("ATTACH ? AS before", (str(before),))
    columns = "model_id, dimensions, recipe, shard, engine, changes, flushed, dead"
    connection.execute("DELETE FROM state")
    connection.execute(
        f"INSERT INTO state (only_row, {columns}) SELECT 1, {columns} FROM before.state"
    )
    columns = "memory_id, org_id, user_id, dense, lexical_indices, lexical_values, payload"
    columns += ", text_hash, change"
    connection.execute(f"INSERT INTO vector ({columns}) SELECT {columns} FROM before.vector")
    connection.commit()
    connection.close()
    before.unlink()


@pytest.mark.parametrize("with_shard", [True, False])
async def test_a_store_of_the_first_schema_is_migrated(tmp_path: Path, with_shard: bool) -> None:
    documents = [document(f"story {number}", ALICE) for number in range(20)]
    async with EmbeddedVectorDB(tmp_path, embedder=HashingEmbedder(16)) as store:
        await store.upsert(documents)
        before = await find(store, "story 3", ALICE)
    await asyncio.to_thread(as_of_the_first_schema, tmp_path)
    if not with_shard:
        await asyncio.to_thread(shutil.rmtree, tmp_path / "vectors")
    async with EmbeddedVectorDB(tmp_path, embedder=HashingEmbedder(16)) as store:
        assert await find(store, "story 3", ALICE) == before
        assert await stored(store, "org") == sorted(d.memory_id for d in documents)
        await store.delete_memory(documents[3].memory_id, "org", "alice")
        async with store.rebuilding() as staged:
            await staged.upsert(documents[:3])
            await staged.commit()
        assert everything(await find(store, "story", ALICE)) == {d.memory_id for d in documents[:3]}


async def test_callers_that_come_during_a_drain_share_the_next_one() -> None:
    drains, gate = Drains(), asyncio.Event()
    ran: list[int] = []

    async def drain() -> DrainReport:
        ran.append(len(ran) + 1)
        number = ran[-1]
        await gate.wait()
        return DrainReport(applied=number)

    calls = [asyncio.create_task(drains.run(drain, shared_as="a"))]
    await asyncio.sleep(0)
    # The one that runs may have looked before they committed: they wait for another.
    calls += [asyncio.create_task(drains.run(drain, shared_as="a")) for _ in range(5)]
    calls.append(asyncio.create_task(drains.run(drain, shared_as="b")))
    calls.append(asyncio.create_task(drains.run(drain, shared_as=None)))
    await asyncio.sleep(0)
    gate.set()
    reports = [report.applied for report in await asyncio.gather(*calls)]
    assert reports == [1, 2, 2, 2, 2, 2, 3, 4]
    assert (await drains.run(drain, shared_as="a")).applied == 5


async def test_b15_a_cancelled_drain_is_shared_with_nobody() -> None:
    drains = Drains()
    ran = 0

    async def drain() -> DrainReport:
        nonlocal ran
        ran += 1
        await asyncio.sleep(0.01)
        return DrainReport(applied=ran)

    first = asyncio.create_task(drains.run(drain, shared_as="a"))
    await asyncio.sleep(0)
    second = asyncio.create_task(drains.run(drain, shared_as="a"))
    third = asyncio.create_task(drains.run(drain, shared_as="a"))
    await first
    while ran < 2:
        await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert (await third).applied == 3
