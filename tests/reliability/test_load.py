"""R9, the library's rows: the load gates of one embedded store. The server's rows come with it.

The only tests that look at a clock. A busy machine slows every one of them down, so each may try
three times; all figures go to the scorecard. A gate that every attempt missed is shown there as a
failure and in the summary as an expected one, and fails the run with `--nightly`, where the machine
is the suite's own.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from memora import Memora
from memora.core.clock import SystemClock
from memora.core.hashing import content_hash
from memora.core.messages import parse_messages
from memora.embeddings.base import Kind, LocalEmbedder
from memora.embeddings.hashing import HashingEmbedder
from memora.graph_db.base import BaseGraphDB
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.schema.scope import Scope
from memora.schema.write_plan import InteractionWrite, MemoryWrite, MessageEdit, WritePlan
from memora.testing.vector_clauses.documents import document
from memora.vector_db import EmbeddedVectorDB
from tests.reliability.kit import assert_clean
from tests.reliability.scorecard import Score

ATTEMPTS = 3
CALLERS = 16
START = datetime(2025, 1, 1, tzinfo=UTC)
ALICE = Scope("load", "alice")
LINUX = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")

pytestmark = [pytest.mark.timeout(600), pytest.mark.suite("R9"), pytest.mark.alone]


@pytest.fixture(autouse=True)
def no_blocking_calls() -> None:
    """Not here: what watches every call would be what is measured."""


def engine(
    path: Path, embedder: LocalEmbedder | None = None, *, own_process: bool = False
) -> Memora:
    vectors = EmbeddedVectorDB(
        path / "vectors", embedder=embedder or HashingEmbedder(), own_process=own_process
    )
    return Memora(vectors, SQLiteGraph(path / "graph.sqlite3"))


@asynccontextmanager
async def opened(
    path: Path, embedder: LocalEmbedder | None = None, *, own_process: bool = False
) -> AsyncIterator[Memora]:
    async with engine(path, embedder, own_process=own_process) as memora:
        await owned(memora, ALICE)
        yield memora


async def owned(memora: Memora, scope: Scope) -> None:
    await memora.for_user(scope.user_id, org_id=scope.org_id).ensure()


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True)
class Gates:
    """What a load test reports to, and whether a missed gate fails the run."""

    score: Score
    nightly: bool


@pytest.fixture
def gates(score: Score, nightly: bool) -> Gates:
    return Gates(score, nightly)


async def until_met(
    measure: Callable[[], Awaitable[dict[str, float]]],
    is_met: Callable[[dict[str, float]], bool],
    gates: Gates,
    **context: Any,
) -> None:
    """Measure until the gate is met, at most three times, and report every attempt."""
    attempts: list[dict[str, float]] = []
    while len(attempts) < ATTEMPTS:
        gc.collect()
        attempts.append({key: round(value, 1) for key, value in (await measure()).items()})
        if is_met(attempts[-1]):
            break
    met = is_met(attempts[-1])
    figures = {
        key: attempts[-1][key] if len(attempts) == 1 else [attempt[key] for attempt in attempts]
        for key in attempts[-1]
    }
    gates.score("R9", **context, **figures, gate="met" if met else "missed")
    if not met and not gates.nightly:
        pytest.xfail(f"the gate was missed: {attempts}")
    assert met, attempts


def statement(number: int) -> str:
    people = ("Ana", "Ben", "Chloe", "David", "Elif", "Farid", "Greta", "Hugo", "Ines")
    verbs = ("likes", "bought", "forgot", "plans", "sold", "repaired", "lost")
    things = (
        "the bicycle",
        "a piano",
        "a cabin",
        "the report",
        "a dog",
        "the marathon",
        "tea",
        "it",
    )
    places = ("Lisbon", "Oslo", "Nairobi", "Lima", "Osaka")
    words = (people, verbs, things, places)
    person, verb, thing, place = (names[number % len(names)] for names in words)
    return f"{person} {verb} {thing} in {place}, note {number}."


async def remember(graph: BaseGraphDB, scope: Scope, count: int) -> list[str]:
    """Store memories in the graph alone, and return their ids; the outbox names them."""
    ids: list[str] = []
    for start in range(0, count, 500):
        writes: list[MemoryWrite] = []
        for number in range(start, min(start + 500, count)):
            memory_id, text = graph.ids.memory(), statement(number)
            at = START + timedelta(minutes=number)
            writes.append(MemoryWrite(memory_id, text, at, memory_id, content_hash(text)))
            ids.append(memory_id)
        await graph.apply(WritePlan(scope, graph.clock.now(), memories=tuple(writes)))
    return ids


async def all_at_once(calls: int, call: Callable[[int], Awaitable[Any]]) -> list[float]:
    """Make calls from 16 callers, and return how long each took, in milliseconds."""
    times: list[float] = []
    numbers = iter(range(calls))

    async def caller() -> None:
        for number in numbers:
            started = time.perf_counter()
            await call(number)
            times.append((time.perf_counter() - started) * 1000)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return times


async def rate(calls: int, call: Callable[[int], Awaitable[Any]]) -> dict[str, float]:
    cpu, started = time.process_time(), time.perf_counter()
    times = await all_at_once(calls, call)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {
        "per_second": calls / seconds,
        "p50_ms": percentile(times, 0.5),
        "p99_ms": percentile(times, 0.99),
        "cpu_ms": cpu * 1000 / calls,
    }


async def test_saves(tmp_path: Path, gates: Gates) -> None:
    """Durable saves without a model: transcript and its statements; and how far vectors lag."""
    async with opened(tmp_path) as memora:
        users = [memora.for_user(f"user {number}", org_id="load") for number in range(CALLERS)]
        for user in users:
            await user.ensure()
        total = 0

        async def save(number: int) -> None:
            said = {"role": "user", "content": statement(total + number)}
            answered = {"role": "assistant", "content": "I see."}
            await users[number % CALLERS].save([said, answered])

        async def measure() -> dict[str, float]:
            nonlocal total
            lags: list[float] = []
            watching = asyncio.create_task(watch_lag(memora.graph, lags))
            figures = await rate(800, save)
            watching.cancel()
            total += 800
            return {**figures, "lag_p99_ms": percentile(lags, 0.99)}

        await until_met(
            measure,
            lambda found: found["per_second"] >= 500 and found["lag_p99_ms"] <= 1000,
            gates,
            saves=800,
            callers=CALLERS,
        )
        await assert_clean(memora)


async def watch_lag(graph: BaseGraphDB, lags: list[float]) -> None:
    clock = SystemClock()
    while True:
        oldest = (await graph.outbox_status()).oldest
        lags.append(0.0 if oldest is None else (clock.now() - oldest).total_seconds() * 1000)
        await asyncio.sleep(0.02)


async def test_search_and_drain(tmp_path: Path, gates: Gates) -> None:
    """10,000 outbox rows are drained; then their 10,000 memories of one user are searched.

    The gate of searches is that of a server, whose engine has a process of its own. With the
    engine in the process of its callers one core does everything: that is told beside it.
    """
    async with opened(tmp_path) as memora:
        graph = memora.graph
        ids = await remember(graph, ALICE, 10_000)
        now = graph.clock.now()
        named = await graph.claim_outbox(now=now, lease_until=now + timedelta(hours=1), limit=100)
        assert await graph.ack_outbox(named) == []

        async def drain() -> dict[str, float]:
            await asyncio.gather(
                *(graph.enqueue_sync(ALICE, [memory_id], graph.clock.now()) for memory_id in ids)
            )
            started = time.perf_counter()
            report = await memora.drain_outbox()
            seconds = time.perf_counter() - started
            assert (report.applied, report.failed) == (10_000, 0)
            return {"drain_s": seconds}

        await until_met(drain, lambda found: found["drain_s"] <= 20, gates, drained=10_000)
        shared = await searched(memora, 600)
        told = {f"in_one_process_{key}": round(value, 1) for key, value in shared.items()}
        gates.score("R9", **told)
    async with opened(tmp_path, own_process=True) as memora:
        asked = iter(range(600, 1_000_000, 600))
        await until_met(
            lambda: searched(memora, next(asked)),
            lambda found: found["per_second"] >= 300 and found["p99_ms"] <= 200,
            gates,
            searches=600,
            memories=10_000,
            engine="own process",
        )
        if gates.nightly:
            alone = await searched(memora, next(asked))
            await search_tenants(memora, gates, alone["p99_ms"])


async def searched(memora: Memora, first: int) -> dict[str, float]:
    """Search 600 times as 16 callers, and return figures with the CPU time of both processes."""

    async def search(number: int) -> None:
        found = await memora.search_memories_as_one(
            ALICE.org_id, ALICE.user_id, [f"Who lost {statement(first + number)[:30]}?"]
        )
        assert len(found) == 12

    before = worker_seconds(memora)
    figures = await rate(600, search)
    if before is not None and (after := worker_seconds(memora)) is not None:
        figures["engine_cpu_ms"] = (after - before) * 1000 / 600
    return figures


def worker_seconds(memora: Memora) -> float | None:
    """CPU time of the engine's own process so far; None: it has none, or nobody can tell."""
    assert isinstance(memora.vector_db, EmbeddedVectorDB)
    process = memora.vector_db._generations.shards._process
    if process is None or not Path("/proc/self/stat").exists():
        return None
    stat = Path(f"/proc/{process._process.pid}/stat").read_text("ascii").rpartition(")")[2]
    user, system = map(int, stat.split()[11:13])
    return (user + system) / os.sysconf("SC_CLK_TCK")


