"""A process that imports until it is killed, and says how far it has come.

The history depends on its size alone, and holds what an order could change: statements that are
repeated, and with a model such that contradict each other.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from memora import Memora, SeedConfig, SeedData
from memora.seeding import SeedEventKind
from memora.testing.fakes import Answer, Call, ScriptedBackendLLM

START = datetime(2024, 1, 1, tzinfo=UTC)
IMPORT_ID = "history"


def conversation(number: int) -> dict[str, Any]:
    texts = [
        f"This is statement {number} of the history.",
        f"I like number {number % 37}.",
        f"The user lives in Town{number // 10}",
    ]
    return {
        "id": f"conv-{number}",
        "created_at": START + timedelta(hours=number),
        "messages": [{"role": "user", "content": text} for text in texts],
        "metadata": {"number": number},
    }


def model() -> ScriptedBackendLLM:
    """Finds each message worth remembering; where the user lives can only be one place."""

    def answer(call: Call) -> Answer:
        if call.schema == "MemoryExtractionResponse":
            return {
                "memories": [
                    {
                        "memory": message["content"],
                        "msg_source_ids": [message["id"]],
                        "memory_type": "fact",
                        "importance": 0.5,
                    }
                    for message in call.data["new_messages"]
                ]
            }
        homes = [m["number"] for m in call.data["existing"] if "lives in" in m["memory"]]
        return {
            "verdicts": [
                {"candidate": c["number"], "verdict": "contradiction", "existing": homes[0]}
                for c in call.data["candidates"]
                if homes and "lives in" in c["memory"]
            ]
        }

    return ScriptedBackendLLM(answer)


async def history(size: int) -> AsyncIterator[dict[str, Any]]:
    for number in range(size):
        yield conversation(number)


async def run(path: str, size: int, *, with_model: bool) -> None:
    """Import the history, and print how many conversations have ended, as each ends."""
    extraction = model() if with_model else None
    async with Memora.embedded(path, embedder="hashing", extraction_model=extraction) as memora:
        data = SeedData.for_conversations("jake", history(size), process_id="history")
        config = SeedConfig(retry_delay=0.01)
        events = memora.seed_events(data, seed_config=config, import_id=IMPORT_ID)
        async for event in events:
            if event.kind is SeedEventKind.FAILED:
                raise SystemExit(str(event.result))
            os.write(sys.stdout.fileno(), f"{event.processed}\n".encode())


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], int(sys.argv[2]), with_model=bool(sys.argv[3:])))
