"""R1 on a server: clients that are killed, and a server that stops, or dies, while it is busy.

Nothing that was acknowledged is lost, nothing is there twice, what fails meanwhile says so with an
error that may pass, and the same calls with the same keys settle everything.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import neo4j
import pytest

from memora import Memora
from memora.core.clock import SystemClock
from memora.core.ids import RandomIds
from memora.embeddings.hashing import HashingEmbedder
from memora.errors import MemoraError, RetryableError
from memora.graph_db.base import MemoryListing
from memora.graph_db.neo4j.interface import Neo4jGraphInterface
from memora.schema.jobs import JobStatus
from memora.schema.scope import Scope
from memora.vector_db import EmbeddedVectorDB
from tests.e2e.lives import Lives
from tests.e2e.saver import said
from tests.e2e.test_kill import expected_transcripts
from tests.neo4j_server.process import LocalNeo4j, Neo4jServer
from tests.reliability.kit import assert_clean
from tests.reliability.neo4j_saver import engine
from tests.reliability.scorecard import Score

pytestmark = [pytest.mark.timeout(600), pytest.mark.suite("R1")]

KILLS, MANY_KILLS = 20, 60


class Ahead:
    """The system's clock, after every lease that a dead client held has run out."""

    def now(self) -> datetime:
        return SystemClock().now() + timedelta(hours=1)


def address_of(server: Neo4jServer) -> list[str]:
    return [server.uri, server.username, str(server.password), server.database]


async def check(server: Neo4jServer, path: Path, org_id: str, last: int) -> int:
    """Look at what a killed client left; return how many of its jobs nobody could take at once."""
    scope = Scope(org_id, "jake")
    leased = 0
    async with engine(address_of(server), path) as memora:
        if await memora.graph.find_organization(org_id) is None:
            assert last < 0
            return 0
        for job in await memora.list_jobs(org_id):
            # It is leased for some minutes: for all we know its owner is alive.
            if job.status is JobStatus.RUNNING:
                assert not await memora.resume_job(org_id, job.job_id)
                leased += 1
    async with engine(address_of(server), path, Ahead()) as memora:
        left = await memora.list_jobs(org_id)
        assert len(left) <= 1
        for job in left:
            assert await memora.resume_job(org_id, job.job_id)
        stored = await memora.graph.get_all_user_interactions(org_id, "jake", with_messages=True)
        assert len({str(each.external_id) for each in stored}) == len(stored)
        found = {
            str(each.external_id): [(m.role, str(m.content)) for m in each.messages or []]
            for each in stored
        }
        expected = [expected_transcripts(step) for step in (last, last + 1)]
        assert found in expected
        reached = last + expected.index(found)
        memories = await memora.graph.list_memories(scope, MemoryListing())
        assert Counter(memory.memory for memory in memories) == Counter(said(reached))
        ids = {memory.memory_id for memory in memories} | {each.interaction_id for each in stored}
        findings = (await memora.doctor()).findings
        assert [finding for finding in findings if finding.record_id in ids] == []
        waiting = [entry for entry in await memora.graph.list_outbox() if entry.org_id == org_id]
        assert waiting == []
    return leased


@pytest.mark.neo4j
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
async def test_b13_killed_clients_lose_nothing_and_their_leases_run_out(
    neo4j_server: Neo4jServer, tmp_path: Path, seed: int, nightly: bool, score: Score
) -> None:
    rng = random.Random(seed)
    org_id = f"killed-{RandomIds().short()}"
    path = tmp_path / "vectors"
    last, leased = -1, 0
    kills = MANY_KILLS if nightly else KILLS
    with Lives("tests.reliability.neo4j_saver") as lives:
        for _kill in range(kills):
            given = [address_of(neo4j_server), str(path), org_id, last + 1]
            acknowledged = await asyncio.to_thread(lives.save_and_die, given, rng, most=5)
            last = last if acknowledged is None else acknowledged
            leased += await check(neo4j_server, path, org_id, last)
    async with engine(address_of(neo4j_server), path) as memora:
        await memora.graph.delete_organization(org_id)
    assert last >= 0
    score("R1", kills=kills, acknowledged=last + 1, leased=leased, lost=0, violations=0, seed=seed)