async def search_tenants(memora: Memora, gates: Gates, p99_of_10k: float) -> None:
    """Search a tenth of what the gate names, for the sake of time and disk: 100 tenants of 1000."""
    tenants = [Scope("load", f"tenant {number}") for number in range(100)]
    for tenant in tenants:
        await owned(memora, tenant)
        await remember(memora.graph, tenant, 1000)
    await memora.drain_outbox()

    async def search(number: int) -> None:
        tenant = tenants[number % len(tenants)]
        question = f"Who lost {statement(number)[:30]}?"
        await memora.search_memories_as_one(tenant.org_id, tenant.user_id, [question])

    async def measure() -> dict[str, float]:
        return {**await rate(2000, search), "p99_of_10k_ms": p99_of_10k}

    await until_met(
        measure,
        lambda found: found["p99_ms"] <= 2 * found["p99_of_10k_ms"],
        gates,
        tenant_memories=110_000,
    )


async def test_b33_an_engine_of_its_own_leaves_the_loop_to_others(
    tmp_path: Path, score: Score
) -> None:
    """Over 20,000 points: CPU time that searches take from the loop's process, and its gaps.

    The gaps are told and not judged: a busy machine makes them.
    """
    figures: dict[str, float] = {}
    cpu: dict[bool, float] = {}
    documents = [document(statement(number), ALICE) for number in range(20_000)]
    for own_process in (False, True):
        vectors = EmbeddedVectorDB(
            tmp_path / "vectors", embedder=HashingEmbedder(), own_process=own_process
        )
        async with vectors:
            if not own_process:
                await vectors.upsert(documents)
            queries = [f"Who lost {text.lexical_text[:30]}?" for text in documents[:200]]
            await vectors.search_memories(queries[:5], "user", ALICE.org_id, ALICE.user_id)
            found: list[int] = []

            async def search(
                number: int,
                vectors: EmbeddedVectorDB = vectors,
                queries: list[str] = queries,
                found: list[int] = found,
            ) -> None:
                hits = await vectors.search_memory(
                    queries[number], "user", ALICE.org_id, ALICE.user_id
                )
                found.append(len(hits.dense))

            stalls: list[float] = []
            watching = asyncio.create_task(watch_loop(stalls))
            taken = await rate(200, search)
            watching.cancel()
            assert len(found) == 200
            assert min(found) > 0
            cpu[own_process] = taken["cpu_ms"]
            name = "own_process" if own_process else "one_process"
            figures |= {
                f"{name}_cpu_ms": taken["cpu_ms"],
                f"{name}_gap_ms": max(stalls),
                f"{name}_gap_p99_ms": percentile(stalls, 0.99),
            }
    score("R9", points=20_000, **{key: round(value, 2) for key, value in figures.items()})
    assert cpu[True] <= cpu[False] / 2


