"""Import earlier conversations at their own dates, twice: the second run finds nothing to do.

Needs no server and no key: python examples/seed_history.py [directory]
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from memora import Memora, SeedData
from memora.seeding import ConversationResult

SAID = (
    ("I am allergic to peanuts.", "Good to know, I will keep that in mind."),
    ("I moved to Lisbon last week.", "How exciting! How do you like it?"),
    ("My sister Ana visits me in June.", "That will be fun."),
)


async def history() -> AsyncIterator[dict[str, Any]]:
    """Stand in for a cursor of your database."""
    start = datetime(2024, 3, 1, 9, tzinfo=UTC)
    for number, (question, answer) in enumerate(SAID):
        yield {
            "id": f"conversation-{number}",
            "created_at": start + number * timedelta(days=30),
            "messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ],
        }


def show(processed: int, _total: int | None, result: ConversationResult) -> None:
    print(f"{processed}: {result.conversation_id} {result.status.value}")


async def main(directory: str) -> None:
    async with Memora.embedded(directory) as memora:
        for _run in range(2):
            data = SeedData.for_conversations("jake", history(), process_id="old-assistant")
            result = await memora.seed(data, on_progress=show)
            print(f"{result.successful} of {result.total}, {result.total_memories} new memories")
        memories, _ids = await memora.recall_memories_for_message(
            "default", "jake", "What should I not eat?", limit=1
        )
        for memory in memories:
            print(f"{memory.obtained_at:%Y-%m-%d}: {memory.memory}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(main(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(main(folder))
