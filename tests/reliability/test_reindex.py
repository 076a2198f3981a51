"""R10: a reindex loses nothing, whatever happens to it, and nobody notices it but by the stamp."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import AsyncQdrantClient

from memora import Memora
from memora.embeddings.base import Kind
from memora.embeddings.hashing import HashingEmbedder
from memora.errors import EmbeddingError, SchemaVersionError
from memora.graph_db.neo4j.interface import Neo4jGraphInterface
from memora.vector_db import QdrantDB
from tests.neo4j_server.process import Neo4jServer
from tests.reliability.kit import assert_clean
from tests.reliability.reindexer import LENGTHS, engine, text
from tests.reliability.scorecard import Score

ROOT = Path(__file__).resolve().parents[2]
# What a store holds before the first reindex: enough to be killed in the middle of it.
STORIES = 400
ROUNDS = 5
NIGHTLY_ROUNDS = 200

pytestmark = [pytest.mark.timeout(120), pytest.mark.suite("R10")]


async def filled(path: Path, stories: int = STORIES) -> None:
    async with engine(path, LENGTHS[0]) as memora:
        said = [{"role": "user", "content": text(number)} for number in range(stories)]
        await memora.for_user("jake").save(said)
        await memora.for_user("dora").save([{"role": "user", "content": "I am nobody's business."}])


async def told(memora: Memora, user: str = "jake") -> set[str]:
    found = await memora.for_user(user).recall("the story number", limit=1000)
    return {memory.memory for memory in found}


async def model_of(path: Path) -> int:
    """The model that the store is stamped with, which alone opens it."""
    lengths: list[int] = []
    for length in LENGTHS:
        memora = engine(path, length)
        try:
            await memora.setup()
            lengths.append(length)
        except SchemaVersionError as refused:
            named = [word in str(refused) for word in ("hashing/32", "hashing/33", "reindex")]
            if not all(named):
                raise
        finally:
            await memora.close()
    [length] = lengths
    return length


def reindex_and_die(path: Path, length: int, first: int, rng: random.Random) -> tuple[int, bool]:
    """Kill a process at a moment of its reindex; return the saves that it acknowledged."""
    command = [sys.executable, "-m", "tests.reliability.reindexer", str(path), str(length)]
    saved, reindexed = 0, False
    with subprocess.Popen(
        [*command, str(first)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "reindexing":
                break
            saved += 1
        # From its first steps to after its end.
        time.sleep(rng.choice((0.01, 0.1, 0.25, 0.5, 1.0)) * rng.random() * 2)
        process.send_signal(signal.SIGKILL)
        for line in process.stdout.read().splitlines():
            reindexed |= line == "reindexed"
            saved += line.isdecimal()
    return saved, reindexed


def leftovers(path: Path) -> list[str]:
    shards = list((path / "vectors" / "vectors").iterdir())
    return sorted(shard.name for shard in shards)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
async def test_b23_a_reindex_that_is_killed_leaves_one_whole_index(
    tmp_path: Path, score: Score, seed: int, nightly: bool
) -> None:
    rng = random.Random(seed)
    await filled(tmp_path)
    said = {text(number) for number in range(STORIES)}
    length, first, switched = LENGTHS[0], STORIES, 0
    rounds = NIGHTLY_ROUNDS if nightly else ROUNDS
    for _ in range(rounds):
        saved, reindexed = await asyncio.to_thread(reindex_and_die, tmp_path, length, first, rng)
        said |= {text(number) for number in range(first, first + saved)}
        found = await model_of(tmp_path)
        assert found != length if reindexed else found in LENGTHS
        switched += found != length
        length = found
        async with engine(tmp_path, length) as memora:
            # A save that was not acknowledged may be there all the same, as a whole.
            current = {
                memory.memory
                for skip in range(0, 3000, 1000)
                for memory in await memora.for_user("jake").memories(skip=skip)
            }
            assert said <= current <= said | {text(first + saved)}
            said = current
            await assert_clean(memora)
            entries = [
                entry
                for after in [None, *(str(uuid.UUID(int=n << 124)) for n in range(1, 16))]
                for entry in await memora.vector_db.scan(after=after)
            ]
            assert {entry.model_id for entry in entries} == {f"hashing/{length}"}
            assert (await told(memora)) <= current
        assert len(await asyncio.to_thread(leftovers, tmp_path)) == 1
        first = len(said)
    async with engine(tmp_path, length) as memora:
        other = LENGTHS[LENGTHS.index(length) - 1]
        assert await memora.reindex(embedder=HashingEmbedder(other)) == len(said) + 1
        await assert_clean(memora)
    score("R10", kills=rounds, switched=switched, memories=len(said), violations=0, seed=seed)


class Unreliable(HashingEmbedder):
    """Fails at one of its batches, and lets others in before each."""

    def __init__(self, dimensions: int, fail_at: int) -> None:
        super().__init__(dimensions, batch_size=16, cache_size=0)
        self._left = fail_at

    async def _embed_batch(self, texts: list[str], kind: Kind) -> Any:
        self._left -= 1
        if self._left == 0:
            raise EmbeddingError("test", "the provider went away")
        return await super()._embed_batch(texts, kind)


async def test_b23_recalls_never_see_a_reindex(
    tmp_path: Path, score: Score, seed: int, nightly: bool
) -> None:
    rng = random.Random(seed)
    rounds = 40 if nightly else 4
    await filled(tmp_path, 200)
    async with engine(tmp_path, LENGTHS[0]) as memora:
        everything = await told(memora)
        counts = {"recalls": 0, "writes": 0, "failed": 0}
        done = asyncio.Event()

        async def recall() -> None:
            while not done.is_set():
                missing = everything - await told(memora)
                assert not missing
                counts["recalls"] += 1

        async def write() -> None:
            while not done.is_set():
                user = memora.for_user(f"guest {counts['writes']}")
                await user.save([{"role": "user", "content": "I like the story of the tea."}])
                [memory] = await user.recall("tea")
                if counts["writes"] % 3:
                    await user.delete_memory(memory.memory_id)
                elif counts["writes"] % 2:
                    await memora.graph.delete_user("default", user.scope.user_id)
                counts["writes"] += 1

        tasks = [asyncio.create_task(recall()), asyncio.create_task(write())]
        length = LENGTHS[0]
        for number in range(rounds):
            other = LENGTHS[LENGTHS.index(length) - 1]
            # Half of them fail, somewhere in the 13 batches that there are at least.
            fail_at = 0 if number % 2 else rng.randint(1, 13)
            try:
                await memora.reindex(embedder=Unreliable(other, fail_at))
                length = other
            except EmbeddingError:
                counts["failed"] += 1
            stamp = await memora.vector_db.stamp()
            assert stamp is not None
            assert stamp.dimensions == length
        done.set()
        await asyncio.gather(*tasks)
        await assert_clean(memora)
        assert await told(memora) == everything
    assert counts["recalls"]
    assert counts["writes"]
    assert counts["failed"] == rounds // 2
    score("R10", reindexes=rounds, **counts, violations=0, seed=seed)


async def test_b83_what_is_erased_during_a_reindex_leaves_no_byte(
    tmp_path: Path, score: Score, seed: int
) -> None:
    canary = f"canary-{uuid.UUID(int=random.Random(seed).getrandbits(128)).hex}"
    async with engine(tmp_path, LENGTHS[0]) as memora:
        await memora.for_user("jake").save(
            [{"role": "user", "content": text(number)} for number in range(300)]
        )
        await memora.for_user(canary).save([{"role": "user", "content": "I am a secret."}])
        assert await asyncio.to_thread(files_with, tmp_path, canary)

        class Erasing(HashingEmbedder):
            async def _embed_batch(self, texts: list[str], kind: Kind) -> Any:
                if not erased and (await memora.graph.delete_user("default", canary)).users:
                    erased.append(canary)
                    # Both indexes are without it when the call returns.
                    left = await asyncio.to_thread(files_with, tmp_path / "vectors", canary)
                    assert left == []
                return await super()._embed_batch(texts, kind)

        erased: list[str] = []
        await memora.reindex(embedder=Erasing(LENGTHS[1], batch_size=64))
        assert erased
        await assert_clean(memora)
    assert await asyncio.to_thread(files_with, tmp_path, canary) == []
    score("R10", erased=1, violations=0, seed=seed)


def files_with(path: Path, canary: str) -> list[str]:
    """Files that hold the canary; those of the engine are sparse, and mostly holes."""
    found = subprocess.run(
        ["grep", "-rlaF", canary, str(path)], capture_output=True, text=True, check=False
    )
    return found.stdout.splitlines()


@pytest.fixture
async def client() -> AsyncIterator[AsyncQdrantClient]:
    client = AsyncQdrantClient(":memory:")
    yield client
    await client.close()


@pytest.mark.neo4j
@pytest.mark.timeout(300)
async def test_b23_two_processes_on_neo4j_and_qdrant_never_mix_models(
    client: AsyncQdrantClient, neo4j_server: Neo4jServer, score: Score
) -> None:
    """As of two processes: a graph object, a vector store and a drain lock of their own each."""
    org = f"reindex-{uuid.uuid4().hex}"

    def other_process(length: int) -> Memora:
        graph = Neo4jGraphInterface(
            neo4j_server.uri,
            neo4j_server.username,
            str(neo4j_server.password),
            neo4j_server.database,
        )
        vectors = QdrantDB(client, "reindex", embedder=HashingEmbedder(length))
        return Memora(vectors, graph)

    async with other_process(LENGTHS[0]) as first, other_process(LENGTHS[0]) as second:
        for memora in (first, second):
            await memora.graph.drain_outbox()
        user = first.for_user("jake", org_id=org)
        await user.save([{"role": "user", "content": text(number)} for number in range(40)])
        elsewhere = second.for_user("jake", org_id=org)
        saves = 0
        moved = False

        class Interrupted(HashingEmbedder):
            async def _embed_batch(self, texts: list[str], kind: Kind) -> Any:
                nonlocal saves
                if saves < 8 and not moved:
                    saves += 1
                    await elsewhere.save([{"role": "user", "content": text(1000 + saves)}])
                return await super()._embed_batch(texts, kind)

        await first.reindex(embedder=Interrupted(LENGTHS[1], batch_size=8))
        moved = True
        with pytest.raises(SchemaVersionError):
            await elsewhere.recall("story")
        await elsewhere.save([{"role": "user", "content": text(5000)}])
        await first.graph.retry_outbox(first.graph.clock.now() + timedelta(seconds=1))
        await asyncio.sleep(1.1)
        await first.drain_outbox()
        found = {m.memory for m in await user.recall("story number", limit=1000)}
        assert found == {m.memory for m in await user.memories()}
        assert len(found) == 41 + saves
        mine = [e for e in await first.vector_db.scan() if e.org_id == org]
        assert {entry.model_id for entry in mine} == {f"hashing/{LENGTHS[1]}"}
        findings = [f for f in (await first.doctor()).findings if f.record_id in found]
        assert findings == []
        await first.graph.delete_organization(org)
    score("R10", saves_of_the_other_process=saves, violations=0)