class Busy(LocalEmbedder):
    """Computes for 300 ms in its worker, in Python, holding the interpreter's lock."""

    uses_blas = False

    @property
    def model_id(self) -> str:
        return "test/busy"

    @property
    def dimensions(self) -> int:
        return 8

    def _compute(self, texts: list[str], kind: Kind) -> NDArray[np.float32]:
        until = time.perf_counter() + 0.3
        while time.perf_counter() < until:
            pass
        return np.ones((len(texts), 8), dtype=np.float32)


async def test_b33_the_loop_stands_still_for_no_embedding(tmp_path: Path, gates: Gates) -> None:
    async with opened(tmp_path, Busy(cache_size=0)) as memora:

        async def search(number: int) -> None:
            await memora.search_memories_as_one(ALICE.org_id, ALICE.user_id, [f"tea {number}"])

        async def measure() -> dict[str, float]:
            stalls: list[float] = []
            watching = asyncio.create_task(watch_loop(stalls))
            await asyncio.gather(*(search(number) for number in range(8)))
            watching.cancel()
            return {"stall_ms": max(stalls), "stall_p99_ms": percentile(stalls, 0.99)}

        await until_met(measure, lambda found: found["stall_ms"] <= 50, gates, embeds=8)


async def watch_loop(stalls: list[float]) -> None:
    pause = 0.001
    while True:
        started = time.perf_counter()
        await asyncio.sleep(pause)
        stalls.append((time.perf_counter() - started - pause) * 1000)


def exchange(number: int) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": f"note {number}"},
        {"role": "assistant", "content": f"answer {number} about the weather in spring"},
    ]