@dataclass
class Writer:
    """Saves one growing conversation, each step until it is acknowledged.

    Attributes:
        acknowledged: How many steps were.
        errors: What was raised in between, by name.
    """

    memora: Memora
    user_id: str
    acknowledged: int = 0
    errors: Counter[str] = field(default_factory=Counter[str])
    done: bool = False

    def messages(self, steps: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"{self.user_id} says {n}"} for n in range(steps)]

    async def write(self, progress: asyncio.Queue[str]) -> None:
        while not self.done:
            number = self.acknowledged + 1
            try:
                await self.memora.save_or_update_interaction_and_memories(
                    "acme",
                    self.user_id,
                    interaction=self.messages(number),
                    external_id="talk",
                    idempotency_key=f"step-{number}",
                )
            except MemoraError as error:
                self.errors[type(error).__name__] += 1
                if not isinstance(error, RetryableError):
                    raise
            else:
                self.acknowledged = number
                await progress.put(self.user_id)


async def some(progress: asyncio.Queue[str], writers: list[asyncio.Task[None]], count: int) -> None:
    """Wait until so many steps more were acknowledged; a writer that failed fails the test."""
    for _step in range(count):
        step = asyncio.ensure_future(progress.get())
        await asyncio.wait([step, *writers], return_when=asyncio.FIRST_COMPLETED)
        if not step.done():
            step.cancel()
            for writer in writers:
                if writer.done():
                    writer.result()


async def test_b13_a_server_that_stops_and_dies_in_the_middle_loses_and_repeats_nothing(
    private_neo4j: LocalNeo4j, tmp_path: Path, score: Score
) -> None:
    server = private_neo4j.server
    async with neo4j.AsyncGraphDatabase.driver(
        server.uri,
        auth=server.auth,
        connection_timeout=5,
        # Shorter than an outage, so that callers see it.
        max_transaction_retry_time=0.5,
    ) as driver:
        graph = Neo4jGraphInterface("", "", "", server.database, driver=driver)
        vectors = EmbeddedVectorDB(tmp_path / "vectors", embedder=HashingEmbedder())
        async with Memora(vectors, graph) as memora:
            writers = [Writer(memora, f"user{number}") for number in range(2)]
            for writer in writers:
                await memora.for_user(writer.user_id, org_id="acme").ensure()
            progress: asyncio.Queue[str] = asyncio.Queue()
            tasks = [asyncio.create_task(writer.write(progress)) for writer in writers]
            for end in (private_neo4j.stop, private_neo4j.kill):
                await some(progress, tasks, 12)
                await asyncio.to_thread(end)
                await asyncio.to_thread(private_neo4j.start)
            await some(progress, tasks, 12)
            for writer in writers:
                writer.done = True
            await asyncio.gather(*tasks)
            for writer in writers:
                found = await memora.graph.get_interaction("acme", writer.user_id, "talk")
                expected = [m["content"] for m in writer.messages(writer.acknowledged)]
                assert [message.content for message in found.messages or []] == expected
                memories = await memora.graph.get_all_user_memories("acme", writer.user_id)
                assert sorted(memory.memory for memory in memories) == sorted(expected)
            await memora.graph.retry_outbox(SystemClock().now())
            await memora.drain_outbox()
            await assert_clean(memora)
    errors = sum((writer.errors for writer in writers), Counter[str]())
    assert errors
    score(
        "R1",
        outages=2,
        acknowledged=sum(writer.acknowledged for writer in writers),
        errors=sum(errors.values()),
        lost=0,
        violations=0,
    )
