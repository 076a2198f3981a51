"""Pour turns from a database into memora, twice, and take the import back.

Runs without server, key or model: python examples/backfill.py [DIRECTORY]
"""

import asyncio
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from memora import Memora, SeedDocument

START = datetime(2024, 1, 8, 9, tzinfo=UTC)
SAID = [
    ("chat-1", "I moved to Oslo last week.", "How is it?"),
    ("chat-1", "Cold, but the bakery downstairs is wonderful.", "Rolls every day, then."),
    ("chat-2", "I am allergic to peanuts.", "Noted: no peanuts."),
    ("chat-2", "My sister Ana visits me in May.", "How lovely."),
]
BATCH = 3


def database() -> sqlite3.Connection:
    """What an application has: one row per turn."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE turns (talk TEXT, number INTEGER, said, answer, at TEXT)")
    rows = [
        (talk, number, said, answer, (START + number * timedelta(days=30)).isoformat())
        for number, (talk, said, answer) in enumerate(SAID)
    ]
    connection.executemany("INSERT INTO turns VALUES (?, ?, ?, ?, ?)", rows)
    return connection


def documents(connection: sqlite3.Connection) -> Iterator[SeedDocument]:
    for talk, number, said, answer, at in connection.execute("SELECT * FROM turns ORDER BY at"):
        yield SeedDocument(
            document=f"User: {said}\nAssistant: {answer}",
            document_id=f"backfill:{talk}:{number}",
            document_type="ai-chat-conversation",
            document_created_at=at,
            user_id="jake",
            metadata={"conversation_id": talk, "source": "backfill"},
        )


async def replay(memora: Memora, connection: sqlite3.Connection, import_id: str) -> dict[str, int]:
    """Send the turns in batches; return how many documents came out how."""
    counts: dict[str, int] = {}
    batch: list[SeedDocument] = []

    async def send() -> None:
        for result in await memora.batch_create(batch, import_id=import_id):
            counts[result.status.value] = counts.get(result.status.value, 0) + 1
        batch.clear()

    for document in documents(connection):
        batch.append(document)
        if len(batch) >= BATCH:
            await send()
    if batch:
        await send()
    return counts


async def main(directory: str) -> None:
    connection = database()
    async with Memora.embedded(directory) as memora:
        print("first run: ", await replay(memora, connection, "backfill-1"))
        print("second run:", await replay(memora, connection, "backfill-1"))

        jake = memora.for_user("jake")
        (found, *_), _ids = await jake.recall_memories_for_message("When does Ana visit me?")
        print(f"{found.memory} ({found.obtained_at:%d %B %Y}, from {found.external_id})")

        undone = await memora.undo_import("default", "backfill-1")
        print(f"taken back: {undone.done.memories} memories")
    connection.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(main(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            asyncio.run(main(temporary))
