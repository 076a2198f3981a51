"""Recall, save and update: p50 and p95 by store size and number of tenants.

Language models are scripted and answer at once, so the figures are the engine's own. The parts of
a recall are measured around the ports: embedding the queries, the vector engine, the graph.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from common import percentile, questions, show, statements, write_json

from memora import Memora
from memora.core.hashing import content_hash
from memora.embeddings import StaticEmbedder
from memora.graph_db.base import BaseGraphDB
from memora.schema.scope import Scope
from memora.schema.write_plan import MemoryWrite, WritePlan
from memora.testing.fakes import ScriptedBackendLLM, extracting
from memora.vector_db.base import BaseVectorDB

_START = datetime(2025, 1, 1, tzinfo=UTC)
_PLAN = 500
_CALLERS = 16


@dataclass
class Stopwatch:
    """Time spent inside wrapped methods, in milliseconds, per call of the whole."""

    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def wrap(self, owner: Any, method: str, part: str) -> None:
        inner: Callable[..., Awaitable[Any]] = getattr(owner, method)

        async def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return await inner(*args, **kwargs)
            finally:
                self.spent[part] += (time.perf_counter() - started) * 1000

        setattr(owner, method, timed)


async def fill(memora: Memora, size: int, tenants: int) -> list[Scope]:
    """Store `size` memories, spread evenly over the tenants, and bring the vectors up to date."""
    org = await memora.graph.create_organization("Bench")
    scopes: list[Scope] = []
    texts = statements(size)
    share = size // tenants
    for tenant in range(tenants):
        user = await memora.graph.create_user(org.org_id, f"User {tenant}")
        scope = Scope(org.org_id, user.user_id)
        scopes.append(scope)
        own = texts[tenant * share : (tenant + 1) * share]
        for start in range(0, len(own), _PLAN):
            writes: list[MemoryWrite] = []
            for number, text in enumerate(own[start : start + _PLAN]):
                memory_id = memora.graph.ids.memory()
                at = _START + timedelta(minutes=start + number)
                writes.append(MemoryWrite(memory_id, text, at, memory_id, content_hash(text)))
            await memora.graph.apply(
                WritePlan(scope, memora.graph.clock.now(), memories=tuple(writes))
            )
    await memora.drain_outbox()
    return scopes


async def timed(runs: int, call: Callable[[int], Awaitable[Any]], warmup: int = 5) -> list[float]:
    for number in range(warmup):
        await call(-1 - number)
    times: list[float] = []
    for number in range(runs):
        started = time.perf_counter()
        await call(number)
        times.append((time.perf_counter() - started) * 1000)
    return times


async def loop_gap(call: Callable[[int], Awaitable[Any]], tasks: int = 8) -> float:
    """Return the longest time, in ms, that the event loop stood still during concurrent calls."""
    gaps: list[float] = []
    done = asyncio.Event()

    async def watch() -> None:
        last = time.perf_counter()
        while not done.is_set():
            await asyncio.sleep(0)
            now = time.perf_counter()
            gaps.append((now - last) * 1000)
            last = now

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*(call(number) for number in range(tasks)))
    done.set()
    await watcher
    return max(gaps)


async def measure(
    memora: Memora, embedder: StaticEmbedder, size: int, tenants: int, runs: int
) -> dict[str, Any]:
    started = time.perf_counter()
    scopes = await fill(memora, size, tenants)
    filled = time.perf_counter() - started
    asked = questions(2 * runs + 64)

    async def recall(number: int) -> None:
        scope = scopes[number % len(scopes)]
        await memora.recall_memories_for_message(scope.org_id, scope.user_id, asked[number])

    row: dict[str, Any] = {"memories": size, "tenants": tenants, "fill s": filled}
    _both(row, "recall", await timed(runs, recall))
    row["loop gap ms"] = await loop_gap(lambda number: recall(number + runs))
    row |= await _together(lambda number: recall(number + runs), runs)
    row |= await _parts(memora, embedder, lambda number: recall(number + runs + 16), runs)
    row |= await _writes(memora, scopes[0], min(runs, 50))
    return row


async def _together(recall: Callable[[int], Awaitable[None]], runs: int) -> dict[str, float]:
    """Recall from 16 callers at once."""
    numbers = iter(range(runs))

    async def caller() -> None:
        for number in numbers:
            await recall(number)

    cpu, started = time.process_time(), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(_CALLERS)))
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {"recalls/s of 16": runs / seconds, "CPU ms of 16": cpu * 1000 / runs}


def _both(row: dict[str, Any], name: str, times: list[float]) -> None:
    row[f"{name} p50"] = percentile(times, 0.5)
    row[f"{name} p95"] = percentile(times, 0.95)


async def _parts(
    memora: Memora,
    embedder: StaticEmbedder,
    recall: Callable[[int], Awaitable[None]],
    runs: int,
) -> dict[str, float]:
    """Return the mean share of each part of a recall, in ms; ranking is all but the embedding."""
    watch = Stopwatch()
    watch.wrap(embedder, "embed_queries", "embedding")
    watch.wrap(memora.vector_db, "run_queries", "vectors")
    for method in ("get_user", "resolve_memories", "read_names"):
        watch.wrap(memora.graph, method, "graph")
    ranking: list[float] = []
    cpu = time.process_time()
    for number in range(runs):
        embedding = watch.spent["embedding"]
        started = time.perf_counter()
        await recall(number)
        took = (time.perf_counter() - started) * 1000
        ranking.append(took - (watch.spent["embedding"] - embedding))
    cpu = time.process_time() - cpu
    spent = {part: total / runs for part, total in watch.spent.items()}
    row = {
        "embedding": spent.get("embedding", 0.0),
        "engine": spent.get("vectors", 0.0) - spent.get("embedding", 0.0),
        "graph ms": spent.get("graph", 0.0),
        "CPU ms": cpu * 1000 / runs,
    }
    _both(row, "ranking", ranking)
    return row


async def _writes(memora: Memora, scope: Scope, runs: int) -> dict[str, float]:
    texts = statements(runs + 16, seed=23)
    ids: list[str] = []

    async def save(number: int) -> None:
        interaction = [
            {"role": "user", "content": f"{texts[number]} (save)"},
            {"role": "assistant", "content": "I see."},
        ]
        interaction_id, _at = await memora.save_or_update_interaction_and_memories(
            scope.org_id, scope.user_id, interaction=interaction
        )
        ids.append(interaction_id)

    async def update(number: int) -> None:
        interaction_id = ids[number]
        stored = await memora.graph.get_interaction_messages(
            scope.org_id, scope.user_id, interaction_id
        )
        interaction = [
            *(message.as_message() for message in stored),
            {"role": "user", "content": f"{texts[number]} (update)"},
        ]
        await memora.save_or_update_interaction_and_memories(
            scope.org_id, scope.user_id, interaction=interaction, interaction_id=interaction_id
        )

    row: dict[str, Any] = {}
    _both(row, "save", await timed(runs, save))
    _both(row, "update", await timed(runs, update, warmup=0))
    return row


@asynccontextmanager
async def engine(
    graph: BaseGraphDB | None, folder: Path, *, own_process: bool
) -> AsyncIterator[tuple[Memora, StaticEmbedder]]:
    embedder = StaticEmbedder()
    model = ScriptedBackendLLM(extracting("The user said something new"))
    if graph is None:
        memora = Memora.embedded(
            folder, embedder=embedder, extraction_model=model, own_process=own_process
        )
    else:
        vectors = _vectors(folder, embedder, own_process=own_process)
        memora = Memora(vectors, graph, extraction_model=model)
    async with memora:
        yield memora, embedder


def _vectors(folder: Path, embedder: StaticEmbedder, *, own_process: bool) -> BaseVectorDB:
    from memora.vector_db import EmbeddedVectorDB

    return EmbeddedVectorDB(folder / "vectors", embedder=embedder, own_process=own_process)


async def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for size in arguments.sizes:
        for tenants in arguments.tenants:
            if tenants > size // 10:
                continue
            for backend in ("embedded", *(["neo4j"] if arguments.neo4j else [])):
                graph = _neo4j(arguments) if backend == "neo4j" else None
                with tempfile.TemporaryDirectory() as folder:
                    opened = engine(graph, Path(folder), own_process=arguments.own_process)
                    async with opened as (memora, embedder):
                        row = await measure(memora, embedder, size, tenants, arguments.runs)
                rows.append({"graph": backend, **row})
                print(rows[-1], flush=True)
    return rows


def _neo4j(arguments: argparse.Namespace) -> BaseGraphDB:
    from memora.graph_db import Neo4jGraphInterface

    return Neo4jGraphInterface(arguments.neo4j, "neo4j", arguments.password, "neo4j")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--tenants", type=int, nargs="+", default=[1, 1_000])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--neo4j", help="URI of a server to measure as well")
    parser.add_argument("--password", default="")
    parser.add_argument(
        "--own-process", action="store_true", help="the vector engine in a process of its own"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = asyncio.run(run(arguments))
    times = ["graph", "memories", "tenants", "recall p50", "recall p95", "save p50", "save p95"]
    times += ["update p50", "update p95", "loop gap ms", "fill s"]
    show("Milliseconds", [{key: row[key] for key in times} for row in rows])
    parts = ["graph", "memories", "tenants", "embedding", "engine", "graph ms", "CPU ms"]
    parts += ["ranking p50", "ranking p95", "recalls/s of 16", "CPU ms of 16"]
    show("Parts of a recall, mean ms", [{key: row[key] for key in parts} for row in rows])
    told = {"runs": arguments.runs, "own_process": arguments.own_process, "rows": rows}
    write_json(arguments.json, told)


if __name__ == "__main__":
    main()
