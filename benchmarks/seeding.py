"""Imports: rate, repetition, memory, and what a live recall notices of one that runs.

Without a model, on the embedded default. `--file` takes the JSON of LoCoMo, whose sessions become
conversations at their dates; without it conversations are made up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import resource
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from common import percentile, questions, show, statements, write_json

from memora import Memora, SeedConfig, SeedData
from memora.seeding import SeedEventKind

_START = datetime(2024, 1, 1, tzinfo=UTC)
_CONFIG = SeedConfig(extract_agent_memories=True)
_WINDOW = 10_000


def locomo(path: Path) -> list[dict[str, Any]]:
    """Return each session as a conversation of both speakers, at its own date."""
    found: list[dict[str, Any]] = []
    for sample in json.loads(path.read_text("utf-8")):
        talk = sample["conversation"]
        for session in sorted(key for key in talk if re.fullmatch(r"session_\d+", key)):
            said = f"{talk[f'{session}_date_time']} +0000"
            date = datetime.strptime(said, "%I:%M %p on %d %B, %Y %z")
            messages = [
                {
                    "role": "user" if turn["speaker"] == talk["speaker_a"] else "assistant",
                    "name": turn["speaker"],
                    "content": turn["text"],
                }
                for turn in talk[session]
            ]
            found.append(
                {
                    "id": f"{sample['sample_id']}/{session}",
                    "messages": messages,
                    "created_at": date,
                }
            )
    return found


def made_up(turns: int, per_conversation: int = 10, seed: int = 7) -> Iterator[dict[str, Any]]:
    """Yield conversations with that many turns together, one after the other in time."""
    texts: list[str] = []
    for number in range(0, turns, per_conversation):
        if not texts:
            texts = statements(1000, seed + number)[::-1]
        messages = [
            {"role": "user", "content": f"{texts.pop()} (turn {number + turn})"}
            for turn in range(min(per_conversation, turns - number))
        ]
        at = _START + timedelta(hours=number)
        yield {"id": f"made-{number}", "messages": messages, "created_at": at}


def anonymous_mb() -> float:
    """Return the process's anonymous memory in MB."""
    status = Path("/proc/self/status").read_text("utf-8")
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


async def twice(conversations: list[dict[str, Any]]) -> dict[str, Any]:
    """Import into an empty store, and again."""
    with tempfile.TemporaryDirectory() as folder:
        async with Memora.embedded(folder) as memora:
            row: dict[str, Any] = {"conversations": len(conversations)}
            row["messages"] = sum(len(each["messages"]) for each in conversations)
            for name in ("first", "second"):
                started, cpu = time.perf_counter(), time.process_time()
                data = SeedData.for_conversations("bench", conversations)
                result = await memora.seed(data, seed_config=_CONFIG)
                row[f"{name} s"] = time.perf_counter() - started
                row[f"{name} cpu s"] = time.process_time() - cpu
                row[f"{name} memories"] = result.total_memories
            row["share %"] = 100 * row["second s"] / row["first s"]
            return row


async def long_run(turns: int) -> list[dict[str, Any]]:
    """Import from an async generator; a row per 10,000 turns."""
    rows: list[dict[str, Any]] = []

    async def cursor() -> AsyncIterator[dict[str, Any]]:
        for conversation in made_up(turns):
            yield conversation

    with tempfile.TemporaryDirectory() as folder:
        async with Memora.embedded(folder) as memora:
            # What a process needs for its first import is no growth.
            await memora.seed(SeedData.for_conversations("warm", list(made_up(2000, seed=1))))
            before = anonymous_mb()
            started, cpu, done = time.perf_counter(), time.process_time(), 0
            data = SeedData.for_conversations("bench", cursor())
            async for event in memora.seed_events(data):
                if event.kind is not SeedEventKind.SAVED:
                    continue
                done += 10
                if done % _WINDOW:
                    continue
                now, used = time.perf_counter(), time.process_time()
                rows.append(
                    {
                        "turns": done,
                        "turns/s": _WINDOW / (now - started),
                        "turns/cpu s": _WINDOW / (used - cpu),
                        "RssAnon grown MB": anonymous_mb() - before,
                        "peak RSS MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                    }
                )
                print(rows[-1], flush=True)
                started, cpu = now, used
    return rows


async def beside(turns: int, runs: int) -> dict[str, Any]:
    """Measure live recalls of one user, idle and while the history of another one is imported."""
    with tempfile.TemporaryDirectory() as folder:
        async with Memora.embedded(folder) as memora:
            await memora.seed(SeedData.for_conversations("live", list(made_up(2000, seed=3))))
            asked = questions(runs)

            async def recall(number: int) -> None:
                await memora.recall_memories_for_message("default", "live", asked[number])

            idle = await _paced(recall, runs)
            data = SeedData.for_conversations("bulk", made_up(turns))
            running = asyncio.create_task(memora.seed(data))
            await asyncio.sleep(0.5)
            busy = await _paced(recall, runs)
            was_running = not running.done()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            return {
                "idle p50 ms": percentile(idle, 0.5),
                "idle p95 ms": percentile(idle, 0.95),
                "busy p50 ms": percentile(busy, 0.5),
                "busy p95 ms": percentile(busy, 0.95),
                "ratio p95": percentile(busy, 0.95) / percentile(idle, 0.95),
                "still running": was_running,
            }


async def _paced(call: Callable[[int], Awaitable[None]], runs: int) -> list[float]:
    """Time calls that come at their own pace, as users do."""
    times: list[float] = []
    for number in range(runs):
        await asyncio.sleep(0.02)
        started = time.perf_counter()
        await call(number)
        times.append((time.perf_counter() - started) * 1000)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, help="LoCoMo's JSON")
    parser.add_argument("--turns", type=int, default=100_000, help="of the long run; 0: none")
    parser.add_argument("--runs", type=int, default=300, help="live recalls; 0: none")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    given = list(made_up(1500)) if arguments.file is None else locomo(arguments.file)
    figures: dict[str, Any] = {"twice": asyncio.run(twice(given))}
    show("An import, and again", [figures["twice"]])
    if arguments.runs:
        figures["beside"] = asyncio.run(beside(200_000, arguments.runs))
        show("Live recalls while an import runs", [figures["beside"]])
    if arguments.turns:
        figures["long"] = asyncio.run(long_run(arguments.turns))
        show("A long import", figures["long"])
    write_json(arguments.json, figures)


if __name__ == "__main__":
    main()