async def test_b39_appending_does_not_depend_on_the_length(tmp_path: Path, gates: Gates) -> None:
    async with opened(tmp_path) as memora:
        user = memora.for_user("alice", org_id="load")
        talks: dict[int, tuple[str, list[dict[str, str]]]] = {}
        for length in (10, 10_000):
            talk = [message for number in range(length // 2) for message in exchange(number)]
            interaction_id, _at = await user.save(talk)
            talks[length] = (interaction_id, talk)

        async def measure() -> dict[str, float]:
            figures: dict[str, float] = {}
            for length, (interaction_id, talk) in talks.items():
                applied = [await append(memora.graph, interaction_id) for _ in range(31)]
                # Kept in step for the saves, which pass all that was said.
                talk[:] = [
                    message.message.as_message()
                    for message in await memora.graph.read_messages(ALICE, interaction_id, 0, None)
                ]
                saved: list[float] = []
                for number in range(3):
                    talk.extend(exchange(number))
                    started = time.perf_counter()
                    await user.save(talk, interaction_id)
                    saved.append((time.perf_counter() - started) * 1000)
                figures[f"apply_{length}_ms"] = median(applied)
                figures[f"save_{length}_ms"] = median(saved)
            return figures

        await until_met(
            measure,
            lambda found: found["apply_10000_ms"] <= 2 * found["apply_10_ms"],
            gates,
            appends=31,
        )


async def append(graph: BaseGraphDB, interaction_id: str) -> float:
    """Append two messages, and return how long it took, in milliseconds."""
    stored = await graph.get_interaction(
        ALICE.org_id, ALICE.user_id, interaction_id, with_messages=False, with_memories=False
    )
    new = parse_messages(exchange(stored.message_count), before=stored.content_hash)
    now = graph.clock.now()
    edit = MessageEdit(stored.message_count, new)
    plan = WritePlan(
        ALICE, now, interaction=InteractionWrite(interaction_id, stored.revision, edit, now)
    )
    started = time.perf_counter()
    await graph.apply(plan)
    return (time.perf_counter() - started) * 1000


def resident() -> float:
    """Resident memory in megabytes."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the count only


async def use(memora: Memora, number: int) -> int:
    """Do what an application does, and undo it; return how many operations that were."""
    user = memora.for_user(f"guest {number % CALLERS}", org_id="load")
    interaction_id, _at = await user.save([{"role": "user", "content": statement(number)}])
    await user.recall(f"Where is the piano, question {number}?")
    reads = 7
    for _ in range(reads):
        await memora.graph.get_user(user.scope.org_id, user.scope.user_id)
    await memora.graph.delete_user_interaction_and_its_memories(
        user.scope.org_id, user.scope.user_id, interaction_id
    )
    return reads + 3


@LINUX
async def test_memory_and_descriptors_stay(tmp_path: Path, gates: Gates) -> None:
    async with opened(tmp_path) as memora:
        done = 0

        async def work(number: int) -> None:
            nonlocal done
            operations = await use(memora, number)
            done += operations

        async def measure() -> dict[str, float]:
            nonlocal done
            # The caches fill first; what grows after that would grow for ever.
            await all_at_once(300, work)
            gc.collect()
            before, open_before, done = resident(), descriptors(), 0
            await all_at_once(1000, work)
            gc.collect()
            return {
                "rss_before_mb": before,
                "rss_growth_percent": 100 * (resident() - before) / before,
                "descriptors_more": descriptors() - open_before,
                "operations": done,
            }

        await until_met(
            measure,
            lambda found: (
                found["rss_growth_percent"] <= 10
                and found["descriptors_more"] <= 0
                and found["operations"] >= 10_000
            ),
            gates,
        )
        await assert_clean(memora)


@LINUX
@pytest.mark.timeout(4000)
async def test_soak(tmp_path: Path, score: Score, nightly: bool) -> None:
    """An hour in the plan of the gates, ten minutes here: memory must not climb."""
    if not nightly:
        pytest.skip("nightly only")
    minutes = 10
    async with opened(tmp_path) as memora:
        await all_at_once(2000, lambda number: use(memora, number))
        samples: list[tuple[float, float]] = []
        started = time.monotonic()
        operations = 0
        while time.monotonic() - started < 60 * minutes:
            await all_at_once(400, lambda number: use(memora, number))
            operations += 4000
            gc.collect()
            samples.append(((time.monotonic() - started) / 600, resident()))
        times, sizes = zip(*samples, strict=True)
        slope = float(np.polyfit(times, sizes, 1)[0])
        score("R9", minutes=minutes, operations=operations, mb_per_10_min=round(slope, 2))
        assert slope <= 1
        await assert_clean(memora)
